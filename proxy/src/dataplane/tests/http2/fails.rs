//! How a gRPC call ends stands in its trailers: that is what counts, not its head.
use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use weft_ir::{Breaker, Cluster, Ejection, Retry, RetryBackoff, RetryBudget, Route};
use weft_model::{GrpcCode, Protocol, RepeatSafety, RetryCondition};

use super::peers::{Caller, SILENT, TRAILERS, TRAILERS_ONLY, Whole, grpc};
use crate::dataplane::tests::fleet::{CLUSTER, Fleet, eventually};

fn ejecting(cluster: &mut Cluster, _: &mut Route) {
    let base_time = Duration::from_secs(60);
    cluster.ejection = Some(Ejection { consecutive_errors: 3, base_time, max_time: base_time, ..Ejection::default() });
}

fn status(told: &Whole) -> &str {
    let trailers = told.trailers.as_ref().unwrap_or_else(|| told.head.headers());
    trailers.get("grpc-status").map_or("", |status| status.to_str().unwrap())
}

#[tokio::test]
async fn an_instance_whose_calls_fail_in_their_trailers_is_ejected_however_good_their_heads_are() {
    for mode in [TRAILERS + 14, TRAILERS_ONLY + 13, SILENT] {
        let fleet = Fleet::speaking(Protocol::Http2, 2, 1, ejecting).await;
        fleet.instances[0].mode.store(mode, SeqCst);
        let mut caller = Caller::connect(fleet.web.outbound()).await;
        eventually("it is left out", async || {
            assert_eq!(caller.ask(grpc("/shop.Reviews/Get")).await.head.status(), 200);
            !fleet.state().ejected.is_empty()
        })
        .await;
        let hits = fleet.instances[0].hits();
        assert!(hits >= 3 && fleet.state().ejected[0].workload == "shop/server-0", "{hits}: {:?}", fleet.state());
        for _ in 0..4 {
            assert_eq!(caller.ask(grpc("/shop.Reviews/Get")).await.text(), "1");
        }
        if mode == TRAILERS + 14 {
            let failed =
                || fleet.web.log.all().into_iter().filter(|record| record["grpcStatus"] == 14).collect::<Vec<_>>();
            eventually("their records", async || failed().len() == hits).await;
            assert!(failed().iter().all(|record| record["status"] == 200 && record["outcome"] == "complete"));
            let labels = format!("direction=\"outbound\",protocol=\"http\",service=\"{CLUSTER}\"");
            let metrics = fleet.web.dataplane.metrics();
            let failures = metrics.lines().find(|line| line.starts_with(&format!("weft_failures_total{{{labels}")));
            assert!(failures.is_some_and(|line| line.ends_with(&format!(" {hits}"))), "{metrics}");
        }
    }
}

#[tokio::test]
async fn calls_that_were_wrong_say_nothing_of_the_instance_that_says_so() {
    let fleet = Fleet::speaking(Protocol::Http2, 1, 1, |cluster, route| {
        ejecting(cluster, route);
        cluster.ejection.as_mut().unwrap().max_share_percent = 100;
        let time = Duration::from_secs(60);
        cluster.breaker = Some(Breaker { consecutive_failures: 2, open_time: time, max_open_time: time, probes: 1 });
    });
    let fleet = fleet.await;
    let mut caller = Caller::connect(fleet.web.outbound()).await;
    // NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNAUTHENTICATED.
    for code in [5, 7, 8, 12, 16] {
        for mode in [TRAILERS + code, TRAILERS_ONLY + code] {
            fleet.instances[0].mode.store(mode, SeqCst);
            assert_eq!(status(&caller.ask(grpc("/shop.Reviews/Get")).await), code.to_string());
        }
    }
    assert_eq!((fleet.instances[0].hits(), fleet.state().breaker), (10, Some("closed")));
    assert!(fleet.state().ejected.is_empty());
}

#[tokio::test]
async fn a_breaker_opens_for_failures_in_trailers_and_a_probe_that_fails_in_them_opens_it_again() {
    let open_time = Duration::from_millis(500);
    let breaker = Breaker { consecutive_failures: 3, open_time, max_open_time: open_time, probes: 1 };
    let fleet = Fleet::speaking(Protocol::Http2, 1, 1, |cluster, _| cluster.breaker = Some(breaker)).await;
    fleet.instances[0].mode.store(TRAILERS + 14, SeqCst);
    let mut caller = Caller::connect(fleet.web.outbound()).await;
    for _ in 0..3 {
        assert_eq!(status(&caller.ask(grpc("/shop.Reviews/Get")).await), "14");
    }
    assert_eq!(fleet.state().breaker, Some("open"));
    let refused = caller.ask(grpc("/shop.Reviews/Get")).await;
    assert!(refused.field("grpc-message").starts_with("circuit breaker of"), "{:?}", refused.head);
    assert_eq!(fleet.instances[0].hits(), 3);
    fleet.instances[0].mode.store(TRAILERS, SeqCst);
    fleet.says("half open", |state| state.breaker == Some("half-open")).await;
    assert_eq!(status(&caller.ask(grpc("/shop.Reviews/Get")).await), "0");
    fleet.says("closed", |state| state.breaker == Some("closed")).await;
}

/// A status that is told in the head alone is known before the client is sent anything.
#[tokio::test]
async fn a_status_in_the_head_is_repeated_where_its_route_says_so_and_one_in_trailers_is_the_clients() {
    let retry = Retry {
        attempts: 2,
        on: [RetryCondition::Grpc(GrpcCode::Unavailable)].into_iter().collect(),
        repeats_are_safe: RepeatSafety::Always,
        per_try_timeout: None,
        backoff: RetryBackoff { base: Duration::from_millis(1), max: Duration::from_millis(2) },
        budget: RetryBudget { percent: 100, min_per_second: 100 },
    };
    let fleet = Fleet::speaking(Protocol::Http2, 2, 1, |_, route| route.retry = Some(retry.clone())).await;
    let mut caller = Caller::connect(fleet.web.outbound()).await;
    fleet.instances[0].mode.store(TRAILERS_ONLY + 14, SeqCst);
    for _ in 0..4 {
        assert_eq!(caller.ask(grpc("/shop.Reviews/Get")).await.text(), "1");
    }
    let repeated = fleet.instances[0].hits();
    assert!(repeated >= 2, "round robin begins with each");
    let records = fleet.web.log.records(4).await;
    assert_eq!(records.iter().filter(|record| record["repeats"] == 1).count(), repeated);
    fleet.instances[0].mode.store(TRAILERS + 14, SeqCst);
    let mut failed = 0;
    for _ in 0..4 {
        let told = caller.ask(grpc("/shop.Reviews/Get")).await;
        failed += usize::from(status(&told) == "14" && told.text() == "0");
    }
    assert_eq!(failed, fleet.instances[0].hits() - repeated);
    assert!(failed >= 2);
}
