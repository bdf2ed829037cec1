//! Client and server as a pair in virtual time: streams that break after any message, arbitrary delay, subscriptions
//! that cross pushes, stale answers, resources that cannot be read, replicas that are ahead or behind.
mod guard;
mod harness;
mod world;

use std::cell::RefCell;

use harness::{Coverage, Pair, Step};
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use weft_ir::ResourceType;
use world::{NAMES, key};

fn step() -> impl Strategy<Value = Step> {
    let of_type = || (select(&ResourceType::ALL[..]), 0..NAMES);
    prop_oneof![
        5 => of_type().prop_map(|(it, at)| Step::Subscribe(it, at)),
        2 => of_type().prop_map(|(it, at)| Step::Unsubscribe(it, at)),
        5 => (of_type(), 0u8..4).prop_map(|((it, at), variant)| Step::Put(it, at, variant)),
        2 => (of_type(), 0u8..3).prop_map(|((it, at), variant)| Step::PutBad(it, at, variant)),
        2 => of_type().prop_map(|(it, at)| Step::Remove(it, at)),
        1 => (0..NAMES).prop_map(Step::Unsettle),
        1 => Just(Step::Settle),
        6 => Just(Step::ServerSpeaks),
        6 => Just(Step::ClientSpeaks),
        8 => Just(Step::ServerHears),
        8 => Just(Step::ClientHears),
        1 => Just(Step::Break),
        3 => (0u8..6).prop_map(Step::Connect),
        1 => Just(Step::StaleAnswer),
    ]
}

#[test]
fn the_client_ends_with_what_the_server_holds() {
    let config = Config { cases: 1_500, failure_persistence: None, ..Config::default() };
    let coverage = RefCell::new(Coverage::default());
    let run = |steps: Vec<Step>| {
        let mut pair = Pair::new();
        pair.step(Step::Connect(0));
        steps.into_iter().for_each(|step| pair.step(step));
        pair.finish();
        pair.step(Step::Break);
        let mut sum = coverage.borrow_mut();
        sum.rejections += pair.coverage.rejections;
        sum.removals += pair.coverage.removals;
        sum.claims += pair.coverage.claims;
        sum.stale += pair.coverage.stale;
        sum.unsolicited += pair.coverage.unsolicited;
        sum.behind += pair.coverage.behind;
        sum.several += pair.coverage.several;
        Ok(())
    };
    TestRunner::new(config).run(&vec(step(), 20..160), run).unwrap();
    let Coverage { rejections, removals, claims, stale, unsolicited, behind, several } = coverage.into_inner();
    let all = [rejections, removals, claims, stale, unsolicited, behind, several];
    assert!(all.iter().all(|count| *count > 20), "the schedules are too tame: {all:?}");
}

/// A conversation that touches every type and every kind of word.
fn script() -> Vec<Step> {
    let mut steps = Vec::new();
    for (at, resource_type) in (0..NAMES).zip(ResourceType::ALL) {
        steps.push(Step::Put(resource_type, at, 1));
        steps.extend((0..NAMES).map(|at| Step::Subscribe(resource_type, at)));
    }
    let talk = [Step::ClientSpeaks, Step::ServerHears, Step::ServerSpeaks, Step::ClientHears];
    steps.extend(talk.iter().cycle().take(24));
    steps.extend([Step::PutBad(ResourceType::Cluster, 1, 0), Step::Put(ResourceType::Cluster, 2, 1)]);
    steps.extend(talk.iter().cycle().take(16));
    steps.extend([Step::Remove(ResourceType::Cluster, 2), Step::Put(ResourceType::Listener, 0, 2)]);
    steps.extend(talk.iter().cycle().take(16));
    steps
}

#[test]
fn a_stream_may_break_after_any_message() {
    let steps = script();
    for cut in 0..steps.len() {
        let mut pair = Pair::new();
        pair.step(Step::Connect(0));
        for (at, step) in steps.iter().enumerate() {
            pair.step(*step);
            if at == cut {
                pair.step(Step::Break);
                pair.step(Step::Connect(0));
            }
        }
        pair.finish();
    }
}

#[test]
fn nothing_is_resent_to_a_client_that_names_its_versions() {
    let mut pair = Pair::new();
    pair.step(Step::Connect(0));
    for resource_type in ResourceType::ALL {
        for at in 0..NAMES {
            pair.step(Step::Put(resource_type, at, 1));
            pair.step(Step::Subscribe(resource_type, at));
        }
    }
    pair.finish();
    let received = pair.client.counts().resources;
    assert_eq!(received, u64::from(NAMES) * 5);

    pair.step(Step::Break);
    pair.finish();
    assert_eq!(pair.client.counts().resources, received);
    let counts = pair.server.as_ref().unwrap().counts();
    assert_eq!((counts.claimed, counts.resources), (received, 0));

    pair.step(Step::Break);
    pair.step(Step::Put(ResourceType::VirtualHost, 0, 2));
    pair.finish();
    assert_eq!(pair.client.counts().resources, received + 1, "what changed meanwhile comes alone");
    assert_eq!(pair.client.counts().unchanged, 0);
}

#[test]
fn the_client_remembers_the_highest_revision() {
    let mut pair = Pair::new();
    pair.confirms = false;
    pair.step(Step::Connect(0));
    for variant in 0..3 {
        pair.step(Step::Put(ResourceType::Listener, 0, variant));
        pair.finish();
    }
    assert_eq!(pair.client.revision().unwrap().to_string(), "e0/all=3");
    pair.step(Step::Break);
    pair.step(Step::Connect(2));
    pair.finish();
    assert!(pair.world.revision < 3);
    assert_eq!(pair.client.revision().unwrap().to_string(), "e0/all=3");
}

#[test]
fn a_name_that_is_unknown_is_answered_and_comes_when_it_appears() {
    let mut pair = Pair::new();
    pair.step(Step::Subscribe(ResourceType::VirtualHost, 0));
    pair.finish();
    assert_eq!(pair.server.as_ref().unwrap().counts().removals, 1);
    pair.step(Step::Put(ResourceType::VirtualHost, 0, 1));
    pair.finish();
    assert_eq!(pair.client.held().map(|(key, _)| key).collect::<Vec<_>>(), [key(ResourceType::VirtualHost, 0)]);
}
