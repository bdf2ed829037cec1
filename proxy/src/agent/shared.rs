//! What the control thread's tasks and the proxy's handle share. Every lock here is the control side's own: the data
//! path takes none of them.
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    Bound,
    bootstrap::Bootstrap,
    config::Config,
    guard::Guarded,
    health::Application,
    lifecycle::{Lifecycle, Readiness},
    ports::Ports,
    receipts::Receipts,
    source::Source,
};
use crate::dataplane::{ClusterState, Dataplane, EdgeSummary, Progress, Unbound};

/// The state of one proxy.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) bootstrap: Bootstrap,
    /// Five random characters, drawn once a process start.
    pub(super) start: String,
    /// What was bound at the start.
    bound: Bound,
    /// What could not be bound then.
    pub(super) ports: Ports,
    /// How far the workers have come with what was published.
    pub(super) progress: Arc<Progress>,
    pub(super) lifecycle: Lifecycle,
    pub(super) application: Application,
    /// Taken when the proxy ends.
    dataplane: Mutex<Option<Dataplane>>,
    pub(super) receipts: Receipts,
    pub(super) streams: Streams,
    pub(super) source: Source,
    /// What is kept that the control plane does not have.
    pub(super) guard: Guarded,
    /// The configuration in force is not the one that was last kept.
    pub(super) config_changed: Notify,
    config: Mutex<Config>,
    secrets: Mutex<Value>,
    edges: Mutex<Vec<EdgeSummary>>,
    metrics: PrometheusHandle,
}

/// What is known of the two streams to the control plane.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Whether the ADS stream is open.
    pub(super) ads: AtomicBool,
    /// Whether the Agent stream is open and the registration accepted.
    pub(super) agent: AtomicBool,
    /// How often the ADS stream was opened.
    pub(super) ads_opened: AtomicU64,
    /// Resources received over all ADS streams.
    pub(super) resources: AtomicU64,
    /// Those of them that came in the version already held.
    pub(super) unchanged: AtomicU64,
    /// Those of them that were rejected.
    pub(super) rejected: AtomicU64,
    /// Certificates obtained since the start.
    pub(super) certificates: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        bootstrap: Bootstrap,
        start: String,
        (bound, unbound): (Bound, Vec<Unbound>),
        dataplane: Dataplane,
        metrics: PrometheusHandle,
    ) -> Self {
        let identity = format!("a certificate for {} from {}", bootstrap.identity(), bootstrap.control_plane);
        let configuration = format!("the first configuration from {}", bootstrap.ads);
        Self {
            application: Application::new(&bootstrap),
            bootstrap,
            start,
            bound,
            ports: Ports::new(unbound),
            progress: dataplane.progress(),
            lifecycle: Lifecycle::new(identity, configuration),
            dataplane: Mutex::new(Some(dataplane)),
            receipts: Receipts::default(),
            streams: Streams::default(),
            source: Source::new(),
            guard: Guarded::default(),
            config_changed: Notify::new(),
            config: Mutex::default(),
            secrets: Mutex::new(Value::Array(Vec::new())),
            edges: Mutex::default(),
            metrics,
        }
    }

    /// The longest wait before a stream to the control plane is tried again: a workload that has nothing to serve yet is
    /// in within a second of the control plane's return.
    pub(super) fn longest_wait(&self) -> Duration {
        match self.lifecycle.readiness() {
            Readiness::Awaiting(_) => Duration::from_millis(300),
            Readiness::Ready | Readiness::Draining => Duration::MAX,
        }
    }

    /// Tells the data plane something; `None` once it has been taken.
    pub(super) fn with_dataplane<T>(&self, tell: impl FnOnce(&Dataplane) -> T) -> Option<T> {
        lock(&self.dataplane).as_ref().map(tell)
    }

    /// Takes the data plane, to end it.
    pub(super) fn take_dataplane(&self) -> Option<Dataplane> {
        lock(&self.dataplane).take()
    }

    /// What was bound at the start.
    pub(super) fn bound_first(&self) -> &Bound {
        &self.bound
    }

    /// What is bound now.
    pub(super) fn bound(&self) -> Bound {
        let mut bound = self.bound.clone();
        bound.tcp.extend(self.ports.late());
        bound
    }

    /// The configuration in force. Never held across an await.
    pub(super) fn config(&self) -> MutexGuard<'_, Config> {
        lock(&self.config)
    }

    /// Metadata of the certificates in use.
    pub(super) fn secrets(&self) -> Value {
        lock(&self.secrets).clone()
    }

    pub(super) fn set_secrets(&self, secrets: Value) {
        *lock(&self.secrets) = secrets;
    }

    /// What each edge has seen since the last call; kept for the admin interface.
    pub(super) fn collect_edges(&self) -> Vec<EdgeSummary> {
        let edges = self.with_dataplane(Dataplane::edges).unwrap_or_default();
        lock(&self.edges).clone_from(&edges);
        edges
    }

    /// The lines of the last refusals, oldest first.
    pub(super) fn refusals(&self) -> Vec<Arc<String>> {
        self.with_dataplane(Dataplane::refusals).unwrap_or_default()
    }

    /// What is so at this moment of the clusters that have limits, a breaker or ejection.
    pub(super) fn clusters(&self) -> Vec<ClusterState> {
        self.with_dataplane(Dataplane::clusters).unwrap_or_default()
    }

    /// The exposition: the data plane's, then the control thread's.
    pub(super) fn metrics(&self) -> String {
        self.source.measure(SystemTime::now());
        let mut text = self.with_dataplane(Dataplane::metrics).unwrap_or_default();
        text.push_str(&self.metrics.render());
        text
    }

    /// `/stats`.
    pub(super) fn stats(&self) -> Value {
        let Streams { ads, agent, ads_opened, resources, unchanged, rejected, certificates } = &self.streams;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let edges: Vec<_> = lock(&self.edges).iter().map(edge).collect();
        json!({
            "ads": {
                "connected": ads.load(Ordering::Relaxed),
                "streams": count(ads_opened),
                "resourcesReceived": count(resources),
                "resourcesReceivedUnchanged": count(unchanged),
                "resourcesRejected": count(rejected),
                "resourcesHeld": self.config().len(),
            },
            "agent": {"connected": agent.load(Ordering::Relaxed)},
            "certificates": {"obtained": count(certificates)},
            "edges": edges,
        })
    }

    /// `/state`.
    pub(super) fn state(&self) -> Value {
        let (state, awaiting) = match self.lifecycle.readiness() {
            Readiness::Ready => ("ready", None),
            Readiness::Awaiting(text) => ("starting", Some(text)),
            Readiness::Draining => ("draining", None),
        };
        json!({
            "workload": self.bootstrap.workload_ref().to_string(),
            "identity": self.bootstrap.identity().as_str(),
            "version": env!("CARGO_PKG_VERSION"),
            "start": self.start,
            "state": state,
            "awaiting": awaiting,
            "unhealthy": self.application.unhealthy(),
            "lastGood": self.source.text(),
            "revision": self.config().revision(),
            "guard": self.guard.text(),
            "controlPlane": self.bootstrap.ads.to_string(),
            "listeners": self.bound().to_json(),
        })
    }
}

fn edge(edge: &EdgeSummary) -> Value {
    json!({
        "service": edge.service.to_string(),
        "destination": edge.destination.to_string(),
        "tcp": edge.tcp,
        "requests": edge.requests,
        "failures": edge.failures,
        "latencyUsP50": edge.latency_us_p50,
        "latencyUsP99": edge.latency_us_p99,
        "bytesSent": edge.bytes_sent,
        "bytesReceived": edge.bytes_received,
        "statusClasses": edge.status_classes,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds one of these; a poisoned one still holds whole values.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
