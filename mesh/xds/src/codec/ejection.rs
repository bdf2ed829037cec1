//! When an endpoint is left out for a while.
use weft_ir::{Ejection, SuccessRate};
use weft_model::Errors;
use weft_proto::{
    envoy::config::cluster::v3::OutlierDetection,
    google::protobuf::{BoolValue, UInt32Value},
};

use super::{
    breaking::{above_zero, number, ordered},
    common::{duration, read_duration, required},
    fault::{Fault, expect, fault, nothing_left},
};

/// All of them, and none.
const ENFORCED: u32 = 100;
const OFF: u32 = 0;

pub(super) fn encode(ejection: &Ejection) -> OutlierDetection {
    let Ejection { consecutive_errors, base_time, max_time, max_share_percent, errors, success_rate } = *ejection;
    let gateway = errors == Errors::Gateway;
    let rate = |of: fn(&SuccessRate) -> u32| success_rate.as_ref().map(|it| UInt32Value { value: of(it) });
    OutlierDetection {
        consecutive_5xx: number(consecutive_errors),
        consecutive_gateway_failure: if gateway { number(consecutive_errors) } else { None },
        base_ejection_time: Some(duration(base_time)),
        max_ejection_time: Some(duration(max_time)),
        max_ejection_percent: number(max_share_percent.into()),
        always_eject_one_host: Some(BoolValue { value: true }),
        enforcing_consecutive_5xx: number(if gateway { OFF } else { ENFORCED }),
        enforcing_consecutive_gateway_failure: if gateway { number(ENFORCED) } else { None },
        // Left out, the standard ejects by success rate too, which nobody asked for.
        enforcing_success_rate: number(if success_rate.is_some() { ENFORCED } else { OFF }),
        interval: success_rate.map(|it| duration(it.interval)),
        success_rate_minimum_hosts: rate(|it| it.minimum_endpoints),
        success_rate_request_volume: rate(|it| it.minimum_requests),
        // In thousandths there.
        success_rate_stdev_factor: rate(|it| it.deviation_percent.saturating_mul(10)),
        ..OutlierDetection::default()
    }
}

pub(super) fn decode(mut message: OutlierDetection) -> Result<Ejection, Fault> {
    let consecutive = required("consecutive_5xx", message.consecutive_5xx.take())?.value;
    let base_time = required("base_ejection_time", message.base_ejection_time.take())?;
    let max_time = required("max_ejection_time", message.max_ejection_time.take())?;
    let share = required("max_ejection_percent", message.max_ejection_percent.take())?.value;
    let success_rate = read_success_rate(&mut message)?;
    let errors = if message.consecutive_gateway_failure.is_some() { Errors::Gateway } else { Errors::Any };
    let ejection = Ejection {
        consecutive_errors: above_zero("consecutive_5xx", consecutive)?,
        base_time: read_duration("base_ejection_time", base_time)?,
        max_time: read_duration("max_ejection_time", max_time)?,
        max_share_percent: u8::try_from(share)
            .ok()
            .filter(|share| (1..=100).contains(share))
            .ok_or_else(|| fault("max_ejection_percent", "it must be from 1 to 100"))?,
        errors,
        success_rate,
    };
    ordered("base_ejection_time", ejection.base_time, "max_ejection_time", ejection.max_time)?;
    // Everything else follows from what was read.
    let whole = encode(&ejection);
    expect("always_eject_one_host", &message.always_eject_one_host.take(), &whole.always_eject_one_host)?;
    let found = message.consecutive_gateway_failure.take();
    expect("consecutive_gateway_failure", &found, &whole.consecutive_gateway_failure)?;
    let found = message.enforcing_consecutive_5xx.take();
    expect("enforcing_consecutive_5xx", &found, &whole.enforcing_consecutive_5xx)?;
    let found = message.enforcing_consecutive_gateway_failure.take();
    expect("enforcing_consecutive_gateway_failure", &found, &whole.enforcing_consecutive_gateway_failure)?;
    nothing_left(&message)?;
    Ok(ejection)
}

fn read_success_rate(message: &mut OutlierDetection) -> Result<Option<SuccessRate>, Fault> {
    match message.enforcing_success_rate.take().map(|it| it.value) {
        Some(OFF) => return Ok(None),
        Some(ENFORCED) => {}
        _ => return Err(fault("enforcing_success_rate", "it must be 0 or 100")),
    }
    let interval = read_duration("interval", required("interval", message.interval.take())?)?;
    if interval.is_zero() {
        return Err(fault("interval", "it must be above zero"));
    }
    let number = |field: &str, value: Option<UInt32Value>| above_zero(field, required(field, value)?.value);
    let minimum_endpoints = number("success_rate_minimum_hosts", message.success_rate_minimum_hosts.take())?;
    let minimum_requests = number("success_rate_request_volume", message.success_rate_request_volume.take())?;
    let factor = number("success_rate_stdev_factor", message.success_rate_stdev_factor.take())?;
    if factor % 10 != 0 {
        return Err(fault("success_rate_stdev_factor", "only hundredths are read, which end in 0 here"));
    }
    Ok(Some(SuccessRate { interval, minimum_endpoints, minimum_requests, deviation_percent: factor / 10 }))
}
