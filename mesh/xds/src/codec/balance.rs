//! How an endpoint of a cluster is chosen: in the standard's fields, and beside them in weft's.
use weft_ir::{Balance, Cluster, NearFirst, SlowStart};
use weft_proto::{
    envoy::{
        config::{
            cluster::v3::{
                self as wire,
                cluster::{
                    CommonLbConfig, LbConfig, LbPolicy, LeastRequestLbConfig, RoundRobinLbConfig, SlowStartConfig,
                },
            },
            core::v3::RuntimeDouble,
        },
        r#type::v3::Percent,
    },
    weft,
};

use super::{
    breaking::number,
    common::{duration, read_duration, required},
    fault::{Fault, Within, expect, fault, nothing_left},
};

/// How many endpoints are drawn, of which the least loaded is taken.
const CHOICES: u32 = 2;

/// What metadata says beside LEAST_REQUEST.
const PEAK_EWMA: &str = "peak-ewma";

/// Where a stock Envoy's operators could change the aggression; it demands a name.
const AGGRESSION_KEY: &str = "weft.slow_start.aggression";

/// The standard's part of a message.
pub(super) struct Standard {
    pub(super) policy: LbPolicy,
    pub(super) config: Option<LbConfig>,
    pub(super) common: Option<CommonLbConfig>,
}

/// What a cluster says of how an endpoint is chosen.
pub(super) struct Chosen {
    pub(super) balance: Balance,
    pub(super) near_first: Option<NearFirst>,
    pub(super) slow_start: Option<SlowStart>,
}

/// The standard's part and weft's.
pub(super) fn encode(cluster: &Cluster) -> (Standard, Option<weft::Balancing>) {
    let Cluster { balance, near_first, slow_start, .. } = cluster;
    let (policy, ours) = policy(*balance);
    let ours = weft::Balancing {
        policy: ours.to_owned(),
        overprovisioning_percent: near_first.map_or(0, |it| it.overprovisioning_percent),
    };
    let panic = |it: &NearFirst| Percent { value: it.panic_percent.into() };
    let common = near_first
        .as_ref()
        .map(|it| CommonLbConfig { healthy_panic_threshold: Some(panic(it)), ..CommonLbConfig::default() });
    let standard = Standard { policy, config: config(*balance, slow_start.as_ref()), common };
    (standard, (ours != weft::Balancing::default()).then_some(ours))
}

/// Takes what is said of it out of a message.
pub(super) fn decode(message: &mut wire::Cluster, ours: Option<weft::Balancing>) -> Result<Chosen, Fault> {
    let weft::Balancing { policy: own, overprovisioning_percent } = ours.unwrap_or_default();
    let found = std::mem::take(&mut message.lb_policy);
    let of_policy = |balance: &Balance| i32::from(policy(*balance).0) == found;
    if !Balance::ALL.iter().any(of_policy) {
        return Err(fault("lb_policy", "only ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH and MAGLEV are read"));
    }
    let balance = Balance::ALL.into_iter().filter(of_policy).find(|balance| policy(*balance).1 == own);
    let unknown = || fault("metadata.balancing.policy", "it is none that is read beside this lb_policy");
    let balance = balance.ok_or_else(unknown)?;
    let slow_start = slow_start_of(message.lb_config.as_mut());
    let slow_start = slow_start.map(read_slow_start).transpose().within("lb_config.slow_start_config")?;
    let written = message.lb_config.take();
    // What is left of it holds nothing else.
    let plain = match config(balance, None) {
        None if slow_start.is_some() && balance == Balance::RoundRobin => {
            Some(LbConfig::RoundRobinLbConfig(RoundRobinLbConfig::default()))
        }
        plain => plain,
    };
    expect("lb_config", &written, &plain)?;
    let near_first = near_first(message.common_lb_config.take(), overprovisioning_percent)?;
    Ok(Chosen { balance, near_first, slow_start })
}

fn policy(balance: Balance) -> (LbPolicy, &'static str) {
    match balance {
        Balance::RoundRobin => (LbPolicy::RoundRobin, ""),
        Balance::LeastRequest => (LbPolicy::LeastRequest, ""),
        Balance::Random => (LbPolicy::Random, ""),
        // The nearest that every reader has.
        Balance::PeakEwma => (LbPolicy::LeastRequest, PEAK_EWMA),
        Balance::RingHash => (LbPolicy::RingHash, ""),
        // Whose table has as many places by default as weft's.
        Balance::Maglev => (LbPolicy::Maglev, ""),
    }
}

fn config(balance: Balance, slow_start: Option<&SlowStart>) -> Option<LbConfig> {
    let slow_start_config = slow_start.map(encode_slow_start);
    match balance {
        Balance::LeastRequest | Balance::PeakEwma => {
            let choice_count = number(CHOICES);
            let config = LeastRequestLbConfig { choice_count, slow_start_config, ..Default::default() };
            Some(LbConfig::LeastRequestLbConfig(config))
        }
        Balance::RoundRobin if slow_start.is_some() => {
            Some(LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config }))
        }
        // The standard has no slow start for them, nor has weft.
        Balance::RoundRobin | Balance::Random | Balance::RingHash | Balance::Maglev => None,
    }
}

fn slow_start_of(config: Option<&mut LbConfig>) -> Option<SlowStartConfig> {
    match config? {
        LbConfig::LeastRequestLbConfig(it) => it.slow_start_config.take(),
        LbConfig::RoundRobinLbConfig(it) => it.slow_start_config.take(),
        _ => None,
    }
}

fn encode_slow_start(slow_start: &SlowStart) -> SlowStartConfig {
    let SlowStart { window, aggression_percent, min_weight_percent } = *slow_start;
    SlowStartConfig {
        slow_start_window: Some(duration(window)),
        aggression: Some(RuntimeDouble {
            default_value: f64::from(aggression_percent) / 100.0,
            runtime_key: AGGRESSION_KEY.to_owned(),
        }),
        min_weight_percent: Some(Percent { value: min_weight_percent.into() }),
    }
}

fn read_slow_start(config: SlowStartConfig) -> Result<SlowStart, Fault> {
    let SlowStartConfig { slow_start_window, aggression, min_weight_percent } = config;
    let window = read_duration("slow_start_window", required("slow_start_window", slow_start_window)?)?;
    if window.is_zero() {
        return Err(fault("slow_start_window", "it must be above zero"));
    }
    let RuntimeDouble { default_value, runtime_key: _ } = required("aggression", aggression)?;
    let aggression = whole(default_value * 100.0).filter(|percent| (10..=1000).contains(percent));
    let aggression_percent =
        aggression.ok_or_else(|| fault("aggression", "it must be from 0.1 to 10, in hundredths"))?;
    let least = required("min_weight_percent", min_weight_percent)?.value;
    let least = whole(least).and_then(|least| u8::try_from(least).ok()).filter(|least| (1..=100).contains(least));
    let min_weight_percent =
        least.ok_or_else(|| fault("min_weight_percent", "it must be from 1 to 100, a whole number"))?;
    Ok(SlowStart { window, aggression_percent, min_weight_percent })
}

/// A number that is whole but for rounding.
fn whole(number: f64) -> Option<u32> {
    let whole = number.round();
    ((0.0..=4096.0).contains(&whole) && (number - whole).abs() < 1e-6).then_some(whole as u32)
}

fn near_first(common: Option<CommonLbConfig>, overprovisioning_percent: u32) -> Result<Option<NearFirst>, Fault> {
    let Some(mut common) = common else {
        return match overprovisioning_percent {
            0 => Ok(None),
            _ => Err(fault("common_lb_config", "it is missing beside metadata.balancing.overprovisioning_percent")),
        };
    };
    let panic =
        required("healthy_panic_threshold", common.healthy_panic_threshold.take()).within("common_lb_config")?;
    nothing_left(&common).within("common_lb_config")?;
    let panic = whole(panic.value).and_then(|panic| u8::try_from(panic).ok()).filter(|panic| *panic <= 100);
    let wrong = || fault("common_lb_config.healthy_panic_threshold", "it must be from 0 to 100, a whole number");
    let panic_percent = panic.ok_or_else(wrong)?;
    if !(100..=1000).contains(&overprovisioning_percent) {
        return Err(fault("metadata.balancing.overprovisioning_percent", "it must be from 100 to 1000"));
    }
    Ok(Some(NearFirst { overprovisioning_percent, panic_percent }))
}
