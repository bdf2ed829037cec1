//! A body on its way from one end to the other.
use std::task::{Context, Poll, ready};

use ::http::HeaderMap;
use bytes::Bytes;

use super::{
    side::{Broken, Piece, Side},
    trailers,
};

/// Why a body did not arrive.
#[derive(Debug)]
pub(super) enum PumpError {
    /// By its sender.
    Read(Broken),
    /// By its receiver.
    Write(Broken),
}

/// A body: it holds what the receiver has no room for, at most one frame, and gives the sender back only what the receiver
/// has taken.
#[derive(Debug, Default)]
pub(super) struct Pump {
    held: Option<(Bytes, bool)>,
    state: State,
    /// Bytes passed on.
    pub(super) bytes: u64,
    /// The `grpc-status` of the trailers.
    pub(super) grpc_status: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Moving,
    /// Everything was read and written; the receiver's stream has not taken all of it yet.
    Ending,
    Done,
}

impl Pump {
    /// A body that there is not.
    pub(super) fn none() -> Self {
        Self { state: State::Done, ..Self::default() }
    }

    /// A body that there is not, behind a head that is to be written still.
    pub(super) fn ended() -> Self {
        Self { state: State::Ending, ..Self::default() }
    }

    /// Whether its last byte was read.
    pub(super) fn is_read(&self) -> bool {
        self.state != State::Moving
    }

    /// Whether it waits for its receiver.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some() || self.state == State::Ending
    }

    /// Moves what can be moved; ready when the receiver has all of it.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Side,
        to: &mut impl Side,
    ) -> Poll<Result<(), PumpError>> {
        loop {
            if let Some((data, last)) = &mut self.held {
                let room = ready!(to.poll_room(cx, data.len())).map_err(PumpError::Write)?;
                let part = data.split_to(room.min(data.len()));
                let (count, last) = (part.len(), *last && data.is_empty());
                to.write(cx, part, last).map_err(PumpError::Write)?;
                self.bytes += count as u64;
                from.release(count);
                if self.held.as_ref().is_some_and(|(rest, _)| rest.is_empty()) {
                    self.held = None;
                }
                if last {
                    self.state = State::Ending;
                }
                continue;
            }
            match self.state {
                State::Moving => match from.poll_read(cx).map_err(PumpError::Read)? {
                    Poll::Ready(piece) => self.take(cx, piece, to)?,
                    Poll::Pending => {
                        ready!(to.poll_flush(cx)).map_err(PumpError::Write)?;
                        return Poll::Pending;
                    }
                },
                State::Ending => {
                    ready!(to.poll_flush(cx)).map_err(PumpError::Write)?;
                    self.state = State::Done;
                }
                State::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    fn take(&mut self, cx: &mut Context<'_>, piece: Piece, to: &mut impl Side) -> Result<(), PumpError> {
        let trailers = match piece {
            Piece::Data(data, false) if data.is_empty() => return Ok(()),
            Piece::Data(data, last) if !data.is_empty() => {
                self.held = Some((data, last));
                return Ok(());
            }
            Piece::Data(..) | Piece::End => None,
            Piece::Trailers(trailers) => Some(trailers::judge(trailers)),
        };
        self.grpc_status = trailers.as_ref().and_then(grpc_status);
        to.end(cx, trailers).map_err(PumpError::Write)?;
        self.state = State::Ending;
        Ok(())
    }
}

/// What a gRPC server has made of a call.
pub(super) fn grpc_status(fields: &HeaderMap) -> Option<u16> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}
