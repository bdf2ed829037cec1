//! WebSocket where a client or an application speaks HTTP/2 (RFC 8441): between two such ends as it is, else translated from
//! and to Upgrade.
use std::{sync::Arc, time::Duration};

use ::http::{Request, Response};
use bytes::Bytes;
use h2::{Reason, ext::Protocol as Tunnel, server};
use tokio::{io::AsyncWriteExt, net::TcpListener, time::timeout};
use weft_ir::{RequestMatch, Resource, VirtualHost};
use weft_model::{HttpMethod, Protocol};

use super::peers::{App, Caller, code, next, read, whole};
use crate::dataplane::{
    http2::accept,
    tests::mesh::{Mesh, PATIENCE, Peer, about, any_request, identity, inbound, outbound, snapshot},
};

/// RFC 6455 §1.3's example.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// For how long nothing must come where nothing may come.
const SILENCE: Duration = Duration::from_millis(100);

/// An extended CONNECT.
fn ask(protocol: &'static str) -> Request<()> {
    let ask = Request::builder().method("CONNECT").uri("http://reviews/chat?room=1");
    ask.header("sec-websocket-version", "13").extension(Tunnel::from_static(protocol)).body(()).unwrap()
}

/// A client that has been told that it may send one.
async fn caller(mesh: &Mesh) -> Caller {
    let caller = Caller::connect(mesh.web.outbound()).await;
    let told = async {
        while !caller.send.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("no SETTINGS_ENABLE_CONNECT_PROTOCOL");
    caller
}

async fn mesh(protocol: Protocol) -> Mesh {
    Mesh::start(protocol, Some(&["web"]), None).await
}

/// The application's next connection, which takes extended CONNECTs.
async fn application(listener: &TcpListener) -> App {
    let (tcp, _) = timeout(PATIENCE, listener.accept()).await.expect("nobody connects").unwrap();
    let mut settings = server::Builder::new();
    settings.enable_connect_protocol();
    App::over(settings, tcp).await
}

fn data(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test]
async fn an_extended_connect_reaches_an_http2_application_and_no_byte_goes_before_its_200() {
    let mesh = mesh(Protocol::Http2).await;
    let mut caller = caller(&mesh).await;
    let (call, mut up) = caller.open(ask("websocket"), false).await;
    up.send_data(data("early"), false).unwrap();
    let mut app = application(&mesh.application).await;
    let (asked, mut respond) = app.asked().await;
    let (head, mut heard) = asked.into_parts();
    assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("CONNECT", "http://reviews/chat?room=1"));
    assert_eq!(head.extensions.get::<Tunnel>().map(Tunnel::as_str), Some("websocket"));
    assert_eq!(head.headers["sec-websocket-version"], "13");
    assert!(timeout(SILENCE, heard.data()).await.is_err(), "a byte went before the answer");
    let answer = Response::builder().header("sec-websocket-protocol", "chat").body(()).unwrap();
    let mut down = respond.send_response(answer, false).unwrap();
    let answer = call.await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["sec-websocket-protocol"]),
        (200, &"chat".parse().unwrap())
    );
    let mut said = answer.into_body();
    assert_eq!(next(&mut heard).await, "early");
    down.send_data(data("hello"), false).unwrap();
    assert_eq!(next(&mut said).await, "hello");
    // Each half ends by itself.
    up.send_data(data("bye"), true).unwrap();
    assert_eq!(read(heard).await.unwrap().0, b"bye");
    down.send_data(data("last words"), true).unwrap();
    assert_eq!(read(said).await.unwrap().0, b"last words");
    for side in [&mesh.web, &mesh.server] {
        let record = &side.log.records(1).await[0];
        assert_eq!((&record["outcome"], &record["status"]), (&"complete".into(), &200.into()), "{record}");
        assert_eq!((&record["method"], &record["tunnel"]), (&"GET".into(), &"websocket".into()), "{record}");
        assert_eq!((&record["sent"], &record["received"]), (&8.into(), &15.into()), "{record}");
        side.has_metric("weft_tunnels_total 1").await;
    }
}

#[tokio::test]
async fn an_extended_connect_reaches_an_http1_application_as_an_upgrade_with_a_key_of_ours() {
    let mesh = mesh(Protocol::Http).await;
    let mut caller = caller(&mesh).await;
    let mut keys = Vec::new();
    for _ in 0..2 {
        let mut wish = ask("websocket");
        wish.headers_mut().insert("sec-websocket-key", "forged".parse().unwrap());
        let (call, mut up) = caller.open(wish, false).await;
        up.send_data(data("early"), false).unwrap();
        let mut app = mesh.accept().await;
        let head = app.until("\r\n\r\n").await;
        let (start, key) = head.split_once("sec-websocket-key: ").unwrap();
        assert_eq!(
            start,
            "GET /chat?room=1 HTTP/1.1\r\nhost: reviews\r\nsec-websocket-version: 13\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\n"
        );
        let key = key.trim_end().to_owned();
        assert!(timeout(SILENCE, app.until_any()).await.is_err(), "a byte went before the 101");
        let accept = accept(key.as_bytes());
        app.send(format!(
            "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: {accept}\r\n\
             Sec-WebSocket-Protocol: chat\r\n\r\nfirst"
        ))
        .await;
        let answer = call.await.unwrap();
        let (fields, mut said) = (answer.headers().clone(), answer.into_body());
        assert_eq!((fields.len(), &fields["sec-websocket-protocol"]), (1, &"chat".parse().unwrap()), "{fields:?}");
        assert_eq!(next(&mut said).await, "first");
        app.until("early").await;
        up.send_data(Bytes::new(), true).unwrap();
        assert!(app.rest().await.is_empty());
        app.send("after").await;
        app.stream.shutdown().await.unwrap();
        assert_eq!(read(said).await.unwrap().0, b"after");
        keys.push(key);
    }
    assert!(keys[0] != keys[1] && !keys.contains(&"forged".to_owned()), "{keys:?}");
}

#[tokio::test]
async fn an_http1_clients_upgrade_reaches_an_http2_application_as_an_extended_connect() {
    let mesh = mesh(Protocol::Http2).await;
    let mut client = mesh.client().await;
    client.send(format!("{}early", upgrade(KEY))).await;
    let mut app = application(&mesh.application).await;
    let (asked, mut respond) = app.asked().await;
    let (head, mut heard) = asked.into_parts();
    assert_eq!(head.extensions.get::<Tunnel>().map(Tunnel::as_str), Some("websocket"));
    assert!(!head.headers.contains_key("sec-websocket-key"), "{:?}", head.headers);
    assert!(timeout(SILENCE, heard.data()).await.is_err(), "a byte went before the answer");
    let mut down = respond.send_response(Response::builder().header("x-own", "1").body(()).unwrap(), false).unwrap();
    assert_eq!(
        client.until("\r\n\r\n").await,
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: {ACCEPT}\r\nx-own: 1\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\n\r\n"
        )
    );
    assert_eq!(next(&mut heard).await, "early");
    down.send_data(data("hello"), true).unwrap();
    assert_eq!(client.rest().await, b"hello");
    client.send("more").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(read(heard).await.unwrap().0, b"more");
    let record = &mesh.server.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["status"]), (&"complete".into(), &101.into()), "{record}");
}

fn upgrade(key: &str) -> String {
    format!(
        "GET /chat HTTP/1.1\r\nHost: reviews\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_key_that_is_none_is_400_and_another_protocol_is_not_offered() {
    let mesh = mesh(Protocol::Http2).await;
    for (wish, status) in [
        (upgrade("short"), 400),
        (upgrade(KEY).replace(&format!("Sec-WebSocket-Key: {KEY}\r\n"), ""), 400),
        (upgrade(KEY).replace("Upgrade: websocket", "Upgrade: other"), 501),
        (upgrade(KEY).replace("GET", "POST"), 501),
    ] {
        let mut client = mesh.client().await;
        let (head, _) = client.ask(&wish).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{wish}: {head}");
    }
    let http1 = self::mesh(Protocol::Http).await;
    let (call, _up) = caller(&http1).await.open(ask("connect-udp"), false).await;
    assert_eq!(whole(call).await.unwrap().head.status(), 501);
}

/// RFC 8441 §3: a server that has not said that it takes them is not sent any.
#[tokio::test]
async fn an_http2_application_that_takes_no_extended_connect_is_not_sent_one() {
    let mesh = mesh(Protocol::Http2).await;
    let mut caller = caller(&mesh).await;
    let (call, _up) = caller.open(ask("websocket"), false).await;
    let mut app = App::accept(&mesh.application).await;
    assert_eq!(whole(call).await.unwrap().head.status(), 501);
    let mut client = mesh.client().await;
    let (head, body) = client.ask(&upgrade(KEY)).await;
    assert!(head.starts_with("HTTP/1.1 501"), "{head}");
    assert_eq!(body, "the application takes no WebSocket over HTTP/2 (RFC 8441)\n");
    assert!(timeout(SILENCE, app.next()).await.is_err(), "a stream was opened");
}

#[tokio::test]
async fn what_an_application_answers_in_place_of_switching_reaches_its_client_or_is_502() {
    let mesh = mesh(Protocol::Http).await;
    let mut caller = caller(&mesh).await;
    let switch =
        "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n";
    for (answer, status) in [
        ("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno".to_owned(), 403),
        ("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n".to_owned(), 426),
        // Its client would take what follows for the tunnel's.
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(), 502),
        (switch.replace("ACCEPT", ACCEPT), 502),
        (switch.replace("Sec-WebSocket-Accept: ACCEPT\r\n", ""), 502),
        (switch.replace("Upgrade: websocket", "Upgrade: other"), 502),
    ] {
        let (call, _up) = caller.open(ask("websocket"), false).await;
        let mut app = mesh.accept().await;
        app.until("\r\n\r\n").await;
        app.send(&answer).await;
        app.stream.shutdown().await.unwrap();
        assert_eq!(whole(call).await.unwrap().head.status(), status, "{answer}");
    }
}

#[tokio::test]
async fn what_is_sent_early_for_a_tunnel_that_an_http2_application_refuses_is_never_a_request() {
    let mesh = mesh(Protocol::Http2).await;
    let mut client = mesh.client().await;
    client.send(format!("{}GET /inside HTTP/1.1\r\nHost: reviews\r\n\r\n", upgrade(KEY))).await;
    let mut app = application(&mesh.application).await;
    let (_asked, mut respond) = app.asked().await;
    let refused = Response::builder().status(403).header("content-length", "0").body(()).unwrap();
    respond.send_response(refused, true).unwrap();
    let (head, _) = client.answer().await;
    assert!(head.starts_with("HTTP/1.1 403") && head.contains("connection: close"), "{head}");
    assert!(client.rest().await.is_empty());
    assert!(timeout(SILENCE, app.next()).await.is_err(), "it was sent on");
}

#[tokio::test]
async fn a_reset_of_either_end_of_a_tunnel_reaches_the_other() {
    let mesh = mesh(Protocol::Http2).await;
    let mut caller = caller(&mesh).await;
    let mut app = None;
    for by_client in [true, false] {
        let (call, mut up) = caller.open(ask("websocket"), false).await;
        if app.is_none() {
            app = Some(application(&mesh.application).await);
        }
        let (asked, mut respond) = app.as_mut().unwrap().asked().await;
        let mut theirs = respond.send_response(Response::new(()), false).unwrap();
        let (mut said, mut heard) = (call.await.unwrap().into_body(), asked.into_body());
        let other = if by_client {
            up.send_reset(Reason::CANCEL);
            &mut heard
        } else {
            theirs.send_reset(Reason::CANCEL);
            &mut said
        };
        let error = timeout(PATIENCE, other.data()).await.expect("nothing comes").unwrap().unwrap_err();
        assert_eq!(code(&error), Some(Reason::CANCEL), "{error:?}");
    }
}

#[tokio::test]
async fn a_tunnel_outlives_the_time_that_its_route_gives_requests() {
    let mesh = Mesh::start(Protocol::Http2, Some(&["web"]), Some(Duration::from_millis(300))).await;
    let mut caller = caller(&mesh).await;
    let ((mut up, _said), (_down, mut heard)) = {
        let (call, up) = caller.open(ask("websocket"), false).await;
        let mut app = application(&mesh.application).await;
        let (asked, mut respond) = app.asked().await;
        let theirs = respond.send_response(Response::new(()), false).unwrap();
        tokio::spawn(async move { app.next().await });
        ((up, call.await.unwrap().into_body()), (theirs, asked.into_body()))
    };
    tokio::time::sleep(Duration::from_millis(600)).await;
    up.send_data(data("still"), false).unwrap();
    assert_eq!(next(&mut heard).await, "still");
}

#[tokio::test]
async fn a_tunnel_over_http2_ends_when_its_caller_is_no_longer_permitted() {
    let mesh = mesh(Protocol::Http2).await;
    let (mut caller, address) = (caller(&mesh).await, mesh.application.local_addr().unwrap());
    let (call, _up) = caller.open(ask("websocket"), false).await;
    let mut app = application(&mesh.application).await;
    let (asked, mut respond) = app.asked().await;
    let _theirs = respond.send_response(Response::new(()), false).unwrap();
    let (mut said, mut heard) = (call.await.unwrap().into_body(), asked.into_body());
    mesh.server.dataplane.publish(snapshot([inbound("reviews:80", Protocol::Http2, address, Some(&["other"]))]));
    for end in [&mut said, &mut heard] {
        let error = timeout(PATIENCE, end.data()).await.expect("nothing comes").unwrap().unwrap_err();
        assert_eq!(code(&error), Some(Reason::CANCEL), "{error:?}");
    }
    assert_eq!(mesh.server.log.records(1).await[0]["outcome"], "denied");
}

/// What it asks for is a GET in HTTP/1.1: rules about methods must not say one thing of the one and another of the other.
#[tokio::test]
async fn an_extended_connect_is_routed_and_permitted_as_a_get() {
    let mesh = mesh(Protocol::Http).await;
    let endpoints = [(mesh.server.inbound(), identity("reviews"))];
    let of_gets = outbound("reviews:80", Protocol::Http, None, &endpoints).into_iter().map(|it| match it {
        Resource::VirtualHost(host) => {
            let mut host = VirtualHost::clone(&host);
            host.routes[0].matches.method = Some(HttpMethod("GET".to_owned()));
            Resource::VirtualHost(Arc::new(host))
        }
        other => other,
    });
    mesh.web.dataplane.publish(snapshot(of_gets));
    let address = mesh.application.local_addr().unwrap();
    let only = |method: &str| {
        let requests = vec![RequestMatch { methods: vec![HttpMethod(method.to_owned())], ..any_request() }];
        snapshot([about(inbound("reviews:80", Protocol::Http, address, Some(&["web"])), 0, requests)])
    };
    mesh.server.dataplane.publish(only("CONNECT"));
    let mut caller = caller(&mesh).await;
    let (call, _up) = caller.open(ask("websocket"), false).await;
    assert_eq!(whole(call).await.unwrap().head.status(), 403);
    mesh.server.dataplane.publish(only("GET"));
    let (_call, _up) = caller.open(ask("websocket"), false).await;
    let mut app: Peer = mesh.accept().await;
    assert!(app.until("\r\n\r\n").await.starts_with("GET /chat?room=1 "));
}
