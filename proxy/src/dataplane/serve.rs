//! A client's HTTP/1.1 connection, request after request: reading heads, answering what is refused, staying or leaving.
//! What happens to one request is its path's ([`Path`]): inbound or outbound.
use std::{future::poll_fn, io::IoSlice, rc::Rc, task::Poll, time::Duration};

use tokio::time::{Instant, timeout};
use weft_decide::RequestHead;
use weft_model::Protocol;
use weft_net::{PeerAddr, Relay, reset_on_close};

use super::{
    alarm::Alarm,
    attempts::Carrier,
    carry::{self, Http1},
    histogram::add,
    http::{Conn, Flow, Forward, HeadError, Incoming, Malformed, Outcome, Progress, Replay, Version, persistence},
    http2::{self, PREFACE_HEAD, Prefixed},
    job::{Application, Head, Job},
    metrics::Direction,
    mirror::Mirroring,
    pool::Upstream,
    record::{Key, Record, Stage},
    relay::{Begun, Leg, relay},
    respond::{Blame, Ending, Failure, reason},
    settings::ServeHttp10,
    watch::Watching,
    worker::Worker,
};

/// What an HTTP/1.0 client is told where none is served.
const NO_HTTP10: &str = "this sidecar serves no HTTP/1.0 (its setting http10.serve is refuse)";

/// How long a connection that we close is read on, so that a reset does not overtake the answer (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(1);

/// A request under way that came by HTTP/1.1.
pub(super) struct Http1Job<'a> {
    /// Who asked.
    pub(super) client: &'a mut Conn,
    /// The rest of the request's body.
    pub(super) body: &'a mut Flow,
    /// What is known of it.
    pub(super) record: &'a mut Record,
    /// What was done so far.
    pub(super) progress: &'a mut Progress,
    /// The upstream, once both connections have left HTTP.
    pub(super) tunnel: &'a mut Option<Tunnel>,
}

/// Where the bytes of a client go that has left HTTP's messages behind.
pub(super) struct Tunnel {
    pub(super) far: Far,
    /// How long it may stand still, where a policy says so.
    pub(super) idle: Option<Duration>,
    /// When it must be over, where a policy says so.
    pub(super) until: Option<Instant>,
}

impl Tunnel {
    /// One that no policy bounds.
    pub(super) const fn to(far: Far) -> Self {
        Self { far, idle: None, until: None }
    }
}

/// The other end of a tunnel.
pub(super) enum Far {
    /// A connection that has left HTTP/1.1.
    Http1(Upstream),
    /// A stream of an HTTP/2 connection.
    Http2(http2::Stream),
}

impl Job for Http1Job<'_> {
    type Head = Incoming;

    fn record(&mut self) -> &mut Record {
        self.record
    }

    fn to_peer<'a>(
        &'a mut self,
        mirroring: Mirroring<'a>,
        incoming: &'a Incoming,
        forward: Forward<'a>,
    ) -> (impl Carrier<Done = Outcome> + 'a, &'a mut Record) {
        let Self { client, body, record, progress, tunnel } = self;
        let replay = Replay::new(mirroring.worker().replays());
        (Http1 { incoming, forward, client, body, progress, tunnel, replay, mirroring: Some(mirroring) }, record)
    }

    async fn to_application(
        &mut self,
        incoming: &Incoming,
        application: Application<'_>,
        forward: &Forward<'_>,
    ) -> Result<Outcome, Failure> {
        match application.protocol {
            Protocol::Http2 => Box::pin(http2::http1_to_application(self, incoming, application, forward)).await,
            Protocol::Http | Protocol::Tcp => carry::to_application(self, incoming, application, forward).await,
        }
    }
}

impl Head for Incoming {
    fn fields(&self) -> Vec<(&[u8], &[u8])> {
        self.head.fields.kept(self.bytes()).collect()
    }

    fn decided<'a>(&'a self, fields: &'a [(&'a [u8], &'a [u8])]) -> RequestHead<'a> {
        let (head, bytes) = (&self.head, self.bytes());
        RequestHead {
            method: head.method.bytes(bytes),
            authority: head.host.bytes(bytes),
            target: head.target.bytes(bytes),
            headers: fields,
            source: None,
        }
    }

    fn host<'a>(&self, normal: &'a str) -> Option<&'a str> {
        (self.head.host.bytes(self.bytes()) != normal.as_bytes()).then_some(normal)
    }

    fn tunnel(&self) -> Option<String> {
        if self.head.connect {
            return Some("connect".to_owned());
        }
        let protocols: Vec<_> = self.head.protocols(self.bytes()).map(String::from_utf8_lossy).collect();
        self.head.upgrade.then(|| protocols.join(", "))
    }
}

/// What is done with a request: everything between reading its head and ending its record.
pub(super) trait Path {
    /// Which way it goes.
    const DIRECTION: Direction;

    /// How long a client may be silent between requests.
    fn idle(&self) -> Duration;

    /// Watches that the tunnel that a request of this client has opened stays permitted, where anything could withdraw it.
    fn watch(&self, head: &impl Head) -> Option<Watching<'_>>;

    /// Takes a request through the path's stages.
    async fn carry<J: Job>(&self, head: &J::Head, job: &mut J) -> Result<Outcome, Failure>;
}

/// Serves a client until it or we have had enough.
pub(super) async fn serve<P: Path + 'static>(worker: &Rc<Worker>, path: Rc<P>, mut client: Conn, peer: PeerAddr) {
    let mut alarm = Alarm::default();
    // Peers say by ALPN what they speak, applications by their first bytes (RFC 9113 §3.3).
    let mut may_be_http2 = P::DIRECTION == Direction::Outbound;
    while let Some(next) = next_head(worker, &*path, &mut client, &mut alarm).await {
        if std::mem::take(&mut may_be_http2) && client.input().starts_with(PREFACE_HEAD) {
            let (read, io) = client.into_parts();
            return Box::pin(http2::serve(worker, path, Prefixed::new(read, io), peer)).await;
        }
        // What exists only during a request is boxed: a connection that waits for its next one holds a third of the
        // memory, for one allocation a request.
        match Box::pin(request(worker, &*path, &mut client, next, peer)).await {
            After::Next => {}
            After::Leave => break,
            After::Drop => return,
        }
    }
    leave(client).await;
}

/// One request from its head to the end of its record.
async fn request(
    worker: &Worker,
    path: &impl Path,
    client: &mut Conn,
    head: Result<usize, Failure>,
    peer: PeerAddr,
) -> After {
    let mut record = Record::begin(worker.ledger(), direction(path), false, peer);
    record.at(Stage::Detect);
    let outside = direction(path) == Direction::Outbound;
    let http10 = worker.http10();
    let answer = Answer { lives: false, to_head: false, version: Version::Http11 };
    match head.and_then(|length| Incoming::take(client, length, outside, http10).map_err(malformed)) {
        Ok((incoming, _)) if incoming.head.version == Version::Http10 && http10.serve == ServeHttp10::Refuse => {
            let failure = Failure::new(Ending::Refused("http10", 505, Blame::Downstream), NO_HTTP10);
            refuse(client, &mut record, failure, Answer { to_head: incoming.is_head(), ..answer }).await
        }
        Ok((incoming, body)) => one(worker, path, (client, body), &incoming, &mut record).await,
        Err(failure) => refuse(client, &mut record, failure, answer).await,
    }
}

fn malformed(malformed: Malformed) -> Failure {
    Failure::new(Ending::Malformed(malformed), malformed.to_string())
}

/// What becomes of a client's connection after a request.
enum After {
    /// It may send the next.
    Next,
    /// It is ended in order.
    Leave,
    /// It is closed at once: it is gone, or gets a reset.
    Drop,
}

impl After {
    fn answer(lives: bool) -> Self {
        if lives { Self::Next } else { Self::Leave }
    }
}

/// One request and its record.
async fn one(
    worker: &Worker,
    path: &impl Path,
    (client, mut body): (&mut Conn, Flow),
    incoming: &Incoming,
    record: &mut Record,
) -> After {
    let mut progress = Progress::default();
    let (sides, mut tunnel) = ((&mut *client, &mut body), None);
    let mut job =
        Http1Job { client: sides.0, body: sides.1, record: &mut *record, progress: &mut progress, tunnel: &mut tunnel };
    let carried = path.carry(incoming, &mut job).await;
    (record.status, record.sent, record.received) = (progress.status, progress.sent, progress.received);
    record.grpc_status = progress.grpc_status;
    match carried {
        Ok(_) if let Some(tunnel) = tunnel => {
            // Boxed: hardly any connection comes to it.
            let early = client.take_input();
            Box::pin(tunnelled(worker, path, (incoming, record), (early, client.io_mut()), tunnel)).await;
            After::Drop
        }
        Ok(outcome) => {
            record.complete();
            After::answer(outcome.client_lives)
        }
        Err(failure) if progress.status.is_some() => {
            // The answer was begun: only a reset says that it is not whole. Where even that fails, the socket is gone.
            let _ = reset_on_close(client.tcp());
            record.fail(failure.ending, failure.detail);
            After::Drop
        }
        Err(failure) => {
            // What comes behind a request for another protocol may be meant for that.
            let Incoming { head, .. } = incoming;
            let lives = body.is_read() && head.keeps_alive && !head.upgrade && !worker.is_leaving(direction(path));
            refuse(client, record, failure, Answer { lives, to_head: incoming.is_head(), version: head.version }).await
        }
    }
}

/// Carries a tunnel's bytes to its end, those first that came behind the heads: `early` of the client's.
pub(super) async fn tunnelled(
    worker: &Worker,
    path: &impl Path,
    (head, record): (&impl Head, &mut Record),
    (early, near): (Vec<u8>, &mut impl Leg),
    Tunnel { far, idle, until }: Tunnel,
) {
    add(&worker.totals().tunnels, 1);
    if let Some(protocol) = head.tunnel() {
        record.note(Key::Tunnel, protocol);
    }
    let watching = path.watch(head);
    match far {
        Far::Http1(mut upstream) => {
            let begun = Begun { relay: Relay::new(early, upstream.conn.take_input()), idle, until };
            relay(worker, record, watching.as_ref(), (near, upstream.conn.io_mut()), begun).await;
        }
        Far::Http2(mut stream) => {
            let begun = Begun { relay: Relay::new(early, Vec::new()), idle, until };
            relay(worker, record, watching.as_ref(), (near, &mut stream), begun).await;
        }
    }
}

/// How a refusal is answered.
struct Answer {
    /// Whether the client may go on.
    lives: bool,
    /// Whether the answer has no body, because the method is HEAD.
    to_head: bool,
    /// The client's.
    version: Version,
}

/// Answers for ourselves and ends the record.
async fn refuse(client: &mut Conn, record: &mut Record, failure: Failure, answer: Answer) -> After {
    let ending = failure.ending;
    let Some(status) = ending.status() else {
        record.fail(ending, failure.detail);
        // Nobody is there to be told, or nothing that would be understood.
        let _ = reset_on_close(client.tcp());
        return After::Drop;
    };
    let (fields, body) = failure.told(record.id(), ending.unprocessed(record.direction()));
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in fields {
        head.extend([name.as_str(), ": ", &value, "\r\n"]);
    }
    // RFC 9110 §8.6.
    if !matches!(status, 204 | 304) {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    let parts = [head.as_bytes(), persistence(answer.version, answer.lives), body.as_bytes()];
    let slices = parts.map(IoSlice::new);
    let shown = if answer.to_head { &slices[..2] } else { &slices[..] };
    let queued = poll_fn(|cx| Poll::Ready(client.queue(cx, shown))).await;
    let sent = queued.is_ok() && poll_fn(|cx| client.poll_drain(cx)).await.is_ok();
    if sent {
        record.status = Some(status);
    }
    record.fail(ending, failure.detail);
    if sent { After::answer(answer.lives) } else { After::Drop }
}

/// Waits for the next request's head; its length, or why it is none. `None` when the client has gone, was silent for too
/// long, or we are draining.
async fn next_head(
    worker: &Worker,
    path: &impl Path,
    client: &mut Conn,
    alarm: &mut Alarm,
) -> Option<Result<usize, Failure>> {
    // Nothing is held and no timer is touched where the head comes with the first read.
    let mut reading = !client.input().is_empty();
    let (since, mut pressure) = (Instant::now(), worker.pressure());
    alarm.set(since + if reading { worker.timeouts().head } else { pressure.idle(path.idle()) });
    let bell = worker.bell(direction(path)).listen();
    poll_fn(|cx| {
        match client.poll_head(cx) {
            Poll::Ready(Ok(length)) => return Poll::Ready(length.map(Ok)),
            Poll::Ready(Err(HeadError::Io(_))) => return Poll::Ready(None),
            Poll::Ready(Err(HeadError::Malformed(Malformed::Truncated))) => return Poll::Ready(None),
            Poll::Ready(Err(HeadError::Malformed(wrong))) => return Poll::Ready(Some(Err(malformed(wrong)))),
            Poll::Pending => {}
        }
        if client.input().is_empty() {
            let now = worker.pressure();
            if std::mem::replace(&mut pressure, now) != now {
                alarm.set(since + now.idle(path.idle()));
            }
            if bell.poll(cx).is_ready() || alarm.poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            return Poll::Pending;
        }
        if !std::mem::replace(&mut reading, true) {
            alarm.set(Instant::now() + worker.timeouts().head);
        }
        alarm.poll(cx).map(|()| Some(Err(Failure::new(Ending::ClientTimeout, "the request's head took too long"))))
    })
    .await
}

/// Ends a connection in order: everything is sent, our side is closed, and what still comes is read for a moment.
async fn leave(mut client: Conn) {
    let end = async {
        if poll_fn(|cx| client.poll_drain(cx)).await.is_ok() && poll_fn(|cx| client.poll_shutdown(cx)).await.is_ok() {
            poll_fn(|cx| client.poll_discard(cx)).await;
        }
    };
    // Over or not, the connection is closed now.
    let _ = timeout(LINGER, end).await;
}

fn direction<P: Path>(_: &P) -> Direction {
    P::DIRECTION
}
