//! The file that tells the command line which mesh it talks to.
use std::path::Path;

use serde::{Deserialize, Serialize};
use weft_model::{SpiffeId, TrustDomain};

use super::{JoinError, Token, json};
use crate::CaPin;

/// Where the admin API is, how to know it, and the token that opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Context {
    /// The admin API, `host:port`.
    pub address: String,
    /// The root's SHA-256.
    pub ca_sha256: CaPin,
    /// The admin token.
    pub token: Token,
    /// The mesh's trust domain.
    pub trust_domain: TrustDomain,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    address: String,
    ca_sha256: String,
    token: Token,
    trust_domain: String,
}

impl Context {
    /// Reads a file of mode 0600.
    pub fn load(path: &Path) -> Result<Self, JoinError> {
        Self::checked(json::load(path)?, &path.display().to_string())
    }

    /// Reads JSON; `what` names its source in errors.
    pub fn parse(json: &[u8], what: &str) -> Result<Self, JoinError> {
        Self::checked(json::parse(json, what)?, what)
    }

    /// Writes the file with mode 0600, in place of one that is there.
    pub fn save(&self, path: &Path) -> Result<(), JoinError> {
        json::save(path, self)
    }

    /// Who must answer at the address.
    pub fn control_plane(&self) -> SpiffeId {
        SpiffeId::of_control_plane(&self.trust_domain)
    }

    fn checked(raw: Raw, what: &str) -> Result<Self, JoinError> {
        Ok(Self {
            address: json::address(what, "address", &raw.address)?,
            ca_sha256: json::field(what, "caSha256", &raw.ca_sha256)?,
            token: raw.token,
            trust_domain: json::field(what, "trustDomain", &raw.trust_domain)?,
        })
    }
}
