//! A body on its way from one connection to another.
use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    Decoder, Malformed, Pieces, Replay,
    conn::{Conn, slices},
};

/// Why a body did not arrive.
#[derive(Debug)]
pub(crate) enum FlowError {
    /// Its sender's stream failed.
    Read(io::Error),
    /// Its sender broke the framing, or ended its stream inside the body.
    Malformed(Malformed),
    /// Its receiver's stream failed.
    Write,
}

/// A part of a body, without framing.
#[derive(Debug)]
pub(crate) enum Content {
    /// Some of its data; never empty.
    Data(Bytes),
    /// Its end, with the trailer section: lines that end in CRLF, and an empty one; empty where there is none.
    End(Vec<u8>),
}

/// A body and where it is.
#[derive(Debug)]
pub(crate) struct Flow {
    decoder: Decoder,
    /// Bytes passed on, framing included.
    pub(crate) bytes: u64,
}

impl Flow {
    /// A body of which nothing was read.
    pub(crate) fn new(decoder: Decoder) -> Self {
        Self { decoder, bytes: 0 }
    }

    /// Whether the last byte was read.
    pub(crate) fn is_read(&self) -> bool {
        self.decoder.is_done()
    }

    /// Takes what is already here, for the one write that also carries the head; how many bytes of `input` it is.
    pub(crate) fn first(&mut self, input: &[u8], pieces: &mut Pieces) -> Result<usize, Malformed> {
        let used = self.decoder.decode(input, pieces)?;
        self.bytes += size(pieces);
        Ok(used)
    }

    /// Passes the body on; ready when its last byte was sent. What is sent is kept in `replay`.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Conn,
        to: &mut Conn,
        mut replay: Option<&mut Replay<'_>>,
    ) -> Poll<Result<(), FlowError>> {
        loop {
            ready!(to.poll_drain(cx)).map_err(|_| FlowError::Write)?;
            if self.decoder.is_done() {
                return Poll::Ready(Ok(()));
            }
            if !from.input().is_empty() {
                let used = self.pass(cx, from.input(), to, replay.as_deref_mut())?;
                from.consume(used);
                continue;
            }
            let passed = from.poll_through(cx, |cx, bytes| match bytes {
                [] => (0, self.decoder.end().map_err(FlowError::Malformed)),
                bytes => match self.pass(cx, bytes, to, replay.as_deref_mut()) {
                    Ok(used) => (used, Ok(())),
                    Err(error) => (0, Err(error)),
                },
            });
            ready!(passed).map_err(FlowError::Read)??;
        }
    }

    /// From here on the body is read without its framing, by [`poll_content`](Self::poll_content): by `decoder`, which must
    /// be one that passes only data on. The part that came with the head is given back.
    pub(crate) fn unframe(&mut self, mut decoder: Decoder, input: &[u8]) -> Result<Bytes, Malformed> {
        let mut pieces = Pieces::default();
        decoder.decode(input, &mut pieces)?;
        self.decoder = decoder;
        Ok(gather(input, &pieces))
    }

    /// Reads on.
    pub(crate) fn poll_content(&mut self, cx: &mut Context<'_>, from: &mut Conn) -> Poll<Result<Content, FlowError>> {
        loop {
            if self.decoder.is_done() {
                return Poll::Ready(Ok(Content::End(self.decoder.take_trailers())));
            }
            let mut pieces = Pieces::default();
            let data = if from.input().is_empty() {
                ready!(from.poll_through(cx, |_, bytes| {
                    let taken = match bytes {
                        [] => self.decoder.end().map(|()| 0),
                        bytes => self.decoder.decode(bytes, &mut pieces),
                    };
                    match taken {
                        Ok(used) => (used, Ok(gather(bytes, &pieces))),
                        Err(malformed) => (0, Err(FlowError::Malformed(malformed))),
                    }
                }))
                .map_err(FlowError::Read)??
            } else {
                let used = self.decoder.decode(from.input(), &mut pieces).map_err(FlowError::Malformed)?;
                let data = gather(from.input(), &pieces);
                from.consume(used);
                data
            };
            if !data.is_empty() {
                self.bytes += data.len() as u64;
                return Poll::Ready(Ok(Content::Data(data)));
            }
        }
    }

    /// Decodes `input` and writes what is passed on of it.
    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        input: &[u8],
        to: &mut Conn,
        replay: Option<&mut Replay<'_>>,
    ) -> Result<usize, FlowError> {
        let mut pieces = Pieces::default();
        let used = self.decoder.decode(input, &mut pieces).map_err(FlowError::Malformed)?;
        self.bytes += size(&pieces);
        if let Some(replay) = replay {
            replay.keep(input, &pieces, self.decoder.is_done());
        }
        if !pieces.is_empty() {
            let mut out = SmallVec::new();
            slices(input, &pieces.ranges, &mut out);
            out.push(io::IoSlice::new(&pieces.tail));
            to.queue(cx, &out).map_err(|_| FlowError::Write)?;
        }
        Ok(used)
    }
}

fn gather(input: &[u8], pieces: &Pieces) -> Bytes {
    match pieces.ranges.as_slice() {
        [] => Bytes::new(),
        [one] => Bytes::copy_from_slice(input.get(one.clone()).unwrap_or_default()),
        several => {
            let parts = several.iter().filter_map(|range| input.get(range.clone()));
            Bytes::from(parts.fold(Vec::new(), |mut whole, part| {
                whole.extend_from_slice(part);
                whole
            }))
        }
    }
}

fn size(pieces: &Pieces) -> u64 {
    let ranges: usize = pieces.ranges.iter().map(ExactSizeIterator::len).sum();
    (ranges + pieces.tail.len()) as u64
}
