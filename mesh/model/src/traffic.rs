//! TrafficPolicy: how requests and connections to a target are handled.
use std::{num::NonZeroU32, time::Duration};

use serde::Serialize;

use crate::{AffinityKey, HealthCheckFields, Meta, PolicyTarget, RepeatSafety, RetryOn};

/// How requests and connections to a target are handled.
///
/// Each field is decided by itself: the most specific policy that writes it wins, and of equals the oldest. What a block
/// (breaker, ejection, retries) leaves open comes from a less specific policy that writes it, then from the defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TrafficPolicy {
    /// Name, namespace, labels.
    pub meta: Meta,
    /// What it applies to; at least one.
    pub targets: Vec<PolicyTarget>,
    /// How an endpoint is chosen.
    pub balancing: Option<Balancing>,
    /// Whether near endpoints come first.
    pub locality: Option<LocalityFields>,
    /// How an endpoint that is new begins.
    pub slow_start: Option<SlowStartFields>,
    /// By what requests are kept together.
    pub affinity: Option<AffinityKey>,
    /// How much of a Service a proxy uses at once.
    pub limits: LimitFields,
    /// When all requests to a Service are refused for a while.
    pub breaker: Option<BreakerFields>,
    /// When an endpoint is left out for a while.
    pub ejection: Option<EjectionFields>,
    /// By what is found out which endpoints work.
    pub health_check: Option<HealthCheckFields>,
    /// How requests are repeated.
    pub retries: Option<RetryFields>,
    /// How long a request may take in all; zero is no limit.
    pub request_timeout: Option<Duration>,
    /// How long a request, or the tunnel that it has opened, may stand still: no byte moves, or no answer comes. Zero
    /// leaves that to the proxy, as where nobody writes it.
    pub idle_timeout: Option<Duration>,
    /// How long a request may take in all, with the tunnel that it opens; zero is no limit.
    pub stream_timeout: Option<Duration>,
}

impl TrafficPolicy {
    /// A policy that says nothing yet.
    pub fn new(meta: Meta, targets: Vec<PolicyTarget>) -> Self {
        Self {
            meta,
            targets,
            balancing: None,
            locality: None,
            slow_start: None,
            affinity: None,
            limits: LimitFields::default(),
            breaker: None,
            ejection: None,
            health_check: None,
            retries: None,
            request_timeout: None,
            idle_timeout: None,
            stream_timeout: None,
        }
    }
}

/// How an endpoint is chosen among equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Balancing {
    /// One after the other, by weight.
    RoundRobin,
    /// Of two drawn at random, the one with fewer requests on it.
    LeastRequest,
    /// At random, by weight.
    Random,
    /// Of two drawn at random, the one that answers sooner for the requests on it.
    PeakEwma,
    /// By the affinity key's hash: the fewest keys move.
    RingHash,
    /// By the affinity key's hash in a table: as fast for many endpoints as for few.
    Maglev,
}

/// `loadBalancing.locality`: written, even without a field, near endpoints come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct LocalityFields {
    /// The most specific policy that writes the block decides: `false` takes back what a wider one turns on.
    pub enabled: Option<bool>,
    /// How much more than its share the working part of a place is trusted with, 100 to 1000 percent.
    pub overprovisioning_percent: Option<u32>,
    /// Below which part of working endpoints a place is in panic, 0 to 100 percent.
    pub panic_percent: Option<u8>,
}

/// `loadBalancing.slowStart`: written, even without a field, it is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct SlowStartFields {
    /// The most specific policy that writes the block decides: `false` takes back what a wider one turns on.
    pub enabled: Option<bool>,
    /// How long it takes until an endpoint has its whole weight; above zero.
    pub window: Option<Duration>,
    /// How steep it begins, 10 to 1000 percent: above 100 faster than in proportion to time.
    pub aggression_percent: Option<u32>,
    /// With how much of its weight it begins, 1 to 100 percent.
    pub min_weight_percent: Option<u8>,
}

/// `limits`: what is over one is refused at once. Numbers are for one proxy as a whole; a million at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct LimitFields {
    /// Upstream connections.
    pub max_connections: Option<NonZeroU32>,
    /// Requests that wait for a connection.
    pub max_pending: Option<NonZeroU32>,
    /// Requests that are being served.
    pub max_requests: Option<NonZeroU32>,
}

/// `circuitBreaker`: written, even without a field, it is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct BreakerFields {
    /// The most specific policy that writes the block decides: `false` takes back what a wider one turns on.
    pub enabled: Option<bool>,
    /// Errors in a row, over all endpoints, that open it; above zero.
    pub consecutive_failures: Option<u32>,
    /// How long it is open the first time; above zero.
    pub open_time: Option<Duration>,
    /// How long it is open at most.
    pub max_open_time: Option<Duration>,
    /// Requests let through at once to try whether it may close; above zero.
    pub probes: Option<u32>,
}

/// `outlierEjection`: written, even without a field, it is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct EjectionFields {
    /// The most specific policy that writes the block decides: `false` takes back what a wider one turns on.
    pub enabled: Option<bool>,
    /// Errors in a row that eject an endpoint; above zero.
    pub consecutive_errors: Option<u32>,
    /// How long the first ejection lasts; above zero.
    pub base_time: Option<Duration>,
    /// How long one lasts at most.
    pub max_time: Option<Duration>,
    /// The most endpoints that are out at once, 1 to 100 percent.
    pub max_share_percent: Option<u8>,
    /// Which errors count.
    pub errors: Option<Errors>,
    /// Whether success rates count too.
    pub success_rate: Option<SuccessRateFields>,
}

/// `outlierEjection.successRate`: written, even without a field, it is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct SuccessRateFields {
    /// The most specific policy that writes the block decides: `false` takes back what a wider one turns on.
    pub enabled: Option<bool>,
    /// How long is counted; above zero.
    pub interval: Option<Duration>,
    /// Endpoints that must have had enough requests; above zero.
    pub minimum_endpoints: Option<u32>,
    /// Requests of an interval that are enough; above zero.
    pub minimum_requests: Option<u32>,
    /// How far below the mean an outlier is, in hundredths of a standard deviation.
    pub deviation_percent: Option<u32>,
}

/// Which answers are an endpoint's errors, beside connections and tries that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Errors {
    /// Every 5xx, and gRPC's statuses of a server's failure.
    Any,
    /// 502, 503 and 504, and gRPC's UNAVAILABLE and DEADLINE_EXCEEDED: what says that nobody was there to answer.
    Gateway,
}

/// `retries`: written, even without a field, they are on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct RetryFields {
    /// The most specific policy that writes the block decides: `false` takes back what a wider one turns on.
    pub enabled: Option<bool>,
    /// Tries beyond the first, 1 to 10.
    pub attempts: Option<u32>,
    /// What makes a request worth repeating; at least one condition.
    pub on: Option<RetryOn>,
    /// `safe`: which requests may be repeated although they may have been processed.
    pub safe: Option<RepeatSafety>,
    /// How long one try may take; zero is as long as the request may.
    pub per_try_timeout: Option<Duration>,
    /// The bound of the first wait; above zero.
    pub backoff_base: Option<Duration>,
    /// The bound of the longest wait.
    pub backoff_max: Option<Duration>,
    /// Repetitions per hundred requests, 0 to 100.
    pub budget_percent: Option<u8>,
    /// Repetitions each second that are affordable anyway.
    pub budget_min_per_second: Option<u32>,
}
