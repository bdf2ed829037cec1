//! How one try of a request or connection ended, and what that says.
use std::fmt;

use serde::Serialize;
use weft_model::Errors;

use crate::is_grpc_failure;

/// How one try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Outcome {
    /// The upstream answered: the answer's head is there, or all of it.
    Answered {
        /// The HTTP status.
        status: u16,
        /// The `grpc-status` of head or trailers, if there is one.
        grpc: Option<u32>,
    },
    /// No connection came about: refused, unreachable, too slow, or its TLS handshake failed.
    ConnectFailed,
    /// There was a connection, and it is proven that the request was not processed.
    NotProcessed(Proof),
    /// The connection or stream broke before the answer's head had come, and the request may have been processed.
    Reset,
    /// The route's time for one try was over before the answer's head had come.
    TryTimeout,
    /// The request's whole time was over.
    Timeout,
    /// The connection or stream broke, or stood still for too long, after the answer's head and before its end.
    Cut,
    /// Nothing of the upstream: the client went away, or this proxy itself refused, was drained, or had no resources.
    Ours,
}

/// What proves that a request was not processed (invariant 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Proof {
    /// None of its bytes was written.
    NothingWritten,
    /// RST_STREAM with REFUSED_STREAM (RFC 9113 §8.7).
    RefusedStream,
    /// Its stream's number is above the last of a GOAWAY (RFC 9113 §6.8).
    GoAway,
    /// A weft peer closed the connection by an authenticated close_notify without a byte of an answer.
    CloseNotify,
    /// A weft peer's inbound side has answered 421 under a mark that nobody behind it can set: it has no chain for the
    /// service, or none yet.
    Misdirected,
    /// A weft peer's inbound side has answered 503 under that mark: it is short of memory or descriptors.
    Shed,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NothingWritten => "none of its bytes was written",
            Self::RefusedStream => "it refused the stream (REFUSED_STREAM)",
            Self::GoAway => "it ended the connection with a GOAWAY whose last stream lies below",
            Self::CloseNotify => "it closed the connection by close_notify without a byte of an answer",
            Self::Misdirected => "it has no chain for the service (421 under its own mark)",
            Self::Shed => "it sheds new requests (503 under its own mark)",
        })
    }
}

/// What an outcome says of the endpoint, to [`Ejector`](crate::Ejector) and [`Circuit`](crate::Circuit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Verdict {
    /// It works.
    Good,
    /// It does not.
    Error,
    /// Nothing.
    Neither,
}

impl Outcome {
    /// An error is a 5xx answer, a reset, a failed connect or a timeout; for gRPC a status of the server's own failure
    /// ([`is_grpc_failure`]). An endpoint that proves not to have processed a request is leaving in good order, or coming.
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Answered { status: 500..=599, .. } => Verdict::Error,
            Self::Answered { grpc: Some(code), .. } if is_grpc_failure(code) => Verdict::Error,
            Self::Answered { .. } => Verdict::Good,
            Self::ConnectFailed | Self::Reset | Self::TryTimeout | Self::Timeout | Self::Cut => Verdict::Error,
            Self::NotProcessed(_) | Self::Ours => Verdict::Neither,
        }
    }

    /// The same for a policy that counts those errors: by [`Errors::Gateway`] an answer of the application's own failure
    /// (500, for gRPC UNKNOWN, INTERNAL, DATA_LOSS) is as good as any.
    pub const fn verdict_by(self, errors: Errors) -> Verdict {
        const DEADLINE_EXCEEDED: u32 = 4;
        const UNAVAILABLE: u32 = 14;
        match (errors, self) {
            (Errors::Gateway, Self::Answered { status: 502..=504, .. }) => Verdict::Error,
            (Errors::Gateway, Self::Answered { grpc: Some(DEADLINE_EXCEEDED | UNAVAILABLE), .. }) => Verdict::Error,
            (Errors::Gateway, Self::Answered { .. }) => Verdict::Good,
            (Errors::Gateway | Errors::Any, _) => self.verdict(),
        }
    }

    /// Whether it is proven that the request was not processed.
    pub const fn is_proof(self) -> bool {
        matches!(self, Self::ConnectFailed | Self::NotProcessed(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_upstream_does_wrong_is_an_error_and_what_we_do_is_none() {
        let answered = |status, grpc| Outcome::Answered { status, grpc }.verdict();
        for status in 100..600 {
            let is_error = answered(status, None) == Verdict::Error;
            assert_eq!(is_error, status >= 500, "{status}");
        }
        let codes: Vec<_> = (0..17).filter(|code| answered(200, Some(*code)) == Verdict::Error).collect();
        assert_eq!(codes, [2, 4, 13, 14, 15]);
        assert_eq!(Outcome::Ours.verdict(), Verdict::Neither);
        assert_eq!(Outcome::NotProcessed(Proof::GoAway).verdict(), Verdict::Neither);
        assert_eq!(Outcome::ConnectFailed.verdict(), Verdict::Error);
        let by_gateway =
            |status, grpc| Outcome::Answered { status, grpc }.verdict_by(Errors::Gateway) == Verdict::Error;
        assert_eq!((100..600).filter(|status| by_gateway(*status, None)).collect::<Vec<_>>(), [502, 503, 504]);
        assert_eq!((0..17).filter(|code| by_gateway(200, Some(*code))).collect::<Vec<_>>(), [4, 14]);
        assert_eq!(Outcome::Reset.verdict_by(Errors::Gateway), Verdict::Error);
        assert_eq!(Outcome::Ours.verdict_by(Errors::Gateway), Verdict::Neither);
        assert!(Outcome::ConnectFailed.is_proof() && !Outcome::Reset.is_proof());
    }
}
