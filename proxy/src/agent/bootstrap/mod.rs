//! The proxy's only file: a subset of Envoy's v3 bootstrap with the typed extension `weft.v1.Agent`.
//!
//! Read from YAML or JSON ([`Bootstrap::parse`]), which tells every error at once, each with line and field; written
//! as YAML ([`Bootstrap::to_yaml`]) by `--join`, and shown as the effective configuration on start. Field names are
//! taken in both of protobuf JSON's spellings (`ads_config`, `adsConfig`).
mod health;
mod http10;
mod read;
mod tree;
mod write;

use std::{
    collections::BTreeMap, fmt, net::SocketAddr, num::NonZeroUsize, path::PathBuf, str::FromStr, time::Duration,
};

use weft_certs::CaPin;
use weft_decide::HealthCheck;
use weft_ir::{MeshNames, ServicePort};
use weft_model::{AccountName, Labels, Locality, Name, Namespace, NetworkName, PortName, SpiffeId, WorkloadRef};

use crate::dataplane::Http10;

/// The most bytes that a bootstrap or join file may have: 1 MiB.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// How long a request waits for a host that is asked for the first time, where the bootstrap says nothing.
pub const DEFAULT_ON_DEMAND_TIMEOUT: Duration = Duration::from_secs(1);

/// What one proxy is and where it stands: valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Trust domain, mesh domain and cluster.
    pub mesh: MeshNames,
    /// The workload's namespace.
    pub namespace: Namespace,
    /// The account whose identity the proxy proves.
    pub account: AccountName,
    /// The instance's name.
    pub workload: Name,
    /// Labels of the registration, by which Services select the workload.
    pub labels: Labels,
    /// Where the workload runs.
    pub locality: Locality,
    /// The network of its inbound address.
    pub network: NetworkName,
    /// The application's ports by name, and where each is reached from the proxy.
    pub applications: BTreeMap<PortName, SocketAddr>,
    /// How the application's ports are checked.
    pub health: HealthCheck,
    /// Where peers connect to; `None` for a workload that only calls.
    pub inbound: Option<SocketAddr>,
    /// Where the application sends HTTP for every service; `None` for a workload that calls nobody over HTTP.
    pub outbound: Option<SocketAddr>,
    /// One listener for each TCP service port that the application calls.
    pub tcp: Vec<TcpListener>,
    /// Where `/ready`, `/live` and `/metrics` are served.
    pub status: SocketAddr,
    /// Where the admin interface listens: a Unix socket.
    pub admin: PathBuf,
    /// Key, certificates and last-good state; only its owner may read it.
    pub state_directory: PathBuf,
    /// The control plane's ADS and Agent streams.
    pub ads: ControlPlaneAddress,
    /// The control plane's certificate service.
    pub control_plane: ControlPlaneAddress,
    /// SHA-256 of the mesh's root certificate (DER).
    pub ca_sha256: CaPin,
    /// How long a request waits for a host that is asked for the first time.
    pub on_demand_timeout: Duration,
    /// What becomes of HTTP/1.0 clients.
    pub http10: Http10,
    /// How many worker threads the data plane runs.
    pub workers: NonZeroUsize,
}

impl Bootstrap {
    /// Reads a bootstrap from YAML or JSON.
    ///
    /// # Errors
    /// Everything that is wrong with the text, each with its line and field.
    pub fn parse(text: &str) -> Result<Self, InvalidBootstrap> {
        read::bootstrap(text)
    }

    /// The bootstrap as YAML, which [`parse`](Self::parse) reads back to an equal value.
    pub fn to_yaml(&self) -> String {
        write::to_yaml(self)
    }

    /// The identity that the proxy proves.
    pub fn identity(&self) -> SpiffeId {
        SpiffeId::of_account(&self.mesh.trust_domain, &self.namespace, &self.account)
    }

    /// What names the workload.
    pub fn workload_ref(&self) -> WorkloadRef {
        WorkloadRef { namespace: self.namespace.clone(), name: self.workload.clone() }
    }
}

/// A local listener for one TCP service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpListener {
    /// The service port whose connections it takes.
    pub service: ServicePort,
    /// Where it listens; port 0 for the system's choice.
    pub bind: SocketAddr,
}

/// Where the control plane is reached: `host:port`, the host a name or an IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlaneAddress {
    host: String,
    port: u16,
}

impl ControlPlaneAddress {
    /// The host: a DNS name or an IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for ControlPlaneAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// A text that is not `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not <host>:<port> with a DNS name or IP address and a port from 1 to 65535")]
pub struct InvalidAddress;

impl FromStr for ControlPlaneAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 {
                Err(InvalidAddress)
            } else {
                Ok(Self { host: address.ip().to_string(), port: address.port() })
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or(InvalidAddress)?;
        let host: weft_model::Host = host.parse().map_err(|_| InvalidAddress)?;
        let port: weft_model::Port = port.parse().map_err(|_| InvalidAddress)?;
        Ok(Self { host: host.to_string(), port: port.get() })
    }
}

/// Everything that is wrong with a bootstrap, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct InvalidBootstrap(pub Vec<FieldError>);

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// One-based line; 0 where it is not known.
    pub line: u64,
    /// The field's path from the file's root; empty for the whole file.
    pub field: String,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, field, text } = self;
        write!(f, "line {line}: ")?;
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests;
