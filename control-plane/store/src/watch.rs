//! The feed of committed batches, and watches over it.
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use weft_model::{ObjectRef, Revision, Stored};

use crate::{Batch, BatchChange, Listing};

/// How many batches are kept for watches that are behind. One that is further behind lists again.
const KEPT: usize = 1024;

/// Why a watch cannot go on: list again, and watch from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// Batches after the watch's place are no longer kept.
    #[error("the watch is too far behind: list again")]
    Lagged,
    /// The revision is of another store, or one that this store has not reached.
    #[error("the revision is not one of this store: list again")]
    NotOfThisStore,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// What is committed: the objects, the latest batches, and a bell.
#[derive(Debug)]
pub(crate) struct Feed {
    epoch: Arc<str>,
    log: Mutex<Log>,
    bell: watch::Sender<Bell>,
}

#[derive(Debug)]
struct Log {
    number: u64,
    revision: Revision,
    objects: Arc<BTreeMap<ObjectRef, Stored>>,
    /// The batches of the numbers up to `number`, the latest at the back.
    batches: VecDeque<Arc<Batch>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bell {
    Committed(u64),
    Closed,
}

impl Feed {
    pub(crate) fn new(revision: Revision, number: u64, objects: BTreeMap<ObjectRef, Stored>) -> Self {
        let epoch = revision.epoch().into();
        let log = Log { number, revision, objects: Arc::new(objects), batches: VecDeque::new() };
        Self { epoch, log: Mutex::new(log), bell: watch::Sender::new(Bell::Committed(number)) }
    }

    pub(crate) fn epoch(&self) -> &str {
        &self.epoch
    }

    pub(crate) fn listing(&self) -> Listing {
        let log = self.log();
        Listing { revision: log.revision.clone(), objects: log.objects.clone() }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.log().revision.clone()
    }

    /// Publishes batches that are durable: the first has the number after the feed's, each next one more.
    pub(crate) fn publish(&self, batches: Vec<Batch>) {
        let mut log = self.log();
        for batch in batches {
            let objects = Arc::make_mut(&mut log.objects);
            for change in &batch.changes {
                match change {
                    BatchChange::Put(stored) => objects.insert(stored.object.reference(), stored.clone()),
                    BatchChange::Deleted(object) => objects.remove(object),
                };
            }
            log.number += 1;
            log.revision = batch.revision.clone();
            if log.batches.len() == KEPT {
                log.batches.pop_front();
            }
            log.batches.push_back(Arc::new(batch));
        }
        let number = log.number;
        drop(log);
        self.bell.send_replace(Bell::Committed(number));
    }

    pub(crate) fn close(&self) {
        self.bell.send_replace(Bell::Closed);
    }

    pub(crate) fn watch(self: &Arc<Self>, from: &Revision) -> Result<Watch, WatchError> {
        let seen = from.number(Revision::ALL).filter(|_| from.epoch() == &*self.epoch);
        let seen = seen.ok_or(WatchError::NotOfThisStore)?;
        self.after(seen)?;
        Ok(Watch { feed: self.clone(), seen, bell: self.bell.subscribe() })
    }

    /// The batch after number `seen`; `None` where that is the latest.
    fn after(&self, seen: u64) -> Result<Option<Arc<Batch>>, WatchError> {
        let log = self.log();
        let behind = log.number.checked_sub(seen).ok_or(WatchError::NotOfThisStore)?;
        if behind == 0 {
            return Ok(None);
        }
        let place = usize::try_from(behind).ok().and_then(|behind| log.batches.len().checked_sub(behind));
        place.and_then(|place| log.batches.get(place)).cloned().map(Some).ok_or(WatchError::Lagged)
    }

    /// The log holds no broken state between its statements, so a panic elsewhere does not spoil it.
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every batch committed after a revision, in order and without a gap.
#[derive(Debug)]
pub struct Watch {
    feed: Arc<Feed>,
    seen: u64,
    bell: watch::Receiver<Bell>,
}

impl Watch {
    /// The next batch, once there is one. Cancel-safe.
    ///
    /// # Errors
    /// [`WatchError::Lagged`] where the watch has fallen too far behind, [`WatchError::Closed`] at the store's end.
    pub async fn next(&mut self) -> Result<Arc<Batch>, WatchError> {
        loop {
            // Marked as seen before the log is looked at: a bell rung in between is then not lost.
            let bell = *self.bell.borrow_and_update();
            if let Some(batch) = self.feed.after(self.seen)? {
                self.seen += 1;
                return Ok(batch);
            }
            if bell == Bell::Closed || self.bell.changed().await.is_err() {
                return Err(WatchError::Closed);
            }
        }
    }
}
