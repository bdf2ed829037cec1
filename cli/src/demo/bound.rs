//! What a sidecar has bound, read from the `listeners.json` that it writes into its state directory.
use std::{io, net::SocketAddr, path::Path};

use serde::Deserialize;

/// The addresses of one sidecar.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Bound {
    /// Where peers connect to.
    pub(crate) inbound: Option<SocketAddr>,
    /// Where the application sends HTTP.
    pub(crate) outbound: Option<SocketAddr>,
    /// Where the application connects for each TCP service port.
    tcp: Vec<Tcp>,
    /// Where `/ready` and `/metrics` are served.
    pub(crate) status: SocketAddr,
}

#[derive(Clone, Debug, Deserialize)]
struct Tcp {
    /// `<cluster>/<namespace>/<service>:<port>`.
    service: String,
    address: SocketAddr,
}

impl Bound {
    /// Reads a `listeners.json`.
    pub(crate) fn read(file: &Path) -> io::Result<Self> {
        serde_json::from_slice(&std::fs::read(file)?).map_err(io::Error::from)
    }

    /// Where the application connects for `<namespace>/<service>:<port>`.
    pub(crate) fn tcp(&self, service: &str) -> Option<SocketAddr> {
        let of_it = |tcp: &&Tcp| tcp.service.split_once('/').is_some_and(|(_, rest)| rest == service);
        self.tcp.iter().find(of_it).map(|tcp| tcp.address)
    }
}
