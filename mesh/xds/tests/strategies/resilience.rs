//! Every value of what keeps a failing part from taking the rest with it.
use std::{num::NonZeroU32, time::Duration};

use proptest::{collection::vec, option, prelude::*, sample::select};
use weft_ir::{
    Affinity, Balance, Breaker, Ejection, HealthCheck, Limits, NearFirst, Probe, Retry, RetryBackoff, RetryBudget,
    SlowStart, SuccessRate,
};
use weft_model::{AffinityKey, Errors, RepeatSafety, RetryCondition, StatusRange};

use super::duration;

/// How an endpoint is chosen; a slow start only where there is one.
pub(super) fn chosen() -> impl Strategy<Value = (Balance, Option<NearFirst>, Option<SlowStart>)> {
    let near_first = (100..=1000u32, 0..=100u8)
        .prop_map(|(overprovisioning_percent, panic_percent)| NearFirst { overprovisioning_percent, panic_percent });
    let slow_start =
        (duration(), 10..=1000u32, 1..=100u8).prop_map(|(window, aggression_percent, min_weight_percent)| SlowStart {
            window,
            aggression_percent,
            min_weight_percent,
        });
    (select(&Balance::ALL[..]), option::of(near_first), option::of(slow_start)).prop_map(
        |(balance, near_first, slow_start)| (balance, near_first, slow_start.filter(|_| balance.can_start_slowly())),
    )
}

pub(super) fn limits() -> impl Strategy<Value = Limits> {
    let limit = || option::of((1..=1_000_000u32).prop_map(|limit| NonZeroU32::new(limit).unwrap()));
    (limit(), limit(), limit()).prop_map(|(max_connections, max_pending, max_requests)| Limits {
        max_connections,
        max_pending,
        max_requests,
    })
}

fn times() -> impl Strategy<Value = (Duration, Duration)> {
    (duration(), duration()).prop_map(|(one, other)| (one.min(other), one.max(other)))
}

pub(super) fn breaker() -> impl Strategy<Value = Option<Breaker>> {
    let breaker =
        (1..=u32::MAX, times(), 1..=u32::MAX).prop_map(|(consecutive_failures, (open_time, max_open_time), probes)| {
            Breaker { consecutive_failures, open_time, max_open_time, probes }
        });
    option::of(breaker)
}

pub(super) fn ejection() -> impl Strategy<Value = Option<Ejection>> {
    let rate = (duration(), 1..=u32::MAX, 1..=u32::MAX, 1..=1000u32).prop_map(
        |(interval, minimum_endpoints, minimum_requests, deviation_percent)| SuccessRate {
            interval,
            minimum_endpoints,
            minimum_requests,
            deviation_percent,
        },
    );
    let errors = select(&[Errors::Any, Errors::Gateway][..]);
    let ejection = (1..=u32::MAX, times(), 1..=100u8, errors, option::of(rate)).prop_map(
        |(consecutive_errors, (base_time, max_time), max_share_percent, errors, success_rate)| Ejection {
            consecutive_errors,
            base_time,
            max_time,
            max_share_percent,
            errors,
            success_rate,
        },
    );
    option::of(ejection)
}

pub(super) fn health_check() -> impl Strategy<Value = Option<HealthCheck>> {
    let range = (200..=599u16, 200..=599u16)
        .prop_map(|(one, other)| StatusRange { first: one.min(other), last: one.max(other) });
    let probe =
        prop_oneof![
            Just(Probe::Tcp),
            ("[a-z.]{1,9}(:[1-9]{1,4})?", "/[!-~]{0,9}", vec(range, 1..4))
                .prop_map(|(host, path, statuses)| Probe::Http { host, path, statuses }),
            ("[a-z.]{1,9}", "[A-Za-z0-9_.]{0,9}").prop_map(|(host, service)| Probe::Grpc { host, service }),
        ];
    let check = (probe, duration(), duration(), 1..=u32::MAX, 1..=u32::MAX).prop_map(
        |(probe, interval, timeout, healthy_threshold, unhealthy_threshold)| HealthCheck {
            probe,
            interval,
            timeout,
            healthy_threshold,
            unhealthy_threshold,
        },
    );
    option::of(check)
}

pub(super) fn retry() -> impl Strategy<Value = Option<Retry>> {
    let status = (400..=599u16).prop_map(RetryCondition::Status);
    let on = vec(prop_oneof![select(&RetryCondition::NAMED[..]), status], 1..6);
    let safety = select(&[RepeatSafety::Idempotent, RepeatSafety::Always, RepeatSafety::Never][..]);
    let budget = (0..=100u8, any::<u32>());
    let retry = (1..=Retry::MAX_ATTEMPTS, on, safety, option::of(duration()), times(), budget).prop_map(
        |(attempts, on, repeats_are_safe, per_try_timeout, (base, max), (percent, min_per_second))| Retry {
            attempts,
            on: on.into_iter().collect(),
            repeats_are_safe,
            per_try_timeout,
            backoff: RetryBackoff { base, max },
            budget: RetryBudget { percent, min_per_second },
        },
    );
    option::of(retry)
}

pub(super) fn affinity() -> impl Strategy<Value = Option<Affinity>> {
    let ttl = option::of((1..100_000_000u64).prop_map(Duration::from_secs));
    let cookie = ("[!#$%&'*+.^_`|~0-9A-Za-z-]{1,9}", "/[!-:<-~]{0,9}", ttl);
    let key = prop_oneof![
        cookie.prop_map(|(name, path, ttl)| AffinityKey::Cookie { name, path, ttl }),
        "[a-z0-9-]{1,9}".prop_map(|name| AffinityKey::Header { name }),
        "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,9}".prop_map(|name| AffinityKey::Query { name }),
        Just(AffinityKey::SourceAddress),
    ];
    option::of(key.prop_map(|key| Affinity { key }))
}
