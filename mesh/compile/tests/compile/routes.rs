//! HTTPRoutes: order, shares, refusals, attachment.
use weft_ir::RouteAction;
use weft_model::{Code, Kind};

use crate::support::{Mesh, service};

const HOST: &str = "web.shop.svc.cluster.local";

fn route(name: &str, rules: &str) -> String {
    format!(
        "
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: shop}}
spec:
  parentRefs: [{{group: '', kind: Service, name: web}}]
  rules: {rules}
"
    )
}

fn to(backends: &str) -> String {
    format!("[{{backendRefs: [{backends}]}}]")
}

#[test]
fn routes_are_ordered_by_precedence_then_age_then_name_then_place() {
    let rule = |matches: &str| format!("{{matches: [{matches}], backendRefs: [{{name: web, port: 80}}]}}");
    let path = |kind: &str, value: &str| format!("path: {{type: {kind}, value: {value}}}");
    let (exact, long, short) = (path("Exact", "/a"), path("PathPrefix", "/aa"), path("PathPrefix", "/a"));
    let older = format!("[{}, {}]", rule(&format!("{{{short}}}, {{{exact}}}")), rule(&format!("{{{long}}}")));
    let younger =
        format!("[{}, {}]", rule(&format!("{{{short}, method: GET}}, {{{exact}}}")), rule(&format!("{{{short}}}")));
    // Its name comes first in the alphabet, but it is the younger one.
    let mesh = Mesh::of(&(service("web") + &route("b-older", &older) + &route("a-younger", &younger)));
    assert_eq!(
        mesh.routes(HOST),
        [
            "HTTPRoute shop/b-older rule 0 match 1",
            "HTTPRoute shop/a-younger rule 0 match 1",
            "HTTPRoute shop/b-older rule 1 match 0",
            "HTTPRoute shop/a-younger rule 0 match 0",
            "HTTPRoute shop/b-older rule 0 match 0",
            "HTTPRoute shop/a-younger rule 1 match 0",
        ]
    );
}

#[test]
fn a_route_takes_the_place_of_the_default_route_and_gives_it_back() {
    let mut mesh = Mesh::of(&(service("web") + &service("v2") + &route("canary", &to("{name: v2, port: 80}"))));
    assert_eq!(mesh.routes(HOST), ["HTTPRoute shop/canary rule 0 match 0"]);
    let changed = mesh.delete(Kind::HttpRoute, "shop", "canary");
    assert_eq!(mesh.routes(HOST), ["Service shop/web rule 0 match 0"]);
    assert_eq!(changed.updated.len(), 1, "{changed:?}");
}

#[test]
fn a_missing_backend_keeps_its_share_and_is_refused_with_its_cause() {
    let shares = "{name: web, port: 80, weight: 90}, {name: v2, port: 80, weight: 10}, {name: v3, port: 80, weight: 0}";
    let mut mesh = Mesh::of(&(service("web") + &route("canary", &to(shares))));
    let told = |mesh: &Mesh| match &mesh.host(HOST).unwrap().routes[0].action {
        RouteAction::Forward(shares) => {
            shares.iter().map(|it| (it.cluster.to_string(), it.weight, it.refusal.clone())).collect::<Vec<_>>()
        }
        RouteAction::Refuse { cause } => panic!("{cause}"),
    };
    let web = ("local/shop/web:80".to_owned(), 90, None);
    let cause = Some("Service shop/v2 does not exist".to_owned());
    assert_eq!(told(&mesh), [web.clone(), ("local/shop/v2:80".to_owned(), 10, cause)]);
    let dangling = [1, 2].map(|at| (format!("spec.rules[0].backendRefs[{at}].name"), Code::DanglingReference)).to_vec();
    assert_eq!(mesh.findings(Kind::HttpRoute, "shop", "canary"), dangling);

    mesh.put(&(service("v2") + &service("v3")));
    assert_eq!(told(&mesh), [web, ("local/shop/v2:80".to_owned(), 10, None)]);
    assert!(mesh.findings(Kind::HttpRoute, "shop", "canary").is_empty());
}

#[test]
fn a_rule_none_of_whose_backends_exists_refuses() {
    let mesh = Mesh::of(&(service("web") + &route("canary", &to("{name: v2, port: 80}, {name: web, port: 81}"))));
    let RouteAction::Refuse { cause } = &mesh.host(HOST).unwrap().routes[0].action else { panic!() };
    assert_eq!(cause, "Service shop/v2 does not exist; Service shop/web has no port 81");
}

#[test]
fn another_namespaces_backend_is_refused_even_where_it_exists() {
    let other = service("v2").replace("namespace: shop", "namespace: other");
    let backend = to("{name: v2, namespace: other, port: 80}");
    let mesh = Mesh::of(&(service("web") + &other + &route("canary", &backend)));
    let RouteAction::Refuse { cause } = &mesh.host(HOST).unwrap().routes[0].action else { panic!() };
    assert!(cause.starts_with("Service other/v2 is in another namespace"), "{cause}");
    let field = "spec.rules[0].backendRefs[0].namespace".to_owned();
    assert_eq!(mesh.findings(Kind::HttpRoute, "shop", "canary"), [(field, Code::DanglingReference)]);
}

#[test]
fn a_route_of_another_namespace_is_told_and_not_applied() {
    let consumer = route("canary", &to("{name: v2, port: 80}"))
        .replace("namespace: shop", "namespace: other")
        .replace("name: web}", "name: web, namespace: shop}");
    let mesh = Mesh::of(&(service("web") + &consumer));
    assert_eq!(mesh.routes(HOST), ["Service shop/web rule 0 match 0"]);
    let found = mesh.findings(Kind::HttpRoute, "other", "canary");
    assert!(found.contains(&("spec.parentRefs[0].namespace".to_owned(), Code::UnsupportedField)), "{found:?}");
}

#[test]
fn a_parents_port_narrows_a_route_to_it() {
    let two = service("web").replace("[{port: 80", "[{name: http-b, port: 81}, {name: http, port: 80");
    let narrow = route("canary", &to("{name: web, port: 80}")).replace("name: web}]", "name: web, port: 81}]");
    let mesh = Mesh::of(&(two + &narrow));
    assert_eq!(mesh.routes(HOST), ["Service shop/web rule 0 match 0"]);
    assert_eq!(mesh.routes(&format!("{HOST}:81")), ["HTTPRoute shop/canary rule 0 match 0"]);
}

#[test]
fn a_tcp_port_is_neither_parent_nor_backend_of_an_http_route() {
    let tcp = service("web").replace("{port: 80", "{port: 80, appProtocol: tcp");
    let narrow = route("canary", &to("{name: web, port: 80}")).replace("name: web}]", "name: web, port: 80}]");
    let mesh = Mesh::of(&(tcp + &narrow));
    let found = mesh.findings(Kind::HttpRoute, "shop", "canary");
    let expected = ["spec.parentRefs[0].port", "spec.rules[0].backendRefs[0].port"];
    assert_eq!(found, expected.map(|field| (field.to_owned(), Code::InvalidValue)));
}
