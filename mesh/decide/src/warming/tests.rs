use weft_ir::Health::{Draining, Healthy, Unhealthy};

use super::*;
use crate::testing::endpoints;

const SECOND: Duration = Duration::from_secs(1);

fn policy(aggression_percent: u32) -> SlowStart {
    SlowStart { window: 10 * SECOND, aggression_percent, min_weight_percent: 10 }
}

fn address(place: u16) -> EndpointAddress {
    EndpointAddress::Socket(([10, 0, 0, 1], place + 1).into())
}

#[test]
fn who_comes_later_or_works_again_is_new_and_who_was_there_first_is_not() {
    let (mut it, policy) = (Newcomers::default(), policy(100));
    assert_eq!(it.endpoints(&policy, &endpoints("web", &[(1, Healthy), (1, Unhealthy)]), SECOND), None);
    let all = endpoints("web", &[(1, Healthy), (1, Healthy), (1, Healthy), (1, Draining)]);
    let warming = it.endpoints(&policy, &all, 5 * SECOND).unwrap();
    assert_eq!(warming.since(), [(address(1), 5 * SECOND), (address(2), 5 * SECOND)]);
    assert_eq!(it.endpoints(&policy, &all, 6 * SECOND), None, "since when it is new does not change");
    let fewer = endpoints("web", &[(1, Healthy), (1, Healthy)]);
    assert_eq!(it.endpoints(&policy, &fewer, 7 * SECOND).unwrap().since(), [(address(1), 5 * SECOND)]);
    let warming = it.endpoints(&policy, &all, 8 * SECOND).unwrap();
    assert_eq!(warming.since(), [(address(1), 5 * SECOND), (address(2), 8 * SECOND)], "who comes back is new again");
    let warming = it.endpoints(&policy, &all, 15 * SECOND).unwrap();
    assert_eq!(warming.since(), [(address(2), 8 * SECOND)]);
    assert!(it.endpoints(&policy, &all, 18 * SECOND).unwrap().is_empty());
}

#[test]
fn the_part_of_a_weight_grows_over_the_window_as_steeply_as_the_policy_says() {
    let warming = Warming(vec![(address(1), 5 * SECOND)]);
    let part = |aggression, seconds| warming.part(&policy(aggression), &address(1), seconds * SECOND);
    let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    near(part(100, 5), 0.1);
    near(part(100, 8), 0.3);
    near(part(100, 10), 0.5);
    near(part(100, 15), 1.0);
    near(part(100, 99), 1.0);
    // time ^ (1 / aggression), as in Envoy's documentation: above 1 it grows fast at first.
    near(part(200, 10), 0.5f64.sqrt());
    near(part(50, 10), 0.25);
    near(part(100, 1), 0.1);
    near(warming.part(&policy(100), &address(0), 5 * SECOND), 1.0);
}
