//! Connections that break, and draining.
use std::time::Duration;

use tokio::time::timeout;
use weft_model::Protocol;

use super::mesh::{Mesh, PATIENCE, Peer, Side, identity, inbound, outbound, snapshot};
use crate::dataplane::Event;

const GET: &str = "GET / HTTP/1.1\r\nHost: reviews\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_passed_over() {
    let mesh = Mesh::http().await;
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let endpoints = [(dead, identity("reviews")), (mesh.server.inbound(), identity("reviews"))];
    mesh.web.dataplane.publish(snapshot(outbound("reviews:80", Protocol::Http, None, &endpoints)));
    let mut client = mesh.client().await;
    client.send(GET).await;
    let mut app = mesh.accept().await;
    for turn in 0..4 {
        if turn > 0 {
            client.send(GET).await;
        }
        app.until("\r\n\r\n").await;
        app.send(OK).await;
        assert_eq!(client.answer().await.1, "ok");
    }
}

#[tokio::test]
async fn an_application_that_is_not_there_is_503_and_one_that_breaks_off_is_502() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send(GET).await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    drop(app);
    let (head, body) = client.answer().await;
    assert_eq!(mesh.server.refused(&head, 502).await["outcome"], "upstream-gone");
    assert_eq!(body, "the upstream closed the connection before its answer was whole\n");
    let Mesh { web, server, application, .. } = mesh;
    drop(application);
    let (head, _) = Peer::connect(web.outbound()).await.ask(GET).await;
    assert_eq!(server.refused(&head, 503).await["outcome"], "connect-failed");
}

#[tokio::test]
async fn an_answer_that_is_cut_is_a_reset_and_never_a_whole_one() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send(GET).await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
    client.until("half").await;
    drop(app);
    assert_eq!(client.failure().await, Some(std::io::ErrorKind::ConnectionReset));
    assert_eq!(mesh.web.log.records(1).await[0]["outcome"], "upstream-gone");
}

#[tokio::test]
async fn an_upstream_that_answers_nonsense_is_502() {
    let mesh = Mesh::http().await;
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    ] {
        let mut client = mesh.client().await;
        client.send(GET).await;
        let mut app = mesh.accept().await;
        app.until("\r\n\r\n").await;
        app.send(answer).await;
        let (head, _) = client.answer().await;
        assert_eq!(mesh.server.refused(&head, 502).await["outcome"], "upstream-malformed", "{answer:?}");
    }
}

#[tokio::test]
async fn a_connection_that_the_application_closed_while_unused_is_not_used_again() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    for _ in 0..3 {
        client.send(GET).await;
        let mut app = mesh.accept().await;
        app.until("\r\n\r\n").await;
        app.send(OK).await;
        assert_eq!(client.answer().await.1, "ok");
        drop(app);
        // The close must have reached the proxy's socket: on loopback it has when the next connection is accepted.
        drop(Peer::connect(mesh.server.inbound()).await);
    }
}

#[tokio::test]
async fn draining_finishes_what_is_open_says_close_and_stops() {
    let mesh = Mesh::http().await;
    let (mut busy, mut idle) = (mesh.client().await, mesh.client().await);
    idle.send(GET).await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send(OK).await;
    idle.answer().await;
    busy.send(GET).await;
    app.until("\r\n\r\n").await;
    let Mesh { mut web, server, application, .. } = mesh;
    web.dataplane.drain();
    assert!(idle.rest().await.is_empty(), "the unused connection is closed");
    app.send(OK).await;
    // The request came before the draining did: its answer says it all the same, and the connection ends behind it.
    let (head, body) = busy.answer().await;
    assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
    assert_eq!(body, "ok");
    assert!(busy.rest().await.is_empty());
    assert_eq!(timeout(PATIENCE, web.events.recv()).await.unwrap(), Some(Event::Drained));
    timeout(PATIENCE, web.dataplane.stopped()).await.unwrap();
    assert_eq!(web.log.records(2).await.len(), 2);
    drop((server, application));
}

#[tokio::test]
async fn a_server_that_drains_costs_its_clients_no_request() {
    let mesh = Mesh::http().await;
    let Mesh { web, mut server, application, authority } = mesh;
    let other = Side::start("other", |_| {}).with_identity(&authority, "reviews");
    let port = application.local_addr().unwrap();
    other.dataplane.publish(snapshot([inbound("reviews:80", Protocol::Http, port, Some(&["web"]))]));
    let endpoints = [(server.inbound(), identity("reviews")), (other.inbound(), identity("reviews"))];
    web.dataplane.publish(snapshot(outbound("reviews:80", Protocol::Http, None, &endpoints)));
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = application.accept().await.unwrap();
            tokio::spawn(async move {
                let mut app = Peer::over(stream);
                while app.has_head().await {
                    app.send(OK).await;
                }
            });
        }
    });
    let mut client = Peer::connect(web.outbound()).await;
    let mut drained = false;
    // The caller knows nothing of the draining: it finds closed connections in its pool, and then a closed port.
    for turn in 0.. {
        assert_eq!(client.ask(GET).await.1, "ok", "request {turn}");
        if turn == 10 {
            server.dataplane.drain();
        }
        drained |= server.events.try_recv().is_ok();
        if drained && turn >= 40 {
            break;
        }
    }
    serving.abort();
}

#[tokio::test]
async fn draining_ends_at_its_deadline_and_what_is_open_is_recorded_as_abandoned() {
    let mesh = Mesh::http().await;
    let web = Side::start("hasty", |settings| settings.timeouts.drain = Duration::from_millis(50));
    let authority = super::mesh::authority();
    let web = web.with_identity(&authority, "web");
    let (assembler, _) = weft_decide::Assembler::new(super::mesh::scope(), []);
    web.dataplane.publish(assembler.snapshot().clone());
    let mut client = Peer::connect(web.outbound()).await;
    client.send(GET).await;
    let mut web = web;
    assert!(matches!(timeout(PATIENCE, web.events.recv()).await.unwrap(), Some(Event::Need(_))));
    web.dataplane.drain();
    assert_eq!(timeout(PATIENCE, web.events.recv()).await.unwrap(), Some(Event::Drained));
    assert_eq!(web.log.records(1).await[0]["outcome"], "abandoned");
    drop(mesh);
}

#[tokio::test]
async fn a_head_that_does_not_become_whole_in_time_is_408() {
    let authority = super::mesh::authority();
    let side = Side::start("web", |settings| settings.timeouts.head = Duration::from_millis(30));
    let side = side.with_identity(&authority, "web");
    side.dataplane.publish(snapshot([]));
    let (head, _) = Peer::connect(side.outbound()).await.ask("GET / HTTP/1.1\r\nHost: rev").await;
    assert_eq!(side.refused(&head, 408).await["outcome"], "client-timeout");
}
