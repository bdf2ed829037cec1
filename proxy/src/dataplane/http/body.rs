//! Following a body through its bytes: where it ends, and which of its bytes are passed on.
use std::ops::Range;

use smallvec::SmallVec;

use super::{Fields, Framing, Malformed, chunk::Chunks};

/// The parts of an input that are passed on, in order, and then bytes of our own (edited trailers).
#[derive(Debug, Default)]
pub struct Pieces {
    /// Ranges of the input.
    pub ranges: SmallVec<[Range<usize>; 4]>,
    /// What follows them.
    pub tail: Vec<u8>,
}

impl Pieces {
    /// Appends a range, joining it to the last where they touch.
    pub(super) fn push(&mut self, range: Range<usize>) {
        match self.ranges.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            Some(_) | None => self.ranges.push(range),
        }
    }

    /// Whether nothing is passed on.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.tail.is_empty()
    }
}

/// Follows one body. Feed it the bytes as they come, however they are cut.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    trailers: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Done,
    Length(u64),
    Chunked(Box<Chunks>),
    UntilClose,
}

impl Decoder {
    /// A decoder for a body of that framing.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Box::new(Chunks::new(false))),
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, trailers: Vec::new() }
    }

    /// A decoder that passes on only the data of a chunked body, for a reader that does not know the coding (HTTP/1.0).
    pub fn unchunked(framing: Framing) -> Self {
        match framing {
            Framing::Chunked => Self { state: State::Chunked(Box::new(Chunks::new(true))), trailers: Vec::new() },
            Framing::Empty | Framing::Length(_) | Framing::UntilClose => Self::new(framing),
        }
    }

    /// Passes no trailer on that a Connection field of the message names (RFC 9110 §7.6.1).
    pub(crate) fn without_nominated(mut self, fields: &Fields, head: &[u8]) -> Self {
        if let State::Chunked(chunks) = &mut self.state {
            chunks.leave_out(fields.nominated(head).map(Box::from).collect());
        }
        self
    }

    /// Takes bytes of `input` from its start: how many are the body's, and into `pieces` those that are passed on. What
    /// is not taken lies behind the body's end.
    ///
    /// # Errors
    /// A broken chunked coding.
    pub fn decode(&mut self, input: &[u8], pieces: &mut Pieces) -> Result<usize, Malformed> {
        match &mut self.state {
            State::Done => Ok(0),
            State::UntilClose => {
                pieces.push(0..input.len());
                Ok(input.len())
            }
            State::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                pieces.push(0..taken);
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::Done;
                }
                Ok(taken)
            }
            State::Chunked(chunks) => {
                let taken = chunks.decode(input, pieces)?;
                if chunks.is_done() {
                    self.trailers = chunks.take_trailers();
                    self.state = State::Done;
                }
                Ok(taken)
            }
        }
    }

    /// The trailers behind a body that only its data is passed on of ([`unchunked`](Self::unchunked)): lines that end in
    /// CRLF, and an empty one; empty where there are none, or the last one has not come.
    pub(super) fn take_trailers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.trailers)
    }

    /// Whether the body's last byte has been taken. Never, for a body that the stream's end ends.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// The body is not complete.
    pub fn end(&mut self) -> Result<(), Malformed> {
        match self.state {
            State::Done | State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            State::Length(_) | State::Chunked(_) => Err(Malformed::Truncated),
        }
    }
}
