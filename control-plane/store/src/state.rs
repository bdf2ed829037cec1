//! The store of what the control plane keeps for itself.
use std::fmt;

use crate::{Pending, StoreError, WriteError};

/// Tables of bytes by key.
pub trait State: fmt::Debug + Send + Sync {
    /// The value under `key`.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    fn read(&self, table: Table, key: &str) -> Pending<'_, Result<Option<Vec<u8>>, StoreError>>;

    /// At most `limit` entries whose keys are `from` or greater, ascending.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    fn scan(&self, table: Table, from: &str, limit: usize) -> Pending<'_, Result<Vec<Entry>, StoreError>>;

    /// Makes all changes or none; returns once they are durable.
    ///
    /// # Errors
    /// [`WriteError::StateConflict`] names the first entry that is not as expected.
    fn change(&self, changes: Vec<StateChange>) -> Pending<'_, Result<(), WriteError>>;
}

/// The tables of [`State`]. Their names are on disk: never change one, only add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The certificate authority, sealed.
    Authority,
    /// Join tokens that were not used yet, by the hash of the token.
    Tokens,
    /// Single values.
    Settings,
    /// What was done by whom, by time.
    Audit,
    /// The labels that the workloads of an identity may carry, by the identity.
    Grants,
    /// Expired certificates that were used for recovery, by serial number, and identities whose recovery was revoked.
    Recovery,
}

impl Table {
    /// The table's name on disk.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Tokens => "tokens",
            Self::Settings => "settings",
            Self::Audit => "audit",
            Self::Grants => "grants",
            Self::Recovery => "recovery",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One entry of a table.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Vec<u8>,
}

impl fmt::Debug for Entry {
    /// Without the value: it may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("key", &self.key).field("bytes", &self.value.len()).finish()
    }
}

/// A change of one entry.
#[derive(Clone)]
pub struct StateChange {
    /// The table.
    pub table: Table,
    /// The key.
    pub key: String,
    /// What must be there for the change to happen.
    pub expected: ExpectedValue,
    /// The new value; `None` removes the entry.
    pub value: Option<Vec<u8>>,
}

impl fmt::Debug for StateChange {
    /// Without values: they may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, key, expected: _, value } = self;
        let bytes = value.as_ref().map(Vec::len);
        f.debug_struct("StateChange")
            .field("table", table)
            .field("key", key)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

/// What must be under a key for a change to happen.
#[derive(Clone, PartialEq, Eq)]
pub enum ExpectedValue {
    /// Whatever there is.
    Any,
    /// Nothing.
    Absent,
    /// Exactly these bytes.
    Is(Vec<u8>),
}

impl ExpectedValue {
    /// Whether `value` is what is expected.
    pub fn holds(&self, value: Option<&[u8]>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => value.is_none(),
            Self::Is(expected) => value == Some(expected),
        }
    }
}
