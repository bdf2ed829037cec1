//! A change recomputes what depends on it and nothing else.
use std::sync::Arc;

use weft_compile::Work;
use weft_model::{Kind, decode};

use crate::support::{Mesh, service, workload};

/// 10,000 Services with a workload each, of which one has a route with two backends.
fn large() -> Mesh {
    let mut mesh = Mesh::new();
    let mut text = String::new();
    for at in 0..10_000 {
        text += &service(&format!("s{at}"));
        text += &workload(&format!("s{at}"), 1);
        // A text to decode is bounded.
        if at % 1000 == 999 {
            mesh.put(&std::mem::take(&mut text));
        }
    }
    mesh.put(&route(90));
    mesh
}

fn route(weight: u32) -> String {
    format!(
        "
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: split, namespace: shop}}
spec:
  parentRefs: [{{group: '', kind: Service, name: s0}}]
  rules: [{{backendRefs: [{{name: s1, port: 80, weight: {weight}}}, {{name: s2, port: 80, weight: 10}}]}}]
"
    )
}

fn policy(kind: &str, target: &str, rest: &str) -> String {
    format!(
        "
---
apiVersion: weft.dev/v1alpha1
kind: {kind}
metadata: {{name: a, namespace: shop}}
spec: {{targetRefs: [{{group: '', kind: Service, name: {target}}}], {rest}}}
"
    )
}

/// What `change` makes the compiler compute.
fn work(mesh: &mut Mesh, change: impl FnOnce(&mut Mesh)) -> Work {
    let before = mesh.compiler.work();
    change(mesh);
    let after = mesh.compiler.work();
    Work {
        clusters: after.clusters - before.clusters,
        endpoints: after.endpoints - before.endpoints,
        hosts: after.hosts - before.hosts,
        inbounds: after.inbounds - before.inbounds,
        diagnoses: after.diagnoses - before.diagnoses,
    }
}

#[test]
fn among_ten_thousand_services_a_change_touches_what_depends_on_it() {
    let mut mesh = large();
    let none = Work::default();

    let weight = work(&mut mesh, |mesh| {
        let changed = mesh.put(&route(50));
        let keys: Vec<_> = changed.updated.iter().map(ToString::to_string).collect();
        assert_eq!(keys, ["virtual host outbound/s0.shop.svc.cluster.local"]);
    });
    assert_eq!(weight, Work { hosts: 1, diagnoses: 1, ..none });

    let same = work(&mut mesh, |mesh| assert!(mesh.put(&route(50)).is_empty()));
    assert_eq!(same, Work { diagnoses: 1, ..none });

    let instance = work(&mut mesh, |mesh| {
        let changed = mesh.put(&workload("s1", 2));
        let keys: Vec<_> = changed.updated.iter().map(ToString::to_string).collect();
        assert_eq!(keys, ["endpoints local/shop/s1:80", "listener inbound/shop/s1-2"]);
    });
    assert_eq!(instance, Work { endpoints: 1, inbounds: 1, diagnoses: 1, ..none });

    // The backend's going is seen by itself, by its workloads and by the route that names it.
    let backend = work(&mut mesh, |mesh| {
        mesh.delete(Kind::Service, "shop", "s1");
    });
    assert_eq!(backend, Work { clusters: 1, endpoints: 1, hosts: 2, inbounds: 2, diagnoses: 2 });

    let timeout = work(&mut mesh, |mesh| {
        mesh.put(&policy("TrafficPolicy", "s7", "timeouts: {request: 5s}"));
    });
    assert_eq!(timeout, Work { hosts: 1, diagnoses: 1, ..none });

    let limit = work(&mut mesh, |mesh| {
        mesh.put(&policy("TrafficPolicy", "s7", "timeouts: {request: 5s}, limits: {maxRequests: 5}"));
    });
    assert_eq!(limit, Work { hosts: 1, clusters: 1, diagnoses: 1, ..none });

    let access = work(&mut mesh, |mesh| {
        mesh.put(&policy("AccessPolicy", "s7", "rules: [{action: Allow, from: [{anyone: true}]}]"));
    });
    assert_eq!(access, Work { inbounds: 1, diagnoses: 1, ..none });
}

#[test]
fn a_batch_computes_each_unit_once() {
    let mut mesh = Mesh::of(&service("web"));
    let batch: String = (1..=100).map(|number| workload("web", number)).collect();
    let done = work(&mut mesh, |mesh| {
        mesh.put(&batch);
    });
    assert_eq!(done, Work { endpoints: 1, inbounds: 100, diagnoses: 100, ..Work::default() });
    assert_eq!(mesh.behind("local/shop/web:80").len(), 100);
}

#[test]
fn a_service_that_stops_selecting_a_workload_leaves_its_listener() {
    let mut mesh = Mesh::of(&(service("web") + &workload("web", 1)));
    mesh.put(&service("web").replace("app: web", "app: other"));
    assert!(mesh.behind("local/shop/web:80").is_empty());
    assert!(mesh.inbound("shop/web-1").chains.is_empty());
}

#[test]
fn a_workload_and_its_service_may_change_in_one_batch() {
    let mut mesh = Mesh::of(&(service("web") + &workload("web", 1)));
    let relabelled = |app: &str| service("web").replace("app: web", app) + &workload("web", 1).replace("app: web", app);
    mesh.put(&relabelled("app: moved"));
    assert_eq!(mesh.behind("local/shop/web:80"), ["shop/web-1"]);
    assert_eq!(mesh.inbound("shop/web-1").chains.len(), 1);
}

#[test]
fn when_all_objects_go_only_what_is_always_there_stays() {
    let text =
        service("web") + &workload("web", 1) + &route(1) + &policy("TrafficPolicy", "web", "timeouts: {request: 5s}");
    let mut mesh = Mesh::of(&text);
    let all: Vec<_> = mesh.compiler.objects().map(|(object, _)| (object.clone(), None)).collect();
    let changed = mesh.compiler.apply(all);
    assert_eq!(changed.removed.len(), 4, "{changed:?}");
    assert_eq!(mesh.compiler.keys().count(), 2);
    assert_eq!(mesh.compiler.all_diagnostics().count(), 0);
}

#[test]
fn an_object_is_kept_under_its_own_name_whatever_the_caller_says() {
    let mut mesh = Mesh::of(&service("web"));
    let decoded = decode("test.yaml", &service("other"));
    let object = decoded.objects[0].0.clone();
    let stored = weft_model::Stored { object, owner: weft_model::Owner::api(), created: 9, modified: 9, source: None };
    mesh.compiler.apply([(crate::support::reference(Kind::Service, "shop", "web"), Some(Arc::new(stored)))]);
    assert!(mesh.host("web.shop.svc.cluster.local").is_some());
    assert!(mesh.host("other.shop.svc.cluster.local").is_some());
}
