use std::collections::BTreeSet;

use proptest::prelude::*;
use weft_ir::SuccessRate;
use weft_model::Errors;

use super::*;
use crate::testing::endpoints;

const POLICY: Ejection = Ejection {
    consecutive_errors: 3,
    base_time: Duration::from_secs(10),
    max_time: Duration::from_secs(35),
    max_share_percent: 50,
    errors: Errors::Any,
    success_rate: None,
};

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn cluster(size: usize) -> Endpoints {
    endpoints("web", &vec![(1, Health::Healthy); size])
}

fn ejector(size: usize) -> Ejector {
    let mut ejector = Ejector::default();
    assert_eq!(ejector.endpoints(&POLICY, &cluster(size), at(0)), None);
    ejector
}

/// As the cluster's are.
fn address(place: usize) -> EndpointAddress {
    EndpointAddress::Socket(([10, 0, 0, 1], place as u16 + 1).into())
}

fn out(ejector: &Ejector) -> Vec<usize> {
    (0..100).filter(|place| ejector.ejected().contains(&address(*place))).collect()
}

/// As many errors as eject it where there is room.
fn fail(ejector: &mut Ejector, place: usize, now: u64) -> bool {
    let reports = [Report::FirstError, Report::Error, Report::Error];
    reports.iter().any(|report| ejector.report(&POLICY, &address(place), *report, at(now)).is_some())
}

#[test]
fn errors_in_a_row_eject_and_a_success_between_them_does_not() {
    let mut ejector = ejector(3);
    let mut report = |report| ejector.report(&POLICY, &address(1), report, at(0)).map(|it| it.addresses().to_vec());
    assert_eq!([Report::FirstError, Report::Error, Report::Recovered].map(&mut report), [None, None, None]);
    assert_eq!([Report::FirstError, Report::Error].map(&mut report), [None, None]);
    assert_eq!(report(Report::Error), Some(vec![address(1)]));
    assert_eq!(report(Report::Error), None, "it is out already");
}

#[test]
fn a_worker_that_saw_it_work_until_now_ends_the_row() {
    let mut ejector = ejector(2);
    for report in [Report::FirstError, Report::Error, Report::FirstError, Report::Error] {
        assert_eq!(ejector.report(&POLICY, &address(0), report, at(0)), None);
    }
    assert!(ejector.report(&POLICY, &address(0), Report::Error, at(0)).is_some());
}

#[test]
fn a_success_after_a_success_tells_nothing() {
    let mut streak = Streak::default();
    let verdicts = [Verdict::Good, Verdict::Error, Verdict::Neither, Verdict::Error, Verdict::Good, Verdict::Good];
    let told = verdicts.map(|verdict| streak.take(verdict));
    let expected = [None, Some(Report::FirstError), None, Some(Report::Error), Some(Report::Recovered), None];
    assert_eq!(told, expected);
    assert_eq!(size_of::<Streak>(), 1);
}

#[test]
fn a_report_that_was_lost_is_made_again() {
    let mut streak = Streak::default();
    for _ in 0..2 {
        let report = streak.take(Verdict::Error).unwrap();
        assert_eq!(report, Report::FirstError);
        streak.lost(report);
    }
    assert_eq!(streak.take(Verdict::Error), Some(Report::FirstError));
    streak.lost(streak.clone().take(Verdict::Error).unwrap());
    for _ in 0..2 {
        let report = streak.take(Verdict::Good).unwrap();
        assert_eq!(report, Report::Recovered);
        streak.lost(report);
    }
}

#[test]
fn each_ejection_lasts_longer_and_good_time_is_credited() {
    let mut ejector = ejector(2);
    let mut now = 0;
    for length in [10, 20, 30, 35, 35] {
        assert!(fail(&mut ejector, 0, now));
        assert_eq!(ejector.next(), Some(at(now + length)));
        assert_eq!(ejector.tick(&POLICY, at(now + length - 1)), None);
        now += length;
        assert_eq!(ejector.tick(&POLICY, at(now)).as_deref(), Some(Ejected::none()));
    }
    // Four at most count; two base times without an error leave two, and this is the third.
    now += 25;
    assert!(fail(&mut ejector, 0, now));
    assert_eq!(ejector.next(), Some(at(now + 30)));
    now += 30 + 1000;
    ejector.tick(&POLICY, at(now));
    assert!(fail(&mut ejector, 0, now));
    assert_eq!(ejector.next(), Some(at(now + 10)));
}

#[test]
fn the_share_is_kept_and_the_last_one_stays() {
    for (size, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5)] {
        let mut ejector = ejector(size);
        let ejected = (0..size).filter(|place| fail(&mut ejector, *place, 0)).count();
        assert_eq!(ejected, most, "of {size}");
    }
    let mut ejector = Ejector::default();
    let all = Ejection { max_share_percent: 100, ..POLICY };
    ejector.endpoints(&all, &cluster(3), at(0));
    for place in 0..3 {
        let _told = [Report::FirstError, Report::Error, Report::Error]
            .map(|it| ejector.report(&all, &address(place), it, at(0)));
    }
    assert_eq!(out(&ejector), [0, 1]);
}

#[test]
fn fewer_endpoints_let_the_excess_back_at_once() {
    let mut ejector = ejector(6);
    (0..3).for_each(|place| assert!(fail(&mut ejector, place, place as u64)));
    ejector.endpoints(&POLICY, &cluster(4), at(3)).unwrap();
    assert_eq!(out(&ejector), [1, 2]);
}

#[test]
fn going_away_and_coming_back_is_no_way_out() {
    let mut ejector = ejector(4);
    assert!(fail(&mut ejector, 3, 0));
    assert!(ejector.endpoints(&POLICY, &cluster(3), at(1)).unwrap().is_empty());
    assert_eq!(ejector.endpoints(&POLICY, &cluster(4), at(2)).unwrap().addresses(), [address(3)]);
    // Another workload at the same address is another endpoint.
    let mut other = cluster(4);
    let Peer::Instance(instance) = &mut other.endpoints[3].peer else { panic!() };
    instance.workload.name = "other".parse().unwrap();
    assert!(ejector.endpoints(&POLICY, &other, at(3)).unwrap().is_empty());
    // What drains takes no new work anyhow.
    assert!(fail(&mut ejector, 3, 4) || fail(&mut ejector, 0, 4));
    let draining = endpoints("web", &[(1, Health::Draining); 4]);
    assert!(ejector.endpoints(&POLICY, &draining, at(5)).unwrap().is_empty());
}

#[test]
fn endpoints_that_come_and_go_cost_no_memory() {
    let mut ejector = Ejector::default();
    for round in 0..50u16 {
        let mut now = cluster(100);
        for (place, endpoint) in now.endpoints.iter_mut().enumerate() {
            endpoint.address = EndpointAddress::Socket(([10, 1, round as u8, place as u8], 1).into());
        }
        ejector.endpoints(&POLICY, &now, at(0));
        for endpoint in &now.endpoints[..50] {
            let reports = [Report::FirstError, Report::Error, Report::Error];
            let _told = reports.map(|it| ejector.report(&POLICY, &endpoint.address, it, at(0)));
        }
    }
    assert!(ejector.entries.len() <= 100 + Ejector::REMEMBERED);
    ejector.endpoints(&POLICY, &cluster(1), at(1000));
    assert_eq!(ejector.entries.len(), 1);
}

#[derive(Clone, Debug)]
enum Event {
    Ended { worker: usize, place: usize, verdict: Verdict },
    Endpoints(BTreeSet<usize>),
    Time(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let verdict =
        prop::sample::select(vec![Verdict::Good, Verdict::Neither, Verdict::Error, Verdict::Error, Verdict::Error]);
    prop_oneof![
        20 => (0usize..4, 0usize..8, verdict)
            .prop_map(|(worker, place, verdict)| Event::Ended { worker, place, verdict }),
        1 => prop::collection::btree_set(0usize..8, 0..8).prop_map(Event::Endpoints),
        2 => (0u64..30).prop_map(Event::Time),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_share_is_kept_and_only_rows_of_errors_eject(
        percent in 1u8..=100,
        events in prop::collection::vec(event(), 1..400),
    ) {
        let policy = Ejection { max_share_percent: percent, ..POLICY };
        let all = cluster(8);
        let (mut present, mut now): (BTreeSet<usize>, _) = ((0..8).collect(), 0);
        let mut ejector = Ejector::default();
        ejector.endpoints(&policy, &all, at(0));
        let mut streaks = [[Streak::default(); 8]; 4];
        // What each worker has seen of each endpoint since its last success.
        let mut errors = [[0u32; 8]; 4];
        for event in events {
            let (before, ended) = (out(&ejector), matches!(event, Event::Ended { .. }));
            let changed = match event {
                Event::Ended { worker, place, verdict } => {
                    match verdict {
                        Verdict::Good => errors[worker][place] = 0,
                        Verdict::Error => errors[worker][place] += 1,
                        Verdict::Neither => {}
                    }
                    let report = streaks[worker][place].take(verdict);
                    report.and_then(|report| ejector.report(&policy, &address(place), report, at(now)))
                }
                Event::Endpoints(places) => {
                    let mut some = all.clone();
                    some.endpoints = places.iter().map(|place| all.endpoints[*place].clone()).collect();
                    present = places;
                    ejector.endpoints(&policy, &some, at(now))
                }
                Event::Time(seconds) => {
                    now += seconds;
                    ejector.tick(&policy, at(now))
                }
            };
            let after = out(&ejector);
            prop_assert_eq!(changed.is_some(), before != after);
            let most = (present.len() * usize::from(percent) / 100).max(1).min(present.len().saturating_sub(1));
            prop_assert!(after.len() <= most, "{after:?} of {present:?}");
            prop_assert!(after.iter().all(|place| present.contains(place)));
            if ended && let Some(new) = after.iter().find(|place| !before.contains(place)) {
                let row: u32 = errors.iter().map(|worker| worker[*new]).sum();
                prop_assert!(row >= policy.consecutive_errors);
            }
        }
        // Time brings everyone back.
        ejector.tick(&policy, at(now + 36));
        prop_assert!(ejector.ejected().is_empty());
        prop_assert_eq!(ejector.next(), None);
    }

    #[test]
    fn a_dead_endpoint_is_ejected_whatever_workers_find_it(order in prop::collection::vec(0usize..4, 9..40)) {
        let mut ejector = ejector(2);
        let mut streaks = [Streak::default(); 4];
        let ejected = order.iter().position(|worker| {
            let report = streaks[*worker].take(Verdict::Error).unwrap();
            ejector.report(&POLICY, &address(0), report, at(0)).is_some()
        });
        // Two errors of each of four workers, and one more.
        prop_assert!(ejected.is_some_and(|place| place < 9), "{ejected:?}");
    }
}

#[test]
fn who_succeeds_far_less_often_is_ejected_at_the_end_of_the_interval() {
    let rate = SuccessRate { interval: at(10), ..SuccessRate::default() };
    let policy = Ejection { success_rate: Some(rate), ..POLICY };
    let mut ejector = Ejector::default();
    ejector.endpoints(&policy, &cluster(6), at(0));
    let tell = |ejector: &mut Ejector, bad: u32, now| {
        for place in 0..6 {
            let errors = if place == 4 { bad } else { 1 };
            let counts = Counts { good: 200 - errors, errors };
            assert_eq!(ejector.report(&policy, &address(place), Report::Counted(counts), at(now)), None);
        }
    };
    tell(&mut ejector, 60, 3);
    assert_eq!((ejector.tick(&policy, at(12)), ejector.next()), (None, Some(at(13))));
    assert!(ejector.tick(&policy, at(13)).is_some());
    assert_eq!(out(&ejector), [4]);
    assert_eq!(ejector.next(), Some(at(23)), "as long as for errors in a row");
    assert!(ejector.tick(&policy, at(23)).is_some());
    // What was counted before is not held against it, and who is as good as the others stays.
    tell(&mut ejector, 1, 24);
    assert_eq!(ejector.tick(&policy, at(34)), None);
    assert_eq!(out(&ejector), [] as [usize; 0]);
}
