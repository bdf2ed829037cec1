//! The outbound path: accept ─ detect ─ normalize ─ route ─ permit ─ pick ─ connect (secures the upstream) ─ stream ─
//! record. HTTP repeats it from *normalize* for each request.
use std::{rc::Rc, time::Duration};

use tokio::net::TcpStream;
use weft_decide::{
    Draws, FieldEdits, Hop, Refusal, RequestHead, Rewritten, Routing, normalize, permit_answer, permit_outbound, route,
    route_tcp,
};
use weft_ir::ServiceKey;
use weft_net::PeerAddr;

use super::{
    attempts::{Attempts, Kept},
    carry::Tcp,
    http::{Conn, Forward, Outcome},
    job::{Head, Job},
    metrics::Direction,
    mirror::Mirroring,
    record::{Key, Record, Stage},
    relay::{Begun, relay},
    respond::{Ending, Failure},
    serve::{Path, serve},
    tls::Io,
    watch::Watching,
    worker::{View, Worker},
};

/// Serves a connection of the application to the HTTP outbound listener.
pub(super) async fn http(worker: &Rc<Worker>, tcp: TcpStream, peer: PeerAddr) {
    serve(worker, Rc::new(Outbound { worker: worker.clone() }), Conn::new(Io::Plain(tcp)), peer).await;
}

/// Serves a connection of the application to the listener of a TCP service port.
pub(super) async fn tcp(worker: &Worker, tcp: TcpStream, peer: PeerAddr, service: &ServiceKey) {
    let mut record = Record::begin(worker.ledger(), Direction::Outbound, true, peer);
    // Boxed: what finds an upstream is gone when bytes flow.
    match Box::pin(tcp_upstream(worker, service, &mut record)).await {
        // Nothing narrows what goes out: there is nothing to look at again.
        Ok((mut upstream, _kept)) => {
            let ends = (&mut Io::Plain(tcp), &mut upstream);
            relay(worker, &mut record, None, ends, Begun::default()).await;
        }
        Err(Failure { ending, detail, answer: _ }) => {
            // Where even the option fails, the socket is gone.
            let _ = weft_net::reset_on_close(&tcp);
            record.fail(ending, detail);
        }
    }
}

async fn tcp_upstream(worker: &Worker, service: &ServiceKey, record: &mut Record) -> Result<(Io, Kept), Failure> {
    let mut deadline = None;
    loop {
        let view = view(worker)?;
        record.decided_by(&view.revision, Draws::default());
        record.at(Stage::Route);
        let destination = match route_tcp(&view.snapshot, service) {
            Routing::Routed(routed) => {
                record.at(Stage::Permit);
                let permitted = permit_outbound(routed);
                return Attempts { worker, view: &view, permitted, method: "", split: 0, bound: None }
                    .run(&mut Tcp, record)
                    .await;
            }
            // No route stands at a TCP service port.
            Routing::Answers(_) => return Err(Failure::new(Ending::WrongProtocol, "a connection has no answer")),
            Routing::Refused(refusal) => return Err(refusal.into()),
            Routing::Needs(destination) => destination,
        };
        worker.learn(destination, &mut deadline).await?;
    }
}

fn view(worker: &Worker) -> Result<Rc<View>, Failure> {
    worker.view().ok_or_else(|| Failure::new(Ending::Unready, "this proxy has no configuration yet"))
}

struct Outbound {
    worker: Rc<Worker>,
}

impl Path for Outbound {
    const DIRECTION: Direction = Direction::Outbound;

    fn idle(&self) -> Duration {
        self.worker.timeouts().client_idle
    }

    /// Nothing narrows what goes out.
    fn watch(&self, _: &impl Head) -> Option<Watching<'_>> {
        None
    }

    async fn carry<J: Job>(&self, head: &J::Head, job: &mut J) -> Result<Outcome, Failure> {
        let Self { worker } = self;
        worker.admit()?;
        job.record().at(Stage::Normalize);
        let (mut view, split) = (view(worker)?, worker.draw());
        // From here on, so that a refusal is replayed as well as a forwarded request.
        job.record().decided_by(&view.revision, Draws { split, pick: 0 });
        let fields = head.fields();
        let source = Some(job.record().peer().0.ip());
        let decided = RequestHead { source, ..head.decided(&fields) };
        let request = normalize(view.snapshot.scope(), &decided).map_err(Refusal::from)?;
        job.record().note(Key::Method, request.method);
        job.record().note(Key::Authority, &request.authority);
        job.record().note(Key::Path, &request.target.path);
        let hop = Hop::read(request.headers, || worker.draw());
        job.record().belongs(&hop);
        let mut deadline = None;
        loop {
            job.record().at(Stage::Route);
            let destination = match route(&view.snapshot, &request, split) {
                Routing::Routed(routed) => {
                    job.record().at(Stage::Permit);
                    let permitted = permit_outbound(routed);
                    if let Some(origin) = routed.origin() {
                        job.record().note(Key::Route, origin);
                    }
                    let Rewritten { path, host } = routed.rewritten(&request);
                    if *path != *request.target.path || *host != *request.host {
                        job.record().note(Key::Rewritten, format_args!("{host}{path}"));
                    }
                    let whole = [routed.timeout(), routed.stream_timeout()].into_iter().flatten().min();
                    let bound = hop.time.bound(whole);
                    let started = job.record().started();
                    let elapsed = started.elapsed();
                    let left = hop.left(bound.map(|bound| bound.saturating_sub(elapsed)));
                    // What a route writes comes last, and wins.
                    let mut edits = FieldEdits::default();
                    hop.edit(&mut edits);
                    left.edit_to_peer(&mut edits);
                    routed.request_changes().for_each(|changes| edits.change(changes));
                    let last = || worker.is_leaving(Direction::Outbound);
                    let forward = Forward {
                        path: &path,
                        query: request.target.query,
                        host: head.host(&host),
                        last: &last,
                        trusts_answers: true,
                        body_idle: routed.idle_timeout().unwrap_or_else(|| worker.timeouts().body_idle),
                        bounds_all: routed.idle_timeout().is_some(),
                        until: routed.stream_timeout().map(|bound| started + bound),
                        set_cookie: routed.set_cookie().map(|cookie| cookie.to_string()),
                        edits,
                        answer_edits: routed.answer_edits(&request),
                    };
                    let mirroring = Mirroring::new(worker, &view, &routed, split);
                    let (mut carrier, record) = job.to_peer(mirroring, head, forward);
                    let attempts = Attempts { worker, view: &view, permitted, method: request.method, split, bound };
                    return attempts.run(&mut carrier, record).await;
                }
                Routing::Answers(answers) => {
                    job.record().at(Stage::Permit);
                    job.record().note(Key::Route, answers.origin());
                    job.record().on(answers.service(), answers.service());
                    return Err(permit_answer(answers).answer(&request).into());
                }
                Routing::Refused(refusal) => return Err(refusal.into()),
                Routing::Needs(destination) => destination,
            };
            worker.learn(destination, &mut deadline).await?;
            view = self::view(worker)?;
            job.record().decided_by(&view.revision, Draws { split, pick: 0 });
        }
    }
}
