//! The context: what a person needs to use the admin API.
use serde::{Deserialize, Serialize};

/// What is in a context file (JSON, mode 0600): where the admin API is, how its certificate is pinned, and the token.
///
/// The certificate is right if its chain ends in a root whose SHA-256 is `ca_sha256` and it names
/// [`SpiffeId::of_control_plane`](weft_model::SpiffeId::of_control_plane) of the trust domain.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Context {
    /// The admin API, `host:port`.
    pub address: String,
    /// SHA-256 of the root certificate's DER, 64 hexadecimal digits.
    pub ca_sha256: String,
    /// The bearer token. A secret.
    pub token: String,
    /// The mesh's trust domain.
    pub trust_domain: String,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, ca_sha256, token: _, trust_domain } = self;
        f.debug_struct("Context")
            .field("address", address)
            .field("ca_sha256", ca_sha256)
            .field("trust_domain", trust_domain)
            .finish_non_exhaustive()
    }
}
