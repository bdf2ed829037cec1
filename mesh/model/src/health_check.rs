//! `healthCheck`: by what a caller's proxy finds out which endpoints work, without waiting for requests to fail.
use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};

/// `healthCheck`: written, even without a field, it is on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct HealthCheckFields {
    /// The most specific policy that writes the block decides: `false` takes back what a wider one turns on.
    pub enabled: Option<bool>,
    /// What is asked.
    pub probe: Option<HealthProbe>,
    /// How long from the end of one check to the next; above zero.
    pub interval: Option<Duration>,
    /// How long one check may take; above zero.
    pub timeout: Option<Duration>,
    /// Checks in a row that must pass before an unhealthy endpoint is healthy; above zero.
    pub healthy_threshold: Option<u32>,
    /// Checks in a row that must fail before a healthy endpoint is unhealthy; above zero.
    pub unhealthy_threshold: Option<u32>,
}

/// What one check asks of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum HealthProbe {
    /// That a connection comes about, and stands.
    Tcp,
    /// That it answers a GET of this path with one of these statuses.
    Http {
        /// The path, in normal form.
        path: String,
        /// The statuses; at least one range.
        statuses: Vec<StatusRange>,
    },
    /// That it serves, by gRPC's health service (`grpc.health.v1.Health/Check`).
    Grpc {
        /// The service that is asked for; empty is the server as a whole.
        service: String,
    },
}

impl HealthProbe {
    /// Its key in a policy.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http { .. } => "http",
            Self::Grpc { .. } => "grpc",
        }
    }
}

/// Statuses of an HTTP answer, from the first to the last of them; 200 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusRange {
    /// The first.
    pub first: u16,
    /// The last; not below the first.
    pub last: u16,
}

impl StatusRange {
    /// What counts where nothing is said: every success.
    pub const SUCCESS: Self = Self { first: 200, last: 299 };

    /// Whether a status is one of them.
    pub const fn contains(self, status: u16) -> bool {
        self.first <= status && status <= self.last
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl Serialize for StatusRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
