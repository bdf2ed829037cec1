//! Certificates and the intermediate that signs them are renewed under load.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use weft_harness::{Connection, echoed, eventually};

use crate::shop::Shop;

/// Counts of one load.
#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    connections: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
}

impl Counts {
    fn count(&self, good: bool, connection: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.connections.fetch_add(connection.into(), Ordering::Relaxed);
        self.failed.fetch_add((!good).into(), Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Requests on one connection, a new one for every tenth.
async fn http(outbound: std::net::SocketAddr, counts: Arc<Counts>) {
    let mut connection = Connection::open(outbound).await.unwrap();
    let mut number = 0u64;
    while !counts.stopped() {
        let fresh = number.is_multiple_of(10);
        if fresh {
            connection = Connection::open(outbound).await.unwrap();
        }
        let reply = connection.get("reviews", "/", &[]).await;
        counts.count(reply.is_ok_and(|reply| reply.status == 200), fresh);
        number += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Connections with a mesh session of their own, byte for byte.
async fn tcp(address: std::net::SocketAddr, counts: Arc<Counts>) {
    while !counts.stopped() {
        let answer = echoed(address, b"any?\n").await;
        counts.count(answer.is_ok_and(|answer| answer == b"hello\nany?\n"), true);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The SHA-256 of the intermediate that signed a sidecar's certificate, as its own admin interface tells.
async fn signer(shop: &Shop, workload: &str) -> Option<String> {
    let secrets = shop.mesh.client().proxy("shop", workload, "/config/secrets").await.ok()?;
    Some(secrets["secrets"][0]["signerSha256"].as_str()?.to_owned())
}

/// Waits until all three have leaves of that signer; how many requests were answered while `web` and `reviews` had leaves
/// of two.
async fn signed_by(shop: &Shop, wanted: &str, counts: &Counts) -> u64 {
    let (mut mixed, mut apart) = (0, None);
    eventually("leaves of the new intermediate", async || {
        let [web, reviews, stock] = ["web-0", "reviews-v1-0", "stock-0"].map(|workload| signer(shop, workload));
        let (web, reviews) = (web.await?, reviews.await?);
        let requests = counts.requests.load(Ordering::Relaxed);
        // Only what lies between two looks that saw two signers was served by both for sure.
        let before = std::mem::replace(&mut apart, (web != reviews).then_some(requests));
        if let (Some(before), Some(now)) = (before, apart) {
            mixed += now - before;
        }
        (web == wanted && reviews == wanted && stock.await? == wanted).then_some(())
    })
    .await;
    mixed
}

#[tokio::test(flavor = "multi_thread")]
async fn three_new_intermediates_and_short_leaves_under_load_cost_no_request() {
    let shop = Shop::with_leaves(Duration::from_secs(6)).await;
    let counts = Arc::new(Counts::default());
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..3 {
        load.spawn(http(shop.web.outbound(), counts.clone()));
    }
    load.spawn(tcp(shop.web.tcp("shop/stock:9000").unwrap(), counts.clone()));
    let start = Instant::now();
    let mut signers = Vec::new();
    let mut mixed = 0;
    // Whether the two sides get theirs apart is chance: on a machine that is slow to look, again.
    while signers.len() < 3 || mixed == 0 && signers.len() < 12 {
        let rotated = shop.mesh.client().rotate_ca().await.unwrap();
        assert_ne!(rotated.former_sha256, rotated.intermediate_sha256);
        // Both sides get leaves of the new one, whoever comes first, while the load goes on.
        mixed += signed_by(&shop, &rotated.intermediate_sha256, &counts).await;
        signers.push(rotated.intermediate_sha256);
    }
    let took = start.elapsed();
    counts.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    let rotations = signers.len();
    signers.sort();
    signers.dedup();
    assert_eq!(signers.len(), rotations);
    let [requests, connections, failed] =
        [&counts.requests, &counts.connections, &counts.failed].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(failed, 0, "of {requests} in {took:?}");
    assert!(mixed > 0, "no request met two signers");
    assert!(requests > 100 && connections * 10 >= requests, "{connections} of {requests} in {took:?}");
}
