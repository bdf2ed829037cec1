//! Other protocols by Upgrade (RFC 9110 §7.8) and tunnels by CONNECT (§9.3.6), byte for byte through both sidecars.
use std::{
    io::ErrorKind,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::io::AsyncWriteExt;
use weft_ir::{Resource, VirtualHost};
use weft_model::{HttpMethod, Protocol};

use super::mesh::{Mesh, Peer, identity, inbound, outbound, snapshot};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: reviews\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SEEN: &str = "GET /chat HTTP/1.1\r\nHost: reviews\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-A: b\r\n\r\n";
const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nX-A: b\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: reviews\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// For how long nothing must come where nothing may come.
const SILENCE: Duration = Duration::from_millis(100);

async fn is_silent(peer: &mut Peer) {
    let next = tokio::time::timeout(SILENCE, peer.until_any()).await;
    assert!(next.is_err(), "{next:?} came");
}

#[tokio::test]
async fn an_upgrade_passes_both_sidecars_and_its_bytes_are_counted() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send(ASK).await;
    let mut app = mesh.accept().await;
    assert_eq!(app.until("\r\n\r\n").await, SEEN);
    app.send(format!("{SWITCH}\u{1}first")).await;
    assert_eq!(client.until("\r\n\r\n").await, SWITCHED);
    client.until("\u{1}first").await;
    client.send("ping").await;
    app.until("ping").await;
    // Each half ends by itself.
    client.stream.shutdown().await.unwrap();
    assert!(app.rest().await.is_empty());
    app.send("last words").await;
    app.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, b"last words");
    for side in [&mesh.web, &mesh.server] {
        let record = &side.log.records(1).await[0];
        assert_eq!((&record["outcome"], &record["status"]), (&"complete".into(), &101.into()));
        assert_eq!((&record["sent"], &record["received"]), (&4.into(), &16.into()));
    }
}

#[tokio::test]
async fn what_is_sent_early_is_held_until_101_and_then_comes_first() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send(format!("{ASK}early")).await;
    let mut app = mesh.accept().await;
    assert_eq!(app.until("\r\n\r\n").await, SEEN);
    client.send(" data").await;
    is_silent(&mut app).await;
    app.send(SWITCH).await;
    assert_eq!(app.until("early data").await, "early data");
    assert_eq!(client.until("\r\n\r\n").await, SWITCHED);
}

#[tokio::test]
async fn what_is_sent_early_for_a_refused_upgrade_is_never_a_request() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send(format!("{ASK}GET /inside HTTP/1.1\r\nHost: reviews\r\n\r\n")).await;
    let mut app = mesh.accept().await;
    assert_eq!(app.until("\r\n\r\n").await, SEEN);
    app.send(OK).await;
    let (head, body) = client.answer().await;
    assert!(head.contains("connection: close") && body == "ok", "{head}");
    assert!(client.rest().await.is_empty());
    is_silent(&mut app).await;
    assert_eq!(mesh.web.log.records(1).await.len(), 1);
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_exchange_and_both_connections_go_on() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send(ASK).await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\n").await;
    let (head, _) = client.answer().await;
    assert_eq!(head, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n");
    client.send(GET).await;
    assert_eq!(app.until("\r\n\r\n").await, GET);
    app.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");
}

#[tokio::test]
async fn upgrade_is_heeded_only_where_connection_names_it() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    let mut app = None;
    for fields in
        ["Upgrade: websocket\r\n", "Connection: keep-alive\r\nUpgrade: websocket\r\n", "Connection: upgrade\r\n"]
    {
        client.send(format!("GET / HTTP/1.1\r\nHost: reviews\r\n{fields}\r\n")).await;
        if app.is_none() {
            app = Some(mesh.accept().await);
        }
        let app = app.as_mut().unwrap();
        assert_eq!(app.until("\r\n\r\n").await, GET, "{fields}");
        app.send(OK).await;
        client.answer().await;
    }
    // Who was not asked does not switch.
    client.send(GET).await;
    let mut app = app.unwrap();
    app.until("\r\n\r\n").await;
    app.send(SWITCH).await;
    assert!(client.answer().await.0.starts_with("HTTP/1.1 502"));
}

/// RFC 9113 §3.1: the request goes on as what it is without the offer.
#[tokio::test]
async fn an_offer_of_h2c_is_not_passed_on_and_its_request_is() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    let offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    client.send(format!("POST / HTTP/1.1\r\nHost: reviews\r\n{offer}Content-Length: 4\r\n\r\nbody")).await;
    let mut app = mesh.accept().await;
    assert_eq!(app.until("body").await, "POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 4\r\n\r\nbody");
    app.send(OK).await;
    assert_eq!(client.answer().await, ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n".to_owned(), "ok".to_owned()));
    client.send(GET).await;
    assert_eq!(app.until("\r\n\r\n").await, GET);
}

#[tokio::test]
async fn a_switch_to_another_protocol_or_before_the_body_was_sent_is_502() {
    let mesh = Mesh::http().await;
    for (ask, answer) in [
        (ASK.to_owned(), SWITCH.replace("websocket", "other")),
        (ASK.to_owned(), SWITCH.replace("Upgrade: websocket\r\n", "")),
        (ASK.to_owned(), SWITCH.replace("Connection: Upgrade\r\n", "")),
        (ASK.replace("\r\n\r\n", "\r\nContent-Length: 9\r\n\r\nhalf"), SWITCH.to_owned()),
    ] {
        let mut client = mesh.client().await;
        client.send(&ask).await;
        let mut app = mesh.accept().await;
        app.until("\r\n\r\n").await;
        app.send(&answer).await;
        let (head, _) = client.answer().await;
        assert!(head.starts_with("HTTP/1.1 502"), "{answer}: {head}");
    }
}

#[tokio::test]
async fn a_tunnel_ends_when_its_caller_is_no_longer_permitted() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send(ASK).await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send(SWITCH).await;
    client.until("\r\n\r\n").await;
    let port = mesh.application.local_addr().unwrap();
    let narrowed = Instant::now();
    mesh.server.dataplane.publish(snapshot([inbound("reviews:80", Protocol::Http, port, Some(&["other"]))]));
    assert_eq!(app.failure().await, Some(ErrorKind::ConnectionReset));
    assert!(narrowed.elapsed() < Duration::from_secs(1));
    assert_eq!(mesh.server.log.records(1).await[0]["outcome"], "denied");
}

/// A mesh in which a rule opens tunnels.
async fn tunnelling() -> Mesh {
    let mesh = Mesh::http().await;
    let endpoints = [(mesh.server.inbound(), identity("reviews"))];
    let resources =
        outbound("reviews:80", Protocol::Http, None, &endpoints).into_iter().map(|resource| match resource {
            Resource::VirtualHost(host) => {
                let mut routes = host.routes.clone();
                let mut tunnel = routes[0].clone();
                tunnel.matches.method = Some(HttpMethod("CONNECT".to_owned()));
                routes.insert(0, tunnel);
                Resource::VirtualHost(Arc::new(VirtualHost { routes, ..(*host).clone() }))
            }
            other => other,
        });
    mesh.web.dataplane.publish(snapshot(resources));
    mesh
}

const CONNECT: &str = "CONNECT reviews:80 HTTP/1.1\r\nHost: reviews:80\r\n\r\n";

#[tokio::test]
async fn connect_opens_a_tunnel_at_2xx_and_no_byte_goes_before() {
    let mesh = tunnelling().await;
    let mut client = mesh.client().await;
    client.send(format!("{CONNECT}GET /inside HTTP/1.1\r\nHost: b\r\n\r\n")).await;
    let mut app = mesh.accept().await;
    assert_eq!(app.until("\r\n\r\n").await, CONNECT);
    is_silent(&mut app).await;
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nVia: x\r\n\r\nabc").await;
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 200 OK\r\nVia: x\r\n\r\n");
    assert_eq!(client.until("abc").await, "abc");
    assert_eq!(app.until("\r\n\r\n").await, "GET /inside HTTP/1.1\r\nHost: b\r\n\r\n");
    client.stream.shutdown().await.unwrap();
    assert!(app.rest().await.is_empty());
    app.stream.shutdown().await.unwrap();
    assert!(client.rest().await.is_empty());
    let record = &mesh.web.log.records(1).await[0];
    assert_eq!((&record["method"], &record["path"]), (&"CONNECT".into(), &"reviews:80".into()));
    assert_eq!((&record["status"], &record["sent"], &record["received"]), (&200.into(), &33.into(), &3.into()));
}

#[tokio::test]
async fn a_connect_that_is_refused_is_answered_and_what_came_early_is_dropped() {
    let mesh = tunnelling().await;
    let mut client = mesh.client().await;
    client.send(format!("{CONNECT}{GET}")).await;
    let mut app = mesh.accept().await;
    assert_eq!(app.until("\r\n\r\n").await, CONNECT);
    app.send("HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno").await;
    let (head, body) = client.answer().await;
    assert!(head.starts_with("HTTP/1.1 407 No") && head.contains("connection: close"), "{head}");
    assert_eq!(body, "no");
    assert!(client.rest().await.is_empty());
    is_silent(&mut app).await;
}

#[tokio::test]
async fn a_connect_that_no_rule_names_is_501_with_what_to_do() {
    let mesh = Mesh::http().await;
    let (head, body) = mesh.client().await.ask(CONNECT).await;
    assert!(head.starts_with("HTTP/1.1 501"), "{head}");
    let told = "no route of reviews.shop.svc.cluster.local takes CONNECT: an HTTPRoute's rule must name the method\n";
    assert_eq!(body, told);
}
