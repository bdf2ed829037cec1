//! Copies of requests: the standard's mirror policies.
use weft_ir::Mirror;
use weft_proto::envoy::{
    config::{core::v3::RuntimeFractionalPercent, route::v3::route_action::RequestMirrorPolicy},
    r#type::v3::{FractionalPercent, fractional_percent::DenominatorType},
};

use super::{
    common::{parse, required},
    fault::{Fault, Within, fault, nothing_left},
};

/// As in a route's filters (Gateway API, HTTPRouteRule "Filters").
const MAX_MIRRORS: usize = 16;

/// The denominators that the standard has, and how many millionths one part of each is.
const DENOMINATORS: [(DenominatorType, u32); 3] =
    [(DenominatorType::Hundred, 10_000), (DenominatorType::TenThousand, 100), (DenominatorType::Million, 1)];

pub(super) fn encode(Mirror { cluster, per_million }: &Mirror) -> RequestMirrorPolicy {
    let whole = DENOMINATORS.into_iter().find(|(_, part)| per_million.is_multiple_of(*part));
    let (denominator, part) = whole.unwrap_or((DenominatorType::Million, 1));
    let share = FractionalPercent { numerator: per_million / part, denominator: denominator.into() };
    RequestMirrorPolicy {
        cluster: cluster.to_string(),
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: Some(share),
            ..RuntimeFractionalPercent::default()
        }),
        // A copy has the Host of its original (the default would append `-shadow`): applications look at it.
        disable_shadow_host_suffix_append: true,
        ..RequestMirrorPolicy::default()
    }
}

pub(super) fn decode(policies: Vec<RequestMirrorPolicy>) -> Result<Vec<Mirror>, Fault> {
    if policies.len() > MAX_MIRRORS {
        return Err(fault("request_mirror_policies", format!("there are more than {MAX_MIRRORS}")));
    }
    let one = |(at, policy)| decode_one(policy).within(format_args!("request_mirror_policies[{at}]"));
    policies.into_iter().enumerate().map(one).collect()
}

fn decode_one(mut policy: RequestMirrorPolicy) -> Result<Mirror, Fault> {
    let cluster = parse("cluster", &std::mem::take(&mut policy.cluster))?;
    if !std::mem::take(&mut policy.disable_shadow_host_suffix_append) {
        return Err(fault("disable_shadow_host_suffix_append", "it must be true: no suffix is appended"));
    }
    let mut fraction = required("runtime_fraction", policy.runtime_fraction.take())?;
    let share = required("runtime_fraction.default_value", fraction.default_value.take())?;
    nothing_left(&fraction).within("runtime_fraction")?;
    nothing_left(&policy)?;
    let known = DENOMINATORS.into_iter().find(|(denominator, _)| i32::from(*denominator) == share.denominator);
    let part = known.map(|(_, part)| part).ok_or_else(|| fault("runtime_fraction", "its denominator is unknown"))?;
    let per_million = share.numerator.checked_mul(part).filter(|share| (1..=1_000_000).contains(share));
    let per_million = per_million.ok_or_else(|| fault("runtime_fraction", "it must be above zero and at most all"))?;
    Ok(Mirror { cluster, per_million })
}
