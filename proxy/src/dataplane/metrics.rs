//! The data path's numbers: cells that one worker writes and the control thread reads.
use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64, mpsc::Sender},
};

use weft_decide::NoRepeat;
use weft_ir::ServiceKey;

use super::{
    attempts::NotRepeated,
    histogram::{Histogram, add},
};

/// The most series of one worker. What comes beyond counts into one series that names no service, so that neither
/// configuration nor traffic makes the exposition grow without bound.
pub(super) const MAX_SERIES: usize = 2_000;

/// Which way a connection or request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Direction {
    /// From a peer to the application.
    Inbound,
    /// From the application to a peer.
    Outbound,
}

impl Direction {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// What a series is of: the labels of its lines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Labels {
    pub(super) direction: Direction,
    pub(super) tcp: bool,
    /// The service port as addressed, and as chosen; `None` where a request did not get as far.
    pub(super) services: Option<(ServiceKey, ServiceKey)>,
}

/// The cells of one series of one worker.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) labels: Labels,
    /// `services` as text, so that a record does not print them anew.
    pub(super) texts: Option<(String, String)>,
    /// Answers by class; 0 counts those without.
    pub(super) classes: [AtomicU64; 6],
    pub(super) failures: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) duration: Histogram,
}

/// How one request or connection ended, as far as numbers go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) status: Option<u16>,
    pub(super) failed: bool,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) micros: u64,
}

impl Series {
    fn new(labels: Labels) -> Self {
        let texts = labels.services.as_ref().map(|(service, to)| (service.to_string(), to.to_string()));
        Self {
            labels,
            texts,
            classes: Default::default(),
            failures: AtomicU64::default(),
            sent: AtomicU64::default(),
            received: AtomicU64::default(),
            duration: Histogram::default(),
        }
    }

    /// Counts one end. Only the series' own worker may call it.
    pub(super) fn count(&self, sample: Sample) {
        let class = sample.status.map_or(0, |status| usize::from(status / 100));
        if let Some(cell) = self.classes.get(class).or_else(|| self.classes.first()) {
            add(cell, 1);
        }
        if sample.failed {
            add(&self.failures, 1);
        }
        add(&self.sent, sample.sent);
        add(&self.received, sample.received);
        self.duration.record(sample.micros);
    }
}

/// Causes of refusals and failures: a closed set of short names.
const MAX_CAUSES: usize = 64;

/// Cells that every worker has.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) accepted: [AtomicU64; 2],
    pub(super) active: [AtomicU64; 2],
    /// Closed at once, by [`Limit::TURN_AWAY`](super::gate::Limit::TURN_AWAY).
    pub(super) refused: [AtomicU64; 3],
    pub(super) accept_errors: AtomicU64,
    pub(super) on_demand_waits: AtomicU64,
    pub(super) upstream_connected: AtomicU64,
    pub(super) upstream_reused: AtomicU64,
    pub(super) handshakes_failed: AtomicU64,
    pub(super) records_dropped: AtomicU64,
    pub(super) tunnels: AtomicU64,
    pub(super) grpc_web: AtomicU64,
    pub(super) retries: Retries,
    pub(super) mirrors: Mirrors,
}

/// Copies of requests by how they ended.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    /// With an answer that tells of no failure.
    pub(super) answered: AtomicU64,
    /// With any other, with none, or nowhere.
    pub(super) failed: AtomicU64,
}

impl Mirrors {
    /// Counts one. Only the cells' own worker may call it.
    pub(super) fn count(&self, answered: bool) {
        add(if answered { &self.answered } else { &self.failed }, 1);
    }
}

/// What became of requests that failed or were answered by an error that their route repeats on.
#[derive(Debug, Default)]
pub(super) struct Retries {
    pub(super) repeated: AtomicU64,
    pub(super) refused: [AtomicU64; 8],
}

impl Retries {
    /// Why requests were not repeated, in the order of the cells.
    pub(super) const CAUSES: [&'static str; 8] =
        ["no-retries", "unsafe", "answered", "body-gone", "attempts", "deadline", "budget", "breaker"];

    /// The cell of a cause; `None` where nobody wanted a repetition.
    pub(super) fn of(&self, why: NotRepeated) -> Option<&AtomicU64> {
        let cell = match why {
            NotRepeated::Not(NoRepeat::NotWanted) => return None,
            NotRepeated::Not(NoRepeat::NoRetries) => 0,
            NotRepeated::Not(NoRepeat::Unsafe) => 1,
            NotRepeated::Not(NoRepeat::Answered) => 2,
            NotRepeated::Not(NoRepeat::BodyGone) => 3,
            NotRepeated::Not(NoRepeat::Attempts) => 4,
            NotRepeated::Not(NoRepeat::Deadline) | NotRepeated::RetryAfter => 5,
            NotRepeated::Not(NoRepeat::Budget) => 6,
            NotRepeated::Breaker => 7,
        };
        self.refused.get(cell)
    }
}

/// One worker's count of what was refused of a cluster for one limit, or for its breaker.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) cluster: ServiceKey,
    pub(super) limit: &'static str,
    pub(super) count: AtomicU64,
}

/// One worker's count of one cause.
#[derive(Debug)]
pub(super) struct Cause {
    pub(super) direction: Direction,
    pub(super) code: &'static str,
    pub(super) count: AtomicU64,
}

/// Something new to expose, sent to the control thread once.
#[derive(Debug)]
pub(super) enum Registered {
    Series(Arc<Series>),
    Cause(Arc<Cause>),
    Refused(Arc<Refused>),
}

/// Series by service, then by destination.
#[derive(Debug, Default)]
struct Table(HashMap<ServiceKey, HashMap<ServiceKey, Arc<Series>>>);

/// One worker's numbers.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) totals: Arc<Totals>,
    /// A channel, not a shared list: the worker never waits for the exposition.
    registry: Sender<Registered>,
    /// By direction and protocol; then by service and destination, so that a lookup clones no name.
    tables: RefCell<[Table; 4]>,
    nameless: [OnceCell<Arc<Series>>; 4],
    count: Cell<usize>,
    causes: RefCell<Vec<Arc<Cause>>>,
    refused: RefCell<HashMap<ServiceKey, Vec<Arc<Refused>>>>,
}

impl Metrics {
    pub(super) fn new(totals: Arc<Totals>, registry: Sender<Registered>) -> Self {
        Self {
            totals,
            registry,
            tables: RefCell::default(),
            nameless: Default::default(),
            count: Cell::new(0),
            causes: RefCell::default(),
            refused: RefCell::default(),
        }
    }

    /// The series of an edge. The returned cells are this worker's own.
    pub(super) fn series(
        &self,
        direction: Direction,
        tcp: bool,
        service: &ServiceKey,
        destination: &ServiceKey,
    ) -> Arc<Series> {
        let mut tables = self.tables.borrow_mut();
        let Some(table) = tables.get_mut(table(direction, tcp)) else { return self.nameless(direction, tcp) };
        if let Some(series) = table.0.get(service).and_then(|table| table.get(destination)) {
            return series.clone();
        }
        if self.count.get() >= MAX_SERIES {
            return self.nameless(direction, tcp);
        }
        self.count.set(self.count.get() + 1);
        let services = Some((service.clone(), destination.clone()));
        let series = self.register(Series::new(Labels { direction, tcp, services }));
        table.0.entry(service.clone()).or_default().insert(destination.clone(), series.clone());
        series
    }

    /// The series of what did not get as far as a service.
    pub(super) fn nameless(&self, direction: Direction, tcp: bool) -> Arc<Series> {
        let new = || self.register(Series::new(Labels { direction, tcp, services: None }));
        match self.nameless.get(table(direction, tcp)) {
            Some(cell) => cell.get_or_init(new).clone(),
            None => new(),
        }
    }

    /// Counts a refusal or failure by its cause.
    pub(super) fn cause(&self, direction: Direction, code: &'static str) {
        let mut causes = self.causes.borrow_mut();
        if let Some(cause) = causes.iter().find(|cause| cause.direction == direction && cause.code == code) {
            add(&cause.count, 1);
        } else if causes.len() < MAX_CAUSES {
            let cause = Arc::new(Cause { direction, code, count: AtomicU64::new(1) });
            // Without a reader the process is ending, and nobody asks for the number any more.
            let _ = self.registry.send(Registered::Cause(cause.clone()));
            causes.push(cause);
        }
    }

    /// Counts what was refused of a cluster for a limit. A cluster beyond the bound on series counts by cause only.
    pub(super) fn refused(&self, cluster: &ServiceKey, limit: &'static str) {
        let mut refused = self.refused.borrow_mut();
        if let Some(cells) = refused.get(cluster)
            && let Some(cell) = cells.iter().find(|cell| cell.limit == limit)
        {
            return add(&cell.count, 1);
        }
        if self.count.get() >= MAX_SERIES {
            return;
        }
        self.count.set(self.count.get() + 1);
        let cell = Arc::new(Refused { cluster: cluster.clone(), limit, count: AtomicU64::new(1) });
        // Without a reader the process is ending, and nobody asks for the number any more.
        let _ = self.registry.send(Registered::Refused(cell.clone()));
        refused.entry(cluster.clone()).or_default().push(cell);
    }

    fn register(&self, series: Series) -> Arc<Series> {
        let series = Arc::new(series);
        let _ = self.registry.send(Registered::Series(series.clone()));
        series
    }
}

fn table(direction: Direction, tcp: bool) -> usize {
    direction as usize * 2 + usize::from(tcp)
}
