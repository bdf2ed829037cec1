//! Who may write, and over what.
use weft_model::{Code, Kind, Owner, Severity};
use weft_verify::{Proposed, Subject, verify};

use crate::support::{compiler, holding, only, puts, reference, said, service};

#[test]
fn another_sources_write_is_refused_with_the_owners_name() {
    let current = holding(&service("web"));
    let files = Owner("file:/etc/weft".into());
    for change in [puts(&service("web")), vec![Proposed::delete(reference(Kind::Service, "shop", "web"))]] {
        let told = verify(&current, Subject::Change(&files, &change));
        assert_eq!((told.len(), told[0].code, told[0].severity), (1, Code::NotOwner, Severity::Error));
        assert_eq!(told[0].text, "it is owned by api, and this write comes from file:/etc/weft");
        assert_eq!(told[0].hint.as_deref(), Some("change it where it comes from, in held.yaml"));
    }
}

#[test]
fn a_write_over_another_version_than_it_expects_is_refused() {
    let current = holding(&service("web"));
    let expecting = |name: &str, version| {
        let Proposed::Put { object, source, .. } = puts(&service(name)).remove(0) else { unreachable!() };
        vec![Proposed::Put { object, source, expected: version }]
    };
    for (name, version, text) in [
        ("web", Some(7), "it is at version 1, and this write expects version 7"),
        ("web", Some(0), "it exists already, at version 1"),
        ("cart", Some(7), "it does not exist, and this write expects version 7"),
    ] {
        let told = only(&current, &expecting(name, version));
        assert_eq!(
            (told.code, told.text.as_str(), told.field.0.as_str()),
            (Code::Conflict, text, "metadata.resourceVersion")
        );
        assert!(told.is_error() && told.hint.is_some());
    }
    for (name, version) in [("web", Some(1)), ("web", None), ("cart", Some(0)), ("cart", None)] {
        assert_eq!(said(&current, &expecting(name, version)), []);
    }
    let (object, expected) = (reference(Kind::Service, "shop", "web"), Some(9));
    assert_eq!(only(&current, &[Proposed::Delete { object, expected }]).code, Code::Conflict);
}

#[test]
fn an_object_that_is_written_twice_is_refused_with_both_places() {
    let change = [puts(&service("web")), puts(&("\n\n".to_owned() + &service("web")))].concat();
    let told = only(&compiler(), &change);
    assert_eq!((told.code, told.severity), (Code::Duplicate, Severity::Error));
    assert_eq!(told.text, "the change writes this object twice, first at new.yaml:3");
    assert_eq!(told.source.unwrap().line, 5);
}

#[test]
fn deleting_what_does_not_exist_is_refused_with_the_closest_name() {
    let told = only(&holding(&service("reviews")), &[Proposed::delete(reference(Kind::Service, "shop", "review"))]);
    assert_eq!((told.code, told.hint.as_deref()), (Code::DanglingReference, Some("did you mean reviews?")));
    assert!(told.is_error());
}
