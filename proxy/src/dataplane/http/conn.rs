//! One HTTP/1.1 connection, of either side: what was read and not used yet, what is to be written and was not taken yet.
use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use smallvec::SmallVec;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use weft_net::with_scratch;

use super::{HeadScan, Malformed};
use crate::dataplane::tls::Io;

/// How much is read ahead of what is being answered: further requests of a client that does not wait (pipelining).
const MAX_AHEAD: usize = 64 * 1024;

/// Why no head was read.
#[derive(Debug)]
pub(crate) enum HeadError {
    /// The stream failed.
    Io(io::Error),
    /// The bytes are no head.
    Malformed(Malformed),
}

/// A connection. It holds no buffer while nothing is under way on it.
pub(crate) struct Conn {
    io: Io,
    input: Vec<u8>,
    scan: HeadScan,
    output: Vec<u8>,
    taken: usize,
    /// Whether the stream may hold bytes that it took and has not sent (TLS).
    unflushed: bool,
    /// Whether any byte was taken by the stream.
    wrote: bool,
}

impl Conn {
    /// A connection over a stream of which nothing was read or written.
    pub(crate) fn new(io: Io) -> Self {
        Self {
            io,
            input: Vec::new(),
            scan: HeadScan::default(),
            output: Vec::new(),
            taken: 0,
            unflushed: false,
            wrote: false,
        }
    }

    /// What was read and not used yet, and the stream below. Nothing may have been written.
    pub(crate) fn into_parts(self) -> (Vec<u8>, Io) {
        (self.input, self.io)
    }

    /// The socket below.
    pub(crate) fn tcp(&self) -> &TcpStream {
        self.io.tcp()
    }

    /// The stream, for what is not HTTP any more.
    pub(crate) fn io_mut(&mut self) -> &mut Io {
        &mut self.io
    }

    /// Whether the end of its stream is authenticated.
    pub(crate) fn is_secure(&self) -> bool {
        self.io.is_secure()
    }

    /// What was read and not used yet.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input
    }

    /// Everything that was read and not used yet; a head's scan begins anew.
    pub(crate) fn take_input(&mut self) -> Vec<u8> {
        self.scan = HeadScan::default();
        std::mem::take(&mut self.input)
    }

    /// Gives back the end of what was taken.
    pub(crate) fn unread(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.input.splice(0..0, bytes.iter().copied());
        }
    }

    /// The first `count` bytes of the input were used.
    pub(crate) fn consume(&mut self, count: usize) {
        if count >= self.input.len() {
            self.input = Vec::new();
        } else {
            self.input.drain(..count);
        }
        self.scan = HeadScan::default();
    }

    /// Whether nothing is read ahead and nothing waits to be written.
    pub(crate) fn is_clean(&self) -> bool {
        self.input.is_empty() && self.output.is_empty()
    }

    /// How many bytes wait to be taken by the stream.
    pub(crate) fn backlog(&self) -> usize {
        self.output.len().saturating_sub(self.taken)
    }

    /// Whether any byte was taken by the stream since the last call.
    pub(crate) fn take_wrote(&mut self) -> bool {
        std::mem::take(&mut self.wrote)
    }

    /// Reads once; how many bytes came, 0 at the end of the stream.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { io, input, .. } = self;
        with_scratch(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(io).poll_read(cx, &mut read))?;
            input.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    /// Reads once and hands the bytes to `take` without keeping them; it says how many it used, the others are kept.
    /// Must not be called while the input holds something.
    pub(crate) fn poll_through<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut Context<'_>, &[u8]) -> (usize, T),
    ) -> Poll<io::Result<T>> {
        let Self { io, input, .. } = self;
        with_scratch(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(io).poll_read(cx, &mut read))?;
            let (used, value) = take(cx, read.filled());
            input.extend_from_slice(read.filled().get(used..).unwrap_or_default());
            Poll::Ready(Ok(value))
        })
    }

    /// The length of the next head; `None` if the stream ended in order before its first byte.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<usize>, HeadError>> {
        loop {
            if let Some(length) = self.scan.find(&self.input).map_err(HeadError::Malformed)? {
                return Poll::Ready(Ok(Some(length)));
            }
            if ready!(self.poll_fill(cx)).map_err(HeadError::Io)? == 0 {
                let ended =
                    if self.input.is_empty() { Ok(None) } else { Err(HeadError::Malformed(Malformed::Truncated)) };
                return Poll::Ready(ended);
            }
        }
    }

    /// Resolves when the peer has ended its stream or the stream has failed; reads ahead a bounded part of what comes
    /// instead, and stops looking beyond it. Costs no system call while nothing arrives. A client that only ends its
    /// sending side counts as gone too, as with nginx, Envoy and hyper: it cannot be told from one that left.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.input.len() < MAX_AHEAD {
            if self.io.tcp().poll_read_ready(cx).is_pending() {
                return Poll::Pending;
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// Whether anything was sent behind what was used, as far as it has arrived.
    pub(crate) async fn has_more(&mut self) -> bool {
        poll_fn(|cx| {
            // Whether it has gone is found by whoever writes to it.
            let _ = self.poll_gone(cx);
            Poll::Ready(!self.input.is_empty())
        })
        .await
    }

    /// Writes the slices with one call as far as the stream takes them; what it does not take waits for
    /// [`poll_drain`](Self::poll_drain).
    pub(crate) fn queue(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let mut taken = 0;
        if self.output.is_empty() {
            match Pin::new(&mut self.io).poll_write_vectored(cx, slices) {
                Poll::Ready(Ok(count)) => {
                    taken = count;
                    self.unflushed = true;
                    self.wrote |= count > 0;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {}
            }
        }
        for slice in slices {
            let skipped = taken.min(slice.len());
            taken -= skipped;
            self.output.extend_from_slice(slice.get(skipped..).unwrap_or_default());
        }
        Ok(())
    }

    /// Hands everything that waits to the stream, and has it sent.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.output.get(self.taken..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => {
                    self.taken += count;
                    self.unflushed = true;
                    self.wrote = true;
                }
            }
        }
        if self.output.capacity() > 0 {
            self.output = Vec::new();
            self.taken = 0;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends our side of the stream (close_notify and FIN).
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Reads and forgets; resolves at the end of the stream.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match ready!(self.poll_through(cx, |_, bytes| (bytes.len(), bytes.len()))) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }
}

/// The slices of `parts` of `bytes`, in order.
pub(super) fn slices<'a>(bytes: &'a [u8], parts: &[std::ops::Range<usize>], into: &mut SmallVec<[IoSlice<'a>; 16]>) {
    into.extend(parts.iter().filter_map(|part| bytes.get(part.clone())).map(IoSlice::new));
}
