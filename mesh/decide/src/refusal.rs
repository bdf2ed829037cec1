//! Why a request or connection is refused, and what the client is told: one table.
use std::fmt;

use serde::{Serialize, Serializer};
use weft_ir::{HostPort, RouteOrigin, ServicePort};

use crate::{BadRequest, Denied};

/// What a client asked for: an HTTP authority, or the service port of a TCP listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// A canonical HTTP authority.
    Host(HostPort),
    /// A TCP service port.
    Service(ServicePort),
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
        cluster: ServicePort,
    },
    /// An access policy, or the absence of one, forbids it.
    #[error("{0}")]
    Denied(Denied),
    /// The cluster has no endpoint that takes new work.
    #[error("{cluster} has no healthy endpoint ({endpoints} known)")]
    NoHealthyEndpoint {
        /// The cluster.
        cluster: ServicePort,
        /// How many endpoints it has that take no new work.
        endpoints: usize,
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
            Self::BadRequest(BadRequest::Connect) => 501,
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
            Self::BackendMissing { .. } | Self::ClusterMissing { .. } => 500,
            Self::Denied(_) => 403,
            Self::NoHealthyEndpoint { .. } | Self::ControlPlaneUnreachable { .. } => 503,
            Self::Misdirected { .. } => 421,
        }
    }

    /// A stable short name of the cause, for records and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad-request",
            Self::NotInMesh { .. } => "not-in-mesh",
            Self::NoRoute { .. } => "no-route",
            Self::BackendMissing { .. } => "backend-missing",
            Self::ClusterMissing { .. } => "cluster-missing",
            Self::Denied(_) => "denied",
            Self::NoHealthyEndpoint { .. } => "no-healthy-endpoint",
            Self::ControlPlaneUnreachable { .. } => "control-plane-unreachable",
            Self::Misdirected { .. } => "misdirected",
        }
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
