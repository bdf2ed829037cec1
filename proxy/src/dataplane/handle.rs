//! The control thread's handle on the workers.
use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{channel, sync_channel},
    },
    thread::{self, JoinHandle},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use weft_certs::{Svid, TrustBundles, tls::TlsError};
use weft_decide::{Pressure, Resource, Snapshot};
use weft_ir::ServiceKey;
use weft_net::{LocalAddr, listen, listen_again};

use super::{
    Bound, ClusterState, EdgeSummary, Event, Identity, Settings, StartError, Unbound,
    expose::Exposition,
    gate::Gate,
    ledger::{Ledger, LogWriter},
    metrics::{Metrics, Totals},
    progress::Progress,
    refusals::{KEPT, Refusals},
    resilience::{Checking, Keeper, Table},
    worker::{self, Command, Role, Start},
};

/// How many reports of errors may wait for the control side.
const REPORTS: usize = 1024;

/// A running data plane. Every method is for the control thread; none is called on the data path. Dropping it stops the
/// workers at once, and what is open is abandoned; [`drain`](Self::drain) lets it finish first.
pub struct Dataplane {
    workers: Vec<WorkerHandle>,
    exposition: Mutex<Exposition>,
    /// Published snapshots that a worker may hold: the last reference is dropped here, so that nothing large is freed
    /// on a worker.
    kept: Mutex<Vec<(Arc<Snapshot>, Arc<Table>)>>,
    keeper: Arc<Keeper>,
    log: Option<LogWriter>,
    /// Of each worker.
    refusals: Vec<Arc<Refusals>>,
    progress: Arc<Progress>,
    gate: Arc<Gate>,
}

struct WorkerHandle {
    commands: mpsc::UnboundedSender<Command>,
    stopped: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Dataplane {
    /// Binds the listeners and starts the workers. Nothing is accepted before a snapshot and an identity have been
    /// published: until then clients wait in the kernel's queue.
    ///
    /// The listener of a TCP service port that cannot be bound is told in [`Bound::unbound`] and may be
    /// [tried again](Self::listen): the rest is served.
    ///
    /// # Errors
    /// The inbound or outbound listener cannot be bound, or a thread cannot be started.
    pub fn start(settings: Settings, events: mpsc::Sender<Event>) -> Result<(Self, Bound), StartError> {
        let Settings {
            workers,
            instance,
            start,
            inbound,
            outbound,
            tcp,
            former,
            applications,
            http10,
            timeouts,
            limits,
            access_log,
        } = settings;
        let count = workers.max(1);
        let mut wanted = Vec::new();
        wanted.extend(inbound.map(|address| (Role::Inbound, address)));
        wanted.extend(outbound.map(|address| (Role::Outbound, address)));
        wanted.extend(tcp.into_iter().map(|(service, address)| (Role::Tcp(service), address)));
        let mut bound = Bound::default();
        let mut sockets: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        for (role, address) in wanted {
            let was = match &role {
                Role::Inbound => former.inbound,
                Role::Outbound => former.outbound,
                Role::Tcp(service) => former.tcp(service),
            };
            let listeners = match (listen_again(was.map(|was| was.0), address, count), &role) {
                (Ok(listeners), _) => listeners,
                (Err(error), Role::Tcp(service)) => {
                    bound.unbound.push(Unbound { service: service.clone(), address, error: error.to_string() });
                    continue;
                }
                (Err(error), _) => return Err(StartError::Bind { listener: role.to_string(), address, error }),
            };
            match &role {
                Role::Inbound => bound.inbound = Some(listeners.address),
                Role::Outbound => bound.outbound = Some(listeners.address),
                Role::Tcp(service) => bound.tcp.push((service.clone(), listeners.address)),
            }
            for (worker, socket) in sockets.iter_mut().zip(listeners.sockets) {
                worker.push((role.clone(), socket));
            }
        }
        let log = access_log.map(LogWriter::start).transpose().map_err(StartError::Worker)?;
        let (registry, registered) = channel();
        let running = Arc::new(AtomicUsize::new(count));
        let gate = Gate::new(limits);
        let progress = Progress::new(count);
        let (epoch, (reports, reported)) = (Instant::now(), sync_channel(REPORTS));
        let (mut workers, mut totals, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
        for (index, listeners) in sockets.into_iter().enumerate() {
            let cells = Arc::new(Totals::default());
            totals.push(cells.clone());
            let metrics = Metrics::new(cells, registry.clone());
            let batches = log.as_ref().map(|log| log.batches.clone());
            let names = (instance.clone(), start.clone());
            let begin = Start {
                listeners,
                http10: http10.clone(),
                timeouts,
                gate: gate.clone(),
                applications: applications.values().copied().collect(),
                events: events.clone(),
                seed: rand::random(),
                taker: progress.taker(index),
                workers: count,
                epoch,
                reports: reports.clone(),
            };
            let kept = Arc::new(Refusals::default());
            refusals.push(kept.clone());
            let ledger = move || Ledger::new(names, index, metrics, batches, kept);
            workers.push(spawn(index, ledger, begin, running.clone()).map_err(StartError::Worker)?);
        }
        let exposition = Mutex::new(Exposition::new(totals, registered));
        let commands = workers.iter().map(|worker| worker.commands.clone()).collect();
        let keeper = Keeper::new(epoch, commands, reported, Checking::new(gate.clone()));
        Ok((Self { workers, exposition, kept: Mutex::default(), keeper, log, refusals, progress, gate }, bound))
    }

    /// Makes every worker decide from this snapshot, each from its next turn on and in a lane of its own. Returns the
    /// snapshot's number, by which [`Progress`] tells when all of them do.
    pub fn publish(&self, snapshot: Arc<Snapshot>) -> u64 {
        let (number, table) = (self.progress.next(), self.keeper.publish(&snapshot));
        let mut kept = lock(&self.kept);
        kept.retain(|(snapshot, _)| Arc::strong_count(snapshot) > 1);
        for (lane, worker) in self.workers.iter().enumerate() {
            let own = if lane == 0 { snapshot.clone() } else { Arc::new(snapshot.for_lane(lane)) };
            kept.push((own.clone(), table.clone()));
            // A worker that has drained is not told any more.
            let _ = worker.commands.send(Command::Snapshot(own, table.clone(), number));
        }
        number
    }

    /// How far the workers have come with what was published.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Listens for a TCP service port that could not be bound before.
    ///
    /// # Errors
    /// It still cannot.
    pub fn listen(&self, service: &ServiceKey, address: SocketAddr) -> io::Result<LocalAddr> {
        let listeners = listen(address, self.workers.len())?;
        for (worker, socket) in self.workers.iter().zip(listeners.sockets) {
            // A worker that has drained is not told any more.
            let _ = worker.commands.send(Command::Listen(Role::Tcp(service.clone()), socket));
        }
        Ok(listeners.address)
    }

    /// Makes every worker prove itself by this SVID, and check peers against these bundles. Unused upstream connections,
    /// which were proven by the former ones, are closed.
    ///
    /// # Errors
    /// rustls does not take the certificate or key; the former identity stays.
    pub fn publish_identity(&self, svid: &Svid, bundles: &TrustBundles) -> Result<(), TlsError> {
        let identity = Arc::new(Identity::new(svid, bundles)?);
        self.tell(|| Command::Identity(identity.clone()));
        self.keeper.prove(identity);
        Ok(())
    }

    /// The workers' metrics in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let mut text = lock(&self.exposition).render();
        self.keeper.expose(&mut text);
        text
    }

    /// What is so at this moment of every cluster that has limits, a breaker, ejection or health checks: ordered by name.
    pub fn clusters(&self) -> Vec<ClusterState> {
        self.keeper.states()
    }

    /// What each outbound edge has seen since the last call; edges that saw nothing are left out.
    pub fn edges(&self) -> Vec<EdgeSummary> {
        lock(&self.exposition).edges()
    }

    /// The records of the last 512 refused or failed requests and connections, oldest first, each as its JSON line in
    /// the access log.
    pub fn refusals(&self) -> Vec<Arc<String>> {
        let mut lines: Vec<_> = self.refusals.iter().flat_map(|worker| worker.lines()).collect();
        // A line begins with its time, of a fixed width; the sort keeps each worker's own order.
        lines.sort_by(|one, other| time(one).cmp(time(other)));
        let surplus = lines.len().saturating_sub(KEPT);
        lines.drain(..surplus);
        lines
    }

    /// Sheds work from now on, for lack of something; everything goes on where the pressure is none.
    pub fn shed(&self, pressure: Pressure, short: Resource) {
        self.gate.shed(pressure, short);
        // What rests may have rested for long enough now.
        self.tell(|| Command::Stir);
    }

    /// How many bytes of memory are free for new requests, from a look at them now: those that come before the next look are
    /// let in as far as that goes.
    pub fn room(&self, bytes: u64) {
        self.gate.room(bytes / self.workers.len().max(1) as u64);
    }

    /// How many descriptors connections may take, of both sides together. An accepted connection may need one to an
    /// upstream, so each side has half.
    pub fn descriptors(&self, count: usize) {
        self.gate.descriptors(count);
    }

    /// Begins to finish: further answers end their connections, after a moment nothing is accepted any more and unused
    /// connections are closed, and the workers stop when nothing is open or their time is over. [`Event::Drained`] tells
    /// that all have stopped.
    pub fn drain(&self) {
        self.tell(|| Command::Drain);
    }

    /// Waits until every worker has stopped (after [`drain`](Self::drain)), and every record is written.
    pub async fn stopped(mut self) {
        for worker in &mut self.workers {
            // An error means that the thread is gone without a word: it has stopped all the same.
            let _ = (&mut worker.stopped).await;
        }
        for worker in self.workers {
            // It has ended or is about to; a panic was printed where it happened.
            let _ = worker.thread.join();
        }
        if let Some(LogWriter { batches, thread }) = self.log {
            drop(batches);
            let _ = thread.join();
        }
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            // A worker that has drained is not told any more.
            let _ = worker.commands.send(command());
        }
    }
}

impl fmt::Debug for Dataplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dataplane({} workers)", self.workers.len())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inbound => f.write_str("inbound"),
            Self::Outbound => f.write_str("outbound"),
            Self::Tcp(service) => service.fmt(f),
        }
    }
}

fn spawn(
    index: usize,
    ledger: impl FnOnce() -> Ledger + Send + 'static,
    start: Start,
    running: Arc<AtomicUsize>,
) -> io::Result<WorkerHandle> {
    let (commands, receiver) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel();
    let thread = thread::Builder::new().name(format!("weft-worker-{index}")).spawn(move || {
        let events = start.events.clone();
        if let Err(error) = worker::run(ledger(), start, receiver) {
            tracing::error!(worker = index, %error, "a worker has ended");
        }
        if running.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Nobody listens where the process is ending.
            let _ = events.try_send(Event::Drained);
        }
        let _ = stop.send(());
    })?;
    Ok(WorkerHandle { commands, stopped, thread })
}

#[cfg(test)]
impl Dataplane {
    /// Takes every lock that there is in a data plane, for as long as what is returned is kept.
    pub(super) fn hold_every_lock(&self) -> impl Sized + '_ {
        let Self { workers: _, exposition, kept, keeper, log: _, refusals: _, progress: _, gate: _ } = self;
        (lock(exposition), lock(kept), keeper.hold())
    }
}

/// A record's line up to the end of its time.
fn time(line: &str) -> &str {
    line.split(',').next().unwrap_or_default()
}

/// The control thread's own locks. A panic while one was held leaves numbers, not invariants, half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
