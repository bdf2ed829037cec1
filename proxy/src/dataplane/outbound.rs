//! The outbound path: accept ─ detect ─ normalize ─ route ─ permit ─ pick ─ connect (secures the upstream) ─ stream ─
//! record. HTTP repeats it from *normalize* for each request.
use std::{rc::Rc, time::Duration};

use tokio::{net::TcpStream, time::timeout_at};
use weft_decide::{
    Draws, Permitted, Picked, Refusal, RequestHead, Routing, normalize, permit_outbound, pick, route, route_tcp,
};
use weft_ir::{EndpointAddress, ServicePort};
use weft_model::Protocol;
use weft_net::PeerAddr;

use super::{
    histogram::add,
    http::{Conn, Exchange, ExchangeError, Forward, Incoming, Outcome},
    metrics::Direction,
    pool::Proven,
    record::{Key, Record, Stage},
    relay::relay,
    respond::{Ending, Failure},
    serve::{Job, Path, serve},
    tls::Io,
    upstream,
    worker::{View, Worker},
};

/// How often a request is sent again: only where connecting failed, or it was proven that it was not processed.
const MAX_REPEATS: u8 = 2;

/// Serves a connection of the application to the HTTP outbound listener.
pub(super) async fn http(worker: &Worker, tcp: TcpStream, peer: PeerAddr) {
    serve(worker, &Outbound { worker }, Conn::new(Io::Plain(tcp)), peer).await;
}

/// Serves a connection of the application to the listener of a TCP service port.
pub(super) async fn tcp(worker: &Worker, tcp: TcpStream, peer: PeerAddr, service: &ServicePort) {
    let mut record = Record::begin(worker.ledger(), Direction::Outbound, true, peer);
    match tcp_upstream(worker, service, &mut record).await {
        // Nothing narrows what goes out: there is nothing to look at again.
        Ok(upstream) => relay(&mut record, None, Io::Plain(tcp), upstream).await,
        Err(Failure { ending, detail }) => {
            // Where even the option fails, the socket is gone.
            let _ = weft_net::reset_on_close(&tcp);
            record.fail(ending, detail);
        }
    }
}

async fn tcp_upstream(worker: &Worker, service: &ServicePort, record: &mut Record) -> Result<Io, Failure> {
    let mut deadline = None;
    loop {
        let view = view(worker)?;
        record.decided_by(&view.revision, Draws::default());
        record.at(Stage::Route);
        let destination = match route_tcp(&view.snapshot, service) {
            Routing::Routed(routed) => {
                record.at(Stage::Permit);
                let permitted = permit_outbound(routed);
                let mut repeats = 0;
                loop {
                    let picked = picked(worker, &view, permitted, 0, record)?;
                    record.at(Stage::Connect);
                    match upstream::secure(worker, &picked, Protocol::Tcp).await {
                        Err(_) if repeats < MAX_REPEATS => repeats += 1,
                        connected => {
                            if connected.is_ok() {
                                record.note(Key::Server, picked.identity());
                            }
                            return connected;
                        }
                    }
                    record.repeats = repeats;
                }
            }
            Routing::Refused(refusal) => return Err(refusal.into()),
            Routing::Needs(destination) => destination,
        };
        worker.learn(destination, &mut deadline).await?;
    }
}

fn view(worker: &Worker) -> Result<Rc<View>, Failure> {
    worker.view().ok_or_else(|| Failure::new(Ending::Unready, "this proxy has no configuration yet"))
}

/// The stage *pick*, kept in the record.
fn picked<'v>(
    worker: &Worker,
    view: &'v View,
    permitted: Permitted<'v>,
    split: u64,
    record: &mut Record,
) -> Result<Picked<'v>, Failure> {
    record.at(Stage::Pick);
    let routed = permitted.routed();
    let cluster = &routed.cluster().cluster().name;
    let draws = Draws { split, pick: worker.cursor(cluster) };
    record.on(routed.service(), cluster);
    record.decided_by(&view.revision, draws);
    let picked = pick(permitted, draws.pick)?;
    record.note(Key::Endpoint, &picked.endpoint().workload);
    Ok(picked)
}

struct Outbound<'a> {
    worker: &'a Worker,
}

impl Path for Outbound<'_> {
    const DIRECTION: Direction = Direction::Outbound;

    fn idle(&self) -> Duration {
        self.worker.timeouts().client_idle
    }

    async fn carry(&self, incoming: &Incoming, job: &mut Job<'_>) -> Result<Outcome, Failure> {
        let Self { worker } = self;
        if incoming.head.upgrade {
            return Err(Failure::new(Ending::NotOffered, "Upgrade to another protocol is not offered"));
        }
        job.record.at(Stage::Normalize);
        let (mut view, split) = (view(worker)?, worker.draw());
        // From here on, so that a refusal is replayed as well as a forwarded request.
        job.record.decided_by(&view.revision, Draws { split, pick: 0 });
        let fields = incoming.fields();
        let request = normalize(view.snapshot.scope(), &decided(incoming, &fields)).map_err(Refusal::from)?;
        job.record.note(Key::Method, request.method);
        job.record.note(Key::Authority, &request.authority);
        job.record.note(Key::Path, &request.target.path);
        let mut deadline = None;
        loop {
            job.record.at(Stage::Route);
            let destination = match route(&view.snapshot, &request, split) {
                Routing::Routed(routed) => {
                    job.record.at(Stage::Permit);
                    let permitted = permit_outbound(routed);
                    if let Some(origin) = routed.origin() {
                        job.record.note(Key::Route, origin);
                    }
                    let (path, query) = (&*request.target.path, request.target.query);
                    let (last, body_idle) = (worker.is_draining(), worker.timeouts().body_idle);
                    let forward = Forward { path, query, last, trusts_answers: true, body_idle };
                    return Attempts { worker, view: &view, permitted, forward, split }.in_time(incoming, job).await;
                }
                Routing::Refused(refusal) => return Err(refusal.into()),
                Routing::Needs(destination) => destination,
            };
            worker.learn(destination, &mut deadline).await?;
            view = self::view(worker)?;
            job.record.decided_by(&view.revision, Draws { split, pick: 0 });
        }
    }
}

/// What the evaluator looks at.
pub(super) fn decided<'a>(incoming: &'a Incoming, fields: &'a [(&'a [u8], &'a [u8])]) -> RequestHead<'a> {
    let (head, bytes) = (&incoming.head, incoming.bytes());
    RequestHead {
        method: head.method.bytes(bytes),
        authority: head.host.bytes(bytes),
        target: head.target.bytes(bytes),
        headers: fields,
    }
}

/// A permitted request that looks for an endpoint to answer it.
struct Attempts<'v> {
    worker: &'v Worker,
    view: &'v View,
    permitted: Permitted<'v>,
    forward: Forward<'v>,
    split: u64,
}

impl Attempts<'_> {
    async fn in_time(&self, incoming: &Incoming, job: &mut Job<'_>) -> Result<Outcome, Failure> {
        let Some(bound) = self.permitted.routed().timeout() else { return self.run(incoming, job).await };
        let deadline = job.record.started() + bound;
        match timeout_at(deadline, self.run(incoming, job)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::new(Ending::Timeout, format!("no whole answer within the route's {bound:?}"))),
        }
    }

    /// Loops from *pick*. The first attempt may use a connection of the pool; later ones make their own.
    async fn run(&self, incoming: &Incoming, job: &mut Job<'_>) -> Result<Outcome, Failure> {
        loop {
            let picked = picked(self.worker, self.view, self.permitted, self.split, job.record)?;
            job.record.at(Stage::Connect);
            let mut upstream = match self.connect(&picked, job.record.repeats == 0).await {
                Err(_) if job.record.repeats < MAX_REPEATS => {
                    job.record.repeats += 1;
                    continue;
                }
                connected => connected?,
            };
            job.record.note(Key::Server, picked.identity());
            job.record.at(Stage::Stream);
            let whole = job.body.is_read();
            let sides = (&mut *job.client, &mut *job.body);
            let exchange = Exchange::begin(incoming, &self.forward, sides, &mut upstream, job.progress);
            let finished = match exchange.await {
                Ok(exchange) => exchange.finish().await,
                Err(error) => Err(error),
            };
            match finished {
                Ok(outcome) => {
                    if outcome.upstream_lives {
                        let EndpointAddress::Socket(address) = picked.address();
                        let bound = self.worker.timeouts().pool_idle;
                        self.worker.pool().put(address, proven(&picked), bound, upstream);
                    }
                    return Ok(outcome);
                }
                Err(ExchangeError::NothingWritten(_) | ExchangeError::NotProcessed)
                    if whole && job.record.repeats < MAX_REPEATS =>
                {
                    job.record.repeats += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn connect(&self, picked: &Picked<'_>, may_reuse: bool) -> Result<Conn, Failure> {
        let EndpointAddress::Socket(address) = picked.address();
        if may_reuse && let Some(conn) = self.worker.pool().take(address, proven(picked)) {
            add(&self.worker.totals().upstream_reused, 1);
            return Ok(conn);
        }
        upstream::secure(self.worker, picked, Protocol::Http).await.map(Conn::new)
    }
}

fn proven<'a>(picked: &Picked<'a>) -> Proven<'a> {
    Proven { peer: Some((picked.identity(), picked.sni())) }
}
