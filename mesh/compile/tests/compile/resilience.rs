//! Limits, breaking, ejection, retries and affinity: field by field by specificity, with defaults for the rest.
use std::{num::NonZeroU32, time::Duration};

use weft_ir::{
    Balance, Breaker, Cluster, Ejection, HealthCheck, Limits, NearFirst, Probe, Retry, RetryBackoff, RetryBudget,
    SlowStart, SuccessRate,
};
use weft_model::{AffinityKey, Code, Errors, Kind, RepeatSafety, StatusRange};

use crate::support::{Mesh, service};

const HOST: &str = "web.shop.svc.cluster.local";
const MESH: &str = "group: weft.dev, kind: Mesh, name: mesh";
const WEB: &str = "kind: Service, name: web";
const ROUTE: &str = "kind: HTTPRoute, name: split";

/// A TrafficPolicy with one target; one of the mesh stands in the root namespace.
fn policy(name: &str, target: &str, fields: &str) -> String {
    let namespace = if target == MESH { "weft-system" } else { "shop" };
    format!(
        "
---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{targetRefs: [{{{target}}}], {fields}}}
"
    )
}

/// A route of Service `web` with a rule `first` for `/first`, a rule for everything, and one for `/gone` whose backend
/// does not exist.
const SPLIT: &str = "
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: split, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: web}]
  rules:
  - {name: first, matches: [{path: {type: Exact, value: /first}}], backendRefs: [{name: web, port: 80}]}
  - {matches: [{path: {type: Exact, value: /gone}}], backendRefs: [{name: gone, port: 80}]}
  - {backendRefs: [{name: web, port: 80}]}
";

fn cluster(mesh: &Mesh) -> Cluster {
    (*mesh.cluster("local/shop/web:80").unwrap()).clone()
}

fn retries(mesh: &Mesh) -> Vec<Option<Retry>> {
    mesh.host(HOST).unwrap().routes.iter().map(|route| route.retry.clone()).collect()
}

#[test]
fn nothing_is_limited_broken_ejected_or_repeated_unless_it_is_written() {
    let mesh = Mesh::of(&(service("web") + SPLIT));
    let Cluster { balance, near_first, slow_start, limits, breaker, ejection, .. } = cluster(&mesh);
    assert_eq!((balance, limits, breaker, ejection), (Balance::RoundRobin, Limits::default(), None, None));
    assert_eq!((near_first, slow_start), (None, None));
    assert!(mesh.host(HOST).unwrap().routes.iter().all(|route| route.retry.is_none() && route.affinity.is_none()));
}

#[test]
fn an_empty_block_stands_for_its_defaults() {
    let fields = "circuitBreaker: {}, outlierEjection: {}, retries: {}, affinity: {cookie: {}}";
    let mesh = Mesh::of(&(service("web") + &policy("web", WEB, fields)));
    let Cluster { breaker, ejection, .. } = cluster(&mesh);
    assert_eq!((breaker, ejection), (Some(Breaker::default()), Some(Ejection::default())));
    assert_eq!(retries(&mesh), [Some(Retry::default())]);
    let key = mesh.host(HOST).unwrap().routes[0].affinity.clone().unwrap().key;
    assert_eq!(key, AffinityKey::Cookie { name: "weft-affinity".into(), path: "/".into(), ttl: None });
}

#[test]
fn each_field_comes_from_the_most_specific_policy_that_writes_it() {
    let wide = "loadBalancing: {type: LeastRequest}, limits: {maxRequests: 9, maxPending: 3}, \
                circuitBreaker: {consecutiveFailures: 4, openTime: 5s}, \
                retries: {attempts: 4, perTryTimeout: 1s, budget: {percent: 5}}";
    let narrow = "limits: {maxRequests: 7, maxConnections: 2}, circuitBreaker: {openTime: 6s}, \
                  retries: {attempts: 3, safe: always, backoff: {base: 100ms}}";
    let route = "retries: {attempts: 1, perTryTimeout: 0s}";
    let text = service("web")
        + SPLIT
        + &policy("wide", MESH, wide)
        + &policy("web", WEB, narrow)
        + &policy("rule", &format!("{ROUTE}, sectionName: first"), route);
    let mesh = Mesh::of(&text);
    let Cluster { balance, limits, breaker, ejection, origins, .. } = cluster(&mesh);
    let limit = NonZeroU32::new;
    let expected = Limits { max_connections: limit(2), max_pending: limit(3), max_requests: limit(7) };
    assert_eq!((balance, limits, ejection), (Balance::LeastRequest, expected, None));
    let expected = Breaker { consecutive_failures: 4, open_time: Duration::from_secs(6), ..Breaker::default() };
    assert_eq!(breaker, Some(expected));
    let origins: Vec<_> = origins.iter().map(ToString::to_string).collect();
    assert_eq!(origins, ["Service shop/web", "TrafficPolicy shop/web", "TrafficPolicy weft-system/wide"]);
    let of_service = Retry {
        attempts: 3,
        repeats_are_safe: RepeatSafety::Always,
        per_try_timeout: Some(Duration::from_secs(1)),
        backoff: RetryBackoff { base: Duration::from_millis(100), max: Duration::from_secs(1) },
        budget: RetryBudget { percent: 5, ..RetryBudget::default() },
        ..Retry::default()
    };
    let of_rule = Retry { attempts: 1, per_try_timeout: None, ..of_service.clone() };
    assert_eq!(retries(&mesh), [Some(of_rule), None, Some(of_service)], "what is refused is not repeated");
    assert_eq!(mesh.compiler.diagnostics(&crate::support::reference(Kind::TrafficPolicy, "shop", "web")), []);
}

#[test]
fn health_checks_ask_each_port_what_it_can_answer() {
    let mut mesh =
        Mesh::of(&(service("web") + &policy("wide", MESH, "healthCheck: {interval: 3s, unhealthyThreshold: 5}")));
    let plain = HealthCheck { interval: Duration::from_secs(3), unhealthy_threshold: 5, ..HealthCheck::DEFAULT };
    assert_eq!(cluster(&mesh).health_check, Some(plain.clone()));
    mesh.put(&policy(
        "web",
        WEB,
        "healthCheck: {http: {path: /ready, expectedStatuses: [204, '300-308']}, interval: 1s}",
    ));
    let host = "web.shop.svc.cluster.local".to_owned();
    let statuses = vec![StatusRange { first: 204, last: 204 }, StatusRange { first: 300, last: 308 }];
    let probe = Probe::Http { host, path: "/ready".into(), statuses };
    let http = HealthCheck { probe, interval: Duration::from_secs(1), ..plain };
    assert_eq!(cluster(&mesh).health_check, Some(http));
    let ports = "ports: [{port: 8080, name: a, appProtocol: http}, {port: 9000, name: b, appProtocol: tcp}]";
    mesh.put(&service("web").replace("ports: [{port: 80, targetPort: http}]", ports));
    let asked = |name: &str| mesh.cluster(name).unwrap().health_check.clone().unwrap().probe;
    assert!(
        matches!(asked("local/shop/web:8080"), Probe::Http { host, .. } if host == "web.shop.svc.cluster.local:8080")
    );
    assert_eq!(asked("local/shop/web:9000"), Probe::Tcp, "bytes are not asked for a path");
    mesh.put(&policy("web", WEB, "healthCheck: {enabled: false}"));
    assert_eq!(mesh.cluster("local/shop/web:9000").unwrap().health_check, None);
}

#[test]
fn a_more_specific_policy_takes_back_what_a_wider_one_turns_on() {
    let on = "circuitBreaker: {probes: 2}, outlierEjection: {}, retries: {}";
    let off = "circuitBreaker: {enabled: false}, outlierEjection: {enabled: false}, retries: {enabled: false}";
    let mut mesh = Mesh::of(&(service("web") + &policy("wide", MESH, on)));
    assert_eq!(cluster(&mesh).breaker.unwrap().probes, 2);
    mesh.put(&policy("web", WEB, off));
    let Cluster { breaker, ejection, origins, .. } = cluster(&mesh);
    assert_eq!((breaker, ejection, retries(&mesh)), (None, None, vec![None]));
    assert!(origins.iter().any(|origin| origin.to_string() == "TrafficPolicy shop/web"), "it is why there is none");
    mesh.delete(Kind::TrafficPolicy, "shop", "web");
    assert_eq!(cluster(&mesh).breaker.unwrap().probes, 2);
}

#[test]
fn a_more_specific_policy_turns_on_again_what_a_wider_one_turned_off() {
    let off = policy("wide", MESH, "circuitBreaker: {enabled: false, openTime: 7s}");
    let mut mesh = Mesh::of(&(service("web") + &off));
    assert_eq!(cluster(&mesh).breaker, None);
    mesh.put(&policy("web", WEB, "circuitBreaker: {probes: 2}"));
    let breaker = cluster(&mesh).breaker.unwrap();
    assert_eq!((breaker.probes, breaker.open_time), (2, Duration::from_secs(7)));
    mesh.put(&policy("younger", WEB, "circuitBreaker: {enabled: false}"));
    assert!(cluster(&mesh).breaker.is_some(), "the older of two equals decides");
    let told = mesh.findings(Kind::TrafficPolicy, "shop", "younger");
    assert_eq!(told, [("spec.circuitBreaker.enabled".to_owned(), Code::OverriddenField)]);
}

#[test]
fn bounds_of_different_policies_never_cross() {
    let wide = "circuitBreaker: {maxOpenTime: 5s}, outlierEjection: {maxTime: 5s}, retries: {backoff: {max: 50ms}}";
    let narrow = "circuitBreaker: {openTime: 9s}, outlierEjection: {baseTime: 10m}, retries: {backoff: {base: 1s}}";
    let mesh = Mesh::of(&(service("web") + &policy("wide", MESH, wide) + &policy("web", WEB, narrow)));
    let Cluster { breaker, ejection, .. } = cluster(&mesh);
    assert_eq!(breaker.unwrap().max_open_time, Duration::from_secs(9));
    assert_eq!(ejection.unwrap().max_time, Duration::from_secs(600));
    let backoff = retries(&mesh)[0].clone().unwrap().backoff;
    assert_eq!(backoff, RetryBackoff { base: Duration::from_secs(1), max: Duration::from_secs(1) });
}

#[test]
fn near_endpoints_come_first_and_new_ones_start_slowly_where_that_is_written() {
    let wide = "loadBalancing: {type: LeastRequest, locality: {panicPercent: 30}, slowStart: {window: 1m}}";
    let narrow = "loadBalancing: {locality: {overprovisioningPercent: 200}, slowStart: {minWeightPercent: 5}}";
    let mut mesh = Mesh::of(&(service("web") + &policy("wide", MESH, wide) + &policy("web", WEB, narrow)));
    let Cluster { balance, near_first, slow_start, .. } = cluster(&mesh);
    assert_eq!(balance, Balance::LeastRequest, "a block without a type leaves it to others");
    assert_eq!(near_first, Some(NearFirst { overprovisioning_percent: 200, panic_percent: 30 }));
    let window = Duration::from_secs(60);
    assert_eq!(slow_start, Some(SlowStart { window, min_weight_percent: 5, ..SlowStart::default() }));
    mesh.put(&policy("web", WEB, "loadBalancing: {type: Random, locality: {enabled: false}}"));
    let Cluster { near_first, slow_start, .. } = cluster(&mesh);
    assert_eq!((near_first, slow_start), (None, None), "there is no slow start by chance");
}

#[test]
fn where_connections_are_limited_so_is_the_queue_for_them() {
    let mut mesh = Mesh::of(&(service("web") + &policy("web", WEB, "limits: {maxConnections: 5}")));
    assert_eq!(cluster(&mesh).limits.max_pending, Some(Limits::DEFAULT_MAX_PENDING));
    mesh.put(&policy("web", WEB, "limits: {maxRequests: 5}"));
    assert_eq!(cluster(&mesh).limits.max_pending, None);
}

#[test]
fn what_is_said_of_a_service_has_no_place_on_a_route() {
    let fields = "limits: {maxRequests: 5, maxPending: 1}, outlierEjection: {baseTime: 1s}, retries: {attempts: 3}";
    let mesh = Mesh::of(&(service("web") + SPLIT + &policy("route", ROUTE, fields)));
    let unsupported = |field: &str| (field.to_owned(), Code::UnsupportedField);
    let told = mesh.findings(Kind::TrafficPolicy, "shop", "route");
    assert_eq!(told, [unsupported("spec.limits"), unsupported("spec.outlierEjection")]);
    assert_eq!(cluster(&mesh).limits, Limits::default());
    assert_eq!(retries(&mesh)[0].as_ref().unwrap().attempts, 3);
}

#[test]
fn of_two_equal_policies_each_field_of_the_younger_that_loses_is_told() {
    let older = policy("older", WEB, "retries: {attempts: 3, safe: never}, circuitBreaker: {}");
    let younger = policy("younger", WEB, "retries: {attempts: 4, perTryTimeout: 1s}, circuitBreaker: {probes: 9}");
    let mut mesh = Mesh::of(&(service("web") + &older));
    mesh.put(&younger);
    let told = mesh.findings(Kind::TrafficPolicy, "shop", "younger");
    assert_eq!(told, [("spec.retries.attempts".to_owned(), Code::OverriddenField)]);
    let retry = retries(&mesh)[0].clone().unwrap();
    assert_eq!((retry.attempts, retry.repeats_are_safe), (3, RepeatSafety::Never));
    assert_eq!(retry.per_try_timeout, Some(Duration::from_secs(1)));
    assert_eq!(cluster(&mesh).breaker.unwrap().probes, 9);
}

#[test]
fn success_rates_count_where_a_policy_writes_their_block() {
    let wide = "outlierEjection: {errors: gateway, successRate: {interval: 20s}}";
    let mut mesh = Mesh::of(&(service("web") + &policy("wide", MESH, wide)));
    let found = cluster(&mesh).ejection.unwrap();
    assert_eq!(found.errors, Errors::Gateway);
    let interval = Duration::from_secs(20);
    assert_eq!(found.success_rate, Some(SuccessRate { interval, ..SuccessRate::default() }));
    mesh.put(&policy("web", WEB, "outlierEjection: {errors: any, successRate: {enabled: false}}"));
    let found = cluster(&mesh).ejection.unwrap();
    assert_eq!((found.errors, found.success_rate), (Errors::Any, None));
}
