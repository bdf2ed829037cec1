//! The control plane's own numbers, rendered for Prometheus. Each control plane has its own: nothing is global.
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::wire::EffectState;

/// What is counted since the start.
pub(crate) struct Metrics {
    handle: PrometheusHandle,
    /// Holds the registry that the handles below write to.
    recorder: PrometheusRecorder,
    resources_sent: Total,
    resources_resent: Total,
    ads_streams: Gauge,
    agent_streams: Gauge,
    handshakes_failed: Counter,
    connections_refused: Counter,
    streams_woken: Counter,
    store_commits: Counter,
    /// How many commits the store has made.
    commits: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// A counter that is read by the API as well.
struct Total {
    value: AtomicU64,
    counter: Counter,
}

impl Total {
    fn add(&self, count: u64) {
        self.value.fetch_add(count, Ordering::Relaxed);
        self.counter.increment(count);
    }
}

/// Which of the two streams of a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StreamKind {
    Ads,
    Agent,
}

impl Metrics {
    /// All at nought. `commits` tells how many transactions the store has committed.
    pub(crate) fn new(commits: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let total = |name: &'static str, text: &'static str| Total {
            value: AtomicU64::new(0),
            counter: counter(&recorder, name, text, Vec::new()),
        };
        Self {
            handle: recorder.handle(),
            resources_sent: total("weft_xds_resources_sent_total", "xDS resources sent"),
            resources_resent: total(
                "weft_xds_resources_resent_total",
                "xDS resources sent in a version that the client already held",
            ),
            ads_streams: gauge(&recorder, "weft_streams", "Open streams of proxies", "ads"),
            agent_streams: gauge(&recorder, "weft_streams", "Open streams of proxies", "agent"),
            handshakes_failed: counter(
                &recorder,
                "weft_tls_handshakes_failed_total",
                "TLS handshakes that failed or took too long",
                Vec::new(),
            ),
            connections_refused: counter(
                &recorder,
                "weft_connections_refused_total",
                "Connections that were closed because there were too many",
                Vec::new(),
            ),
            streams_woken: counter(
                &recorder,
                "weft_streams_woken_total",
                "ADS streams that were woken because what they asked for had changed",
                Vec::new(),
            ),
            store_commits: counter(
                &recorder,
                "weft_store_commits_total",
                "Transactions that the store has committed; each may hold many writes",
                Vec::new(),
            ),
            commits: Box::new(commits),
            recorder,
        }
    }

    pub(crate) fn resources(&self, sent: u64, resent: u64) {
        self.resources_sent.add(sent);
        self.resources_resent.add(resent);
    }

    pub(crate) fn resources_sent(&self) -> u64 {
        self.resources_sent.value.load(Ordering::Relaxed)
    }

    pub(crate) fn resources_resent(&self) -> u64 {
        self.resources_resent.value.load(Ordering::Relaxed)
    }

    pub(crate) fn handshake_failed(&self) {
        self.handshakes_failed.increment(1);
    }

    pub(crate) fn connection_refused(&self) {
        self.connections_refused.increment(1);
    }

    /// Counts a certificate request by its outcome: `token`, `renewal` or `refused`.
    pub(crate) fn certificate(&self, outcome: &'static str) {
        let labels = vec![Label::from_static_parts("outcome", outcome)];
        counter(&self.recorder, "weft_certificate_requests_total", "Certificate requests by outcome", labels)
            .increment(1);
    }

    /// Notes how many objects there are in each state, and how often an ADS stream was woken by a change.
    pub(crate) fn effects(&self, counts: &BTreeMap<EffectState, u64>, woken: u64) {
        self.streams_woken.absolute(woken);
        for state in EffectState::ALL {
            let label = Label::from_static_parts("state", state.as_str());
            let count = counts.get(&state).copied().unwrap_or_default();
            labelled(&self.recorder, "weft_objects", "Objects by how far they have come", label).set(exact(count));
        }
    }

    /// Counts a stream as open until the guard is dropped.
    pub(crate) fn stream(&self, kind: StreamKind) -> OpenStream {
        let gauge = match kind {
            StreamKind::Ads => &self.ads_streams,
            StreamKind::Agent => &self.agent_streams,
        };
        gauge.increment(1.0);
        OpenStream(gauge.clone())
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        self.store_commits.absolute((self.commits)());
        self.handle.render()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// An open stream; dropped when it ends.
pub(crate) struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

fn counter(recorder: &PrometheusRecorder, name: &'static str, text: &'static str, labels: Vec<Label>) -> Counter {
    recorder.describe_counter(name.into(), None, text.into());
    recorder.register_counter(&Key::from_parts(name, labels), &METADATA)
}

fn gauge(recorder: &PrometheusRecorder, name: &'static str, text: &'static str, stream: &'static str) -> Gauge {
    labelled(recorder, name, text, Label::from_static_parts("stream", stream))
}

fn labelled(recorder: &PrometheusRecorder, name: &'static str, text: &'static str, label: Label) -> Gauge {
    recorder.describe_gauge(name.into(), None, text.into());
    recorder.register_gauge(&Key::from_parts(name, vec![label]), &METADATA)
}

/// A count as a gauge takes it; exact below 2³².
fn exact(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
