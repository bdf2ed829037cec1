//! TrafficPolicy's `spec`.
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{fields, put, target};
use crate::{
    AffinityKey, Balancing, BreakerFields, EjectionFields, Errors, HealthCheckFields, HealthProbe, LimitFields,
    LocalityFields, RepeatSafety, RetryCondition, RetryFields, RetryOn, SlowStartFields, StatusRange,
    SuccessRateFields, TrafficPolicy, duration,
};

pub(super) fn policy(policy: &TrafficPolicy) -> Value {
    let TrafficPolicy {
        meta: _,
        targets,
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
    let mut spec = fields([("targetRefs", targets.iter().map(target).collect())]);
    let balance = [
        ("type", balancing.map(|it| json!(balancing_type(it)))),
        ("locality", locality.as_ref().map(near_first)),
        ("slowStart", slow_start.as_ref().map(self::slow_start)),
    ];
    put_block(&mut spec, "loadBalancing", &balance);
    put(&mut spec, "affinity", affinity.as_ref().map(key));
    let limits = [("maxConnections", max_connections), ("maxPending", max_pending), ("maxRequests", max_requests)];
    put_block(&mut spec, "limits", &limits.map(|(key, limit)| (key, limit.map(|limit| json!(limit)))));
    put(&mut spec, "circuitBreaker", breaker.as_ref().map(circuit_breaker));
    put(&mut spec, "outlierEjection", ejection.as_ref().map(outlier_ejection));
    put(&mut spec, "healthCheck", health_check.as_ref().map(self::health_check));
    put(&mut spec, "retries", retries.as_ref().map(self::retries));
    let timeouts = [
        ("request", request_timeout.map(span)),
        ("idle", idle_timeout.map(span)),
        ("stream", stream_timeout.map(span)),
    ];
    put_block(&mut spec, "timeouts", &timeouts);
    Value::Object(spec)
}

const fn balancing_type(balancing: Balancing) -> &'static str {
    match balancing {
        Balancing::RoundRobin => "RoundRobin",
        Balancing::LeastRequest => "LeastRequest",
        Balancing::Random => "Random",
        Balancing::PeakEwma => "PeakEwma",
        Balancing::RingHash => "RingHash",
        Balancing::Maglev => "Maglev",
    }
}

fn span(span: Duration) -> Value {
    Value::String(duration::format(span))
}

/// The fields of a block that are there.
fn block(fields: &[(&str, Option<Value>)]) -> Map<String, Value> {
    fields.iter().filter_map(|(key, value)| Some(((*key).to_owned(), value.clone()?))).collect()
}

/// A block that says nothing when it is empty, and is left out then.
fn put_block(map: &mut Map<String, Value>, key: &str, fields: &[(&str, Option<Value>)]) {
    let block = block(fields);
    put(map, key, (!block.is_empty()).then_some(Value::Object(block)));
}

fn key(key: &AffinityKey) -> Value {
    match key {
        AffinityKey::Cookie { name, path, ttl } => {
            json!({"cookie": block(&[("name", Some(json!(name))), ("path", Some(json!(path))), ("ttl", ttl.map(span))])})
        }
        AffinityKey::Header { name } => json!({"header": {"name": name}}),
        AffinityKey::Query { name } => json!({"query": {"name": name}}),
        AffinityKey::SourceAddress => json!({"sourceAddress": {}}),
    }
}

fn near_first(locality: &LocalityFields) -> Value {
    let LocalityFields { enabled, overprovisioning_percent, panic_percent } = locality;
    Value::Object(block(&[
        ("enabled", enabled.map(Value::Bool)),
        ("overprovisioningPercent", overprovisioning_percent.map(|it| json!(it))),
        ("panicPercent", panic_percent.map(|it| json!(it))),
    ]))
}

fn slow_start(slow_start: &SlowStartFields) -> Value {
    let SlowStartFields { enabled, window, aggression_percent, min_weight_percent } = slow_start;
    Value::Object(block(&[
        ("enabled", enabled.map(Value::Bool)),
        ("window", window.map(span)),
        ("aggressionPercent", aggression_percent.map(|it| json!(it))),
        ("minWeightPercent", min_weight_percent.map(|it| json!(it))),
    ]))
}

fn circuit_breaker(breaker: &BreakerFields) -> Value {
    let BreakerFields { enabled, consecutive_failures, open_time, max_open_time, probes } = breaker;
    Value::Object(block(&[
        ("enabled", enabled.map(Value::Bool)),
        ("consecutiveFailures", consecutive_failures.map(|it| json!(it))),
        ("openTime", open_time.map(span)),
        ("maxOpenTime", max_open_time.map(span)),
        ("probes", probes.map(|it| json!(it))),
    ]))
}

fn outlier_ejection(ejection: &EjectionFields) -> Value {
    let EjectionFields { enabled, consecutive_errors, base_time, max_time, max_share_percent, errors, success_rate } =
        ejection;
    let errors = errors.map(|errors| match errors {
        Errors::Any => "any",
        Errors::Gateway => "gateway",
    });
    Value::Object(block(&[
        ("enabled", enabled.map(Value::Bool)),
        ("consecutiveErrors", consecutive_errors.map(|it| json!(it))),
        ("baseTime", base_time.map(span)),
        ("maxTime", max_time.map(span)),
        ("maxSharePercent", max_share_percent.map(|it| json!(it))),
        ("errors", errors.map(|it| json!(it))),
        ("successRate", success_rate.as_ref().map(self::success_rate)),
    ]))
}

fn success_rate(success_rate: &SuccessRateFields) -> Value {
    let SuccessRateFields { enabled, interval, minimum_endpoints, minimum_requests, deviation_percent } = success_rate;
    Value::Object(block(&[
        ("enabled", enabled.map(Value::Bool)),
        ("interval", interval.map(span)),
        ("minimumEndpoints", minimum_endpoints.map(|it| json!(it))),
        ("minimumRequests", minimum_requests.map(|it| json!(it))),
        ("deviationPercent", deviation_percent.map(|it| json!(it))),
    ]))
}

fn health_check(check: &HealthCheckFields) -> Value {
    let HealthCheckFields { enabled, probe, interval, timeout, healthy_threshold, unhealthy_threshold } = check;
    let mut map = block(&[
        ("enabled", enabled.map(Value::Bool)),
        ("interval", interval.map(span)),
        ("timeout", timeout.map(span)),
        ("healthyThreshold", healthy_threshold.map(|it| json!(it))),
        ("unhealthyThreshold", unhealthy_threshold.map(|it| json!(it))),
    ]);
    if let Some(probe) = probe {
        let what = match probe {
            HealthProbe::Tcp => json!({}),
            HealthProbe::Http { path, statuses } => {
                json!({"path": path, "expectedStatuses": statuses.iter().map(status_range).collect::<Value>()})
            }
            HealthProbe::Grpc { service } => json!({"service": service}),
        };
        map.insert(probe.key().to_owned(), what);
    }
    Value::Object(map)
}

fn status_range(range: &StatusRange) -> Value {
    if range.first == range.last { json!(range.first) } else { json!(range.to_string()) }
}

fn retries(retries: &RetryFields) -> Value {
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
    let safe = safe.map(|safe| match safe {
        RepeatSafety::Idempotent => "methods",
        RepeatSafety::Always => "always",
        RepeatSafety::Never => "never",
    });
    let mut map = block(&[
        ("enabled", enabled.map(Value::Bool)),
        ("attempts", attempts.map(|it| json!(it))),
        ("on", on.as_ref().map(conditions)),
        ("safe", safe.map(|it| json!(it))),
        ("perTryTimeout", per_try_timeout.map(span)),
    ]);
    put_block(&mut map, "backoff", &[("base", backoff_base.map(span)), ("max", backoff_max.map(span))]);
    let budget =
        [("percent", budget_percent.map(|it| json!(it))), ("minPerSecond", budget_min_per_second.map(|it| json!(it)))];
    put_block(&mut map, "budget", &budget);
    Value::Object(map)
}

fn conditions(RetryOn(conditions): &RetryOn) -> Value {
    let condition = |condition: &RetryCondition| match condition {
        RetryCondition::Status(status) => json!(status),
        named => json!(named.name()),
    };
    conditions.iter().map(condition).collect()
}
