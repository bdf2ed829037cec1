//! The control side of resilience: makes what workers share, decides ejections for all of them, and tells what is so.
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use tokio::{sync::mpsc::UnboundedSender, time::Instant};
use weft_decide::{Checked, Checks, Due, Ejected, Ejector, LimitKind, Newcomers, Report, Snapshot, Warming};
use weft_ir::{Cluster, Endpoint, EndpointAddress, Endpoints, ServiceKey};

use super::{
    checks::{self, Checking},
    live::{self, CheckCounts, ClusterState, EjectedEndpoint, LimitState, UnhealthyEndpoint},
    local::News,
    shared::{Shared, Table, most},
};
use crate::dataplane::{tls::Identity, worker::Command};

/// How long the thread waits where nothing is left out: it is woken by reports.
const NOTHING_OUT: Duration = Duration::from_secs(3600);

/// What a worker tells of one endpoint.
#[derive(Debug)]
pub(in crate::dataplane) struct Reported {
    pub(in crate::dataplane) cluster: ServiceKey,
    pub(in crate::dataplane) address: EndpointAddress,
    pub(in crate::dataplane) report: Report,
}

/// The control side of one data plane's resilience.
pub(in crate::dataplane) struct Keeper {
    epoch: Instant,
    commands: Vec<UnboundedSender<Command>>,
    kept: Mutex<Kept>,
    checking: Arc<Checking>,
}

#[derive(Default)]
struct Kept {
    table: Arc<Table>,
    /// Those with limits, a breaker, ejection, a slow start or health checks.
    watched: BTreeMap<ServiceKey, Watched>,
    /// What workers report; taken by the thread once there is something to decide.
    reports: Option<Receiver<Reported>>,
    /// Whether there is a thread that checks endpoints.
    checks: bool,
}

struct Watched {
    cluster: Arc<Cluster>,
    endpoints: Arc<Endpoints>,
    ejector: Ejector,
    newcomers: Newcomers,
    checks: Checks,
    ejections: u64,
    counts: CheckCounts,
}

/// One check that is to be carried out now.
pub(super) struct Check {
    pub(super) cluster: Arc<Cluster>,
    pub(super) endpoint: Endpoint,
    due: Due,
}

impl Keeper {
    /// Of workers that are told by `commands`; times count from `epoch`.
    pub(in crate::dataplane) fn new(
        epoch: Instant,
        commands: Vec<UnboundedSender<Command>>,
        reports: Receiver<Reported>,
        checking: Checking,
    ) -> Arc<Self> {
        let kept = Kept { reports: Some(reports), ..Kept::default() };
        Arc::new(Self { epoch, commands, kept: Mutex::new(kept), checking: Arc::new(checking) })
    }

    /// Proves this proxy by that identity in checks from now on.
    pub(in crate::dataplane) fn prove(&self, identity: Arc<Identity>) {
        self.checking.prove(identity);
    }

    /// Takes what a snapshot says; what is shared under it. To be called before workers are given the snapshot.
    pub(in crate::dataplane) fn publish(self: &Arc<Self>, snapshot: &Snapshot) -> Arc<Table> {
        let now = self.epoch.elapsed();
        let mut kept = lock(&self.kept);
        kept.share(snapshot, self.commands.len());
        let mut watched = std::mem::take(&mut kept.watched);
        for entry in snapshot.clusters() {
            let cluster = entry.cluster();
            let Cluster { name, limits, breaker, ejection, slow_start, health_check, .. } = &**cluster;
            let is_watched = breaker.is_some() || ejection.is_some() || slow_start.is_some() || health_check.is_some();
            if !is_watched && *limits == Default::default() {
                continue;
            }
            if let Some(shared) = kept.table.get(name) {
                shared.limit(limits, self.commands.len());
            }
            let known = watched.remove(name);
            let is_known = known.is_some();
            let mut its = known.unwrap_or_else(|| Watched::new(cluster, entry.endpoints()));
            let same = Arc::ptr_eq(&its.cluster, cluster) && Arc::ptr_eq(&its.endpoints, entry.endpoints());
            if !(same && is_known) {
                (its.cluster, its.endpoints) = (cluster.clone(), entry.endpoints().clone());
                let changed = match ejection {
                    Some(policy) => its.ejector.endpoints(policy, entry.endpoints(), now),
                    None => its.acquit(),
                };
                self.tell(name, changed);
                let changed = match slow_start {
                    Some(policy) => its.newcomers.endpoints(policy, entry.endpoints(), now),
                    None => its.all_are_old(),
                };
                self.tell_news(name, changed.map(News::Warming));
                let changed = match health_check {
                    Some(policy) => its.checks.endpoints(policy, entry.endpoints(), now, rand::random),
                    None => its.check_nobody(),
                };
                self.tell_news(name, changed.map(News::Unhealthy));
            }
            kept.watched.insert(name.clone(), its);
        }
        for (name, mut its) in watched {
            self.tell(&name, its.acquit());
            self.tell_news(&name, its.all_are_old().map(News::Warming));
            self.tell_news(&name, its.check_nobody().map(News::Unhealthy));
        }
        if !kept.checks && kept.watched.values().any(|its| its.cluster.health_check.is_some()) {
            match checks::start(Arc::downgrade(self), self.checking.clone()) {
                Ok(()) => kept.checks = true,
                Err(error) => tracing::error!(%error, "no thread for health checks: no endpoint will be checked"),
            }
        }
        self.checking.stir();
        if kept.watched.values().any(|its| its.cluster.ejection.is_some())
            && let Some(reports) = kept.reports.take()
            && let Err(error) = listen(Arc::downgrade(self), reports)
        {
            tracing::error!(%error, "no thread for ejection: no endpoint will be left out");
        }
        kept.table.clone()
    }

    /// What is so now of every cluster that has limits, a breaker or ejection; ordered by name.
    pub(in crate::dataplane) fn states(&self) -> Vec<ClusterState> {
        let (now, kept) = (self.epoch.elapsed(), lock(&self.kept));
        let states = kept.watched.iter().map(|(name, its)| its.state(kept.table.get(name).map(|it| &**it), now));
        states.collect()
    }

    /// The same in Prometheus' text format.
    pub(in crate::dataplane) fn expose(&self, out: &mut String) {
        live::expose(&self.states(), out);
    }

    fn report(&self, reported: &Reported) {
        let Reported { cluster, address, report } = reported;
        let mut kept = lock(&self.kept);
        let Some(its) = kept.watched.get_mut(cluster) else { return };
        let Some(policy) = its.cluster.ejection else { return };
        if let Some(changed) = its.ejector.report(&policy, address, *report, self.epoch.elapsed()) {
            its.ejections += 1;
            self.tell(cluster, Some(changed));
        }
    }

    /// Whom to check now, and when to ask again.
    pub(super) fn due(&self) -> (Vec<Check>, Option<Instant>) {
        let (now, mut kept) = (self.epoch.elapsed(), lock(&self.kept));
        let (mut found, mut next) = (Vec::new(), None);
        for its in kept.watched.values_mut() {
            for due in its.checks.due(now) {
                if let Some(endpoint) = its.endpoints.endpoints.get(due.place) {
                    found.push(Check { cluster: its.cluster.clone(), endpoint: endpoint.clone(), due });
                }
            }
            next = next.into_iter().chain(its.checks.next()).min();
        }
        (found, next.map(|next| self.epoch + next))
    }

    /// Takes what came of a check.
    pub(super) fn checked(&self, check: &Check, result: Checked) {
        let mut kept = lock(&self.kept);
        let name = &check.cluster.name;
        let Some(its) = kept.watched.get_mut(name) else { return };
        match result {
            Checked::Passed => its.counts.passed += 1,
            Checked::Failed(_) => its.counts.failed += 1,
            Checked::Unknown => {}
        }
        let changed = its.checks.checked(&check.due, result, self.epoch.elapsed(), rand::random());
        self.tell_news(name, changed.map(News::Unhealthy));
    }

    /// Lets those back whose time is over; for how long nothing else is to be done.
    fn tick(&self) -> Duration {
        let now = self.epoch.elapsed();
        let mut kept = lock(&self.kept);
        let mut next = NOTHING_OUT;
        for (name, its) in &mut kept.watched {
            if let Some(policy) = its.cluster.ejection {
                let before = its.ejector.ejected().addresses().len();
                let changed = its.ejector.tick(&policy, now);
                let after = changed.as_ref().map_or(before, |it| it.addresses().len());
                its.ejections += u64::try_from(after.saturating_sub(before)).unwrap_or(0);
                self.tell(name, changed);
            }
            if let Some(due) = its.ejector.next() {
                next = next.min(due.saturating_sub(now));
            }
        }
        next
    }

    fn tell(&self, cluster: &ServiceKey, ejected: Option<Arc<Ejected>>) {
        self.tell_news(cluster, ejected.map(News::Ejected));
    }

    fn tell_news(&self, cluster: &ServiceKey, news: Option<News>) {
        let Some(news) = news else { return };
        for commands in &self.commands {
            // A worker that has drained is not told any more.
            let _ = commands.send(Command::Told(cluster.clone(), news.clone()));
        }
    }
}

impl Kept {
    /// Brings the table up to a snapshot: what stays keeps its state.
    fn share(&mut self, snapshot: &Snapshot, workers: usize) {
        let names = || {
            let clusters = snapshot.clusters().map(|entry| &entry.cluster().name);
            clusters.chain(snapshot.hosts().map(|host| &host.virtual_host().service))
        };
        if names().all(|name| self.table.contains_key(name)) {
            // Some that have gone may be left: they are dropped when they outnumber the others.
            let present = names().count();
            if self.table.len() <= 2 * present + workers {
                return;
            }
        }
        let mut table = Table::new();
        for name in names() {
            if !table.contains_key(name) {
                let shared = self.table.get(name).map_or_else(Arc::<Shared>::default, Arc::clone);
                table.insert(name.clone(), shared);
            }
        }
        self.table = Arc::new(table);
    }
}

impl Watched {
    fn new(cluster: &Arc<Cluster>, endpoints: &Arc<Endpoints>) -> Self {
        let (cluster, endpoints) = (cluster.clone(), endpoints.clone());
        let (ejector, newcomers, checks) = (Ejector::default(), Newcomers::default(), Checks::default());
        Self { cluster, endpoints, ejector, newcomers, checks, ejections: 0, counts: CheckCounts::default() }
    }

    /// Nobody is checked any more, and nobody left out for it.
    fn check_nobody(&mut self) -> Option<Arc<Ejected>> {
        let former = std::mem::take(&mut self.checks);
        (!former.unhealthy().is_empty()).then(|| self.checks.unhealthy().clone())
    }

    /// Nobody is new any more.
    fn all_are_old(&mut self) -> Option<Arc<Warming>> {
        let former = std::mem::take(&mut self.newcomers);
        (!former.warming().is_empty()).then(|| self.newcomers.warming().clone())
    }

    /// Nothing is held against anybody any more.
    fn acquit(&mut self) -> Option<Arc<Ejected>> {
        let former = std::mem::take(&mut self.ejector);
        (!former.ejected().is_empty()).then(|| self.ejector.ejected().clone())
    }

    fn state(&self, shared: Option<&Shared>, now: Duration) -> ClusterState {
        let Cluster { name, limits, breaker, .. } = &*self.cluster;
        let kinds = [LimitKind::Connections, LimitKind::Pending, LimitKind::Requests];
        let limits = kinds.into_iter().filter_map(|kind| {
            let most = most(limits, kind)?.get();
            let used = shared.and_then(|shared| shared.shares(kind)).map_or(0, |shares| shares.in_use());
            Some(LimitState { limit: kind.name(), most, used })
        });
        let breaker =
            breaker.as_ref().zip(shared).map(|(policy, shared)| live::breaker(shared.circuit.state(policy, now)));
        let ejected = self.ejector.out_until().map(|(peer, address, until)| EjectedEndpoint {
            workload: peer.called(address).to_string(),
            address: shown(address),
            left_ms: u64::try_from(until.saturating_sub(now).as_millis()).unwrap_or(u64::MAX),
        });
        let unhealthy = self.checks.failing().map(|(peer, address, why)| UnhealthyEndpoint {
            workload: peer.called(address).to_string(),
            address: shown(address),
            health: match why {
                Some(why) => format!("unhealthy (active): {why}"),
                None => "unhealthy (active): its last checks pass, and it takes more of them".to_owned(),
            },
        });
        ClusterState {
            cluster: name.to_string(),
            limits: limits.collect(),
            breaker,
            ejected: ejected.collect(),
            ejections: self.ejections,
            unhealthy: unhealthy.collect(),
            checks: self.cluster.health_check.as_ref().map(|_| self.counts),
        }
    }
}

fn shown(address: EndpointAddress) -> String {
    match address {
        EndpointAddress::Socket(socket) => socket.to_string(),
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Who checks finds that nobody wants to know.
        self.checking.stir();
    }
}

/// Starts the thread that hears reports; it ends with the keeper or the last worker.
fn listen(keeper: Weak<Keeper>, reports: Receiver<Reported>) -> io::Result<()> {
    let hear = move || {
        let mut wait = NOTHING_OUT;
        loop {
            let heard = reports.recv_timeout(wait);
            // Held for a moment only: the keeper holds the workers' senders, and they end with it.
            let Some(keeper) = keeper.upgrade() else { return };
            match heard {
                Ok(reported) => keeper.report(&reported),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            wait = keeper.tick();
        }
    };
    thread::Builder::new().name("weft-ejection".into()).spawn(hear).map(drop)
}

#[cfg(test)]
impl Keeper {
    /// Takes its lock.
    pub(in crate::dataplane) fn hold(&self) -> impl Sized + '_ {
        (lock(&self.kept), self.checking.hold())
    }
}

/// The control side's own lock. A panic while it was held leaves counts, not invariants, half-way.
fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
