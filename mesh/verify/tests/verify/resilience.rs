//! What a TrafficPolicy says that comes to nothing, or to more than its author may want.
use weft_model::{Code, Severity};

use crate::support::{holding, only, puts, reachable, route, said, workload};

/// A TrafficPolicy of a target in namespace `shop`.
fn policy(target: &str, fields: &str) -> String {
    format!(
        "
---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: calm, namespace: shop}}
spec: {{targetRefs: [{{{target}}}], {fields}}}
"
    )
}

const WEB: &str = "kind: Service, name: web";
const EJECTION: &str = "outlierEjection: {}";

/// A route of `web` whose named rule takes POST only.
fn posts() -> String {
    route("orders", "{name: web, port: 80}").replace(
        "rules: [{backendRefs",
        "rules: [{backendRefs: [{name: web, port: 80}]}, {name: order, matches: [{method: POST}], backendRefs",
    )
}

fn second_workload() -> String {
    workload("web").replace("name: web-1", "name: web-2").replace("10.0.0.1", "10.0.0.2")
}

#[test]
fn ejection_from_a_service_of_one_workload_is_warned_of() {
    let told = only(&holding(&reachable("web")), &puts(&policy(WEB, EJECTION)));
    assert_eq!((told.code, told.severity), (Code::NoEffect, Severity::Warning));
    assert_eq!(told.field.0, "spec.outlierEjection");
    assert!(told.text.contains("port 80 of shop/web"), "{told}");
    let two = holding(&(reachable("web") + &second_workload()));
    assert_eq!(said(&two, &puts(&policy(WEB, EJECTION))), []);
    let wide = puts(&policy("kind: Namespace, name: shop", EJECTION));
    assert_eq!(said(&holding(&reachable("web")), &wide), [], "a namespace has Services of every size");
}

#[test]
fn a_try_that_may_take_longer_than_its_request_is_warned_of() {
    let timed = route("slow", "{name: web, port: 80}")
        .replace("rules: [{backendRefs", "rules: [{timeouts: {request: 200ms}, backendRefs");
    let current = holding(&(reachable("web") + &timed));
    let told = only(&current, &puts(&policy(WEB, "retries: {perTryTimeout: 1s}")));
    assert_eq!((told.code, told.severity), (Code::NoEffect, Severity::Warning));
    assert_eq!(told.field.0, "spec.retries.perTryTimeout");
    assert!(told.text.contains("HTTPRoute shop/slow rule 0 match 0 ends after 200ms"), "{told}");
    assert_eq!(said(&current, &puts(&policy(WEB, "retries: {perTryTimeout: 200ms}"))), []);
}

#[test]
fn a_request_that_ends_before_it_can_stand_still_for_long_is_warned_of() {
    let current = holding(&reachable("web"));
    let told = only(&current, &puts(&policy(WEB, "timeouts: {request: 2s, idle: 3s}")));
    assert_eq!((told.code, told.severity), (Code::NoEffect, Severity::Warning));
    assert_eq!(told.field.0, "spec.timeouts.idle");
    assert!(told.text.contains("ends after 2s, before it could stand still for 3s"), "{told}");
    assert_eq!(said(&current, &puts(&policy(WEB, "timeouts: {request: 3s, idle: 2s}"))), []);
    assert_eq!(said(&current, &puts(&policy(WEB, "timeouts: {idle: 2s}"))), []);
    let told = only(&current, &puts(&policy(WEB, "timeouts: {request: 1h, idle: 3s, stream: 2s}")));
    assert!(told.text.contains("ends after 2s, before it could stand still for 3s"), "{told}");
}

#[test]
fn repeating_posts_and_not_repeating_them_are_both_warned_of() {
    let current = holding(&(reachable("web") + &posts()));
    let target = "kind: HTTPRoute, name: orders, sectionName: order";
    let told = only(&current, &puts(&policy(target, "retries: {safe: always, attempts: 3}")));
    assert_eq!((told.code, told.severity), (Code::UnsafeRepeat, Severity::Warning));
    assert_eq!(told.field.0, "spec.retries.safe");
    assert!(told.text.contains("rule 1 match 0 takes POST only") && told.text.contains("4 times"), "{told}");
    let told = only(&current, &puts(&policy(target, "retries: {}")));
    assert_eq!((told.code, told.field.0.as_str()), (Code::NoEffect, "spec.retries"));
    assert_eq!(said(&current, &puts(&policy(target, "retries: {safe: never}"))), []);
}

#[test]
fn a_rule_that_is_not_targeted_is_not_looked_at() {
    let named = posts().replace("rules: [{backendRefs", "rules: [{name: plain, backendRefs");
    let current = holding(&(reachable("web") + &named));
    let target = "kind: HTTPRoute, name: orders, sectionName: plain";
    assert_eq!(said(&current, &puts(&policy(target, "retries: {safe: always}"))), []);
}

#[test]
fn a_balance_by_key_without_a_key_and_a_key_that_all_share_are_warned_of() {
    let current = holding(&reachable("web"));
    for balance in ["RingHash", "Maglev"] {
        let balanced = format!("loadBalancing: {{type: {balance}}}");
        let told = only(&current, &puts(&policy(WEB, &balanced)));
        assert_eq!((told.code, told.severity), (Code::NoEffect, Severity::Warning));
        assert_eq!(told.field.0, "spec.loadBalancing.type");
        assert!(told.text.contains("no route to shop/web has an affinity"), "{told}");
        let keyed = format!("{balanced}, affinity: {{query: {{name: user}}}}");
        assert_eq!(said(&current, &puts(&policy(WEB, &keyed))), []);
    }
    assert_eq!(said(&current, &puts(&policy(WEB, "loadBalancing: {type: PeakEwma}"))), []);
    let told = only(&current, &puts(&policy(WEB, "affinity: {sourceAddress: {}}")));
    assert_eq!((told.code, told.field.0.as_str()), (Code::NoEffect, "spec.affinity.sourceAddress"));
}

#[test]
fn a_key_on_a_route_from_another_service_is_a_key() {
    let split =
        route("front", "{name: web, port: 80}").replace("kind: Service, name: web", "kind: Service, name: front");
    let front = reachable("web") + &reachable("front") + &split;
    let balanced = policy(WEB, "loadBalancing: {type: Maglev}");
    let current = holding(&front);
    assert_eq!(only(&current, &puts(&balanced)).field.0, "spec.loadBalancing.type");
    let keyed = balanced
        + &policy("kind: HTTPRoute, name: front", "affinity: {header: {name: x-user}}").replace("calm", "keyed");
    assert_eq!(said(&current, &puts(&keyed)), []);
}

#[test]
fn near_endpoints_first_and_a_slow_start_that_make_no_difference_are_warned_of() {
    let near = puts(&policy(WEB, "loadBalancing: {locality: {}}"));
    let told = only(&holding(&reachable("web")), &near);
    assert_eq!((told.code, told.field.0.as_str()), (Code::NoEffect, "spec.loadBalancing.locality"));
    assert!(told.to_string().contains("topology.kubernetes.io/zone"), "{told}");
    let placed = reachable("web").replace("labels: {app: web}", "labels: {app: web, topology.kubernetes.io/zone: a}");
    assert_eq!(said(&holding(&placed), &near), []);
    assert_eq!(
        said(&holding(&reachable("web")), &puts(&policy(WEB, "loadBalancing: {locality: {enabled: false}}"))),
        []
    );
    let slow = |balance: &str| puts(&policy(WEB, &format!("loadBalancing: {{type: {balance}, slowStart: {{}}}}")));
    let told = only(&holding(&reachable("web")), &slow("Random"));
    assert_eq!((told.code, told.field.0.as_str()), (Code::NoEffect, "spec.loadBalancing.slowStart"));
    assert_eq!(said(&holding(&reachable("web")), &slow("PeakEwma")), []);
}

#[test]
fn success_rates_of_too_few_workloads_are_warned_of() {
    let two = holding(&(reachable("web") + &second_workload()));
    let told = only(&two, &puts(&policy(WEB, "outlierEjection: {successRate: {}}")));
    assert_eq!((told.code, told.field.0.as_str()), (Code::NoEffect, "spec.outlierEjection.successRate"));
    assert!(told.text.contains("2 of the 5 workloads"), "{told}");
    assert_eq!(said(&two, &puts(&policy(WEB, "outlierEjection: {successRate: {minimumEndpoints: 2}}"))), []);
}

#[test]
fn calls_of_grpcs_health_service_where_nobody_speaks_http2_are_warned_of() {
    let current = holding(&reachable("web"));
    let told = only(&current, &puts(&policy(WEB, "healthCheck: {grpc: {}}")));
    assert_eq!((told.code, told.severity), (Code::NoEffect, Severity::Warning));
    assert_eq!(told.field.0, "spec.healthCheck.grpc");
    assert!(told.text.contains("port 80 of shop/web speaks HTTP/1.1"), "{told}");
    assert_eq!(said(&current, &puts(&policy(WEB, "healthCheck: {http: {path: /}}"))), []);
    let grpc = reachable("web").replace("targetPort: http", "targetPort: http, appProtocol: grpc");
    assert_eq!(said(&holding(&grpc), &puts(&policy(WEB, "healthCheck: {grpc: {}}"))), []);
}
