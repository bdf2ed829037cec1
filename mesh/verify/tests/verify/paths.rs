//! A match that no request can meet is refused when it is written, by the same reading of paths as requests have.
use proptest::{collection::vec, prelude::*, sample::select};
use weft_decide::{RequestHead, Scope, normalize};
use weft_model::decode;

use crate::support::compiler;

/// Whether a request for this very path has it as its normalized path.
fn is_normal(path: &str) -> bool {
    let scope =
        Scope { namespace: "shop".parse().unwrap(), names: compiler().names().clone(), locality: Default::default() };
    let head = RequestHead { method: b"GET", authority: b"web", target: path.as_bytes(), headers: &[], source: None };
    normalize(&scope, &head).is_ok_and(|normal| normal.target.path == path)
}

/// Whether an exact match on this path is taken.
fn is_taken(path: &str) -> bool {
    let value = format!("{path:?}");
    let text = format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: a, namespace: shop}}, spec: \
         {{parentRefs: [{{group: '', kind: Service, name: web}}], rules: [{{matches: [{{path: {{type: Exact, value: \
         {value}}}}}], backendRefs: [{{name: web, port: 80}}]}}]}}}}"
    );
    let decoded = decode("new.yaml", &text);
    assert!(decoded.diagnostics.iter().all(|told| told.hint.is_some()), "{:#?}", decoded.diagnostics);
    decoded.diagnostics.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_path_is_taken_exactly_if_a_request_can_have_it(parts in vec(select(&[
        "/", "/", "/", "a", "b", ".", "..", ";", ";x=1", "%", "%2F", "%2f", "%5C", "%41", "%20", "%01", "%7F", "%C3%A4",
        "%FF", "~", "!", "[", "ä", "*", ":", "%3B", "%2E",
    ][..]), 0..7)) {
        let path = format!("/{}", parts.concat());
        prop_assert_eq!(is_taken(&path), is_normal(&path), "{}", path);
    }
}
