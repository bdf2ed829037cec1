//! Which snapshot each worker decides from: the proof that what was published is in effect.
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

/// How far the workers have come with what was published. Snapshots are numbered from 1.
#[derive(Debug)]
pub struct Progress {
    published: AtomicU64,
    workers: Box<[Cell]>,
    moved: Notify,
}

/// The number of the snapshot that one worker decides from; [`u64::MAX`] once it has ended, and decides nothing. Alone
/// on its cache lines: a worker that writes it disturbs no other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell(AtomicU64);

/// One worker's end.
#[derive(Debug)]
pub(super) struct Taker {
    progress: Arc<Progress>,
    worker: usize,
}

impl Progress {
    pub(super) fn new(workers: usize) -> Arc<Self> {
        let workers = (0..workers).map(|_| Cell::default()).collect();
        Arc::new(Self { published: AtomicU64::new(0), workers, moved: Notify::new() })
    }

    /// The end of the worker with that index.
    pub(super) fn taker(self: &Arc<Self>, worker: usize) -> Taker {
        Taker { progress: Arc::clone(self), worker }
    }

    /// The number of the next snapshot, which is about to be published.
    pub(super) fn next(&self) -> u64 {
        self.published.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The number of the last snapshot that was published; 0 before the first.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// The number of the last snapshot that every worker decides from: what it says is in effect.
    pub fn in_effect(&self) -> u64 {
        let reached = self.workers.iter().map(|cell| cell.0.load(Ordering::Acquire)).min();
        reached.unwrap_or(u64::MAX)
    }

    /// Waits until a worker has moved since the last call. For one task.
    pub async fn moved(&self) {
        self.moved.notified().await;
    }
}

impl Taker {
    /// The worker decides from that snapshot from now on.
    pub(super) fn took(&self, number: u64) {
        if let Some(cell) = self.progress.workers.get(self.worker) {
            cell.0.store(number, Ordering::Release);
        }
        self.progress.moved.notify_one();
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.took(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_in_effect_when_the_last_worker_has_it() {
        let progress = Progress::new(3);
        let mut takers: Vec<_> = (0..3).map(|worker| progress.taker(worker)).collect();
        let number = progress.next();
        assert_eq!((number, progress.published(), progress.in_effect()), (1, 1, 0));
        takers[0].took(number);
        takers[2].took(number);
        assert_eq!(progress.in_effect(), 0);
        takers[1].took(number);
        assert_eq!(progress.in_effect(), 1);
        // One that has ended holds nothing back.
        progress.next();
        takers[0].took(2);
        takers[1].took(2);
        drop(takers.pop());
        assert_eq!(progress.in_effect(), 2);
    }
}
