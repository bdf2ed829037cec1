//! Active health checks: a proxy asks the endpoints of a cluster itself whether they work.
use std::time::Duration;

use serde::Serialize;
use weft_model::StatusRange;

/// How the endpoints of a cluster are checked. One that fails takes no requests of this proxy while another does not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// The longest time from the end of one check to the next; above zero. Each wait is up to a quarter shorter, so that
    /// the checks of many proxies do not fall together.
    pub interval: Duration,
    /// How long one check may take, connecting included; above zero.
    pub timeout: Duration,
    /// How many checks in a row must pass before an unhealthy endpoint is healthy; above zero. The first check of an
    /// endpoint decides by itself.
    pub healthy_threshold: u32,
    /// How many checks in a row must fail before a healthy endpoint is unhealthy; above zero.
    pub unhealthy_threshold: u32,
}

impl HealthCheck {
    /// Checks by connecting. Kubernetes' times and threshold of failures (10 s, 1 s, 3); two successes, so that one by
    /// chance brings nobody back (Kubernetes has one; Envoy has no defaults).
    pub const DEFAULT: Self = Self {
        probe: Probe::Tcp,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        healthy_threshold: 2,
        unhealthy_threshold: 3,
    };
}

/// What one check asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Probe {
    /// That a connection comes about, and stands.
    Tcp,
    /// That a GET is answered by one of these statuses.
    Http {
        /// The request's Host.
        host: String,
        /// Its path.
        path: String,
        /// The statuses that pass; at least one range.
        statuses: Vec<StatusRange>,
    },
    /// That gRPC's health service (`grpc.health.v1.Health/Check`) says SERVING.
    Grpc {
        /// The request's authority.
        host: String,
        /// The service that is asked for; empty is the server as a whole.
        service: String,
    },
}
