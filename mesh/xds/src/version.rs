//! What tells two states of a resource apart.
use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use serde::{Serialize, Serializer};
use weft_ir::{Resource, View};

/// The encoder's format number: part of every version, so that a reader gets each resource again when the bytes change
/// their meaning though the IR did not.
pub const FORMAT: u32 = 4;

/// The longest version that is taken from a peer, in bytes.
const MAX_BYTES: usize = 256;

/// A resource's version: opaque, compared for equality only. Ours is 16 hexadecimal digits; another server's is its own
/// text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(Arc<str>);

impl Version {
    /// A version as it stood on the wire or in a cache.
    ///
    /// # Errors
    /// If it is longer than 256 bytes.
    pub fn parse(text: &str) -> Result<Self, InvalidVersion> {
        if text.len() > MAX_BYTES { Err(InvalidVersion) } else { Ok(Self(text.into())) }
    }

    /// The version of what a client has put together itself from what it held and what it was sent: equal to none of a
    /// server's, so that whoever names it gets the resource as it is.
    pub fn amended() -> Self {
        Self("amended".into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A version that is too long to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version has at most {MAX_BYTES} bytes")]
pub struct InvalidVersion;

/// The version of a resource in a view: a hash with a fixed key over the encoder's format number, the view and the IR
/// item, equal on every replica. Never of encoded bytes: protobuf maps come in any order.
pub fn version(resource: &Resource, view: &View) -> Version {
    let mut hasher = DefaultHasher::new();
    FORMAT.hash(&mut hasher);
    view.hash(&mut hasher);
    resource.hash(&mut hasher);
    Version(format!("{:016x}", hasher.finish()).into())
}
