//! What an idle connection costs a sidecar.
use std::fs;

use weft_harness::{
    Application, Connection, Mesh, Plan, eventually,
    objects::{HTTP, open_service},
    process::Sidecar,
};

use crate::peer::{Peer, Wire};

/// How many connections idle.
const CONNECTIONS: usize = 4_000;
/// How many were opened before the first look, so that what is there once for all of them is not counted.
const BEFORE: usize = 400;
/// What one plain HTTP/1.1 connection may cost, in bytes of resident memory.
const BOUND: usize = 3 * 1024;

/// The resident memory of a process, in bytes.
fn resident(id: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

async fn idle(sidecar: &Sidecar, count: usize) -> Vec<Connection> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let mut connection = Connection::open(sidecar.outbound().unwrap()).await.unwrap();
        assert_eq!(connection.get("reviews", "/", &[]).await.unwrap().status, 200);
        connections.push(connection);
    }
    connections
}

/// The kernel's own memory for sockets is not in this: a peer's proxy pays it too.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_plain_connection_that_has_been_used_costs_at_most_three_kibibytes() {
    let mesh = Mesh::start().await.unwrap();
    mesh.apply(&open_service("reviews", "reviews", &[HTTP])).await.unwrap();
    let application = Application::http("reviews").await;
    let plan = Plan::new("reviews-0", "reviews").application("http", application.address);
    let _reviews = mesh.start_process(&plan).await.unwrap();
    let web = mesh.start_process(&Plan::new("web-0", "web")).await.unwrap();
    // Its sidecar is ready before its application was found to take connections.
    eventually("that reviews is served", async || {
        let mut connection = Connection::open(web.outbound().unwrap()).await.unwrap();
        (connection.get("reviews", "/", &[]).await.unwrap().status == 200).then_some(())
    })
    .await;
    let first = idle(&web, BEFORE).await;
    let before = resident(web.id().unwrap());
    let others = idle(&web, CONNECTIONS - BEFORE).await;
    let each = resident(web.id().unwrap()).saturating_sub(before) / others.len();
    println!("{each} bytes of resident memory an idle plain connection, {before} bytes before");
    assert!(each <= BOUND, "{each} bytes");
    drop((first, others));
}

/// How many peers' connections idle, and how many were opened before the first look.
const PEERS: usize = 1_000;
const PEERS_BEFORE: usize = 200;
/// What one connection of a peer may cost, in bytes of resident memory.
const MTLS_HTTP1_BOUND: usize = 16 * 1024;
/// Of it, 24 KiB are the h2 crate's two buffers (8 to read, 16 to write), which it keeps while nothing is under way.
const MTLS_HTTP2_BOUND: usize = 36 * 1024;

/// What an idle connection of a peer that has been used costs the sidecar that it leads to.
async fn idle_peer(wire: Wire) -> usize {
    let mesh = Mesh::start().await.unwrap();
    mesh.apply(&open_service("reviews", "reviews", &[HTTP])).await.unwrap();
    let application = Application::http("reviews").await;
    let plan = Plan::new("reviews-0", "reviews").application("http", application.address);
    let reviews = mesh.start_process(&plan).await.unwrap();
    let web = mesh.start_process(&Plan::new("web-0", "web")).await.unwrap();
    let peer = Peer::with_the_identity_of(&web, wire);
    let mut connections = Vec::with_capacity(PEERS);
    for _ in 0..PEERS_BEFORE {
        connections.push(peer.used(reviews.inbound().unwrap()).await);
    }
    let before = resident(reviews.id().unwrap());
    for _ in PEERS_BEFORE..PEERS {
        connections.push(peer.used(reviews.inbound().unwrap()).await);
    }
    let each = resident(reviews.id().unwrap()).saturating_sub(before) / (PEERS - PEERS_BEFORE);
    println!("{each} bytes of resident memory an idle connection of a peer over {wire:?}, {before} bytes before");
    drop(connections);
    each
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_http1_connection_of_a_peer_costs_at_most_sixteen_kibibytes() {
    let each = idle_peer(Wire::Http1).await;
    assert!(each <= MTLS_HTTP1_BOUND, "{each} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_http2_connection_of_a_peer_costs_at_most_thirty_six_kibibytes() {
    let each = idle_peer(Wire::Http2).await;
    assert!(each <= MTLS_HTTP2_BOUND, "{each} bytes");
}
