//! What the store remembers of recoveries: each expired certificate is used once, and none after its recovery was revoked.
use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use weft_certs::{recovery::Recoverable, rfc3339_of};
use weft_model::SpiffeId;
use weft_store::{Entry, ExpectedValue, State, StateChange, StoreError, Table, WriteError};

use crate::{
    audit,
    wire::{RecoveryList, RecoveryRevoked, RecoveryUsed},
};

/// Keys of certificates that were used: this, then the serial number.
const USED: &str = "used/";
/// Keys of identities whose recovery was revoked: this, then the SPIFFE ID.
const REVOKED: &str = "revoked/";
/// How long the same request is answered again, where the answer was lost.
const AGAIN: Duration = Duration::from_secs(600);
/// How many entries are looked at for removal when one is made.
const SWEEP: usize = 1_000;
/// The most entries that are listed.
const LISTED: usize = 10_000;

/// A certificate that was used. Times are seconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
struct Used {
    identity: String,
    /// The key that the next certificate was asked for.
    key: String,
    at: u64,
    /// From when the certificate is too old to be used anyway.
    until: u64,
}

/// Certificates that began up to a time are of no use for recovery.
#[derive(Debug, Serialize, Deserialize)]
struct Revoked {
    up_to: u64,
}

/// Why a certificate that is proven is not recovered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpendError {
    /// An operator revoked it.
    #[error("recovery by certificates of {0} from up to {1} was revoked")]
    Revoked(SpiffeId, String),
    /// It was used before.
    #[error("this expired certificate of {0} was used for recovery at {1}; it is good for one")]
    Used(SpiffeId, String),
    /// A record that cannot be read.
    #[error("the record of the recovery is damaged")]
    Damaged,
    #[error(transparent)]
    Read(#[from] StoreError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Marks a certificate as used, durably and together with the audit's entry: of two who use it at once one succeeds. The
/// same key is answered again for a while: its owner has not had the answer.
pub(crate) async fn spend(
    state: &dyn State,
    proven: &Recoverable,
    key: String,
    window: Duration,
    address: &SocketAddr,
    now: SystemTime,
) -> Result<(), SpendError> {
    let entry = |action| {
        let Recoverable { identity, serial, .. } = proven;
        let about = format!("{identity}, certificate {serial}, expired at {}", rfc3339_of(proven.not_after));
        audit::Entry { action, by: identity.as_str(), about: &about, address: Some(address.to_string()) }.at(now)
    };
    match spent(state, proven, key, window, now).await {
        Ok(mut changes) => {
            changes.push(entry("certificate-recovered"));
            match state.change(changes).await {
                // Used or revoked between the look and the change.
                Err(WriteError::StateConflict { .. }) => {
                    Err(SpendError::Used(proven.identity.clone(), rfc3339_of(now)))
                }
                done => Ok(done?),
            }
        }
        Err(refused) => {
            if matches!(refused, SpendError::Revoked(..) | SpendError::Used(..)) {
                state.change(vec![entry("recovery-refused")]).await?;
            }
            Err(refused)
        }
    }
}

/// The changes that spend a certificate.
async fn spent(
    state: &dyn State,
    proven: &Recoverable,
    key: String,
    window: Duration,
    now: SystemTime,
) -> Result<Vec<StateChange>, SpendError> {
    let Recoverable { identity, serial, not_before, not_after } = proven;
    let revoked_key = format!("{REVOKED}{identity}");
    let revoked = state.read(Table::Recovery, &revoked_key).await?;
    if let Some(bytes) = &revoked {
        let Revoked { up_to } = read(bytes)?;
        if seconds(*not_before) <= up_to {
            return Err(SpendError::Revoked(identity.clone(), told(up_to)));
        }
    }
    let used_key = format!("{USED}{serial}");
    if let Some(bytes) = state.read(Table::Recovery, &used_key).await? {
        let used: Used = read(&bytes)?;
        let again = used.key == key && seconds(now).saturating_sub(used.at) <= AGAIN.as_secs();
        return if again { Ok(Vec::new()) } else { Err(SpendError::Used(identity.clone(), told(used.at))) };
    }
    let used = Used {
        identity: identity.to_string(),
        key,
        at: seconds(now),
        // A day more, for a clock that is set back.
        until: seconds(*not_after).saturating_add(window.as_secs()).saturating_add(24 * 3600),
    };
    let mut changes = over(state, now).await?;
    changes.push(change(used_key, ExpectedValue::Absent, Some(write(&used))));
    // As it was when it was looked at.
    changes.push(change(revoked_key, revoked.clone().map_or(ExpectedValue::Absent, ExpectedValue::Is), revoked));
    Ok(changes)
}

/// Revokes the recovery by every certificate that an identity was given so far. One that is given later, by a new join
/// token, may be used again.
pub(crate) async fn revoke(
    state: &dyn State,
    identity: &SpiffeId,
    now: SystemTime,
) -> Result<RecoveryRevoked, WriteError> {
    let up_to = seconds(now);
    let audit = audit::Entry { action: "recovery-revoked", by: "admin", about: identity.as_str(), address: None };
    let revoked = change(format!("{REVOKED}{identity}"), ExpectedValue::Any, Some(write(&Revoked { up_to })));
    state.change(vec![revoked, audit.at(now)]).await?;
    Ok(RecoveryRevoked { identity: identity.to_string(), up_to: told(up_to) })
}

/// Everything that is remembered, for people.
pub(crate) async fn list(state: &dyn State, window: Duration) -> Result<RecoveryList, SpendError> {
    let entries = state.scan(Table::Recovery, "", LISTED).await?;
    let mut list = RecoveryList { window_seconds: window.as_secs(), used: Vec::new(), revoked: Vec::new() };
    for Entry { key, value } in entries {
        if let Some(identity) = key.strip_prefix(REVOKED) {
            let Revoked { up_to } = read(&value)?;
            list.revoked.push(RecoveryRevoked { identity: identity.to_owned(), up_to: told(up_to) });
        } else if let Some(serial) = key.strip_prefix(USED) {
            let Used { identity, at, .. } = read(&value)?;
            list.used.push(RecoveryUsed { serial: serial.to_owned(), identity, at: told(at) });
        }
    }
    Ok(list)
}

/// The changes that forget certificates which are too old to be used anyway.
async fn over(state: &dyn State, now: SystemTime) -> Result<Vec<StateChange>, StoreError> {
    let entries = state.scan(Table::Recovery, USED, SWEEP).await?;
    let over = entries.into_iter().filter(|entry| {
        entry.key.starts_with(USED) && read::<Used>(&entry.value).is_ok_and(|used| used.until < seconds(now))
    });
    Ok(over.map(|entry| change(entry.key, ExpectedValue::Any, None)).collect())
}

fn change(key: String, expected: ExpectedValue, value: Option<Vec<u8>>) -> StateChange {
    StateChange { table: Table::Recovery, key, expected, value }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SpendError> {
    serde_json::from_slice(bytes).map_err(|_| SpendError::Damaged)
}

fn write(value: &impl Serialize) -> Vec<u8> {
    // Text and numbers alone: there is nothing in it that JSON cannot hold.
    serde_json::to_vec(value).unwrap_or_default()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn told(seconds: u64) -> String {
    rfc3339_of(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use weft_store::Redb;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(3_600);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn proven(serial: &str) -> Recoverable {
        Recoverable {
            identity: "spiffe://weft.local/ns/shop/sa/web".parse().unwrap(),
            serial: serial.to_owned(),
            not_before: at(1_000),
            not_after: at(2_000),
        }
    }

    async fn spend_at(store: &Redb, serial: &str, key: &str, now: u64) -> Result<(), SpendError> {
        let address = SocketAddr::from(([127, 0, 0, 1], 7));
        spend(store, &proven(serial), key.to_owned(), WINDOW, &address, at(now)).await
    }

    #[tokio::test]
    async fn of_all_who_use_a_certificate_at_once_one_succeeds() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Redb::open(dir.path()).unwrap();
        let keys: Vec<_> = (0..16).map(|key| key.to_string()).collect();
        let spent = futures::future::join_all(keys.iter().map(|key| spend_at(&store, "01", key, 2_100))).await;
        assert_eq!(spent.iter().filter(|spent| spent.is_ok()).count(), 1, "{spent:?}");
    }

    #[tokio::test]
    async fn the_same_key_is_answered_again_for_ten_minutes_and_no_other() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Redb::open(dir.path()).unwrap();
        spend_at(&store, "01", "key", 2_100).await.unwrap();
        spend_at(&store, "01", "key", 2_700).await.unwrap();
        assert!(matches!(spend_at(&store, "01", "other", 2_100).await, Err(SpendError::Used(..))));
        assert!(matches!(spend_at(&store, "01", "key", 2_701).await, Err(SpendError::Used(..))));
        spend_at(&store, "02", "other", 2_100).await.unwrap();
        let audit = store.scan(Table::Audit, "", 10).await.unwrap();
        let refused = audit.iter().filter(|it| String::from_utf8_lossy(&it.value).contains("recovery-refused"));
        assert_eq!((audit.len(), refused.count()), (5, 2));
    }

    #[tokio::test]
    async fn what_is_revoked_stays_so_for_certificates_that_began_before() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Redb::open(dir.path()).unwrap();
        let identity = proven("01").identity;
        revoke(&store, &identity, at(999)).await.unwrap();
        spend_at(&store, "01", "key", 2_100).await.unwrap();
        revoke(&store, &identity, at(1_000)).await.unwrap();
        assert!(matches!(spend_at(&store, "02", "key", 2_100).await, Err(SpendError::Revoked(..))));
        assert!(matches!(spend_at(&store, "01", "key", 2_100).await, Err(SpendError::Revoked(..))));
        let list = list(&store, WINDOW).await.unwrap();
        assert_eq!((list.used.len(), list.revoked.len()), (1, 1));
        assert_eq!(list.revoked[0].up_to, "1970-01-01T00:16:40Z");
    }

    #[tokio::test]
    async fn what_is_too_old_to_be_used_is_forgotten() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Redb::open(dir.path()).unwrap();
        spend_at(&store, "01", "key", 2_100).await.unwrap();
        spend_at(&store, "02", "key", 2_000 + 3_600 + 24 * 3_600 + 1).await.unwrap();
        assert_eq!(list(&store, WINDOW).await.unwrap().used.len(), 1);
    }
}
