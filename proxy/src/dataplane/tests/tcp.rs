//! TCP through both sidecars.
use std::{
    io::ErrorKind,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::io::AsyncWriteExt;
use weft_decide::Snapshot;
use weft_model::Protocol;

use super::mesh::{Mesh, PATIENCE, Peer, Side, frozen, identity, inbound, outbound, snapshot};
use crate::dataplane::Event;

#[tokio::test]
async fn bytes_pass_unchanged_and_each_half_close_by_itself() {
    let mesh = Mesh::start(Protocol::Tcp, Some(&["web"]), None).await;
    let mut client = Peer::connect(mesh.web.stock()).await;
    client.send("order 66").await;
    let mut app = mesh.accept().await;
    app.until("order 66").await;
    client.stream.shutdown().await.unwrap();
    assert!(app.rest().await.is_empty());
    let goods: Vec<u8> = (0..1_000_000u32).map(|n| (n / 3) as u8).collect();
    let (_, got) = tokio::join!(
        async {
            app.send(&goods).await;
            app.stream.shutdown().await.unwrap();
        },
        client.rest()
    );
    assert!(got == goods, "the bytes differ");
    let record = &mesh.web.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["protocol"]), (&"complete".into(), &"tcp".into()));
    assert_eq!((&record["sent"], &record["received"]), (&8.into(), &1_000_000.into()));
    let record = &mesh.server.log.records(1).await[0];
    assert_eq!(record["caller"], "spiffe://weft.local/ns/shop/sa/web");
    assert_eq!(record["outcome"], "complete");
}

#[tokio::test]
async fn a_connection_that_outlives_the_drain_is_reset_on_both_sides_and_its_record_says_drained() {
    let mesh = Mesh::start(Protocol::Tcp, Some(&["web"]), None).await;
    let Mesh { web, server, application, authority } = mesh;
    let short = Side::start("server", |settings| settings.timeouts.drain = Duration::from_secs(2));
    let mut short = short.with_identity(&authority, "reviews");
    let port = application.local_addr().unwrap();
    short.dataplane.publish(snapshot([inbound("stock:9000", Protocol::Tcp, port, Some(&["web"]))]));
    let endpoints = [(short.inbound(), identity("reviews"))];
    web.dataplane.publish(snapshot(outbound("stock:9000", Protocol::Tcp, None, &endpoints)));
    let mut client = Peer::connect(web.stock()).await;
    client.send("order").await;
    let mut app = Peer::over(application.accept().await.unwrap().0);
    app.until("order").await;
    short.dataplane.drain();
    // It is served while the drain lasts.
    app.send("goods").await;
    client.until("goods").await;
    assert_eq!(client.failure().await, Some(ErrorKind::ConnectionReset));
    assert_eq!(app.failure().await, Some(ErrorKind::ConnectionReset));
    let record = &short.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["blame"]), (&"drained".into(), &"ourselves".into()));
    assert_eq!((&record["sent"], &record["received"]), (&5.into(), &5.into()));
    assert_eq!(tokio::time::timeout(PATIENCE, short.events.recv()).await.unwrap(), Some(Event::Drained));
    drop(server);
}

#[tokio::test]
async fn a_connection_on_which_nothing_moves_is_ended_by_its_bound_and_one_that_moves_is_not() {
    let mesh = Mesh::start(Protocol::Tcp, Some(&["web"]), None).await;
    let bound = Duration::from_secs(1);
    let web =
        Side::start("web", |settings| settings.timeouts.stream_idle = bound).with_identity(&mesh.authority, "web");
    let endpoints = [(mesh.server.inbound(), identity("reviews"))];
    web.dataplane.publish(snapshot(outbound("stock:9000", Protocol::Tcp, None, &endpoints)));
    let mut client = Peer::connect(web.stock()).await;
    let begun = Instant::now();
    client.send("0").await;
    let mut app = mesh.accept().await;
    while begun.elapsed() < 2 * bound {
        app.send("x").await;
        client.until("x").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.failure().await, Some(ErrorKind::ConnectionReset));
    assert_eq!(web.log.records(1).await[0]["outcome"], "stream-idle");
}

#[tokio::test]
async fn the_server_may_speak_and_end_first() {
    let mesh = Mesh::start(Protocol::Tcp, Some(&["web"]), None).await;
    let mut client = Peer::connect(mesh.web.stock()).await;
    let mut app = mesh.accept().await;
    app.send("220 stock ready\n").await;
    client.until("220 stock ready\n").await;
    app.stream.shutdown().await.unwrap();
    assert!(client.rest().await.is_empty());
    client.send("bye").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(app.rest().await, b"bye");
}

#[tokio::test]
async fn who_may_not_call_is_reset_and_the_record_says_why() {
    let mesh = Mesh::start(Protocol::Tcp, None, None).await;
    let mut client = Peer::connect(mesh.web.stock()).await;
    assert_eq!(client.failure().await, Some(ErrorKind::ConnectionReset));
    let record = &mesh.server.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["stage"]), (&"denied".into(), &"permit".into()));
    assert_eq!(record["detail"], "no AccessPolicy selects shop/stock");
}

#[tokio::test]
async fn a_reset_is_passed_on_as_a_reset() {
    let mesh = Mesh::start(Protocol::Tcp, Some(&["web"]), None).await;
    let mut client = Peer::connect(mesh.web.stock()).await;
    client.send("x").await;
    let mut app = mesh.accept().await;
    app.until("x").await;
    weft_net::reset_on_close(&app.stream).unwrap();
    drop(app);
    assert_eq!(client.failure().await, Some(ErrorKind::ConnectionReset));
    assert_eq!(mesh.server.log.records(1).await[0]["outcome"], "upstream-gone");
}

async fn open(mesh: &Mesh) -> (Peer, Peer) {
    let mut client = Peer::connect(mesh.web.stock()).await;
    client.send("order").await;
    let mut app = mesh.accept().await;
    app.until("order").await;
    (client, app)
}

/// Whether bytes still pass both ways.
async fn goes_on((client, app): &mut (Peer, Peer)) {
    client.send("more").await;
    app.until("more").await;
    app.send("goods").await;
    client.until("goods").await;
}

/// A later snapshot of the server, which lets these accounts call.
fn later(mesh: &Mesh, allowed: Option<&[&str]>) -> Arc<Snapshot> {
    let application = mesh.application.local_addr().unwrap();
    let listener = inbound("stock:9000", Protocol::Tcp, application, allowed);
    Arc::new(Snapshot::complete(super::mesh::scope(), "e1-8", [listener]).unwrap())
}

#[tokio::test]
async fn open_connections_that_a_new_snapshot_does_not_permit_are_reset_within_a_second_for_the_policy() {
    let mesh = Mesh::start(Protocol::Tcp, Some(&["web"]), None).await;
    let mut connections = Vec::new();
    for _ in 0..20 {
        connections.push(open(&mesh).await);
    }
    mesh.server.dataplane.publish(later(&mesh, Some(&["web", "somebody"])));
    for connection in &mut connections {
        goes_on(connection).await;
    }
    let began = Instant::now();
    mesh.server.dataplane.publish(later(&mesh, Some(&["somebody"])));
    for (client, app) in &mut connections {
        assert_eq!(client.failure().await, Some(ErrorKind::ConnectionReset));
        assert_eq!(app.failure().await, Some(ErrorKind::ConnectionReset));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    for record in mesh.server.log.records(20).await {
        assert_eq!((&record["outcome"], &record["stage"]), (&"denied".into(), &"stream".into()));
        let detail = record["detail"].as_str().unwrap();
        assert!(
            detail.contains(&identity("web").to_string()) && detail.contains("AccessPolicy shop/callers"),
            "{detail}"
        );
        assert_eq!((&record["revision"], &record["sent"]), (&"e1-8".into(), &9.into()));
        assert!(record["rule"].is_null(), "no rule allows it any more, and none denies it: {record}");
    }
}

#[tokio::test]
async fn an_open_connection_that_a_rule_denies_ends_with_that_rule_in_its_record() {
    let mesh = Mesh::start(Protocol::Tcp, Some(&["web"]), None).await;
    let (mut client, _app) = open(&mesh).await;
    let application = mesh.application.local_addr().unwrap();
    let listener = inbound("stock:9000", Protocol::Tcp, application, Some(&["web"]));
    mesh.server.dataplane.publish(snapshot([frozen(listener, "web")]));
    assert_eq!(client.failure().await, Some(ErrorKind::ConnectionReset));
    let record = &mesh.server.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["stage"]), (&"denied".into(), &"stream".into()));
    assert_eq!(record["rule"], "AccessPolicy shop/freeze rule 1");
}

#[tokio::test]
async fn what_is_absent_from_a_new_snapshot_ends_no_open_connection() {
    let mesh = Mesh::start(Protocol::Tcp, Some(&["web"]), None).await;
    let mut connection = open(&mesh).await;
    // The chain is gone; then it is there and no policy selects the workload.
    for absent in [snapshot([]), later(&mesh, None)] {
        mesh.server.dataplane.publish(absent);
        // A new connection is refused, so the snapshot is in force.
        assert_eq!(Peer::connect(mesh.web.stock()).await.failure().await, Some(ErrorKind::ConnectionReset));
        goes_on(&mut connection).await;
    }
    let records = mesh.server.log.records(2).await;
    assert_eq!((&records[0]["outcome"], &records[1]["outcome"]), (&"misdirected".into(), &"denied".into()));
}
