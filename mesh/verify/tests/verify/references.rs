//! References that lead nowhere, and what deletions do.
use std::sync::Arc;

use weft_model::{Code, Kind, Object, Owner, Severity, Stored};
use weft_verify::{MAX_DIAGNOSTICS, MAX_ENDPOINTS, Proposed, Subject, verify};

use crate::support::{access, holding, only, puts, reachable, reference, route, said, service, workload};

const TO_V2: &str = "{name: web, port: 80, weight: 9}, {name: reviews-v2, port: 80}";

#[test]
fn a_reference_to_nothing_is_an_error_with_place_field_and_the_closest_name() {
    let current = holding(&(reachable("web") + &service("reviews-v1")));
    let told = only(&current, &puts(&route("canary", TO_V2)));
    assert_eq!(told.object.as_deref(), Some("HTTPRoute shop/canary"));
    assert_eq!(told.field.0, "spec.rules[0].backendRefs[1].name");
    assert_eq!((told.code, told.severity), (Code::DanglingReference, Severity::Error));
    assert_eq!(told.text, "Service shop/reviews-v2 does not exist");
    assert_eq!(told.hint.as_deref(), Some("did you mean reviews-v1?"));
    assert_eq!(&*told.source.unwrap().file, "new.yaml");
}

#[test]
fn a_missing_port_is_told_with_the_ports_that_there_are() {
    let told =
        only(&holding(&reachable("web")), &puts(&route("canary", "{name: web, port: 80}, {name: web, port: 81}")));
    assert_eq!(told.field.0, "spec.rules[0].backendRefs[1].port");
    assert_eq!(told.hint.as_deref(), Some("its ports are 80"));
    assert!(told.is_error());
}

#[test]
fn a_reference_may_be_satisfied_by_the_same_change() {
    let change = puts(&(route("canary", TO_V2) + &reachable("web") + &reachable("reviews-v2")));
    assert_eq!(said(&holding(""), &change), []);
}

#[test]
fn policies_are_refused_for_targets_that_do_not_exist() {
    let told = only(&holding(&reachable("stock")), &puts(&access("a", "stok", "")));
    assert_eq!((told.code, told.field.0.as_str()), (Code::DanglingReference, "spec.targetRefs[0].name"));
    assert_eq!(told.hint.as_deref(), Some("did you mean stock?"));
    assert!(told.is_error());
}

#[test]
fn deleting_what_others_name_warns_of_each_of_them() {
    let current = holding(&(reachable("web") + &reachable("reviews-v2") + &route("canary", TO_V2)));
    let change = [Proposed::delete(reference(Kind::Service, "shop", "reviews-v2"))];
    let dangling =
        |object: &str, field: &str| (object.to_owned(), field.to_owned(), Severity::Warning, Code::DanglingReference);
    assert_eq!(
        said(&current, &change),
        [
            dangling("HTTPRoute shop/canary", "spec.rules[0].backendRefs[1].name"),
            dangling("AccessPolicy shop/reviews-v2", "spec.targetRefs[0].name"),
        ]
    );
}

#[test]
fn a_fault_that_is_in_force_already_does_not_refuse_the_same_object_again() {
    let route = route("canary", TO_V2);
    let mut current = holding(&(reachable("web") + &reachable("reviews-v2") + &route));
    current.apply([(reference(Kind::Service, "shop", "reviews-v2"), None)]);
    let (field, code) = ("spec.rules[0].backendRefs[1].name", Code::DanglingReference);
    let known = ("HTTPRoute shop/canary".to_owned(), field.to_owned(), Severity::Warning, code);
    assert_eq!(said(&current, &puts(&route)), [known]);
    // Others' writes do not hear of it, and a start-up hears of everything as a warning.
    assert_eq!(said(&current, &puts(&reachable("cart"))), []);
    let all = verify(&current, Subject::InForce);
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all.iter().all(|diagnostic| !diagnostic.is_error()));
}

#[test]
fn a_backend_of_another_namespace_and_a_foreign_parent_are_errors() {
    let current = holding(&reachable("web"));
    let foreign = "{name: web, port: 80}, {name: web, namespace: other, port: 80}";
    let told = only(&current, &puts(&route("canary", foreign)));
    assert_eq!((told.code, told.field.0.as_str()), (Code::DanglingReference, "spec.rules[0].backendRefs[1].namespace"));
    assert!(told.is_error() && told.hint.unwrap().contains("ReferenceGrant"));

    let consumer = route("canary", "{name: web, port: 80}")
        .replace("name: canary, namespace: shop", "name: canary, namespace: lab");
    let here = service("web").replace("namespace: shop", "namespace: lab");
    let consumer = consumer.replace("kind: Service, name: web", "kind: Service, namespace: shop, name: web");
    let told = said(&current, &puts(&(here + &consumer)));
    assert_eq!(told[0].1, "spec.parentRefs[0].namespace");
    assert_eq!((told[0].2, told[0].3), (Severity::Error, Code::UnsupportedField));
}

#[test]
fn the_younger_of_two_equal_policies_is_warned() {
    let policy = |name: &str| {
        format!(
            "
---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: {name}, namespace: shop}}
spec: {{targetRefs: [{{group: '', kind: Service, name: web}}], timeouts: {{request: 3s}}}}
"
        )
    };
    // By name it would win; but it is new, and the other is not.
    let told = only(&holding(&(reachable("web") + &policy("z"))), &puts(&policy("a")));
    assert_eq!((told.code, told.severity), (Code::OverriddenField, Severity::Warning));
    assert_eq!(told.field.0, "spec.timeouts.request");
    assert!(told.text.starts_with("TrafficPolicy shop/z is older"), "{}", told.text);
}

#[test]
fn a_service_past_the_documented_size_is_an_error_of_the_write_that_passes_it() {
    let mut current = holding(&service("web"));
    let Proposed::Put { object: Object::Workload(template), .. } = puts(&workload("web")).remove(0) else { panic!() };
    let numbered = |at: usize| {
        let mut workload = (*template).clone();
        workload.meta.name = format!("web-{at}").parse().unwrap();
        Object::Workload(Arc::new(workload))
    };
    current.apply((0..MAX_ENDPOINTS).map(|at| {
        let stored = Stored { object: numbered(at), owner: Owner::api(), created: 1, modified: 1, source: None };
        (stored.object.reference(), Some(Arc::new(stored)))
    }));
    assert_eq!(verify(&current, Subject::InForce), []);
    let told = only(&current, &[Proposed::put(numbered(MAX_ENDPOINTS))]);
    assert_eq!((told.code, told.severity), (Code::OverBudget, Severity::Error));
    assert_eq!(told.object.as_deref(), Some("Service shop/web"));
    assert!(verify(&current, Subject::Change(&Owner::api(), &[Proposed::put(numbered(0))])).is_empty());
}

#[test]
fn too_many_findings_are_cut_with_errors_first_and_the_rest_counted() {
    let current = holding(&(reachable("web") + &service("v2")));
    let lost: String = (0..600).map(|at| route(&format!("lost-{at}"), "{name: gone, port: 80}")).collect();
    let late: String = (0..600).map(|at| route(&format!("a-{at}"), "{name: v2, port: 80}")).collect();
    let told = verify(&current, Subject::Change(&Owner::api(), &puts(&(late + &lost))));
    assert_eq!(told.len(), MAX_DIAGNOSTICS);
    assert_eq!(told.iter().filter(|diagnostic| diagnostic.is_error()).count(), 600);
    assert!(told[..600].iter().all(weft_model::Diagnostic::is_error));
    let last = &told[MAX_DIAGNOSTICS - 1];
    // Each route but the oldest is shadowed, and half of them reach nothing.
    assert_eq!(last.text, format!("{} more findings are left out", 600 + 600 + 1199 - MAX_DIAGNOSTICS + 1));
}
