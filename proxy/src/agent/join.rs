//! `--join FILE`: from a join file and local choices to a bootstrap, and to an identity.
//!
//! The token stays in the join file until it has been used and is erased from it then; it is never written anywhere
//! else. A proxy that already holds a valid certificate needs none, so starting again with the same join file works.
use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{self, Path, PathBuf},
};

use weft_certs::{files, files::FileError, join::JoinFile};
use weft_decide::HealthCheck;
use weft_ir::{MeshNames, ServicePort};
use weft_model::{Labels, Locality, Name, Namespace, NetworkName, Port, PortName};

use super::{
    bootstrap::{Bootstrap, DEFAULT_ON_DEMAND_TIMEOUT, InvalidAddress, TcpListener},
    state_dir,
};
use crate::dataplane::Http10;

/// What is local to the machine: everything of a bootstrap that a join file does not say.
#[derive(Clone, Debug)]
pub struct LocalChoices {
    /// Where key, certificates, bootstrap and `listeners.json` are kept; made 0700 if it does not exist.
    pub state_directory: PathBuf,
    /// The instance's name; the account's name if `None`.
    pub workload: Option<Name>,
    /// Labels of the registration.
    pub labels: Labels,
    /// Where the workload runs.
    pub locality: Locality,
    /// The application's ports by name, and where each is reached.
    pub applications: BTreeMap<PortName, SocketAddr>,
    /// How the application's ports are checked.
    pub health: HealthCheck,
    /// Where peers connect to.
    pub inbound: Option<SocketAddr>,
    /// Where the application sends HTTP.
    pub outbound: Option<SocketAddr>,
    /// TCP services that the application calls, and where each is listened for.
    pub tcp: Vec<TcpChoice>,
    /// Where `/ready`, `/live` and `/metrics` are served.
    pub status: SocketAddr,
    /// What becomes of HTTP/1.0 clients.
    pub http10: Http10,
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

/// A join file whose one-time token has not been used yet. It is erased from the file once it is.
pub struct JoinToken {
    pub(super) file: JoinFile,
    pub(super) path: PathBuf,
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("path", &self.path).finish_non_exhaustive()
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

/// Why a join file did not become a bootstrap.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The join file cannot be read.
    #[error("the join file {0}")]
    File(#[from] weft_certs::join::JoinError),
    /// The control plane's address in it is none.
    #[error("{}: field controlPlane: {reason}", .path.display())]
    Address {
        /// The join file.
        path: PathBuf,
        /// Why.
        reason: InvalidAddress,
    },
    /// The account's name does not serve as a workload's name.
    #[error("the account's name is not one of a workload: {0}; name the workload")]
    Workload(weft_model::InvalidName),
    /// The state directory or the bootstrap in it cannot be written.
    #[error(transparent)]
    State(#[from] FileError),
}

/// Where a workload that names no state directory keeps its state below `state_home`: `weft/<namespace>-<workload>`, so
/// that workloads of one machine do not share one.
///
/// # Errors
/// Where the join file cannot be read.
pub fn default_state_directory(
    join_file: &Path,
    workload: Option<&Name>,
    state_home: &Path,
) -> Result<PathBuf, JoinError> {
    let file = JoinFile::load(join_file)?;
    let workload = workload.map_or(file.account.as_str(), Name::as_str);
    Ok(state_home.join("weft").join(format!("{}-{workload}", file.namespace)))
}

/// Makes a bootstrap of a join file and local choices, without writing it.
///
/// # Errors
/// Where the join file cannot be read.
pub fn prepare(join_file: &Path, choices: LocalChoices) -> Result<Joined, JoinError> {
    let file = JoinFile::load(join_file)?;
    let control_plane: super::bootstrap::ControlPlaneAddress =
        file.control_plane.parse().map_err(|reason| JoinError::Address { path: join_file.to_owned(), reason })?;
    let LocalChoices {
        state_directory,
        workload,
        labels,
        locality,
        applications,
        health,
        inbound,
        outbound,
        tcp,
        status,
        http10,
        workers,
    } = choices;
    let workload = match workload {
        Some(workload) => workload,
        None => file.account.as_str().parse().map_err(JoinError::Workload)?,
    };
    // The bootstrap may be used from another working directory later.
    let state_directory =
        path::absolute(&state_directory).map_err(|error| FileError::Io { path: state_directory, error })?;
    let mesh = MeshNames {
        trust_domain: file.trust_domain.clone(),
        mesh_domain: file.mesh_domain.clone(),
        cluster: file.cluster.clone(),
    };
    let bootstrap = Bootstrap {
        namespace: file.namespace.clone(),
        account: file.account.clone(),
        workload,
        labels,
        locality,
        network: NetworkName::default_network(),
        applications,
        health,
        inbound,
        outbound,
        tcp: tcp.into_iter().map(|choice| choice.of(&mesh)).collect(),
        mesh,
        status,
        admin: state_directory.join(state_dir::ADMIN),
        state_directory,
        ads: control_plane.clone(),
        control_plane,
        ca_sha256: file.ca_sha256,
        on_demand_timeout: DEFAULT_ON_DEMAND_TIMEOUT,
        http10,
        workers,
    };
    let token = file.token.is_some().then(|| JoinToken { file, path: join_file.to_owned() });
    Ok(Joined { bootstrap, token })
}

/// Makes a bootstrap of a join file and local choices, and writes it to `bootstrap.yaml` (0600) in the state
/// directory, which is made if it does not exist. Pass the token on in [`Options`](super::Options).
///
/// # Errors
/// Where the join file cannot be read or the bootstrap cannot be written.
pub fn join(join_file: &Path, choices: LocalChoices) -> Result<Joined, JoinError> {
    let joined = prepare(join_file, choices)?;
    let directory = &joined.bootstrap.state_directory;
    state_dir::make_private_dir(directory).map_err(|error| FileError::Io { path: directory.clone(), error })?;
    files::replace(&directory.join(state_dir::BOOTSTRAP), joined.bootstrap.to_yaml().as_bytes())?;
    Ok(joined)
}

impl TcpChoice {
    fn of(self, mesh: &MeshNames) -> TcpListener {
        let Self { namespace, service, port, bind } = self;
        TcpListener { service: ServicePort { cluster: mesh.cluster.clone(), namespace, service, port }, bind }
    }
}
