use std::thread;

use proptest::prelude::*;

use super::*;

fn policy(percent: u8, min_per_second: u32) -> RetryBudget {
    RetryBudget { percent, min_per_second }
}

fn purses(workers: usize) -> Vec<Purse> {
    let budget = Arc::new(Budget::new(workers));
    (0..workers).map(|worker| Purse::new(Arc::clone(&budget), worker)).collect()
}

#[test]
fn a_quiet_service_has_what_the_trickle_saved_and_no_more() {
    let (purses, policy) = (purses(3), policy(20, 3));
    let repeats = |now| (0..100).filter(|turn| purses[turn % 3].repeat(&policy, now)).count();
    assert_eq!(repeats(Duration::ZERO), 30);
    assert_eq!(repeats(Duration::from_secs(1)), 3);
    assert_eq!(repeats(Duration::from_secs(3600)), 30);
    assert_eq!(
        (repeats(Duration::from_secs(3600)), self::policy(0, 0)),
        (0, RetryBudget { percent: 0, min_per_second: 0 })
    );
}

#[test]
fn what_one_worker_earned_another_may_spend() {
    let (purses, policy) = (purses(4), policy(20, 0));
    (0..25).for_each(|_| purses[1].request(&policy));
    assert_eq!((0..10).filter(|_| purses[3].repeat(&policy, Duration::ZERO)).count(), 5);
}

#[test]
fn a_storm_costs_no_more_than_the_percentage() {
    // Everything fails: each request would be repeated twice.
    let (purses, policy) = (purses(4), policy(20, 3));
    let (requests, mut repeats) = (10_000, 0);
    for request in 0..requests {
        let purse = &purses[request % 4];
        purse.request(&policy);
        let now = Duration::from_millis(2 * request as u64);
        repeats += (0..2).filter(|_| purse.repeat(&policy, now)).count();
    }
    assert!(repeats <= requests / 4 && repeats > requests / 5, "{repeats} of {requests}");
}

proptest! {
    #[test]
    fn no_stretch_of_time_has_more_repetitions_than_its_budget(
        percent in 0u8..=100,
        min_per_second in 0u32..50,
        workers in 1usize..9,
        events in prop::collection::vec((0usize..9, 0u8..10, 0u64..300_000_000), 1..600),
    ) {
        let (purses, policy) = (purses(workers), policy(percent, min_per_second));
        let mut now = Duration::ZERO;
        // Time, requests and repetitions up to each event.
        let mut sums = vec![(now, 0u64, 0u64)];
        for (worker, kind, pause) in events {
            let purse = &purses[worker % workers];
            let (_, mut requests, mut repeats) = *sums.last().unwrap();
            if kind < 4 {
                purse.request(&policy);
                requests += 1;
            } else {
                repeats += u64::from(purse.repeat(&policy, now));
            }
            sums.push((now, requests, repeats));
            now += Duration::from_nanos(if kind == 9 { pause } else { pause / 100 });
        }
        let rate = f64::from(min_per_second);
        for (from, (start, requests_before, repeats_before)) in sums.iter().enumerate() {
            for (end, requests, repeats) in &sums[from..] {
                let earned = f64::from(percent) / 100.0 * (requests - requests_before) as f64;
                let saved = f64::from(Budget::SAVED) + workers as f64 + rate * Budget::SAVED_TIME.as_secs_f64();
                let trickled = rate * (*end - *start).as_secs_f64();
                prop_assert!((repeats - repeats_before) as f64 <= earned + saved + trickled + 1e-6);
            }
        }
        // From the start there are no savings of requests.
        let (end, requests, repeats) = *sums.last().unwrap();
        let earned = f64::from(percent) / 100.0 * requests as f64;
        prop_assert!(repeats as f64 <= earned + rate * (end + Budget::SAVED_TIME).as_secs_f64() + 1e-6);
    }

    #[test]
    fn nothing_earned_is_lost_below_the_bound(workers in 1usize..9, requests in prop::collection::vec(0usize..9, 0..300)) {
        let (purses, policy) = (purses(workers), policy(20, 0));
        let mut each = vec![0u64; workers];
        for worker in requests {
            purses[worker % workers].request(&policy);
            each[worker % workers] += 1;
        }
        let bound = u64::from(Budget::SAVED) / workers as u64;
        let whole: u64 = each.iter().map(|requests| requests / 5).sum();
        prop_assume!(each.iter().all(|requests| requests / 5 <= bound));
        let spent = (0..1000).filter(|turn| purses[turn % workers].repeat(&policy, Duration::ZERO)).count();
        prop_assert_eq!(spent as u64, whole);
    }
}

#[test]
fn threads_spend_no_more_than_they_earned() {
    let (budget, policy) = (Arc::new(Budget::new(4)), policy(10, 5));
    let spent: usize = thread::scope(|scope| {
        let work = |worker| {
            let budget = Arc::clone(&budget);
            move || {
                let purse = Purse::new(budget, worker);
                let turn = |_: &u32| {
                    purse.request(&policy);
                    purse.repeat(&policy, Duration::from_secs(2))
                };
                (0..5000).filter(turn).count()
            }
        };
        let threads: Vec<_> = (0..4).map(|worker| scope.spawn(work(worker))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(spent <= 2000 + 5 * 12, "{spent}");
    assert!(spent >= 1900, "{spent}");
}
