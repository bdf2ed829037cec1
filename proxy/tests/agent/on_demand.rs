//! What a workload uses is asked for on first use.
use std::sync::Arc;

use weft_ir::{HostPort, Resource, Route, RouteAction, RouteMatch, RouteOrigin, ServicePort, VirtualHost};
use weft_model::{Kind, ObjectRef, PathMatch, Port};
use weft_proto::weft::{Receipts, agent_message::Message};

use super::*;

/// The virtual host `catalog`, with one route that answers with a cause.
fn catalog(path: PathMatch, cause: &str) -> Resource {
    let service: ServicePort = "local/shop/catalog:80".parse().unwrap();
    let object = ObjectRef { kind: Kind::Service, namespace: service.namespace.clone(), name: service.service.clone() };
    let route = Route {
        origin: RouteOrigin::Rule { object: object.clone(), rule: 0, alternative: 0 },
        matches: RouteMatch { path, method: None, headers: Vec::new(), query: Vec::new() },
        action: RouteAction::Refuse { cause: cause.to_owned() },
        timeout: None,
        retry: None,
        affinity: None,
        try_timeout: None,
        idle_timeout: None,
        stream_timeout: None,
        headers: None,
        rewrite: None,
        cors: None,
        mirrors: Vec::new(),
    };
    let host = "catalog.shop.svc.cluster.local".parse().unwrap();
    let authority = HostPort { host, port: Port::HTTP };
    Resource::VirtualHost(Arc::new(VirtualHost {
        authority,
        service: service.into(),
        routes: vec![route],
        origins: vec![object],
    }))
}

/// Status and body of a GET through the proxy.
fn call(proxy: &Proxy, host: &str) -> (u16, String) {
    let stream = TcpStream::connect(proxy.bound().outbound.unwrap()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    get(stream, "/", host)
}

#[test]
fn a_host_is_asked_for_when_a_request_names_it() {
    let (mesh, _control_plane, machine) = set_up(DAY);
    mesh.put(&catalog(PathMatch::Prefix("/".to_owned()), "first"));
    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();
    assert_eq!(admin(&proxy, "/config/routes")["routes"].as_array().unwrap().len(), 1);

    let (status, body) = call(&proxy, "catalog");
    assert!(status == 500 && body.contains("first"), "{status} {body}");
    // Told once every worker decides from it, which may be after the first has answered by it.
    until("the host is listed", || admin(&proxy, "/config/routes")["routes"].as_array().unwrap().len() == 2);
    let (status, body) = call(&proxy, "nowhere.shop");
    assert!(status == 404 && body.contains("nowhere.shop.svc.cluster.local is not in the mesh"), "{status} {body}");
}

#[test]
fn a_host_that_is_not_known_is_refused_with_its_cause_while_the_control_plane_is_away() {
    let (mesh, control_plane, machine) = set_up(DAY);
    mesh.put(&catalog(PathMatch::Prefix("/".to_owned()), "first"));
    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();
    assert_eq!(call(&proxy, "catalog").0, 500);
    drop(control_plane);
    let (status, body) = call(&proxy, "reviews");
    assert!(status == 503 && body.contains("control plane unreachable"), "{status} {body}");
    // What it knew it still knows.
    assert!(call(&proxy, "catalog").1.contains("first"));
}

#[test]
fn a_resource_that_cannot_be_used_is_rejected_by_name_and_the_last_good_one_stays() {
    let (mesh, _control_plane, machine) = set_up(DAY);
    mesh.put(&catalog(PathMatch::Prefix("/".to_owned()), "first"));
    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();
    assert_eq!(call(&proxy, "catalog").0, 500);

    mesh.put(&catalog(PathMatch::Regex("(".to_owned()), "second"));
    let name = "outbound/catalog.shop.svc.cluster.local";
    let receipt = mesh.until("a rejection", |seen| {
        seen.messages.iter().find_map(|message| match message {
            Message::Receipts(Receipts { receipts, .. }) => {
                receipts.iter().find(|it| it.name == name && !it.rejected.is_empty()).cloned()
            }
            _ => None,
        })
    });
    assert_eq!(receipt.version.len(), 16);
    mesh.until("a NACK", |seen| (seen.streams[0].rejected == 1).then_some(()));
    assert_eq!(admin(&proxy, "/config")["rejected"][0]["name"], name);
    assert!(call(&proxy, "catalog").1.contains("first"));

    mesh.put(&catalog(PathMatch::Prefix("/".to_owned()), "third"));
    mesh.until("the third", |seen| {
        let mut receipts = seen.messages.iter().filter_map(|message| match message {
            Message::Receipts(Receipts { receipts, .. }) => Some(receipts),
            _ => None,
        });
        let last = receipts.by_ref().flatten().filter(|it| it.name == name).last()?;
        (last.rejected.is_empty() && last.version != receipt.version).then_some(())
    });
    assert!(call(&proxy, "catalog").1.contains("third"));
    assert_eq!(admin(&proxy, "/config")["rejected"].as_array().unwrap().len(), 0);
}

#[test]
fn the_last_good_configuration_outlives_a_restart_without_a_control_plane() {
    let (mesh, control_plane, machine) = set_up(DAY);
    mesh.put(&catalog(PathMatch::Prefix("/".to_owned()), "first"));
    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();
    assert_eq!(call(&proxy, "catalog").0, 500);
    until("the host is kept", || {
        let kept = fs::read(machine.state().join("last-good.kept")).unwrap_or_default();
        kept.windows(7).any(|part| part == b"catalog")
    });
    let address = control_plane.address;
    drop((proxy, control_plane));

    let proxy = machine.start();
    proxy.wait_ready(DEADLINE).unwrap();
    assert!(call(&proxy, "catalog").1.contains("first"));
    let _control_plane = ControlPlane::start(&mesh, address);
    let counts = mesh.until("its return", |seen| seen.streams.get(1).filter(|it| it.claimed == 4).copied());
    assert_eq!((counts.resources, counts.resent), (0, 0));
    let revisions = mesh.until("revisions", |seen| Some(seen.revisions.to_vec()));
    assert_eq!(revisions, [None, Some("test/all=1".to_owned())]);
}
