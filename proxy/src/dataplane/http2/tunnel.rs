//! A stream that has left HTTP's messages behind: the data of its frames is a tunnel's (RFC 8441 §5).
use std::{
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use h2::{Reason, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    client::{Receiving, end, poll_room},
    link::Lease,
    side::{Broken, Piece},
};
use crate::dataplane::relay::Leg;

/// Such a stream, as anything else that bytes are relayed between.
pub(in crate::dataplane) struct Stream {
    send: SendStream<Bytes>,
    recv: Receiving,
    /// What its reader had no room for yet.
    rest: Bytes,
    ended: bool,
    /// Its place on an upstream's connection.
    _lease: Option<Lease>,
}

impl Stream {
    pub(super) fn new(send: SendStream<Bytes>, recv: Receiving, lease: Option<Lease>) -> Self {
        Self { send, recv, rest: Bytes::new(), ended: false, _lease: lease }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() && !self.ended {
            match ready!(self.recv.poll(cx)).map_err(failed)? {
                Piece::Data(data, last) => (self.rest, self.ended) = (data, last),
                // RFC 9113 §8.5: a tunnel has no trailers; what came as such is its end.
                Piece::Trailers(_) | Piece::End => self.ended = true,
            }
        }
        let count = self.rest.len().min(into.remaining());
        into.put_slice(self.rest.get(..count).unwrap_or_default());
        self.rest.advance(count);
        // The relay reads on when the other side has taken what it was given.
        self.recv.release(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(poll_room(&mut self.send, cx, bytes.len())).map_err(failed)?;
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.send.send_data(Bytes::copy_from_slice(taken), false).map_err(|error| failed(error.into()))?;
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(end(&mut self.send, None).map_err(failed))
    }
}

impl Leg for Stream {
    /// RFC 8441 §5: what a connection says by RST, a stream says by CANCEL.
    fn break_off(&mut self) {
        self.send.send_reset(Reason::CANCEL);
    }
}

fn failed(broken: Broken) -> io::Error {
    match broken {
        Broken::Reset(reason) | Broken::Unprocessed(reason) => {
            io::Error::new(ErrorKind::ConnectionReset, format!("the stream was reset ({reason:?})"))
        }
        Broken::Gone(Some(error)) => error,
        Broken::Gone(None) => ErrorKind::UnexpectedEof.into(),
        Broken::Malformed(malformed) => io::Error::new(ErrorKind::InvalidData, malformed),
    }
}
