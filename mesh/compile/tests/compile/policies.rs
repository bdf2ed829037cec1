//! TrafficPolicies: which one wins, field by field.
use std::{sync::Arc, time::Duration};

use weft_model::{Code, Kind, Stored};

use crate::support::{Mesh, reference, service};

const HOST: &str = "web.shop.svc.cluster.local";

const ROUTE: &str = "
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: split, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: web}]
  rules:
  - {name: named, matches: [{path: {type: Exact, value: /named}}], backendRefs: [{name: web, port: 80}]}
  - {matches: [{path: {type: Exact, value: /plain}}], backendRefs: [{name: web, port: 80}]}
";

fn policy(name: &str, target: &str, seconds: u64) -> String {
    format!(
        "
---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: {name}, namespace: shop}}
spec: {{targetRefs: [{{{target}}}], timeouts: {{request: {seconds}s}}}}
"
    )
}

fn timeouts(mesh: &Mesh) -> Vec<Option<u64>> {
    mesh.host(HOST).unwrap().routes.iter().map(|route| route.timeout.map(|limit| limit.as_secs())).collect()
}

#[test]
fn the_most_specific_target_wins() {
    let mut mesh = Mesh::of(&(service("web") + ROUTE));
    assert_eq!(timeouts(&mesh), [None, None]);
    let wide = policy("mesh", "group: weft.dev, kind: Mesh, name: mesh", 1);
    mesh.put(&wide.replace("namespace: shop", "namespace: weft-system"));
    assert_eq!(timeouts(&mesh), [Some(1), Some(1)]);
    mesh.put(&policy("namespace", "group: '', kind: Namespace, name: shop", 2));
    assert_eq!(timeouts(&mesh), [Some(2), Some(2)]);
    mesh.put(&policy("service", "group: '', kind: Service, name: web", 3));
    assert_eq!(timeouts(&mesh), [Some(3), Some(3)]);
    mesh.put(&policy("route", "group: gateway.networking.k8s.io, kind: HTTPRoute, name: split", 4));
    assert_eq!(timeouts(&mesh), [Some(4), Some(4)]);
    let section = "group: gateway.networking.k8s.io, kind: HTTPRoute, name: split, sectionName: named";
    mesh.put(&policy("rule", section, 5));
    assert_eq!(timeouts(&mesh), [Some(5), Some(4)]);
    let origins: Vec<_> = mesh.host(HOST).unwrap().origins.iter().map(ToString::to_string).collect();
    let expected = ["Service shop/web", "HTTPRoute shop/split", "TrafficPolicy shop/route", "TrafficPolicy shop/rule"];
    assert_eq!(origins, expected);
    assert_eq!(mesh.compiler.all_diagnostics().count(), 0);
}

#[test]
fn a_routes_own_timeout_beats_policies_and_zero_means_none() {
    let own = ROUTE.replace("{name: named,", "{name: named, timeouts: {request: 7s},");
    let mut mesh = Mesh::of(&(service("web") + &own + &policy("a", "group: '', kind: Service, name: web", 3)));
    assert_eq!(timeouts(&mesh), [Some(7), Some(3)]);
    mesh.put(&own.replace("7s", "0s"));
    assert_eq!(timeouts(&mesh), [None, Some(3)]);
    assert_eq!(mesh.host(HOST).unwrap().routes[1].timeout, Some(Duration::from_secs(3)));
}

#[test]
fn of_two_equal_policies_the_older_wins_and_the_younger_is_told() {
    let target = "group: '', kind: Service, name: web";
    let mut mesh = Mesh::of(&(service("web") + &policy("older", target, 3)));
    mesh.put(&policy("a-younger", target, 4));
    assert_eq!(timeouts(&mesh), [Some(3)]);
    let lost = [("spec.timeouts.request".to_owned(), Code::OverriddenField)];
    assert_eq!(mesh.findings(Kind::TrafficPolicy, "shop", "a-younger"), lost);
    assert!(mesh.findings(Kind::TrafficPolicy, "shop", "older").is_empty());
    mesh.delete(Kind::TrafficPolicy, "shop", "older");
    assert_eq!(timeouts(&mesh), [Some(4)]);
    assert!(mesh.findings(Kind::TrafficPolicy, "shop", "a-younger").is_empty());
}

#[test]
fn a_missing_target_and_a_missing_rule_are_told() {
    let section = "group: gateway.networking.k8s.io, kind: HTTPRoute, name: split, sectionName: gone";
    let mesh = Mesh::of(
        &(service("web") + ROUTE + &policy("a", "group: '', kind: Service, name: gone", 3) + &policy("b", section, 3)),
    );
    let dangling = |field: &str| [(field.to_owned(), Code::DanglingReference)];
    assert_eq!(mesh.findings(Kind::TrafficPolicy, "shop", "a"), dangling("spec.targetRefs[0].name"));
    assert_eq!(mesh.findings(Kind::TrafficPolicy, "shop", "b"), dangling("spec.targetRefs[0].sectionName"));
}

/// A source that lists again after a gap sees only that the object is younger than it was.
#[test]
fn a_policy_that_was_deleted_and_made_again_unseen_is_no_longer_the_older() {
    let target = "group: '', kind: Service, name: web";
    let mut mesh = Mesh::of(&(service("web") + &policy("older", target, 3) + &policy("younger", target, 4)));
    assert_eq!(timeouts(&mesh), [Some(3)]);
    let older = reference(Kind::TrafficPolicy, "shop", "older");
    let renewed = Stored { created: 99, ..(**mesh.compiler.stored(&older).unwrap()).clone() };
    mesh.compiler.apply([(older, Some(Arc::new(renewed)))]);
    assert_eq!(timeouts(&mesh), [Some(4)]);
    let lost = [("spec.timeouts.request".to_owned(), Code::OverriddenField)];
    assert_eq!(mesh.findings(Kind::TrafficPolicy, "shop", "older"), lost);
}
