//! How things end, and what the client is told: one total table from cause to status, blame and reset.
use std::fmt;

use weft_decide::{OwnAnswer, Proof, Refusal};

use super::{
    http::{ExchangeError, Malformed, Party},
    metrics::Direction,
};

/// The field by which the inbound side of a weft proxy says to a peer's that nobody has looked at a request, so that it may
/// be sent again (invariant 7). Whatever the application behind it answers loses the fields of ours, and nobody is a peer's
/// inbound side who has not proven to be.
pub(super) const UNPROCESSED: &str = "x-weft-unprocessed";

/// What an answer of a peer's proves that has the field [`UNPROCESSED`], by its status; gRPC's have 200.
pub(super) fn unprocessed(status: u16, mark: &[u8]) -> Option<Proof> {
    match (status, mark) {
        (421, _) | (200, b"misdirected") => Some(Proof::Misdirected),
        (503, _) | (200, b"overloaded") => Some(Proof::Shed),
        _ => None,
    }
}

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// Who called: the application on the outbound side, a peer on the inbound side.
    Downstream,
    /// Who was called.
    Upstream,
    /// What users configured: routes, policies, services.
    Configuration,
    /// The control plane.
    ControlPlane,
    /// This proxy.
    Ourselves,
}

impl Blame {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Configuration => "configuration",
            Self::ControlPlane => "control-plane",
            Self::Ourselves => "ourselves",
        }
    }
}

/// How a connection or request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// In order.
    Complete,
    /// Its record was dropped: its task was.
    Abandoned,
    /// Its route has this proxy answer, with this status: a redirect, a response that was
    /// written, or what a browser may do (CORS).
    Answered(u16),
    /// The evaluator refused it, with this code, status and blame.
    Refused(&'static str, u16, Blame),
    /// The client's bytes are not a message.
    Malformed(Malformed),
    /// The client's request was not whole in time.
    ClientTimeout,
    /// The client went away.
    ClientGone,
    /// A client on the inbound port did not speak mesh TLS.
    Plaintext,
    /// The TLS handshake with the client failed, or took too long.
    Handshake,
    /// Its handshake chose another protocol than its service speaks.
    WrongProtocol,
    /// No connection to the upstream.
    ConnectFailed,
    /// No connection to the upstream in time.
    ConnectTimeout,
    /// The upstream is not who it must be, or does not speak mesh TLS.
    UpstreamHandshake,
    /// The upstream went away before its answer was whole.
    UpstreamGone,
    /// The upstream has proven that it did not look at the request: it was ending its connection, or refused the stream.
    Unprocessed,
    /// The upstream has reset the stream, with this code (RFC 9113 §7). The client is told the same.
    UpstreamReset(u32),
    /// The client's connection broke the rules of HTTP/2, or reset too many streams.
    BrokeHttp2,
    /// The upstream's answer is not a message.
    UpstreamMalformed(Malformed),
    /// The route's time was over.
    Timeout,
    /// A TCP connection or tunnel on which nothing moved for too long.
    StreamIdle,
    /// A tunnel that was open for as long as its route lets a stream be.
    StreamOver,
    /// A TCP connection or tunnel that was still open when this proxy had drained.
    Drained,
    /// A body stood still for too long, and this is who did not move it.
    BodyIdle(Blame),
    /// A copy of a request has not reached its mirror, with this code and blame. Nobody waits to be told.
    NotMirrored(&'static str, Blame),
    /// This proxy is not able to: no certificate yet.
    Unready,
    /// This proxy is short of memory or descriptors.
    Overloaded,
}

impl Ending {
    /// The ending of a refusal.
    pub(super) fn refused(refusal: &Refusal) -> Self {
        let blame = match refusal {
            Refusal::BadRequest(_) => Blame::Downstream,
            Refusal::NotInMesh { .. } | Refusal::Denied(_) | Refusal::Misdirected { .. } => Blame::Downstream,
            Refusal::NoRoute { .. }
            | Refusal::NoTunnel { .. }
            | Refusal::BackendMissing { .. }
            | Refusal::ClusterMissing { .. }
            | Refusal::LimitReached { .. } => Blame::Configuration,
            Refusal::NoHealthyEndpoint { .. } | Refusal::BreakerOpen { .. } => Blame::Upstream,
            Refusal::ControlPlaneUnreachable { .. } => Blame::ControlPlane,
        };
        Self::Refused(refusal.code(), refusal.status(), blame)
    }

    /// A stable short name for records and metrics.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Abandoned => "abandoned",
            Self::Answered(_) => "answered",
            Self::Refused(code, _, _) => code,
            Self::Malformed(_) => "malformed",
            Self::ClientTimeout => "client-timeout",
            Self::ClientGone => "client-gone",
            Self::Plaintext => "plaintext",
            Self::Handshake => "handshake",
            Self::WrongProtocol => "wrong-protocol",
            Self::ConnectFailed => "connect-failed",
            Self::ConnectTimeout => "connect-timeout",
            Self::UpstreamHandshake => "upstream-handshake",
            Self::UpstreamGone => "upstream-gone",
            Self::Unprocessed => "unprocessed",
            Self::UpstreamReset(_) => "upstream-reset",
            Self::BrokeHttp2 => "broke-http2",
            Self::UpstreamMalformed(_) => "upstream-malformed",
            Self::Timeout => "timeout",
            Self::StreamIdle => "stream-idle",
            Self::StreamOver => "stream-timeout",
            Self::Drained => "drained",
            Self::BodyIdle(_) => "body-idle",
            Self::NotMirrored(code, _) => code,
            Self::Unready => "unready",
            Self::Overloaded => "overloaded",
        }
    }

    /// Whose fault it is; nobody's if it ended in order.
    pub(super) const fn blame(self) -> Option<Blame> {
        match self {
            // Whoever had the turn to speak is not known here.
            Self::Complete | Self::Answered(_) | Self::StreamIdle | Self::StreamOver => None,
            Self::Refused(_, _, blame) | Self::BodyIdle(blame) | Self::NotMirrored(_, blame) => Some(blame),
            Self::Malformed(_)
            | Self::ClientTimeout
            | Self::ClientGone
            | Self::Plaintext
            | Self::Handshake
            | Self::BrokeHttp2
            | Self::WrongProtocol => Some(Blame::Downstream),
            Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::UpstreamHandshake
            | Self::UpstreamGone
            | Self::Unprocessed
            | Self::UpstreamReset(_)
            | Self::UpstreamMalformed(_)
            | Self::Timeout => Some(Blame::Upstream),
            Self::Abandoned | Self::Drained | Self::Unready | Self::Overloaded => Some(Blame::Ourselves),
        }
    }

    /// The value of [`UNPROCESSED`] in an answer of ours, where it is to have one: this proxy has no chain for the service,
    /// or none yet, while others do, or soon; or it is short of something that others have.
    pub(super) fn unprocessed(self, direction: Direction) -> Option<&'static str> {
        match (direction, self) {
            (Direction::Inbound, Self::Refused(code, 421, _)) => Some(code),
            (Direction::Inbound, Self::Overloaded) => Some(self.code()),
            _ => None,
        }
    }

    /// The status of an HTTP answer that was not begun yet; `None` where nobody is there to be told, or what the client
    /// speaks is not HTTP. A TCP connection is reset instead.
    pub(super) fn status(self) -> Option<u16> {
        match self {
            Self::Complete | Self::Abandoned | Self::ClientGone | Self::Plaintext | Self::Handshake => None,
            Self::WrongProtocol | Self::StreamIdle | Self::Drained | Self::BrokeHttp2 => None,
            Self::NotMirrored(..) | Self::StreamOver => None,
            Self::Answered(status) | Self::Refused(_, status, _) => Some(status),
            Self::Malformed(malformed) => Some(malformed.status()),
            Self::ClientTimeout | Self::BodyIdle(Blame::Downstream) => Some(408),
            Self::ConnectFailed | Self::ConnectTimeout | Self::UpstreamHandshake | Self::Unready => Some(503),
            Self::Unprocessed | Self::Overloaded => Some(503),
            Self::UpstreamGone | Self::UpstreamReset(_) | Self::UpstreamMalformed(_) => Some(502),
            Self::Timeout | Self::BodyIdle(_) => Some(504),
        }
    }
}

/// An ending with what is to be said of it: in the record, and to the client. Nearly always a failure; a route's own
/// answer comes the same way, because nothing is carried either.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) ending: Ending,
    pub(super) detail: String,
    /// What the client is answered, where that is not the detail.
    pub(super) answer: Option<Box<OwnAnswer>>,
}

impl Failure {
    pub(super) fn new(ending: Ending, detail: impl Into<String>) -> Self {
        Self { ending, detail: detail.into(), answer: None }
    }

    /// The fields of the answer, `content-length` apart, and its body; `id` names the record where it tells of a failure,
    /// and `unprocessed` says that the request was not looked at.
    pub(super) fn told(
        &self,
        id: impl fmt::Display,
        unprocessed: Option<&'static str>,
    ) -> (Vec<(String, String)>, String) {
        if let Some(answer) = &self.answer {
            return (answer.fields.clone(), answer.body.clone());
        }
        let content_type = ("content-type".to_owned(), "text/plain; charset=utf-8".to_owned());
        let mark = unprocessed.map(|why| (UNPROCESSED.to_owned(), why.to_owned()));
        let fields = [content_type, ("x-weft-decision".to_owned(), id.to_string())];
        (fields.into_iter().chain(mark).collect(), format!("{}\n", self.detail))
    }
}

impl From<OwnAnswer> for Failure {
    fn from(answer: OwnAnswer) -> Self {
        let location = answer.fields.iter().find(|(name, _)| name == "location");
        let detail = match location {
            Some((_, url)) => format!("redirected to {url}"),
            None => "its route answers".to_owned(),
        };
        Self { ending: Ending::Answered(answer.status), detail, answer: Some(Box::new(answer)) }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { ending: Ending::refused(&refusal), detail: refusal.to_string(), answer: None }
    }
}

impl From<ExchangeError> for Failure {
    fn from(error: ExchangeError) -> Self {
        let (ending, detail) = match error {
            ExchangeError::ClientGone => (Ending::ClientGone, "the client went away".to_owned()),
            ExchangeError::ClientReset(code) => {
                (Ending::ClientGone, format!("the client reset the stream ({:?})", h2::Reason::from(code)))
            }
            ExchangeError::UpstreamReset(code) => {
                let detail = format!("the upstream reset the stream ({:?})", h2::Reason::from(code));
                (Ending::UpstreamReset(code), detail)
            }
            ExchangeError::ClientMalformed(malformed) => (Ending::Malformed(malformed), malformed.to_string()),
            ExchangeError::NothingWritten(error) => (Ending::UpstreamGone, error.to_string()),
            ExchangeError::NotProcessed(proof) => {
                (Ending::Unprocessed, format!("the upstream did not take the request up: {proof}"))
            }
            ExchangeError::UpstreamGone(None) => {
                (Ending::UpstreamGone, "the upstream closed the connection before its answer was whole".to_owned())
            }
            ExchangeError::UpstreamGone(Some(error)) => {
                (Ending::UpstreamGone, format!("the upstream's connection failed: {error}"))
            }
            ExchangeError::UpstreamMalformed(malformed) => {
                (Ending::UpstreamMalformed(malformed), format!("the upstream's answer is malformed: {malformed}"))
            }
            ExchangeError::Idle(Party::Client) => {
                (Ending::BodyIdle(Blame::Downstream), "the client moved no byte of a body for too long".to_owned())
            }
            ExchangeError::Idle(Party::Upstream) => {
                (Ending::BodyIdle(Blame::Upstream), "the upstream moved no byte of a body for too long".to_owned())
            }
        };
        Self { ending, detail, answer: None }
    }
}

/// The reason phrases of the statuses that we answer with ourselves (RFC 9110 §15).
pub(super) const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        // What a route answers may have any status; a phrase says nothing (RFC 9112 §4).
        _ => "",
    }
}
