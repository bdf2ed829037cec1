//! What is refused, and how the client is told.
use std::time::Duration;

use tokio::time::timeout;
use weft_decide::{Assembler, Destination};
use weft_model::Protocol;

use super::mesh::{Mesh, PATIENCE, Peer, Side, authority, frozen, identity, inbound, outbound, scope, snapshot};
use crate::dataplane::Event;

const GET: &str = "GET / HTTP/1.1\r\nHost: reviews\r\n\r\n";

#[tokio::test]
async fn a_denied_caller_is_told_which_policies_select_the_workload() {
    let mesh = Mesh::start(Protocol::Http, Some(&["somebody"]), None).await;
    let mut client = mesh.client().await;
    let (head, body) = client.ask(GET).await;
    assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
    assert!(head.contains("x-weft-decision: server.abcde.0.2\r\n"), "{head}");
    assert_eq!(
        body,
        "no rule allows spiffe://weft.local/ns/shop/sa/web to call shop/reviews, which AccessPolicy shop/callers selects\n"
    );
    // The connection goes on, and so does the refusal.
    assert!(client.ask(GET).await.0.starts_with("HTTP/1.1 403"));
    let record = &mesh.server.log.records(2).await[0];
    assert_eq!((&record["outcome"], &record["status"]), (&"denied".into(), &403.into()));
    assert!(mesh.server.dataplane.metrics().contains("weft_refusals_total{direction=\"inbound\",cause=\"denied\"} 2"));
}

#[tokio::test]
async fn a_denying_rule_is_named_in_the_record_of_what_it_denies_and_an_allowing_one_in_that_of_what_it_allows() {
    let mesh = Mesh::http().await;
    let application = mesh.application.local_addr().unwrap();
    let open = inbound("reviews:80", Protocol::Http, application, Some(&["web"]));
    mesh.server.dataplane.publish(snapshot([frozen(open.clone(), "web")]));
    let mut client = mesh.client().await;
    let (head, body) = client.ask(GET).await;
    let record = mesh.server.refused(&head, 403).await;
    assert_eq!((&record["stage"], &record["rule"]), (&"permit".into(), &"AccessPolicy shop/freeze rule 1".into()));
    assert!(body.starts_with("AccessPolicy shop/freeze rule 1 denies "), "{body}");
    // One that denies somebody else is not the one that allows.
    mesh.server.dataplane.publish(snapshot([frozen(open, "somebody")]));
    let mut client = mesh.client().await;
    client.send(GET).await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    client.answer().await;
    assert_eq!(mesh.server.log.records(2).await[1]["rule"], "AccessPolicy shop/callers rule 0");
}

#[tokio::test]
async fn a_workload_that_no_policy_selects_refuses_everybody_and_a_new_snapshot_changes_that_on_open_connections() {
    let mesh = Mesh::start(Protocol::Http, None, None).await;
    let mut client = mesh.client().await;
    assert_eq!(client.ask(GET).await.1, "no AccessPolicy selects shop/reviews\n");
    let application = mesh.application.local_addr().unwrap();
    mesh.server.dataplane.publish(snapshot([inbound("reviews:80", Protocol::Http, application, Some(&["web"]))]));
    let (head, ()) = tokio::join!(
        async {
            loop {
                let (head, _) = client.ask(GET).await;
                if !head.starts_with("HTTP/1.1 403") {
                    return head;
                }
            }
        },
        async {
            let mut app = mesh.accept().await;
            app.until("\r\n\r\n").await;
            app.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    );
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[tokio::test]
async fn plaintext_on_the_inbound_port_is_reset_without_a_word() {
    let mesh = Mesh::http().await;
    let mut client = Peer::connect(mesh.server.inbound()).await;
    client.send(GET).await;
    assert_eq!(client.failure().await, Some(std::io::ErrorKind::ConnectionReset));
    let record = &mesh.server.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["stage"]), (&"plaintext".into(), &"detect".into()));
    assert_eq!(record["detail"], "the client speaks HTTP/1, not mesh TLS");
}

#[tokio::test]
async fn a_certificate_of_another_trust_domain_is_refused_by_both_sides() {
    let mesh = Mesh::http().await;
    let other = weft_certs::Authority::create("other.example".parse().unwrap(), std::time::SystemTime::now()).unwrap();
    let stranger = Side::start("stranger", |_| {}).with_identity(&other, "web");
    let endpoints = [(mesh.server.inbound(), identity("reviews"))];
    stranger.dataplane.publish(snapshot(outbound("reviews:80", Protocol::Http, None, &endpoints)));
    let mut client = Peer::connect(stranger.outbound()).await;
    let (head, body) = client.ask(GET).await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert!(body.contains("did not prove to be spiffe://weft.local/ns/shop/sa/reviews"), "{body}");
    assert!(mesh.server.log.records(3).await.iter().all(|record| record["outcome"] == "handshake"));
}

#[tokio::test]
async fn an_endpoint_that_is_somebody_else_is_not_spoken_to() {
    let mesh = Mesh::http().await;
    let endpoints = [(mesh.server.inbound(), identity("somebody-else"))];
    mesh.web.dataplane.publish(snapshot(outbound("reviews:80", Protocol::Http, None, &endpoints)));
    let (head, body) = mesh.client().await.ask(GET).await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert!(body.contains("spiffe://weft.local/ns/shop/sa/somebody-else"), "{body}");
    let record = &mesh.web.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["blame"]), (&"upstream-handshake".into(), &"upstream".into()));
    assert_eq!(record["repeats"], 2);
}

#[tokio::test]
async fn a_host_that_is_not_in_the_mesh_is_not_found() {
    let mesh = Mesh::http().await;
    let (head, body) = mesh.client().await.ask("GET / HTTP/1.1\r\nHost: nowhere.example.com\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert_eq!(body, "nowhere.example.com is not in the mesh\n");
}

#[tokio::test]
async fn a_host_is_asked_for_on_first_use_and_the_request_waits_for_it() {
    let mesh = Mesh::http().await;
    let authority = authority();
    let mut side = Side::start("fresh", |_| {}).with_identity(&authority, "web");
    let (assembler, _) = Assembler::new(scope(), []);
    side.dataplane.publish(assembler.snapshot().clone());
    let mut client = Peer::connect(side.outbound()).await;
    client.send(GET).await;
    let asked = timeout(PATIENCE, side.events.recv()).await.unwrap().unwrap();
    let Event::Need(Destination::Host(host)) = asked else { panic!("{asked:?}") };
    assert_eq!(host.to_string(), "reviews.shop.svc.cluster.local");
    side.dataplane.publish(snapshot(outbound("reviews:80", Protocol::Http, None, &[])));
    let (head, body) = client.answer().await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert_eq!(body, "local/shop/reviews:80 has no healthy endpoint (0 known)\n");
    assert!(side.dataplane.metrics().contains("weft_on_demand_waits_total 1\n"));
    drop(mesh);
}

#[tokio::test]
async fn a_need_that_found_the_channel_full_is_told_for_the_next_who_waits() {
    // Only the first who waited for a host used to tell of it: where the channel was full just then, requests that
    // overlapped each other were refused for ever.
    let side = Side::start_with_room(1, "fresh", |settings| settings.timeouts.on_demand = PATIENCE);
    let mut side = side.with_identity(&authority(), "web");
    let (assembler, _) = Assembler::new(scope(), []);
    side.dataplane.publish(assembler.snapshot().clone());
    let mut clients = Vec::new();
    for (waits, host) in [(1, "first"), (2, "second"), (3, "second")] {
        if waits == 3 {
            let told = timeout(PATIENCE, side.events.recv()).await.unwrap().unwrap();
            assert!(
                matches!(&told, Event::Need(Destination::Host(host)) if host.to_string().contains("first")),
                "{told:?}"
            );
        }
        let mut client = Peer::connect(side.outbound()).await;
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        side.has_metric(&format!("weft_on_demand_waits_total {waits}")).await;
        clients.push(client);
    }
    let told = timeout(PATIENCE, side.events.recv()).await.unwrap().unwrap();
    assert!(matches!(&told, Event::Need(Destination::Host(host)) if host.to_string().contains("second")), "{told:?}");
}

#[tokio::test]
async fn a_host_that_the_control_plane_says_nothing_of_is_refused_in_time() {
    let authority = authority();
    let side = Side::start("fresh", |settings| settings.timeouts.on_demand = Duration::from_millis(30))
        .with_identity(&authority, "web");
    let (assembler, _) = Assembler::new(scope(), []);
    side.dataplane.publish(assembler.snapshot().clone());
    let (head, body) = Peer::connect(side.outbound()).await.ask(GET).await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert_eq!(body, "control plane unreachable: nothing is known of reviews.shop.svc.cluster.local yet\n");
    assert_eq!(side.log.records(1).await[0]["blame"], "control-plane");
    let mut stock = Peer::connect(side.stock()).await;
    assert_eq!(stock.failure().await, Some(std::io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn what_is_not_http_gets_400_and_a_close() {
    let mesh = Mesh::http().await;
    for (request, status) in [
        ("GET / HTTP/1.1\nHost: reviews\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("GET /..;/a HTTP/1.1\r\nHost: reviews\r\nConnection: close\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: reviews\r\n\r\n", 505),
        ("CONNECT reviews:80 HTTP/1.1\r\nHost: reviews:80\r\nConnection: close\r\n\r\n", 501),
        // What was sent early for the tunnel was once read as the next request.
        ("CONNECT reviews:80 HTTP/1.1\r\nHost: reviews:80\r\n\r\nGET / HTTP/1.1\r\nHost: reviews\r\n\r\n", 501),
        ("CONNECT reviews:80 HTTP/1.1\r\nHost: reviews:80\r\nContent-Length: 2\r\n\r\nhi", 400),
        ("CONNECT / HTTP/1.1\r\nHost: reviews\r\n\r\n", 400),
        ("CONNECT reviews:80 HTTP/1.1\r\nHost: other:80\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: reviews\r\n\r\n", 400),
        ("GET /  HTTP/1.1\r\nHost: reviews\r\n\r\n", 400),
    ] {
        let mut client = mesh.client().await;
        let (head, _) = client.ask(request).await;
        let record = mesh.web.refused(&head, status).await;
        assert_eq!(
            record["blame"],
            if status == 501 { "configuration" } else { "downstream" },
            "{request:?}: {record}"
        );
        assert!(head.contains("connection: close"), "{head}");
        assert!(client.rest().await.is_empty(), "{request:?}");
    }
}

#[tokio::test]
async fn a_request_whose_time_is_over_is_answered_504() {
    let mesh = Mesh::start(Protocol::Http, Some(&["web"]), Some(Duration::from_millis(50))).await;
    let mut client = mesh.client().await;
    client.send(GET).await;
    let mut app = mesh.accept().await;
    let (head, body) = client.answer().await;
    assert_eq!(mesh.web.refused(&head, 504).await["outcome"], "timeout");
    assert_eq!(body, "no whole answer within the route's 50ms\n");
    assert!(app.rest().await.starts_with(b"GET"), "the upstream is not cancelled");
}
