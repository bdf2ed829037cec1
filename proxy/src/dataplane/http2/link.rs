//! One HTTP/2 connection to an upstream. It carries many requests, as many at a time as the upstream's SETTINGS say.
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use ::http::Request;
use bytes::Bytes;
use h2::{
    SendStream,
    client::{self, ResponseFuture, SendRequest},
};
use tokio::{
    task::spawn_local,
    time::{Instant, timeout},
};
use weft_decide::Pressure;

use super::{
    config::{Connected, Windows},
    keepalive::Keepalive,
    links::Links,
    prefixed::Prefixed,
    side::Broken,
};
use crate::dataplane::{
    alarm::Alarm,
    gate::Gate,
    resilience::{Connection, Local, Places},
    settings::Timeouts,
    worker::Worker,
};

/// How long taking leave of the other side may take, where it does not read.
const LEAVE: Duration = Duration::from_secs(1);

/// How long the first SETTINGS of an upstream are waited for where a request depends on them.
const SETTLE: Duration = Duration::from_secs(1);

/// How a connection is kept.
#[derive(Clone, Copy)]
pub(super) struct Start<'a> {
    /// How long it may be unused.
    bound: Duration,
    /// How the other side is asked whether it is there, if it is.
    asked: Option<&'a Timeouts>,
    gate: &'a Arc<Gate>,
}

impl<'a> Start<'a> {
    /// To a mesh peer.
    pub(super) fn peer(worker: &'a Worker) -> Self {
        let timeouts = worker.timeouts();
        Self { bound: timeouts.pool_idle, asked: Some(timeouts), gate: worker.gate() }
    }

    /// To the application. It is kept as long as to a peer: unlike in HTTP/1.1, who ends a connection says what it has not
    /// looked at. It is not asked: gRPC servers end connections that are pinged more than every 5 minutes, and what dies on
    /// this machine takes its sockets with it.
    pub(super) fn application(worker: &'a Worker) -> Self {
        Self { bound: worker.timeouts().pool_idle, asked: None, gate: worker.gate() }
    }
}

/// One connection.
pub(super) struct Link {
    send: SendRequest<Bytes>,
    pulse: Rc<Pulse>,
    bound: Duration,
    home: (Weak<Links>, SocketAddr),
    places: Rc<Places>,
    /// Its cluster's state, where that limits connections.
    limited: Option<Rc<Local>>,
}

/// What a connection's requests and the task that moves its bytes know of each other.
struct Pulse {
    /// How many requests are under way.
    active: Cell<usize>,
    /// How many the upstream has shown that it takes, by refusing one more.
    most: Cell<usize>,
    /// When the last one ended.
    used: Cell<Instant>,
    over: Cell<bool>,
    /// Whether its first SETTINGS were waited for.
    settled: Cell<bool>,
    /// Who waits for them, to be told that something may have come.
    turned: RefCell<Vec<Waker>>,
    /// Whether nobody will send a request over it any more, and none is under way.
    left: Cell<bool>,
    mover: RefCell<Option<Waker>>,
}

impl Link {
    /// Begins to move a connection's bytes. `connection` is given back when it has ended.
    pub(super) fn begin(
        (send, opened): Connected,
        start: Start<'_>,
        home: (Weak<Links>, SocketAddr),
        places: Rc<Places>,
        connection: Option<Connection>,
    ) -> Rc<Self> {
        let pulse = Rc::new(Pulse {
            active: Cell::new(0),
            most: Cell::new(usize::MAX),
            used: Cell::new(Instant::now()),
            over: Cell::new(false),
            settled: Cell::new(false),
            turned: RefCell::default(),
            left: Cell::new(false),
            mover: RefCell::default(),
        });
        let limited = connection.as_ref().map(|connection| connection.local().clone());
        spawn_local(Mover::new(opened, pulse.clone(), start, places.clone(), connection).run());
        Rc::new(Self { send, pulse, bound: start.bound, home, places, limited })
    }

    /// Whether it takes new streams: neither side has ended it, and no GOAWAY has come.
    pub(super) fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        // A clone has no stream of its own that waits: it is ready, or the connection takes none.
        !self.pulse.over.get() && matches!(self.send.clone().poll_ready(&mut cx), Poll::Ready(Ok(())))
    }

    /// Whether one more stream may be opened now.
    pub(super) fn has_room(&self) -> bool {
        self.pulse.active.get() < self.send.current_max_send_streams().min(self.pulse.most.get())
    }

    /// For how long nothing was under way; `None` while something is.
    pub(super) fn unused(&self) -> Option<Duration> {
        (self.pulse.active.get() == 0).then(|| self.pulse.used.get().elapsed())
    }

    /// Whether it was unused for too long.
    pub(super) fn is_stale(&self, pressure: Pressure) -> bool {
        self.unused().is_some_and(|unused| unused >= pressure.idle(self.bound))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.pulse.left.set(true);
        self.pulse.wake();
    }
}

/// A place on a connection, for one request.
pub(super) struct Lease(Rc<Link>);

impl Lease {
    /// To be taken where the connection has room.
    pub(super) fn of(link: Rc<Link>) -> Self {
        link.pulse.active.set(link.pulse.active.get() + 1);
        link.pulse.stir();
        Self(link)
    }

    /// Opens a stream.
    pub(super) fn send(
        &self,
        request: Request<()>,
        ended: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Broken> {
        Ok(self.0.send.clone().send_request(request, ended)?)
    }

    /// Whether the upstream takes requests for tunnels (RFC 8441 §3). Its first SETTINGS say so; a new connection waits for them,
    /// for a moment and once.
    pub(super) async fn takes_tunnels(&self) -> bool {
        let Self(link) = self;
        let says = || link.send.is_extended_connect_protocol_enabled();
        let told = poll_fn(|cx| {
            if says() || link.pulse.over.get() {
                return Poll::Ready(());
            }
            link.pulse.turned.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        });
        if !link.pulse.settled.get() {
            // They may never come, or not say it.
            let _ = timeout(SETTLE, told).await;
            link.pulse.settled.set(true);
        }
        says()
    }

    /// The upstream has refused the stream: it takes fewer than it said.
    pub(super) fn refused(&self) {
        let pulse = &self.0.pulse;
        pulse.most.set(pulse.active.get().saturating_sub(1).max(1));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Self(link) = self;
        let pulse = &link.pulse;
        pulse.active.set(pulse.active.get() - 1);
        pulse.used.set(Instant::now());
        pulse.stir();
        link.places.one();
        let Some(local) = link.limited.as_ref().filter(|_| pulse.active.get() == 0) else { return };
        // As an HTTP/1.1 connection that comes back to its pool: it makes room where others wait for a connection.
        if local.may_rest() {
            local.rested();
        } else if let (Some(links), address) = (link.home.0.upgrade(), link.home.1) {
            links.forget(address, link);
        }
    }
}

impl Pulse {
    /// Has the mover look whether there is anything to wait for.
    fn stir(&self) {
        if self.active.get() <= 1 {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.mover.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// Moves a connection's bytes, and asks the other side whether it is there while it has something to answer.
struct Mover {
    opened: client::Connection<Prefixed, Bytes>,
    pulse: Rc<Pulse>,
    places: Rc<Places>,
    keepalive: Option<Keepalive>,
    gate: Arc<Gate>,
    windows: Windows,
    /// Rings when the other side has had its time to read that we leave.
    leave: Option<Alarm>,
    /// Behind the connection itself: the right to it ends when it has ended.
    _connection: Option<Connection>,
}

impl Mover {
    fn new(
        mut opened: client::Connection<Prefixed, Bytes>,
        pulse: Rc<Pulse>,
        start: Start<'_>,
        places: Rc<Places>,
        connection: Option<Connection>,
    ) -> Self {
        let keepalive = start.asked.and_then(|timeouts| Some(Keepalive::new(opened.ping_pong()?, timeouts)));
        let (gate, windows) = (start.gate.clone(), Windows::default());
        Self { opened, pulse, places, keepalive, gate, windows, leave: None, _connection: connection }
    }

    async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        self.pulse.over.set(true);
        self.pulse.turned.take().into_iter().for_each(Waker::wake);
        self.places.all();
    }

    /// Ready when the connection is over, or the other side gives no sign of life.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(waker) = &mut *self.pulse.mover.borrow_mut() {
            waker.clone_from(cx.waker());
        } else {
            *self.pulse.mover.borrow_mut() = Some(cx.waker().clone());
        }
        if self.pulse.left.get() {
            let leave = self.leave.get_or_insert_with(|| {
                let mut alarm = Alarm::default();
                alarm.set(Instant::now() + LEAVE);
                alarm
            });
            if leave.poll(cx).is_ready() {
                return Poll::Ready(());
            }
        } else if let Some(keepalive) = &mut self.keepalive
            && keepalive.poll(cx, self.pulse.active.get() > 0).is_ready()
        {
            return Poll::Ready(());
        }
        self.windows.fit(self.gate.pressure(), &mut self.opened);
        let over = Pin::new(&mut self.opened).poll(cx).map(drop);
        // SETTINGS that take more streams, or a GOAWAY that makes room for another connection, may have come.
        self.places.one();
        self.pulse.turned.take().into_iter().for_each(Waker::wake);
        over
    }
}
