//! What policies say of resilience, with defaults where they leave something open.
use std::{collections::BTreeSet, time::Duration};

use weft_ir::{
    Affinity, Breaker, Ejection, HealthCheck, Limits, NearFirst, Probe, Retry, RetryBackoff, RetryBudget, SlowStart,
    SuccessRate,
};
use weft_model::{HealthProbe, ObjectRef, Protocol, TrafficPolicy};

use crate::policy::Covering;

/// How many times its base the longest wait between tries is, where only the base is written (as in Envoy).
const BACKOFF_GROWTH: u32 = 10;

type Origins = BTreeSet<ObjectRef>;

/// Nothing is limited that nobody limited (as in Istio; Envoy's own 1,024 refuse requests that nobody expects to be
/// refused); but where connections are limited, so is the queue for them.
pub(crate) fn limits(policies: &Covering<'_>, origins: &mut Origins) -> Limits {
    let max_connections = policies.field(origins, |policy| policy.limits.max_connections);
    let max_pending = policies.field(origins, |policy| policy.limits.max_pending);
    Limits {
        max_connections,
        max_pending: max_pending.or_else(|| max_connections.map(|_| Limits::DEFAULT_MAX_PENDING)),
        max_requests: policies.field(origins, |policy| policy.limits.max_requests),
    }
}

pub(crate) fn near_first(policies: &Covering<'_>, origins: &mut Origins) -> Option<NearFirst> {
    if !policies.is_on(origins, |policy| policy.locality.as_ref(), |block| block.enabled) {
        return None;
    }
    let default = NearFirst::default();
    let more = policies.field(origins, |policy| policy.locality?.overprovisioning_percent);
    let panic_percent = policies.field(origins, |policy| policy.locality?.panic_percent);
    Some(NearFirst {
        overprovisioning_percent: more.unwrap_or(default.overprovisioning_percent),
        panic_percent: panic_percent.unwrap_or(default.panic_percent),
    })
}

pub(crate) fn slow_start(policies: &Covering<'_>, origins: &mut Origins) -> Option<SlowStart> {
    if !policies.is_on(origins, |policy| policy.slow_start.as_ref(), |block| block.enabled) {
        return None;
    }
    let default = SlowStart::default();
    let aggression = policies.field(origins, |policy| policy.slow_start?.aggression_percent);
    let least = policies.field(origins, |policy| policy.slow_start?.min_weight_percent);
    Some(SlowStart {
        window: policies.field(origins, |policy| policy.slow_start?.window).unwrap_or(default.window),
        aggression_percent: aggression.unwrap_or(default.aggression_percent),
        min_weight_percent: least.unwrap_or(default.min_weight_percent),
    })
}

pub(crate) fn breaker(policies: &Covering<'_>, origins: &mut Origins) -> Option<Breaker> {
    if !policies.is_on(origins, |policy| policy.breaker.as_ref(), |block| block.enabled) {
        return None;
    }
    let default = Breaker::default();
    let open_time = policies.field(origins, |policy| policy.breaker?.open_time).unwrap_or(default.open_time);
    let longest = policies.field(origins, |policy| policy.breaker?.max_open_time).unwrap_or(default.max_open_time);
    let failures = policies.field(origins, |policy| policy.breaker?.consecutive_failures);
    Some(Breaker {
        consecutive_failures: failures.unwrap_or(default.consecutive_failures),
        open_time,
        // The two may come from policies that know nothing of each other.
        max_open_time: longest.max(open_time),
        probes: policies.field(origins, |policy| policy.breaker?.probes).unwrap_or(default.probes),
    })
}

pub(crate) fn ejection(policies: &Covering<'_>, origins: &mut Origins) -> Option<Ejection> {
    if !policies.is_on(origins, |policy| policy.ejection.as_ref(), |block| block.enabled) {
        return None;
    }
    let default = Ejection::default();
    let base_time = policies.field(origins, |policy| policy.ejection?.base_time).unwrap_or(default.base_time);
    let longest = policies.field(origins, |policy| policy.ejection?.max_time).unwrap_or(default.max_time);
    let errors = policies.field(origins, |policy| policy.ejection?.consecutive_errors);
    let share = policies.field(origins, |policy| policy.ejection?.max_share_percent);
    Some(Ejection {
        consecutive_errors: errors.unwrap_or(default.consecutive_errors),
        base_time,
        max_time: longest.max(base_time),
        max_share_percent: share.unwrap_or(default.max_share_percent),
        errors: policies.field(origins, |policy| policy.ejection?.errors).unwrap_or(default.errors),
        success_rate: success_rate(policies, origins),
    })
}

fn success_rate(policies: &Covering<'_>, origins: &mut Origins) -> Option<SuccessRate> {
    let block = |policy: &TrafficPolicy| policy.ejection.and_then(|ejection| ejection.success_rate);
    let enabled = policies.field(origins, |policy| block(policy).map(|block| block.enabled.unwrap_or(true)));
    if enabled != Some(true) {
        return None;
    }
    let default = SuccessRate::default();
    let endpoints = policies.field(origins, |policy| block(policy)?.minimum_endpoints);
    let requests = policies.field(origins, |policy| block(policy)?.minimum_requests);
    let deviation = policies.field(origins, |policy| block(policy)?.deviation_percent);
    Some(SuccessRate {
        interval: policies.field(origins, |policy| block(policy)?.interval).unwrap_or(default.interval),
        minimum_endpoints: endpoints.unwrap_or(default.minimum_endpoints),
        minimum_requests: requests.unwrap_or(default.minimum_requests),
        deviation_percent: deviation.unwrap_or(default.deviation_percent),
    })
}

/// What policies say of health checks, before it is known what a port speaks.
pub(crate) struct Checks {
    probe: HealthProbe,
    /// All but what is asked.
    check: HealthCheck,
}

pub(crate) fn health_check(policies: &Covering<'_>, origins: &mut Origins) -> Option<Checks> {
    if !policies.is_on(origins, |policy| policy.health_check.as_ref(), |block| block.enabled) {
        return None;
    }
    let default = HealthCheck::DEFAULT;
    let probe = policies.field(origins, |policy| policy.health_check.as_ref()?.probe.clone());
    let healthy = policies.field(origins, |policy| policy.health_check.as_ref()?.healthy_threshold);
    let unhealthy = policies.field(origins, |policy| policy.health_check.as_ref()?.unhealthy_threshold);
    let interval = policies.field(origins, |policy| policy.health_check.as_ref()?.interval);
    let timeout = policies.field(origins, |policy| policy.health_check.as_ref()?.timeout);
    let check = HealthCheck {
        interval: interval.unwrap_or(default.interval),
        timeout: timeout.unwrap_or(default.timeout),
        healthy_threshold: healthy.unwrap_or(default.healthy_threshold),
        unhealthy_threshold: unhealthy.unwrap_or(default.unhealthy_threshold),
        probe: default.probe,
    };
    Some(Checks { probe: probe.unwrap_or(HealthProbe::Tcp), check })
}

impl Checks {
    /// The check of one port, whose requests have this host. What carries bytes is checked by connecting, whatever else
    /// is asked of the other ports.
    pub(crate) fn of_port(&self, protocol: Protocol, host: impl FnOnce() -> String) -> HealthCheck {
        let probe = match (protocol, &self.probe) {
            (Protocol::Tcp, _) | (_, HealthProbe::Tcp) => Probe::Tcp,
            (_, HealthProbe::Http { path, statuses }) => {
                Probe::Http { host: host(), path: path.clone(), statuses: statuses.clone() }
            }
            (_, HealthProbe::Grpc { service }) => Probe::Grpc { host: host(), service: service.clone() },
        };
        HealthCheck { probe, ..self.check.clone() }
    }
}

pub(crate) fn retry(policies: &Covering<'_>, origins: &mut Origins) -> Option<Retry> {
    if !policies.is_on(origins, |policy| policy.retries.as_ref(), |block| block.enabled) {
        return None;
    }
    let default = Retry::default();
    let per_try = policies.field(origins, |policy| policy.retries.as_ref()?.per_try_timeout);
    Some(Retry {
        attempts: policies.field(origins, |policy| policy.retries.as_ref()?.attempts).unwrap_or(default.attempts),
        on: policies.field(origins, |policy| policy.retries.as_ref()?.on.clone()).unwrap_or(default.on),
        repeats_are_safe: policies
            .field(origins, |policy| policy.retries.as_ref()?.safe)
            .unwrap_or(default.repeats_are_safe),
        per_try_timeout: per_try.filter(|limit| !limit.is_zero()),
        backoff: backoff(policies, origins),
        budget: budget(policies, origins),
    })
}

fn backoff(policies: &Covering<'_>, origins: &mut Origins) -> RetryBackoff {
    let of = |field: fn(&weft_model::RetryFields) -> Option<Duration>| {
        move |policy: &TrafficPolicy| policy.retries.as_ref().and_then(field)
    };
    let base = policies.field(origins, of(|it| it.backoff_base)).unwrap_or_else(|| RetryBackoff::default().base);
    let max = policies.field(origins, of(|it| it.backoff_max));
    RetryBackoff { base, max: max.unwrap_or(base * BACKOFF_GROWTH).max(base) }
}

fn budget(policies: &Covering<'_>, origins: &mut Origins) -> RetryBudget {
    let default = RetryBudget::default();
    let percent = policies.field(origins, |policy| policy.retries.as_ref()?.budget_percent);
    let least = policies.field(origins, |policy| policy.retries.as_ref()?.budget_min_per_second);
    RetryBudget { percent: percent.unwrap_or(default.percent), min_per_second: least.unwrap_or(default.min_per_second) }
}

pub(crate) fn affinity(policies: &Covering<'_>, origins: &mut Origins) -> Option<Affinity> {
    policies.field(origins, |policy| policy.affinity.clone()).map(|key| Affinity { key })
}
