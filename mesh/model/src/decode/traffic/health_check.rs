//! `healthCheck`.
use std::time::Duration;

use super::span;
use crate::{
    Code, HealthCheckFields, HealthProbe, StatusRange,
    decode::{
        fields::{Context, Field, Fields, shorten},
        path,
        tree::Value,
    },
};

/// The longest time between two checks, and for one of them.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The most checks in a row that a verdict takes.
const MAX_THRESHOLD: u32 = 100;

/// The most ranges of statuses.
const MAX_STATUSES: usize = 32;

/// The longest name of a gRPC service, in bytes.
const MAX_SERVICE_BYTES: usize = 253;

/// The statuses of final answers.
const STATUSES: std::ops::RangeInclusive<u32> = 200..=599;

pub(super) fn decode(cx: &mut Context, field: &Field<'_>) -> Option<HealthCheckFields> {
    let mut fields = Fields::open(cx, field)?;
    let enabled = fields.take("enabled").and_then(|field| field.boolean(cx));
    let probes: Vec<_> = PROBES.iter().filter_map(|(key, read)| Some((*key, read, fields.take(key)?))).collect();
    let interval = fields.take("interval").and_then(|field| span(cx, &field, LONGEST_INTERVAL));
    let timeout = fields.take("timeout").and_then(|field| span(cx, &field, LONGEST_TIMEOUT));
    let mut threshold = |key| fields.take(key).and_then(|field| field.integer(cx, 1..=MAX_THRESHOLD));
    let (healthy_threshold, unhealthy_threshold) = (threshold("healthyThreshold"), threshold("unhealthyThreshold"));
    fields.finish(cx);
    let probe = match &probes[..] {
        [] => None,
        [(_, read, field)] => read(cx, field),
        several => {
            let names: Vec<_> = several.iter().map(|(key, ..)| *key).collect();
            field.invalid(cx, format!("it asks in more than one way: {}", names.join(", ")), "keep one of them");
            None
        }
    };
    Some(HealthCheckFields { enabled, probe, interval, timeout, healthy_threshold, unhealthy_threshold })
}

/// Reads one way to ask.
type Read = fn(&mut Context, &Field<'_>) -> Option<HealthProbe>;

const PROBES: [(&str, Read); 3] = [("http", http), ("grpc", grpc), ("tcp", tcp)];

fn http(cx: &mut Context, field: &Field<'_>) -> Option<HealthProbe> {
    let mut fields = Fields::open(cx, field)?;
    let path = fields.required(cx, "path").and_then(|field| path::replacement(cx, &field));
    let statuses = match fields.take("expectedStatuses") {
        Some(field) => statuses(cx, &field),
        None => vec![StatusRange::SUCCESS],
    };
    fields.finish(cx);
    Some(HealthProbe::Http { path: path?, statuses })
}

fn statuses(cx: &mut Context, field: &Field<'_>) -> Vec<StatusRange> {
    let mut found = Vec::new();
    for item in field.items(cx, 1..=MAX_STATUSES) {
        let Some(range) = range(cx, &item) else { continue };
        if found.contains(&range) {
            item.report(cx, Code::Duplicate, format!("{range} stands twice"), Some("remove it".to_owned()));
        }
        found.push(range);
    }
    found
}

/// A status as a number, or a range of them as a text.
fn range(cx: &mut Context, item: &Field<'_>) -> Option<StatusRange> {
    if let Value::Integer(_) = item.node.value {
        let status = u16::try_from(item.integer(cx, STATUSES)?).ok()?;
        return Some(StatusRange { first: status, last: status });
    }
    let text = item.text(cx)?;
    let status = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u16>().ok().filter(|_| digits)?;
        STATUSES.contains(&u32::from(number)).then_some(number)
    };
    let range = text.split_once('-').and_then(|(first, last)| {
        let range = StatusRange { first: status(first)?, last: status(last)? };
        (range.first <= range.last).then_some(range)
    });
    if range.is_none() {
        let hint = "write a status from 200 to 599, or a range of them such as \"200-299\"";
        item.invalid(cx, format!("{:?} is no range of statuses", shorten(text)), hint);
    }
    range
}

/// gRPC's names of services are letters, digits, underscores and dots; some servers take others.
fn grpc(cx: &mut Context, field: &Field<'_>) -> Option<HealthProbe> {
    let mut fields = Fields::open(cx, field)?;
    let service = fields.take("service").map(|field| {
        let text = field.text(cx)?;
        let is_name = text.len() <= MAX_SERVICE_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_name {
            let hint = format!("write up to {MAX_SERVICE_BYTES} characters without spaces, as in shop.v1.Prices");
            field.invalid(cx, format!("{:?} is no service of gRPC", shorten(text)), &hint);
        }
        is_name.then(|| text.to_owned())
    });
    fields.finish(cx);
    Some(HealthProbe::Grpc { service: service.unwrap_or_else(|| Some(String::new()))? })
}

fn tcp(cx: &mut Context, field: &Field<'_>) -> Option<HealthProbe> {
    Fields::open(cx, field)?.finish(cx);
    Some(HealthProbe::Tcp)
}
