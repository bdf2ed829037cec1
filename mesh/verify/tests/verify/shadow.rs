//! Matches that never win: told exactly for everything but regular expressions, and never wrongly.
use std::{collections::BTreeSet, sync::Arc};

use proptest::{prelude::*, sample};
use weft_compile::Compiler;
use weft_decide::{RequestHead, Routing, Scope, Snapshot, normalize, route};
use weft_ir::{Resource, RouteOrigin};
use weft_model::{
    BackendRef, Code, Filters, HeaderFilters, HeaderMatch, HttpMatch, HttpMethod, HttpRoute, HttpRule, Kind, Labels,
    Meta, Object, Owner, ParentRef, PathMatch, Port, Severity, Stored, TextMatch,
};
use weft_verify::{Subject, verify};

use crate::support::{holding, only, puts, reachable, reference, said, service};

fn two_rules(first: &str, second: &str) -> String {
    let rule = |matches: &str| format!("{{matches: [{matches}], backendRefs: [{{name: web, port: 80}}]}}");
    format!(
        "
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: canary, namespace: shop}}
spec:
  parentRefs: [{{group: '', kind: Service, name: web}}]
  rules: [{}, {}]
",
        rule(first),
        rule(second)
    )
}

#[test]
fn a_match_that_an_earlier_rule_takes_is_told_with_that_rule() {
    let same = "{path: {value: /a}, headers: [{name: X-Canary, value: always}]}";
    let told = only(&holding(&reachable("web")), &puts(&two_rules(same, same)));
    assert_eq!((told.code, told.severity), (Code::ShadowedRule, Severity::Warning));
    assert_eq!(told.field.0, "spec.rules[1].matches[0]");
    assert!(told.text.contains("HTTPRoute shop/canary rule 0 match 0"), "{}", told.text);
}

#[test]
fn an_older_route_shadows_a_younger_one_and_the_change_of_either_tells() {
    let both = "{path: {value: /a}}";
    let older = two_rules(both, "{path: {value: /b}}");
    let younger = two_rules("{path: {value: /a}}", "{path: {value: /c}}").replace("name: canary", "name: younger");
    let shadowed = |object: &str| {
        let (object, field) = (object.to_owned(), "spec.rules[0].matches[0]".to_owned());
        [(object, field, Severity::Warning, Code::ShadowedRule)]
    };
    let current = holding(&(reachable("web") + &older));
    assert_eq!(said(&current, &puts(&younger)), shadowed("HTTPRoute shop/younger"));
    let current = holding(&(reachable("web") + &older.replace("/a", "/d") + &younger));
    assert_eq!(said(&current, &puts(&older)), shadowed("HTTPRoute shop/younger"));
}

#[test]
fn a_match_that_wins_at_one_of_its_hosts_is_not_told() {
    let text = two_rules("{path: {value: /a}}", "{path: {value: /b}}");
    let at_both = text
        .replace("name: canary", "name: both")
        .replace("name: web}]", "name: web}, {group: '', kind: Service, name: cart}]");
    let current = holding(&(reachable("web") + &service("cart") + &text));
    assert_eq!(said(&current, &puts(&at_both)), []);
}

fn path() -> impl Strategy<Value = PathMatch> {
    let text = sample::select(&["/", "/a", "/a/b", "/b"][..]);
    (text, 0..8u8).prop_map(|(path, kind)| match kind {
        0..=3 => PathMatch::Prefix(path.to_owned()),
        4..=6 => PathMatch::Exact(path.to_owned()),
        _ => PathMatch::Regex(format!("{path}.*")),
    })
}

fn http_match() -> impl Strategy<Value = HttpMatch> {
    let method = proptest::option::of(sample::select(&["GET", "PUT"][..]));
    let value = prop_oneof![
        3 => sample::select(&["x", "y"][..]).prop_map(|it| TextMatch::Exact(it.to_owned())),
        1 => Just(TextMatch::Regex("x|y".to_owned())),
    ];
    let headers = proptest::collection::btree_map(sample::select(&["k", "l"][..]), value, 0..3);
    (path(), method, headers).prop_map(|(path, method, headers)| HttpMatch {
        path,
        method: method.map(|method| HttpMethod(method.to_owned())),
        headers: headers.into_iter().map(|(name, value)| HeaderMatch { name: name.to_owned(), value }).collect(),
        query: Vec::new(),
    })
}

fn http_route(name: &'static str) -> impl Strategy<Value = Object> {
    let rules = proptest::collection::vec(proptest::collection::vec(http_match(), 0..4), 1..5);
    rules.prop_map(move |rules| {
        let (namespace, web) = ("shop".parse().unwrap(), "web".parse().unwrap());
        let backend =
            BackendRef { namespace, name: web, port: Port::HTTP, weight: 1, headers: HeaderFilters::default() };
        let parent = ParentRef { namespace: backend.namespace.clone(), name: backend.name.clone(), port: None };
        let rule = |matches| HttpRule {
            name: None,
            matches,
            filters: Filters::default(),
            backends: vec![backend.clone()],
            request_timeout: None,
            backend_timeout: None,
        };
        let meta = Meta {
            name: name.parse().unwrap(),
            namespace: backend.namespace.clone(),
            labels: Labels::new(),
            annotations: Labels::new(),
        };
        Object::HttpRoute(Arc::new(HttpRoute {
            meta,
            parents: vec![parent],
            rules: rules.into_iter().map(rule).collect(),
        }))
    })
}

/// Which match takes a request, by the evaluator that proxies use: object and field.
fn winner(snapshot: &Snapshot, method: &str, path: &str, headers: &[(&[u8], &[u8])]) -> Option<(String, String)> {
    let (method, target) = (method.as_bytes(), path.as_bytes());
    let head = RequestHead { method, authority: b"web.shop", target, headers, source: None };
    let request = normalize(snapshot.scope(), &head).unwrap();
    let Routing::Routed(routed) = route(snapshot, &request, 0) else { return None };
    let origin = routed.origin().unwrap();
    let RouteOrigin::Rule { object, rule, alternative } = origin else { return None };
    Some((object.to_string(), format!("spec.rules[{rule}].matches[{alternative}]")))
}

fn with_routes(routes: impl IntoIterator<Item = Object>) -> (Compiler, Snapshot) {
    let mut compiler = holding(&reachable("web"));
    compiler.apply(routes.into_iter().zip(10..).map(|(object, at)| {
        let stored = Stored { object, owner: Owner::api(), created: at, modified: at, source: None };
        (stored.object.reference(), Some(Arc::new(stored)))
    }));
    let resources: Vec<Resource> = compiler.keys().map(|key| compiler.resource(key).unwrap().clone()).collect();
    let scope =
        Scope { namespace: "shop".parse().unwrap(), names: compiler.names().clone(), locality: Default::default() };
    let snapshot = Snapshot::complete(scope, "test/all=1", resources).unwrap();
    (compiler, snapshot)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_said_to_be_shadowed_never_wins_and_what_is_not_can_win(routes in (http_route("one"), http_route("two"))) {
        let (compiler, snapshot) = with_routes([routes.0, routes.1]);
        let shadowed: BTreeSet<_> = verify(&compiler, Subject::InForce)
            .into_iter()
            .filter(|diagnostic| diagnostic.code == Code::ShadowedRule)
            .map(|diagnostic| {
                let field = diagnostic.field.to_string();
                let field = if field.contains("matches") { field } else { format!("{field}.matches[0]") };
                (diagnostic.object.unwrap(), field)
            })
            .collect();

        let values = [None, Some("x"), Some("y"), Some("z")];
        for path in ["/", "/a", "/a/b", "/a/b/c", "/ab", "/b", "/b/a", "/c"] {
            for method in ["GET", "PUT", "BREW"] {
                for (k, l) in values.iter().flat_map(|k| values.iter().map(move |l| (k, l))) {
                    let headers: Vec<_> = [("k", k), ("l", l)]
                        .into_iter()
                        .filter_map(|(name, value)| Some((name.as_bytes(), (*value)?.as_bytes())))
                        .collect();
                    let won = winner(&snapshot, method, path, &headers);
                    prop_assert!(won.is_none_or(|won| !shadowed.contains(&won)), "{method} {path} {headers:?}");
                }
            }
        }

        let regex = |it: &HttpMatch| {
            matches!(it.path, PathMatch::Regex(_)) || it.headers.iter().any(|it| matches!(it.value, TextMatch::Regex(_)))
        };
        let routes = ["one", "two"].map(|name| compiler.stored(&reference(Kind::HttpRoute, "shop", name)).unwrap());
        let rules = |stored: &Arc<Stored>| match &stored.object {
            Object::HttpRoute(route) => route.rules.clone(),
            _ => Vec::new(),
        };
        // Beside a regular expression, what is not told may be shadowed all the same.
        if routes.iter().any(|stored| rules(stored).iter().any(|rule| rule.matches.iter().any(regex))) {
            return Ok(());
        }
        for stored in routes {
            for (rule, it) in rules(stored).iter().enumerate() {
                for (at, it) in it.matches.iter().enumerate() {
                    let path = match &it.path {
                        PathMatch::Exact(path) => path.clone(),
                        PathMatch::Prefix(path) | PathMatch::Regex(path) => format!("{}/zz", path.trim_end_matches('/')),
                    };
                    let method = it.method.as_ref().map_or("BREW", |method| method.0.as_str());
                    let headers: Vec<(&[u8], &[u8])> = it.headers.iter().map(|header| match &header.value {
                        TextMatch::Exact(value) | TextMatch::Regex(value) => (header.name.as_bytes(), value.as_bytes()),
                    }).collect();
                    let own = (stored.object.reference().to_string(), format!("spec.rules[{rule}].matches[{at}]"));
                    let wins = winner(&snapshot, method, &path, &headers).as_ref() == Some(&own);
                    prop_assert_eq!(wins, !shadowed.contains(&own), "{:?}", own);
                }
            }
        }
    }
}
