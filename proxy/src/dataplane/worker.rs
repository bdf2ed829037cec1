//! One worker: a thread with its own runtime, listeners, pool, balancer state and metric cells. Nothing here is shared
//! with another worker; the control thread talks to it by messages.
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore, mpsc},
    task::{JoinHandle, LocalSet, spawn_local},
    time::{self, Instant, timeout, timeout_at},
};
use weft_decide::{Destination, Growth, Pressure, Refusal, Snapshot};
use weft_ir::ServiceKey;
use weft_net::{PeerAddr, reset_on_close};

use super::{
    Event, Http10, Identity, Timeouts,
    bell::Bell,
    gate::{Gate, Limit},
    histogram::add,
    http::Replays,
    http2::Links,
    inbound,
    ledger::Ledger,
    metrics::{Direction, Totals},
    mirror::Budget,
    outbound,
    pool::Pool,
    progress::Taker,
    resilience::{Local, News, Reported, Shared, Table, Told, Unused},
    respond::{Ending, Failure},
    strangers::{Newcomer, Strangers},
    tls::LocalIdentity,
    upstream,
    watch::{self, Watch},
};

/// How long accepting rests after a failure that is ours (no descriptor left): the queue is still there afterwards.
const REST: Duration = Duration::from_millis(20);

/// How long those that end with draining have for it.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// From the control thread.
pub(super) enum Command {
    /// Decide from this snapshot from now on, with what workers share under it. It has this number.
    Snapshot(Arc<Snapshot>, Arc<Table>, u64),
    /// What is to be known of a cluster's endpoints: which to leave out, which are new; those and no others.
    Told(ServiceKey, News),
    /// Accept there too.
    Listen(Role, std::net::TcpListener),
    /// Prove yourself by this identity from now on.
    Identity(Arc<Identity>),
    /// Another pressure: what rests looks at how long it may.
    Stir,
    /// Finish.
    Drain,
}

/// What a listener is for.
#[derive(Clone, Debug)]
pub(super) enum Role {
    Inbound,
    Outbound,
    Tcp(ServiceKey),
}

impl Role {
    const fn direction(&self) -> Direction {
        match self {
            Self::Inbound => Direction::Inbound,
            Self::Outbound | Self::Tcp(_) => Direction::Outbound,
        }
    }
}

/// How far draining has come.
#[derive(Clone, Copy, Debug)]
enum Draining {
    /// Not asked for.
    No,
    /// Peers are let go; the application may still call others to finish what it has.
    Inbound,
    /// The application is let go too.
    All,
}

/// What a worker is started with.
pub(super) struct Start {
    pub(super) listeners: Vec<(Role, std::net::TcpListener)>,
    pub(super) http10: Http10,
    pub(super) timeouts: Timeouts,
    pub(super) gate: Arc<Gate>,
    pub(super) applications: Vec<SocketAddr>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) seed: u64,
    pub(super) taker: Taker,
    /// How many workers there are.
    pub(super) workers: usize,
    /// What times are counted from, the same for all workers.
    pub(super) epoch: Instant,
    /// Where errors of endpoints are told.
    pub(super) reports: SyncSender<Reported>,
}

/// A snapshot as a worker holds it: one `Arc` for the worker, counted within it without an atomic.
pub(super) struct View {
    /// Before the snapshot: the control thread lets go of both once the snapshot is its own alone.
    pub(super) table: Arc<Table>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) revision: Rc<str>,
}

/// A worker's own state.
pub(super) struct Worker {
    ledger: Rc<Ledger>,
    http10: Http10,
    timeouts: Timeouts,
    gate: Arc<Gate>,
    applications: Vec<SocketAddr>,
    unused: Unused,
    view: RefCell<Option<Rc<View>>>,
    identity: RefCell<Option<Rc<LocalIdentity>>>,
    published: Notify,
    waiting: RefCell<HashMap<Destination, Waiters>>,
    events: mpsc::Sender<Event>,
    random: Cell<u64>,
    locals: RefCell<HashMap<ServiceKey, Rc<Local>>>,
    /// What is left out, where anything is: a state that is made anew begins with it.
    told: RefCell<HashMap<ServiceKey, Told>>,
    workers: usize,
    epoch: Instant,
    reports: SyncSender<Reported>,
    replays: Replays,
    mirrors: Rc<Budget>,
    draining: Cell<Draining>,
    /// By direction.
    bells: [Bell; 2],
    over: Bell,
    watch: Watch,
    strangers: Rc<Strangers>,
    handshakes: Semaphore,
    growth: Cell<Growth>,
    /// By direction.
    open: [Cell<usize>; 2],
    closed: Notify,
    taker: Taker,
}

impl Worker {
    pub(super) fn ledger(&self) -> &Rc<Ledger> {
        &self.ledger
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.ledger.metrics().totals
    }

    /// What becomes of HTTP/1.0 clients.
    pub(super) fn http10(&self) -> &Http10 {
        &self.http10
    }

    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    pub(super) fn pool(&self) -> &Rc<Pool> {
        &self.unused.pool
    }

    /// HTTP/2 connections to upstreams.
    pub(super) fn links(&self) -> &Rc<Links> {
        &self.unused.links
    }

    /// Its unused connections, of either version of HTTP.
    pub(super) fn unused(&self) -> &Unused {
        &self.unused
    }

    /// Rings when connections of that direction are to end that have nothing under way.
    pub(super) fn bell(&self, direction: Direction) -> &Bell {
        let [inbound, outbound] = &self.bells;
        match direction {
            Direction::Inbound => inbound,
            Direction::Outbound => outbound,
        }
    }

    /// Rings when draining has come to its end: what is a stream of bytes ends then.
    pub(super) fn over(&self) -> &Bell {
        &self.over
    }

    /// The open TCP connections that must stay permitted.
    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Whether a client of that direction is to be told that its connection ends with the next answer.
    pub(super) fn is_leaving(&self, direction: Direction) -> bool {
        self.is_draining(direction) || self.pressure() >= Pressure::Requests
    }

    /// What is shed for lack of something.
    pub(super) fn pressure(&self) -> Pressure {
        self.gate.pressure()
    }

    /// The bounds that hold for all workers.
    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Lets a new request in.
    ///
    /// # Errors
    /// New requests are shed.
    pub(super) fn admit(&self) -> Result<(), Failure> {
        if self.pressure() < Pressure::Requests {
            return self.grow();
        }
        let (short, from) = (self.gate.short().as_str(), Pressure::Requests.begins() / 10);
        let detail = format!("this proxy takes no new request: {from} % or more of its {short} is in use");
        Err(Failure::new(Ending::Overloaded, detail))
    }

    /// Lets a new request in as far as there is memory for all that came lately.
    fn grow(&self) -> Result<(), Failure> {
        let ((look, room), mut growth) = (self.gate.looked(), self.growth.get());
        let admitted = growth.admits(look, room, self.ledger.open().saturating_sub(1));
        self.growth.set(growth);
        if admitted {
            return Ok(());
        }
        let detail = "this proxy takes no new request until it is known how much memory those take that came just now";
        Err(Failure::new(Ending::Overloaded, detail))
    }

    /// The turns of handshakes with upstreams.
    pub(super) fn handshakes(&self) -> &Semaphore {
        &self.handshakes
    }

    /// Counts a connection that was closed for want of room.
    pub(super) fn turned_away(&self, limit: Limit) {
        let place = Limit::TURN_AWAY.iter().position(|its| *its == limit);
        if let Some(refused) = place.and_then(|place| self.totals().refused.get(place)) {
            add(refused, 1);
        }
    }

    /// Whether the connections of a direction are being let go.
    fn is_draining(&self, direction: Direction) -> bool {
        match (self.draining.get(), direction) {
            (Draining::All, _) | (Draining::Inbound, Direction::Inbound) => true,
            (Draining::No, _) | (Draining::Inbound, Direction::Outbound) => false,
        }
    }

    /// How many connections of that direction are open.
    fn open(&self, direction: Direction) -> &Cell<usize> {
        let [inbound, outbound] = &self.open;
        match direction {
            Direction::Inbound => inbound,
            Direction::Outbound => outbound,
        }
    }

    /// What is decided from. There always is one while connections are accepted.
    pub(super) fn view(&self) -> Option<Rc<View>> {
        self.view.borrow().clone()
    }

    /// What is proven by.
    pub(super) fn identity(&self) -> Option<Rc<LocalIdentity>> {
        self.identity.borrow().clone()
    }

    /// Where the application listens for what a chain calls its port.
    pub(super) fn application(&self, port: weft_model::Port) -> SocketAddr {
        let own = self.applications.iter().find(|address| address.port() == port.get());
        own.copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port.get())))
    }

    /// A uniform number (SplitMix64; Steele, Lea, Flood 2014). Nobody's secret.
    pub(super) fn draw(&self) -> u64 {
        self.random.set(self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut z = self.random.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// This worker's state of a service port.
    pub(super) fn local(&self, view: &View, name: &ServiceKey) -> Rc<Local> {
        let mut locals = self.locals.borrow_mut();
        if let Some(local) = locals.get(name) {
            return local.clone();
        }
        let shared = view.table.get(name).map_or_else(Arc::<Shared>::default, Arc::clone);
        let told = self.told.borrow().get(name).cloned().unwrap_or_default();
        let place = (self.ledger.worker(), self.workers);
        // Its round robin starts anywhere, so that workers do not go in step.
        let local = Rc::new(Local::new(name.clone(), shared, place, self.draw(), told));
        locals.insert(name.clone(), local.clone());
        local
    }

    /// The time since the data plane started.
    pub(super) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Tells the control side of an endpoint. Where it is too far behind to be told, the next error tells it.
    pub(super) fn report(&self, reported: Reported) {
        let _ = self.reports.try_send(reported);
    }

    /// What requests keep to be sent again.
    pub(super) fn replays(&self) -> &Replays {
        &self.replays
    }

    /// What copies of requests may hold.
    pub(super) fn mirrors(&self) -> &Rc<Budget> {
        &self.mirrors
    }

    /// Waits for the next snapshot, having told the control side what it must know; until `deadline`, which is set with
    /// the first wait.
    ///
    /// # Errors
    /// The time is over.
    pub(super) async fn learn(&self, wanted: Destination, deadline: &mut Option<Instant>) -> Result<(), Refusal> {
        let until = *deadline.get_or_insert_with(|| {
            add(&self.totals().on_demand_waits, 1);
            Instant::now() + self.timeouts.on_demand
        });
        let published = self.published.notified();
        let waiting = Waiting::begin(self, wanted);
        match timeout_at(until, published).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Refusal::ControlPlaneUnreachable { destination: waiting.wanted.clone() }),
        }
    }

    fn take(&self, command: Command) {
        match command {
            Command::Snapshot(snapshot, table, number) => {
                let revision = (**snapshot.revision()).into();
                let view = Rc::new(View { table, snapshot, revision });
                let former = self.view.replace(Some(view.clone()));
                if former.as_ref().is_some_and(|former| !Arc::ptr_eq(&former.table, &view.table)) {
                    let stays = |name: &ServiceKey, local: &Local| {
                        view.table.get(name).is_some_and(|shared| Arc::ptr_eq(shared, &local.shared))
                    };
                    self.locals.borrow_mut().retain(|name, local| stays(name, local));
                }
                if former.is_some_and(|former| !view.snapshot.shares_chains(&former.snapshot)) {
                    self.watch.look_again();
                }
                self.published.notify_waiters();
                self.taker.took(number);
            }
            // The loop's own: it holds the listeners.
            Command::Listen(..) => {}
            Command::Told(cluster, news) => {
                let mut all = self.told.borrow_mut();
                let mut told = all.remove(&cluster).unwrap_or_default();
                told.take(news);
                if let Some(local) = self.locals.borrow().get(&cluster) {
                    local.set_told(told.clone());
                }
                if !told.is_empty() {
                    all.insert(cluster, told);
                }
            }
            Command::Identity(identity) => {
                *self.identity.borrow_mut() = Some(Rc::new(LocalIdentity::new(identity)));
                self.unused.pool.clear();
                self.unused.links.clear();
            }
            Command::Stir => self.bells.iter().for_each(Bell::stir),
            Command::Drain => self.draining.set(Draining::Inbound),
        }
    }

    fn is_ready(&self) -> bool {
        self.view.borrow().is_some() && self.identity.borrow().is_some()
    }
}

/// Those who wait for one destination.
#[derive(Default)]
struct Waiters {
    count: usize,
    /// Whether the control side has been told: a full channel drops what it is sent.
    told: bool,
}

/// One that waits for a destination; the control side is told once for all that do.
struct Waiting<'a> {
    worker: &'a Worker,
    wanted: Destination,
}

impl<'a> Waiting<'a> {
    fn begin(worker: &'a Worker, wanted: Destination) -> Self {
        let mut waiting = worker.waiting.borrow_mut();
        let waiters = waiting.entry(wanted.clone()).or_default();
        waiters.count += 1;
        if !waiters.told {
            // A full channel: the control side is behind. The next who waits tries again; who waits now may end in time.
            waiters.told = worker.events.try_send(Event::Need(wanted.clone())).is_ok();
        }
        Self { worker, wanted }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.worker.waiting.borrow_mut();
        if let Some(waiters) = waiting.get_mut(&self.wanted) {
            waiters.count -= 1;
            if waiters.count == 0 {
                waiting.remove(&self.wanted);
            }
        }
    }
}

/// Counts an accepted connection while it is open.
struct Open {
    worker: Rc<Worker>,
    direction: Direction,
}

impl Open {
    /// Of a connection for which there is room.
    fn begin(worker: Rc<Worker>, direction: Direction) -> Self {
        let open = worker.open(direction);
        open.set(open.get() + 1);
        let totals = worker.totals();
        if let (Some(accepted), Some(active)) =
            (totals.accepted.get(direction as usize), totals.active.get(direction as usize))
        {
            add(accepted, 1);
            add(active, 1);
        }
        Self { worker, direction }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let open = self.worker.open(self.direction);
        open.set(open.get() - 1);
        self.worker.gate.leave(Limit::Connections);
        if let Some(active) = self.worker.totals().active.get(self.direction as usize) {
            add(active, u64::MAX);
        }
        self.worker.closed.notify_one();
    }
}

/// Runs a worker on the calling thread until it has drained or the control thread's end of `commands` is gone.
pub(super) fn run(ledger: Ledger, start: Start, commands: mpsc::UnboundedReceiver<Command>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ledger = Rc::new(ledger);
    let tasks = LocalSet::new();
    let worked = tasks.block_on(&runtime, work(ledger.clone(), start, commands));
    // What is still open is dropped with its task, and says `abandoned` in its record.
    drop(tasks);
    ledger.flush();
    worked
}

async fn work(ledger: Rc<Ledger>, start: Start, mut commands: mpsc::UnboundedReceiver<Command>) -> io::Result<()> {
    let Start { listeners, http10, timeouts, gate, applications, events, seed, taker, workers, epoch, reports } = start;
    let (pool, links) = (Rc::new(Pool::default()), Rc::new(Links::default()));
    spawn_local(ledger.clone().flush_in_time());
    spawn_local(pool.clone().sweep(gate.clone()));
    spawn_local(links.clone().sweep_in_time(gate.clone()));
    let worker = Rc::new(Worker {
        ledger,
        http10,
        timeouts,
        gate,
        applications,
        unused: Unused { pool, links },
        view: RefCell::default(),
        identity: RefCell::default(),
        published: Notify::new(),
        waiting: RefCell::default(),
        events,
        random: Cell::new(seed),
        locals: RefCell::default(),
        told: RefCell::default(),
        workers,
        epoch,
        reports,
        replays: Replays::default(),
        mirrors: Rc::new(Budget::of_worker(workers)),
        draining: Cell::new(Draining::No),
        bells: Default::default(),
        over: Bell::default(),
        watch: Watch::default(),
        strangers: Rc::default(),
        handshakes: Semaphore::new(upstream::HANDSHAKES),
        growth: Cell::default(),
        open: Default::default(),
        closed: Notify::new(),
        taker,
    });
    spawn_local(watch::look(worker.clone()));
    let mut listeners = listeners;
    let mut accepting = Vec::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Listen(role, listener) => listeners.push((role, listener)),
            command => worker.take(command),
        }
        // Nothing is accepted before it can be decided: until then clients wait in the kernel's queue.
        if worker.is_ready() {
            for (role, listener) in listeners.drain(..) {
                let listener = TcpListener::from_std(listener)?;
                let direction = role.direction();
                accepting.push((direction, spawn_local(accept(worker.clone(), role, listener))));
            }
        }
        if worker.is_draining(Direction::Inbound) {
            drop(listeners);
            let ending = drain(&worker, &accepting);
            tokio::pin!(ending);
            loop {
                tokio::select! {
                    () = &mut ending => return Ok(()),
                    command = commands.recv() => match command {
                        Some(command) => worker.take(command),
                        None => return Ok(()),
                    },
                }
            }
        }
    }
    Ok(())
}

/// Lets peers go first, then the application: what a peer has asked for may need calls of the application's own. Each
/// side is accepted from for a moment longer, because who has not heard of the draining still comes.
async fn drain(worker: &Worker, accepting: &[(Direction, JoinHandle<()>)]) {
    let deadline = Instant::now() + worker.timeouts.drain;
    let finished = async {
        for direction in [Direction::Inbound, Direction::Outbound] {
            if let Direction::Outbound = direction {
                worker.draining.set(Draining::All);
            }
            let mut accepting = accepting.iter().filter(|(of, _)| *of == direction).peekable();
            if accepting.peek().is_some() {
                time::sleep(worker.timeouts.drain_accept).await;
            }
            worker.bell(direction).ring();
            accepting.for_each(|(_, accept)| accept.abort());
            while worker.open(direction).get() > 0 {
                worker.closed.notified().await;
            }
        }
    };
    tokio::pin!(finished);
    if timeout_at(deadline, &mut finished).await.is_err() {
        // Streams of bytes end now, with that as their cause; what else is open is abandoned.
        worker.draining.set(Draining::All);
        worker.over.ring();
        let _ = timeout(LAST_WORDS, finished).await;
    }
}

/// Accepts until it is aborted: no failure ends it.
async fn accept(worker: Rc<Worker>, role: Role, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => begin(&worker, &role, tcp, PeerAddr(peer)),
            // The client has gone before it was accepted: nothing of ours is wrong.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => {
                add(&worker.totals().accept_errors, 1);
                time::sleep(REST).await;
            }
        }
    }
}

fn begin(worker: &Rc<Worker>, role: &Role, tcp: TcpStream, peer: PeerAddr) {
    if worker.pressure() >= Pressure::Connections {
        return turn_away(worker, &tcp, Limit::Pressure);
    }
    if !worker.gate.enter(Limit::Connections) {
        return turn_away(worker, &tcp, Limit::Connections);
    }
    // Without it answers wait for the peer's delayed acknowledgement; where it fails, the socket is gone already.
    let _ = tcp.set_nodelay(true);
    let open = Open::begin(worker.clone(), role.direction());
    match role {
        Role::Inbound => match worker.strangers.welcome(&worker.gate) {
            Some(newcomer) => drop(spawn_local(inbound_task(open, (tcp, newcomer), peer))),
            None => turn_away(worker, &tcp, Limit::Handshakes),
        },
        Role::Outbound => drop(spawn_local(http_task(open, tcp, peer))),
        Role::Tcp(service) => drop(spawn_local(tcp_task(open, (tcp, peer), service.clone()))),
    }
}

/// Closes a connection for which there is no room: at once, and with a reset, so that it does not linger on our side.
fn turn_away(worker: &Worker, tcp: &TcpStream, limit: Limit) {
    // Where even the option fails, the socket is gone.
    let _ = reset_on_close(tcp);
    worker.turned_away(limit);
}

async fn inbound_task(open: Open, (tcp, newcomer): (TcpStream, Newcomer), peer: PeerAddr) {
    inbound::connection(&open.worker, (tcp, newcomer), peer).await;
}

async fn http_task(open: Open, tcp: TcpStream, peer: PeerAddr) {
    outbound::http(&open.worker, tcp, peer).await;
}

async fn tcp_task(open: Open, (tcp, peer): (TcpStream, PeerAddr), service: ServiceKey) {
    outbound::tcp(&open.worker, tcp, peer, &service).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How large what `task` returns is, without running it.
    fn size<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_a_connection_stays_small() {
        let sizes = [size(inbound_task), size(http_task), size(tcp_task)];
        // What an idle connection costs beside its socket, Conn and TLS state; a relay holds no buffer of its own.
        let bounds = [1616, 1024, 2560];
        assert!(sizes.iter().zip(bounds).all(|(size, bound)| *size <= bound), "inbound, HTTP, TCP: {sizes:?} bytes");
    }
}
