//! HTTPRoutes: order, shares, refusals, attachment.
use weft_ir::RouteAction;
use weft_model::{Code, Kind};

use crate::support::{Mesh, reference, service};

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
        other => panic!("{other:?}"),
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

fn grpc_route(name: &str, rules: &str) -> String {
    route(name, rules).replace("HTTPRoute", "GRPCRoute")
}

#[test]
fn calls_are_ordered_by_service_then_method_then_headers_then_age() {
    let rule = |matches: &str| format!("{{matches: [{matches}], backendRefs: [{{name: web, port: 80}}]}}");
    let older = [
        "{headers: [{name: x-a, value: b}, {name: x-b, value: b}]}",
        "{method: {method: LongestMethodOfAll}}",
        "{method: {service: shop.Cart}}",
        "{method: {service: shop.Cart, method: Add}}",
        "{method: {service: shop.Cart, method: Add}, headers: [{name: x-a, value: b}]}",
        "{method: {service: 'shop\\.v[0-9]+\\.Cart', type: RegularExpression}}",
    ];
    let older = format!("[{}]", older.map(rule).join(", "));
    let younger = format!("[{}]", rule("{method: {service: shop.Cart, method: Add}}"));
    let mesh = Mesh::of(&(service("web") + &grpc_route("b-older", &older) + &grpc_route("a-younger", &younger)));
    let of = |route: &str, rule: u32| format!("GRPCRoute shop/{route} rule {rule} match 0");
    let expected = [
        of("b-older", 5),
        of("b-older", 4),
        of("b-older", 3),
        of("a-younger", 0),
        of("b-older", 2),
        of("b-older", 1),
        of("b-older", 0),
    ];
    assert_eq!(mesh.routes(HOST), expected);
}

#[test]
fn of_http_and_grpc_routes_at_one_port_the_oldest_says_which_attach() {
    let rules = to("{name: web, port: 80}");
    let mut mesh = Mesh::of(&(service("web") + &grpc_route("calls", &rules) + &route("pages", &rules)));
    assert_eq!(mesh.routes(HOST), ["GRPCRoute shop/calls rule 0 match 0"]);
    let told = ("spec.parentRefs[0]".to_owned(), Code::OverriddenField);
    assert_eq!(mesh.findings(Kind::HttpRoute, "shop", "pages"), std::slice::from_ref(&told));
    assert!(mesh.findings(Kind::GrpcRoute, "shop", "calls").is_empty());
    mesh.delete(Kind::GrpcRoute, "shop", "calls");
    assert_eq!(mesh.routes(HOST), ["HTTPRoute shop/pages rule 0 match 0"]);
    assert!(mesh.findings(Kind::HttpRoute, "shop", "pages").is_empty());
    mesh.put(&grpc_route("calls", &rules));
    assert_eq!(mesh.routes(HOST), ["HTTPRoute shop/pages rule 0 match 0"]);
    assert_eq!(mesh.findings(Kind::GrpcRoute, "shop", "calls"), [told]);
}

#[test]
fn filters_and_the_bound_on_a_try_reach_the_route() {
    let rules = "[{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: b}]}}, \
                 {type: URLRewrite, urlRewrite: {hostname: v2, path: {type: ReplacePrefixMatch, replacePrefixMatch: \
                 /b/}}}], timeouts: {backendRequest: 300ms}, backendRefs: [{name: web, port: 80, filters: [{type: \
                 ResponseHeaderModifier, responseHeaderModifier: {remove: [server]}}]}]}, {matches: [{path: {value: \
                 /old}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]}]";
    let mesh = Mesh::of(&(service("web") + &route("canary", rules)));
    let host = mesh.host(HOST).unwrap();
    let routes = &host.routes;
    let RouteAction::Redirect(redirect) = &routes[0].action else { panic!("{:?}", routes[0]) };
    assert_eq!((redirect.port.map(|port| port.get()), redirect.status.code()), (Some(443), 302));
    let route = &routes[1];
    assert_eq!(route.headers.as_ref().unwrap().request.set[0].name, "x-a");
    let rewrite = route.rewrite.as_ref().unwrap();
    assert_eq!(rewrite.host.as_ref().unwrap().as_str(), "v2");
    assert_eq!(rewrite.path, Some(weft_model::PathRewrite::Prefix("/b".into())));
    assert_eq!(route.try_timeout, Some(std::time::Duration::from_millis(300)));
    let RouteAction::Forward(shares) = &route.action else { panic!("{route:?}") };
    assert_eq!(shares[0].headers.as_ref().unwrap().response.remove, ["server"]);
}

#[test]
fn mirrors_reach_the_route_and_those_that_lead_nowhere_are_left_out_and_told() {
    let mirror = |rest: &str| format!("{{type: RequestMirror, requestMirror: {{backendRef: {{{rest}}}}}}}");
    let filters = [
        mirror("name: v2, port: 80"),
        mirror("name: v2, port: 80").replace("}}}", "}, fraction: {numerator: 1, denominator: 3}}}"),
        mirror("name: v2, port: 80").replace("}}}", "}, percent: 0}}"),
        mirror("name: gone, port: 80"),
        mirror("name: v2, port: 81"),
    ];
    let rules = format!("[{{filters: [{}], backendRefs: [{{name: web, port: 80}}]}}]", filters.join(", "));
    let mut mesh = Mesh::of(&(service("web") + &service("v2") + &route("copied", &rules)));
    let mirrors = |mesh: &Mesh| -> Vec<(String, u32)> {
        let host = mesh.host(HOST).unwrap();
        host.routes[0].mirrors.iter().map(|it| (it.cluster.to_string(), it.per_million)).collect()
    };
    let v2 = |share| ("local/shop/v2:80".to_owned(), share);
    assert_eq!(mirrors(&mesh), [v2(1_000_000), v2(333_333)]);
    let field = |key: &str| format!("spec.rules[0].filters.requestMirror.backendRef.{key}");
    let told = [(field("name"), Code::DanglingReference), (field("port"), Code::DanglingReference)];
    assert_eq!(mesh.findings(Kind::HttpRoute, "shop", "copied"), told);
    let changed = mesh.put(&service("gone"));
    assert!(changed.updated.iter().any(|key| key.name.contains("web")), "{changed:?}");
    assert_eq!(mirrors(&mesh).len(), 3);
    // Where nothing is forwarded, nothing is copied.
    mesh.delete(Kind::Service, "shop", "v2");
    assert_eq!(mirrors(&mesh), [("local/shop/gone:80".to_owned(), 1_000_000)]);
}

#[test]
fn a_named_answer_reaches_the_route_with_each_of_its_versions_and_a_missing_one_refuses() {
    let answer = |body: &str| {
        format!(
            "
---
apiVersion: weft.dev/v1alpha1
kind: HTTPRouteFilter
metadata: {{name: closed, namespace: shop}}
spec: {{directResponse: {{statusCode: 410, contentType: text/html, body: {body}}}}}
"
        )
    };
    let rules =
        "[{filters: [{type: ExtensionRef, extensionRef: {group: weft.dev, kind: HTTPRouteFilter, name: closed}}]}]";
    let mut mesh = Mesh::of(&(service("web") + &route("gone", rules)));
    let action = |mesh: &Mesh| mesh.host(HOST).unwrap().routes[0].action.clone();
    let missing = || RouteAction::Refuse { cause: "HTTPRouteFilter shop/closed does not exist".to_owned() };
    assert_eq!(action(&mesh), missing());
    let field = "spec.rules[0].filters.extensionRef.name".to_owned();
    assert_eq!(mesh.findings(Kind::HttpRoute, "shop", "gone"), [(field, Code::DanglingReference)]);
    for body in ["for now", "for good"] {
        let changed = mesh.put(&answer(body));
        assert_eq!(changed.updated.len(), 1, "{changed:?}");
        assert_eq!(action(&mesh), RouteAction::Respond { status: 410, body: body.to_owned() });
        let host = mesh.host(HOST).unwrap();
        let headers = host.routes[0].headers.as_ref().unwrap();
        assert_eq!(
            (headers.response.set[0].name.as_str(), headers.response.set[0].value.as_str()),
            ("content-type", "text/html")
        );
        // It is one of the objects that the host was made from: its status is told by that.
        assert!(host.origins.contains(&reference(Kind::HttpRouteFilter, "shop", "closed")), "{:?}", host.origins);
    }
    assert_eq!(mesh.findings(Kind::HttpRoute, "shop", "gone"), []);
    mesh.delete(Kind::HttpRouteFilter, "shop", "closed");
    assert_eq!(action(&mesh), missing());
}
