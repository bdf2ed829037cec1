//! What the admin API tells of open ADS streams.
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use weft_model::WorkloadRef;

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
}

impl StreamState {
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
    pub(crate) fn list(self: &Arc<Self>, workload: WorkloadRef) -> Listed {
        let state = Arc::new(StreamState::default());
        let key = (workload, self.next.fetch_add(1, Ordering::Relaxed));
        self.open().insert(key.clone(), state.clone());
        Listed { streams: self.clone(), key, state }
    }

    /// How many proxies are there, and how many have all there is at the batch `sequence`.
    pub(crate) fn count(&self, sequence: u64) -> ProxyCount {
        let open = self.open();
        let in_sync = open.values().filter(|state| state.is_in_sync(sequence)).count();
        ProxyCount { connected: open.len() as u64, in_sync: in_sync as u64 }
    }

    /// Adds what is known of a workload's latest stream.
    pub(crate) fn describe(&self, workload: &WorkloadRef, sequence: u64, item: &mut WorkloadItem) {
        let open = self.open();
        let latest = open.range((workload.clone(), 0)..=(workload.clone(), u64::MAX)).next_back();
        if let Some((_, state)) = latest {
            item.in_sync = state.is_in_sync(sequence);
            item.resources_sent = state.sent.load(Ordering::Relaxed);
            item.resent = state.resent.load(Ordering::Relaxed);
        }
    }

    /// What is kept is whole between statements, so a panic elsewhere does not spoil it.
    fn open(&self) -> MutexGuard<'_, BTreeMap<(WorkloadRef, u64), Arc<StreamState>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
