//! What bounds the use of a cluster: limits and breaker.
use std::{num::NonZeroU32, time::Duration};

use weft_ir::{Breaker, Limits};
use weft_proto::{
    envoy::config::cluster::v3::{CircuitBreakers, circuit_breakers::Thresholds},
    google::protobuf::UInt32Value,
    weft,
};

use super::{
    common::{duration_of_ours, read_duration_of_ours, required},
    fault::{Fault, Within, expect, fault, nothing_left},
};

/// What stands for "no limit": left out, the standard means 1,024 connections, waiting and active requests.
const UNLIMITED: u32 = u32::MAX;

/// Nothing where nothing is limited.
pub(super) fn encode_limits(limits: &Limits) -> Option<CircuitBreakers> {
    let Limits { max_connections, max_pending, max_requests } = *limits;
    let limit = |limit: Option<NonZeroU32>| number(limit.map_or(UNLIMITED, NonZeroU32::get));
    let thresholds = Thresholds {
        max_connections: limit(max_connections),
        max_pending_requests: limit(max_pending),
        max_requests: limit(max_requests),
        // Retries have a budget of their own.
        max_retries: number(UNLIMITED),
        ..Thresholds::default()
    };
    (*limits != Limits::default())
        .then(|| CircuitBreakers { thresholds: vec![thresholds], ..CircuitBreakers::default() })
}

pub(super) fn decode_limits(breakers: Option<CircuitBreakers>) -> Result<Limits, Fault> {
    let Some(mut breakers) = breakers else { return Ok(Limits::default()) };
    let mut thresholds = std::mem::take(&mut breakers.thresholds).into_iter();
    nothing_left(&breakers)?;
    let (Some(mut only), None) = (thresholds.next(), thresholds.next()) else {
        return Err(fault("thresholds", "exactly one, of the default priority, is read"));
    };
    let limit = |field: &str, value: Option<UInt32Value>| match required(field, value)?.value {
        UNLIMITED => Ok(None),
        limit => match NonZeroU32::new(limit) {
            Some(limit) => Ok(Some(limit)),
            None => Err(fault(field, "it must be above zero")),
        },
    };
    let limits = Limits {
        max_connections: limit("max_connections", only.max_connections.take()).within("thresholds[0]")?,
        max_pending: limit("max_pending_requests", only.max_pending_requests.take()).within("thresholds[0]")?,
        max_requests: limit("max_requests", only.max_requests.take()).within("thresholds[0]")?,
    };
    expect("thresholds[0].max_retries", &only.max_retries.take(), &number(UNLIMITED))?;
    nothing_left(&only).within("thresholds[0]")?;
    Ok(limits)
}

pub(super) fn encode_breaker(breaker: &Breaker) -> weft::Breaker {
    let Breaker { consecutive_failures, open_time, max_open_time, probes } = *breaker;
    weft::Breaker {
        consecutive_failures,
        open_time: Some(duration_of_ours(open_time)),
        max_open_time: Some(duration_of_ours(max_open_time)),
        probes,
    }
}

pub(super) fn decode_breaker(message: weft::Breaker) -> Result<Breaker, Fault> {
    let weft::Breaker { consecutive_failures, open_time, max_open_time, probes } = message;
    let breaker = Breaker {
        consecutive_failures: above_zero("consecutive_failures", consecutive_failures)?,
        open_time: read_duration_of_ours("open_time", required("open_time", open_time)?)?,
        max_open_time: read_duration_of_ours("max_open_time", required("max_open_time", max_open_time)?)?,
        probes: above_zero("probes", probes)?,
    };
    ordered("open_time", breaker.open_time, "max_open_time", breaker.max_open_time)?;
    Ok(breaker)
}

/// A time above zero, and its bound.
pub(super) fn ordered(base: &str, least: Duration, bound: &str, most: Duration) -> Result<(), Fault> {
    if least.is_zero() {
        return Err(fault(base, "it must be above zero"));
    }
    if most < least { Err(fault(bound, format!("it is shorter than {base}"))) } else { Ok(()) }
}

pub(super) fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

pub(super) fn above_zero(field: &str, value: u32) -> Result<u32, Fault> {
    if value == 0 { Err(fault(field, "it must be above zero")) } else { Ok(value) }
}
