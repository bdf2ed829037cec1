//! What policies say of retries and affinity; shared with the IR, which carries these values as they are.
use std::{collections::BTreeSet, fmt, time::Duration};

use serde::{Serialize, Serializer};

/// What makes a request worth repeating. Whether it *may* be repeated is told by [`RepeatSafety`], or by proof that it
/// was not processed.
///
/// Statuses and gRPC codes are those of an upstream's answer. What this proxy itself refuses (403, a limit, an open
/// breaker) is never repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetryCondition {
    /// No connection came about: refused, unreachable, timed out, or its TLS handshake failed. Proof that nothing was
    /// processed.
    ConnectFailure,
    /// HTTP/2 said that the stream was not processed: REFUSED_STREAM, or an id above a GOAWAY's last (RFC 9113 §8.7).
    /// Proof that nothing was processed.
    RefusedStream,
    /// The connection or stream broke, or the per-try timeout ran out, before the answer's head had come.
    Reset,
    /// The answer is 502, 503 or 504.
    GatewayError,
    /// The answer is any of 500 to 599.
    ServerError,
    /// The answer is exactly this status, 400 to 599.
    Status(u16),
    /// The answer's head or trailers carry this `grpc-status`.
    Grpc(GrpcCode),
}

impl RetryCondition {
    /// Every condition but those of one status.
    pub const NAMED: [Self; 10] = [
        Self::ConnectFailure,
        Self::RefusedStream,
        Self::Reset,
        Self::GatewayError,
        Self::ServerError,
        Self::Grpc(GrpcCode::Cancelled),
        Self::Grpc(GrpcCode::DeadlineExceeded),
        Self::Grpc(GrpcCode::ResourceExhausted),
        Self::Grpc(GrpcCode::Internal),
        Self::Grpc(GrpcCode::Unavailable),
    ];

    /// How it is written in a TrafficPolicy; `None` for a status, which is written as its number.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::ConnectFailure => "connect-failure",
            Self::RefusedStream => "refused-stream",
            Self::Reset => "reset",
            Self::GatewayError => "gateway-error",
            Self::ServerError => "server-error",
            Self::Grpc(GrpcCode::Cancelled) => "grpc-cancelled",
            Self::Grpc(GrpcCode::DeadlineExceeded) => "grpc-deadline-exceeded",
            Self::Grpc(GrpcCode::ResourceExhausted) => "grpc-resource-exhausted",
            Self::Grpc(GrpcCode::Internal) => "grpc-internal",
            Self::Grpc(GrpcCode::Unavailable) => "grpc-unavailable",
            Self::Status(_) => return None,
        })
    }
}

impl fmt::Display for RetryCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self) {
            (None, Self::Status(status)) => write!(f, "{status}"),
            (name, _) => f.write_str(name.unwrap_or_default()),
        }
    }
}

impl Serialize for RetryCondition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The gRPC codes that may be repeated upon: those of which the xDS API knows (`retry_on`, "Router" in Envoy's
/// documentation). The numbers are gRPC's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum GrpcCode {
    /// CANCELLED.
    Cancelled = 1,
    /// DEADLINE_EXCEEDED.
    DeadlineExceeded = 4,
    /// RESOURCE_EXHAUSTED.
    ResourceExhausted = 8,
    /// INTERNAL.
    Internal = 13,
    /// UNAVAILABLE.
    Unavailable = 14,
}

/// A set of conditions, at least one where it comes from a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct RetryOn(pub BTreeSet<RetryCondition>);

impl RetryOn {
    /// Whether this very condition is in the set.
    pub fn contains(&self, condition: RetryCondition) -> bool {
        self.0.contains(&condition)
    }

    /// Whether an answer of this HTTP status is worth a repetition.
    pub fn takes_status(&self, status: u16) -> bool {
        (matches!(status, 502..=504) && self.contains(RetryCondition::GatewayError))
            || (matches!(status, 500..=599) && self.contains(RetryCondition::ServerError))
            || self.contains(RetryCondition::Status(status))
    }

    /// Whether an answer of this `grpc-status` is worth a repetition.
    pub fn takes_grpc(&self, code: u32) -> bool {
        self.0.iter().any(|condition| matches!(condition, RetryCondition::Grpc(it) if u32::from(*it as u8) == code))
    }
}

impl FromIterator<RetryCondition> for RetryOn {
    fn from_iter<I: IntoIterator<Item = RetryCondition>>(conditions: I) -> Self {
        Self(conditions.into_iter().collect())
    }
}

/// Whether a request may be repeated although it may have been processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum RepeatSafety {
    /// If its method is idempotent (RFC 9110 §9.2.2): GET, HEAD, OPTIONS, TRACE, PUT, DELETE.
    Idempotent,
    /// Always: who wrote the policy vouches for it. The only choice that repeats gRPC, whose method is POST.
    Always,
    /// Never: only with proof that it was not processed.
    Never,
}

impl RepeatSafety {
    /// Whether a request of this method may be repeated. Methods are case-sensitive (RFC 9110 §9.1).
    pub fn allows(self, method: &str) -> bool {
        match self {
            Self::Idempotent => matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// By what requests are told to belong together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum AffinityKey {
    /// By a cookie's value. Where a request has none, the first sidecar makes one up and sets it:
    /// `set-cookie: <name>=<random>; Path=<path>; HttpOnly`, with `Max-Age` where there is a `ttl`.
    Cookie {
        /// The cookie's name, a token (RFC 6265 §4.1.1).
        name: String,
        /// The path of the cookie that is set; starts with a slash.
        path: String,
        /// How long a set cookie is kept, whole seconds above zero; `None` is as long as the client's session.
        ttl: Option<Duration>,
    },
    /// By a header's value. Requests without it go anywhere.
    Header {
        /// The header's name in lower case.
        name: String,
    },
    /// By a query parameter's value, as it stands in the query; of several of that name, by the first. Requests without it
    /// go anywhere.
    Query {
        /// The parameter's name, whose case counts.
        name: String,
    },
    /// By the IP address that the client's connection comes from.
    SourceAddress,
}

impl AffinityKey {
    /// The cookie's name where a policy gives none.
    pub const DEFAULT_COOKIE: &'static str = "weft-affinity";
}

impl fmt::Display for AffinityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cookie { name, .. } => write!(f, "cookie {name}"),
            Self::Header { name } => write!(f, "header {name}"),
            Self::Query { name } => write!(f, "query parameter {name}"),
            Self::SourceAddress => f.write_str("source address"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_condition_has_a_name_of_its_own() {
        let names: BTreeSet<_> = RetryCondition::NAMED.iter().map(|it| it.name().unwrap()).collect();
        assert_eq!(names.len(), RetryCondition::NAMED.len());
        assert_eq!(RetryCondition::Status(429).to_string(), "429");
    }

    #[test]
    fn a_set_takes_the_statuses_of_its_classes_and_its_own() {
        let on = |conditions: &[RetryCondition]| conditions.iter().copied().collect::<RetryOn>();
        let gateway = on(&[RetryCondition::GatewayError, RetryCondition::Status(429)]);
        let taken: Vec<_> = (400..600).filter(|status| gateway.takes_status(*status)).collect();
        assert_eq!(taken, [429, 502, 503, 504]);
        assert!((500..600).all(|status| on(&[RetryCondition::ServerError]).takes_status(status)));
        let grpc = on(&[RetryCondition::Grpc(GrpcCode::Unavailable)]);
        assert_eq!((0..20).filter(|code| grpc.takes_grpc(*code)).collect::<Vec<_>>(), [14]);
        assert!(!grpc.takes_status(503));
    }

    #[test]
    fn only_idempotent_methods_are_safe_to_repeat() {
        let allowed = |method: &&str| RepeatSafety::Idempotent.allows(method);
        let methods = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "CONNECT", "get", "LOCK"];
        assert_eq!(methods.iter().copied().filter(allowed).count(), 6);
        assert!(RepeatSafety::Always.allows("POST") && !RepeatSafety::Never.allows("GET"));
    }
}
