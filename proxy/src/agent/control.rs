//! The control thread: one current-thread runtime for everything that is not the data path.
use std::{
    fs, io,
    net::TcpListener as StdTcpListener,
    os::unix::net::UnixListener as StdUnixListener,
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use metrics_exporter_prometheus::PrometheusRecorder;
use tokio::{
    net::{TcpListener, UnixListener},
    runtime,
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    admin::Admin,
    ads, agent_stream, certificates,
    channel::CurrentConfig,
    health, http,
    join::JoinToken,
    last_good,
    lifecycle::{Stop, asked_to_stop},
    overload, ports,
    shared::Shared,
    state_dir::StateDir,
    status::Status,
};
use crate::dataplane::{Dataplane, Event};

/// How often the exposition's recorder drains its histograms.
const UPKEEP: Duration = Duration::from_secs(5);

/// How long draining waits for the control plane to say that it knows of it.
const TELL: Duration = Duration::from_secs(1);

/// How long the end waits for a name that is being looked up, or for a file that is being written.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// What the control thread is given.
pub(super) struct Control {
    pub(super) shared: Arc<Shared>,
    pub(super) state: StateDir,
    pub(super) token: Option<JoinToken>,
    pub(super) memory: Option<u64>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) status: StdTcpListener,
    pub(super) admin: StdUnixListener,
    pub(super) recorder: PrometheusRecorder,
}

/// Says that the proxy has stopped, however the control thread ends.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0.bound_first().admin);
        self.0.lifecycle.set_stopped();
    }
}

impl Control {
    /// Starts the thread.
    pub(super) fn spawn(self) -> io::Result<JoinHandle<()>> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("control".to_owned()).spawn(move || {
            let ending = Ending(Arc::clone(&self.shared));
            let Self { shared, state, token, memory, events, status, admin, recorder } = self;
            // Each proxy of a process counts for itself: its control thread is its recorder's whole world.
            let _local = metrics::set_default_local_recorder(&recorder);
            let listening = {
                let _context = runtime.enter();
                TcpListener::from_std(status).and_then(|status| Ok((status, UnixListener::from_std(admin)?)))
            };
            match listening {
                Ok((status, admin)) => {
                    runtime.block_on(serve(Tasks { shared, state, token, memory, events, status, admin }, &recorder));
                }
                Err(error) => tracing::error!(%error, "the status and admin interfaces cannot be served"),
            }
            // Tasks end here, before the word that the proxy has stopped.
            runtime.shutdown_timeout(SHUTDOWN);
            drop(ending);
        })
    }
}

/// What the control thread's tasks are made of.
struct Tasks {
    shared: Arc<Shared>,
    state: StateDir,
    token: Option<JoinToken>,
    memory: Option<u64>,
    events: mpsc::Receiver<Event>,
    status: TcpListener,
    admin: UnixListener,
}

/// Runs everything until the proxy has drained or is to stop at once.
async fn serve(tasks: Tasks, recorder: &PrometheusRecorder) {
    let Tasks { shared, state, token, memory, events, status, admin } = tasks;
    let (ready, current) = watch::channel(None);
    let state = Arc::new(state);
    let last_good = last_good::load(&shared, &state);
    tokio::spawn(last_good::keep(Arc::clone(&shared), Arc::clone(&state)));
    tokio::spawn(ports::keep_trying(Arc::clone(&shared), Arc::clone(&state)));
    tokio::spawn(http::serve_tcp(status, Arc::new(Status(Arc::clone(&shared)))));
    tokio::spawn(http::serve_unix(admin, Arc::new(Admin(Arc::clone(&shared)))));
    tokio::spawn(health::run(Arc::clone(&shared)));
    tokio::spawn(overload::run(Arc::clone(&shared), memory));
    tokio::spawn(certificates::run(Arc::clone(&shared), state, token, ready));
    tokio::spawn(ads::run(Arc::clone(&shared), last_good, events, current.clone()));
    tokio::spawn(attach(Arc::clone(&shared), current));
    let upkeep = recorder.handle();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    let mut stop = shared.lifecycle.stop();
    asked_to_stop(&mut stop, Stop::Draining).await;
    // Peers first choose no longer this instance, then their connections end.
    if shared.streams.agent.load(Ordering::Relaxed) {
        let _ = timeout(TELL, shared.lifecycle.told()).await;
    }
    shared.with_dataplane(Dataplane::drain);
    tokio::select! {
        () = shared.lifecycle.drained() => {
            // Its last records are written before the process ends.
            if let Some(dataplane) = shared.take_dataplane() {
                dataplane.stopped().await;
            }
        }
        () = asked_to_stop(&mut stop, Stop::Now) => drop(shared.take_dataplane()),
    }
}

/// The Agent stream, once there is a certificate.
async fn attach(shared: Arc<Shared>, mut current: watch::Receiver<Option<CurrentConfig>>) {
    let config = match current.wait_for(Option::is_some).await {
        Ok(config) => config.clone(),
        Err(_) => return,
    };
    if let Some(config) = config {
        agent_stream::run(shared, config, current).await;
    }
}
