use proptest::prelude::*;
use weft_model::GrpcCode;

use super::*;
use crate::Proof;

const LOST: Outcome = Outcome::NotProcessed(Proof::GoAway);

fn tried(outcome: Outcome) -> Attempted<'static> {
    Attempted { outcome, method: "GET", whole: true, answered: false, elsewhere: true, left: None }
}

fn answered(status: u16) -> Outcome {
    Outcome::Answered { status, grpc: None }
}

fn policy() -> Retry {
    Retry { attempts: 3, ..Retry::default() }
}

fn after(policy: Option<&Retry>, tried: &Attempted<'_>) -> Result<Duration, NoRepeat> {
    Repeats::new(policy).after(tried, 0, |_| true)
}

#[test]
fn without_a_policy_only_proof_repeats_and_not_for_ever() {
    let mut repeats = Repeats::new(None);
    assert_eq!(repeats.after(&tried(Outcome::Reset), 0, |_| true), Err(NoRepeat::NoRetries));
    assert_eq!(repeats.after(&tried(answered(503)), 0, |_| true), Err(NoRepeat::NotWanted));
    let post = Attempted { method: "POST", ..tried(LOST) };
    assert_eq!(repeats.after(&post, u64::MAX, |_| true), Ok(Duration::ZERO));
    assert!(repeats.after(&post, u64::MAX, |_| true).unwrap() > Duration::from_millis(40));
    assert_eq!(repeats.after(&post, 0, |_| true), Err(NoRepeat::Attempts));
    assert_eq!((repeats.done(), repeats.budget()), (2, RetryBudget { percent: 100, min_per_second: 10 }));
}

#[test]
fn who_was_misdirected_goes_elsewhere_at_once_and_waits_where_there_is_no_elsewhere() {
    let misdirected = tried(Outcome::NotProcessed(Proof::Misdirected));
    let post = Attempted { method: "POST", ..misdirected };
    assert_eq!(after(None, &post), Ok(Duration::ZERO));
    let mut repeats = Repeats::new(None);
    let here = Attempted { elsewhere: false, ..post };
    let base = RetryBackoff::default().base;
    assert_eq!(repeats.after(&here, 0, |_| true), Ok(base / 2));
    let second = repeats.after(&here, u64::MAX, |_| true).unwrap();
    assert!(second > base && second <= base * 2, "{second:?}");
    assert_eq!(repeats.after(&here, 0, |_| true), Err(NoRepeat::Attempts));
    assert_eq!(Repeats::new(None).after(&here, 0, |_| false), Err(NoRepeat::Budget));
}

#[test]
fn each_condition_repeats_what_it_names() {
    let on = |conditions: &[RetryCondition]| Retry { on: conditions.iter().copied().collect(), ..policy() };
    let grpc = Outcome::Answered { status: 200, grpc: Some(14) };
    let unavailable = RetryCondition::Grpc(GrpcCode::Unavailable);
    for (condition, wanted) in [
        (RetryCondition::Reset, vec![Outcome::Reset, Outcome::TryTimeout]),
        (RetryCondition::GatewayError, vec![Outcome::TryTimeout, answered(503)]),
        (RetryCondition::ServerError, vec![Outcome::TryTimeout, answered(500), answered(503)]),
        (RetryCondition::Status(429), vec![answered(429)]),
        (unavailable, vec![grpc]),
        (RetryCondition::ConnectFailure, vec![]),
    ] {
        let policy = on(&[condition]);
        let outcomes = [
            Outcome::Reset,
            Outcome::TryTimeout,
            answered(200),
            answered(429),
            answered(500),
            answered(503),
            grpc,
            Outcome::Timeout,
            Outcome::Cut,
            Outcome::Ours,
        ];
        let repeated: Vec<_> = outcomes.into_iter().filter(|it| after(Some(&policy), &tried(*it)).is_ok()).collect();
        assert_eq!(repeated, wanted, "{condition}");
        assert!(
            after(Some(&policy), &tried(LOST)).is_ok() && after(Some(&policy), &tried(Outcome::ConnectFailed)).is_ok()
        );
    }
}

#[test]
fn what_may_have_been_processed_is_repeated_only_where_that_is_safe() {
    let with = |repeats_are_safe| Retry { repeats_are_safe, ..policy() };
    let reset = |method| Attempted { method, ..tried(Outcome::Reset) };
    let idempotent = with(RepeatSafety::Idempotent);
    assert!(after(Some(&idempotent), &reset("PUT")).is_ok());
    assert_eq!(after(Some(&idempotent), &reset("POST")), Err(NoRepeat::Unsafe));
    assert!(after(Some(&with(RepeatSafety::Always)), &reset("POST")).is_ok());
    let never = with(RepeatSafety::Never);
    assert_eq!(after(Some(&never), &reset("GET")), Err(NoRepeat::Unsafe));
    assert!(after(Some(&never), &Attempted { method: "POST", ..tried(LOST) }).is_ok());
}

#[test]
fn what_cannot_be_sent_again_is_not() {
    let policy = policy();
    for outcome in [LOST, Outcome::Reset] {
        let tried = tried(outcome);
        let cause = |tried| after(Some(&policy), &tried);
        assert_eq!(cause(Attempted { answered: true, ..tried }), Err(NoRepeat::Answered));
        assert_eq!(cause(Attempted { whole: false, ..tried }), Err(NoRepeat::BodyGone));
        assert_eq!(cause(Attempted { left: Some(Duration::ZERO), ..tried }), Err(NoRepeat::Deadline));
    }
}

#[test]
fn the_budget_is_asked_last_and_by_the_routes_own_numbers() {
    let policy = Retry { budget: RetryBudget { percent: 7, min_per_second: 1 }, ..policy() };
    let refused = |budget: &RetryBudget| {
        assert_eq!(budget.percent, 7);
        false
    };
    assert_eq!(Repeats::new(Some(&policy)).after(&tried(LOST), 0, refused), Err(NoRepeat::Budget));
    let gone = Attempted { whole: false, ..tried(LOST) };
    let never = |_: &RetryBudget| panic!("nothing is paid for what is not repeated");
    assert_eq!(Repeats::new(Some(&policy)).after(&gone, 0, never), Err(NoRepeat::BodyGone));
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        (200u16..600, prop::option::of(0u32..17)).prop_map(|(status, grpc)| Outcome::Answered { status, grpc }),
        Just(Outcome::ConnectFailed),
        Just(LOST),
        Just(Outcome::Reset),
        Just(Outcome::TryTimeout),
        Just(Outcome::Timeout),
        Just(Outcome::Cut),
        Just(Outcome::Ours),
    ]
}

proptest! {
    #[test]
    fn a_request_is_repeated_only_with_proof_or_where_safe_within_attempts_budget_and_time(
        policy in prop::option::of((1u32..5, any::<bool>()).prop_map(|(attempts, safe)| Retry {
            attempts,
            repeats_are_safe: if safe { RepeatSafety::Idempotent } else { RepeatSafety::Never },
            ..Retry::default()
        })),
        method in prop::sample::select(vec!["GET", "POST"]),
        tries in prop::collection::vec((outcome(), any::<[bool; 3]>(), any::<u64>(), 0u64..100), 1..12),
    ) {
        let mut repeats = Repeats::new(policy.as_ref());
        let most = policy.as_ref().map_or(PROVEN_REPEATS, |it| it.attempts);
        for (outcome, [whole, answered, affordable], draw, left) in tries {
            let left = Duration::from_millis(left);
            let tried = Attempted { outcome, method, whole, answered, elsewhere: true, left: Some(left) };
            let (before, mut paid) = (repeats.done(), false);
            let verdict = repeats.after(&tried, draw, |_| { paid = affordable; affordable });
            prop_assert_eq!(verdict.is_ok(), paid, "paid exactly for what is repeated");
            prop_assert_eq!(repeats.done(), before + u32::from(paid));
            prop_assert!(repeats.done() <= most);
            if let Ok(wait) = verdict {
                let safe = policy.as_ref().is_some_and(|it| it.repeats_are_safe.allows(method));
                prop_assert!(outcome.is_proof() || safe);
                prop_assert!(whole && !answered && wait < left && wait <= Duration::from_millis(250));
            }
        }
    }
}
