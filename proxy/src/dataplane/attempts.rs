//! The loop that finds an upstream for one permitted request or connection, whatever protocol carries it:
//!
//! admit (limits, breaker) ─ pick ─ connect (or take from the pool) ─ one exchange ─ judge ─ report ─ perhaps again
//!
//! The loop knows endpoints, policies and budgets and no protocol. How one attempt is carried is a [`Carrier`]'s:
//! HTTP/1.1's and TCP's stand in `carry.rs`. A carrier is a type parameter, so that nothing is boxed or allocated for
//! it. A path makes its carrier from what it holds of the client and hands it to [`Attempts::run`]:
//!
//! ```text
//! let mut carrier = Http1 { incoming, forward, client, body, progress, … };
//! Attempts { worker, view: &view, permitted, method, split, bound }.run(&mut carrier, record).await
//! ```
//!
//! What a carrier does in [`Carrier::try_once`], in this order:
//! 1. It asks [`Attempt::room`] for a connection of its pool (where [`Attempt::may_reuse`]) or a place on one that many
//!    requests share, or the right to make one, and then connects (`upstream::endpoint`). The right is kept as long as the
//!    connection. A failure to connect is [`AttemptFailed::before`]: nothing was written.
//! 2. It says that there is a connection ([`Attempt::connected`]).
//! 3. It sends the request, all of it from its first byte, also on a repeat ([`Carrier::kept`] says whether it
//!    still can).
//! 4. When the final answer's head is there and **before any of it goes to the client**, it asks [`Attempt::judge`]. On
//!    [`Fate::PassOn`] the answer is the client's, and nothing is repeated any more. On [`Fate::HoldBack`] it drops the
//!    answer with its connection or stream and returns [`AttemptFailed::HeldBack`].
//! 5. It passes the answer on to its end, gives the connection back to its pool, and returns.
//!
//! How an attempt failed is told as an [`Outcome`], because what is proven of the request decides what may be repeated
//! (invariant 7): an HTTP/2 stream that was refused (REFUSED_STREAM), or whose id lies above a GOAWAY's last, is
//! [`Outcome::NotProcessed`] with its [`Proof`]; what may have been processed is [`Outcome::Reset`]; what is not the
//! upstream's doing is [`Outcome::Ours`]. What fails after the answer was passed on needs no other outcome: the loop
//! knows, and repeats nothing then, whatever the policy.
use std::{
    cell::Cell,
    fmt::{self, Write},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use weft_decide::{
    Admission, Attempted, Circumstances, Cold, Draws, Ejected, LimitKind, Loads, NoRepeat, Outcome, Permitted, Picked,
    Proof, Refusal, Repeats, Turn, Verdict, Why, is_grpc_failure, pick_with,
};
use weft_ir::{Balance, Cluster, EndpointAddress, Retry};
use weft_model::Kind;

use super::{
    histogram::add,
    record::{Key, Record, Stage},
    resilience::{Connection, Local, Look, Place, Places, Reported, Room, room},
    respond::{Ending, Failure},
    worker::{View, Worker},
};

/// The longest wait that an upstream may ask for by `retry-after`: a client is not kept waiting longer for an answer
/// that is there.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5);

/// How one attempt is carried. See the module's documentation for the order of things.
pub(super) trait Carrier {
    /// What a finished attempt comes to.
    type Done;

    /// Whether a request is carried, to which limits on requests apply, and not a connection.
    const IS_REQUEST: bool;

    /// What of the request can be sent once more, from its first byte.
    fn kept(&self) -> Sendable;

    /// It is sure that the request is carried somewhere: it was admitted, and an endpoint was picked. Told once.
    fn picked(&mut self, _: &mut Record) {}

    /// Carries the request to the picked endpoint and its answer back.
    async fn try_once(&mut self, attempt: &mut Attempt<'_, '_>) -> Result<Self::Done, AttemptFailed>;
}

/// What of a request can be sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sendable {
    /// Not all of it: a part has gone that was not kept.
    Part,
    /// All that was read so far, and more may come than is kept: it is sent again only where it is proven that it was not
    /// processed.
    SoFar,
    /// All of it, or it is so short that all of it will be kept.
    Whole,
}

impl Sendable {
    /// Whether it may be sent again after such an end.
    fn after(self, outcome: Outcome) -> bool {
        match self {
            Self::Part => false,
            Self::SoFar => matches!(outcome, Outcome::NotProcessed(_) | Outcome::ConnectFailed),
            Self::Whole => true,
        }
    }
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum AttemptFailed {
    /// It ended so; with what is to be said of it.
    Failed(Outcome, Failure),
    /// The answer was held back because the loop asked for it: it goes on with the next attempt.
    HeldBack,
}

impl AttemptFailed {
    /// It failed before anything was written: there is no connection.
    pub(super) fn before(failure: Failure) -> Self {
        let outcome = match failure.ending {
            Ending::ConnectFailed | Ending::ConnectTimeout | Ending::UpstreamHandshake => Outcome::ConnectFailed,
            _ => Outcome::Ours,
        };
        Self::Failed(outcome, failure)
    }
}

/// The head of a final answer, as far as it matters to what becomes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    /// The HTTP status.
    pub(super) status: u16,
    /// The `grpc-status`, where the head has one.
    pub(super) grpc: Option<u32>,
    /// What a weft peer says by which it has not looked at the request ([`UNPROCESSED`](super::respond::UNPROCESSED)).
    pub(super) unprocessed: Option<Proof>,
    /// The value of its `retry-after`.
    pub(super) retry_after: Option<&'a [u8]>,
    /// What of the request can be sent once more ([`Carrier::kept`]).
    pub(super) kept: Sendable,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Fate {
    /// It is the client's.
    PassOn,
    /// It is dropped, and the request is sent again: nothing of it may reach the client.
    HoldBack,
}

/// What a repetition begins with.
#[derive(Debug)]
struct Again {
    wait: Duration,
    admission: Option<Admission>,
}

/// One attempt: an endpoint, and what the carrier may do with it.
pub(super) struct Attempt<'a, 'v> {
    attempts: &'a Attempts<'v>,
    local: &'a Rc<Local>,
    repeats: &'a mut Repeats<'v>,
    record: &'a mut Record,
    picked: Picked<'v>,
    deadline: Option<Instant>,
    admission: Option<Admission>,
    place: Option<Serving>,
    /// Whether it has come as far as the upstream: before, nothing is said of that.
    begun: bool,
    /// Whether the answer is the client's.
    passed_on: &'a Cell<bool>,
    again: Option<Again>,
    /// A good answer that is not whole yet.
    answered: Option<Outcome>,
    /// Since when it is measured, where the cluster is balanced by that.
    since: Option<Duration>,
}

impl<'v> Attempt<'_, 'v> {
    /// The worker that carries it.
    pub(super) fn worker(&self) -> &'v Worker {
        self.attempts.worker
    }

    /// Where it goes.
    pub(super) fn picked(&self) -> &Picked<'v> {
        &self.picked
    }

    /// Whether a connection of the pool may be used: a repeat makes its own, because what broke one pooled connection may
    /// have broken its neighbours.
    pub(super) fn may_reuse(&self) -> bool {
        self.repeats.done() == 0
    }

    /// A connection that `look` finds, or the right to make one; waits where the cluster's connections are limited, or
    /// those that are there have no place, of which `places` tells.
    pub(super) async fn room<T>(
        &mut self,
        places: Option<&Places>,
        look: impl FnMut() -> Look<T>,
    ) -> Result<Room<T>, AttemptFailed> {
        let found = room(self.local, self.cluster(), self.worker().unused(), places, look).await;
        let found = found.map_err(|refusal| AttemptFailed::Failed(Outcome::Ours, self.refused(refusal)))?;
        self.begun = true;
        Ok(found)
    }

    /// There is a connection, secured or taken from the pool: what follows is the stage *stream*.
    pub(super) fn connected(&mut self) {
        if let Some(identity) = self.picked.upstream().identity() {
            self.record.note(Key::Server, identity);
        }
        self.record.at(Stage::Stream);
    }

    /// What becomes of an answer whose head has come. To be asked once, before the client is sent any of it.
    pub(super) fn judge(&mut self, answer: Answer<'_>) -> Fate {
        let Answer { status, grpc, unprocessed, retry_after, kept } = answer;
        let outcome = match unprocessed {
            Some(proof) => Outcome::NotProcessed(proof),
            None => Outcome::Answered { status, grpc },
        };
        self.measure(outcome);
        let probes = matches!(self.admission, Some(Admission::Probe(_)));
        if outcome.verdict() == Verdict::Good && !probes {
            // A head is no whole answer yet: what is cut again and again must not count as well in between.
            self.answered = Some(outcome);
        } else {
            self.report(outcome);
        }
        let policy = self.attempts.permitted.routed().retry();
        let takes = |retry: &Retry| retry.on.takes_status(status) || grpc.is_some_and(|grpc| retry.on.takes_grpc(grpc));
        if unprocessed.is_some() || policy.is_some_and(takes) {
            match self.again(outcome, kept, retry_after) {
                Ok(again) => {
                    self.again = Some(again);
                    return Fate::HoldBack;
                }
                Err(why) => self.not_repeated(why),
            }
        }
        self.passed_on.set(true);
        Fate::PassOn
    }

    /// A gRPC answer, whose head had no status, has come to its end with this one: what it says of the endpoint, only this
    /// does.
    pub(super) fn ended(&mut self, grpc: u32) {
        match &mut self.answered {
            Some(Outcome::Answered { grpc: told, .. }) => *told = Some(grpc),
            // The head was reported: a probe's, whose end may be hours away.
            _ if is_grpc_failure(grpc) => self.report(Outcome::Answered { status: 200, grpc: Some(grpc) }),
            _ => {}
        }
    }

    /// A connection was made that is not judged by an answer: the endpoint works. What is to be kept as long as it.
    pub(super) fn established(&mut self, connection: Option<Connection>) -> Kept {
        self.measure(Outcome::Answered { status: 200, grpc: None });
        self.report(Outcome::Answered { status: 200, grpc: None });
        Kept { _connection: connection, _serving: self.place.take() }
    }

    /// The answer has come to its end.
    fn whole(&mut self) {
        if let Some(outcome) = self.answered.take() {
            self.report(outcome);
        }
    }

    /// Takes how long the upstream took; once.
    fn measure(&mut self, outcome: Outcome) {
        if let (Some(since), Some(place)) = (self.since.take(), &self.place) {
            let now = self.worker().now();
            place.0.measure(now.saturating_sub(since), outcome.verdict(), now);
        }
    }

    /// Tells ejection and breaker how the upstream did; once, and once more if the answer to a probe is cut, or is a gRPC
    /// failure that only its trailers tell.
    fn report(&mut self, outcome: Outcome) {
        let cluster = self.cluster();
        let verdict = outcome.verdict();
        if let (Some(policy), Some(place)) = (&cluster.ejection, &self.place) {
            let verdict = outcome.verdict_by(policy.errors);
            let rate = policy.success_rate.as_ref();
            let counted = rate.and_then(|policy| place.0.count(verdict, policy, self.worker().now()));
            for report in place.0.take(verdict).into_iter().chain(counted) {
                let (cluster, address) = (cluster.name.clone(), self.picked.address());
                self.worker().report(Reported { cluster, address, report });
            }
        }
        if let Some(policy) = &cluster.breaker
            && (self.admission.is_some() || verdict != Verdict::Neither)
        {
            let admission = self.admission.take().unwrap_or(Admission::Normal);
            self.local.shared.circuit.finish(admission, verdict, policy, self.worker().now());
        }
    }

    /// Whether the request is sent again after this attempt; paid for then.
    fn again(&mut self, outcome: Outcome, kept: Sendable, retry_after: Option<&[u8]>) -> Result<Again, NotRepeated> {
        let worker = self.worker();
        let asked = match retry_after.map(seconds) {
            None => Duration::ZERO,
            Some(Some(asked)) if asked <= MAX_RETRY_AFTER => asked,
            Some(_) => return Err(NotRepeated::RetryAfter),
        };
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left <= asked) {
            return Err(NotRepeated::Not(NoRepeat::Deadline));
        }
        let tried = Attempted {
            outcome,
            method: self.attempts.method,
            whole: kept.after(outcome),
            answered: self.passed_on.get(),
            elsewhere: self.attempts.permitted.routed().cluster().endpoints().endpoints.len() > 1,
            left,
        };
        let purse = self.attempts.purse(self.local);
        let wait = self.repeats.after(&tried, worker.draw(), |budget| purse.afford(budget, worker.now()));
        let wait = wait.map_err(NotRepeated::Not)?.max(asked);
        // Before the answer is given away: what is held back is repeated in fact.
        let admission = self.local.admit(self.cluster(), || worker.now()).map_err(|_| NotRepeated::Breaker)?;
        add(&worker.totals().retries.repeated, 1);
        Ok(Again { wait, admission })
    }

    /// The end of an attempt that failed: with what it is repeated, or how the request ends.
    fn end(mut self, failed: AttemptFailed, kept: Sendable) -> Result<Again, Failure> {
        let (outcome, failure) = match failed {
            // What was held back was judged; without it the carrier has dropped an answer that was the client's.
            AttemptFailed::HeldBack => {
                let lost = || Failure::new(Ending::UpstreamGone, "the answer was dropped before it was whole");
                return self.again.take().ok_or_else(lost);
            }
            AttemptFailed::Failed(outcome, failure) => (outcome, failure),
        };
        let outcome = match outcome {
            _ if !self.begun => Outcome::Ours,
            Outcome::Reset | Outcome::ConnectFailed | Outcome::NotProcessed(_) if self.passed_on.get() => Outcome::Cut,
            other => other,
        };
        self.measure(outcome);
        self.report(outcome);
        if outcome == Outcome::Ours {
            return Err(failure);
        }
        self.again(outcome, kept, None).map_err(|why| {
            self.not_repeated(why);
            failure
        })
    }

    /// Says in record and metrics why the request is not repeated.
    fn not_repeated(&mut self, why: NotRepeated) {
        if let Some(count) = self.worker().totals().retries.of(why) {
            add(count, 1);
            self.record.note(Key::NotRepeated, why);
        }
    }

    /// A refusal of ours, counted for its cluster.
    fn refused(&self, refusal: Refusal) -> Failure {
        self.attempts.refused(refusal)
    }

    fn cluster(&self) -> &'v Cluster {
        self.picked.cluster()
    }
}

/// Why a request is not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotRepeated {
    /// By what the evaluator says.
    #[error("{0}")]
    Not(NoRepeat),
    /// The upstream asked for a longer wait.
    #[error("the upstream asked to be left alone for longer")]
    RetryAfter,
    /// The breaker has opened.
    #[error("the circuit breaker has opened")]
    Breaker,
}

/// Counts a request that an endpoint serves for this worker.
struct Serving(Rc<Place>);

impl Serving {
    fn begin(place: Rc<Place>) -> Self {
        place.load.set(place.load.get() + 1);
        Self(place)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.load.set(self.0.load.get() - 1);
    }
}

/// What an established connection holds until its end.
pub(super) struct Kept {
    _connection: Option<Connection>,
    _serving: Option<Serving>,
}

/// A permitted request or connection that looks for an endpoint to answer it.
pub(super) struct Attempts<'v> {
    /// The worker that carries it.
    pub(super) worker: &'v Worker,
    /// What it was decided by.
    pub(super) view: &'v Rc<View>,
    /// The request or connection.
    pub(super) permitted: Permitted<'v>,
    /// The request's method; nothing for a connection.
    pub(super) method: &'v str,
    /// The draw of the weighted split, for the record.
    pub(super) split: u64,
    /// How long it may take in all: by its route, or by what it says itself; `None` is no bound.
    pub(super) bound: Option<Duration>,
}

impl<'v> Attempts<'v> {
    /// Tries until an attempt succeeds, fails beyond repeating, or the route's time is over.
    pub(super) async fn run<C: Carrier>(&self, carrier: &mut C, record: &mut Record) -> Result<C::Done, Failure> {
        let routed = self.permitted.routed();
        let cluster = routed.cluster().cluster();
        record.on(routed.service(), &cluster.name);
        let local = self.worker.local(self.view, &cluster.name);
        let deadline = self.bound.map(|bound| record.started() + bound);
        let mut repeats = Repeats::new(routed.retry());
        self.purse(&local).count_request(&repeats.budget());
        let admitted = local.admit(cluster, || self.worker.now()).and_then(|admission| {
            let held = if C::IS_REQUEST { local.take(cluster, LimitKind::Requests)? } else { None };
            Ok((admission, held))
        });
        record.at(Stage::Pick);
        let (mut admission, _held) = admitted.map_err(|refusal| self.refused(refusal))?;
        let mut last = None;
        loop {
            let (picked, place) = self.pick(&local, last, record)?;
            if last.is_none() {
                carrier.picked(record);
            }
            last = Some(picked.index());
            record.at(Stage::Connect);
            let passed_on = Cell::new(false);
            let mut attempt = Attempt {
                attempts: self,
                local: &local,
                repeats: &mut repeats,
                record,
                picked,
                deadline,
                admission: admission.take(),
                place,
                begun: false,
                passed_on: &passed_on,
                again: None,
                answered: None,
                since: (cluster.balance == Balance::PeakEwma).then(|| self.worker.now()),
            };
            let failed = match self.in_time(carrier, &mut attempt).await {
                Ok(done) => {
                    attempt.whole();
                    return Ok(done);
                }
                Err(failed) => failed,
            };
            let again = attempt.end(failed, carrier.kept())?;
            record.repeats = record.repeats.saturating_add(1);
            admission = again.admission;
            if !again.wait.is_zero() {
                sleep(again.wait).await;
            }
        }
    }

    /// One attempt, within the route's time and the time that the route gives one try.
    async fn in_time<C: Carrier>(
        &self,
        carrier: &mut C,
        attempt: &mut Attempt<'_, 'v>,
    ) -> Result<C::Done, AttemptFailed> {
        let (deadline, bound) = (attempt.deadline, attempt.repeats.try_timeout());
        if let Some(whole) = self.permitted.routed().try_timeout() {
            let end = Instant::now() + whole;
            if deadline.is_none_or(|deadline| end < deadline) {
                let trying = async {
                    match bound {
                        Some(bound) => until_head(carrier, attempt, bound).await,
                        None => carrier.try_once(attempt).await,
                    }
                };
                return timeout_at(end, trying).await.unwrap_or_else(|_| {
                    let detail = format!("no whole answer within the {whole:?} that the route gives one try");
                    Err(AttemptFailed::Failed(Outcome::TryTimeout, Failure::new(Ending::Timeout, detail)))
                });
            }
        }
        let tried = match (deadline, bound) {
            (None, None) => return carrier.try_once(attempt).await,
            (Some(deadline), None) => timeout_at(deadline, carrier.try_once(attempt)).await,
            (None, Some(bound)) => return until_head(carrier, attempt, bound).await,
            (Some(deadline), Some(bound)) => timeout_at(deadline, until_head(carrier, attempt, bound)).await,
        };
        tried.unwrap_or_else(|_| {
            let bound = self.bound.unwrap_or_default();
            let detail = match self.permitted.routed().timeout() {
                _ if self.permitted.routed().stream_timeout() == Some(bound) => {
                    format!("the stream was not over within the route's {bound:?}")
                }
                Some(route) if route == bound => format!("no whole answer within the route's {bound:?}"),
                _ => format!("no whole answer within the {bound:?} that the client has"),
            };
            Err(AttemptFailed::Failed(Outcome::Timeout, Failure::new(Ending::Timeout, detail)))
        })
    }

    /// The stage *pick*, kept in the record. A repeat goes elsewhere than the try before where it can.
    fn pick(
        &self,
        local: &Local,
        avoid: Option<usize>,
        record: &mut Record,
    ) -> Result<(Picked<'v>, Option<Serving>), Failure> {
        record.at(Stage::Pick);
        let routed = self.permitted.routed();
        let (cluster, endpoints) = (routed.cluster().cluster(), &routed.cluster().endpoints().endpoints);
        let in_turn = cluster.balance == Balance::RoundRobin && routed.key().is_none();
        let draw = if in_turn { local.cursor() } else { self.worker.draw() };
        record.decided_by(&self.view.revision, Draws { split: self.split, pick: draw });
        let now = self.worker.now();
        let loads = |index: usize| match endpoints.get(index) {
            Some(endpoint) if cluster.balance == Balance::PeakEwma => local.cost(endpoint.address, now),
            Some(endpoint) => local.load(endpoint.address),
            None => 0,
        };
        let (ejected, warming) = (local.left_out(), local.warming());
        let part = |index: usize| match (endpoints.get(index), &cluster.slow_start) {
            (Some(endpoint), Some(policy)) => warming.part(policy, &endpoint.address, now),
            _ => 1.0,
        };
        let cold = if warming.is_empty() { Cold::Told(0) } else { Cold::By(&part) };
        let turn = Turn { draw, ejected: &ejected, avoid, loads: Loads::By(&loads), cold };
        let picked = pick_with(self.permitted, &turn)?;
        let circumstances = picked.circumstances(&turn);
        if circumstances != Circumstances::default() {
            record.note(Key::Circumstances, Told(&circumstances, &local.unhealthy()));
        }
        if picked.why() != Why::DEFAULT {
            record.note(Key::PickedBy, picked.why());
        }
        record.note(Key::Endpoint, picked.endpoint().called());
        let by_load = matches!(cluster.balance, Balance::LeastRequest | Balance::PeakEwma);
        let counted = cluster.ejection.is_some() || by_load;
        let place = counted.then(|| Serving::begin(local.place(picked.address(), endpoints.len())));
        Ok((picked, place))
    }

    /// Whose budget pays for repetitions: the addressed service's where the route has retries.
    fn purse(&self, local: &Rc<Local>) -> Rc<Local> {
        let routed = self.permitted.routed();
        if routed.retry().is_none() || *routed.service() == routed.cluster().cluster().name {
            return local.clone();
        }
        self.worker.local(self.view, routed.service())
    }

    /// A refusal of ours: counted for its cluster, and with the policy that says so.
    fn refused(&self, refusal: Refusal) -> Failure {
        let cluster = self.permitted.routed().cluster().cluster();
        let limit = match &refusal {
            Refusal::LimitReached { limit, .. } => Some(limit.name()),
            Refusal::BreakerOpen { .. } => Some("breaker"),
            _ => None,
        };
        if let Some(limit) = limit {
            self.worker.ledger().metrics().refused(&cluster.name, limit);
        }
        let mut failure = Failure::from(refusal);
        let policies = cluster.origins.iter().filter(|origin| origin.kind == Kind::TrafficPolicy);
        for (place, policy) in policies.enumerate() {
            let joint = if place == 0 { ", set by" } else { "," };
            // Writing to a String does not fail.
            let _ = write!(failure.detail, "{joint} {policy}");
        }
        failure
    }
}

/// One attempt that has only so long until it has an answer's head.
async fn until_head<C: Carrier>(
    carrier: &mut C,
    attempt: &mut Attempt<'_, '_>,
    bound: Duration,
) -> Result<C::Done, AttemptFailed> {
    let passed_on = attempt.passed_on;
    let mut over = pin!(sleep_until(Instant::now() + bound));
    let mut trying = pin!(carrier.try_once(attempt));
    poll_fn(|cx| match trying.as_mut().poll(cx) {
        Poll::Ready(tried) => Poll::Ready(tried),
        Poll::Pending if passed_on.get() => Poll::Pending,
        Poll::Pending => over.as_mut().poll(cx).map(|()| {
            let detail = format!("no answer within the {bound:?} that the route gives one try");
            Err(AttemptFailed::Failed(Outcome::TryTimeout, Failure::new(Ending::Timeout, detail)))
        }),
    })
    .await
}

/// The wait that a `retry-after` asks for in seconds; `None` for a date, and what is neither (RFC 9110 §10.2.3).
fn seconds(value: &[u8]) -> Option<Duration> {
    std::str::from_utf8(value).ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Circumstances as a record tells them: `second cold=1 avoided=1 ejected=10.0.0.1:80,10.0.0.2:80 unhealthy=10.0.0.3:80`,
/// what applies of it. What fails its health checks is unhealthy, whether or not it errs as well.
struct Told<'a>(&'a Circumstances, &'a Ejected);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Circumstances { ejected, avoided, second, cold }, unhealthy) = self;
        let mut gap = "";
        let mut part = |f: &mut fmt::Formatter<'_>, part: fmt::Arguments<'_>| {
            let before = std::mem::replace(&mut gap, " ");
            write!(f, "{before}{part}")
        };
        if *second {
            part(f, format_args!("second"))?;
        }
        if *cold != 0 {
            part(f, format_args!("cold={cold}"))?;
        }
        if let Some(index) = avoided {
            part(f, format_args!("avoided={index}"))?;
        }
        for (name, is_unhealthy) in [("ejected", false), ("unhealthy", true)] {
            let these = ejected.addresses().iter().filter(|address| unhealthy.contains(address) == is_unhealthy);
            let these: Vec<_> = these.map(|EndpointAddress::Socket(address)| address.to_string()).collect();
            if !these.is_empty() {
                part(f, format_args!("{name}={}", these.join(",")))?;
            }
        }
        Ok(())
    }
}
