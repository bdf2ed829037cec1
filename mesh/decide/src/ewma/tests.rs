use proptest::prelude::*;

use super::*;
use crate::Verdict::{Error, Good, Neither};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn measured(took: u64, now: u64) -> PeakEwma {
    let mut it = PeakEwma::default();
    it.observe(ms(took), Good, ms(now));
    it
}

#[test]
fn a_rise_counts_at_once_and_is_forgotten_slowly() {
    let mut it = measured(10, 0);
    it.observe(ms(500), Good, ms(1));
    assert_eq!(it.cost(0, ms(1)), 500_000_000);
    it.observe(ms(10), Good, ms(2));
    assert!(it.cost(0, ms(2)) > 499_000_000, "{it:?}");
    // After one time of decay what was above is 1/e.
    it.observe(ms(10), Good, ms(2) + PeakEwma::DECAY);
    let expected = 500e6 / std::f64::consts::E + 10e6 * (1.0 - 1.0 / std::f64::consts::E);
    let found = it.cost(0, ms(2) + PeakEwma::DECAY) as f64;
    assert!((found / expected - 1.0).abs() < 0.001, "{found} is not {expected}");
}

#[test]
fn an_endpoint_that_nobody_asks_is_tried_again_in_time() {
    let (slow, fast) = (measured(500, 0), measured(5, 60_000));
    assert!(slow.cost(0, ms(1)) > fast.cost(0, ms(60_000)));
    assert!(slow.cost(0, ms(60_000)) < fast.cost(0, ms(60_000)), "six times of decay: 500 ms are 1.2 ms");
}

#[test]
fn of_an_endpoint_that_was_never_asked_one_answer_is_waited_for() {
    let fresh = PeakEwma::default();
    assert_eq!(fresh.cost(0, ms(9)), 0);
    assert!(fresh.cost(1, ms(9)) > measured(900, 0).cost(0, ms(9)));
}

#[test]
fn who_fails_at_once_looks_no_faster_for_it() {
    let mut it = measured(100, 0);
    it.observe(ms(1), Error, ms(1000));
    assert_eq!(it.cost(0, ms(1000)), 100_000_000, "nor does it decay to less by failing");
    let mut fresh = PeakEwma::default();
    fresh.observe(ms(1), Error, ms(5));
    assert_eq!(fresh.cost(0, ms(5)), 1_000_000_000);
    let before = it;
    it.observe(ms(9000), Neither, ms(2000));
    assert_eq!(it, before, "what says nothing of the endpoint changes nothing");
}

proptest! {
    #[test]
    fn the_measure_stays_between_the_least_and_the_most_that_was_seen(
        seen in prop::collection::vec((1u64..10_000, 0u64..5_000), 1..40),
    ) {
        let (mut it, mut now) = (PeakEwma::default(), 0);
        for (took, after) in &seen {
            now += after;
            it.observe(ms(*took), Good, ms(now));
        }
        let (least, most) = (seen.iter().map(|it| it.0).min().unwrap(), seen.iter().map(|it| it.0).max().unwrap());
        let found = it.cost(0, ms(now));
        // A nanosecond for each rounding.
        prop_assert!((least * 1_000_000 - 1..=most * 1_000_000 + 1).contains(&found), "{found}");
    }

    #[test]
    fn no_times_make_a_measure_overflow(took: u64, now: u64, later: u64, requests: u32) {
        let mut it = PeakEwma::default();
        it.observe(Duration::from_nanos(took), Good, Duration::from_nanos(now));
        let _ = it.cost(requests, Duration::from_nanos(later));
        it.observe(Duration::MAX, Error, Duration::from_nanos(later));
        let _ = it.cost(requests, Duration::MAX);
    }
}
