//! The client's end of an HTTP/2 stream.
use std::task::{Context, Poll, ready};

use ::http::{HeaderMap, Response, header::CONTENT_TYPE};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};

use super::{
    copied::Copied,
    grpc::is_grpc,
    kept::Kept,
    side::{self, Broken, Piece, Side},
    trailers,
    tunnel::Stream,
};
use crate::dataplane::attempts::Sendable;

/// A body that comes by HTTP/2, and the answer that goes back.
pub(super) struct Client {
    recv: Receiving,
    respond: SendResponse<Bytes>,
    send: Option<SendStream<Bytes>>,
    /// Bytes that were read and are to be released still.
    owed: usize,
    kept: Kept,
    /// Where its body is copied to.
    copied: Copied,
    /// Whether the answer that was begun is gRPC's.
    answers_grpc: bool,
}

impl Client {
    pub(super) fn new(recv: RecvStream, respond: SendResponse<Bytes>) -> Self {
        let (kept, copied) = (Kept::default(), Copied::none());
        Self { recv: Receiving(recv), respond, send: None, owed: 0, kept, copied, answers_grpc: false }
    }

    /// Has its body copied from its first byte on.
    pub(super) fn copy_to(&mut self, copied: Copied) {
        self.copied = copied;
    }

    /// Whether all that was read so far can be read again.
    pub(super) fn can_rewind(&self) -> bool {
        self.kept.can_rewind()
    }

    /// What of the request can be sent once more.
    pub(super) fn kept(&self) -> Sendable {
        match (self.can_rewind(), self.recv.0.is_end_stream()) {
            (false, _) => Sendable::Part,
            (true, false) => Sendable::SoFar,
            (true, true) => Sendable::Whole,
        }
    }

    /// Lets the body be read from its first byte again.
    pub(super) fn rewind(&mut self) {
        self.kept.rewind();
    }

    /// The stream, once its answer has opened a tunnel.
    pub(super) fn into_stream(self) -> Option<Stream> {
        Some(Stream::new(self.send?, self.recv, None))
    }

    /// Ends the stream with a code: whatever was sent of an answer is not whole.
    pub(super) fn reset(&mut self, reason: Reason) {
        match &mut self.send {
            Some(send) => send.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Ends a gRPC answer that was begun by trailers of our own; whether that was possible.
    pub(super) fn end_grpc(&mut self, trailers: HeaderMap) -> bool {
        let send = self.send.as_mut().filter(|_| self.answers_grpc);
        send.is_some_and(|send| send.send_trailers(trailers).is_ok())
    }

    /// Sends an answer of our own.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) fn tell(&mut self, head: Response<()>, body: Bytes) -> Result<(), h2::Error> {
        let mut send = self.respond.send_response(head, body.is_empty())?;
        if !body.is_empty() {
            // Short: where the client's window is smaller, h2 holds it until it is not.
            send.send_data(body, true)?;
        }
        self.send = Some(send);
        Ok(())
    }
}

impl Side for Client {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        if let Some(piece) = self.kept.next() {
            return Poll::Ready(Ok(piece));
        }
        let piece = ready!(self.recv.poll(cx))?;
        if let Piece::Data(data, _) = &piece {
            self.owed += data.len();
        }
        self.kept.keep(&piece);
        self.copied.take(&piece);
        Poll::Ready(Ok(piece))
    }

    fn release(&mut self, count: usize) {
        let count = count.min(self.owed);
        self.owed -= count;
        self.recv.release(count);
    }

    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, Broken>> {
        match &mut self.send {
            Some(send) => poll_room(send, cx, wanted),
            None => Poll::Ready(Err(Broken::Gone(None))),
        }
    }

    fn write(&mut self, _: &mut Context<'_>, data: Bytes, last: bool) -> Result<(), Broken> {
        let send = self.send.as_mut().ok_or(Broken::Gone(None))?;
        Ok(send.send_data(data, last)?)
    }

    fn end(&mut self, _: &mut Context<'_>, trailers: Option<HeaderMap>) -> Result<(), Broken> {
        end(self.send.as_mut().ok_or(Broken::Gone(None))?, trailers)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }
}

impl side::Client for Client {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let reset = match &mut self.send {
            Some(send) => send.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        reset.map(|reset| match reset {
            Ok(reason) => Broken::Reset(reason),
            Err(error) => error.into(),
        })
    }

    fn interim(&mut self, _: &mut Context<'_>, answer: Response<()>) -> Result<(), Broken> {
        Ok(self.respond.send_informational(answer)?)
    }

    fn answer(&mut self, _: &mut Context<'_>, answer: Response<()>, ended: bool) -> Result<(), Broken> {
        self.kept.forget();
        let content_type = answer.headers().get(CONTENT_TYPE);
        self.answers_grpc = content_type.is_some_and(|value| is_grpc(value.as_bytes()));
        self.send = Some(self.respond.send_response(answer, ended)?);
        Ok(())
    }
}

/// A body that comes by HTTP/2.
pub(super) struct Receiving(pub(super) RecvStream);

impl Receiving {
    /// Its next part.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        if let Some(data) = ready!(self.0.poll_data(cx)) {
            let data = data?;
            return Poll::Ready(Ok(Piece::Data(data, self.0.is_end_stream())));
        }
        let trailers = ready!(self.0.poll_trailers(cx))?.map(trailers::bounded).transpose();
        Poll::Ready(trailers.map(|it| it.map_or(Piece::End, Piece::Trailers)).map_err(Broken::Malformed))
    }

    /// Gives the sender so much of its windows back.
    pub(super) fn release(&mut self, count: usize) {
        // It fails where the stream is over: nobody waits for room any more.
        let _ = self.0.flow_control().release_capacity(count);
    }
}

/// How much of `wanted` bytes may be sent now.
pub(super) fn poll_room(
    send: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
    wanted: usize,
) -> Poll<Result<usize, Broken>> {
    send.reserve_capacity(wanted);
    loop {
        match send.capacity() {
            0 => {}
            room => return Poll::Ready(Ok(room)),
        }
        match ready!(send.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(error.into())),
            None => return Poll::Ready(Err(Broken::Gone(None))),
        }
    }
}

/// Ends what is sent.
pub(super) fn end(send: &mut SendStream<Bytes>, trailers: Option<HeaderMap>) -> Result<(), Broken> {
    match trailers {
        Some(trailers) => send.send_trailers(trailers)?,
        None => send.send_data(Bytes::new(), true)?,
    }
    Ok(())
}
