//! How an attempt is carried: as one HTTP/1.1 exchange, and as a TCP connection.
use weft_decide::Picked;
use weft_ir::EndpointAddress;

use super::{
    attempts::{Answer, Attempt, AttemptFailed, Carrier, Verdict},
    histogram::add,
    http::{Conn, Exchange, ExchangeError, Flow, Forward, Incoming, Outcome, Progress},
    job::Application,
    pool::Proven,
    record::Stage,
    respond::Failure,
    serve::Http1Job,
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
    pub(super) tunnel: &'a mut Option<Conn>,
    /// Whether part of the body went to an upstream and is not there any more.
    pub(super) spent: bool,
}

impl Carrier for Http1<'_> {
    type Done = Outcome;

    fn can_repeat(&self) -> bool {
        !self.spent
    }

    async fn try_once(&mut self, attempt: &mut Attempt<'_, '_>) -> Result<Outcome, AttemptFailed> {
        let mut upstream = connect(attempt).await.map_err(AttemptFailed::before)?;
        attempt.connected();
        self.spent = !self.body.is_read();
        let sides = (&mut *self.client, &mut *self.body);
        let mut exchange = Exchange::begin(self.incoming, &self.forward, sides, &mut upstream, self.progress).await?;
        let head = exchange.final_head().await?;
        if attempt.judge(Answer { status: head.status }) == Verdict::HoldBack {
            return Err(AttemptFailed::HeldBack);
        }
        let outcome = exchange.finish(head).await?;
        if outcome.switched {
            *self.tunnel = Some(upstream);
        } else if outcome.upstream_lives {
            let EndpointAddress::Socket(address) = attempt.picked().address();
            let worker = attempt.worker();
            worker.pool().put(address, proven(attempt.picked()), worker.timeouts().pool_idle, upstream);
        }
        Ok(outcome)
    }
}

async fn connect(attempt: &Attempt<'_, '_>) -> Result<Conn, Failure> {
    let (worker, picked) = (attempt.worker(), attempt.picked());
    let EndpointAddress::Socket(address) = picked.address();
    if attempt.may_reuse()
        && let Some(conn) = worker.pool().take(address, proven(picked))
    {
        add(&worker.totals().upstream_reused, 1);
        return Ok(conn);
    }
    upstream::secure(worker, picked, Wire::Http1).await.map(Conn::new)
}

pub(super) fn proven<'a>(picked: &Picked<'a>) -> Proven<'a> {
    Proven { peer: Some((picked.identity(), picked.sni())) }
}

impl From<ExchangeError> for AttemptFailed {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::NothingWritten(_) => Self::NothingWritten(error.into()),
            ExchangeError::NotProcessed => Self::NotProcessed(error.into()),
            ExchangeError::ClientGone
            | ExchangeError::ClientReset(_)
            | ExchangeError::ClientMalformed(_)
            | ExchangeError::UpstreamGone(_)
            | ExchangeError::UpstreamReset(_)
            | ExchangeError::UpstreamMalformed(_)
            | ExchangeError::Idle(_) => Self::Unknown(error.into()),
        }
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
    let sides = (&mut *job.client, &mut *job.body);
    let mut exchange = Exchange::begin(incoming, forward, sides, &mut upstream, job.progress).await?;
    let head = exchange.final_head().await?;
    let outcome = exchange.finish(head).await?;
    if outcome.switched {
        *job.tunnel = Some(upstream);
    } else if outcome.upstream_lives {
        keep(application, upstream);
    }
    Ok(outcome)
}

/// The stage *connect* towards an application that speaks HTTP/1.1.
pub(super) async fn application_conn(application: Application<'_>) -> Result<Conn, Failure> {
    let Application { worker, address, protocol: _ } = application;
    if let Some(conn) = worker.pool().take(address, Proven { peer: None }) {
        add(&worker.totals().upstream_reused, 1);
        return Ok(conn);
    }
    upstream::plain(worker, address, worker.timeouts().application_connect).await.map(Conn::new)
}

/// Keeps a connection to the application for later.
pub(super) fn keep(Application { worker, address, protocol: _ }: Application<'_>, conn: Conn) {
    worker.pool().put(address, Proven { peer: None }, worker.timeouts().application_idle, conn);
}

/// A TCP connection: the attempt ends when the upstream is secured, its bytes are the relay's.
pub(super) struct Tcp;

impl Carrier for Tcp {
    type Done = Io;

    fn can_repeat(&self) -> bool {
        true
    }

    async fn try_once(&mut self, attempt: &mut Attempt<'_, '_>) -> Result<Io, AttemptFailed> {
        let io = upstream::secure(attempt.worker(), attempt.picked(), Wire::Tcp).await;
        let io = io.map_err(AttemptFailed::before)?;
        attempt.connected();
        Ok(io)
    }
}
