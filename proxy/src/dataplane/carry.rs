//! How an attempt is carried: as one HTTP/1.1 exchange, and as a TCP connection.
use weft_decide::{self as decide, Outcome as Ended, Picked, Proof};
use weft_ir::EndpointAddress;

use super::{
    attempts::{Answer, Attempt, AttemptFailed, Carrier, Fate, Kept, Sendable},
    histogram::add,
    http::{Conn, Exchange, ExchangeError, Flow, Forward, Incoming, Outcome, Party, Progress, Replay},
    job::Application,
    mirror::Mirroring,
    pool::{Proven, Upstream},
    record::{Record, Stage},
    resilience::{Look, Room},
    respond::{Failure, UNPROCESSED, unprocessed},
    serve::{Far, Http1Job, Tunnel},
    tls::{Io, Wire},
    upstream,
};

/// An HTTP/1.1 request of a client that is carried by HTTP/1.1.
pub(super) struct Http1<'a> {
    /// The request as far as it was read.
    pub(super) incoming: &'a Incoming,
    /// What is forwarded of it.
    pub(super) forward: Forward<'a>,
    /// Who asked.
    pub(super) client: &'a mut Conn,
    /// The rest of its body.
    pub(super) body: &'a mut Flow,
    /// What was done so far.
    pub(super) progress: &'a mut Progress,
    /// Where the upstream is left once both connections have ended HTTP.
    pub(super) tunnel: &'a mut Option<Tunnel>,
    /// What was read of the body since the head, for a repeat.
    pub(super) replay: Replay<'a>,
    /// What makes copies of it, until they are begun.
    pub(super) mirroring: Option<Mirroring<'a>>,
}

impl Carrier for Http1<'_> {
    type Done = Outcome;

    const IS_REQUEST: bool = true;

    fn kept(&self) -> Sendable {
        self.replay.kept(self.incoming, self.body)
    }

    fn picked(&mut self, record: &mut Record) {
        // What leaves HTTP is a conversation, which has no copy.
        let head = &self.incoming.head;
        let mirroring = self.mirroring.take().filter(|_| !head.upgrade && !head.connect);
        if let Some(copies) = mirroring.and_then(|mirroring| mirroring.begin(record)) {
            self.incoming.copy_to(&copies, &self.forward);
            if self.body.is_read() {
                copies.taps.finish();
            }
            self.replay.copy_to(copies.taps);
        }
    }

    async fn try_once(&mut self, attempt: &mut Attempt<'_, '_>) -> Result<Outcome, AttemptFailed> {
        let mut upstream = connect(attempt).await?;
        attempt.connected();
        let Self { incoming, forward, client, body, progress, replay, tunnel: _, mirroring: _ } = self;
        let sides = (&mut **client, &mut **body);
        let mut exchange = Exchange::begin(incoming, forward, sides, &mut upstream.conn, (progress, replay)).await?;
        let head = exchange.final_head().await?;
        let retry_after = if head.status >= 400 { exchange.field(&head, b"retry-after") } else { None };
        let kept = exchange.kept(incoming);
        let unprocessed = match head.status {
            421 | 503 => exchange.field(&head, UNPROCESSED.as_bytes()).and_then(|mark| unprocessed(head.status, mark)),
            _ => None,
        };
        let answer = Answer { status: head.status, grpc: None, unprocessed, retry_after, kept };
        if attempt.judge(answer) == Fate::HoldBack {
            return Err(AttemptFailed::HeldBack);
        }
        let outcome = exchange.finish(head).await?;
        if outcome.switched {
            let idle = self.forward.bounds_all.then_some(self.forward.body_idle);
            *self.tunnel = Some(Tunnel { far: Far::Http1(upstream), idle, until: self.forward.until });
        } else if outcome.upstream_lives {
            let EndpointAddress::Socket(address) = attempt.picked().address();
            let worker = attempt.worker();
            worker.pool().put(address, proven(attempt.picked()), worker.timeouts().pool_idle, upstream);
        }
        Ok(outcome)
    }
}

async fn connect(attempt: &mut Attempt<'_, '_>) -> Result<Upstream, AttemptFailed> {
    let (worker, picked, may_reuse) = (attempt.worker(), *attempt.picked(), attempt.may_reuse());
    let EndpointAddress::Socket(address) = picked.address();
    let pooled = || {
        let unused = if may_reuse { worker.pool().take(address, proven(&picked)) } else { None };
        unused.map_or(Look::Nothing, Look::Found)
    };
    match attempt.room(None, pooled).await? {
        Room::Reused(upstream) => {
            add(&worker.totals().upstream_reused, 1);
            Ok(upstream)
        }
        Room::New(connection) => {
            let turn = upstream::turn(worker, &picked).await.map_err(AttemptFailed::before)?;
            // Whoever had to wait may find one that has come free.
            if let Look::Found(upstream) = pooled() {
                add(&worker.totals().upstream_reused, 1);
                return Ok(upstream);
            }
            let io = upstream::endpoint_in(turn, worker, &picked, Wire::Http1).await.map_err(AttemptFailed::before)?;
            Ok(Upstream { conn: Conn::new(io), connection })
        }
    }
}

pub(super) fn proven<'a>(picked: &Picked<'a>) -> Proven<'a> {
    match picked.upstream() {
        decide::Upstream::Mesh { identity, sni } => Proven::Mesh { identity, server_name: sni },
        decide::Upstream::Plain => Proven::Plain { cluster: &picked.cluster().name },
    }
}

impl From<ExchangeError> for AttemptFailed {
    fn from(error: ExchangeError) -> Self {
        let ended = match error {
            ExchangeError::NothingWritten(_) => Ended::NotProcessed(Proof::NothingWritten),
            ExchangeError::NotProcessed(proof) => Ended::NotProcessed(proof),
            ExchangeError::UpstreamGone(_)
            | ExchangeError::UpstreamReset(_)
            | ExchangeError::UpstreamMalformed(_)
            | ExchangeError::Idle(Party::Upstream) => Ended::Reset,
            ExchangeError::ClientGone
            | ExchangeError::ClientReset(_)
            | ExchangeError::ClientMalformed(_)
            | ExchangeError::Idle(Party::Client) => Ended::Ours,
        };
        Self::Failed(ended, error.into())
    }
}

/// The stages *connect* and *stream* of an HTTP/1.1 request towards an application that speaks HTTP/1.1.
pub(super) async fn to_application(
    job: &mut Http1Job<'_>,
    incoming: &Incoming,
    application: Application<'_>,
    forward: &Forward<'_>,
) -> Result<Outcome, Failure> {
    let mut upstream = application_conn(application).await?;
    job.record.at(Stage::Stream);
    let (sides, mut replay) = ((&mut *job.client, &mut *job.body), Replay::none());
    let mut exchange = Exchange::begin(incoming, forward, sides, &mut upstream, (job.progress, &mut replay)).await?;
    let head = exchange.final_head().await?;
    let outcome = exchange.finish(head).await?;
    if outcome.switched {
        let upstream = Upstream { conn: upstream, connection: None };
        *job.tunnel = Some(Tunnel::to(Far::Http1(upstream)));
    } else if outcome.upstream_lives {
        keep(application, upstream);
    }
    Ok(outcome)
}

/// The stage *connect* towards an application that speaks HTTP/1.1.
pub(super) async fn application_conn(application: Application<'_>) -> Result<Conn, Failure> {
    let Application { worker, address, protocol: _ } = application;
    if let Some(upstream) = worker.pool().take(address, Proven::Application) {
        add(&worker.totals().upstream_reused, 1);
        return Ok(upstream.conn);
    }
    upstream::plain(worker, address, worker.timeouts().application_connect).await.map(Conn::new)
}

/// Keeps a connection to the application for later.
pub(super) fn keep(Application { worker, address, protocol: _ }: Application<'_>, conn: Conn) {
    worker.pool().put(
        address,
        Proven::Application,
        worker.timeouts().application_idle,
        Upstream { conn, connection: None },
    );
}

/// A TCP connection: the attempt ends when the upstream is secured, its bytes are the relay's.
pub(super) struct Tcp;

impl Carrier for Tcp {
    type Done = (Io, Kept);

    const IS_REQUEST: bool = false;

    fn kept(&self) -> Sendable {
        Sendable::Whole
    }

    async fn try_once(&mut self, attempt: &mut Attempt<'_, '_>) -> Result<Self::Done, AttemptFailed> {
        let connection = match attempt.room(None, || Look::Nothing::<()>).await? {
            Room::New(connection) => connection,
            Room::Reused(()) => None,
        };
        let io = upstream::endpoint(attempt.worker(), attempt.picked(), Wire::Tcp).await;
        let io = io.map_err(AttemptFailed::before)?;
        attempt.connected();
        Ok((io, attempt.established(connection)))
    }
}
