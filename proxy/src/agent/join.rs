//! `--join FILE`: from a join file and local choices to a bootstrap, and to an identity.
//!
//! The token stays in the join file until it has been used and is erased from it then; it is never written anywhere
//! else. A proxy that already holds a valid certificate needs none, so starting again with the same join file works.
use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use weft_model::{Labels, Locality, Name, Namespace, Port, PortName};

use super::bootstrap::Bootstrap;

/// What is local to the machine: everything of a bootstrap that a join file does not say.
#[derive(Clone, Debug)]
pub struct LocalChoices {
    /// Where key, certificates, bootstrap and `listeners.json` are kept; made 0700 if it does not exist.
    pub state_directory: PathBuf,
    /// The instance's name.
    pub workload: Name,
    /// Labels of the registration.
    pub labels: Labels,
    /// Where the workload runs.
    pub locality: Locality,
    /// The application's ports by name, and where each is reached.
    pub applications: BTreeMap<PortName, SocketAddr>,
    /// Where peers connect to.
    pub inbound: Option<SocketAddr>,
    /// Where the application sends HTTP.
    pub outbound: Option<SocketAddr>,
    /// TCP services that the application calls, and where each is listened for.
    pub tcp: Vec<TcpChoice>,
    /// Where `/ready`, `/live` and `/metrics` are served.
    pub status: SocketAddr,
    /// How many worker threads the data plane runs.
    pub workers: NonZeroUsize,
}

/// One TCP service port that the application calls: `ns/svc:port=ip:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpChoice {
    /// The service's namespace.
    pub namespace: Namespace,
    /// The service's name.
    pub service: Name,
    /// The service's port.
    pub port: Port,
    /// Where the proxy listens for it; port 0 for the system's choice.
    pub bind: SocketAddr,
}

/// A one-time token and the file that it is erased from once it is used.
pub struct JoinToken {
    pub(super) token: String,
    pub(super) file: Option<PathBuf>,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinToken").field("file", &self.file).finish_non_exhaustive()
    }
}

/// What `--join` makes.
#[derive(Debug)]
pub struct Joined {
    /// The bootstrap, which is also written to `bootstrap.yaml` in the state directory, 0600.
    pub bootstrap: Bootstrap,
    /// The join file's token, unless it has been used and erased.
    pub token: Option<JoinToken>,
}
