//! What a proxy has bound.
use std::{fmt, net::SocketAddr, path::PathBuf};

use serde_json::{Value, json};
use weft_ir::{Listener, ServicePort};
use weft_model::WorkloadRef;

/// What a proxy has bound, also told on the Agent stream and written to `listeners.json` in the state directory.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The workload that it serves.
    pub workload: WorkloadRef,
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

impl Bound {
    /// The listeners by their xDS names.
    pub(super) fn listeners(&self) -> impl Iterator<Item = (String, String)> {
        let inbound = self.inbound.map(|address| (Listener::inbound_name(&self.workload), address.to_string()));
        let outbound = self.outbound.map(|address| (Listener::OUTBOUND.to_owned(), address.to_string()));
        let tcp = self.tcp.iter().map(|(service, address)| (Listener::outbound_name(service), address.to_string()));
        inbound.into_iter().chain(outbound).chain(tcp)
    }

    /// As `listeners.json` holds it.
    pub(super) fn to_json(&self) -> Value {
        let tcp = self.tcp.iter().map(|(service, address)| json!({"service": service, "address": address.to_string()}));
        json!({
            "inbound": self.inbound.map(|address| address.to_string()),
            "outbound": self.outbound.map(|address| address.to_string()),
            "tcp": tcp.collect::<Vec<_>>(),
            "status": self.status.to_string(),
            "admin": self.admin.to_string_lossy(),
        })
    }
}

impl fmt::Display for Bound {
    /// One line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, address) in self.listeners() {
            write!(f, "{name} on {address}, ")?;
        }
        write!(f, "status on {}, admin on {}", self.status, self.admin.display())
    }
}
