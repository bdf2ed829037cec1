//! Bounds on accepted connections.
use std::{io::ErrorKind, net::SocketAddr, sync::Arc};

use tokio::net::TcpStream;
use weft_model::Protocol;

use super::{
    fleet::{self, Fleet},
    mesh::{Mesh, Peer, Side, authority, identity, inbound, outbound, snapshot},
};

/// Connects and waits until it is reset, which may come before the connection is known to be there.
async fn is_reset(address: SocketAddr) {
    let failure = match TcpStream::connect(address).await {
        Ok(stream) => Peer::over(stream).failure().await,
        Err(error) => Some(error.kind()),
    };
    assert_eq!(failure, Some(ErrorKind::ConnectionReset));
}

const GET: &str = "GET / HTTP/1.1\r\nHost: nowhere\r\n\r\n";

#[tokio::test]
async fn beyond_the_bound_on_connections_new_ones_are_reset_and_counted_and_a_closed_one_makes_room() {
    let side = Side::start("web", |settings| (settings.limits.connections, settings.workers) = (2, 2));
    let side = side.with_identity(&authority(), "web");
    side.dataplane.publish(snapshot([]));
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut client = Peer::connect(side.outbound()).await;
        assert!(client.ask(GET).await.0.starts_with("HTTP/1.1 404"));
        kept.push(client);
    }
    for refused in 1..=3 {
        is_reset(side.stock()).await;
        side.has_metric(&format!("weft_connections_refused_total{{limit=\"connections\"}} {refused}")).await;
    }
    assert!(kept[0].ask(GET).await.0.starts_with("HTTP/1.1 404"), "who was there first stays");
    drop(kept.pop());
    side.has_metric("weft_connections_active{direction=\"outbound\"} 1").await;
    assert!(Peer::connect(side.outbound()).await.ask(GET).await.0.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn of_strangers_in_their_handshake_the_oldest_gives_way_to_the_newest() {
    let mesh = Mesh::http().await;
    let Mesh { web, server: _, application, authority } = mesh;
    let server = Side::start("server", |settings| settings.limits.handshakes = 2).with_identity(&authority, "reviews");
    let port = application.local_addr().unwrap();
    server.dataplane.publish(snapshot([inbound("reviews:80", Protocol::Http, port, Some(&["web"]))]));
    web.dataplane.publish(snapshot(outbound(
        "reviews:80",
        Protocol::Http,
        None,
        &[(server.inbound(), identity("reviews"))],
    )));
    // Two that say nothing, and for the third the oldest gives way.
    let mut oldest = Peer::connect(server.inbound()).await;
    server.has_metric("weft_connections_active{direction=\"inbound\"} 1").await;
    let second = Peer::connect(server.inbound()).await;
    server.has_metric("weft_connections_active{direction=\"inbound\"} 2").await;
    let third = Peer::connect(server.inbound()).await;
    assert_eq!(oldest.rest().await, b"");
    server.has_metric("weft_connections_refused_total{limit=\"handshakes\"} 1").await;
    server.has_metric("weft_connections_refused_total{limit=\"connections\"} 0").await;
    server.has_metric("weft_connections_active{direction=\"inbound\"} 2").await;
    let [record] = server.log.records(1).await.try_into().unwrap();
    let why = "no TLS handshake, and newer clients needed its place among those who have not proven who they are";
    assert_eq!((&record["outcome"], &record["detail"]), (&"handshake".into(), &why.into()));
    // Whoever has proven who it is holds none of the places: many may be open at once.
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Peer::connect(web.outbound()).await;
        client.send("GET / HTTP/1.1\r\nHost: reviews\r\n\r\n").await;
        let (stream, _) = application.accept().await.unwrap();
        let mut app = Peer::over(stream);
        app.until("\r\n\r\n").await;
        clients.push((client, app));
    }
    // One silent stranger gave way to the first of them; there was room for the next.
    server.has_metric("weft_connections_active{direction=\"inbound\"} 5").await;
    drop((second, third));
}

/// Each finds no connection that is unused; were all to make one at once, none would be made in time on a busy machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_crowd_most_take_a_connection_that_comes_free_instead_of_making_one() {
    const CROWD: usize = 400;
    let fleet = Arc::new(Fleet::start(1, 1, |_, _| {}).await);
    let mut clients = Vec::new();
    for _ in 0..CROWD {
        clients.push(fleet.client().await);
    }
    let asking = clients.into_iter().map(|mut client| tokio::spawn(async move { client.ask(fleet::GET).await.0 }));
    for asked in asking.collect::<Vec<_>>() {
        let head = asked.await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
    let metrics = fleet.web.dataplane.metrics();
    let made = metrics.lines().find_map(|line| line.strip_prefix("weft_upstream_connections_total "));
    let made: usize = made.unwrap().parse().unwrap();
    assert!((1..=CROWD / 2).contains(&made), "{made} connections for {CROWD} requests");
}
