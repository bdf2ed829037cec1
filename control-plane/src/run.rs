//! Running as a process: arguments, log, signals.
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::{Args, ControlPlane, StartError};

/// Why a control plane process ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The arguments and the environment do not make a configuration.
    #[error("{0}")]
    Configuration(String),
    /// It does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Signals cannot be waited for.
    #[error("cannot wait for signals: {0}")]
    Signal(#[from] std::io::Error),
}

/// Runs a control plane until SIGTERM or SIGINT.
///
/// Logs through `tracing` (the caller installs the subscriber): first the effective configuration, then, once it
/// serves, a line `ready` with the addresses.
///
/// # Errors
/// What keeps it from starting.
pub async fn run(args: Args) -> Result<(), RunError> {
    forbid_core_dumps();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let config = args.config().map_err(RunError::Configuration)?;
    info!(
        dir = %config.dir.display(),
        grpc = %config.grpc,
        api = %config.api,
        trust_domain = %config.names.trust_domain,
        mesh_domain = %config.names.mesh_domain,
        cluster = %config.names.cluster,
        sealing_key = %config.sealing_key,
        context_file = config.context_file.as_deref().map(|path| tracing::field::display(path.display())),
        leaf_lifetime_seconds = config.leaf_lifetime.as_secs(),
        lease_seconds = config.lease.as_secs(),
        version = env!("CARGO_PKG_VERSION"),
        "configuration"
    );
    let running = ControlPlane::start(config).await?;
    info!(grpc = %running.grpc, api = %running.api, "ready");
    tokio::select! {
        _ = terminate.recv() => info!(signal = "SIGTERM", "stopping"),
        _ = interrupt.recv() => info!(signal = "SIGINT", "stopping"),
    }
    running.shutdown().await;
    info!("stopped");
    Ok(())
}

/// The CA's key is in memory: a crash must not write it to a disk.
fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        warn!(%error, "core dumps cannot be forbidden");
    }
}
