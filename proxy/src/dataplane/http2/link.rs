//! A worker's HTTP/2 connections to upstreams. Each carries many requests, as many at a time as the upstream's SETTINGS
//! say.
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use ::http::Request;
use bytes::Bytes;
use h2::{
    Ping, PingPong, SendStream,
    client::{Connection, ResponseFuture, SendRequest},
};
use tokio::{
    sync::Notify,
    task::spawn_local,
    time::{self, Instant},
};
use weft_model::SpiffeId;

use super::{config, prefixed::Prefixed, side::Broken};
use crate::dataplane::{
    alarm::Alarm,
    pool::Proven,
    respond::{Ending, Failure},
    tls::Io,
};

/// How many connections lead to one endpoint under one identity, where one does not take enough streams; beyond them
/// streams wait for one another.
const MAX_LINKS: usize = 8;

/// How often connections that were unused for too long are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// How often a mesh peer must show that it is there, while it has something to answer, and how long it may take (gRPC's
/// keepalive; Linkerd: 10 s, 3 s). Applications are not asked: gRPC servers end connections that are pinged more than
/// every 5 minutes, and what dies on this machine takes its sockets with it.
const PING_EVERY: Duration = Duration::from_secs(10);
const PONG_WITHIN: Duration = Duration::from_secs(3);

/// All of them.
#[derive(Default)]
pub(in crate::dataplane) struct Links {
    groups: RefCell<HashMap<SocketAddr, Vec<Group>>>,
    filled: Notify,
}

/// Those to one endpoint under one identity and name.
struct Group {
    peer: Option<(SpiffeId, Box<str>)>,
    links: Vec<Rc<Link>>,
    connecting: Option<Rc<Connecting>>,
}

/// A connection that several requests wait for.
#[derive(Default)]
struct Connecting {
    over: Notify,
    failed: RefCell<Option<Failure>>,
}

impl Links {
    /// A place on a connection: on one that is there (`Ok(_, true)`), or on one that `connect` makes. Whoever finds that
    /// one is being made waits for it, and fails with it.
    ///
    /// # Errors
    /// What `connect` says.
    pub(super) async fn lease(
        &self,
        (address, proven): (SocketAddr, Proven<'_>),
        bound: Duration,
        connect: impl AsyncFnOnce() -> Result<Io, Failure>,
    ) -> Result<(Lease, bool), Failure> {
        loop {
            let waiting = match self.find(address, proven) {
                Found::Link(lease) => return Ok((lease, true)),
                Found::Connecting(connecting) => connecting,
                Found::Nothing(connecting) => {
                    let making = Making { links: self, address, proven, connecting };
                    return making.run(bound, connect).await.map(|lease| (lease, false));
                }
            };
            // Whoever makes it has not run since it was found: nothing is missed.
            waiting.over.notified().await;
            if let Some(failure) = &*waiting.failed.borrow() {
                return Err(failure.clone());
            }
        }
    }

    fn find(&self, address: SocketAddr, proven: Proven<'_>) -> Found {
        let mut groups = self.groups.borrow_mut();
        let at_address = groups.entry(address).or_default();
        let place = at_address.iter().position(|group| is(&group.peer, proven));
        let group = match place.and_then(|place| at_address.get_mut(place)) {
            Some(group) => group,
            None => {
                let peer = proven.peer.map(|(id, name)| (id.clone(), name.into()));
                at_address.push(Group { peer, links: Vec::new(), connecting: None });
                match at_address.last_mut() {
                    Some(group) => group,
                    None => return Found::Nothing(Rc::default()),
                }
            }
        };
        group.links.retain(|link| link.is_open());
        let free = group.links.iter().find(|link| link.has_room());
        if let Some(link) = free {
            return Found::Link(Lease::of(link.clone()));
        }
        if let Some(connecting) = &group.connecting {
            return Found::Connecting(connecting.clone());
        }
        if group.links.len() >= MAX_LINKS
            && let Some(link) = group.links.iter().min_by_key(|link| link.pulse.active.get())
        {
            return Found::Link(Lease::of(link.clone()));
        }
        let connecting = Rc::<Connecting>::default();
        group.connecting = Some(connecting.clone());
        Found::Nothing(connecting)
    }

    /// Takes no more streams on any of them: they were proven by a certificate or against bundles that are in force no
    /// more. What is under way on them goes on.
    pub(in crate::dataplane) fn clear(&self) {
        for group in self.groups.borrow_mut().values_mut().flatten() {
            group.links.clear();
        }
    }

    /// Closes what is unused for too long; holds no timer while there is nothing.
    pub(in crate::dataplane) async fn sweep_in_time(self: Rc<Self>) {
        loop {
            self.filled.notified().await;
            loop {
                time::sleep(SWEEP).await;
                if !self.sweep() {
                    break;
                }
            }
        }
    }

    /// Closes what is unused for too long; whether any is left.
    fn sweep(&self) -> bool {
        let mut groups = self.groups.borrow_mut();
        groups.retain(|_, groups| {
            groups.retain_mut(|group| {
                group.links.retain(|link| link.is_open() && !link.is_stale());
                !group.links.is_empty() || group.connecting.is_some()
            });
            !groups.is_empty()
        });
        !groups.is_empty()
    }
}

fn is(peer: &Option<(SpiffeId, Box<str>)>, proven: Proven<'_>) -> bool {
    peer.as_ref().map(|(id, name)| (id, &**name)) == proven.peer
}

enum Found {
    Link(Lease),
    Connecting(Rc<Connecting>),
    Nothing(Rc<Connecting>),
}

/// Makes a connection for all who wait. Dropped before it is done, one of those makes the next.
struct Making<'a> {
    links: &'a Links,
    address: SocketAddr,
    proven: Proven<'a>,
    connecting: Rc<Connecting>,
}

impl Making<'_> {
    async fn run(self, bound: Duration, connect: impl AsyncFnOnce() -> Result<Io, Failure>) -> Result<Lease, Failure> {
        let opened = match connect().await {
            Ok(io) => config::connect(Prefixed::from(io)).await.map_err(|error| {
                Failure::new(Ending::UpstreamGone, format!("the upstream takes no HTTP/2 connection: {error}"))
            }),
            Err(failure) => Err(failure),
        };
        let (send, connection) = opened.inspect_err(|failure| {
            *self.connecting.failed.borrow_mut() = Some(failure.clone());
        })?;
        let link = Link::start(send, connection, bound, self.proven.peer.is_some());
        self.with_group(|group| group.links.push(link.clone()));
        self.links.filled.notify_one();
        Ok(Lease::of(link))
    }

    fn with_group(&self, change: impl FnOnce(&mut Group)) {
        let mut groups = self.links.groups.borrow_mut();
        let group = groups.get_mut(&self.address).into_iter().flatten().find(|group| is(&group.peer, self.proven));
        if let Some(group) = group {
            change(group);
        }
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.with_group(|group| group.connecting = None);
        self.connecting.over.notify_waiters();
    }
}

/// One connection.
struct Link {
    send: SendRequest<Bytes>,
    pulse: Rc<Pulse>,
    bound: Duration,
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
    mover: RefCell<Option<Waker>>,
}

impl Link {
    fn start(
        send: SendRequest<Bytes>,
        connection: Connection<Prefixed, Bytes>,
        bound: Duration,
        asked: bool,
    ) -> Rc<Self> {
        let pulse = Rc::new(Pulse {
            active: Cell::new(0),
            most: Cell::new(usize::MAX),
            used: Cell::new(Instant::now()),
            over: Cell::new(false),
            mover: RefCell::default(),
        });
        spawn_local(Mover::new(connection, pulse.clone(), asked).run());
        Rc::new(Self { send, pulse, bound })
    }

    /// Whether it takes new streams: neither side has ended it, and no GOAWAY has come.
    fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        // A clone has no stream of its own that waits: it is ready, or the connection takes none.
        !self.pulse.over.get() && matches!(self.send.clone().poll_ready(&mut cx), Poll::Ready(Ok(())))
    }

    fn has_room(&self) -> bool {
        self.pulse.active.get() < self.send.current_max_send_streams().min(self.pulse.most.get())
    }

    fn is_stale(&self) -> bool {
        self.pulse.active.get() == 0 && self.pulse.used.get().elapsed() >= self.bound
    }
}

/// A place on a connection, for one request.
pub(super) struct Lease(Rc<Link>);

impl Lease {
    fn of(link: Rc<Link>) -> Self {
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

    /// The upstream has refused the stream: it takes fewer than it said.
    pub(super) fn refused(&self) {
        let pulse = &self.0.pulse;
        pulse.most.set(pulse.active.get().saturating_sub(1).max(1));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let pulse = &self.0.pulse;
        pulse.active.set(pulse.active.get() - 1);
        pulse.used.set(Instant::now());
        pulse.stir();
    }
}

impl Pulse {
    /// Has the mover look whether there is anything to wait for.
    fn stir(&self) {
        if self.active.get() <= 1
            && let Some(waker) = &*self.mover.borrow()
        {
            waker.wake_by_ref();
        }
    }
}

/// Moves a connection's bytes, and asks the other side whether it is there while it has something to answer.
struct Mover {
    connection: Connection<Prefixed, Bytes>,
    pulse: Rc<Pulse>,
    pings: Option<PingPong>,
    waits: Waits,
    alarm: Alarm,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// Nothing is under way.
    Nothing,
    /// To ask.
    Ask,
    /// For an answer.
    Pong,
}

impl Mover {
    fn new(mut connection: Connection<Prefixed, Bytes>, pulse: Rc<Pulse>, asked: bool) -> Self {
        let pings = if asked { connection.ping_pong() } else { None };
        Self { connection, pulse, pings, waits: Waits::Nothing, alarm: Alarm::default() }
    }

    async fn run(mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
        self.pulse.over.set(true);
    }

    /// Ready when the connection is over, or the other side gives no sign of life.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(waker) = &mut *self.pulse.mover.borrow_mut() {
            waker.clone_from(cx.waker());
        } else {
            *self.pulse.mover.borrow_mut() = Some(cx.waker().clone());
        }
        let Some(pings) = &mut self.pings else { return Pin::new(&mut self.connection).poll(cx).map(drop) };
        if self.waits == Waits::Pong && pings.poll_pong(cx).is_ready() {
            self.waits = Waits::Nothing;
        }
        match (self.waits, self.pulse.active.get()) {
            (Waits::Nothing, 1..) => {
                self.waits = Waits::Ask;
                self.alarm.set(Instant::now() + PING_EVERY);
            }
            (Waits::Ask, 0) => self.waits = Waits::Nothing,
            _ => {}
        }
        match self.waits {
            Waits::Ask if self.alarm.poll(cx).is_ready() => {
                if pings.send_ping(Ping::opaque()).is_ok() {
                    self.waits = Waits::Pong;
                    self.alarm.set(Instant::now() + PONG_WITHIN);
                    // Both are to wake this task: the answer, and its absence.
                    if self.alarm.poll(cx).is_ready() {
                        return Poll::Ready(());
                    }
                    let _ = pings.poll_pong(cx);
                }
            }
            Waits::Pong if self.alarm.poll(cx).is_ready() => return Poll::Ready(()),
            Waits::Nothing | Waits::Ask | Waits::Pong => {}
        }
        Pin::new(&mut self.connection).poll(cx).map(drop)
    }
}
