//! TrafficPolicies in which every field comes up, present and absent.
use std::{num::NonZeroU32, time::Duration};

use proptest::{collection, option, prelude::*, sample};

use super::{duration, place_targets, policy_meta, targets};
use crate::{
    AffinityKey, Balancing, BreakerFields, EjectionFields, Errors, HealthCheckFields, HealthProbe, LimitFields,
    LocalityFields, RepeatSafety, RetryCondition, RetryFields, SlowStartFields, StatusRange, SuccessRateFields,
    TrafficPolicy,
};

const BALANCINGS: [Balancing; 6] = [
    Balancing::RoundRobin,
    Balancing::LeastRequest,
    Balancing::Random,
    Balancing::PeakEwma,
    Balancing::RingHash,
    Balancing::Maglev,
];

/// A TrafficPolicy of any targets.
pub fn traffic_policy() -> impl Strategy<Value = TrafficPolicy> {
    let balancing = sample::select(&BALANCINGS[..]);
    let outliers = (option::of(ejection()), option::of(health_check()));
    let blocks = (limits(), option::of(breaker()), outliers, retries());
    let spread = (option::of(balancing), option::of(locality()), option::of(slow_start()));
    let timeouts = (option::of(duration()), option::of(duration()));
    let rest = (spread, option::of(affinity()), blocks, timeouts);
    (policy_meta(), targets(true), rest).prop_map(|(meta, targets, (spread, affinity, blocks, timeouts))| {
        let (balancing, locality, slow_start) = spread;
        let (idle_timeout, stream_timeout) = timeouts;
        let (meta, targets) = place_targets(meta, targets);
        let (limits, breaker, (ejection, health_check), (retries, request_timeout)) = blocks;
        TrafficPolicy {
            balancing,
            locality,
            slow_start,
            affinity,
            limits,
            breaker,
            ejection,
            health_check,
            retries,
            request_timeout,
            idle_timeout,
            stream_timeout,
            ..TrafficPolicy::new(meta, targets)
        }
    })
}

/// A key of any form.
pub fn affinity() -> impl Strategy<Value = AffinityKey> {
    let ttl = option::of((1..=400 * 24 * 3600_u64).prop_map(Duration::from_secs));
    let cookie = ("[a-zA-Z0-9!#$%&'*+.^`|~-]{1,9}", "/[!-:<-~]{0,5}", ttl)
        .prop_map(|(name, path, ttl)| AffinityKey::Cookie { name, path, ttl });
    prop_oneof![
        cookie,
        "[a-z0-9-]{1,9}".prop_map(|name| AffinityKey::Header { name }),
        "[a-zA-Z0-9._-]{1,9}".prop_map(|name| AffinityKey::Query { name }),
        Just(AffinityKey::SourceAddress),
    ]
}

/// Any conditions, at least one.
pub fn conditions() -> impl Strategy<Value = Vec<RetryCondition>> {
    let status = (400..600_u16).prop_map(RetryCondition::Status);
    collection::vec(prop_oneof![3 => sample::select(&RetryCondition::NAMED[..]), 1 => status], 1..5)
}

fn locality() -> impl Strategy<Value = LocalityFields> {
    (option::of(any::<bool>()), option::of(100..=1000_u32), option::of(0..=100_u8)).prop_map(
        |(enabled, overprovisioning_percent, panic_percent)| LocalityFields {
            enabled,
            overprovisioning_percent,
            panic_percent,
        },
    )
}

fn slow_start() -> impl Strategy<Value = SlowStartFields> {
    let window = option::of((1..=3_600_000_u64).prop_map(Duration::from_millis));
    (option::of(any::<bool>()), window, option::of(10..=1000_u32), option::of(1..=100_u8)).prop_map(
        |(enabled, window, aggression_percent, min_weight_percent)| SlowStartFields {
            enabled,
            window,
            aggression_percent,
            min_weight_percent,
        },
    )
}

fn limits() -> impl Strategy<Value = LimitFields> {
    let limit = || option::of((1..=1_000_000_u32).prop_map(|limit| NonZeroU32::MIN.saturating_add(limit - 1)));
    (limit(), limit(), limit()).prop_map(|(max_connections, max_pending, max_requests)| LimitFields {
        max_connections,
        max_pending,
        max_requests,
    })
}

/// Two times, the first not longer than the second where both are there.
fn times(longest: u64) -> impl Strategy<Value = (Option<Duration>, Option<Duration>)> {
    let time = || option::of((1..=longest).prop_map(Duration::from_millis));
    (time(), time()).prop_map(|(one, other)| match (one, other) {
        (Some(one), Some(other)) => (Some(one.min(other)), Some(one.max(other))),
        pair => pair,
    })
}

fn breaker() -> impl Strategy<Value = BreakerFields> {
    (option::of(any::<bool>()), option::of(1..=10_000_u32), times(24 * 3_600_000), option::of(1..=100_u32)).prop_map(
        |(enabled, consecutive_failures, (open_time, max_open_time), probes)| BreakerFields {
            enabled,
            consecutive_failures,
            open_time,
            max_open_time,
            probes,
        },
    )
}

fn ejection() -> impl Strategy<Value = EjectionFields> {
    let errors = option::of(sample::select(&[Errors::Any, Errors::Gateway][..]));
    let rows = (option::of(1..=10_000_u32), times(24 * 3_600_000), option::of(1..=100_u8), errors);
    (option::of(any::<bool>()), rows, option::of(success_rate())).prop_map(
        |(enabled, (consecutive_errors, (base_time, max_time), max_share_percent, errors), success_rate)| {
            EjectionFields { enabled, consecutive_errors, base_time, max_time, max_share_percent, errors, success_rate }
        },
    )
}

fn health_check() -> impl Strategy<Value = HealthCheckFields> {
    let time = |longest: u64| option::of((1..=longest).prop_map(Duration::from_millis));
    let threshold = || option::of(1..=100_u32);
    (option::of(any::<bool>()), option::of(probe()), time(3_600_000), time(60_000), threshold(), threshold()).prop_map(
        |(enabled, probe, interval, timeout, healthy_threshold, unhealthy_threshold)| HealthCheckFields {
            enabled,
            probe,
            interval,
            timeout,
            healthy_threshold,
            unhealthy_threshold,
        },
    )
}

/// Any way to ask.
fn probe() -> impl Strategy<Value = HealthProbe> {
    let range = (200..600_u16, 200..600_u16)
        .prop_map(|(one, other)| StatusRange { first: one.min(other), last: one.max(other) });
    let statuses = collection::btree_set(range, 1..4).prop_map(|ranges| ranges.into_iter().collect());
    prop_oneof![
        Just(HealthProbe::Tcp),
        ("/[a-z0-9]{0,9}", statuses).prop_map(|(path, statuses)| HealthProbe::Http { path, statuses }),
        "[a-zA-Z0-9_.]{0,9}".prop_map(|service| HealthProbe::Grpc { service }),
    ]
}

fn success_rate() -> impl Strategy<Value = SuccessRateFields> {
    let interval = option::of((1..=3_600_000_u64).prop_map(Duration::from_millis));
    let number = || option::of(1..=1_000_000_u32);
    (option::of(any::<bool>()), interval, number(), number(), option::of(1..=1000_u32)).prop_map(
        |(enabled, interval, minimum_endpoints, minimum_requests, deviation_percent)| SuccessRateFields {
            enabled,
            interval,
            minimum_endpoints,
            minimum_requests,
            deviation_percent,
        },
    )
}

/// Retries and the request timeout that bounds each try.
fn retries() -> impl Strategy<Value = (Option<RetryFields>, Option<Duration>)> {
    let safety = [RepeatSafety::Idempotent, RepeatSafety::Always, RepeatSafety::Never];
    let what = (option::of(1..=10_u32), option::of(conditions()), option::of(sample::select(safety.to_vec())));
    let budget = option::of((0..=100_u8, 0..=100_000_u32)).prop_filter("some budget", |it| *it != Some((0, 0)));
    let fields = (option::of(any::<bool>()), what, option::of(duration()), times(60_000), budget);
    (option::of(fields), option::of(duration())).prop_map(|(fields, request_timeout)| {
        let retries = fields.map(|(enabled, (attempts, on, safe), per_try, (backoff_base, backoff_max), budget)| {
            let on = on.map(|mut on| {
                if safe == Some(RepeatSafety::Never) {
                    on.push(RetryCondition::RefusedStream);
                }
                on.into_iter().collect()
            });
            let bound = request_timeout.filter(|all| !all.is_zero());
            RetryFields {
                enabled,
                attempts,
                on,
                safe,
                per_try_timeout: per_try.map(|one| bound.map_or(one, |all| one.min(all))),
                backoff_base,
                backoff_max,
                budget_percent: budget.map(|(percent, _)| percent),
                budget_min_per_second: budget.map(|(_, least)| least),
            }
        });
        (retries, request_timeout)
    })
}
