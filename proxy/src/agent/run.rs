//! `weft proxy run` and `weft-proxy`: arguments, signals, exit code.
use std::{fmt, net::SocketAddr, num::NonZeroUsize, path::PathBuf, process::ExitCode, str::FromStr};

use weft_model::{Name, PortName};

use super::join::TcpChoice;

/// Arguments of `weft proxy run` and of `weft-proxy`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Start from this bootstrap: Envoy's v3 format with the extension weft.v1.Agent, YAML or JSON.
    #[arg(long, value_name = "BOOTSTRAP", required_unless_present = "join", conflicts_with = "join")]
    pub config: Option<PathBuf>,
    /// Make the bootstrap from this join file (`weft token create`) and the options below; the file's token is erased
    /// once it is used.
    #[arg(long, value_name = "FILE")]
    pub join: Option<PathBuf>,
    /// Where key, certificates and bootstrap are kept.
    #[arg(long, value_name = "DIR", env = "WEFT_STATE_DIR", required_unless_present = "config")]
    pub state_dir: Option<PathBuf>,
    /// The instance's name, unique in its namespace; the account's name if absent.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub workload: Option<Name>,
    /// A label of the workload, by which Services select it; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", conflicts_with = "config")]
    pub labels: Vec<KeyValue>,
    /// A port of the application by name, and where it listens; may be repeated.
    #[arg(long = "application", value_name = "NAME=IP:PORT", conflicts_with = "config")]
    pub applications: Vec<Application>,
    /// Where peers connect to (mesh TLS); without it the workload only calls.
    #[arg(long, value_name = "IP:PORT", conflicts_with = "config")]
    pub inbound: Option<SocketAddr>,
    /// Where the application sends HTTP for every service.
    #[arg(long, value_name = "IP:PORT", conflicts_with = "config")]
    pub outbound: Option<SocketAddr>,
    /// A TCP service port that the application calls, and where to listen for it; may be repeated.
    #[arg(long = "tcp", value_name = "NS/SVC:PORT=IP:PORT", conflicts_with = "config")]
    pub tcp: Vec<TcpChoice>,
    /// Where /ready, /live and /metrics are served.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15020", conflicts_with = "config")]
    pub status: SocketAddr,
    /// Append the access log to this file instead of writing it to standard output.
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,
    /// Worker threads of the data plane.
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "config")]
    pub workers: NonZeroUsize,
    /// Read the configuration, say what is wrong with it, and exit: 0 if nothing is.
    #[arg(long)]
    pub check: bool,
}

/// `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// What stands before the first `=`.
    pub key: String,
    /// What stands after it.
    pub value: String,
}

/// `NAME=IP:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// The port's name.
    pub port: PortName,
    /// Where the application listens.
    pub address: SocketAddr,
}

/// An argument that does not have its form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidArgument(String);

fn invalid(error: impl fmt::Display) -> InvalidArgument {
    InvalidArgument(error.to_string())
}

fn assignment(text: &str) -> Result<(&str, &str), InvalidArgument> {
    let (key, value) = text.split_once('=').ok_or_else(|| invalid("it has no '='"))?;
    if key.is_empty() { Err(invalid("nothing stands before its '='")) } else { Ok((key, value)) }
}

impl FromStr for KeyValue {
    type Err = InvalidArgument;

    fn from_str(text: &str) -> Result<Self, InvalidArgument> {
        let (key, value) = assignment(text)?;
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

impl FromStr for Application {
    type Err = InvalidArgument;

    fn from_str(text: &str) -> Result<Self, InvalidArgument> {
        let (port, address) = assignment(text)?;
        Ok(Self { port: port.parse().map_err(invalid)?, address: address.parse().map_err(invalid)? })
    }
}

impl FromStr for TcpChoice {
    type Err = InvalidArgument;

    fn from_str(text: &str) -> Result<Self, InvalidArgument> {
        let (service, bind) = assignment(text)?;
        let form = || invalid("it is not <namespace>/<service>:<port>=<ip>:<port>");
        let (namespace, rest) = service.split_once('/').ok_or_else(form)?;
        let (service, port) = rest.rsplit_once(':').ok_or_else(form)?;
        Ok(Self {
            namespace: namespace.parse().map_err(invalid)?,
            service: service.parse().map_err(invalid)?,
            port: port.parse().map_err(invalid)?,
            bind: bind.parse().map_err(invalid)?,
        })
    }
}

/// Runs a proxy until it is told to stop: SIGTERM or SIGINT drains, a second one stops at once.
///
/// Exit codes: 0 after a drain or a clean `--check`; 1 where the configuration is wrong or the proxy cannot start.
pub fn run(_args: Args) -> ExitCode {
    ExitCode::FAILURE
}
