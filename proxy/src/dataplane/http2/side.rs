//! One end of an exchange, of either version: what a body, its trailers and the heads around it are read from and written
//! to.
use std::{
    io,
    task::{Context, Poll},
};

use ::http::{HeaderMap, Response};
use bytes::Bytes;
use h2::Reason;

use crate::dataplane::http::Malformed;

/// A part of a body.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// Some of its data, and whether nothing follows it.
    Data(Bytes, bool),
    /// Its end, with the trailers.
    Trailers(HeaderMap),
    /// Its end.
    End,
}

/// Why an end is no good any more.
#[derive(Debug)]
pub(super) enum Broken {
    /// It has reset its stream, and its connection goes on.
    Reset(Reason),
    /// It has said that it has not looked at the request: REFUSED_STREAM, or a GOAWAY whose last stream lies below.
    Unprocessed(Reason),
    /// It is gone.
    Gone(Option<io::Error>),
    /// What it sent is not a message.
    Malformed(Malformed),
}

impl From<h2::Error> for Broken {
    fn from(error: h2::Error) -> Self {
        let reason = error.reason();
        match reason {
            Some(reason) if error.is_remote() && error.is_reset() && reason == Reason::REFUSED_STREAM => {
                Self::Unprocessed(reason)
            }
            // h2 gives it to streams above the last one alone; the others go on, or end with their connection.
            Some(reason) if error.is_remote() && error.is_go_away() => Self::Unprocessed(reason),
            Some(reason) => Self::Reset(reason),
            None => Self::Gone(error.into_io()),
        }
    }
}

/// One end.
pub(super) trait Side {
    /// The next part of its body.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>>;

    /// So many bytes of its body were taken by the other end: it may send as many again.
    fn release(&mut self, count: usize);

    /// How much of `wanted` bytes it takes now; never zero.
    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, Broken>>;

    /// Sends data, within the room that it has; `last`: nothing follows it.
    fn write(&mut self, cx: &mut Context<'_>, data: Bytes, last: bool) -> Result<(), Broken>;

    /// Ends the body that it is sent.
    fn end(&mut self, cx: &mut Context<'_>, trailers: Option<HeaderMap>) -> Result<(), Broken>;

    /// Hands everything that it was sent to its stream.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;
}

/// Who asks.
pub(super) trait Client: Side {
    /// Ready when it does not wait for the answer any more.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Broken>;

    /// Sends an interim answer.
    fn interim(&mut self, cx: &mut Context<'_>, answer: Response<()>) -> Result<(), Broken>;

    /// Sends the final answer's head; `ended`: there is no body.
    fn answer(&mut self, cx: &mut Context<'_>, answer: Response<()>, ended: bool) -> Result<(), Broken>;
}

/// An answer's head.
#[derive(Debug)]
pub(super) enum Answer {
    /// One of those before the final one.
    Interim(Response<()>),
    /// The final one, and whether it has no body.
    Final(Response<()>, bool),
}

/// Who answers.
pub(super) trait Upstream: Side {
    /// The next answer's head. After the final one its body is read.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Broken>>;

    /// Tells it that the answer is not waited for any more.
    fn cancel(&mut self, reason: Reason);
}
