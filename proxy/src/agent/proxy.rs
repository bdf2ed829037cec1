//! One running proxy: data plane and control thread, started and stopped as one.
use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt, OpenOptionsExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::sync::mpsc;
use weft_certs::{files::FileError, kept::KeptError};
use weft_net::listen_again;

use super::{
    AccessLog, Bound, Options,
    bootstrap::Bootstrap,
    bound::Former,
    control::Control,
    lifecycle::{NotAdmitted, Readiness, Stop},
    shared::Shared,
    state_dir::{LISTENERS, StateDir, StateError},
};
use crate::dataplane::{self, Dataplane, Settings};

/// Events of the data plane that wait for the control thread.
const EVENTS: usize = 1024;

/// A running proxy: data plane workers and one control thread. Dropping it stops both at once; [`drain`](Self::drain)
/// lets what is open finish first.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    control: Option<JoinHandle<()>>,
}

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory or a file in it.
    #[error(transparent)]
    State(#[from] FileError),
    /// A file in the state directory does not go with the sealing key.
    #[error("{}: {error}", .path.display())]
    Seal {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        error: KeptError,
    },
    /// Another proxy uses the state directory.
    #[error("{}: another proxy uses this state directory", .path.display())]
    StateInUse {
        /// The directory.
        path: PathBuf,
    },
    /// The access log's file.
    #[error("the access log {}: {error}", .path.display())]
    AccessLog {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The data plane.
    #[error(transparent)]
    Dataplane(#[from] dataplane::StartError),
    /// A listener of the control side.
    #[error("cannot listen for {what} on {address}: {error}")]
    Listen {
        /// What was to listen there.
        what: &'static str,
        /// Where.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// The control thread.
    #[error("cannot start the control thread: {0}")]
    Thread(io::Error),
}

impl From<StateError> for StartError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::File(error) => Self::State(error),
            StateError::Kept { path, error } => Self::Seal { path, error },
        }
    }
}

/// A proxy that did not become ready in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not ready: waiting for {awaited}")]
pub struct NotReady {
    /// What is awaited.
    pub awaited: String,
}

impl Proxy {
    /// Starts a proxy: binds its local listeners, starts the workers and the control thread, and returns once
    /// everything is bound. Certificate and configuration come in the background: see
    /// [`wait_ready`](Self::wait_ready).
    ///
    /// # Errors
    /// Where the state directory cannot be used, an address cannot be bound or a thread cannot be started.
    pub fn start(bootstrap: Bootstrap, options: Options) -> Result<Self, StartError> {
        let Options { access_log, token, sealing_key, seal_state, memory } = options;
        let state = StateDir::open(&bootstrap.state_directory, owner(&bootstrap), sealing_key)?;
        state.check_seals(seal_state)?;
        let (events, events_out) = mpsc::channel(EVENTS);
        let start = random_start();
        let former = state.published(LISTENERS).map(|text| Former::read(&text)).unwrap_or_default();
        let mut settings = settings(&bootstrap, &start, access_log)?;
        settings.former = former.dataplane();
        let (dataplane, mut listening) = Dataplane::start(settings, events)?;
        let (status, status_address) = listen_status(former.status, bootstrap.status)?;
        let admin = listen_admin(&bootstrap.admin)?;
        let unbound = std::mem::take(&mut listening.unbound);
        for dataplane::Unbound { service, address, error } in &unbound {
            tracing::warn!(%service, %address, error, "the port cannot be listened on; the rest is served");
        }
        let bound = bound(&bootstrap, listening, status_address);
        let listeners = bound.to_json().to_string();
        state.publish(LISTENERS, listeners.as_bytes())?;
        let recorder = PrometheusBuilder::new().build_recorder();
        let shared = Arc::new(Shared::new(bootstrap, start, (bound, unbound), dataplane, recorder.handle()));
        let control =
            Control { shared: Arc::clone(&shared), state, token, memory, events: events_out, status, admin, recorder };
        let control = control.spawn().map_err(StartError::Thread)?;
        Ok(Self { shared, control: Some(control) })
    }

    /// What was bound at the start; a TCP service port whose address was taken then is not in it.
    pub fn bound(&self) -> &Bound {
        self.shared.bound_first()
    }

    /// Blocks until the first configuration is in effect (as `/ready` tells it), at most `within`.
    ///
    /// # Errors
    /// What is still awaited then.
    pub fn wait_ready(&self, within: Duration) -> Result<(), NotReady> {
        self.shared.lifecycle.wait_ready(within)
    }

    /// Whether the first configuration is in effect and the proxy does not drain.
    pub fn is_ready(&self) -> bool {
        self.shared.lifecycle.readiness() == Readiness::Ready
    }

    /// Begins to drain: says so on the Agent stream, lets what is open finish, then stops. Returns at once.
    pub fn drain(&self) {
        self.shared.lifecycle.ask_to_stop(Stop::Draining);
    }

    /// Whether the proxy has stopped.
    pub fn is_stopped(&self) -> bool {
        self.shared.lifecycle.is_stopped()
    }

    /// Why the proxy has ended by itself: its join token was refused or is not there, and it has no certificate.
    pub fn not_admitted(&self) -> Option<NotAdmitted> {
        self.shared.lifecycle.not_admitted()
    }

    /// Waits until the proxy has stopped, which takes a [`drain`](Self::drain) or that it is [not
    /// admitted](Self::not_admitted).
    pub async fn stopped(&self) {
        self.shared.lifecycle.stopped().await;
    }

    /// Blocks until the proxy has stopped, which takes a [`drain`](Self::drain) or that it is [not
    /// admitted](Self::not_admitted).
    pub fn join(mut self) {
        self.join_control();
    }

    fn join_control(&mut self) {
        if let Some(control) = self.control.take()
            && control.join().is_err()
        {
            tracing::error!("the control thread ended by a panic");
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lifecycle.ask_to_stop(Stop::Now);
        self.join_control();
    }
}

/// Whose the state is: what another workload, cluster or mesh kept is not used, a mesh made anew under the same name
/// included.
fn owner(bootstrap: &Bootstrap) -> String {
    let Bootstrap { mesh, ca_sha256, .. } = bootstrap;
    format!(
        "{} as {} in the cluster {} under the CA {ca_sha256}",
        bootstrap.identity(),
        bootstrap.workload_ref(),
        mesh.cluster
    )
}

/// Five random letters and digits: what tells this process start from every other.
fn random_start() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let draw: u32 = rand::random();
    let character = |place: u32| ALPHABET.get((draw >> (5 * place) & 31) as usize).copied().map_or('a', char::from);
    (0..5).map(character).collect()
}

fn settings(bootstrap: &Bootstrap, start: &str, access_log: AccessLog) -> Result<Settings, StartError> {
    let access_log: Option<Box<dyn Write + Send>> = match access_log {
        AccessLog::Stdout => Some(Box::new(io::stdout())),
        AccessLog::Off => None,
        AccessLog::File(path) => {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
            Some(Box::new(file.map_err(|error| StartError::AccessLog { path, error })?))
        }
    };
    let mut settings = Settings::new(bootstrap.workload.as_str(), start);
    settings.workers = bootstrap.workers.get();
    settings.inbound = bootstrap.inbound;
    settings.outbound = bootstrap.outbound;
    settings.tcp = bootstrap.tcp.iter().map(|listener| (listener.service.clone().into(), listener.bind)).collect();
    settings.applications = bootstrap.applications.clone();
    settings.http10 = bootstrap.http10.clone();
    settings.timeouts.on_demand = bootstrap.on_demand_timeout;
    settings.access_log = access_log;
    Ok(settings)
}

fn bound(bootstrap: &Bootstrap, dataplane: dataplane::Bound, status: SocketAddr) -> Bound {
    Bound {
        workload: bootstrap.workload_ref(),
        inbound: dataplane.inbound.map(|local| local.0),
        outbound: dataplane.outbound.map(|local| local.0),
        tcp: dataplane.tcp.into_iter().map(|(service, local)| (service, local.0)).collect(),
        status,
        admin: bootstrap.admin.clone(),
    }
}

fn listen_status(former: Option<SocketAddr>, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let listen = || {
        let listeners = listen_again(former, address, 1)?;
        let listener = listeners.sockets.into_iter().next().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok((listener, listeners.address.0))
    };
    listen().map_err(|error: io::Error| StartError::Listen { what: "status", address: address.to_string(), error })
}

fn listen_admin(path: &Path) -> Result<UnixListener, StartError> {
    let listen = || {
        remove_dead_socket(path)?;
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|error| StartError::Listen { what: "admin", address: path.display().to_string(), error })
}

/// Removes a socket that a killed process left behind; one that somebody listens on stays, and binding fails.
fn remove_dead_socket(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err() {
        fs::remove_file(path)?;
    }
    Ok(())
}
