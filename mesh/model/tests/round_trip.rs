//! Decoding what was encoded yields an equal object, for every kind.
use proptest::prelude::*;
use weft_model::{Object, decode, encode, strategies};

fn only_object(text: &str) -> Object {
    let decoded = decode("-", text);
    assert!(decoded.diagnostics.is_empty(), "{:#?}\n{text}", decoded.diagnostics);
    assert_eq!(decoded.objects.len(), 1, "{text}");
    decoded.objects.into_iter().next().unwrap().0
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_object_is_read_back_from_its_json(object in strategies::object()) {
        let json = encode::to_json(&object);
        prop_assert_eq!(&only_object(&json.to_string()), &object);
        prop_assert_eq!(&only_object(&format!("{json:#}")), &object);
    }

    #[test]
    fn an_object_is_read_back_from_its_yaml(object in strategies::object()) {
        prop_assert_eq!(only_object(&encode::to_yaml(&object)), object);
    }

    #[test]
    fn objects_are_read_back_from_a_list_and_from_documents(objects in proptest::collection::vec(strategies::object(), 0..5)) {
        let mut expected: Vec<Object> = Vec::new();
        for object in objects {
            if expected.iter().all(|other| other.reference() != object.reference()) {
                expected.push(object);
            }
        }
        let items: Vec<_> = expected.iter().map(encode::to_json).collect();
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        let documents = expected.iter().map(encode::to_yaml).collect::<Vec<_>>().join("---\n");
        for text in [list, documents] {
            let decoded = decode("-", &text);
            prop_assert_eq!(&decoded.diagnostics, &[]);
            let objects: Vec<_> = decoded.objects.into_iter().map(|(object, _)| object).collect();
            prop_assert_eq!(&objects, &expected);
        }
    }
}
