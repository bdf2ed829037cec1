//! Why a request or connection is refused, and what the client is told: one table.
use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};
use weft_ir::{HostPort, RouteOrigin, ServiceKey};

use crate::{BadRequest, Denied};

/// What a client asked for: an HTTP authority, or the service port of a TCP listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// A canonical HTTP authority.
    Host(HostPort),
    /// A TCP service port.
    Service(ServiceKey),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Service(service) => service.fmt(f),
        }
    }
}

impl Serialize for Destination {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a cluster's policy limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitKind {
    /// Upstream connections.
    Connections,
    /// Requests that wait for a connection.
    Pending,
    /// Requests that are being served.
    Requests,
}

impl LimitKind {
    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Pending => "pending",
            Self::Requests => "requests",
        }
    }

    /// The field of a TrafficPolicy that sets it.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Connections => "limits.maxConnections",
            Self::Pending => "limits.maxPending",
            Self::Requests => "limits.maxRequests",
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "connections",
            Self::Pending => "waiting requests",
            Self::Requests => "requests",
        })
    }
}

/// Why nothing was forwarded. Its text names the route, policy, host or cluster that is the cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub enum Refusal {
    /// The request cannot be read in one way only.
    #[error("bad request: {0}")]
    BadRequest(BadRequest),
    /// The control plane knows no such host or service.
    #[error("{destination} is not in the mesh")]
    NotInMesh {
        /// What was asked for.
        destination: Destination,
    },
    /// The host is known and none of its routes takes the request.
    #[error("no route of {host} matches {method} {path}")]
    NoRoute {
        /// The host.
        host: HostPort,
        /// The request's method.
        method: String,
        /// The request's normalized path.
        path: String,
    },
    /// The host is known and none of its routes opens a tunnel. 501 and not 405, which would have to name the methods that
    /// the target takes (RFC 9110 §15.5.6).
    #[error("no route of {host} takes CONNECT: an HTTPRoute's rule must name the method")]
    NoTunnel {
        /// The host.
        host: HostPort,
    },
    /// The matching route's rule has no backend that exists (Gateway API: 500).
    #[error("{origin}: {cause}")]
    BackendMissing {
        /// The route.
        origin: RouteOrigin,
        /// What is missing.
        cause: String,
    },
    /// The destination names a cluster that does not exist.
    #[error("{destination} leads to {cluster}, which does not exist")]
    ClusterMissing {
        /// What was asked for.
        destination: Destination,
        /// The cluster.
        cluster: ServiceKey,
    },
    /// An access policy, or the absence of one, forbids it.
    #[error("{0}")]
    Denied(Denied),
    /// The cluster has no endpoint that takes new work.
    #[error("{cluster} has no healthy endpoint ({endpoints} known)")]
    NoHealthyEndpoint {
        /// The cluster.
        cluster: ServiceKey,
        /// How many endpoints it has that take no new work.
        endpoints: usize,
    },
    /// As much of the cluster is in use by this proxy as its policy allows.
    #[error("limit of {most} {limit} to {cluster} reached (TrafficPolicy {})", limit.field())]
    LimitReached {
        /// The cluster.
        cluster: ServiceKey,
        /// What is limited.
        limit: LimitKind,
        /// To how many.
        most: u32,
    },
    /// The cluster failed so often that nothing is sent to it for a while.
    #[error(
        "circuit breaker of {cluster} open for {}, {} (TrafficPolicy circuitBreaker)",
        seconds(*open_for), next_probe(*probes_in)
    )]
    BreakerOpen {
        /// The cluster.
        cluster: ServiceKey,
        /// How long ago it opened.
        open_for: Duration,
        /// When it lets a probe through; zero where all probes that may be are under way.
        probes_in: Duration,
    },
    /// The control plane did not say in time where this destination is.
    #[error("control plane unreachable: nothing is known of {destination} yet")]
    ControlPlaneUnreachable {
        /// What was asked for.
        destination: Destination,
    },
    /// A hello's server name is none of this workload's (RFC 9110 §15.5.20 where it reaches HTTP).
    #[error("the server name {server_name:?} is none of this workload's")]
    Misdirected {
        /// The server name; empty where the hello had none.
        server_name: String,
    },
}

impl Refusal {
    /// The HTTP status of the answer. A TCP connection is reset instead.
    pub const fn status(&self) -> u16 {
        match self {
            Self::BadRequest(BadRequest::TargetTooLong) => 414,
            Self::BadRequest(
                BadRequest::Method
                | BadRequest::HostMissing
                | BadRequest::HostList
                | BadRequest::HostUserInfo
                | BadRequest::HostName
                | BadRequest::HostPort
                | BadRequest::HostMismatch
                | BadRequest::TargetForm
                | BadRequest::PathCharacter
                | BadRequest::PathSeparator
                | BadRequest::PathEncoding
                | BadRequest::PathParameter
                | BadRequest::Fragment
                | BadRequest::Query,
            ) => 400,
            Self::NotInMesh { .. } | Self::NoRoute { .. } => 404,
            Self::NoTunnel { .. } => 501,
            Self::BackendMissing { .. } | Self::ClusterMissing { .. } => 500,
            Self::Denied(_) => 403,
            Self::NoHealthyEndpoint { .. }
            | Self::LimitReached { .. }
            | Self::BreakerOpen { .. }
            | Self::ControlPlaneUnreachable { .. } => 503,
            Self::Misdirected { .. } => 421,
        }
    }

    /// The field of the cluster's TrafficPolicy that is the cause, where one is.
    pub const fn policy_field(&self) -> Option<&'static str> {
        match self {
            Self::LimitReached { limit, .. } => Some(limit.field()),
            Self::BreakerOpen { .. } => Some("circuitBreaker"),
            Self::BadRequest(_)
            | Self::NotInMesh { .. }
            | Self::NoRoute { .. }
            | Self::BackendMissing { .. }
            | Self::ClusterMissing { .. }
            | Self::Denied(_)
            | Self::NoHealthyEndpoint { .. }
            | Self::ControlPlaneUnreachable { .. }
            | Self::NoTunnel { .. }
            | Self::Misdirected { .. } => None,
        }
    }

    /// A stable short name of the cause, for records and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad-request",
            Self::NotInMesh { .. } => "not-in-mesh",
            Self::NoRoute { .. } => "no-route",
            Self::NoTunnel { .. } => "no-tunnel",
            Self::BackendMissing { .. } => "backend-missing",
            Self::ClusterMissing { .. } => "cluster-missing",
            Self::Denied(_) => "denied",
            Self::NoHealthyEndpoint { .. } => "no-healthy-endpoint",
            Self::LimitReached { .. } => "limit-reached",
            Self::BreakerOpen { .. } => "breaker-open",
            Self::ControlPlaneUnreachable { .. } => "control-plane-unreachable",
            Self::Misdirected { .. } => "misdirected",
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn next_probe(probes_in: Duration) -> String {
    if probes_in.is_zero() {
        "probes are under way".to_owned()
    } else {
        format!("next probe in {}", seconds(probes_in))
    }
}

impl From<BadRequest> for Refusal {
    fn from(cause: BadRequest) -> Self {
        Self::BadRequest(cause)
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_and_an_open_breaker_name_what_is_full_and_the_field_that_says_so() {
        let cluster = || "local/shop/reviews:9080".parse().unwrap();
        let limit = |limit| Refusal::LimitReached { cluster: cluster(), limit, most: 100 };
        let open = |probes_in| Refusal::BreakerOpen {
            cluster: cluster(),
            open_for: Duration::from_millis(1250),
            probes_in: Duration::from_millis(probes_in),
        };
        for (refusal, text, code) in [
            (
                limit(LimitKind::Requests),
                "limit of 100 requests to local/shop/reviews:9080 reached (TrafficPolicy limits.maxRequests)",
                "limit-reached",
            ),
            (
                limit(LimitKind::Pending),
                "limit of 100 waiting requests to local/shop/reviews:9080 reached (TrafficPolicy limits.maxPending)",
                "limit-reached",
            ),
            (
                limit(LimitKind::Connections),
                "limit of 100 connections to local/shop/reviews:9080 reached (TrafficPolicy limits.maxConnections)",
                "limit-reached",
            ),
            (
                open(750),
                "circuit breaker of local/shop/reviews:9080 open for 1.2 s, next probe in 0.8 s (TrafficPolicy \
                 circuitBreaker)",
                "breaker-open",
            ),
            (
                open(0),
                "circuit breaker of local/shop/reviews:9080 open for 1.2 s, probes are under way (TrafficPolicy \
                 circuitBreaker)",
                "breaker-open",
            ),
        ] {
            assert_eq!((refusal.to_string().as_str(), refusal.status(), refusal.code()), (text, 503, code));
            let field = refusal.policy_field().unwrap();
            assert!(text.ends_with(&format!("(TrafficPolicy {field})")));
        }
    }
}
