//! The audit log: who did what, when; kept in the store, oldest entries forgotten first.
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use weft_store::{ExpectedValue, State, StateChange, StoreError, Table, WriteError};

/// How many entries are kept.
const KEPT: usize = 100_000;

/// Tells entries of one microsecond apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// One entry. Texts are stored as JSON strings: control characters cannot forge another entry.
#[derive(Debug, Serialize)]
pub(crate) struct Entry<'a> {
    /// What was done: `token-created`, `certificate-issued`, `certificate-renewed`, `applied`, `deleted`.
    pub(crate) action: &'static str,
    /// Who did it: `admin`, or the identity that proved itself.
    pub(crate) by: &'a str,
    /// To what: an identity, or objects.
    pub(crate) about: &'a str,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
}

impl Entry<'_> {
    /// The change that writes this entry, to be made together with what it tells.
    pub(crate) fn at(&self, now: SystemTime) -> StateChange {
        let micros = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let key = format!("{micros:020}-{:06}", NEXT.fetch_add(1, Ordering::Relaxed) % 1_000_000);
        // Text fields alone: there is nothing in it that JSON cannot hold.
        let value = serde_json::to_vec(self).unwrap_or_default();
        StateChange { table: Table::Audit, key, expected: ExpectedValue::Any, value: Some(value) }
    }
}

/// Why old entries are not forgotten.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrimError {
    #[error(transparent)]
    Read(#[from] StoreError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Forgets the oldest entries of a log that has grown past its bound; called at each start.
pub(crate) async fn trim(state: &dyn State) -> Result<(), TrimError> {
    let entries = state.scan(Table::Audit, "", 2 * KEPT).await?;
    let surplus = entries.len().saturating_sub(KEPT);
    let changes = entries.into_iter().take(surplus).map(|entry| StateChange {
        table: Table::Audit,
        key: entry.key,
        expected: ExpectedValue::Any,
        value: None,
    });
    if surplus > 0 {
        state.change(changes.collect()).await?;
    }
    Ok(())
}
