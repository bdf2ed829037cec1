//! Who speaks: keys, the certificate authority, X.509-SVIDs, trust bundles, the rustls configurations that check them,
//! sealing of stored keys, and the files by which a machine joins.
//!
//! Nothing here reads a clock: what decides on validity takes the time as an argument, only the rustls verifiers use
//! the one that rustls passes. Randomness comes from AWS-LC alone. Private keys show nothing in `Debug`, and what holds
//! one in memory of ours is wiped when it is dropped.
//!
//! **Resumption is off** on both sides: no tickets are sent and none is kept. A resumed TLS session would carry over an
//! identity that was checked against an older bundle and an earlier time (Envoy's CVE-2022-21654 was that). Every
//! handshake is a full one instead, which checks identity, bundle and expiry.
mod authority;
mod bundle;
mod csr;
mod issue;
mod key;
mod leaf;
mod svid;
mod text;

pub mod files;
pub mod join;
pub mod kept;
pub mod recovery;
pub mod sealing;
pub mod tls;
pub mod verify;

pub use authority::{Authority, AuthorityError, MAX_LIFETIME, SignedChain};
pub use bundle::{BundleError, MAX_ROOTS, TrustBundle, TrustBundles};
pub use csr::{CsrError, MAX_CSR_BYTES, request_key};
pub use key::{KeyError, KeyPair, certificate_request};
pub use svid::{Svid, SvidError};
pub use text::{CaPin, InvalidPin, rfc3339_of};
