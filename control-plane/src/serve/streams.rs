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

use crate::wire::{ProxyCount, WorkloadItem};

/// The open ADS streams.
#[derive(Debug, Default)]
pub(crate) struct AdsStreams {
    next: AtomicU64,
    open: Mutex<BTreeMap<(WorkloadRef, u64), Arc<StreamState>>>,
}

/// What one stream tells of itself as it goes.
#[derive(Debug, Default)]
pub(crate) struct StreamState {
    /// The last batch of changed keys that the stream has looked at.
    pub(crate) sequence: AtomicU64,
    /// Whether the client has answered everything, as of that batch.
    pub(crate) in_sync: AtomicBool,
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

impl StreamState {
    /// What the client knows; `None` where it does not say.
    pub(crate) fn features(&self) -> Option<&BTreeSet<Feature>> {
        self.features.as_ref()
    }

    /// Notes whether the client wants a resource; whether that is new.
    pub(crate) fn subscribe(&self, key: ResourceKey, wanted: bool) -> bool {
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

    /// Which of `keys` the client wants, and since when.
    pub(crate) fn subscribed(&self, keys: &BTreeSet<ResourceKey>) -> BTreeMap<ResourceKey, Instant> {
        let subscribed = self.subscribed.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() < subscribed.len() {
            return keys.iter().filter_map(|key| Some((key.clone(), *subscribed.get(key)?))).collect();
        }
        subscribed.iter().filter(|(key, _)| keys.contains(*key)).map(|(key, since)| (key.clone(), *since)).collect()
    }

    /// Notes what is held back.
    pub(crate) fn guard(&self, guard: &Guard) {
        let seen = guard.seen().filter(|_| guard.is_elsewhere());
        let held = seen.map(|seen| Held { seen: seen.clone(), keys: guard.held().iter().cloned().collect() });
        *self.guard.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    fn held(&self) -> Option<Held> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_in_sync(&self, sequence: u64) -> bool {
        self.sequence.load(Ordering::Acquire) >= sequence && self.in_sync.load(Ordering::Acquire)
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
    }
}

impl AdsStreams {
    /// Lists a stream as open until the guard is dropped.
    pub(crate) fn list(self: &Arc<Self>, workload: WorkloadRef, features: Option<BTreeSet<Feature>>) -> Listed {
        let state = Arc::new(StreamState { features, ..StreamState::default() });
        let key = (workload, self.next.fetch_add(1, Ordering::Relaxed));
        self.open().insert(key.clone(), state.clone());
        Listed { streams: self.clone(), key, state }
    }

    /// How many proxies are there, and how many have all there is at the batch `sequence`. A proxy's latest stream
    /// counts: one that it has left may stay open until its connection is found dead.
    pub(crate) fn count(&self, sequence: u64) -> ProxyCount {
        let open = self.open();
        let mut count = ProxyCount::default();
        let mut streams = open.iter().peekable();
        while let Some(((workload, _), state)) = streams.next() {
            if streams.peek().is_some_and(|((next, _), _)| next == workload) {
                continue;
            }
            count.connected += 1;
            count.in_sync += u64::from(state.is_in_sync(sequence));
        }
        count
    }

    /// The latest stream of each proxy.
    pub(crate) fn latest(&self) -> BTreeMap<WorkloadRef, Arc<StreamState>> {
        // In the order of their numbers: of several the last stands.
        self.open().iter().map(|((workload, _), state)| (workload.clone(), state.clone())).collect()
    }

    /// Adds what is known of a workload's latest stream.
    pub(crate) fn describe(&self, workload: &WorkloadRef, sequence: u64, item: &mut WorkloadItem) {
        let open = self.open();
        let latest = open.range((workload.clone(), 0)..=(workload.clone(), u64::MAX)).next_back();
        if let Some((_, state)) = latest {
            item.in_sync = state.is_in_sync(sequence);
            item.resources_sent = state.sent.load(Ordering::Relaxed);
            item.resent = state.resent.load(Ordering::Relaxed);
            if let Some(held) = state.held() {
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
        let streams = Arc::new(AdsStreams::default());
        assert_eq!(streams.count(0), ProxyCount::default());
        let [stale, other, latest] = ["web-0", "web-1", "web-0"].map(|name| streams.list(workload(name), None));
        latest.state.in_sync.store(true, Ordering::Release);
        assert_eq!(streams.count(0), ProxyCount { connected: 2, in_sync: 1 });
        drop(latest);
        assert_eq!(streams.count(0), ProxyCount { connected: 2, in_sync: 0 });
        drop((stale, other));
        assert_eq!(streams.count(0), ProxyCount::default());
    }
}
