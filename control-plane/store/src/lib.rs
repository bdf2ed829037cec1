//! Where a control plane keeps what must outlive it.
//!
//! Two needs, two traits: [`Objects`] (what users write: list, watch, write with expected versions and owners) and
//! [`State`] (what the control plane itself keeps: CA, tokens, settings, audit). [`Redb`] is the embedded backend of
//! both: one directory, group-committed, crash-safe, with a versioned format.
//!
//! A write is acknowledged only after it is durable; a watch then tells it, in order and without a gap.
mod embedded;
mod error;
mod objects;
mod state;
mod watch;

use std::{future::Future, pin::Pin};

pub use embedded::{FORMAT, Redb};
pub use error::{OpenError, StoreError, WriteError};
pub use objects::{Batch, BatchChange, Change, Committed, Expected, Listing, Objects, Outcome, Write};
pub use state::{Entry, ExpectedValue, State, StateChange, Table};
pub use watch::{Watch, WatchError};

/// A result that is not there yet. Boxed so that a backend is chosen at run time.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
