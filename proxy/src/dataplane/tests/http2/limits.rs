//! Limits on connections hold for HTTP/2's as they do for HTTP/1.1's: each holds one unit, however many requests it
//! carries, and a request that waits for one, or for a stream, is pending.
use std::{num::NonZeroU32, sync::atomic::Ordering::SeqCst, time::Duration};

use h2::server;
use tokio::time::Instant;
use weft_ir::{Cluster, Route};
use weft_model::Protocol;

use super::{
    peers::{App, Caller, answer, grpc, request, whole},
    raw::Raw,
};
use crate::dataplane::tests::{
    fleet::{CLUSTER, Fleet, GET, HOLD, eventually},
    mesh::Side,
};

fn limit(cluster: &mut Cluster, connections: u32, pending: u32) {
    cluster.limits.max_connections = NonZeroU32::new(connections);
    cluster.limits.max_pending = NonZeroU32::new(pending);
}

fn limited(connections: u32, pending: u32) -> impl Fn(&mut Cluster, &mut Route) {
    move |cluster, _| limit(cluster, connections, pending)
}

/// How many units of a limit are in use: of connections (0), of those that wait (1).
fn used(web: &Side, limit: usize) -> u32 {
    web.dataplane.clusters().remove(0).limits[limit].used
}

#[tokio::test]
async fn a_connection_that_carries_many_requests_holds_one_unit_until_it_has_ended() {
    let fleet = Fleet::speaking(Protocol::Http2, 1, 1, limited(2, 100)).await;
    fleet.instances[0].mode.store(HOLD, SeqCst);
    let mut caller = Caller::connect(fleet.web.outbound()).await;
    let mut calls = Vec::new();
    for _ in 0..20 {
        calls.push(caller.open(grpc("/shop.Reviews/Get"), true).await);
    }
    fleet.instances[0].has_hits(20).await;
    assert_eq!((used(&fleet.web, 0), used(&fleet.web, 1)), (1, 0));
    calls.iter().for_each(|_| fleet.instances[0].release());
    for (call, _) in calls {
        assert_eq!(whole(call).await.unwrap().text(), "0");
    }
    assert_eq!(used(&fleet.web, 0), 1, "it rests");
    fleet.instances[0].side.dataplane.drain();
    eventually("the unit is given back", async || used(&fleet.web, 0) == 0).await;
}

/// The peer takes one stream at a time, and the cluster one connection.
#[tokio::test]
async fn a_request_waits_for_a_stream_and_beyond_those_that_may_wait_it_is_refused_with_the_limit_as_its_reason() {
    let raw = Raw::start(1, |cluster| limit(cluster, 1, 1)).await;
    let mut caller = Caller::connect(raw.web.outbound()).await;
    let (first, _) = caller.open(grpc("/shop.Reviews/First"), true).await;
    let mut settings = server::Builder::new();
    settings.max_concurrent_streams(1);
    let mut peer = App::over(settings, raw.accept(0).await).await;
    // The first answer's head has its SETTINGS before it.
    let (_, respond) = peer.asked().await;
    answer(respond, "first");
    whole(first).await.unwrap();

    let (second, _) = caller.open(grpc("/shop.Reviews/Second"), true).await;
    let (_, respond) = peer.asked().await;
    let (third, _) = caller.open(grpc("/shop.Reviews/Third"), true).await;
    eventually("the third waits", async || used(&raw.web, 1) == 1).await;
    let reason = format!("limit of 1 waiting requests to {CLUSTER} reached (TrafficPolicy limits.maxPending)");
    let refused = caller.ask(grpc("/shop.Reviews/Fourth")).await;
    assert_eq!((refused.field("grpc-status"), refused.field("grpc-message")), ("14", reason.as_str()));
    let refused = caller.ask(request("GET", "/").body(()).unwrap()).await;
    assert_eq!((refused.head.status().as_u16(), refused.text()), (503, format!("{reason}\n").as_str()));
    answer(respond, "second");
    assert_eq!(whole(second).await.unwrap().text(), "second");
    let (asked, respond) = peer.asked().await;
    assert_eq!((asked.uri().path(), used(&raw.web, 1)), ("/shop.Reviews/Third", 0));
    answer(respond, "third");
    assert_eq!(whole(third).await.unwrap().text(), "third");
    raw.web.has_metric("weft_upstream_connections_total 1").await;
}

#[tokio::test]
async fn a_request_waits_no_longer_than_connecting_may_take_and_is_told_the_limit_on_connections() {
    let wait = Duration::from_millis(200);
    let fleet = Fleet::speaking(Protocol::Http2, 2, 1, |cluster, _| {
        limit(cluster, 1, 5);
        cluster.connect_timeout = wait;
    });
    let fleet = fleet.await;
    fleet.instances.iter().for_each(|instance| instance.mode.store(HOLD, SeqCst));
    let mut caller = Caller::connect(fleet.web.outbound()).await;
    let (held, _) = caller.open(grpc("/shop.Reviews/Get"), true).await;
    eventually("one is asked", async || fleet.instances.iter().any(|instance| instance.hits() == 1)).await;
    // It goes to the other instance, for which there is no connection left.
    let begin = Instant::now();
    let refused = caller.ask(grpc("/shop.Reviews/Get")).await;
    assert!(begin.elapsed() >= wait);
    let reason = format!("limit of 1 connections to {CLUSTER} reached (TrafficPolicy limits.maxConnections)");
    assert_eq!((refused.field("grpc-status"), refused.field("grpc-message")), ("14", reason.as_str()));
    fleet.instances.iter().for_each(|instance| instance.release());
    assert_eq!(whole(held).await.unwrap().head.status(), 200);
}

#[tokio::test]
async fn an_unused_connection_of_either_version_makes_room_for_one_of_the_other_at_any_worker() {
    let fleet = Fleet::speaking(Protocol::Http2, 3, 2, limited(1, 0)).await;
    for turn in 0..30 {
        // Each on a connection of its own, at either worker.
        if turn % 3 == 0 {
            assert_eq!(fleet.ask(GET).await.0, 200, "{turn}");
        } else {
            let told = Caller::connect(fleet.web.outbound()).await.ask(grpc("/shop.Reviews/Get")).await;
            let reason = told.field("grpc-message").to_owned();
            assert_eq!((told.head.status().as_u16(), told.body.len()), (200, 1), "{turn}: {reason}");
        }
        assert!(used(&fleet.web, 0) <= 1);
    }
    assert!(fleet.instances.iter().all(|instance| instance.hits() > 0));
}

#[tokio::test]
async fn who_waits_for_a_connection_that_fails_fails_with_it_and_its_unit_is_free_again() {
    let fleet = Fleet::speaking(Protocol::Http2, 1, 1, limited(1, 10)).await;
    // Nobody listens there any more.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    fleet.publish_at([(0, gone)], limited(1, 10));
    let mut caller = Caller::connect(fleet.web.outbound()).await;
    let mut calls = Vec::new();
    for _ in 0..5 {
        calls.push(caller.open(grpc("/shop.Reviews/Get"), true).await);
    }
    for (call, _) in calls {
        let told = whole(call).await.unwrap();
        assert_eq!(told.field("grpc-status"), "14");
        assert!(told.field("grpc-message").contains("cannot connect"), "{:?}", told.head);
    }
    assert_eq!((used(&fleet.web, 0), used(&fleet.web, 1)), (0, 0));
    fleet.publish([0], limited(1, 10));
    assert_eq!(caller.ask(grpc("/shop.Reviews/Get")).await.head.status(), 200);
}
