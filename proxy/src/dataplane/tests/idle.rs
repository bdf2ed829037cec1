//! Bodies that stand still.
use std::{sync::Arc, time::Duration};

use weft_ir::{Resource, Route};
use weft_model::Protocol;

use super::mesh::{Mesh, Side, identity, inbound, outbound, snapshot};

const BOUND: Duration = Duration::from_millis(60);

/// A mesh of which only this side bounds how long bodies stand still.
async fn mesh(bounded: &str) -> Mesh {
    let mesh = Mesh::http().await;
    let Mesh { web, server, application, authority } = mesh;
    let bound = |side: Side, name: &str, account: &str| {
        if name != bounded {
            return side;
        }
        Side::start(name, |settings| settings.timeouts.body_idle = BOUND).with_identity(&authority, account)
    };
    let (web, server) = (bound(web, "web", "web"), bound(server, "server", "reviews"));
    let port = application.local_addr().unwrap();
    server.dataplane.publish(snapshot([inbound("reviews:80", Protocol::Http, port, Some(&["web"]))]));
    let endpoints = [(server.inbound(), identity("reviews"))];
    web.dataplane.publish(snapshot(outbound("reviews:80", Protocol::Http, None, &endpoints)));
    Mesh { web, server, application, authority }
}

#[tokio::test]
async fn a_client_that_stops_inside_its_body_is_told_408_and_the_upstream_is_let_go() {
    let mesh = mesh("web").await;
    let mut client = mesh.client().await;
    client.send("POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 100\r\n\r\nhalf").await;
    let mut app = mesh.accept().await;
    app.until("half").await;
    let (head, body) = client.answer().await;
    assert_eq!(body, "the client moved no byte of a body for too long\n");
    assert!(client.rest().await.is_empty());
    assert!(app.rest().await.is_empty());
    let record = mesh.web.refused(&head, 408).await;
    assert_eq!((&record["outcome"], &record["blame"]), (&"body-idle".into(), &"downstream".into()));
}

#[tokio::test]
async fn an_application_that_stops_inside_its_answer_costs_both_connections() {
    let mesh = mesh("server").await;
    let mut client = mesh.client().await;
    client.send("GET / HTTP/1.1\r\nHost: reviews\r\n\r\n").await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
    client.until("half").await;
    assert_eq!(client.failure().await, Some(std::io::ErrorKind::ConnectionReset));
    assert!(app.rest().await.is_empty());
    let record = &mesh.server.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["blame"]), (&"body-idle".into(), &"upstream".into()));
    assert_eq!(record["detail"], "the upstream moved no byte of a body for too long");
}

#[tokio::test]
async fn a_client_that_stops_reading_is_blamed_and_not_the_upstream() {
    let mesh = mesh("web").await;
    let mut client = mesh.client().await;
    client.send("GET / HTTP/1.1\r\nHost: reviews\r\n\r\n").await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    // More than the sockets between hold; sending fails when the exchange is given up.
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let full = async { while tokio::io::AsyncWriteExt::write_all(&mut app.stream, &chunk).await.is_ok() {} };
    tokio::time::timeout(super::mesh::PATIENCE, full).await.expect("nobody gives the answer up");
    let record = &mesh.web.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["blame"]), (&"body-idle".into(), &"downstream".into()));
    drop(client);
}

#[tokio::test]
async fn the_wait_for_an_answer_to_a_whole_request_is_the_routes_to_bound() {
    let mesh = mesh("web").await;
    let mut client = mesh.client().await;
    client.send("POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 4\r\n\r\nbody").await;
    let mut app = mesh.accept().await;
    app.until("body").await;
    tokio::time::sleep(BOUND * 3).await;
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(client.answer().await.1, "ok");
}

/// A mesh whose route bounds how long a request stands still.
async fn bounded_by_policy(protocol: Protocol) -> Mesh {
    bounded(protocol, |route| route.idle_timeout = Some(BOUND)).await
}

/// A mesh whose route is bounded so.
pub(super) async fn bounded(protocol: Protocol, bound: impl Fn(&mut Route)) -> Mesh {
    let mesh = Mesh::start(protocol, Some(&["web"]), None).await;
    let mut resources = outbound("reviews:80", protocol, None, &[(mesh.server.inbound(), identity("reviews"))]);
    resources.iter_mut().for_each(|resource| {
        if let Resource::VirtualHost(host) = resource {
            bound(&mut Arc::make_mut(host).routes[0]);
        }
    });
    mesh.web.dataplane.publish(snapshot(resources));
    mesh
}

#[tokio::test]
async fn a_policy_bounds_the_wait_for_an_answer_too() {
    let mesh = bounded_by_policy(Protocol::Http).await;
    let mut client = mesh.client().await;
    client.send("GET / HTTP/1.1\r\nHost: reviews\r\n\r\n").await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    let (head, _) = client.answer().await;
    let record = mesh.web.refused(&head, 504).await;
    assert_eq!((&record["outcome"], &record["blame"]), (&"body-idle".into(), &"upstream".into()));
    assert!(app.rest().await.is_empty());
}

#[tokio::test]
async fn a_policy_bounds_a_tunnel_on_which_nobody_says_anything() {
    let mesh = bounded_by_policy(Protocol::Http).await;
    let mut client = mesh.client().await;
    client.send("GET /chat HTTP/1.1\r\nHost: reviews\r\nConnection: Upgrade\r\nUpgrade: a\r\n\r\n").await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: Upgrade\r\n\r\nhello").await;
    client.until("hello").await;
    assert_eq!(client.failure().await, Some(std::io::ErrorKind::ConnectionReset));
    let record = &mesh.web.log.records(1).await[0];
    assert_eq!(record["outcome"], "stream-idle");
}

#[tokio::test]
async fn a_streams_time_is_over_however_much_moves_in_a_tunnel_too() {
    let mesh = bounded(Protocol::Http, |route| route.stream_timeout = Some(BOUND * 5)).await;
    let mut client = mesh.client().await;
    client.send("GET /chat HTTP/1.1\r\nHost: reviews\r\nConnection: Upgrade\r\nUpgrade: a\r\n\r\n").await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: Upgrade\r\n\r\n").await;
    client.until("\r\n\r\n").await;
    let talking = tokio::spawn(async move {
        while tokio::io::AsyncWriteExt::write_all(&mut app.stream, b"tick").await.is_ok() {
            tokio::time::sleep(BOUND / 4).await;
        }
    });
    assert_eq!(client.failure().await, Some(std::io::ErrorKind::ConnectionReset));
    tokio::time::timeout(super::mesh::PATIENCE, talking).await.expect("the application is let go").unwrap();
    let record = &mesh.web.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["status"]), (&"stream-timeout".into(), &101.into()));
}

#[tokio::test]
async fn a_streams_time_bounds_an_answer_that_goes_on() {
    let mesh = bounded(Protocol::Http, |route| route.stream_timeout = Some(BOUND * 5)).await;
    let mut client = mesh.client().await;
    client.send("GET / HTTP/1.1\r\nHost: reviews\r\n\r\n").await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.until("\r\n\r\n").await;
    while tokio::io::AsyncWriteExt::write_all(&mut app.stream, b"1\r\na\r\n").await.is_ok() {
        tokio::time::sleep(BOUND / 4).await;
    }
    assert_eq!(client.failure().await, Some(std::io::ErrorKind::ConnectionReset));
    let record = &mesh.web.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["status"]), (&"timeout".into(), &200.into()));
    assert_eq!(record["detail"], "the stream was not over within the route's 300ms");
}
