//! The upstream's end of an HTTP/2 stream.
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use h2::{Reason, SendStream, client::ResponseFuture};

use super::{
    client::{Receiving, end, poll_room},
    link::Lease,
    side::{self, Answer, Broken, Piece, Side},
    tunnel::Stream,
};

/// A request that was sent by HTTP/2, and its answer.
pub(super) struct Upstream {
    send: SendStream<Bytes>,
    /// The answer that is waited for.
    answer: Option<ResponseFuture>,
    body: Option<Receiving>,
    lease: Lease,
}

impl Upstream {
    /// Sends a request's head over a leased connection; `ended`: it has no body.
    ///
    /// # Errors
    /// The connection takes no more streams: nothing was written.
    pub(super) fn begin(lease: Lease, request: Request<()>, ended: bool) -> Result<Self, Broken> {
        let (answer, send) = lease.send(request, ended)?;
        Ok(Self { send, answer: Some(answer), body: None, lease })
    }

    /// The stream, once its answer has opened a tunnel.
    pub(super) fn into_stream(self) -> Option<Stream> {
        Some(Stream::new(self.send, self.body?, Some(self.lease)))
    }

    fn broken(&self, error: h2::Error) -> Broken {
        let broken = Broken::from(error);
        if let Broken::Unprocessed(Reason::REFUSED_STREAM) = broken {
            self.lease.refused();
        }
        broken
    }
}

impl Side for Upstream {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        let Some(body) = &mut self.body else { return Poll::Ready(Ok(Piece::End)) };
        match ready!(body.poll(cx)) {
            // RFC 9113 §8.1: it has answered in full and takes no more of the request.
            Err(Broken::Reset(Reason::NO_ERROR)) => Poll::Ready(Ok(Piece::End)),
            read => Poll::Ready(read),
        }
    }

    fn release(&mut self, count: usize) {
        if let Some(body) = &mut self.body {
            body.release(count);
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, Broken>> {
        poll_room(&mut self.send, cx, wanted)
    }

    fn write(&mut self, _: &mut Context<'_>, data: Bytes, last: bool) -> Result<(), Broken> {
        Ok(self.send.send_data(data, last)?)
    }

    fn end(&mut self, _: &mut Context<'_>, trailers: Option<HeaderMap>) -> Result<(), Broken> {
        end(&mut self.send, trailers)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }
}

impl side::Upstream for Upstream {
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Broken>> {
        let Some(answer) = &mut self.answer else { return Poll::Ready(Err(Broken::Gone(None))) };
        match answer.poll_informational(cx) {
            Poll::Ready(Some(Ok(interim))) => return Poll::Ready(Ok(Answer::Interim(interim))),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.broken(error))),
            Poll::Ready(None) | Poll::Pending => {}
        }
        match ready!(Pin::new(answer).poll(cx)) {
            Ok(answer) => {
                self.answer = None;
                let (head, body) = answer.into_parts();
                let ended = body.is_end_stream();
                self.body = Some(Receiving(body));
                Poll::Ready(Ok(Answer::Final(Response::from_parts(head, ()), ended)))
            }
            Err(error) => Poll::Ready(Err(self.broken(error))),
        }
    }

    fn cancel(&mut self, reason: Reason) {
        self.send.send_reset(reason);
    }
}
