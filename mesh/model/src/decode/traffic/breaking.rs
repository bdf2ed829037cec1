//! `limits`, `circuitBreaker`, `outlierEjection`.
use std::{num::NonZeroU32, time::Duration};

use super::{at_least, percent, span};
use crate::{
    BreakerFields, EjectionFields, Errors, LimitFields, SuccessRateFields,
    decode::fields::{Context, Field, Fields},
};

/// The greatest limit: beyond what one machine's sockets come to.
const MAX_LIMIT: u32 = 1_000_000;

/// The most errors in a row that are waited for.
const MAX_ERRORS: u32 = 10_000;

/// The most requests that try at once whether a breaker may close.
const MAX_PROBES: u32 = 100;

/// The longest time for which an endpoint or a whole Service is left out.
const LONGEST_ABSENCE: Duration = Duration::from_secs(24 * 3600);

/// The longest time over which success rates are compared.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

pub(super) fn limits(cx: &mut Context, field: &Field<'_>) -> Option<LimitFields> {
    let mut fields = Fields::open(cx, field)?;
    let mut limit = |key| fields.take(key).and_then(|field| field.integer(cx, 1..=MAX_LIMIT)).and_then(NonZeroU32::new);
    let (max_connections, max_pending, max_requests) =
        (limit("maxConnections"), limit("maxPending"), limit("maxRequests"));
    fields.finish(cx);
    Some(LimitFields { max_connections, max_pending, max_requests })
}

pub(super) fn breaker(cx: &mut Context, field: &Field<'_>) -> Option<BreakerFields> {
    let mut fields = Fields::open(cx, field)?;
    let enabled = fields.take("enabled").and_then(|field| field.boolean(cx));
    let failures = fields.take("consecutiveFailures").and_then(|field| field.integer(cx, 1..=MAX_ERRORS));
    let open_time = fields.take("openTime").and_then(|field| span(cx, &field, LONGEST_ABSENCE));
    let max_field = fields.take("maxOpenTime");
    let max_open_time = max_field.as_ref().and_then(|field| span(cx, field, LONGEST_ABSENCE));
    let probes = fields.take("probes").and_then(|field| field.integer(cx, 1..=MAX_PROBES));
    fields.finish(cx);
    at_least(cx, max_field.as_ref(), max_open_time, "openTime", open_time);
    Some(BreakerFields { enabled, consecutive_failures: failures, open_time, max_open_time, probes })
}

pub(super) fn ejection(cx: &mut Context, field: &Field<'_>) -> Option<EjectionFields> {
    let mut fields = Fields::open(cx, field)?;
    let enabled = fields.take("enabled").and_then(|field| field.boolean(cx));
    let errors = fields.take("consecutiveErrors").and_then(|field| field.integer(cx, 1..=MAX_ERRORS));
    let base_time = fields.take("baseTime").and_then(|field| span(cx, &field, LONGEST_ABSENCE));
    let max_field = fields.take("maxTime");
    let max_time = max_field.as_ref().and_then(|field| span(cx, field, LONGEST_ABSENCE));
    let max_share_percent = fields.take("maxSharePercent").and_then(|field| percent(cx, &field, 1));
    let kinds = [("any", Errors::Any), ("gateway", Errors::Gateway)];
    let counted = fields.take("errors").and_then(|field| field.choice(cx, &kinds));
    let success_rate = fields.take("successRate").and_then(|field| success_rate(cx, &field));
    fields.finish(cx);
    at_least(cx, max_field.as_ref(), max_time, "baseTime", base_time);
    Some(EjectionFields {
        enabled,
        consecutive_errors: errors,
        base_time,
        max_time,
        max_share_percent,
        errors: counted,
        success_rate,
    })
}

fn success_rate(cx: &mut Context, field: &Field<'_>) -> Option<SuccessRateFields> {
    let mut fields = Fields::open(cx, field)?;
    let enabled = fields.take("enabled").and_then(|field| field.boolean(cx));
    let interval = fields.take("interval").and_then(|field| span(cx, &field, LONGEST_INTERVAL));
    let minimum_endpoints = fields.take("minimumEndpoints").and_then(|field| field.integer(cx, 1..=MAX_LIMIT));
    let minimum_requests = fields.take("minimumRequests").and_then(|field| field.integer(cx, 1..=MAX_LIMIT));
    let deviation_percent = fields.take("deviationPercent").and_then(|field| field.integer(cx, 1..=1000));
    fields.finish(cx);
    Some(SuccessRateFields { enabled, interval, minimum_endpoints, minimum_requests, deviation_percent })
}
