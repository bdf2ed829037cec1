//! The inbound path: accept ─ detect ─ secure ─ detect inside ─ normalize ─ route ─ permit ─ pick ─ connect ─ stream ─
//! record. TCP is permitted once a connection; HTTP repeats it from *normalize* for each request.
use std::{net::SocketAddr, rc::Rc, time::Duration};

use tokio::{
    net::TcpStream,
    time::{timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use weft_certs::tls::peer_identity;
use weft_decide::{
    Admitted, Chain, Denied, Detection, Draws, FieldEdits, Hop, KeptRequest, Refusal, detect, normalize, permit,
    permit_request,
};
use weft_model::SpiffeId;
use weft_net::{PeerAddr, reset_on_close};

use super::{
    gate::Limit,
    histogram::add,
    http::{Conn, Forward, Outcome},
    http2,
    job::{Application, Head, Job},
    metrics::Direction,
    mirror::MIRROR,
    record::{Key, Record, Stage},
    relay::{Begun, relay},
    respond::{Ending, Failure},
    serve::{Path, serve},
    strangers::Newcomer,
    tls::{Io, Wire},
    upstream,
    watch::Watching,
    worker::{View, Worker},
};

/// What a caller's time is exceeded by before this side says that it is over. Its own sidecar says so first, on a busy
/// machine too: that no answer came in time is then its own finding, and not the endpoint's 504. It gives the request up
/// as well, so that this bound is only for a caller that does not.
const TELLS_ITSELF: Duration = Duration::from_millis(100);

/// Serves a peer's connection to the inbound listener; `newcomer` is its place among those who have not proven who they are.
pub(super) async fn connection(worker: &Rc<Worker>, (tcp, newcomer): (TcpStream, Newcomer), peer: PeerAddr) {
    let mut record = Record::begin(worker.ledger(), Direction::Inbound, true, peer);
    // Boxed: neither the handshake nor a TCP relay makes the HTTP connection larger that waits for a request.
    let secured = Box::pin(secured(worker, (tcp, &newcomer), &mut record)).await;
    drop(newcomer);
    match secured {
        Ok(Secured { io, caller, server_name, wire: wire @ (Wire::Http1 | Wire::Http2) }) => {
            // From here on each request has its own record.
            record.forget();
            let path = Rc::new(Inbound { worker: worker.clone(), caller, server_name });
            if wire == Wire::Http2 {
                Box::pin(http2::serve(worker, path, io.into(), peer)).await;
            } else {
                serve(worker, path, Conn::new(io), peer).await;
            }
        }
        Ok(secured @ Secured { wire: Wire::Tcp, .. }) => Box::pin(tcp_stream(worker, secured, &mut record)).await,
        Err(Failure { ending, detail, answer: _ }) => record.fail(ending, detail),
    }
}

/// A peer that has proven who it is.
struct Secured {
    io: Io,
    caller: SpiffeId,
    server_name: String,
    wire: Wire,
}

/// The stages *detect* and *secure*.
async fn secured(
    worker: &Worker,
    (tcp, newcomer): (TcpStream, &Newcomer),
    record: &mut Record,
) -> Result<Secured, Failure> {
    let bound = worker.timeouts().handshake;
    let identity = worker.identity();
    let identity = identity.ok_or_else(|| Failure::new(Ending::Unready, "this proxy has no certificate yet"))?;
    let handshake = async {
        record.at(Stage::Detect);
        let mut prefix = [0; 64];
        let seen = tcp.peek(&mut prefix).await.map_err(|error| Failure::new(Ending::ClientGone, error.to_string()))?;
        if let Some(spoken) = plaintext(prefix.get(..seen).unwrap_or_default()) {
            // Nothing reaches the application, and nothing is said to whom we do not know.
            let _ = reset_on_close(&tcp);
            return Err(Failure::new(Ending::Plaintext, format!("the client speaks {spoken}, not mesh TLS")));
        }
        record.at(Stage::Secure);
        let accepted = TlsAcceptor::from(identity.server()).accept(tcp).await;
        accepted.map_err(|error| {
            add(&worker.totals().handshakes_failed, 1);
            Failure::new(Ending::Handshake, format!("the TLS handshake failed: {error}"))
        })
    };
    let tls = tokio::select! {
        biased;
        outcome = timeout(bound, handshake) => match outcome {
            Ok(tls) => tls?,
            Err(_) => return Err(Failure::new(Ending::Handshake, format!("no TLS handshake within {bound:?}"))),
        },
        () = newcomer.gives_way() => {
            worker.turned_away(Limit::Handshakes);
            let detail = "no TLS handshake, and newer clients needed its place among those who have not proven who they are";
            return Err(Failure::new(Ending::Handshake, detail));
        }
    };
    let session = tls.get_ref().1;
    let caller = peer_identity(session);
    let caller = caller.ok_or_else(|| Failure::new(Ending::Handshake, "the client's certificate names nobody"))?;
    record.note(Key::Caller, &caller);
    let server_name = session.server_name().unwrap_or_default().to_owned();
    let Some(wire) = session.alpn_protocol().and_then(Wire::of_alpn) else {
        let _ = reset_on_close(tls.get_ref().0);
        return Err(Failure::new(Ending::WrongProtocol, "the client offers none of h2, http/1.1 and weft-tcp"));
    };
    Ok(Secured { io: Io::Server(Box::new(tls)), caller, server_name, wire })
}

/// What a client speaks that does not begin with a TLS handshake record (RFC 8446 §5.1).
fn plaintext(prefix: &[u8]) -> Option<&'static str> {
    match (prefix, detect(prefix)) {
        ([], _) => Some("nothing"),
        ([0x16, ..], Detection::More | Detection::Tls(_)) => None,
        (_, Detection::Http1) => Some("HTTP/1"),
        (_, Detection::Http2) => Some("HTTP/2"),
        (_, Detection::More | Detection::Tls(_) | Detection::Opaque) => Some("something else"),
    }
}

/// The chain of a server name, if the connection speaks what its application understands: HTTP of either version, or
/// bytes.
fn chain<'v>(view: &'v View, server_name: &str, is_http: bool) -> Result<Chain<'v>, Failure> {
    let chain = view.snapshot.chain(server_name);
    let chain = chain.ok_or_else(|| Refusal::Misdirected { server_name: server_name.to_owned() })?;
    if chain.ir().protocol.is_http() != is_http {
        let text = format!("{} does not speak what the connection was opened for", chain.ir().service);
        return Err(Failure::new(Ending::WrongProtocol, text));
    }
    Ok(chain)
}

/// The rest of a TCP connection's path.
async fn tcp_stream(worker: &Worker, secured: Secured, record: &mut Record) {
    let Secured { mut io, caller, server_name, wire: _ } = secured;
    let watching = worker.watch().begin(&caller, &server_name, None);
    let upstream = async {
        record.at(Stage::Route);
        let view = worker.view();
        let view = view.ok_or_else(|| Failure::new(Ending::Unready, "this proxy has no configuration yet"))?;
        record.decided_by(&view.revision, Draws::default());
        let chain = chain(&view, &server_name, false)?;
        let address = admitted(worker, chain, record, |chain| permit(chain, &caller))?;
        record.at(Stage::Connect);
        upstream::plain(worker, address, worker.timeouts().application_connect).await
    };
    // A permission that is withdrawn meanwhile is found by the relay's first turn: connecting takes less than the second
    // within which it must have effect.
    match upstream.await {
        Ok(mut upstream) => {
            relay(worker, record, Some(&watching), (&mut io, &mut upstream), Begun::default()).await;
        }
        Err(Failure { ending, detail, answer: _ }) => {
            // Where even the option fails, the socket is gone.
            let _ = reset_on_close(io.tcp());
            record.fail(ending, detail);
        }
    }
}

/// The stages *permit* and *pick*: where the application that the caller may use listens.
fn admitted<'v>(
    worker: &Worker,
    chain: Chain<'v>,
    record: &mut Record,
    permit: impl FnOnce(Chain<'v>) -> Result<Admitted<'v>, Denied>,
) -> Result<SocketAddr, Failure> {
    let key = chain.key();
    record.on(key, key);
    record.at(Stage::Permit);
    let admitted = permit(chain).map_err(|denied| {
        if let Denied::Rule { rule, .. } = &denied {
            record.note(Key::Rule, rule);
        }
        Refusal::from(denied)
    })?;
    if let Some(rule) = admitted.permit().rule() {
        record.note(Key::Rule, rule);
    }
    record.at(Stage::Pick);
    Ok(worker.application(admitted.chain().application_port))
}

struct Inbound {
    worker: Rc<Worker>,
    caller: SpiffeId,
    server_name: String,
}

impl Path for Inbound {
    const DIRECTION: Direction = Direction::Inbound;

    fn idle(&self) -> Duration {
        self.worker.timeouts().server_idle
    }

    fn watch(&self, head: &impl Head) -> Option<Watching<'_>> {
        let Self { worker, caller, server_name } = self;
        let (view, fields) = (worker.view(), head.fields());
        // It had a normal form when it was permitted; without one it is judged as bytes are, of which less is allowed.
        let opened_by = view.as_ref().and_then(|view| {
            let request = normalize(view.snapshot.scope(), &head.decided(&fields)).ok()?;
            Some(Box::new(KeptRequest::of(&request)))
        });
        let watching = worker.watch().begin(caller, server_name, opened_by);
        // What has been withdrawn since its request was permitted is found now.
        if let Some(view) = view {
            watching.look(&view);
        }
        Some(watching)
    }

    async fn carry<J: Job>(&self, head: &J::Head, job: &mut J) -> Result<Outcome, Failure> {
        let Self { worker, caller, server_name } = self;
        job.record().note(Key::Caller, caller);
        worker.admit()?;
        job.record().at(Stage::Normalize);
        let view = worker.view();
        let view = view.ok_or_else(|| Failure::new(Ending::Unready, "this proxy has no configuration yet"))?;
        job.record().decided_by(&view.revision, Draws::default());
        let fields = head.fields();
        let request = normalize(view.snapshot.scope(), &head.decided(&fields)).map_err(Refusal::from)?;
        job.record().note(Key::Method, request.method);
        job.record().note(Key::Authority, &request.authority);
        job.record().note(Key::Path, &request.target.path);
        let hop = Hop::read(request.headers, || worker.draw());
        job.record().belongs(&hop);
        if let Some((_, original)) = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(MIRROR.as_bytes())) {
            job.record().note(Key::MirrorOf, String::from_utf8_lossy(original));
        }
        job.record().at(Stage::Route);
        let chain = chain(&view, server_name, true)?;
        let address = admitted(worker, chain, job.record(), |chain| permit_request(chain, caller, &request))?;
        job.record().at(Stage::Connect);
        let (bound, started) = (hop.time.bound(None), job.record().started());
        let left = hop.left(bound.map(|bound| bound.saturating_sub(started.elapsed())));
        let (mut edits, answer_edits) = (FieldEdits::default(), FieldEdits::default());
        hop.edit(&mut edits);
        left.edit_to_application(&mut edits);
        let (path, query) = (&*request.target.path, request.target.query);
        let (last, body_idle) = (|| worker.is_leaving(Direction::Inbound), worker.timeouts().body_idle);
        let host = head.host(&request.host);
        let (trusts_answers, bounds_all, until, set_cookie) = (false, false, None, None);
        let last = &last;
        let forward = Forward {
            path,
            query,
            host,
            last,
            trusts_answers,
            body_idle,
            bounds_all,
            until,
            set_cookie,
            edits,
            answer_edits,
        };
        let application = Application { worker, address, protocol: chain.ir().protocol };
        let carried = job.to_application(head, application, &forward);
        let Some(bound) = bound else { return carried.await };
        timeout_at(started + bound + TELLS_ITSELF, carried).await.unwrap_or_else(|_| {
            Err(Failure::new(Ending::Timeout, format!("no whole answer within the {bound:?} that its caller has")))
        })
    }
}
