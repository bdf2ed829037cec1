//! What the embedder of a proxy decides beyond its bootstrap.
use std::path::PathBuf;

use weft_certs::sealing::SealingKey;

use super::join::JoinToken;

/// What the embedder of a proxy decides beyond its bootstrap.
#[derive(Debug, Default)]
pub struct Options {
    /// Where records go.
    pub access_log: AccessLog,
    /// The join token, needed where the state directory holds no valid certificate.
    pub token: Option<JoinToken>,
    /// What the state directory's key, certificates and configuration are sealed with; `None` keeps them as they are,
    /// readable by their owner alone. With a key nothing is taken that is not sealed with it.
    pub sealing_key: Option<SealingKey>,
    /// Seals what the state directory holds unsealed, instead of refusing to start with it.
    pub seal_state: bool,
    /// How much memory the process may use, in bytes, beside what its cgroup allows: near it, work is shed.
    pub memory: Option<u64>,
}

/// Where the access log goes: JSON lines, one for each HTTP request and each TCP connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// To standard output.
    #[default]
    Stdout,
    /// Appended to a file, which is made 0600 if it does not exist.
    File(PathBuf),
    /// Nowhere.
    Off,
}
