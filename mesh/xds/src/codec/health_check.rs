//! How a reader checks endpoints itself.
use std::time::Duration;

use weft_ir::{HealthCheck, Probe};
use weft_model::StatusRange;
use weft_proto::{
    envoy::{
        config::core::v3::{
            HealthCheck as Wire,
            health_check::{GrpcHealthCheck, HealthChecker, HttpHealthCheck, TcpHealthCheck},
        },
        r#type::v3::Int64Range,
    },
    google::protobuf::{BoolValue, UInt32Value},
};

use super::{
    breaking::{above_zero, number},
    common::{duration, read_duration, required},
    fault::{Fault, Within, expect, fault, nothing_left},
};

/// The most ranges of statuses.
const MAX_STATUSES: usize = 32;

/// The longest text of a check, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

pub(super) fn encode(check: &HealthCheck) -> Wire {
    let HealthCheck { probe, interval, timeout, healthy_threshold, unhealthy_threshold } = check;
    let checker = match probe {
        Probe::Tcp => HealthChecker::TcpHealthCheck(TcpHealthCheck::default()),
        Probe::Http { host, path, statuses } => HealthChecker::HttpHealthCheck(HttpHealthCheck {
            host: host.clone(),
            path: path.clone(),
            expected_statuses: statuses.iter().map(encode_range).collect(),
            ..HttpHealthCheck::default()
        }),
        Probe::Grpc { host, service } => HealthChecker::GrpcHealthCheck(GrpcHealthCheck {
            service_name: service.clone(),
            authority: host.clone(),
            ..GrpcHealthCheck::default()
        }),
    };
    Wire {
        timeout: Some(duration(*timeout)),
        interval: Some(duration(*interval)),
        // Left out, the standard looks once a minute at what nobody calls.
        no_traffic_interval: Some(duration(*interval)),
        // Each check shows that somebody new gets in, and that the endpoint is who it must be.
        reuse_connection: Some(BoolValue { value: false }),
        healthy_threshold: number(*healthy_threshold),
        unhealthy_threshold: number(*unhealthy_threshold),
        health_checker: Some(checker),
        ..Wire::default()
    }
}

/// None, or one: what several would come to together, the standard leaves open.
pub(super) fn decode_all(checks: Vec<Wire>) -> Result<Option<HealthCheck>, Fault> {
    let mut checks = checks.into_iter();
    match (checks.next(), checks.next()) {
        (None, _) => Ok(None),
        (Some(check), None) => decode(check).within("health_checks[0]").map(Some),
        (Some(_), Some(_)) => Err(fault("health_checks", "one is read at most")),
    }
}

fn decode(mut message: Wire) -> Result<HealthCheck, Fault> {
    let time = |field: &str, value| {
        let time = read_duration(field, required(field, value)?)?;
        if time.is_zero() { Err(fault(field, "it must be above zero")) } else { Ok(time) }
    };
    let (interval, timeout): (Duration, Duration) =
        (time("interval", message.interval.take())?, time("timeout", message.timeout.take())?);
    expect("no_traffic_interval", &message.no_traffic_interval.take(), &Some(duration(interval)))?;
    expect("reuse_connection", &message.reuse_connection.take(), &Some(BoolValue { value: false }))?;
    let threshold = |field: &str, value: Option<UInt32Value>| above_zero(field, required(field, value)?.value);
    let healthy_threshold = threshold("healthy_threshold", message.healthy_threshold.take())?;
    let unhealthy_threshold = threshold("unhealthy_threshold", message.unhealthy_threshold.take())?;
    let probe = match required("health_checker", message.health_checker.take())? {
        HealthChecker::TcpHealthCheck(check) => nothing_left(&check).map(|()| Probe::Tcp).within("tcp_health_check"),
        HealthChecker::HttpHealthCheck(check) => decode_http(check).within("http_health_check"),
        HealthChecker::GrpcHealthCheck(check) => decode_grpc(check).within("grpc_health_check"),
        HealthChecker::CustomHealthCheck(_) => Err(fault("custom_health_check", "it is not read")),
    }?;
    nothing_left(&message)?;
    Ok(HealthCheck { probe, interval, timeout, healthy_threshold, unhealthy_threshold })
}

fn decode_http(mut check: HttpHealthCheck) -> Result<Probe, Fault> {
    let host = text("host", std::mem::take(&mut check.host))?;
    let path = text("path", std::mem::take(&mut check.path))?;
    if host.is_empty() {
        return Err(fault("host", "it is missing"));
    }
    if !path.starts_with('/') {
        return Err(fault("path", "it must start with a slash"));
    }
    let ranges = std::mem::take(&mut check.expected_statuses);
    if ranges.is_empty() || ranges.len() > MAX_STATUSES {
        return Err(fault("expected_statuses", format!("there must be 1 to {MAX_STATUSES}")));
    }
    let ranges = ranges.into_iter().enumerate();
    let statuses = ranges.map(|(at, range)| decode_range(range).within(format_args!("expected_statuses[{at}]")));
    let statuses = statuses.collect::<Result<_, Fault>>()?;
    nothing_left(&check)?;
    Ok(Probe::Http { host, path, statuses })
}

fn decode_grpc(mut check: GrpcHealthCheck) -> Result<Probe, Fault> {
    let host = text("authority", std::mem::take(&mut check.authority))?;
    if host.is_empty() {
        return Err(fault("authority", "it is missing"));
    }
    let service = text("service_name", std::mem::take(&mut check.service_name))?;
    nothing_left(&check)?;
    Ok(Probe::Grpc { host, service })
}

/// What stands in a request's line or head: nothing that would end it.
fn text(field: &str, text: String) -> Result<String, Fault> {
    if text.len() > MAX_TEXT_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(fault(field, format!("it must be up to {MAX_TEXT_BYTES} visible characters")));
    }
    Ok(text)
}

/// Without its end on the wire.
fn encode_range(range: &StatusRange) -> Int64Range {
    Int64Range { start: range.first.into(), end: i64::from(range.last) + 1 }
}

fn decode_range(Int64Range { start, end }: Int64Range) -> Result<StatusRange, Fault> {
    let status = |number: i64| u16::try_from(number).ok().filter(|status| (200..=599).contains(status));
    match (status(start), status(end.saturating_sub(1))) {
        (Some(first), Some(last)) if first <= last => Ok(StatusRange { first, last }),
        _ => Err(fault("", "it must be a range of statuses from 200 to 599")),
    }
}
