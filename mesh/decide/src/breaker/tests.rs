use std::{sync::atomic::AtomicU32, thread};

use proptest::prelude::*;

use super::*;

const POLICY: Breaker = Breaker {
    consecutive_failures: 3,
    open_time: Duration::from_millis(100),
    max_open_time: Duration::from_millis(700),
    probes: 2,
};

const fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn pass(circuit: &Arc<Circuit>, now: u64) -> Admission {
    circuit.admit(&POLICY, at(now)).unwrap_or_else(|tripped| panic!("at {now}: {tripped:?}"))
}

fn end(circuit: &Arc<Circuit>, verdict: Verdict, now: u64) {
    circuit.finish(pass(circuit, now), verdict, &POLICY, at(now));
}

fn probe(circuit: &Arc<Circuit>, now: u64) -> Admission {
    let admission = pass(circuit, now);
    assert!(matches!(admission, Admission::Probe(_)));
    admission
}

fn tripped(now: u64) -> Arc<Circuit> {
    let circuit = Arc::new(Circuit::default());
    (0..3).for_each(|_| end(&circuit, Verdict::Error, now));
    circuit
}

#[test]
fn errors_in_a_row_open_it_and_a_success_between_them_does_not() {
    let circuit = Arc::new(Circuit::default());
    for verdict in [Verdict::Error, Verdict::Error, Verdict::Good, Verdict::Error, Verdict::Neither, Verdict::Error] {
        end(&circuit, verdict, 5);
    }
    assert_eq!(circuit.state(&POLICY, at(5)), CircuitState::Closed);
    end(&circuit, Verdict::Error, 5);
    assert_eq!(circuit.state(&POLICY, at(5)), CircuitState::Open);
    assert_eq!(circuit.admit(&POLICY, at(45)).unwrap_err(), Tripped { open_for: at(40), probes_in: at(60) });
}

#[test]
fn while_all_is_well_nothing_is_written() {
    let circuit = Arc::new(Circuit::default());
    let before = circuit.0.load(SeqCst);
    for now in 0..10 {
        end(&circuit, Verdict::Good, now);
        end(&circuit, Verdict::Neither, now);
    }
    assert_eq!((before, circuit.0.load(SeqCst)), (0, 0));
}

#[test]
fn after_its_time_as_many_probes_pass_as_may_and_their_success_closes_it() {
    let circuit = tripped(0);
    let (first, second) = (probe(&circuit, 100), probe(&circuit, 100));
    assert_eq!(circuit.admit(&POLICY, at(130)).unwrap_err(), Tripped { open_for: at(130), probes_in: at(0) });
    circuit.finish(first, Verdict::Good, &POLICY, at(140));
    let third = probe(&circuit, 140);
    assert!(circuit.admit(&POLICY, at(140)).is_err());
    circuit.finish(second, Verdict::Good, &POLICY, at(150));
    assert_eq!(circuit.state(&POLICY, at(150)), CircuitState::Closed);
    assert!(matches!(pass(&circuit, 150), Admission::Normal));
    // A probe that ends later says nothing of the closed circuit.
    circuit.finish(third, Verdict::Error, &POLICY, at(160));
    (0..2).for_each(|_| end(&circuit, Verdict::Error, 160));
    assert_eq!(circuit.state(&POLICY, at(160)), CircuitState::Closed);
    end(&circuit, Verdict::Error, 160);
    assert_eq!(circuit.state(&POLICY, at(160)), CircuitState::Open);
}

#[test]
fn each_failed_probe_doubles_the_time_up_to_the_most_and_closing_sets_it_back() {
    let circuit = tripped(0);
    let mut now = 0;
    for open_time in [100, 200, 400, 700, 700] {
        assert_eq!(circuit.admit(&POLICY, at(now + open_time - 1)).unwrap_err().probes_in, at(1));
        now += open_time;
        circuit.finish(probe(&circuit, now), Verdict::Error, &POLICY, at(now));
    }
    now += 700;
    (0..2).for_each(|_| end(&circuit, Verdict::Good, now));
    (0..3).for_each(|_| end(&circuit, Verdict::Error, now));
    assert_eq!(circuit.admit(&POLICY, at(now)).unwrap_err().probes_in, at(100));
}

#[test]
fn a_probe_without_a_verdict_is_given_back() {
    let circuit = tripped(0);
    drop(probe(&circuit, 100));
    circuit.finish(probe(&circuit, 100), Verdict::Neither, &POLICY, at(100));
    let _both = (probe(&circuit, 100), probe(&circuit, 100));
    assert!(circuit.admit(&POLICY, at(100)).is_err());
}

#[test]
fn a_probe_of_an_earlier_opening_counts_as_under_way_and_not_as_evidence() {
    let circuit = tripped(0);
    let (late, failing) = (probe(&circuit, 100), probe(&circuit, 100));
    circuit.finish(failing, Verdict::Error, &POLICY, at(110));
    let now = 310;
    let fresh = probe(&circuit, now);
    assert!(circuit.admit(&POLICY, at(now)).is_err(), "two are under way");
    circuit.finish(late, Verdict::Error, &POLICY, at(now));
    assert_eq!(circuit.state(&POLICY, at(now)), CircuitState::HalfOpen);
    circuit.finish(fresh, Verdict::Good, &POLICY, at(now));
    end(&circuit, Verdict::Good, now);
    assert_eq!(circuit.state(&POLICY, at(now)), CircuitState::Closed);
}

#[test]
fn a_clock_read_before_it_opened_does_not_open_it_halfway() {
    let circuit = tripped(1000);
    assert_eq!(circuit.admit(&POLICY, at(998)).unwrap_err(), Tripped { open_for: at(0), probes_in: at(100) });
}

fn state() -> impl Strategy<Value = State> {
    let phase = prop_oneof![
        any::<u32>().prop_map(|failures| Phase::Closed { failures }),
        (0..=TIME).prop_map(|since| Phase::Open { since }),
        (0..=TIME, 0..=SMALL).prop_map(|(since, successes)| Phase::HalfOpen { since, successes }),
    ];
    (phase, 0..=SMALL, 0..=MAX_TRIPS).prop_map(|(phase, under_way, trips)| State { phase, under_way, trips })
}

proptest! {
    #[test]
    fn a_state_fits_its_word(state in state()) {
        prop_assert_eq!(State::unpack(state.pack()), state);
    }

    /// Each request is at some worker; its end comes any time later, in any order, as seen through any delay.
    #[test]
    fn an_open_circuit_admits_only_probes_and_never_more_at_once_than_the_policy_says(
        failures in 1u32..5,
        probes in 1u32..4,
        events in prop::collection::vec((0u8..4, any::<prop::sample::Index>(), 0u8..8, 0u64..60), 1..500),
    ) {
        let policy = Breaker { consecutive_failures: failures, probes, ..POLICY };
        let circuit = Arc::new(Circuit::default());
        let (mut now, mut open) = (0, Vec::new());
        for (kind, which, verdict, pause) in events {
            if kind < 2 || open.is_empty() {
                let before = circuit.state(&policy, at(now));
                let admission = circuit.admit(&policy, at(now));
                match (before, &admission) {
                    (CircuitState::Closed, Ok(Admission::Normal)) | (CircuitState::Open, Err(_)) => {}
                    (CircuitState::HalfOpen, Ok(Admission::Probe(_)) | Err(_)) => {}
                    wrong => prop_assert!(false, "{wrong:?}"),
                }
                open.extend(admission.ok());
            } else {
                let admission = open.swap_remove(which.index(open.len()));
                let verdict = match verdict {
                    0 => { drop(admission); continue }
                    1 => Verdict::Neither,
                    2..4 => Verdict::Good,
                    _ => Verdict::Error,
                };
                circuit.finish(admission, verdict, &policy, at(now));
            }
            let under_way = open.iter().filter(|it| matches!(it, Admission::Probe(_))).count();
            prop_assert!(under_way <= probes as usize, "{under_way} probes at once");
            prop_assert_eq!(State::unpack(circuit.0.load(SeqCst)).under_way as usize, under_way);
            now += pause;
        }
        // Whatever happened, it closes once the cluster works again.
        drop(open);
        for _ in 0..probes {
            now += 1000;
            let admission = circuit.admit(&policy, at(now)).unwrap();
            circuit.finish(admission, Verdict::Good, &policy, at(now));
        }
        prop_assert_eq!(circuit.state(&policy, at(now)), CircuitState::Closed);
    }
}

#[test]
fn threads_never_have_more_probes_at_once_than_the_policy_says() {
    let circuit = tripped(0);
    // Never enough successes to close it: a verdict is given to none.
    let (now, most, passed) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..6 {
            let (circuit, now, most, passed) = (Arc::clone(&circuit), &now, &most, &passed);
            scope.spawn(move || {
                for _ in 0..5000 {
                    let Ok(admission) = circuit.admit(&POLICY, at(100)) else { continue };
                    assert!(matches!(admission, Admission::Probe(_)));
                    most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                    passed.fetch_add(1, SeqCst);
                    now.fetch_sub(1, SeqCst);
                    drop(admission);
                }
            });
        }
    });
    assert!(most.load(SeqCst) <= POLICY.probes && passed.load(SeqCst) > 0);
}
