//! One request and its answer between two ends of any version: heads, bodies both ways at once, trailers.
use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
};

use ::http::{HeaderValue, Response, header};
use h2::Reason;
use weft_decide::Proof;

use super::{
    head::edit,
    pump::{Pump, PumpError, grpc_status},
    side::{Answer, Broken, Client, Upstream},
    trailers::remove_ours,
};
use crate::dataplane::http::{ExchangeError, Forward, Idle, MAX_INTERIM, Malformed, Mark, Party, Progress};

/// An exchange under way: the request's head was sent.
pub(super) struct Exchange<'a, C, U: Upstream> {
    forward: &'a Forward<'a>,
    client: &'a mut C,
    upstream: Cancelled<'a, U>,
    progress: &'a mut Progress,
    up: Pump,
    /// Whether an end is one that holds a connection by standing still.
    bounded: bool,
    /// Whether the upstream takes no more of the request.
    deaf: bool,
    interim: u8,
    idle: Option<Box<Idle>>,
}

/// An upstream that is told when it is not waited for any more: dropping a stream says so by itself, but not why.
struct Cancelled<'a, U: Upstream> {
    upstream: &'a mut U,
    /// Why, unless it is over.
    reason: Option<Reason>,
}

impl<U: Upstream> Cancelled<'_, U> {
    /// The client is no good any more: the upstream is to hear it in its words.
    fn left_by(&mut self, broken: Broken) -> ExchangeError {
        if let Broken::Reset(reason) = &broken {
            self.reason = Some(*reason);
        }
        client_broken(broken)
    }
}

impl<U: Upstream> Drop for Cancelled<'_, U> {
    fn drop(&mut self) {
        if let Some(reason) = self.reason {
            self.upstream.cancel(reason);
        }
    }
}

impl<'a, C: Client, U: Upstream> Exchange<'a, C, U> {
    /// An exchange whose request's body is `up`; `bounded`: a body that stands still is given up after a while even where
    /// nobody is waited for.
    pub(super) fn new(
        forward: &'a Forward<'a>,
        (client, upstream): (&'a mut C, &'a mut U),
        progress: &'a mut Progress,
        (up, bounded): (Pump, bool),
    ) -> Self {
        let upstream = Cancelled { upstream, reason: Some(Reason::CANCEL) };
        Self { forward, client, upstream, progress, up, bounded, deaf: false, interim: 0, idle: None }
    }

    /// The final answer's head and whether there is no body, after the interim ones were passed on. The client is sent
    /// nothing of it before [`finish`](Self::finish).
    pub(super) async fn final_head(&mut self) -> Result<(Response<()>, bool), ExchangeError> {
        poll_fn(|cx| self.poll_head(cx)).await
    }

    /// All of it; the outer error says that the client was sent nothing of an answer.
    pub(super) async fn whole(mut self) -> Result<Result<bool, ExchangeError>, ExchangeError> {
        let answer = self.final_head().await?;
        Ok(self.finish(answer).await)
    }

    /// Who asked.
    pub(super) fn client(&self) -> &C {
        self.client
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Response<()>, bool), ExchangeError>> {
        let uplink = self.poll_uplink(cx)?;
        while let Poll::Ready(answer) = self.upstream.upstream.poll_answer(cx) {
            let mut head = match answer.map_err(upstream_broken)? {
                Answer::Final(mut head, ended) => {
                    if !self.forward.trusts_answers {
                        remove_ours(head.headers_mut());
                    }
                    self.progress.grpc_status = grpc_status(head.headers());
                    return Poll::Ready(Ok((head, ended)));
                }
                Answer::Interim(head) => head,
            };
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Poll::Ready(Err(ExchangeError::UpstreamMalformed(Malformed::TooManyInterim)));
            }
            if !self.forward.trusts_answers {
                remove_ours(head.headers_mut());
            }
            self.client.interim(cx, head).map_err(|broken| self.upstream.left_by(broken))?;
        }
        self.poll_client(cx, uplink)?;
        // Where the whole request was sent, the wait is for an answer, and the route's to bound.
        if uplink.is_ready() && !self.forward.bounds_all {
            return Poll::Pending;
        }
        self.poll_idle(cx, None).map(Err)
    }

    /// Who asked.
    pub(super) fn client_mut(&mut self) -> &mut C {
        self.client
    }

    /// Passes the head on that opens a tunnel: from here on both ends are streams of bytes.
    pub(super) async fn switch(&mut self, mut head: Response<()>) -> Result<(), ExchangeError> {
        // What it says of content is not meant for the tunnel (RFC 9110 §9.3.6).
        head.headers_mut().remove(header::CONTENT_LENGTH);
        self.answer(head, false).await?;
        let flushed = poll_fn(|cx| self.client.poll_flush(cx)).await;
        flushed.map_err(|broken| self.upstream.left_by(broken))?;
        self.upstream.reason = None;
        Ok(())
    }

    async fn answer(&mut self, mut head: Response<()>, ended: bool) -> Result<(), ExchangeError> {
        edit(&self.forward.answer_edits, head.headers_mut());
        let cookie = self.forward.set_cookie.as_deref().and_then(|cookie| HeaderValue::from_str(cookie).ok());
        if let Some(cookie) = cookie {
            head.headers_mut().append(header::SET_COOKIE, cookie);
        }
        let mut head = Some(head);
        poll_fn(|cx| {
            if let Some(head) = head.take() {
                let status = head.status().as_u16();
                self.client.answer(cx, head, ended).map_err(|broken| self.upstream.left_by(broken))?;
                self.progress.status = Some(status);
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Passes the answer on to its end. Whether both bodies were whole.
    pub(super) async fn finish(&mut self, (head, ended): (Response<()>, bool)) -> Result<bool, ExchangeError> {
        self.answer(head, ended).await?;
        let mut down = if ended { Pump::none() } else { Pump::default() };
        let done = poll_fn(|cx| self.poll_bodies(cx, &mut down)).await;
        self.progress.received = down.bytes;
        done?;
        if down.grpc_status.is_some() {
            self.progress.grpc_status = down.grpc_status;
        }
        let whole = self.up.is_read() && !self.deaf;
        // It has answered: what it has not read of the request, it does not want.
        self.upstream.reason = if whole { None } else { Some(Reason::NO_ERROR) };
        Ok(whole)
    }

    /// One turn of passing both bodies on; ready when the answer's is whole.
    fn poll_bodies(&mut self, cx: &mut Context<'_>, down: &mut Pump) -> Poll<Result<(), ExchangeError>> {
        let uplink = self.poll_uplink(cx)?;
        let moved = down.poll(cx, self.upstream.upstream, self.client);
        self.progress.received = down.bytes;
        if let Poll::Ready(moved) = moved {
            return Poll::Ready(moved.map_err(|error| match error {
                PumpError::Read(broken) => upstream_broken(broken),
                PumpError::Write(broken) => self.upstream.left_by(broken),
            }));
        }
        self.poll_client(cx, uplink)?;
        self.poll_idle(cx, Some(down)).map(Err)
    }

    /// Looks whether the client is still there, where its body does not tell.
    fn poll_client(&mut self, cx: &mut Context<'_>, uplink: Poll<()>) -> Result<(), ExchangeError> {
        if uplink.is_ready() || self.up.is_held() {
            match self.client.poll_gone(cx) {
                Poll::Ready(broken) => return Err(self.upstream.left_by(broken)),
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    /// One turn of the request's body; ready when it is sent, or the upstream takes no more of it.
    fn poll_uplink(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, ExchangeError> {
        if self.deaf {
            return Ok(Poll::Ready(()));
        }
        let moved = self.up.poll(cx, self.client, self.upstream.upstream);
        self.progress.sent = self.up.bytes;
        match moved {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            // It may have answered before it stopped reading, or says why when it is asked for its answer.
            Poll::Ready(Err(PumpError::Write(_))) => {
                self.deaf = true;
                Ok(Poll::Ready(()))
            }
            Poll::Ready(Err(PumpError::Read(broken))) => Err(self.upstream.left_by(broken)),
        }
    }

    /// Ready when nothing has moved for too long although somebody is waited for.
    fn poll_idle(&mut self, cx: &mut Context<'_>, down: Option<&Pump>) -> Poll<ExchangeError> {
        let held = down.is_some_and(Pump::is_held);
        // Two HTTP/2 ends may have nothing to say for as long as they like (a gRPC watch): each costs a stream, of which
        // there are few, and their connection is looked after. Who does not take what it is sent is another matter.
        if !(self.bounded || self.forward.bounds_all || held || self.up.is_held()) {
            self.idle = None;
            return Poll::Pending;
        }
        let mark = Mark {
            sent: self.progress.sent,
            to_upstream: usize::from(self.up.is_held()),
            received: self.progress.received,
            to_client: usize::from(held),
        };
        let bound = self.forward.body_idle;
        ready!(self.idle.get_or_insert_with(|| Box::new(Idle::new(bound))).poll(cx, mark));
        let party = match (down.is_some(), held, self.up.is_held()) {
            (false, ..) if self.up.is_read() => Party::Upstream,
            (true, true, _) | (false, _, false) => Party::Client,
            (true, false, _) | (false, _, true) => Party::Upstream,
        };
        Poll::Ready(ExchangeError::Idle(party))
    }
}

/// What a client's end means.
pub(super) fn client_broken(broken: Broken) -> ExchangeError {
    match broken {
        Broken::Reset(reason) | Broken::Unprocessed(reason) => ExchangeError::ClientReset(reason.into()),
        Broken::Gone(_) | Broken::Malformed(Malformed::Truncated) => ExchangeError::ClientGone,
        Broken::Malformed(malformed) => ExchangeError::ClientMalformed(malformed),
    }
}

/// What an upstream's end means.
pub(super) fn upstream_broken(broken: Broken) -> ExchangeError {
    match broken {
        Broken::Unprocessed(Reason::REFUSED_STREAM) => ExchangeError::NotProcessed(Proof::RefusedStream),
        Broken::Unprocessed(_) => ExchangeError::NotProcessed(Proof::GoAway),
        Broken::Reset(reason) => ExchangeError::UpstreamReset(reason.into()),
        Broken::Gone(error) => ExchangeError::UpstreamGone(error),
        Broken::Malformed(Malformed::Truncated) => ExchangeError::UpstreamGone(None),
        Broken::Malformed(malformed) => ExchangeError::UpstreamMalformed(malformed),
    }
}

#[cfg(test)]
mod tests {
    use weft_decide::Outcome;

    use super::*;
    use crate::dataplane::attempts::AttemptFailed;

    /// Whatever it was, the record said that the upstream had closed its connection by close_notify.
    #[test]
    fn what_proves_that_a_request_was_not_processed_is_told_as_what_it_was() {
        let broken = |reason| upstream_broken(Broken::Unprocessed(reason));
        for (error, proof, words) in [
            (broken(Reason::REFUSED_STREAM), Proof::RefusedStream, "REFUSED_STREAM"),
            (broken(Reason::NO_ERROR), Proof::GoAway, "GOAWAY"),
            (ExchangeError::NotProcessed(Proof::CloseNotify), Proof::CloseNotify, "close_notify"),
        ] {
            let AttemptFailed::Failed(outcome, failure) = AttemptFailed::from(error) else {
                panic!("it was held back")
            };
            assert_eq!(outcome, Outcome::NotProcessed(proof));
            assert!(failure.detail.contains(words), "{}", failure.detail);
        }
    }
}
