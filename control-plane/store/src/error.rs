//! What can go wrong with a store.
use std::{io, path::PathBuf};

use weft_model::{ObjectRef, Owner};

use crate::{Expected, Table};

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or written.
    #[error("the store's directory {} cannot be used: {source}", dir.display())]
    NotWritable {
        /// The directory.
        dir: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("the store in {} is in use by another process", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// It was written by a version of weft with another format.
    #[error("the store in {} has format {found}; this version of weft reads format {}", dir.display(), crate::FORMAT)]
    Format {
        /// The directory.
        dir: PathBuf,
        /// The format that it has.
        found: String,
    },
    /// What is there is not a store, or not whole.
    #[error("the store in {} is damaged: {reason}; restore it from a copy, or move it away to start empty", dir.display())]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What was found.
        reason: String,
    },
}

/// Why a store cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It was closed.
    #[error("the store is closed")]
    Closed,
    /// The medium fails.
    #[error("the store cannot be read: {0}")]
    Failed(String),
}

/// Why a write is not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Another source owns the object.
    #[error("{object} is owned by {owner}")]
    NotOwner {
        /// The object.
        object: ObjectRef,
        /// Who owns it.
        owner: Owner,
    },
    /// The object is not as the write expects.
    #[error("{object} changed meanwhile: the write expects {expected}, there is {}", version(*.found))]
    Conflict {
        /// The object.
        object: ObjectRef,
        /// What the write expects.
        expected: Expected,
        /// The version that is there.
        found: Option<u64>,
    },
    /// An object to delete that is not there.
    #[error("there is no {0}")]
    NotFound(ObjectRef),
    /// An object that the batch names twice.
    #[error("the batch changes {0} twice")]
    Repeated(ObjectRef),
    /// An entry of [`State`](crate::State) that is not as the change expects.
    #[error("{table}/{key} is not as expected")]
    StateConflict {
        /// The table.
        table: Table,
        /// The key.
        key: String,
    },
    /// The store is closed, or takes no more writes since one failed. Nothing was stored.
    #[error("the store takes no writes: {0}")]
    Unavailable(String),
    /// The commit failed midway: whether the batch is stored shows when the store is opened again.
    #[error("the commit failed, whether it is stored shows at the next start: {0}")]
    Unknown(String),
}

fn version(found: Option<u64>) -> String {
    found.map_or_else(|| "no such object".to_owned(), |version| format!("version {version}"))
}
