//! Which fields a TrafficPolicy writes, and what each of them changes.
use weft_model::{
    BreakerFields, EjectionFields, FieldPath, HealthCheckFields, HealthProbe, LimitFields, LocalityFields, RetryFields,
    SlowStartFields, SuccessRateFields, TrafficPolicy,
};

/// Turns a block off, or says that it is on.
const ENABLED: &str = "enabled";

/// What a field changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// A Service's clusters.
    Clusters,
    /// The routes of a Service's hosts.
    Routes,
}

/// A field that a policy writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// The block that it stands in: `spec.retries`.
    pub(crate) block: &'static str,
    /// Its name within the block; `None` for the block's being there at all, which turns it on.
    pub(crate) leaf: Option<&'static str>,
    /// What it changes.
    pub(crate) reach: Reach,
}

impl Written {
    /// The field's path; `None` for a block's being there, which nobody wrote as a field.
    pub(crate) fn path(&self) -> Option<FieldPath> {
        self.leaf.map(|leaf| FieldPath::from(self.block).key(leaf))
    }

    /// Whether `policy`, where it comes first, decides this field.
    pub(crate) fn is_decided_by(&self, policy: &TrafficPolicy) -> bool {
        // A block that stands there says that it is on, also without the word.
        let leaf = self.leaf.filter(|leaf| *leaf != ENABLED);
        written(policy).contains(&Self { leaf, ..*self })
    }
}

/// The fields that the policy writes.
pub(crate) fn written(policy: &TrafficPolicy) -> Vec<Written> {
    let TrafficPolicy {
        meta: _,
        targets: _,
        balancing,
        locality,
        slow_start,
        affinity,
        limits: LimitFields { max_connections, max_pending, max_requests },
        breaker,
        ejection,
        health_check,
        retries,
        request_timeout,
        idle_timeout,
        stream_timeout,
    } = policy;
    let mut found = Vec::new();
    let mut block = |block, reach, leaves: &[(&'static str, bool)]| {
        let leaves =
            leaves.iter().filter(|(_, is_written)| *is_written).map(|(leaf, _)| (!leaf.is_empty()).then_some(*leaf));
        found.extend(leaves.map(|leaf| Written { block, leaf, reach }));
    };
    block("spec.loadBalancing", Reach::Clusters, &[("type", balancing.is_some())]);
    if let Some(locality) = locality {
        block("spec.loadBalancing.locality", Reach::Clusters, &locality_leaves(locality));
    }
    if let Some(slow_start) = slow_start {
        block("spec.loadBalancing.slowStart", Reach::Clusters, &slow_start_leaves(slow_start));
    }
    let limits = [
        ("maxConnections", max_connections.is_some()),
        ("maxPending", max_pending.is_some()),
        ("maxRequests", max_requests.is_some()),
    ];
    block("spec.limits", Reach::Clusters, &limits);
    block("spec", Reach::Routes, &[("affinity", affinity.is_some())]);
    let timeouts = [
        ("request", request_timeout.is_some()),
        ("idle", idle_timeout.is_some()),
        ("stream", stream_timeout.is_some()),
    ];
    block("spec.timeouts", Reach::Routes, &timeouts);
    if let Some(breaker) = breaker {
        block("spec.circuitBreaker", Reach::Clusters, &breaker_leaves(breaker));
    }
    if let Some(ejection) = ejection {
        block("spec.outlierEjection", Reach::Clusters, &ejection_leaves(ejection));
    }
    if let Some(check) = health_check {
        block("spec.healthCheck", Reach::Clusters, &health_check_leaves(check));
    }
    if let Some(retries) = retries {
        block("spec.retries", Reach::Routes, &retry_leaves(retries));
    }
    found
}

fn locality_leaves(locality: &LocalityFields) -> [(&'static str, bool); 4] {
    let LocalityFields { enabled, overprovisioning_percent, panic_percent } = locality;
    [
        ("", true),
        (ENABLED, enabled.is_some()),
        ("overprovisioningPercent", overprovisioning_percent.is_some()),
        ("panicPercent", panic_percent.is_some()),
    ]
}

fn slow_start_leaves(slow_start: &SlowStartFields) -> [(&'static str, bool); 5] {
    let SlowStartFields { enabled, window, aggression_percent, min_weight_percent } = slow_start;
    [
        ("", true),
        (ENABLED, enabled.is_some()),
        ("window", window.is_some()),
        ("aggressionPercent", aggression_percent.is_some()),
        ("minWeightPercent", min_weight_percent.is_some()),
    ]
}

fn breaker_leaves(breaker: &BreakerFields) -> [(&'static str, bool); 6] {
    let BreakerFields { enabled, consecutive_failures, open_time, max_open_time, probes } = breaker;
    [
        ("", true),
        (ENABLED, enabled.is_some()),
        ("consecutiveFailures", consecutive_failures.is_some()),
        ("openTime", open_time.is_some()),
        ("maxOpenTime", max_open_time.is_some()),
        ("probes", probes.is_some()),
    ]
}

fn ejection_leaves(ejection: &EjectionFields) -> [(&'static str, bool); 12] {
    let EjectionFields { enabled, consecutive_errors, base_time, max_time, max_share_percent, errors, success_rate } =
        ejection;
    let by_rate = success_rate.unwrap_or_default();
    let SuccessRateFields { enabled: rate_enabled, interval, minimum_endpoints, minimum_requests, deviation_percent } =
        by_rate;
    [
        ("", true),
        (ENABLED, enabled.is_some()),
        ("consecutiveErrors", consecutive_errors.is_some()),
        ("baseTime", base_time.is_some()),
        ("maxTime", max_time.is_some()),
        ("maxSharePercent", max_share_percent.is_some()),
        ("errors", errors.is_some()),
        ("successRate.enabled", rate_enabled.is_some()),
        ("successRate.interval", interval.is_some()),
        ("successRate.minimumEndpoints", minimum_endpoints.is_some()),
        ("successRate.minimumRequests", minimum_requests.is_some()),
        ("successRate.deviationPercent", deviation_percent.is_some()),
    ]
}

fn health_check_leaves(check: &HealthCheckFields) -> [(&'static str, bool); 7] {
    let HealthCheckFields { enabled, probe, interval, timeout, healthy_threshold, unhealthy_threshold } = check;
    [
        ("", true),
        (ENABLED, enabled.is_some()),
        (probe.as_ref().map_or("tcp", HealthProbe::key), probe.is_some()),
        ("interval", interval.is_some()),
        ("timeout", timeout.is_some()),
        ("healthyThreshold", healthy_threshold.is_some()),
        ("unhealthyThreshold", unhealthy_threshold.is_some()),
    ]
}

fn retry_leaves(retries: &RetryFields) -> [(&'static str, bool); 10] {
    let RetryFields {
        enabled,
        attempts,
        on,
        safe,
        per_try_timeout,
        backoff_base,
        backoff_max,
        budget_percent,
        budget_min_per_second,
    } = retries;
    [
        ("", true),
        (ENABLED, enabled.is_some()),
        ("attempts", attempts.is_some()),
        ("on", on.is_some()),
        ("safe", safe.is_some()),
        ("perTryTimeout", per_try_timeout.is_some()),
        ("backoff.base", backoff_base.is_some()),
        ("backoff.max", backoff_max.is_some()),
        ("budget.percent", budget_percent.is_some()),
        ("budget.minPerSecond", budget_min_per_second.is_some()),
    ]
}
