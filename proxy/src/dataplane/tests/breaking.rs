//! Ejection, limits and breakers.
use std::{num::NonZeroU32, sync::atomic::Ordering::SeqCst, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use weft_ir::{Breaker, Cluster, Ejection, Route, SuccessRate};
use weft_model::Errors;

use super::fleet::{CLUSTER, CUT, Fleet, GET, HOLD, eventually, status};

fn ejecting(base_time: Duration) -> impl Fn(&mut Cluster, &mut Route) {
    move |cluster, _| {
        cluster.ejection =
            Some(Ejection { consecutive_errors: 3, base_time, max_time: base_time, ..Ejection::default() });
    }
}

#[tokio::test]
async fn a_failing_instance_is_ejected_while_others_take_over_and_comes_back() {
    let fleet = Fleet::start(3, 2, ejecting(Duration::from_secs(3))).await;
    let failing = &fleet.instances[0];
    failing.mode.store(500, SeqCst);
    eventually("a round without the failing one", async || {
        let before = failing.hits();
        for _ in 0..9 {
            fleet.ask(GET).await;
        }
        failing.hits() == before
    })
    .await;
    let state = fleet.state();
    assert_eq!((state.cluster.as_str(), state.ejections), (CLUSTER, 1), "{state:?}");
    assert_eq!(state.ejected[0].workload, "shop/server-0");
    assert!((1..=3000).contains(&state.ejected[0].left_ms), "{state:?}");
    fleet.web.has_metric(&format!("weft_endpoints_ejected{{cluster=\"{CLUSTER}\"}} 1")).await;
    failing.mode.store(200, SeqCst);
    let before = failing.hits();
    eventually("it is back", async || {
        assert_eq!(fleet.ask(GET).await.0, 200);
        failing.hits() > before
    })
    .await;
    fleet.says("nothing is out", |state| state.ejected.is_empty()).await;
}

/// Its heads must not count as well in between.
#[tokio::test]
async fn an_instance_that_cuts_every_answer_is_ejected_however_good_its_heads_are() {
    let fleet = Fleet::start(2, 1, ejecting(Duration::from_secs(60))).await;
    fleet.instances[0].mode.store(CUT, SeqCst);
    eventually("it is left out", async || {
        let mut client = TcpStream::connect(fleet.web.outbound()).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: reviews\r\nConnection: close\r\n\r\n").await.unwrap();
        // What is cut ends with a reset.
        let _ = client.read_to_end(&mut Vec::new()).await;
        !fleet.state().ejected.is_empty()
    })
    .await;
    assert_eq!(fleet.state().ejected[0].workload, "shop/server-0");
    for _ in 0..4 {
        assert_eq!(fleet.ask(GET).await.0, 200);
    }
}

#[tokio::test]
async fn an_ejection_never_takes_the_last_instance() {
    let fleet = Fleet::start(1, 1, ejecting(Duration::from_secs(60))).await;
    fleet.instances[0].mode.store(500, SeqCst);
    for _ in 0..10 {
        assert_eq!(fleet.ask(GET).await.0, 500);
    }
    assert_eq!(fleet.instances[0].hits(), 10);
    assert!(fleet.state().ejected.is_empty());
}

fn limited(connections: u32, pending: u32, requests: u32) -> impl Fn(&mut Cluster, &mut Route) {
    move |cluster, _| {
        cluster.limits.max_connections = NonZeroU32::new(connections);
        cluster.limits.max_pending = NonZeroU32::new(pending);
        cluster.limits.max_requests = NonZeroU32::new(requests);
    }
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_at_once_with_the_limit_as_its_reason() {
    let fleet = Fleet::start(1, 2, limited(0, 0, 2)).await;
    fleet.instances[0].mode.store(HOLD, SeqCst);
    let mut served = [fleet.client().await, fleet.client().await];
    for client in &mut served {
        client.send(GET).await;
    }
    fleet.instances[0].has_hits(2).await;
    for _ in 0..4 {
        let (head, body) = fleet.client().await.ask(GET).await;
        assert!(head.starts_with("HTTP/1.1 503") && head.contains("x-weft-decision: web.abcde."), "{head}");
        assert_eq!(body, format!("limit of 2 requests to {CLUSTER} reached (TrafficPolicy limits.maxRequests)\n"));
    }
    assert_eq!(fleet.state().limits[0].used, 2);
    fleet.web.has_metric(&format!("weft_limit_refusals_total{{cluster=\"{CLUSTER}\",limit=\"requests\"}} 4")).await;
    assert_eq!(fleet.instances[0].hits(), 2, "what is refused reaches nobody");
    // Both at once: which of them is answered first is not said.
    served.iter().for_each(|_| fleet.instances[0].release());
    for client in &mut served {
        assert_eq!(status(&client.answer().await.0), 200);
    }
    fleet.says("all is given back", |state| state.limits[0].used == 0).await;
    fleet.instances[0].release();
    assert_eq!(fleet.ask(GET).await.0, 200);
    let refused = fleet.web.log.records(7).await.into_iter().filter(|record| record["outcome"] == "limit-reached");
    assert!(refused.clone().count() == 4 && refused.clone().all(|record| record["blame"] == "configuration"));
}

#[tokio::test]
async fn beyond_the_connections_requests_wait_and_beyond_those_that_may_wait_they_are_refused() {
    let fleet = Fleet::start(1, 1, limited(1, 1, 0)).await;
    fleet.instances[0].mode.store(HOLD, SeqCst);
    let (mut first, mut second) = (fleet.client().await, fleet.client().await);
    first.send(GET).await;
    fleet.instances[0].has_hits(1).await;
    second.send(GET).await;
    fleet.says("one waits", |state| state.limits[1].used == 1).await;
    let (status_of_third, body) = fleet.ask(GET).await;
    assert_eq!(status_of_third, 503);
    assert_eq!(body, format!("limit of 1 waiting requests to {CLUSTER} reached (TrafficPolicy limits.maxPending)\n"));
    assert_eq!(fleet.instances[0].hits(), 1);
    fleet.instances[0].release();
    assert_eq!(status(&first.answer().await.0), 200);
    fleet.instances[0].release();
    assert_eq!(status(&second.answer().await.0), 200);
    let metrics = fleet.web.dataplane.metrics();
    assert!(metrics.contains("weft_upstream_connections_total 1\n"), "{metrics}");
}

#[tokio::test]
async fn an_unused_connection_makes_room_for_another_endpoint_at_any_worker() {
    let fleet = Fleet::start(3, 2, limited(1, 0, 0)).await;
    for _ in 0..30 {
        assert_eq!(fleet.ask(GET).await.0, 200);
    }
    assert!(fleet.instances.iter().all(|instance| instance.hits() > 0));
    assert!(fleet.state().limits[0].used <= 1);
}

#[tokio::test]
async fn an_open_breaker_lets_nothing_but_probes_through_and_closes_when_they_succeed() {
    let open_time = Duration::from_secs(2);
    let breaker = Breaker { consecutive_failures: 3, open_time, max_open_time: open_time, probes: 1 };
    let fleet = Fleet::start(1, 2, |cluster, _| cluster.breaker = Some(breaker)).await;
    let instance = &fleet.instances[0];
    instance.mode.store(500, SeqCst);
    for _ in 0..3 {
        assert_eq!(fleet.ask(GET).await.0, 500);
    }
    let (refused, body) = fleet.ask(GET).await;
    assert_eq!(refused, 503);
    assert!(body.starts_with(&format!("circuit breaker of {CLUSTER} open for ")), "{body}");
    assert!(body.ends_with("(TrafficPolicy circuitBreaker)\n"), "{body}");
    assert_eq!((instance.hits(), fleet.state().breaker), (3, Some("open")));
    instance.mode.store(HOLD, SeqCst);
    fleet.says("half open", |state| state.breaker == Some("half-open")).await;
    let mut probe = fleet.client().await;
    probe.send(GET).await;
    instance.has_hits(4).await;
    for _ in 0..5 {
        let (refused, body) = fleet.ask(GET).await;
        assert!(refused == 503 && body.contains("probes are under way"), "{body}");
    }
    assert_eq!(instance.hits(), 4, "one probe at once");
    instance.release();
    assert_eq!(status(&probe.answer().await.0), 200);
    fleet.says("closed", |state| state.breaker == Some("closed")).await;
    instance.release();
    assert_eq!(fleet.ask(GET).await.0, 200);
    fleet.web.has_metric(&format!("weft_breaker_state{{cluster=\"{CLUSTER}\"}} 0")).await;
}

#[tokio::test]
async fn by_gateway_errors_alone_an_application_that_fails_stays_and_one_that_is_away_goes() {
    let fleet = Fleet::start(2, 1, |cluster, _| {
        let base_time = Duration::from_secs(600);
        let (errors, max_time) = (Errors::Gateway, base_time);
        cluster.ejection = Some(Ejection { consecutive_errors: 2, base_time, max_time, errors, ..Ejection::default() });
    })
    .await;
    fleet.instances[0].mode.store(500, SeqCst);
    for _ in 0..10 {
        fleet.ask(GET).await;
    }
    assert_eq!(fleet.instances[0].hits(), 5, "500 is an answer");
    fleet.instances[0].mode.store(503, SeqCst);
    for _ in 0..4 {
        fleet.ask(GET).await;
    }
    fleet.says("it is out", |state| state.ejected.len() == 1).await;
}

#[tokio::test]
async fn an_instance_that_fails_far_more_often_than_the_others_is_ejected_although_it_never_errs_in_a_row() {
    let fleet = Fleet::start(4, 1, |cluster, _| {
        let base_time = Duration::from_secs(600);
        let rate = SuccessRate {
            interval: Duration::from_millis(400),
            minimum_endpoints: 4,
            minimum_requests: 4,
            deviation_percent: 150,
        };
        let (success_rate, max_time) = (Some(rate), base_time);
        cluster.ejection =
            Some(Ejection { consecutive_errors: 1000, base_time, max_time, success_rate, ..Ejection::default() });
    })
    .await;
    let mut client = fleet.client().await;
    let bad = &fleet.instances[2];
    let ejected = async || {
        // Every other answer of it is a 500.
        bad.mode.store(if bad.hits() % 2 == 0 { 500 } else { 200 }, SeqCst);
        client.ask(GET).await;
        fleet.state().ejected.len() == 1
    };
    eventually("it is out", ejected).await;
    assert_eq!(fleet.state().ejected[0].workload, "shop/server-2");
    assert_eq!(fleet.state().ejections, 1);
}
