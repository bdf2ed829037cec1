//! Routes that reach no endpoint under policy.
use weft_model::{Code, Kind, Severity};
use weft_verify::Proposed;

use crate::support::{access, holding, only, puts, reachable, reference, route, said, service, workload};

const TO_V2: &str = "{name: v2, port: 80}";

/// What is said of a new route to `v2` under these rules; nothing if it reaches it.
fn unreached(rules: &str) -> Option<String> {
    let current = holding(&(reachable("web") + &service("v2") + &workload("v2") + &access("v2", "v2", rules)));
    let change = puts(&route("canary", TO_V2));
    let told = said(&current, &change);
    (!told.is_empty()).then(|| {
        let told = only(&current, &change);
        assert_eq!((told.code, told.severity), (Code::UnreachableRoute, Severity::Warning));
        assert_eq!(told.field.0, "spec.rules[0].backendRefs");
        assert!(told.hint.is_some());
        told.text
    })
}

#[test]
fn a_route_that_nobody_may_use_is_told_with_the_policies() {
    let nobody = "the rule reaches no endpoint: AccessPolicy shop/v2 let nobody call port 80 of shop/v2";
    for rules in [
        "",
        "{action: Deny, from: [{namespace: lab}]}",
        "{action: Allow, from: [{anyone: true}], ports: [81]}",
        "{action: Allow, from: [{anyone: true}]}, {action: Deny, from: [{anyone: true}]}",
        "{action: Allow, from: [{namespace: a, account: b}]}, {action: Deny, from: [{namespace: a}]}",
        "{action: Allow, from: [{namespace: a}]}, {action: Deny, from: [{namespace: a}, {namespace: b}]}",
        "{action: Allow, from: [{identity: 'spiffe://x/y'}]}, {action: Deny, from: [{identity: 'spiffe://x/y'}]}",
    ] {
        assert_eq!(unreached(rules).as_deref(), Some(nobody), "{rules}");
    }
}

#[test]
fn a_route_that_one_caller_may_use_is_not_told() {
    for rules in [
        "{action: Allow, from: [{anyone: true}]}",
        "{action: Allow, from: [{anyone: true}]}, {action: Deny, from: [{namespace: namespace-0}]}",
        "{action: Allow, from: [{namespace: a}]}, {action: Deny, from: [{namespace: a, account: account-0}]}",
        "{action: Allow, from: [{namespace: a, account: b}]}, {action: Deny, from: [{namespace: a, account: c}]}",
        "{action: Allow, from: [{identity: 'spiffe://x/y'}], ports: [80]}",
    ] {
        assert_eq!(unreached(rules), None, "{rules}");
    }
}

#[test]
fn a_backend_without_policy_workload_or_healthy_workload_is_told_with_the_cause() {
    let open = access("v2", "v2", "{action: Allow, from: [{anyone: true}]}");
    let draining = workload("v2").replace("ports:", "draining: true, ports:");
    let unhealthy = workload("v2").replace("ports:", "unhealthy: true, ports:");
    for (held, cause) in [
        (service("v2") + &workload("v2"), "no AccessPolicy selects shop/v2, so nobody may call it"),
        (service("v2") + &open, "no workload stands behind port 80 of shop/v2"),
        (service("v2") + &unhealthy + &open, "every workload behind port 80 of shop/v2 is draining or unhealthy"),
        (service("v2") + &draining + &open, "every workload behind port 80 of shop/v2 is draining or unhealthy"),
    ] {
        let current = holding(&(reachable("web") + &held));
        let told = only(&current, &puts(&route("canary", TO_V2)));
        assert_eq!(told.text, format!("the rule reaches no endpoint: {cause}"));
        // Beside a backend that is reached, it is the share that is lost.
        let told = only(&current, &puts(&route("canary", &format!("{{name: web, port: 80}}, {TO_V2}"))));
        assert_eq!(told.text, format!("its share reaches no endpoint: {cause}"));
        assert_eq!(told.field.0, "spec.rules[0].backendRefs[1]");
        // Without weight, nothing is lost.
        let none = format!("{{name: web, port: 80}}, {}", TO_V2.replace("80", "80, weight: 0"));
        assert_eq!(said(&current, &puts(&route("canary", &none))), []);
    }
}

#[test]
fn a_change_that_takes_a_routes_last_endpoint_or_caller_away_says_so() {
    let current = holding(&(reachable("web") + &reachable("v2") + &route("canary", TO_V2)));
    let (route, field) = ("HTTPRoute shop/canary".to_owned(), "spec.rules[0].backendRefs".to_owned());
    let lost = [(route, field, Severity::Warning, Code::UnreachableRoute)];
    for change in [
        vec![Proposed::delete(reference(Kind::Workload, "shop", "v2-1"))],
        vec![Proposed::delete(reference(Kind::AccessPolicy, "shop", "v2"))],
        puts(&access("deny", "v2", "{action: Deny, from: [{anyone: true}]}")),
        puts(&workload("v2").replace("app: v2", "app: v3")),
        puts(&service("v2").replace("app: v2", "app: v3")),
    ] {
        assert_eq!(said(&current, &change), lost, "{change:?}");
    }
}
