//! What is repeated, and what never is.
use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use tokio::time::Instant;
use weft_ir::{Cluster, Retry, RetryBackoff, RetryBudget, Route};
use weft_model::{RepeatSafety, RetryCondition};

use super::fleet::{Fleet, GET, HOLD, LATER, SOON, status};

/// Repeats on gateway errors and resets, fast.
fn retry() -> Retry {
    Retry {
        attempts: 2,
        on: [RetryCondition::GatewayError, RetryCondition::Reset].into_iter().collect(),
        repeats_are_safe: RepeatSafety::Idempotent,
        per_try_timeout: None,
        backoff: RetryBackoff { base: Duration::from_millis(1), max: Duration::from_millis(2) },
        budget: RetryBudget { percent: 100, min_per_second: 100 },
    }
}

fn by(retry: Retry) -> impl Fn(&mut Cluster, &mut Route) {
    move |_, route| route.retry = Some(retry.clone())
}

#[tokio::test]
async fn an_answer_worth_repeating_is_held_back_and_another_instance_answers() {
    let fleet = Fleet::start(2, 1, by(retry())).await;
    fleet.instances[0].mode.store(503, SeqCst);
    let mut client = fleet.client().await;
    for _ in 0..6 {
        let (head, body) = client.ask(GET).await;
        assert_eq!((status(&head), body.as_str()), (200, "1 0"));
    }
    let (failed, records) = (fleet.instances[0].hits(), fleet.web.log.records(6).await);
    assert!(failed >= 3, "round robin begins with each");
    assert_eq!(records.iter().filter(|record| record["repeats"] == 1).count(), failed);
    fleet.web.has_metric(&format!("weft_retries_total{{outcome=\"repeated\"}} {failed}")).await;
}

#[tokio::test]
async fn a_post_is_never_doubled_where_its_route_does_not_call_that_safe() {
    let fleet = Fleet::start(2, 1, by(retry())).await;
    for instance in &fleet.instances {
        instance.mode.store(503, SeqCst);
    }
    for turn in 1..=4 {
        let post = "POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(fleet.ask(post).await.0, 503);
        assert_eq!(fleet.instances.iter().map(|instance| instance.hits()).sum::<usize>(), turn);
    }
    let record = &fleet.web.log.records(4).await[0];
    let why = "it may have been processed, and its route does not call repeating it safe";
    assert_eq!((&record["notRepeated"], &record["repeats"]), (&why.into(), &serde_json::Value::Null));
    fleet.web.has_metric("weft_retries_total{outcome=\"unsafe\"} 4").await;
}

#[tokio::test]
async fn a_body_that_came_in_parts_is_repeated_whole_and_one_that_is_too_large_is_not() {
    let always = Retry { repeats_are_safe: RepeatSafety::Always, ..retry() };
    let fleet = Fleet::start(2, 1, by(always)).await;
    fleet.instances[0].mode.store(503, SeqCst);
    let post = async |length: usize| {
        let mut client = fleet.client().await;
        let before: usize = fleet.instances.iter().map(|instance| instance.hits()).sum();
        client.send(format!("POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: {length}\r\n\r\n")).await;
        // It goes on in parts of their own: nothing of it lies with the head.
        for part in vec![b'x'; length].chunks(length / 3 + 1) {
            tokio::task::yield_now().await;
            client.send(part).await;
        }
        let (head, body) = client.answer().await;
        let after: usize = fleet.instances.iter().map(|instance| instance.hits()).sum();
        (status(&head), body, after - before)
    };
    let mut repeated = 0;
    for _ in 0..4 {
        let (status, body, tries) = post(30_000).await;
        assert_eq!((status, body.as_str()), (200, "1 30000"));
        repeated += tries - 1;
    }
    assert!(repeated >= 1, "no request went to the failing instance first");
    let answers = [post(300_000).await, post(300_000).await];
    assert!(answers.iter().all(|(_, _, tries)| *tries == 1), "{answers:?}");
    assert!(answers.iter().any(|(status, ..)| *status == 503), "{answers:?}");
    let records = fleet.web.log.records(6).await;
    let why = "a part of its body has been sent and was not kept";
    assert_eq!(records.iter().filter(|record| record["notRepeated"] == why).count(), 1, "{records:?}");
    // Nor one of which everything lies with the head: what is repeated does not hang on how the bytes arrive.
    for _ in 0..4 {
        let before: usize = fleet.instances.iter().map(|instance| instance.hits()).sum();
        let body = "x".repeat(70_000);
        fleet.ask(&format!("POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 70000\r\n\r\n{body}")).await;
        assert_eq!(fleet.instances.iter().map(|instance| instance.hits()).sum::<usize>(), before + 1);
    }
}

#[tokio::test]
async fn the_retry_budget_is_not_exceeded_by_two_workers() {
    // A second's worth for each of ten seconds is saved up, and nothing is earned by requests.
    let budget = RetryBudget { percent: 0, min_per_second: 1 };
    let fleet = Fleet::start(1, 2, by(Retry { budget, attempts: 1, ..retry() })).await;
    fleet.instances[0].mode.store(503, SeqCst);
    let began = Instant::now();
    for _ in 0..40 {
        assert_eq!(fleet.ask(GET).await.0, 503);
    }
    let repeated = fleet.instances[0].hits() - 40;
    let most = 10 + usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!((10..=most).contains(&repeated), "{repeated} repetitions, {most} are affordable");
    let records = fleet.web.log.records(40).await;
    let spent = records.iter().filter(|record| record["notRepeated"] == "the retry budget is spent").count();
    assert_eq!(spent, 40 - repeated);
}

#[tokio::test]
async fn a_try_that_takes_too_long_is_given_up_for_another() {
    let fleet = Fleet::start(2, 1, by(Retry { per_try_timeout: Some(Duration::from_millis(700)), ..retry() })).await;
    fleet.instances[0].mode.store(HOLD, SeqCst);
    for _ in 0..4 {
        assert_eq!(fleet.ask(GET).await, (200, "1 0".to_owned()));
    }
    assert!(fleet.instances[0].hits() >= 1);
    // Where every try takes too long, the client is told so.
    fleet.instances[1].mode.store(HOLD, SeqCst);
    let (head, body) = fleet.client().await.ask(GET).await;
    assert_eq!(body, "no answer within the 700ms that the route gives one try\n");
    assert_eq!(fleet.web.refused(&head, 504).await["outcome"], "timeout");
}

#[tokio::test]
async fn an_upstream_that_asks_for_a_second_is_given_it() {
    let fleet = Fleet::start(1, 1, by(Retry { attempts: 1, ..retry() })).await;
    fleet.instances[0].mode.store(SOON, SeqCst);
    let began = Instant::now();
    assert_eq!(fleet.ask(GET).await.0, 503);
    assert!(began.elapsed() >= Duration::from_secs(1), "asked again after {:?}", began.elapsed());
    assert_eq!(fleet.instances[0].hits(), 2);
}

/// Each wait is uniform up to 400 ms: forty of them come to 8 s, and to less than 4 s once in ten million times.
#[tokio::test]
async fn a_repetition_waits_by_its_back_off() {
    let backoff = RetryBackoff { base: Duration::from_millis(400), max: Duration::from_millis(400) };
    let fleet = Fleet::start(1, 1, by(Retry { backoff, ..retry() })).await;
    fleet.instances[0].mode.store(503, SeqCst);
    let mut asked = Vec::new();
    for _ in 0..20 {
        asked.push(async {
            let began = Instant::now();
            assert_eq!(fleet.ask(GET).await.0, 503);
            began.elapsed()
        });
    }
    let waited: Duration = futures::future::join_all(asked).await.iter().sum();
    assert_eq!(fleet.instances[0].hits(), 60);
    assert!(waited > Duration::from_secs(4), "{waited:?} in all");
}

#[tokio::test]
async fn an_upstream_that_asks_to_be_left_alone_for_longer_is() {
    let fleet = Fleet::start(1, 1, by(retry())).await;
    fleet.instances[0].mode.store(LATER, SeqCst);
    assert_eq!(fleet.ask(GET).await.0, 503);
    assert_eq!(fleet.instances[0].hits(), 1);
    let record = &fleet.web.log.records(1).await[0];
    assert_eq!(record["notRepeated"], "the upstream asked to be left alone for longer");
}

#[tokio::test]
async fn without_a_policy_only_what_was_proven_not_to_be_processed_is_repeated() {
    let fleet = Fleet::start(1, 1, |_, _| {}).await;
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    fleet.publish_at([(1, dead), (0, fleet.instances[0].side.inbound())], |_, _| {});
    let post = "POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 4\r\n\r\nbody";
    for _ in 0..4 {
        assert_eq!(fleet.ask(post).await, (200, "0 4".to_owned()));
    }
    fleet.instances[0].mode.store(503, SeqCst);
    assert_eq!(fleet.ask(GET).await.0, 503);
    assert_eq!(fleet.instances[0].hits(), 5);
}
