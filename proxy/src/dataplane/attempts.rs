//! The loop that finds an upstream for one permitted request or connection, whatever protocol carries it:
//!
//! pick ─ admit ─ connect (or take from the pool) ─ one exchange ─ judge ─ report ─ perhaps again from *pick*
//!
//! The loop knows endpoints, policies and budgets and no protocol. How one attempt is carried is a [`Carrier`]'s:
//! HTTP/1.1's and TCP's stand in `carry.rs`. A carrier is a type parameter, so that nothing is boxed or allocated for
//! it. A path makes its carrier from what it holds of the client and hands it to [`Attempts::run`]:
//!
//! ```text
//! let mut carrier = Http1 { incoming, forward, client, body, progress, … };
//! Attempts { worker, view: &view, permitted, split }.run(&mut carrier, record).await
//! ```
//!
//! What a carrier does in [`Carrier::try_once`], in this order:
//! 1. It takes a connection to [`Attempt::picked`] from its pool if [`Attempt::may_reuse`], or connects
//!    (`upstream::secure`). A failure to connect is [`AttemptFailed::before`]: nothing was written.
//! 2. It sets the record's stage to *stream* and notes the server ([`Attempt::connected`]).
//! 3. It sends the request, all of it from its first byte, also on a repeat ([`Carrier::can_repeat`] says whether it
//!    still can).
//! 4. When the final answer's head is there and **before any of it goes to the client**, it asks [`Attempt::judge`]. On
//!    [`Verdict::PassOn`] the answer is the client's, and nothing is repeated any more. On [`Verdict::HoldBack`] it
//!    drops the answer with its connection or stream and returns [`AttemptFailed::HeldBack`].
//! 5. It passes the answer on to its end, gives the connection back to its pool, and returns.
//!
//! How an attempt failed is told with what is proven of it ([`AttemptFailed`]), because that decides what may be
//! repeated (invariant 7). An HTTP/2 stream that was refused (REFUSED_STREAM), or whose id lies above a GOAWAY's last, is
//! [`AttemptFailed::NotProcessed`]. What fails after the answer was passed on is [`AttemptFailed::Unknown`]; the loop
//! repeats nothing then, whatever the policy.
use std::rc::Rc;

use tokio::time::timeout_at;
use weft_decide::{Draws, Permitted, Picked, pick};

use super::{
    record::{Key, Record, Stage},
    respond::{Ending, Failure},
    worker::{View, Worker},
};

/// How often a request is sent again: only where connecting failed, or it was proven that it was not processed.
const MAX_REPEATS: u8 = 2;

/// How one attempt is carried. See the module's documentation for the order of things.
pub(super) trait Carrier {
    /// What a finished attempt comes to.
    type Done;

    /// Whether all that was read of the request so far can be sent once more, from its first byte.
    fn can_repeat(&self) -> bool;

    /// Carries the request to the picked endpoint and its answer back.
    async fn try_once(&mut self, attempt: &mut Attempt<'_, '_>) -> Result<Self::Done, AttemptFailed>;
}

/// Why an attempt failed, by what is proven of the request.
#[derive(Debug)]
pub(super) enum AttemptFailed {
    /// Not one byte of the request was written: connecting failed, or the first write did.
    NothingWritten(Failure),
    /// The upstream has proven that it did not process it: an authenticated end of stream before the first byte of an
    /// answer, a refused HTTP/2 stream, a stream above a GOAWAY's last.
    NotProcessed(Failure),
    /// It may have been processed.
    Unknown(Failure),
    /// The answer was held back because the loop asked for it: it goes on with the next attempt.
    HeldBack,
}

impl AttemptFailed {
    /// It failed before anything was written.
    pub(super) fn before(failure: Failure) -> Self {
        Self::NothingWritten(failure)
    }

    /// What is to be said of it, and whether it is proven that it was not processed.
    fn split(self) -> Option<(Failure, bool)> {
        match self {
            Self::NothingWritten(failure) | Self::NotProcessed(failure) => Some((failure, true)),
            Self::Unknown(failure) => Some((failure, false)),
            Self::HeldBack => None,
        }
    }
}

/// The head of a final answer, as far as it matters to what becomes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Verdict {
    /// It is the client's.
    PassOn,
    /// It is dropped, and the request is sent again: nothing of it may reach the client.
    HoldBack,
}

/// One attempt: an endpoint, and what the carrier may do with it.
pub(super) struct Attempt<'a, 'v> {
    worker: &'a Worker,
    picked: Picked<'v>,
    record: &'a mut Record,
    first: bool,
    /// The status of the answer that the client is sent.
    passed_on: Option<u16>,
}

impl<'v> Attempt<'_, 'v> {
    /// The worker that carries it.
    pub(super) fn worker(&self) -> &Worker {
        self.worker
    }

    /// Where it goes.
    pub(super) fn picked(&self) -> &Picked<'v> {
        &self.picked
    }

    /// Whether a connection of the pool may be used: a repeat makes its own, because what broke one pooled connection may
    /// have broken its neighbours.
    pub(super) fn may_reuse(&self) -> bool {
        self.first
    }

    /// There is a connection, secured or taken from the pool: what follows is the stage *stream*.
    pub(super) fn connected(&mut self) {
        self.record.note(Key::Server, self.picked.identity());
        self.record.at(Stage::Stream);
    }

    /// What becomes of an answer whose head has come. To be asked once, before the client is sent any of it.
    pub(super) fn judge(&mut self, answer: Answer) -> Verdict {
        self.passed_on = Some(answer.status);
        Verdict::PassOn
    }
}

/// A permitted request or connection that looks for an endpoint to answer it.
pub(super) struct Attempts<'v> {
    /// The worker that carries it.
    pub(super) worker: &'v Worker,
    /// What it was decided by.
    pub(super) view: &'v Rc<View>,
    /// The request or connection.
    pub(super) permitted: Permitted<'v>,
    /// The draw of the weighted split, for the record.
    pub(super) split: u64,
}

impl Attempts<'_> {
    /// Tries until an attempt succeeds, fails beyond repeating, or the route's time is over.
    pub(super) async fn run<C: Carrier>(&self, carrier: &mut C, record: &mut Record) -> Result<C::Done, Failure> {
        let Some(bound) = self.permitted.routed().timeout() else { return self.unbounded(carrier, record).await };
        let deadline = record.started() + bound;
        match timeout_at(deadline, self.unbounded(carrier, record)).await {
            Ok(done) => done,
            Err(_) => Err(Failure::new(Ending::Timeout, format!("no whole answer within the route's {bound:?}"))),
        }
    }

    async fn unbounded<C: Carrier>(&self, carrier: &mut C, record: &mut Record) -> Result<C::Done, Failure> {
        loop {
            let picked = self.pick(record)?;
            record.at(Stage::Connect);
            let first = record.repeats == 0;
            let mut attempt = Attempt { worker: self.worker, picked, record, first, passed_on: None };
            let tried = carrier.try_once(&mut attempt).await;
            let passed_on = attempt.passed_on;
            match tried {
                Ok(done) => return Ok(done),
                Err(failed) => {
                    if let Some((failure, proven)) = failed.split()
                        && (passed_on.is_some() || !proven || record.repeats >= MAX_REPEATS || !carrier.can_repeat())
                    {
                        return Err(failure);
                    }
                    record.repeats += 1;
                }
            }
        }
    }

    /// The stage *pick*, kept in the record.
    fn pick(&self, record: &mut Record) -> Result<Picked<'_>, Failure> {
        record.at(Stage::Pick);
        let routed = self.permitted.routed();
        let cluster = &routed.cluster().cluster().name;
        let draws = Draws { split: self.split, pick: self.worker.cursor(cluster) };
        record.on(routed.service(), cluster);
        record.decided_by(&self.view.revision, draws);
        let picked = pick(self.permitted, draws.pick)?;
        record.note(Key::Endpoint, &picked.endpoint().workload);
        Ok(picked)
    }
}
