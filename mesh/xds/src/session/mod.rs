//! The two ends of a delta ADS stream, without I/O.
mod client;
mod guard;
mod interest;
mod keep;
mod lookup;
mod node;
mod partial;
mod server;
mod subscription;

pub use client::{Client, ClientCounts, Update};
pub use guard::{Guard, is_elsewhere};
pub use interest::{Interests, named};
pub use keep::{added_to, kept_with};
pub use lookup::{Found, Heard, Lookup, ServerCounts};
pub use node::{reader_features, reader_revision};
pub use server::Server;

use weft_ir::ResourceKey;

use crate::Version;

/// How many names one stream may subscribe to, all types together.
pub const MAX_NAMES: usize = 100_000;

/// The longest resource name, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;

/// At what size a response is cut between resources; a larger resource goes alone.
pub const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// The name that subscribes to everything that the server has for this client.
const WILDCARD: &str = "*";

/// A resource that the client could not take; it kept what it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Which resource.
    pub key: ResourceKey,
    /// Which version of it; `None` where the client did not say, or the version was itself what is wrong.
    pub version: Option<Version>,
    /// Which field, and what is wrong with it.
    pub reason: String,
}

/// A message that breaks the protocol or its bounds: the stream is to be closed (`INVALID_ARGUMENT`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// More subscriptions than a stream may have.
    #[error("a stream subscribes to at most {MAX_NAMES} names")]
    TooManyNames,
    /// A name that is empty or too long.
    #[error("a resource name has 1 to {MAX_NAME_BYTES} bytes; one has {0}")]
    NameLength(usize),
    /// A version that is too long.
    #[error("the version of {name:?} is too long")]
    VersionLength {
        /// Of which resource.
        name: String,
    },
    /// A field of the protocol that this end does not speak.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// A type that this end does not know.
    #[error("{0:?} is not a known resource type")]
    UnknownType(String),
}

/// Checks a name from a peer.
fn check_name(name: &str) -> Result<(), Violation> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES { Err(Violation::NameLength(name.len())) } else { Ok(()) }
}

/// Cuts a text from outside for a message to a peer or a log.
fn shorten(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}
