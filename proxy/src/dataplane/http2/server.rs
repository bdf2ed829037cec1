//! A client's HTTP/2 connection: accepting streams, ending in order, bounds on what it may do to us.
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use ::http::Request;
use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{Connection, SendResponse},
};
use tokio::{
    task::spawn_local,
    time::{Instant, timeout},
};
use weft_decide::Pressure;
use weft_net::PeerAddr;

use super::{
    config::{self, Windows},
    keepalive::Keepalive,
    prefixed::Prefixed,
    resets::{self, Resets},
    stream,
};
use crate::dataplane::{
    alarm::Alarm,
    bell::Listener,
    metrics::Direction,
    record::{Record, Stage},
    respond::Ending,
    serve::Path,
    worker::Worker,
};

/// How the connection preface begins (RFC 9113 §3.4): what an HTTP/1 reader takes for a head.
pub(in crate::dataplane) const PREFACE_HEAD: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// How long a client that has nothing under way may take to close once it was told that we end the connection.
const LEAVE: Duration = Duration::from_secs(5);

/// What the streams of a connection tell the task that accepts them.
pub(super) struct Shared {
    began: Instant,
    active: Cell<usize>,
    resets: RefCell<Resets>,
    flooded: Cell<bool>,
    acceptor: RefCell<Option<Waker>>,
}

impl Shared {
    /// A stream was reset before it was answered.
    pub(super) fn was_reset(&self) {
        if self.resets.borrow_mut().reset() {
            self.flooded.set(true);
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.acceptor.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A stream under way.
pub(super) struct Active(Rc<Shared>);

impl Active {
    fn begin(shared: &Rc<Shared>) -> Self {
        shared.active.set(shared.active.get() + 1);
        shared.resets.borrow_mut().opened(shared.began.elapsed());
        Self(shared.clone())
    }

    /// What its connection's streams share.
    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
        if self.0.active.get() == 0 || self.0.flooded.get() {
            self.0.wake();
        }
    }
}

/// Serves a client until it or we have had enough: an idle connection is ended with a GOAWAY, and a draining one with a
/// GOAWAY too, whose streams are finished first.
pub(in crate::dataplane) async fn serve<P: Path + 'static>(
    worker: &Rc<Worker>,
    path: Rc<P>,
    io: Prefixed,
    peer: PeerAddr,
) {
    let client = match P::DIRECTION {
        Direction::Inbound => resets::Client::Peer,
        Direction::Outbound => resets::Client::Anybody,
    };
    let shared = Rc::new(Shared {
        began: Instant::now(),
        active: Cell::new(0),
        resets: RefCell::new(Resets::of(client)),
        flooded: Cell::new(false),
        acceptor: RefCell::default(),
    });
    let broken = match timeout(worker.timeouts().head, config::accept(io)).await {
        Ok(Ok(mut connection)) => {
            // Peers are machines away: one that vanished must not hold what it has asked for. An application's end is told
            // by the system.
            let pings = if P::DIRECTION == Direction::Inbound { connection.ping_pong() } else { None };
            let keepalive = pings.map(|pings| Keepalive::new(pings, worker.timeouts()));
            let bell = worker.bell(P::DIRECTION).listen();
            let mut accepting = Accepting {
                connection,
                worker,
                windows: Windows::default(),
                shared: &shared,
                keepalive,
                bell: Some(bell),
                alarm: Alarm::default(),
                idle: path.idle(),
                rests: None,
                shed: false,
                flooded: false,
            };
            loop {
                match poll_fn(|cx| accepting.poll(cx)).await {
                    Some(Ok((request, respond))) => {
                        let active = Active::begin(&shared);
                        let (worker, path) = (worker.clone(), path.clone());
                        spawn_local(stream::serve(worker, path, (request, respond), (peer, active)));
                    }
                    Some(Err(error)) => break Some(error.to_string()).filter(|_| !error.is_io()),
                    None => break accepting.flooded.then(|| "it resets too many of its streams".to_owned()),
                }
            }
        }
        Ok(Err(error)) => Some(error.to_string()).filter(|_| !error.is_io()),
        Err(_) => Some("the connection preface took too long".to_owned()),
    };
    if let Some(detail) = broken {
        let mut record = Record::begin(worker.ledger(), P::DIRECTION, false, peer);
        record.at(Stage::Detect);
        record.fail(Ending::BrokeHttp2, detail);
    }
}

/// What the connection's own task does.
struct Accepting<'a> {
    connection: Connection<Prefixed, Bytes>,
    worker: &'a Worker,
    windows: Windows,
    shared: &'a Rc<Shared>,
    /// Asks whether a peer is there while it waits for anything.
    keepalive: Option<Keepalive>,
    /// Tells that the worker drains; `None` once it has rung.
    bell: Option<Listener<'a>>,
    alarm: Alarm,
    idle: Duration,
    /// Since nothing is under way: how far its end has come.
    rests: Option<Rest>,
    /// Whether the client was told to go because new requests are shed.
    shed: bool,
    flooded: bool,
}

#[derive(Clone, Copy)]
enum Rest {
    /// It may begin something; for how long depends on the pressure.
    Waiting(Instant, Pressure),
    /// It was told that we end.
    Told,
}

type Accepted = Option<Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>>;

impl Accepting<'_> {
    /// The next stream; `None` at the connection's end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Accepted> {
        *self.shared.acceptor.borrow_mut() = Some(cx.waker().clone());
        if self.bell.as_ref().is_some_and(|bell| bell.poll(cx).is_ready()) {
            self.bell = None;
            self.connection.graceful_shutdown();
        }
        if self.shared.flooded.get() && !std::mem::replace(&mut self.flooded, true) {
            self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        }
        let pressure = self.worker.pressure();
        self.windows.fit(pressure, &mut self.connection);
        // It may come back on another connection, and to another proxy.
        if pressure >= Pressure::Requests && !std::mem::replace(&mut self.shed, true) {
            self.connection.graceful_shutdown();
        }
        let is_active = self.shared.active.get() > 0;
        if self.keepalive.as_mut().is_some_and(|keepalive| keepalive.poll(cx, is_active).is_ready()) {
            return Poll::Ready(None);
        }
        if let Poll::Ready(accepted) = self.connection.poll_accept(cx) {
            return Poll::Ready(accepted);
        }
        if is_active {
            self.rests = None;
            return Poll::Pending;
        }
        let since = match self.rests {
            None => Some(Instant::now()),
            Some(Rest::Waiting(since, former)) if former != pressure => Some(since),
            Some(Rest::Waiting(..) | Rest::Told) => None,
        };
        if let Some(since) = since {
            self.rests = Some(Rest::Waiting(since, pressure));
            self.alarm.set(since + pressure.idle(self.idle));
        }
        while self.alarm.poll(cx).is_ready() {
            if let Some(Rest::Told) = self.rests.replace(Rest::Told) {
                // It does not listen.
                return Poll::Ready(None);
            }
            self.alarm.set(Instant::now() + LEAVE);
            self.connection.graceful_shutdown();
            if let Poll::Ready(accepted) = self.connection.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }
}
