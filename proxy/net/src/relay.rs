//! Copying bytes both ways between two streams, each end of stream passed on by itself (half-close).
use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::with_scratch;

/// One of the two streams of a [`Relay`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first stream: who connected to us.
    Downstream,
    /// The second: whom we connected to.
    Upstream,
}

/// How a relay ended.
#[derive(Debug)]
pub enum RelayEnd {
    /// Both sides ended their streams in order.
    Closed,
    /// A stream failed; the other must be reset, so that its peer does not take what it got for the whole.
    Failed {
        /// Whose stream it was.
        side: Side,
        /// What it said.
        error: io::Error,
    },
}

/// How many bytes went each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// From the downstream to the upstream.
    pub sent: u64,
    /// From the upstream to the downstream.
    pub received: u64,
}

/// A copy in both directions. Reads go through the thread's scratch buffer and are written from it at once; a direction
/// holds memory of its own only while its receiver is slower than its sender.
#[derive(Debug, Default)]
pub struct Relay {
    up: Direction,
    down: Direction,
}

impl Relay {
    /// A relay that first sends `up` to the upstream and `down` to the downstream: what was read before it began.
    pub fn new(up: Vec<u8>, down: Vec<u8>) -> Self {
        Self { up: Direction::new(up), down: Direction::new(down) }
    }

    /// What has been passed on so far; right also while the relay runs or after it was dropped half-way.
    pub fn relayed(&self) -> Relayed {
        Relayed { sent: self.up.bytes, received: self.down.bytes }
    }

    /// Copies until both directions have ended or one has failed.
    pub async fn run<D, U>(&mut self, downstream: &mut D, upstream: &mut U) -> RelayEnd
    where
        D: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        poll_fn(|cx| self.poll(cx, downstream, upstream)).await
    }

    /// One turn of [`run`](Self::run).
    pub fn poll<D, U>(&mut self, cx: &mut Context<'_>, downstream: &mut D, upstream: &mut U) -> Poll<RelayEnd>
    where
        D: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        let up = self.up.poll(cx, downstream, upstream);
        if let Poll::Ready(Err(Failure { reading, error })) = up {
            let side = if reading { Side::Downstream } else { Side::Upstream };
            return Poll::Ready(RelayEnd::Failed { side, error });
        }
        let down = self.down.poll(cx, upstream, downstream);
        match down {
            Poll::Ready(Err(Failure { reading, error })) => {
                let side = if reading { Side::Upstream } else { Side::Downstream };
                Poll::Ready(RelayEnd::Failed { side, error })
            }
            Poll::Ready(Ok(())) if up.is_ready() => Poll::Ready(RelayEnd::Closed),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}

struct Failure {
    /// Whether the sender's stream failed, not the receiver's.
    reading: bool,
    error: io::Error,
}

impl Failure {
    fn read(error: io::Error) -> Self {
        Self { reading: true, error }
    }

    fn write(error: io::Error) -> Self {
        Self { reading: false, error }
    }
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Copying,
    /// The sender has ended; the receiver is to be told.
    Closing,
    Closed,
}

#[derive(Debug, Default)]
struct Direction {
    state: State,
    /// What was read and not yet taken by the receiver, from `taken` on. No allocation while empty.
    pending: Vec<u8>,
    taken: usize,
    /// Whether the receiver may hold bytes that it was given and has not sent (TLS).
    unflushed: bool,
    bytes: u64,
}

impl Direction {
    fn new(pending: Vec<u8>) -> Self {
        Self { pending, ..Self::default() }
    }

    fn poll<F, T>(&mut self, cx: &mut Context<'_>, from: &mut F, to: &mut T) -> Poll<Result<(), Failure>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        loop {
            match self.state {
                State::Copying => {
                    ready!(self.drain(cx, to)).map_err(Failure::write)?;
                    match self.copy(cx, from, to)? {
                        Poll::Ready(()) => {}
                        Poll::Pending => {
                            if self.unflushed {
                                ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(Failure::write)?;
                                self.unflushed = false;
                            }
                            return Poll::Pending;
                        }
                    }
                }
                State::Closing => {
                    ready!(self.drain(cx, to)).map_err(Failure::write)?;
                    match ready!(Pin::new(&mut *to).poll_shutdown(cx)) {
                        // The receiver has gone already: there is nobody left to tell.
                        Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                            return Poll::Ready(Err(Failure::write(error)));
                        }
                        Ok(()) | Err(_) => self.state = State::Closed,
                    }
                }
                State::Closed => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Hands the pending bytes to the receiver and frees their memory.
    fn drain<T: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut T) -> Poll<io::Result<()>> {
        while let Some(rest) = self.pending.get(self.taken..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *to).poll_write(cx, rest)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(taken) => {
                    self.taken += taken;
                    self.bytes += taken as u64;
                    self.unflushed = true;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if self.pending.capacity() > 0 {
            self.pending = Vec::new();
            self.taken = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// One read, written at once as far as the receiver takes it.
    fn copy<F, T>(&mut self, cx: &mut Context<'_>, from: &mut F, to: &mut T) -> Result<Poll<()>, Failure>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        with_scratch(|scratch| {
            let mut read = ReadBuf::new(scratch);
            match Pin::new(from).poll_read(cx, &mut read) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(done) => done.map_err(Failure::read)?,
            }
            let mut rest = read.filled();
            if rest.is_empty() {
                self.state = State::Closing;
            }
            while !rest.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, rest).map_err(Failure::write)? {
                    Poll::Ready(0) => return Err(Failure::write(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(taken) => {
                        rest = rest.get(taken..).unwrap_or_default();
                        self.bytes += taken as u64;
                        self.unflushed = true;
                    }
                    Poll::Pending => {
                        self.pending.extend_from_slice(rest);
                        break;
                    }
                }
            }
            Ok(Poll::Ready(()))
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn each_end_of_stream_is_passed_on_while_the_other_direction_goes_on() {
        let (mut client, mut downstream) = duplex(64);
        let (mut upstream, mut server) = duplex(64);
        let relay = tokio::spawn(async move {
            let mut relay = Relay::default();
            let end = relay.run(&mut downstream, &mut upstream).await;
            (end, relay.relayed())
        });
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"question");
        server.write_all(b"a longer answer").await.unwrap();
        server.shutdown().await.unwrap();
        got.clear();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"a longer answer");
        let (end, relayed) = relay.await.unwrap();
        assert!(matches!(end, RelayEnd::Closed));
        assert_eq!(relayed, Relayed { sent: 8, received: 15 });
    }

    #[tokio::test]
    async fn a_slow_receiver_gets_every_byte_in_order_and_what_was_read_before_comes_first() {
        let (mut client, mut downstream) = duplex(1 << 20);
        let (mut upstream, mut server) = duplex(7);
        let body: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let (first, rest) = body.split_at(1000);
        let mut relay = Relay::new(first.to_vec(), Vec::new());
        let rest = rest.to_vec();
        let writer = tokio::spawn(async move {
            client.write_all(&rest).await.unwrap();
            client.shutdown().await.unwrap();
            client
        });
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.unwrap();
            got
        });
        let end = relay.run(&mut downstream, &mut upstream).await;
        assert!(matches!(end, RelayEnd::Closed));
        assert_eq!(reader.await.unwrap(), body);
        assert_eq!(relay.relayed().sent, body.len() as u64);
        assert_eq!(relay.up.pending.capacity(), 0, "memory is held after the last byte");
        drop(writer.await.unwrap());
    }

    #[tokio::test]
    async fn a_receiver_that_has_gone_is_the_failure_of_its_side() {
        let (mut client, mut downstream) = duplex(64);
        let (mut upstream, server) = duplex(64);
        drop(server);
        client.write_all(b"x").await.unwrap();
        let end = Relay::default().run(&mut downstream, &mut upstream).await;
        assert!(matches!(end, RelayEnd::Failed { side: Side::Upstream, .. }), "{end:?}");
    }
}
