//! What a server's end is given, and what it tells of itself.
use std::sync::Arc;

use weft_ir::{ResourceKey, ResourceType};

use super::Rejection;
use crate::Encoded;

/// What the server has for this stream's client: its view, its workload.
pub trait Lookup {
    /// What there is under a key.
    fn find(&self, key: &ResourceKey) -> Found;

    /// The names that a wildcard subscription to a type yields for this client.
    fn wildcard(&self, resource_type: ResourceType) -> Vec<Arc<str>>;

    /// The revision that [`find`](Self::find) answers from, for `system_version_info`.
    fn revision(&self) -> String;
}

/// What there is under a key.
#[derive(Clone, Debug)]
pub enum Found {
    /// This.
    Resource(Arc<Encoded>),
    /// A part of it: a server that has just started has not heard of every endpoint. A client that holds a version of
    /// the resource is sent it as an addition and forgets nothing for it; any other gets it as it is.
    Partial(Arc<Encoded>),
    /// Nothing: the client is told so.
    Absent,
    /// It is not known yet (a server that has just started has not heard every endpoint): nothing is said until the
    /// key is named in [`Server::changed`](super::Server::changed) or its type in [`Server::recheck`](super::Server::recheck); meanwhile the client keeps what it has.
    Unsettled,
}

impl Found {
    pub(super) fn encoded(&self) -> Option<&Encoded> {
        match self {
            Self::Resource(encoded) | Self::Partial(encoded) => Some(encoded),
            Self::Absent | Self::Unsettled => None,
        }
    }
}

/// What one request brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The response that it answers was the outstanding one of its type.
    pub answered: bool,
    /// What the client could not take of it.
    pub rejected: Vec<Rejection>,
}

/// What a stream has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCounts {
    /// Responses given.
    pub responses: u64,
    /// Resources in them.
    pub resources: u64,
    /// Names in their `removed_resources`.
    pub removals: u64,
    /// Resources' bytes in them.
    pub bytes: u64,
    /// Names that the client came with, each with the version it holds.
    pub claimed: u64,
    /// Resources sent in the very version that the client came with: resent without need.
    pub resent: u64,
    /// Resources that were rejected.
    pub rejected: u64,
    /// Answers to a response that is not, or no longer, outstanding.
    pub stale: u64,
}
