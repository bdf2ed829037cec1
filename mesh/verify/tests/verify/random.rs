//! Random changes to random objects.
use proptest::{prelude::*, sample};
use weft_model::{Owner, Severity};
use weft_verify::{Proposed, Subject, verify};

use crate::support::{access, holding, puts, route, service, workload};

/// A file of objects that name each other, or nothing, in every way.
fn yaml() -> impl Strategy<Value = String> {
    let name = || sample::select(&["web", "v2", "stock"][..]);
    let rule = sample::select(
        &[
            "",
            "{action: Allow, from: [{anyone: true}]}",
            "{action: Deny, from: [{namespace: shop}]}",
            "{action: Allow, from: [{namespace: shop, account: web}], ports: [80]}",
        ][..],
    );
    let backends = (name(), name(), 80u16..82, 0u32..3).prop_map(|(a, b, port, weight)| {
        format!("{{name: {a}, port: 80}}, {{name: {b}, port: {port}, weight: {weight}}}")
    });
    let policy = |(name, target, seconds): (&str, &str, u8)| {
        format!(
            "
---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: {name}, namespace: shop}}
spec: {{targetRefs: [{{group: '', kind: Service, name: {target}}}], timeouts: {{request: {seconds}s}}, outlierEjection: {{}}}}
"
        )
    };
    let object = prop_oneof![
        name().prop_map(service),
        name().prop_map(workload),
        (name(), backends).prop_map(|(name, backends)| route(name, &backends)),
        (name(), name(), rule).prop_map(|(name, target, rule)| access(name, target, rule)),
        (name(), name(), 0u8..3).prop_map(policy),
    ];
    proptest::collection::vec(object, 0..8).prop_map(|objects| objects.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_change_that_is_taken_is_taken_again_and_leaves_nothing_unsaid(
        held in yaml(),
        new in yaml(),
        deleted in proptest::collection::vec(any::<sample::Index>(), 0..3),
    ) {
        // The first of two of the same name is left out, so that decoding takes the text.
        let unique = |text: &str| {
            let mut seen = std::collections::BTreeMap::new();
            for document in text.split("---").filter(|it| !it.trim().is_empty()) {
                let key: String = document.lines().filter(|it| it.starts_with("kind") || it.starts_with("metadata")).map(|it| it.split(", labels").next().unwrap()).collect();
                seen.insert(key, format!("---{document}"));
            }
            seen.into_values().collect::<String>()
        };
        let mut current = holding(&unique(&held));
        let mut change = puts(&unique(&new));
        let written: Vec<_> = change.iter().map(Proposed::reference).collect();
        for index in deleted {
            let objects: Vec<_> = current.objects().map(|(object, _)| object.clone()).collect();
            if let Some(object) = objects.get(index.index(objects.len().max(1))).filter(|it| !written.contains(it)) {
                change.push(Proposed::delete(object.clone()));
            }
        }
        let told = verify(&current, Subject::Change(&Owner::api(), &change));
        prop_assert_eq!(&told, &verify(&current, Subject::Change(&Owner::api(), &change)));
        let before = verify(&current, Subject::InForce);
        prop_assert!(before.iter().all(|diagnostic| diagnostic.severity == Severity::Warning));

        // What a start-up says after the change is what one said before it, or what the change was told.
        let puts: Vec<_> = change.iter().filter(|write| matches!(write, Proposed::Put { .. })).cloned().collect();
        current.apply(change.iter().map(|write| {
            let stored = match write {
                Proposed::Put { object, source, .. } => {
                    let created = current.stored(&object.reference()).map_or(100, |stored| stored.created);
                    Some(weft_model::Stored { object: object.clone(), owner: Owner::api(), created, modified: 100, source: source.clone() })
                }
                Proposed::Delete { .. } => None,
            };
            (write.reference(), stored.map(std::sync::Arc::new))
        }).collect::<Vec<_>>());
        let known = |it: &weft_model::Diagnostic, among: &[weft_model::Diagnostic]| {
            among.iter().any(|other| (&other.object, &other.field, other.code, &other.text) == (&it.object, &it.field, it.code, &it.text))
        };
        for after in verify(&current, Subject::InForce) {
            prop_assert!(known(&after, &before) || known(&after, &told), "{}", after);
        }
        // Applying the same again never fails.
        let again = verify(&current, Subject::Change(&Owner::api(), &puts));
        prop_assert!(again.iter().all(|diagnostic| !diagnostic.is_error()), "{:?}", again);
    }
}
