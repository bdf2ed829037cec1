//! The file by which one machine joins as one identity, once.
use std::path::Path;

use serde::{Deserialize, Serialize};
use weft_model::{AccountName, ClusterName, Host, Namespace, SpiffeId, TrustDomain};

use super::{JoinError, Token, json};
use crate::CaPin;

/// Where the control plane is, how to know it, and the one-time token to show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinFile {
    /// The control plane's xDS and certificate port, `host:port`.
    pub control_plane: String,
    /// The mesh's trust domain.
    pub trust_domain: TrustDomain,
    /// The domain that service names end in.
    pub mesh_domain: Host,
    /// The cluster that the machine belongs to.
    pub cluster: ClusterName,
    /// The root's SHA-256.
    pub ca_sha256: CaPin,
    /// The one-time token; `None` once it was used and erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// The namespace of the identity that the token is bound to.
    pub namespace: Namespace,
    /// The account of the identity that the token is bound to.
    pub account: AccountName,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    control_plane: String,
    trust_domain: String,
    mesh_domain: String,
    cluster: String,
    ca_sha256: String,
    #[serde(default)]
    token: Option<Token>,
    namespace: String,
    account: String,
}

impl JoinFile {
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

    /// Takes the token out of the file at `path` if it is still this one: it was used.
    pub fn erase_token(&self, path: &Path) -> Result<(), JoinError> {
        let held = Self::load(path)?;
        if held.token != self.token {
            return Ok(());
        }
        Self { token: None, ..held }.save(path)
    }

    /// The identity that the token is bound to.
    pub fn identity(&self) -> SpiffeId {
        SpiffeId::of_account(&self.trust_domain, &self.namespace, &self.account)
    }

    fn checked(raw: Raw, what: &str) -> Result<Self, JoinError> {
        Ok(Self {
            control_plane: json::address(what, "controlPlane", &raw.control_plane)?,
            trust_domain: json::field(what, "trustDomain", &raw.trust_domain)?,
            mesh_domain: json::field(what, "meshDomain", &raw.mesh_domain)?,
            cluster: json::field(what, "cluster", &raw.cluster)?,
            ca_sha256: json::field(what, "caSha256", &raw.ca_sha256)?,
            token: raw.token,
            namespace: json::field(what, "namespace", &raw.namespace)?,
            account: json::field(what, "account", &raw.account)?,
        })
    }
}
