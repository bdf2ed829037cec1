//! The mesh on the wire: IR ↔ xDS v3, and the two ends of a delta ADS stream as machines without I/O.
//!
//! - [`encode`] and [`decode`] turn an IR item into the standard message of its type and back. What the standard has no
//!   field for rides in `typed_filter_metadata["weft.v1"]`. Decoding reads the standard fields, and a field that is set
//!   and that it does not read is an error: what a peer wrote either takes effect or is rejected.
//! - [`Server`] and [`Client`] are one stream's two ends. They take messages and give messages; sockets, clocks and
//!   tasks are the caller's.
mod codec;
mod session;
mod version;
mod wire;

pub use codec::{Encoded, MAX_RESOURCE_BYTES, Rejected, decode, encode};
pub use session::{
    Client, ClientCounts, Found, Guard, Heard, Interests, Lookup, MAX_NAME_BYTES, MAX_NAMES, MAX_RESPONSE_BYTES,
    Rejection, Server, ServerCounts, Update, Violation, added_to, is_elsewhere, kept_with, named, reader_features,
    reader_revision,
};
pub use version::{FORMAT, InvalidVersion, Version, version};
pub use wire::{resource_type, type_url};
