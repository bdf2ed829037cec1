//! What keeps a failing or slow part from taking the rest with it: limits, breaking, ejection, retries, affinity.
//!
//! All numbers are proxy-wide: they hold for one proxy as a whole, however many workers it has, and are not shared
//! between proxies. An *error*, for ejection and breaker alike, is a 5xx answer of the upstream, a reset, a failed
//! connect (the TLS handshake included) or a timeout; what this proxy itself refuses is none.
use std::{num::NonZeroU32, time::Duration};

use serde::Serialize;
use weft_model::{AffinityKey, Errors, RepeatSafety, RetryCondition, RetryOn};

/// How much of a cluster one proxy uses at once. `None` is no limit. What is over a limit is refused at once (503) with
/// the limit as its cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Limits {
    /// Upstream connections, idle ones and those being made included; over all endpoints.
    pub max_connections: Option<NonZeroU32>,
    /// Requests (for TCP: accepted connections) that wait for an upstream connection.
    pub max_pending: Option<NonZeroU32>,
    /// Requests that are being served upstream, from pick to the end of the answer.
    pub max_requests: Option<NonZeroU32>,
}

impl Limits {
    /// How many may wait where connections are limited and nothing is said of waiting (Envoy's default, 1024): a queue
    /// always has an end.
    pub const DEFAULT_MAX_PENDING: NonZeroU32 = NonZeroU32::new(1024).unwrap();
}

/// A circuit breaker over a whole cluster: after so many errors in a row it opens and everything is refused; after a
/// while it lets probes through (half open), and closes when they succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Breaker {
    /// How many errors in a row, over all endpoints, open it; above zero.
    pub consecutive_failures: u32,
    /// How long it stays open the first time; above zero.
    pub open_time: Duration,
    /// It stays open twice as long each time that a probe fails, up to this; at least `open_time`. Closing sets it back.
    pub max_open_time: Duration,
    /// How many requests at once are let through while half open, and how many must succeed in a row to close it; above
    /// zero.
    pub probes: u32,
}

impl Default for Breaker {
    /// Linkerd's failure accrual has 7 failures and 1 s growing to 60 s for one endpoint; this is for all of them.
    fn default() -> Self {
        Self {
            consecutive_failures: 10,
            open_time: Duration::from_secs(1),
            max_open_time: Duration::from_secs(60),
            probes: 1,
        }
    }
}

/// Outlier ejection: an endpoint that errs again and again gets no new requests for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Ejection {
    /// How many errors of one endpoint in a row eject it; above zero.
    pub consecutive_errors: u32,
    /// How long the first ejection lasts; above zero. The n-th lasts n times as long.
    pub base_time: Duration,
    /// The longest ejection; at least `base_time`.
    pub max_time: Duration,
    /// The most endpoints that are out at once, 1 to 100 percent of the cluster's, rounded down; but one may be out
    /// wherever there are two or more, and the last one never.
    pub max_share_percent: u8,
    /// Which errors count.
    pub errors: Errors,
    /// By success rate too; `None`: by errors in a row alone.
    pub success_rate: Option<SuccessRate>,
}

/// Ejection of endpoints that succeed far less often than the others. Looked at once an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct SuccessRate {
    /// How long is counted; above zero.
    pub interval: Duration,
    /// How many endpoints must have had enough requests before any is judged; above zero.
    pub minimum_endpoints: u32,
    /// How many requests of one interval are enough; above zero.
    pub minimum_requests: u32,
    /// How far below the mean an outlier is, in hundredths of a standard deviation.
    pub deviation_percent: u32,
}

impl Default for SuccessRate {
    /// Envoy's.
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), minimum_endpoints: 5, minimum_requests: 100, deviation_percent: 190 }
    }
}

impl Default for Ejection {
    /// Envoy's errors (5), base (30 s) and longest time (300 s). Half of the endpoints, as Envoy's panic threshold, where
    /// its own share is 10 %: services in a mesh often have two or three instances.
    fn default() -> Self {
        Self {
            consecutive_errors: 5,
            base_time: Duration::from_secs(30),
            max_time: Duration::from_secs(300),
            max_share_percent: 50,
            errors: Errors::Any,
            success_rate: None,
        }
    }
}

/// Near endpoints come first: those of the proxy's own zone, then of its region, then all others. What does not work of a
/// place sends a part of its requests on to the next (Envoy's priority levels).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct NearFirst {
    /// How much more than its share the working part of a place is trusted with, 100 to 1000 percent: with 140, a place
    /// keeps all of its requests while five of seven endpoints work.
    pub overprovisioning_percent: u32,
    /// Where less than this part of a place works, 0 to 100 percent, and all places together cannot take all requests,
    /// what was ejected there is chosen again: a few endpoints must not get what many could not bear.
    pub panic_percent: u8,
}

impl Default for NearFirst {
    /// Envoy's.
    fn default() -> Self {
        Self { overprovisioning_percent: 140, panic_percent: 50 }
    }
}

/// An endpoint that is new has a part of its weight, which grows with the time since this proxy knows of it: the greater
/// of `min_weight_percent` and (time / `window`) ^ (100 / `aggression_percent`). Picks by key do not look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct SlowStart {
    /// Until it has its whole weight; above zero.
    pub window: Duration,
    /// 10 to 1000 percent; 100 grows in proportion to time.
    pub aggression_percent: u32,
    /// With what it begins, 1 to 100 percent.
    pub min_weight_percent: u8,
}

impl Default for SlowStart {
    /// Envoy's form (in proportion, from 10 %); it has no window by default.
    fn default() -> Self {
        Self { window: Duration::from_secs(30), aggression_percent: 100, min_weight_percent: 10 }
    }
}

/// How requests of a route are repeated.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Retry {
    /// How often a request is repeated at most: tries beyond the first, 1 to 10. Repetitions by proof count too.
    pub attempts: u32,
    /// What makes a request worth repeating.
    pub on: RetryOn,
    /// Whether it may be repeated where nothing proves that it was not processed.
    pub repeats_are_safe: RepeatSafety,
    /// How long one try may take, from pick to the answer's head; `None` is as long as the request may.
    pub per_try_timeout: Option<Duration>,
    /// How long to wait before each repetition.
    pub backoff: RetryBackoff,
    /// How much repeating is affordable.
    pub budget: RetryBudget,
}

impl Retry {
    /// The most tries beyond the first that a policy may ask for.
    pub const MAX_ATTEMPTS: u32 = 10;
}

impl Default for Retry {
    /// Two more tries (as Istio) on what proves that nothing was processed, on resets and on gateway errors.
    fn default() -> Self {
        let on = [
            RetryCondition::ConnectFailure,
            RetryCondition::RefusedStream,
            RetryCondition::Reset,
            RetryCondition::GatewayError,
        ];
        Self {
            attempts: 2,
            on: on.into_iter().collect(),
            repeats_are_safe: RepeatSafety::Idempotent,
            per_try_timeout: None,
            backoff: RetryBackoff::default(),
            budget: RetryBudget::default(),
        }
    }
}

/// The wait before the n-th repetition: a random time between zero and `base` × 2ⁿ⁻¹, at most `max` (full jitter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct RetryBackoff {
    /// The first bound; above zero.
    pub base: Duration,
    /// The greatest bound; at least `base`.
    pub max: Duration,
}

impl Default for RetryBackoff {
    /// Envoy's: 25 ms, up to ten times as much.
    fn default() -> Self {
        Self { base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

/// How many repetitions the requests of one authority ([`VirtualHost`](crate::VirtualHost)) may cause, so that retries
/// never multiply an overload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct RetryBudget {
    /// Repetitions per hundred requests; 0 to 100.
    pub percent: u8,
    /// Repetitions each second that are affordable whatever the number of requests.
    pub min_per_second: u32,
}

impl Default for RetryBudget {
    /// 20 % (as Envoy and Linkerd) and 3 a second (Envoy: 3 at once; Linkerd: 10 a second).
    fn default() -> Self {
        Self { percent: 20, min_per_second: 3 }
    }
}

/// Similar requests go to the same place: the hash of the key takes the place of the draw among the route's weighted
/// clusters, and chooses the endpoint by ring hash within the chosen one, whatever its balance.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Affinity {
    /// By what requests are told to belong together.
    pub key: AffinityKey,
}
