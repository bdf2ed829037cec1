//! A peer whose proxy has no chain for the service has not looked at a request: it is repeated. What its application
//! says is the application's.
use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use bytes::Bytes;
use weft_ir::{Cluster, Retry, RetryBackoff, RetryBudget, Route};
use weft_model::{Protocol, RepeatSafety, RetryCondition};

use super::peers::{Caller, Whole, grpc, request, whole};
use crate::dataplane::tests::{
    fleet::{Fleet, eventually, status},
    mesh::snapshot,
};

const POST: &str = "POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 4\r\n\r\nbody";

/// Over HTTP/2; its length is told, so that an HTTP/1.1 application is sent no chunks.
async fn post(caller: &mut Caller) -> Whole {
    let head = request("POST", "/").header("content-length", "4").body(()).unwrap();
    let (call, mut up) = caller.open(head, false).await;
    up.send_data(Bytes::from_static(b"body"), true).unwrap();
    whole(call).await.unwrap()
}

fn plain(_: &mut Cluster, _: &mut Route) {}

#[tokio::test]
async fn what_a_peer_without_the_chain_has_not_looked_at_goes_to_another() {
    for protocol in [Protocol::Http, Protocol::Http2] {
        let fleet = Fleet::speaking(protocol, 2, 1, plain).await;
        fleet.instances[0].side.dataplane.publish(snapshot([]));
        let mut caller = Caller::connect(fleet.web.outbound()).await;
        for turn in 0..6 {
            if turn % 2 == 0 {
                assert_eq!(fleet.ask(POST).await.0, 200, "{protocol:?}");
                continue;
            }
            assert_eq!(post(&mut caller).await.head.status(), 200, "{protocol:?}");
        }
        assert_eq!((fleet.instances[0].hits(), fleet.instances[1].hits()), (0, 6));
        let records = fleet.web.log.records(6).await;
        let repeated = records.iter().filter(|record| record["repeats"] == 1).count();
        assert!(repeated >= 3, "round robin begins with each: {records:?}");
        let metric = format!("weft_retries_total{{outcome=\"repeated\"}} {repeated}");
        fleet.web.has_metric(&metric).await;
    }
}

/// The chain may be on its way: who was faster is no fault.
#[tokio::test]
async fn where_there_is_no_other_peer_it_is_asked_again_after_a_moment() {
    let patient = |_: &mut Cluster, route: &mut Route| {
        route.retry = Some(Retry {
            attempts: 100,
            on: [RetryCondition::Reset].into_iter().collect(),
            repeats_are_safe: RepeatSafety::Never,
            per_try_timeout: None,
            backoff: RetryBackoff { base: Duration::from_millis(5), max: Duration::from_millis(50) },
            budget: RetryBudget { percent: 100, min_per_second: 1000 },
        });
    };
    let fleet = Fleet::start(1, 1, patient).await;
    let instance = &fleet.instances[0];
    for over_http2 in [false, true] {
        instance.side.dataplane.publish(snapshot([]));
        let before = instance.side.log.all().len();
        let asked = async {
            if over_http2 {
                let mut caller = Caller::connect(fleet.web.outbound()).await;
                post(&mut caller).await.text().to_owned()
            } else {
                fleet.ask(POST).await.1
            }
        };
        let chain = async {
            eventually("it is asked in vain", async || instance.side.log.all().len() > before).await;
            instance.side.dataplane.publish(snapshot([instance.chain.clone()]));
        };
        let (body, ()) = tokio::join!(asked, chain);
        assert_eq!(body, "0 4");
    }
    assert_eq!(instance.hits(), 2);
}

#[tokio::test]
async fn who_is_misdirected_everywhere_is_told_so_once_the_repeats_are_over() {
    let fleet = Fleet::start(1, 1, plain).await;
    fleet.instances[0].side.dataplane.publish(snapshot([]));
    let (head, body) = fleet.client().await.ask(POST).await;
    assert_eq!(status(&head), 421, "{head}");
    assert!(body.contains("80.reviews.shop.mesh.weft.local"), "{body}");
    let mut caller = Caller::connect(fleet.web.outbound()).await;
    let told = caller.ask(grpc("/shop.Reviews/Get")).await;
    assert_eq!((told.head.status().as_u16(), told.field("grpc-status")), (200, "14"), "{:?}", told.head);
    let told = caller.ask(request("GET", "/").body(()).unwrap()).await;
    assert_eq!(told.head.status(), 421);
    let records = fleet.web.log.records(3).await;
    assert!(records.iter().all(|record| record["repeats"] == 2), "{records:?}");
}

/// Its sidecar owns the mark: whatever the application sends under that name goes no further.
#[tokio::test]
async fn an_applications_own_421_is_never_repeated_whatever_it_says_beside_it() {
    for protocol in [Protocol::Http, Protocol::Http2] {
        let fleet = Fleet::speaking(protocol, 2, 1, plain).await;
        fleet.instances.iter().for_each(|instance| instance.mode.store(421, SeqCst));
        let (head, _) = fleet.client().await.ask(POST).await;
        assert_eq!(status(&head), 421);
        assert!(!head.contains("x-weft-"), "{head}");
        let mut caller = Caller::connect(fleet.web.outbound()).await;
        let told = caller.ask(request("GET", "/").body(()).unwrap()).await;
        assert_eq!(told.head.status(), 421);
        assert!(!told.head.headers().keys().any(|name| name.as_str().starts_with("x-weft-")), "{:?}", told.head);
        assert_eq!(fleet.instances.iter().map(|instance| instance.hits()).sum::<usize>(), 2);
        assert!(fleet.web.log.records(2).await.iter().all(|record| record["repeats"].is_null()));
    }
}
