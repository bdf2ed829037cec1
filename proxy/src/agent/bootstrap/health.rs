//! How the application is checked, as the bootstrap says it.
use std::{num::NonZeroU32, time::Duration};

use serde_json::{Map, Value, json};
use weft_decide::HealthCheck;

use super::{
    read::duration,
    tree::{Errors, Fields, Node},
};

/// The longest interval or timeout: one that is longer notices nothing in time.
const LONGEST: Duration = Duration::from_secs(300);

/// The most checks in a row that a verdict may take.
const MOST_CHECKS: u32 = 100;

/// The field `health` of the extension; the default where it, or a field of it, is absent.
pub(super) fn read(fields: &mut Fields, errors: &mut Errors) -> HealthCheck {
    let HealthCheck { interval, unhealthy_interval, timeout, healthy_threshold, unhealthy_threshold } =
        HealthCheck::default();
    let Some(node) = fields.take("health", errors) else { return HealthCheck::default() };
    let mut fields = node.fields(errors);
    let mut time = |name, default| match fields.take(name, errors) {
        Some(node) => duration(node, LONGEST, errors).unwrap_or(default),
        None => default,
    };
    let (interval, unhealthy_interval, timeout) =
        (time("interval", interval), time("unhealthy_interval", unhealthy_interval), time("timeout", timeout));
    let mut count = |name, default| match fields.take(name, errors) {
        Some(node) => threshold(node, default, errors),
        None => default,
    };
    let (healthy_threshold, unhealthy_threshold) =
        (count("healthy_threshold", healthy_threshold), count("unhealthy_threshold", unhealthy_threshold));
    fields.finish(errors);
    HealthCheck { interval, unhealthy_interval, timeout, healthy_threshold, unhealthy_threshold }
}

fn threshold(node: Node, default: NonZeroU32, errors: &mut Errors) -> NonZeroU32 {
    let place = node.place.clone();
    let Some(count) = node.parse::<u32>(errors) else { return default };
    if count > MOST_CHECKS {
        errors.add(&place, format!("it must be at most {MOST_CHECKS}"));
    }
    // protobuf cannot tell an absent number from zero: both are the default.
    NonZeroU32::new(count).unwrap_or(default)
}

/// What differs from the default; `None` where nothing does.
pub(super) fn to_json(check: &HealthCheck) -> Option<Value> {
    let usual = HealthCheck::default();
    let mut map = Map::new();
    for (name, time, usual) in [
        ("interval", check.interval, usual.interval),
        ("unhealthy_interval", check.unhealthy_interval, usual.unhealthy_interval),
        ("timeout", check.timeout, usual.timeout),
    ] {
        if time != usual {
            map.insert(name.to_owned(), json!(format!("{}s", time.as_secs_f64())));
        }
    }
    for (name, count, usual) in [
        ("healthy_threshold", check.healthy_threshold, usual.healthy_threshold),
        ("unhealthy_threshold", check.unhealthy_threshold, usual.unhealthy_threshold),
    ] {
        if count != usual {
            map.insert(name.to_owned(), json!(count));
        }
    }
    (!map.is_empty()).then_some(Value::Object(map))
}
