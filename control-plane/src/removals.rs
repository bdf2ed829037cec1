//! Removals that are held back from proxies of another history until a person confirms them, and the confirmation.
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tokio::sync::watch;
use weft_model::{Revision, WorkloadRef};
use weft_store::{ExpectedValue, State, StateChange, StoreError, Table, WriteError};
use weft_xds::is_elsewhere;

use crate::audit;

/// The setting that holds the epoch for which removals were confirmed.
const CONFIRMED: &str = "removals-confirmed";

/// What was confirmed.
///
/// A confirmation is valid for the store's epoch. For proxies that come from other epochs it is kept in the store: such a
/// proxy may have been away for long. For proxies that have seen a later state of the same epoch it holds while this
/// control plane runs: an older copy that is restored later must be confirmed by itself.
#[derive(Debug)]
pub(crate) struct Removals {
    scope: Mutex<Scope>,
    /// Grows with each confirmation.
    changes: watch::Sender<u64>,
    /// The proxies that come from another history and would lose nothing: by which ADS stream that was found, and how many
    /// resources it had named.
    lossless: Mutex<BTreeMap<WorkloadRef, (u64, u64)>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Scope {
    other_epochs: bool,
    later_states: bool,
}

impl Removals {
    /// Reads what was confirmed before.
    pub(crate) async fn open(state: &dyn State, own: &Revision) -> Result<Self, StoreError> {
        let confirmed = state.read(Table::Settings, CONFIRMED).await?;
        let other_epochs = confirmed.is_some_and(|epoch| epoch == own.epoch().as_bytes());
        let scope = Mutex::new(Scope { other_epochs, later_states: false });
        Ok(Self { scope, changes: watch::Sender::new(0), lossless: Mutex::default() })
    }

    /// Whether removals are confirmed for a proxy that has seen `seen`.
    pub(crate) fn cover(&self, seen: &Revision, own: &Revision) -> bool {
        let Scope { other_epochs, later_states } = *self.scope();
        if seen.epoch() == own.epoch() { later_states } else { other_epochs }
    }

    /// Whether a proxy that has seen `seen` waits only to be told that removals are confirmed.
    pub(crate) fn release(&self, seen: &Revision, own: &Revision) -> bool {
        is_elsewhere(seen, own) && self.cover(seen, own)
    }

    /// Notes whether the client of an ADS stream would lose nothing of the so many resources that it has named; `None`
    /// where it might, or the stream has ended. Of several streams of one workload the last that found so counts.
    pub(crate) fn note(&self, (workload, stream): &(WorkloadRef, u64), named: Option<u64>) {
        let mut lossless = self.lossless.lock().unwrap_or_else(PoisonError::into_inner);
        match named {
            Some(named) => drop(lossless.insert(workload.clone(), (*stream, named))),
            None if lossless.get(workload).is_some_and(|(by, _)| by == stream) => drop(lossless.remove(workload)),
            None => {}
        }
    }

    /// How many resources a proxy has named, where it would lose none of them.
    pub(crate) fn named_without_loss(&self, workload: &WorkloadRef) -> Option<u64> {
        let lossless = self.lossless.lock().unwrap_or_else(PoisonError::into_inner);
        lossless.get(workload).map(|(_, named)| *named)
    }

    /// Tells of each confirmation.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Confirms, durably and with an entry in the audit log.
    pub(crate) async fn confirm(&self, state: &dyn State, own: &Revision) -> Result<(), WriteError> {
        let about = own.to_string();
        let entry = audit::Entry { action: "removals-confirmed", by: "admin", about: &about, address: None };
        let setting = StateChange {
            table: Table::Settings,
            key: CONFIRMED.to_owned(),
            expected: ExpectedValue::Any,
            value: Some(own.epoch().as_bytes().to_vec()),
        };
        state.change(vec![setting, entry.at(SystemTime::now())]).await?;
        *self.scope() = Scope { other_epochs: true, later_states: true };
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// What is kept is whole between statements, so a panic elsewhere does not spoil it.
    fn scope(&self) -> MutexGuard<'_, Scope> {
        self.scope.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
