//! HTTP/1.0 clients, as the setting has them served.
use std::net::SocketAddr;

use weft_model::Protocol;

use super::mesh::{Peer, Side, authority, identity, inbound, outbound, snapshot};
use crate::dataplane::{Http10, ServeHttp10};

/// A caller's sidecar with the setting, a server's, and the application's listener.
async fn mesh(serve: ServeHttp10, default_host: Option<&str>) -> (Side, Side, tokio::net::TcpListener) {
    let (authority, application) = (authority(), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    let server = Side::start("server", |_| {}).with_identity(&authority, "reviews");
    let at: SocketAddr = application.local_addr().unwrap();
    server.dataplane.publish(snapshot([inbound("reviews:80", Protocol::Http, at, Some(&["web"]))]));
    let default_host = default_host.map(|host| host.parse().unwrap());
    let web = Side::start("web", |settings| settings.http10 = Http10 { serve, default_host });
    let web = web.with_identity(&authority, "web");
    let endpoints = [(server.inbound(), identity("reviews"))];
    web.dataplane.publish(snapshot(outbound("reviews:80", Protocol::Http, None, &endpoints)));
    (web, server, application)
}

async fn accept(application: &tokio::net::TcpListener) -> Peer {
    Peer::over(application.accept().await.unwrap().0)
}

const KEEP: &str = "GET / HTTP/1.0\r\nHost: reviews\r\nConnection: Keep-Alive\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_client_that_asks_is_kept_where_the_setting_says_so() {
    let (web, _server, application) = mesh(ServeHttp10::KeepAlive, None).await;
    let mut client = Peer::connect(web.outbound()).await;
    client.send(KEEP).await;
    let mut app = accept(&application).await;
    for _ in 0..2 {
        app.until("\r\n\r\n").await;
        app.send(OK).await;
        let (head, body) = client.answer().await;
        assert_eq!(head, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: keep-alive\r\n\r\n");
        assert_eq!(body, "ok");
        client.send(KEEP).await;
    }
    // An answer without a length ends with its connection: there are no chunks in HTTP/1.0.
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    assert_eq!(client.rest().await, b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok");
    // What this proxy answers itself keeps it too.
    let mut client = Peer::connect(web.outbound()).await;
    for _ in 0..2 {
        client.send(KEEP.replace("reviews", "nobody")).await;
        let (head, _) = client.answer().await;
        assert!(head.contains("\r\nconnection: keep-alive\r\n"), "{head}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_ask_or_asks_for_a_close_is_let_go() {
    let (web, _server, application) = mesh(ServeHttp10::KeepAlive, None).await;
    for fields in ["", "Connection: close\r\n", "Connection: keep-alive, close\r\n"] {
        let mut client = Peer::connect(web.outbound()).await;
        client.send(format!("GET / HTTP/1.0\r\nHost: reviews\r\n{fields}\r\n")).await;
        let mut app = accept(&application).await;
        app.until("\r\n\r\n").await;
        app.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
        let answer = String::from_utf8(client.rest().await).unwrap();
        assert_eq!(answer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: close\r\n\r\nok", "{fields}");
    }
}

#[tokio::test]
async fn unless_the_setting_says_so_a_client_that_asks_is_not_kept() {
    let (web, _server, application) = mesh(ServeHttp10::Close, None).await;
    let mut client = Peer::connect(web.outbound()).await;
    client.send(KEEP).await;
    let mut app = accept(&application).await;
    app.until("\r\n\r\n").await;
    app.send(OK).await;
    assert!(String::from_utf8(client.rest().await).unwrap().contains("\r\nconnection: close\r\n"));
}

#[tokio::test]
async fn a_request_without_host_gets_the_settings_and_400_where_there_is_none() {
    let (web, _server, application) = mesh(ServeHttp10::Close, Some("reviews")).await;
    let mut client = Peer::connect(web.outbound()).await;
    client.send("\r\nGET /old HTTP/1.0\r\nX-Own: 1\r\n\r\n").await;
    let mut app = accept(&application).await;
    assert_eq!(app.until("\r\n\r\n").await, "GET /old HTTP/1.1\r\nHost: reviews\r\nX-Own: 1\r\n\r\n");
    // It is not for HTTP/1.1 clients, who must send one.
    let mut client = Peer::connect(web.outbound()).await;
    let (head, body) = client.ask("GET / HTTP/1.1\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 400") && body == "there is no Host\n", "{head}{body}");
    let (web, ..) = mesh(ServeHttp10::Close, None).await;
    let mut client = Peer::connect(web.outbound()).await;
    let (head, body) = client.ask("GET / HTTP/1.0\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 400") && body == "there is no Host\n", "{head}{body}");
}

#[tokio::test]
async fn where_none_is_served_it_is_told_so_and_no_byte_goes_on() {
    let (web, _server, application) = mesh(ServeHttp10::Refuse, None).await;
    let mut client = Peer::connect(web.outbound()).await;
    let (head, body) = client.ask("GET / HTTP/1.0\r\nHost: reviews\r\n\r\n").await;
    assert!(head.contains("connection: close") && body.contains("http10.serve"), "{head}{body}");
    let record = web.refused(&head, 505).await;
    assert_eq!((&record["outcome"], &record["blame"]), (&"http10".into(), &"downstream".into()));
    let mut client = Peer::connect(web.outbound()).await;
    client.send("GET / HTTP/1.1\r\nHost: reviews\r\n\r\n").await;
    let mut app = accept(&application).await;
    assert_eq!(app.until("\r\n\r\n").await, "GET / HTTP/1.1\r\nHost: reviews\r\n\r\n");
}
