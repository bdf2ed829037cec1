//! TrafficPolicy's `spec`.
use std::time::Duration;

use super::{
    fields::{Context, Field, Fields},
    target,
};
use crate::{Meta, TargetKind, TrafficPolicy, duration};

mod affinity;
mod balancing;
mod breaking;
mod health_check;
mod retries;

pub(super) fn decode(cx: &mut Context, meta: Option<Meta>, spec: &Field<'_>) -> Option<TrafficPolicy> {
    let allowed =
        [TargetKind::Mesh, TargetKind::Namespace, TargetKind::Service, TargetKind::HttpRoute, TargetKind::GrpcRoute];
    let mut fields = Fields::open(cx, spec)?;
    let targets =
        fields.required(cx, "targetRefs").map(|targets| target::decode(cx, meta.as_ref(), &targets, &allowed));
    let balancing::Spread { balancing, locality, slow_start } = balancing::decode(cx, &mut fields);
    let affinity = fields.take("affinity").and_then(|field| affinity::decode(cx, &field));
    let limits = fields.take("limits").and_then(|field| breaking::limits(cx, &field)).unwrap_or_default();
    let breaker = fields.take("circuitBreaker").and_then(|field| breaking::breaker(cx, &field));
    let ejection = fields.take("outlierEjection").and_then(|field| breaking::ejection(cx, &field));
    let health_check = fields.take("healthCheck").and_then(|field| health_check::decode(cx, &field));
    let timeouts = fields.take("timeouts").and_then(|timeouts| {
        let mut fields = Fields::open(cx, &timeouts)?;
        let request = fields.take("request").and_then(|request| request.duration(cx));
        let idle = fields.take("idle").and_then(|idle| idle.duration(cx));
        let stream = fields.take("stream").and_then(|stream| stream.duration(cx));
        fields.finish(cx);
        Some((request, idle, stream))
    });
    let (request_timeout, idle_timeout, stream_timeout) = timeouts.unwrap_or_default();
    let retries = fields.take("retries").and_then(|field| retries::decode(cx, &field, request_timeout));
    fields.finish(cx);
    Some(TrafficPolicy {
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
        ..TrafficPolicy::new(meta?, targets?)
    })
}

/// A duration from 1 ms to `longest`.
fn span(cx: &mut Context, field: &Field<'_>, longest: Duration) -> Option<Duration> {
    let span = field.duration(cx)?;
    if (Duration::from_millis(1)..=longest).contains(&span) {
        return Some(span);
    }
    let found = format!("{} is out of bounds", duration::format(span));
    field.invalid(cx, found, &format!("write a duration from 1ms to {}", duration::format(longest)));
    None
}

/// Reports a bound that is below what it bounds: the field, its value, and the other's name and value.
fn at_least(cx: &mut Context, field: Option<&Field<'_>>, bound: Option<Duration>, name: &str, base: Option<Duration>) {
    if let (Some(field), Some(bound), Some(base)) = (field, bound, base)
        && bound < base
    {
        let (bound, base) = (duration::format(bound), duration::format(base));
        field.invalid(cx, format!("{bound} is shorter than {name}, {base}"), &format!("write {base} or more"));
    }
}

fn percent(cx: &mut Context, field: &Field<'_>, least: u32) -> Option<u8> {
    field.integer(cx, least..=100).and_then(|number| u8::try_from(number).ok())
}
