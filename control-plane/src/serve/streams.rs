//! What the admin API tells of open ADS streams.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::time::Instant;
use weft_ir::{Feature, ResourceKey};
use weft_model::{Revision, WorkloadRef};
use weft_xds::Guard;

use crate::{
    effect::{Touched, Wanted},
    wakes::Behind,
    wire::{ProxyCount, WorkloadItem},
};

/// The open ADS streams.
#[derive(Debug)]
pub(crate) struct AdsStreams {
    next: AtomicU64,
    open: Mutex<BTreeMap<(WorkloadRef, u64), Arc<StreamState>>>,
    touched: Arc<Touched>,
}

/// What one stream tells of itself as it goes.
#[derive(Debug, Default)]
pub(crate) struct StreamState {
    /// Changes that the stream has not looked at.
    behind: Behind,
    /// Whether the client has answered everything, as of what the stream has looked at.
    pub(crate) acknowledged: AtomicBool,
    pub(crate) sent: AtomicU64,
    pub(crate) resent: AtomicU64,
    /// What its client knows, where it says so.
    features: Option<BTreeSet<Feature>>,
    /// What it asked for, and when.
    subscribed: Mutex<BTreeMap<ResourceKey, Instant>>,
    /// What is held back, where the client comes from another history.
    guard: Mutex<Option<Held>>,
}

/// What is held back from one proxy.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// The highest revision that it has seen, of another history.
    pub(crate) seen: Revision,
    /// What it names and is not known here.
    pub(crate) keys: Arc<[ResourceKey]>,
}

impl Held {
    /// Whether the proxy still holds to what it came with. One that has nothing to lose may have taken the other history
    /// for its own since; `told` is the highest revision that it says to have seen, empty before it has said any.
    pub(crate) fn stands(&self, told: &str) -> bool {
        !self.keys.is_empty() || told.is_empty() || told == self.seen.to_string()
    }
}

impl StreamState {
    /// What the client knows; `None` where it does not say.
    pub(crate) fn features(&self) -> Option<&BTreeSet<Feature>> {
        self.features.as_ref()
    }

    /// Notes whether the client wants a resource; whether that is new.
    fn subscribe(&self, key: ResourceKey, wanted: bool) -> bool {
        let mut subscribed = self.subscribed.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted == subscribed.contains_key(&key) {
            return false;
        }
        match wanted {
            true => drop(subscribed.insert(key, Instant::now())),
            false => drop(subscribed.remove(&key)),
        }
        true
    }

    /// Which of these the client wants, and since when.
    pub(crate) fn subscribed(&self, wanted: &Wanted) -> BTreeMap<ResourceKey, Instant> {
        let subscribed = self.subscribed.lock().unwrap_or_else(PoisonError::into_inner);
        match wanted {
            Wanted::All => subscribed.clone(),
            Wanted::Keys(keys) => keys.iter().filter_map(|key| Some((key.clone(), *subscribed.get(key)?))).collect(),
        }
    }

    fn guard(&self, guard: &Guard) {
        let seen = guard.seen().filter(|_| guard.is_elsewhere());
        let held = seen.map(|seen| Held { seen: seen.clone(), keys: guard.held().iter().cloned().collect() });
        *self.guard.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    fn held(&self) -> Option<Held> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the client has said yes or no to everything that there is for it. A stream that takes changes up clears
    /// its word first, so in this order neither of the two is missed.
    fn is_acknowledged(&self) -> bool {
        !self.behind.is_behind() && self.acknowledged.load(Ordering::Acquire)
    }
}

/// A stream in the list of open ones; dropped when it ends.
#[derive(Debug)]
pub(crate) struct Listed {
    streams: Arc<AdsStreams>,
    key: (WorkloadRef, u64),
    pub(crate) state: Arc<StreamState>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.streams.open().remove(&self.key);
        self.touch();
    }
}

impl Listed {
    /// Whose stream it is, and which of theirs.
    pub(crate) fn key(&self) -> &(WorkloadRef, u64) {
        &self.key
    }

    /// Notes which resources the client wants, or no longer does; whether anything of that is new.
    pub(crate) fn subscribe(&self, wanted: impl IntoIterator<Item = (ResourceKey, bool)>) -> bool {
        let mut new = false;
        for (key, wanted) in wanted {
            if self.state.subscribe(key.clone(), wanted) {
                self.streams.touched.said(&self.key.0, &key);
                new = true;
            }
        }
        new
    }

    /// Notes what is held back.
    pub(crate) fn guard(&self, guard: &Guard) {
        self.state.guard(guard);
        self.touch();
    }

    /// Everything of this proxy is to be judged again.
    fn touch(&self) {
        self.streams.touched.proxy(&self.key.0);
    }
}

impl AdsStreams {
    /// No stream is open. What comes to stand otherwise with them is noted in `touched`.
    pub(crate) fn new(touched: Arc<Touched>) -> Self {
        Self { next: AtomicU64::new(0), open: Mutex::default(), touched }
    }

    /// Lists a stream as open until the guard is dropped. `behind` tells of changes that it has not looked at.
    pub(crate) fn list(
        self: &Arc<Self>,
        workload: WorkloadRef,
        features: Option<BTreeSet<Feature>>,
        behind: Behind,
    ) -> Listed {
        let state = Arc::new(StreamState { features, behind, ..StreamState::default() });
        let key = (workload, self.next.fetch_add(1, Ordering::Relaxed));
        self.open().insert(key.clone(), state.clone());
        let listed = Listed { streams: self.clone(), key, state };
        listed.touch();
        listed
    }

    /// How many proxies are there, how many have everything in effect by that word, and how many have acknowledged all
    /// there is. A proxy's latest stream counts: one that it has left may stay open until its connection is found dead.
    pub(crate) fn count(&self, in_effect: impl Fn(&WorkloadRef) -> bool) -> ProxyCount {
        let open = self.open();
        let mut count = ProxyCount::default();
        let mut streams = open.iter().peekable();
        while let Some(((workload, _), state)) = streams.next() {
            if streams.peek().is_some_and(|((next, _), _)| next == workload) {
                continue;
            }
            count.connected += 1;
            count.in_effect += u64::from(in_effect(workload));
            count.acknowledged += u64::from(state.is_acknowledged());
        }
        count
    }

    /// The latest stream of each of these proxies that has one.
    pub(crate) fn latest<'a>(
        &self,
        workloads: impl IntoIterator<Item = &'a WorkloadRef>,
    ) -> BTreeMap<WorkloadRef, Arc<StreamState>> {
        let open = self.open();
        let latest = |workload: &WorkloadRef| {
            let latest = open.range((workload.clone(), 0)..=(workload.clone(), u64::MAX)).next_back();
            latest.map(|((workload, _), state)| (workload.clone(), state.clone()))
        };
        workloads.into_iter().filter_map(latest).collect()
    }

    /// Adds what is known of a workload's latest stream.
    pub(crate) fn describe(&self, workload: &WorkloadRef, item: &mut WorkloadItem) {
        if let Some(state) = self.latest([workload]).get(workload) {
            item.acknowledged = state.is_acknowledged();
            item.resources_sent = state.sent.load(Ordering::Relaxed);
            item.resent = state.resent.load(Ordering::Relaxed);
            if let Some(held) = state.held().filter(|held| held.stands(&item.revision)) {
                item.holds_to = Some(held.seen.to_string());
                item.removals_held += held.keys.len() as u64;
            }
        }
    }

    /// What is held back from whom, ordered by workload: of each workload's latest stream.
    pub(crate) fn held(&self) -> Vec<(WorkloadRef, Held)> {
        let open = self.open();
        let latest: BTreeMap<_, _> = open.iter().map(|((workload, _), state)| (workload, state)).collect();
        latest.into_iter().filter_map(|(workload, state)| Some((workload.clone(), state.held()?))).collect()
    }

    /// What is kept is whole between statements, so a panic elsewhere does not spoil it.
    fn open(&self) -> MutexGuard<'_, BTreeMap<(WorkloadRef, u64), Arc<StreamState>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(name: &str) -> WorkloadRef {
        WorkloadRef { namespace: "shop".parse().unwrap(), name: name.parse().unwrap() }
    }

    #[test]
    fn a_stream_that_a_proxy_has_left_counts_for_nothing() {
        let streams = Arc::new(AdsStreams::new(Arc::default()));
        let count = || streams.count(|workload| workload.name.as_str() == "web-1");
        let proxies = |connected, in_effect, acknowledged| ProxyCount { connected, in_effect, acknowledged };
        assert_eq!(count(), proxies(0, 0, 0));
        let [stale, other, latest] =
            ["web-0", "web-1", "web-0"].map(|name| streams.list(workload(name), None, Behind::default()));
        latest.state.acknowledged.store(true, Ordering::Release);
        assert_eq!(count(), proxies(2, 1, 1));
        drop(latest);
        assert_eq!(count(), proxies(2, 1, 0));
        drop((stale, other));
        assert_eq!(count(), proxies(0, 0, 0));
    }
}
