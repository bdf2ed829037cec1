//! The store of what users write.
use std::{collections::BTreeMap, fmt, sync::Arc};

use weft_model::{Object, ObjectRef, Owner, Revision, Source, Stored};

use crate::{Pending, StateChange, StoreError, Watch, WatchError, WriteError};

/// A store of objects.
pub trait Objects: fmt::Debug + Send + Sync {
    /// Every object, as of one revision.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    fn list(&self) -> Pending<'_, Result<Listing, StoreError>>;

    /// Every batch committed after `from`, in order and without a gap.
    ///
    /// # Errors
    /// [`WatchError`] where `from` is too old or not of this store: list again, and watch from there.
    fn watch(&self, from: &Revision) -> Result<Watch, WatchError>;

    /// Writes a batch, all or nothing; returns once it is durable.
    ///
    /// # Errors
    /// [`WriteError`]: nothing of the batch is stored, except for [`WriteError::Unknown`].
    fn write(&self, write: Write) -> Pending<'_, Result<Committed, WriteError>>;
}

/// Every object as of one revision.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The revision.
    pub revision: Revision,
    /// The objects, ordered by kind, namespace and name; shared, not copied.
    pub objects: Arc<BTreeMap<ObjectRef, Stored>>,
}

/// Changes that are made together or not at all.
#[derive(Clone, Debug)]
pub struct Write {
    /// Who writes. It becomes the owner of what it creates, and changes only what it owns.
    pub owner: Owner,
    /// The changes, in order; each object at most once.
    pub changes: Vec<Change>,
    /// What the control plane writes for itself together with them, all or nothing: an entry of its audit log. A
    /// backend that keeps [`State`](crate::State) elsewhere writes it before it answers.
    pub along: Vec<StateChange>,
}

/// A change of one object.
#[derive(Clone, Debug)]
pub enum Change {
    /// Creates or replaces. An equal object of the same owner is left alone: no new version.
    Put {
        /// The object.
        object: Object,
        /// Where it was read from.
        source: Option<Source>,
        /// What must be there for the write to happen.
        expected: Expected,
    },
    /// Removes.
    Delete {
        /// The object's name.
        object: ObjectRef,
        /// What must be there for the write to happen.
        expected: Expected,
    },
}

impl Change {
    /// What names the object.
    pub fn object(&self) -> ObjectRef {
        match self {
            Self::Put { object, .. } => object.reference(),
            Self::Delete { object, .. } => object.clone(),
        }
    }

    /// What must be there for the write to happen.
    pub const fn expected(&self) -> Expected {
        match self {
            Self::Put { expected, .. } | Self::Delete { expected, .. } => *expected,
        }
    }
}

/// What must be stored under a name for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever there is.
    Any,
    /// Nothing.
    Absent,
    /// The object as last changed at this number ([`Stored::modified`]).
    Version(u64),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::Absent => f.write_str("no such object"),
            Self::Version(version) => write!(f, "version {version}"),
        }
    }
}

/// A batch that is durable.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The revision that holds it: a new one if anything changed.
    pub revision: Revision,
    /// What became of each change, in order.
    pub outcomes: Vec<Outcome>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The object was not there.
    Created,
    /// The object was there and differs now.
    Updated,
    /// The object was there as written.
    Unchanged,
    /// The object was there and is gone.
    Deleted,
}

/// What one committed write changed.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The revision that it made.
    pub revision: Revision,
    /// The changes; never none.
    pub changes: Vec<BatchChange>,
}

/// One changed object.
#[derive(Clone, Debug)]
pub enum BatchChange {
    /// Created or replaced.
    Put(Stored),
    /// Removed.
    Deleted(ObjectRef),
}
