//! Starting and stopping.
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{error, warn};
use weft_certs::{
    CaPin,
    join::{Context, JoinError},
};
use weft_model::Revision;
use weft_store::{Objects, OpenError, Redb, State, StoreError};

use crate::{
    Config, OpenAuthorityError, audit,
    authority::{Certifier, ServerConfigs},
    effect::Effects,
    faults::Faults,
    follow::follow,
    metrics::Metrics,
    registry::Registry,
    removals::Removals,
    serve::{AdsStreams, Api, Certificates, Core, Grpc, Limits, Places, accept, serve_api, serve_grpc},
    state::MeshState,
    tokens,
};

/// Connections whose handshake is done and that nobody has taken yet.
const ACCEPTED: usize = 64;

/// How long streams and requests may take to end when the control plane stops.
const STOPPING: Duration = Duration::from_secs(5);

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
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store cannot be read or written.
    #[error("the store in {}: {reason}", dir.display())]
    StoreUse {
        /// The store's directory.
        dir: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The certificate authority cannot be had.
    #[error(transparent)]
    Authority(#[from] OpenAuthorityError),
    /// The context file cannot be written.
    #[error("the context file: {0}")]
    Context(#[from] JoinError),
    /// The context file is another mesh's.
    #[error(
        "the context file {} is of another mesh (its CA is {held}, this one's {own}); name another file with \
         --context-file, or remove this one if that mesh is gone",
        path.display()
    )]
    OtherContext {
        /// The file.
        path: PathBuf,
        /// The root's SHA-256 that it holds.
        held: CaPin,
        /// The root's SHA-256 of this control plane.
        own: CaPin,
    },
    /// The context file's folder cannot be made.
    #[error("the context file's folder {}: {source}", folder.display())]
    ContextFolder {
        /// The folder.
        folder: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// A control plane that runs. Dropped, it stops without waiting for what is under way.
pub struct Running {
    /// Where xDS, the Agent streams and the certificate service are served.
    pub grpc: SocketAddr,
    /// Where the admin API is served.
    pub api: SocketAddr,
    /// What opens the admin API: what is in the context file. Holds the admin token.
    pub context: Context,
    store: Arc<Redb>,
    state: Arc<MeshState>,
    stop: watch::Sender<bool>,
    /// The servers and what else ends when `stop` is set.
    tasks: JoinSet<()>,
    /// Ends with the store.
    follower: JoinSet<()>,
}

impl ControlPlane {
    /// Starts a control plane on the current tokio runtime; returns once it serves.
    ///
    /// # Errors
    /// What is wrong with which part of the configuration or of the store; nothing runs then.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        let dir = config.dir.clone();
        let opened = tokio::task::spawn_blocking(move || Redb::open(&dir)).await;
        let store = Arc::new(opened.map_err(|panicked| store_use(&config, panicked))??);
        match start(&config, &store).await {
            Ok(running) => Ok(running),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }
}

impl Running {
    /// The store's revision that everything which is pushed is at.
    pub fn revision(&self) -> Revision {
        self.state.revision()
    }

    /// Stops serving, ends every stream, and closes the store; returns when the directory may be opened again.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        let serving = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(STOPPING, serving).await.is_err() {
            warn!("some streams or requests did not end in time");
        }
        self.tasks.shutdown().await;
        // Last: requests under way still write, and who follows the store ends with it.
        self.store.close().await;
        while self.follower.join_next().await.is_some() {}
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("grpc", &self.grpc).field("api", &self.api).finish_non_exhaustive()
    }
}

async fn start(config: &Config, store: &Arc<Redb>) -> Result<Running, StartError> {
    let objects: Arc<dyn Objects> = store.clone();
    let secrets: Arc<dyn State> = store.clone();
    audit::trim(&*secrets, audit::Bounds::default()).await.map_err(|error| store_use(config, error))?;
    let certifier = Arc::new(Certifier::open(config, &*secrets).await?);
    let (configs, leaf) = certifier.server_configs(SystemTime::now())?;
    let (configs_sender, configs) = watch::channel(configs);
    let listing = objects.list().await.map_err(|error: StoreError| store_use(config, error))?;
    let stored = listing.objects.iter().map(|(object, stored)| (object.clone(), Some(Arc::new(stored.clone()))));
    let state = Arc::new(MeshState::new(config.names.clone(), listing.revision.clone(), stored));
    let faults = Arc::new(Faults::default());
    faults.warn(&state);

    let (grpc_listener, grpc) = listen(config.grpc, "xDS").await?;
    let (api_listener, api) = listen(config.api, "the admin API").await?;
    let context = write_context(config, &*secrets, &certifier, api).await?;

    let counted = store.clone();
    let metrics = Arc::new(Metrics::new(move || counted.commits()));
    let removals = Removals::open(&*secrets, &listing.revision).await.map_err(|error| store_use(config, error))?;
    let removals = Arc::new(removals);
    let registry = Arc::new(Registry::new(state.clone(), removals.clone(), config.lease));
    let streams = Arc::new(AdsStreams::new(state.touched().clone()));
    let effects = Effects::new(state.clone(), registry.clone(), streams.clone());
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut follower = JoinSet::new();
    follower.spawn(follow(objects.clone(), state.clone(), listing.revision));
    tasks.spawn(until_stopped(stopped.clone(), registry.clone().expire()));
    let (counted, wakes) = (metrics.clone(), state.wakes().clone());
    let keep_up = effects.clone().keep_up(move |board| counted.effects(board.counts(), wakes.woken()));
    tasks.spawn(until_stopped(stopped.clone(), keep_up));
    tasks.spawn(until_stopped(stopped.clone(), audit::keep_trimmed(secrets.clone(), audit::Bounds::default())));
    let renewal = certifier.clone().keep_fresh(secrets.clone(), configs_sender, leaf);
    tasks.spawn(until_stopped(stopped.clone(), renewal));

    let core = Core {
        names: config.names.clone(),
        state: state.clone(),
        registry: registry.clone(),
        metrics: metrics.clone(),
        removals: removals.clone(),
        settled_at: Instant::now() + config.lease,
        lease: config.lease,
        stop: stopped.clone(),
    };
    let certificates = Certificates {
        names: config.names.clone(),
        certifier: certifier.clone(),
        state: secrets.clone(),
        metrics: metrics.clone(),
        limits: Limits::default(),
    };
    let (connections, accepted) = mpsc::channel(ACCEPTED);
    let choose = |configs: &ServerConfigs| configs.grpc.clone();
    tasks.spawn(until_stopped(
        stopped.clone(),
        accept(grpc_listener, configs.clone(), choose, metrics.clone(), Some(Arc::new(Places::default())), connections),
    ));
    let served = serve_grpc(Grpc { core, streams: streams.clone(), certificates }, ReceiverStream::new(accepted));
    tasks.spawn(async move {
        if let Err(error) = served.await {
            error!(%error, "the gRPC server ended");
        }
    });

    let (connections, accepted) = mpsc::channel(ACCEPTED);
    let choose = |configs: &ServerConfigs| configs.api.clone();
    tasks.spawn(until_stopped(
        stopped.clone(),
        accept(api_listener, configs, choose, metrics.clone(), None, connections),
    ));
    let admin = Api {
        objects,
        secrets,
        state: state.clone(),
        faults,
        effects,
        registry,
        streams,
        metrics,
        removals,
        tokens: tokens::Issuer::default(),
        certifier: certifier.clone(),
        token: context.token.hash(),
        pin: *certifier.pin(),
        grpc: reachable(grpc),
        started: jiff::Timestamp::now().to_string(),
        changes: Mutex::new(()),
        stop: stopped.clone(),
    };
    tasks.spawn(serve_api(Arc::new(admin), accepted, stopped));
    Ok(Running { grpc, api, context, store: store.clone(), state, stop, tasks, follower })
}

/// Writes the context file, with the admin token that it held before if that is still the store's.
async fn write_context(
    config: &Config,
    secrets: &dyn State,
    certifier: &Certifier,
    api: SocketAddr,
) -> Result<Context, StartError> {
    let held = config.context_file.as_deref().and_then(|path| Some((path, Context::load(path).ok()?)));
    if let Some((path, held)) = held.as_ref().filter(|(_, held)| held.ca_sha256 != *certifier.pin()) {
        // It holds the only copy of that mesh's admin token.
        return Err(StartError::OtherContext { path: path.to_path_buf(), held: held.ca_sha256, own: *certifier.pin() });
    }
    let known = held.map(|(_, held)| held.token);
    let token = tokens::admin(secrets, known).await.map_err(|error| store_use(config, error))?;
    let context = Context {
        address: reachable(api).to_string(),
        ca_sha256: *certifier.pin(),
        token,
        trust_domain: config.names.trust_domain.clone(),
    };
    if let Some(path) = &config.context_file {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            make_folder(folder).map_err(|source| StartError::ContextFolder { folder: folder.to_owned(), source })?;
        }
        context.save(path)?;
    }
    Ok(context)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

async fn until_stopped(mut stopped: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
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

/// Where clients on this machine reach a listener that is bound to every address.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

fn store_use(config: &Config, reason: impl fmt::Display) -> StartError {
    StartError::StoreUse { dir: config.dir.clone(), reason: reason.to_string() }
}
