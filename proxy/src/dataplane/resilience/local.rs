//! What one worker holds of one service port.
use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    num::NonZeroU32,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Notify, task::AbortHandle};
use weft_decide::{
    Admission, Ejected, Held, Lease, LimitKind, PeakEwma, Purse, Refusal, Report, Streak, Tally, Tripped, Verdict,
    Warming,
};
use weft_ir::{Cluster, EndpointAddress, RetryBudget, ServiceKey, SuccessRate};

use super::shared::{Shared, most};

/// How many endpoints that are gone a worker remembers before it forgets them.
const SPARE: usize = 64;

/// An endpoint as one worker sees it.
#[derive(Debug, Default)]
pub(in crate::dataplane) struct Place {
    /// How many requests it is serving for this worker.
    pub(in crate::dataplane) load: Cell<u32>,
    streak: Cell<Streak>,
    measure: Cell<PeakEwma>,
    tally: Cell<Tally>,
}

impl Place {
    /// Takes the end of one try; what the control thread must hear of it.
    pub(in crate::dataplane) fn take(&self, verdict: Verdict) -> Option<Report> {
        let mut streak = self.streak.get();
        let report = streak.take(verdict);
        self.streak.set(streak);
        report
    }

    /// Counts the end of one try, where success rates matter; what the control thread must hear now.
    pub(in crate::dataplane) fn count(&self, verdict: Verdict, policy: &SuccessRate, now: Duration) -> Option<Report> {
        let mut tally = self.tally.get();
        let report = tally.take(verdict, policy, now);
        self.tally.set(tally);
        report
    }

    /// Takes how long one try took until its answer's head, or its failure.
    pub(in crate::dataplane) fn measure(&self, took: Duration, verdict: Verdict, now: Duration) {
        let mut measure = self.measure.get();
        measure.observe(took, verdict, now);
        self.measure.set(measure);
    }
}

/// What the control side has told of a cluster's endpoints.
#[derive(Clone, Debug, Default)]
pub(in crate::dataplane) struct Told {
    ejected: Rc<Ejected>,
    unhealthy: Rc<Ejected>,
    /// Both of them.
    out: Rc<Ejected>,
    warming: Rc<Warming>,
}

/// What it tells.
#[derive(Clone, Debug)]
pub(in crate::dataplane) enum News {
    /// These are left out, because they err.
    Ejected(Arc<Ejected>),
    /// These are left out, because they fail their health checks.
    Unhealthy(Arc<Ejected>),
    /// These are new.
    Warming(Arc<Warming>),
}

impl Told {
    /// Takes what is told. Copies of its own: a request counts the references that it makes.
    pub(in crate::dataplane) fn take(&mut self, news: News) {
        match news {
            News::Ejected(ejected) => self.ejected = Rc::new((*ejected).clone()),
            News::Unhealthy(unhealthy) => self.unhealthy = Rc::new((*unhealthy).clone()),
            News::Warming(warming) => self.warming = Rc::new((*warming).clone()),
        }
        self.out = match (self.ejected.is_empty(), self.unhealthy.is_empty()) {
            (_, true) => self.ejected.clone(),
            (true, false) => self.unhealthy.clone(),
            (false, false) => Rc::new(self.ejected.and(&self.unhealthy)),
        };
    }

    /// Whether there is nothing to know.
    pub(in crate::dataplane) fn is_empty(&self) -> bool {
        self.out.is_empty() && self.warming.is_empty()
    }
}

/// One worker's own state of one service port.
#[derive(Debug)]
pub(in crate::dataplane) struct Local {
    pub(super) name: ServiceKey,
    pub(in crate::dataplane) shared: Arc<Shared>,
    pub(super) worker: usize,
    workers: usize,
    cursor: Cell<u64>,
    leases: [OnceCell<Rc<Lease>>; 3],
    purse: OnceCell<Purse>,
    places: RefCell<HashMap<EndpointAddress, Rc<Place>>>,
    told: RefCell<Told>,
    /// How many of this worker wait for a connection, and who tells them that the pool has one.
    pub(super) waiting: Cell<u32>,
    pub(super) pooled: Notify,
    /// Makes room among unused connections when somebody waits.
    pub(super) evictor: OnceCell<AbortHandle>,
}

impl Local {
    /// The state of `name` in one of several workers; its round robin starts at `cursor`.
    pub(in crate::dataplane) fn new(
        name: ServiceKey,
        shared: Arc<Shared>,
        (worker, workers): (usize, usize),
        cursor: u64,
        told: Told,
    ) -> Self {
        Self {
            name,
            shared,
            worker,
            workers,
            cursor: Cell::new(cursor),
            leases: Default::default(),
            purse: OnceCell::new(),
            places: RefCell::default(),
            told: RefCell::new(told),
            waiting: Cell::new(0),
            pooled: Notify::new(),
            evictor: OnceCell::new(),
        }
    }

    /// The next turn of the round robin.
    pub(in crate::dataplane) fn cursor(&self) -> u64 {
        self.cursor.set(self.cursor.get().wrapping_add(1));
        self.cursor.get()
    }

    /// The endpoints that are left out, for whatever reason.
    pub(in crate::dataplane) fn left_out(&self) -> Rc<Ejected> {
        self.told.borrow().out.clone()
    }

    /// Those of them that fail their health checks.
    pub(in crate::dataplane) fn unhealthy(&self) -> Rc<Ejected> {
        self.told.borrow().unhealthy.clone()
    }

    /// The endpoints that are new.
    pub(in crate::dataplane) fn warming(&self) -> Rc<Warming> {
        self.told.borrow().warming.clone()
    }

    pub(in crate::dataplane) fn set_told(&self, told: Told) {
        *self.told.borrow_mut() = told;
    }

    /// An endpoint as this worker sees it. `present` is how many the cluster has: what is gone is forgotten in time.
    pub(in crate::dataplane) fn place(&self, address: EndpointAddress, present: usize) -> Rc<Place> {
        let mut places = self.places.borrow_mut();
        if let Some(place) = places.get(&address) {
            return place.clone();
        }
        if places.len() > 2 * present + SPARE {
            places.retain(|_, place| Rc::strong_count(place) > 1);
        }
        places.entry(address).or_default().clone()
    }

    /// How many requests an endpoint is serving for this worker.
    pub(in crate::dataplane) fn load(&self, address: EndpointAddress) -> u64 {
        self.places.borrow().get(&address).map_or(0, |place| place.load.get().into())
    }

    /// How long one more would take there, as far as this worker knows.
    pub(in crate::dataplane) fn cost(&self, address: EndpointAddress, now: Duration) -> u64 {
        self.places.borrow().get(&address).map_or(0, |place| place.measure.get().cost(place.load.get(), now))
    }

    /// Whether an unused connection may rest: not where only other workers' requests wait for one.
    pub(in crate::dataplane) fn may_rest(&self) -> bool {
        self.waiting.get() > 0 || !self.shared.is_wanted()
    }

    /// A connection of this worker has come to rest.
    pub(in crate::dataplane) fn rested(&self) {
        if self.waiting.get() > 0 {
            self.pooled.notify_one();
        }
    }

    /// A unit of a limit; `None` where there is no limit.
    ///
    /// # Errors
    /// All units are in use: none is free at any worker.
    pub(in crate::dataplane) fn take(&self, cluster: &Cluster, kind: LimitKind) -> Result<Option<Held>, Refusal> {
        let Some(limit) = most(&cluster.limits, kind) else { return Ok(None) };
        let Some(lease) = self.lease(kind) else { return Ok(None) };
        match lease.take() {
            Some(held) => Ok(Some(held)),
            None => Err(self.reached(kind, limit)),
        }
    }

    /// What is said where a limit is reached.
    pub(super) fn reached(&self, limit: LimitKind, most: NonZeroU32) -> Refusal {
        Refusal::LimitReached { cluster: self.name.clone(), limit, most: most.get() }
    }

    fn lease(&self, kind: LimitKind) -> Option<&Rc<Lease>> {
        let cell = self.leases.get(kind as usize)?;
        if let Some(lease) = cell.get() {
            return Some(lease);
        }
        // The control thread makes the shares before it publishes the snapshot that has the limit.
        let shares = self.shared.shares(kind)?;
        Some(cell.get_or_init(|| Lease::new(shares.clone(), self.worker)))
    }

    /// Whether the breaker lets a try pass; `None` where there is none.
    ///
    /// # Errors
    /// It is open.
    pub(in crate::dataplane) fn admit(
        &self,
        cluster: &Cluster,
        now: impl FnOnce() -> Duration,
    ) -> Result<Option<Admission>, Refusal> {
        let Some(policy) = &cluster.breaker else { return Ok(None) };
        match self.shared.circuit.admit(policy, now()) {
            Ok(admission) => Ok(Some(admission)),
            Err(Tripped { open_for, probes_in }) => {
                Err(Refusal::BreakerOpen { cluster: self.name.clone(), open_for, probes_in })
            }
        }
    }

    /// A request begins.
    pub(in crate::dataplane) fn count_request(&self, policy: &RetryBudget) {
        self.purse().request(policy);
    }

    /// Whether a repetition is affordable; it is paid then.
    pub(in crate::dataplane) fn afford(&self, policy: &RetryBudget, now: Duration) -> bool {
        self.purse().repeat(policy, now)
    }

    fn purse(&self) -> &Purse {
        self.purse.get_or_init(|| Purse::new(self.shared.budget(self.workers).clone(), self.worker))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(evictor) = self.evictor.get() {
            evictor.abort();
        }
    }
}
