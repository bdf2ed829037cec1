//! The audit log: who did what, when; kept in the store, oldest entries forgotten first.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tracing::warn;
use weft_store::{ExpectedValue, State, StateChange, StoreError, Table, WriteError};

/// Tells entries of one microsecond apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// One entry. Texts are stored as JSON strings: control characters cannot forge another entry.
#[derive(Debug, Serialize)]
pub(crate) struct Entry<'a> {
    /// What was done: `token-created`, `certificate-issued`, `certificate-renewed`, `certificate-recovered`,
    /// `recovery-refused`, `recovery-revoked`, `intermediate-renewed`, `applied`, `deleted`,
    /// `removals-confirmed`.
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

/// How far the log may grow, and how closely that is watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How many entries are kept.
    kept: usize,
    /// How many more may come before the oldest are forgotten.
    slack: u64,
    /// How often it is looked at.
    pause: Duration,
}

impl Default for Bounds {
    /// 100,000 entries of about 200 bytes.
    fn default() -> Self {
        Self { kept: 100_000, slack: 5_000, pause: Duration::from_secs(10) }
    }
}

/// Forgets the oldest entries each time that the log has grown past its bound. Never ends.
pub(crate) async fn keep_trimmed(state: Arc<dyn State>, bounds: Bounds) {
    let mut trimmed_at = NEXT.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(bounds.pause).await;
        let reached = NEXT.load(Ordering::Relaxed);
        if reached.saturating_sub(trimmed_at) < bounds.slack {
            continue;
        }
        match trim(&*state, bounds).await {
            Ok(()) => trimmed_at = reached,
            Err(error) => warn!(%error, "the audit log is not trimmed yet"),
        }
    }
}

/// Forgets the oldest entries of a log that has grown past its bound.
pub(crate) async fn trim(state: &dyn State, Bounds { kept, .. }: Bounds) -> Result<(), TrimError> {
    loop {
        let entries = state.scan(Table::Audit, "", 2 * kept).await?;
        let found = entries.len();
        let changes = entries.into_iter().take(found.saturating_sub(kept)).map(|entry| StateChange {
            table: Table::Audit,
            key: entry.key,
            expected: ExpectedValue::Any,
            value: None,
        });
        if found > kept {
            state.change(changes.collect()).await?;
        }
        if found < 2 * kept {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use weft_store::Redb;

    use super::*;

    async fn write(state: &dyn State, count: u64) {
        let changes = (0..count).map(|at| {
            let entry = Entry { action: "applied", by: "admin", about: "Service shop/web", address: None };
            entry.at(UNIX_EPOCH + Duration::from_secs(at))
        });
        state.change(changes.collect()).await.unwrap();
    }

    async fn keys(state: &dyn State) -> Vec<String> {
        state.scan(Table::Audit, "", 1_000).await.unwrap().into_iter().map(|entry| entry.key).collect()
    }

    #[tokio::test]
    async fn a_log_far_past_its_bound_is_cut_to_its_latest_entries() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Redb::open(dir.path()).unwrap();
        write(&store, 95).await;
        let all = keys(&store).await;
        trim(&store, Bounds { kept: 10, ..Bounds::default() }).await.unwrap();
        assert_eq!(keys(&store).await, all[85..]);
    }

    /// It was once trimmed at the start alone: a control plane that ran for long grew with every renewal.
    #[tokio::test]
    async fn the_log_is_trimmed_while_it_grows() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Arc::new(Redb::open(dir.path()).unwrap());
        let bounds = Bounds { kept: 10, slack: 5, pause: Duration::from_millis(1) };
        let trimming = tokio::spawn(keep_trimmed(store.clone(), bounds));
        // It has begun to watch: the spawned task runs up to its first pause.
        tokio::task::yield_now().await;
        let trimmed = async {
            for _ in 0..3 {
                write(&*store, 20).await;
                // Entries that are counted and not stored yet are seen when more have come.
                while keys(&*store).await.len() > 15 {
                    write(&*store, 1).await;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), trimmed).await.unwrap();
        trimming.abort();
    }
}
