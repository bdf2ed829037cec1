//! Services and workloads: clusters, endpoints, hosts and listeners.
use std::time::Duration;

use weft_ir::{Balance, EndpointAddress, Health, ListenerBody, RouteAction, Security};
use weft_model::{PathMatch, Protocol};

use crate::support::{Mesh, service, workload};

#[test]
fn an_http_port_becomes_a_cluster_endpoints_and_a_host() {
    let mesh = Mesh::of(&(service("web") + &workload("web", 1)));
    let cluster = mesh.cluster("local/shop/web:80").unwrap();
    assert_eq!(cluster.security, Security::Mesh { sni: "80.web.shop.mesh.weft.local".into() });
    assert_eq!((cluster.protocol, cluster.balance), (Protocol::Http, Balance::RoundRobin));
    assert_eq!(cluster.connect_timeout, Duration::from_secs(1));

    let endpoints = mesh.endpoints("local/shop/web:80").unwrap();
    let [endpoint] = endpoints.endpoints.as_slice() else { panic!("{endpoints:?}") };
    let instance = endpoint.instance().unwrap();
    assert_eq!(instance.workload.to_string(), "shop/web-1");
    assert_eq!(endpoint.address, EndpointAddress::Socket("10.0.0.1:15006".parse().unwrap()));
    assert_eq!(instance.identity.as_str(), "spiffe://weft.local/ns/shop/sa/web");
    assert_eq!((endpoint.weight, endpoint.health), (1, Health::Healthy));

    let host = mesh.host("web.shop.svc.cluster.local").unwrap();
    let [route] = host.routes.as_slice() else { panic!("{host:?}") };
    assert_eq!(route.origin.to_string(), "Service shop/web rule 0 match 0");
    assert_eq!(route.matches.path, PathMatch::Prefix("/".into()));
    let RouteAction::Forward(shares) = &route.action else { panic!("{route:?}") };
    assert_eq!(shares[0].cluster.to_string(), "local/shop/web:80");
    assert_eq!(host.origins.iter().map(ToString::to_string).collect::<Vec<_>>(), ["Service shop/web"]);
}

#[test]
fn the_listener_and_the_routes_named_outbound_are_there_without_any_object() {
    let mesh = Mesh::new();
    let keys: Vec<_> = mesh.compiler.keys().map(ToString::to_string).collect();
    assert_eq!(keys, ["listener outbound", "route configuration outbound"]);
}

#[test]
fn a_tcp_port_has_a_listener_and_no_host() {
    let mesh = Mesh::of(
        "
apiVersion: v1
kind: Service
metadata: {name: stock, namespace: shop}
spec: {selector: {app: stock}, ports: [{port: 9000, appProtocol: tcp}]}
",
    );
    assert_eq!(mesh.cluster("local/shop/stock:9000").unwrap().protocol, Protocol::Tcp);
    let listener = mesh.listener("outbound/local/shop/stock:9000").unwrap();
    let ListenerBody::OutboundTcp(body) = &listener.body else { panic!("{listener:?}") };
    assert_eq!(body.cluster.to_string(), "local/shop/stock:9000");
    assert!(mesh.host("stock.shop.svc.cluster.local:9000").is_none());
    assert!(mesh.host("stock.shop.svc.cluster.local").is_none());
}

#[test]
fn a_lone_http_port_is_reached_without_naming_it() {
    let lone = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 8080}, {name: tcp, port: 9000}]}
";
    let mut mesh = Mesh::of(lone);
    let (named, bare) = ("web.shop.svc.cluster.local:8080", "web.shop.svc.cluster.local");
    assert_eq!(mesh.host(named).unwrap().routes, mesh.host(bare).unwrap().routes);
    assert_eq!(mesh.host(bare).unwrap().service.to_string(), "local/shop/web:8080");

    // A second HTTP port makes it ambiguous, a port 80 of its own takes it.
    let changed = mesh.put(&lone.replace("{name: tcp, port: 9000}", "{name: http-b, port: 9000}"));
    assert!(changed.removed.iter().any(|key| &*key.name == "outbound/web.shop.svc.cluster.local"));
    assert!(mesh.host(bare).is_none());
    mesh.put(&lone.replace("{name: tcp, port: 9000}", "{name: tcp, port: 80}"));
    assert!(mesh.host(bare).is_none());
}

#[test]
fn a_workload_is_an_endpoint_of_the_ports_that_it_has() {
    let mesh = Mesh::of(
        "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports:
  - {name: by-name, port: 80, targetPort: http, appProtocol: http}
  - {name: by-number, port: 81, targetPort: 8081, appProtocol: http}
---
apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: {name: a, namespace: shop, labels: {app: web, extra: yes}}
spec: {serviceAccount: web, address: '10.0.0.1:15006', ports: {http: 8080}}
---
apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: {name: b, namespace: shop, labels: {app: web}}
spec: {serviceAccount: web, address: '10.0.0.2:15006', ports: {http: 9999, other: 8081}}
---
apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: {name: c, namespace: shop, labels: {app: other}}
spec: {serviceAccount: web, address: '10.0.0.3:15006', ports: {http: 8080}}
---
apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: {name: d, namespace: elsewhere, labels: {app: web}}
spec: {serviceAccount: web, address: '10.0.0.4:15006', ports: {http: 8080}}
"
        .replace("extra: yes", "extra: 'yes'")
        .as_str(),
    );
    assert_eq!(mesh.behind("local/shop/web:80"), ["shop/a", "shop/b"]);
    assert_eq!(mesh.behind("local/shop/web:81"), ["shop/b"]);
    let ports: Vec<_> = mesh.inbound("shop/b").chains.iter().map(|chain| chain.application_port.get()).collect();
    assert_eq!(ports, [9999, 8081]);
    assert_eq!(mesh.inbound("shop/a").chains.len(), 1);
    assert!(mesh.inbound("shop/c").chains.is_empty());
}

#[test]
fn a_draining_or_unhealthy_workload_stays_an_endpoint_that_is_not_chosen() {
    for (flags, health) in [
        ("draining: true", Health::Draining),
        ("unhealthy: true", Health::Unhealthy),
        ("draining: true, unhealthy: true", Health::Draining),
    ] {
        let mesh = Mesh::of(&(service("web") + &workload("web", 1).replace("ports:", &format!("{flags}, ports:"))));
        assert_eq!(mesh.endpoints("local/shop/web:80").unwrap().endpoints[0].health, health, "{flags}");
    }
}

#[test]
fn a_chain_is_chosen_by_the_server_name_that_the_cluster_sends() {
    let mesh = Mesh::of(&(service("web") + &workload("web", 1)));
    let inbound = mesh.inbound("shop/web-1");
    let sni = inbound.chains[0].sni.clone();
    assert_eq!(mesh.cluster("local/shop/web:80").unwrap().security, Security::Mesh { sni });
    assert_eq!(inbound.chains[0].host.as_str(), "web.shop.svc.cluster.local");
    assert!(inbound.chains[0].access.policies.is_empty());
}
