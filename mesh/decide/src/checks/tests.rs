use proptest::{collection::vec, prelude::*};

use super::*;
use crate::testing::endpoints;

fn policy(healthy: u32, unhealthy: u32) -> Policy {
    let interval = Duration::from_secs(10);
    Policy { interval, healthy_threshold: healthy, unhealthy_threshold: unhealthy, ..Policy::DEFAULT }
}

fn cluster(count: usize) -> Endpoints {
    endpoints("web", &vec![(1, Told::Healthy); count])
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn failed() -> Checked {
    Checked::Failed("it answered 503".into())
}

/// What may happen to a cluster of four.
#[derive(Clone, Debug)]
enum Step {
    /// So many milliseconds pass.
    Pass(u16),
    /// The n-th check that is under way ends so: it fails, it passes, or it says nothing.
    End(usize, Option<bool>),
    /// These of the four are there from now on.
    Endpoints([bool; 4]),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<u16>().prop_map(Step::Pass),
        6 => (0..4usize, prop_oneof![4 => Just(Some(false)), 4 => Just(Some(true)), 1 => Just(None)])
            .prop_map(|(place, passed)| Step::End(place, passed)),
        1 => any::<[bool; 4]>().prop_map(Step::Endpoints),
    ]
}

/// What the model knows of one endpoint: its verdicts so far.
#[derive(Clone, Debug, Default)]
struct Model {
    healthy: Option<bool>,
    contrary: u32,
}

impl Model {
    fn take(&mut self, passed: bool, (healthy, unhealthy): (u32, u32)) {
        if self.healthy == Some(passed) {
            self.contrary = 0;
            return;
        }
        self.contrary += 1;
        if self.healthy.is_none() || self.contrary >= if passed { healthy } else { unhealthy } {
            *self = Self { healthy: Some(passed), contrary: 0 };
        }
    }
}

proptest! {
    #[test]
    fn out_is_who_failed_so_often_in_a_row_and_nobody_is_checked_twice_at_once_or_forgotten(
        thresholds in (1..4u32, 1..4u32),
        steps in vec(step(), 1..120),
        draws in any::<u64>(),
    ) {
        let policy = policy(thresholds.0, thresholds.1);
        let (mut checks, mut now, mut draw) = (Checks::default(), Duration::ZERO, draws);
        let mut draw = move || { draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1); draw };
        let all = cluster(4);
        let mut present = [true; 4];
        let mut model: BTreeMap<EndpointAddress, Model> = BTreeMap::new();
        let mut under_way: Vec<(Due, bool)> = Vec::new();
        let mut told = checks.endpoints(&policy, &all, now, &mut draw);
        for step in steps {
            match step {
                Step::Pass(ms) => now += Duration::from_millis(ms.into()),
                Step::End(place, passed) => {
                    if under_way.is_empty() { continue; }
                    let (due, current) = under_way.remove(place % under_way.len());
                    let result = match passed { None => Checked::Unknown, Some(true) => Checked::Passed, Some(false) => failed() };
                    told = checks.checked(&due, result, now, draw()).or(told);
                    if let (true, Some(passed)) = (current, passed) {
                        model.entry(due.address).or_default().take(passed, thresholds);
                    }
                }
                Step::Endpoints(these) => {
                    present = these;
                    let mut some = all.clone();
                    for (endpoint, there) in some.endpoints.iter_mut().zip(these) {
                        if !there { endpoint.health = Told::Draining; }
                    }
                    told = checks.endpoints(&policy, &some, now, &mut draw).or(told);
                    for (endpoint, _) in all.endpoints.iter().zip(these).filter(|(_, there)| !there) {
                        model.remove(&endpoint.address);
                        for (due, current) in &mut under_way { *current &= due.address != endpoint.address; }
                    }
                }
            }
            for due in checks.due(now) {
                prop_assert!(!under_way.iter().any(|(it, current)| *current && it.address == due.address));
                prop_assert_eq!(all.endpoints[due.place].address, due.address);
                under_way.push((due, true));
            }
            // Everybody who is there is checked, or will be within an interval.
            let checked = under_way.iter().filter(|(_, current)| *current).count();
            prop_assert_eq!(checked + checks.queue.len(), present.iter().filter(|there| **there).count());
            prop_assert!(checks.queue.iter().all(|(due, _)| *due > now && *due <= now + policy.interval));
            prop_assert_eq!(checks.next(), checks.queue.iter().map(|(due, _)| *due).min());
            let out: Vec<_> = model.iter().filter(|(_, it)| it.healthy == Some(false)).map(|(address, _)| *address).collect();
            prop_assert_eq!(checks.unhealthy().addresses(), &out[..]);
            prop_assert_eq!(told.as_ref().map_or(&[][..], |told| told.addresses()), &out[..], "each change is told");
        }
    }
}

#[test]
fn the_first_check_comes_soon_and_decides_by_itself() {
    let (policy, cluster) = (policy(2, 3), cluster(2));
    let mut checks = Checks::default();
    assert_eq!(checks.endpoints(&policy, &cluster, at(100), || u64::MAX), None, "who was not checked works");
    assert!(checks.next().unwrap() <= at(101));
    let due = checks.due(at(101));
    assert_eq!(due.len(), 2);
    let out = checks.checked(&due[0], failed(), at(101), 0).unwrap();
    assert_eq!(out.addresses(), [due[0].address]);
    assert_eq!(checks.checked(&due[1], Checked::Passed, at(101), 0), None);
    let [(peer, address, why)] = checks.failing().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!((peer.called(address).to_string().as_str(), why), ("shop/web-0", Some("it answered 503")));
}

#[test]
fn what_could_not_be_checked_keeps_its_verdict_and_is_checked_again_soon() {
    let (policy, cluster) = (policy(1, 1), cluster(1));
    let mut checks = Checks::default();
    checks.endpoints(&policy, &cluster, at(0), || 0);
    let due = checks.due(at(1));
    assert!(checks.checked(&due[0], failed(), at(1), 0).is_some());
    let due = checks.due(at(20));
    assert_eq!(checks.checked(&due[0], Checked::Unknown, at(20), 0), None);
    assert_eq!((checks.unhealthy().addresses().len(), checks.next()), (1, Some(at(21))));
}

#[test]
fn another_workload_at_the_address_is_another_endpoint_and_an_old_answer_is_not_its() {
    let (policy, mut cluster) = (policy(1, 1), cluster(1));
    let mut checks = Checks::default();
    checks.endpoints(&policy, &cluster, at(0), || 0);
    let old = checks.due(at(1));
    let Peer::Instance(instance) = &mut cluster.endpoints[0].peer else { panic!() };
    instance.workload.name = "other".parse().unwrap();
    checks.endpoints(&policy, &cluster, at(2), || 0);
    assert_eq!(checks.checked(&old[0], failed(), at(2), 0), None);
    assert!(checks.unhealthy().is_empty());
    let new = checks.due(at(3));
    assert!(checks.checked(&new[0], failed(), at(3), 0).is_some());
}

#[test]
fn a_shorter_interval_holds_at_once() {
    let (slow, cluster) = (Policy { interval: at(3600), ..policy(1, 1) }, cluster(1));
    let mut checks = Checks::default();
    checks.endpoints(&slow, &cluster, at(0), || 0);
    let due = checks.due(at(1));
    checks.checked(&due[0], Checked::Passed, at(1), 0);
    assert_eq!(checks.next(), Some(at(3601)));
    checks.endpoints(&policy(1, 1), &cluster, at(5), || u64::MAX);
    assert!(checks.next().unwrap() <= at(6));
}

#[test]
fn a_failure_of_any_length_is_kept_short() {
    let (policy, cluster) = (policy(1, 1), cluster(1));
    let mut checks = Checks::default();
    checks.endpoints(&policy, &cluster, at(0), || 0);
    let due = checks.due(at(1));
    checks.checked(&due[0], Checked::Failed("\u{e9}".repeat(1000)), at(1), 0);
    assert!(checks.failing().all(|(_, _, why)| why.is_some_and(|why| (250..=256).contains(&why.len()))));
}
