//! The exposition: every worker's cells, summed and written in Prometheus' text format (0.0.4).
use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::Receiver,
    },
};

use weft_ir::ServiceKey;

use super::{
    EdgeSummary,
    gate::Limit,
    histogram::Counts,
    metrics::{Cause, Direction, Labels, Refused, Registered, Retries, Series, Totals},
};

/// The octaves (powers of two of microseconds) that are exposed as `le`: 128 µs to 34 s.
const OCTAVES: std::ops::RangeInclusive<u32> = 7..=25;

/// All cells of all workers, on the control thread's side.
#[derive(Debug)]
pub(super) struct Exposition {
    totals: Vec<Arc<Totals>>,
    registered: Receiver<Registered>,
    series: BTreeMap<Labels, Vec<Arc<Series>>>,
    causes: BTreeMap<(Direction, &'static str), Vec<Arc<Cause>>>,
    refused: BTreeMap<(ServiceKey, &'static str), Vec<Arc<Refused>>>,
    /// What each edge had when summaries were last asked for.
    told: BTreeMap<Labels, Sums>,
}

/// One series summed over workers.
#[derive(Clone, Debug, Default)]
struct Sums {
    classes: [u64; 6],
    failures: u64,
    sent: u64,
    received: u64,
    duration: Counts,
}

impl Sums {
    fn of(series: &[Arc<Series>]) -> Self {
        let mut sums = Self::default();
        for series in series {
            for (sum, cell) in sums.classes.iter_mut().zip(&series.classes) {
                *sum += cell.load(Ordering::Relaxed);
            }
            sums.failures += series.failures.load(Ordering::Relaxed);
            sums.sent += series.sent.load(Ordering::Relaxed);
            sums.received += series.received.load(Ordering::Relaxed);
            series.duration.add_to(&mut sums.duration);
        }
        sums
    }
}

impl Exposition {
    pub(super) fn new(totals: Vec<Arc<Totals>>, registered: Receiver<Registered>) -> Self {
        Self {
            totals,
            registered,
            series: BTreeMap::new(),
            causes: BTreeMap::new(),
            refused: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// The exposition's text.
    pub(super) fn render(&mut self) -> String {
        self.take_registered();
        let mut out = String::with_capacity(4096);
        self.totals(&mut out);
        self.causes(&mut out);
        self.retries(&mut out);
        self.mirrors(&mut out);
        self.requests(&mut out);
        out
    }

    /// What each outbound edge has seen since the last call; edges that saw nothing are left out.
    pub(super) fn edges(&mut self) -> Vec<EdgeSummary> {
        self.take_registered();
        let mut edges = Vec::new();
        for (labels, series) in &self.series {
            let (Direction::Outbound, Some((service, destination))) = (labels.direction, &labels.services) else {
                continue;
            };
            let now = Sums::of(series);
            let before = self.told.insert(labels.clone(), now.clone()).unwrap_or_default();
            let duration = now.duration.since(&before.duration);
            if duration.total() == 0 {
                continue;
            }
            let mut status_classes = now.classes;
            for (class, before) in status_classes.iter_mut().zip(before.classes) {
                *class = if labels.tcp { 0 } else { class.saturating_sub(before) };
            }
            edges.push(EdgeSummary {
                service: service.clone(),
                destination: destination.clone(),
                tcp: labels.tcp,
                requests: duration.total(),
                failures: now.failures.saturating_sub(before.failures),
                latency_us_p50: duration.quantile(50),
                latency_us_p99: duration.quantile(99),
                bytes_sent: now.sent.saturating_sub(before.sent),
                bytes_received: now.received.saturating_sub(before.received),
                status_classes,
            });
        }
        edges
    }

    fn take_registered(&mut self) {
        for registered in self.registered.try_iter() {
            match registered {
                Registered::Series(series) => self.series.entry(series.labels.clone()).or_default().push(series),
                Registered::Cause(cause) => {
                    self.causes.entry((cause.direction, cause.code)).or_default().push(cause);
                }
                Registered::Refused(cell) => {
                    self.refused.entry((cell.cluster.clone(), cell.limit)).or_default().push(cell);
                }
            }
        }
    }

    fn total(&self, cell: impl Fn(&Totals) -> &AtomicU64) -> u64 {
        // A gauge's cells may pass through zero from below, one worker's being read before another's: wrap.
        self.totals.iter().map(|totals| cell(totals).load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }

    fn totals(&self, out: &mut String) {
        kind(out, "weft_connections_total", "counter", "Connections accepted.");
        kind_lines(out, "weft_connections_total", |i| self.total(|totals| &totals.accepted[i]));
        kind(out, "weft_connections_active", "gauge", "Accepted connections that are open.");
        kind_lines(out, "weft_connections_active", |i| self.total(|totals| &totals.active[i]));
        kind(out, "weft_connections_refused_total", "counter", "Connections closed at once: too many.");
        for (limit, place) in Limit::TURN_AWAY.iter().zip(0_usize..) {
            let value = self.total(|totals| &totals.refused[place]);
            line(out, format_args!("weft_connections_refused_total{{limit=\"{}\"}} {value}", limit.as_str()));
        }
        for (name, help, value) in [
            ("weft_accept_errors_total", "Failed accepts.", self.total(|t| &t.accept_errors)),
            (
                "weft_on_demand_waits_total",
                "Requests that waited for configuration.",
                self.total(|t| &t.on_demand_waits),
            ),
            ("weft_upstream_connections_total", "Upstream connections made.", self.total(|t| &t.upstream_connected)),
            ("weft_upstream_reuses_total", "Upstream connections used again.", self.total(|t| &t.upstream_reused)),
            ("weft_handshake_failures_total", "Failed inbound TLS handshakes.", self.total(|t| &t.handshakes_failed)),
            ("weft_records_dropped_total", "Records not written: the log is slow.", self.total(|t| &t.records_dropped)),
            ("weft_tunnels_total", "Tunnels that HTTP has opened, WebSockets included.", self.total(|t| &t.tunnels)),
            ("weft_grpc_web_calls_total", "Calls translated from gRPC-Web.", self.total(|t| &t.grpc_web)),
        ] {
            kind(out, name, "counter", help);
            line(out, format_args!("{name} {value}"));
        }
    }

    fn mirrors(&self, out: &mut String) {
        let name = "weft_mirrored_requests_total";
        kind(out, name, "counter", "Copies of requests for mirrors by how they ended; counted nowhere else.");
        let (answered, failed) = (self.total(|t| &t.mirrors.answered), self.total(|t| &t.mirrors.failed));
        for (outcome, count) in [("answered", answered), ("failed", failed)] {
            line(out, format_args!("{name}{{outcome=\"{outcome}\"}} {count}"));
        }
    }

    fn causes(&self, out: &mut String) {
        kind(out, "weft_refusals_total", "counter", "Requests and connections that ended for this cause.");
        for ((direction, code), causes) in &self.causes {
            let count: u64 = causes.iter().map(|cause| cause.count.load(Ordering::Relaxed)).sum();
            let direction = direction.as_str();
            line(out, format_args!("weft_refusals_total{{direction=\"{direction}\",cause=\"{code}\"}} {count}"));
        }
    }

    fn retries(&self, out: &mut String) {
        let name = "weft_retries_total";
        kind(out, name, "counter", "Failed tries by what became of the request: repeated, or why not.");
        let repeated = self.total(|totals| &totals.retries.repeated);
        line(out, format_args!("{name}{{outcome=\"repeated\"}} {repeated}"));
        for (cell, cause) in Retries::CAUSES.into_iter().enumerate() {
            let cells = self.totals.iter().filter_map(|totals| totals.retries.refused.get(cell));
            let count: u64 = cells.map(|cell| cell.load(Ordering::Relaxed)).sum();
            line(out, format_args!("{name}{{outcome=\"{cause}\"}} {count}"));
        }
        let name = "weft_limit_refusals_total";
        kind(out, name, "counter", "Requests and connections refused for a limit or an open breaker, by cluster.");
        for ((cluster, limit), cells) in &self.refused {
            let count: u64 = cells.iter().map(|cell| cell.count.load(Ordering::Relaxed)).sum();
            line(out, format_args!("{name}{{cluster=\"{cluster}\",limit=\"{limit}\"}} {count}"));
        }
    }

    fn requests(&self, out: &mut String) {
        let series: Vec<(String, Sums)> =
            self.series.iter().map(|(labels, series)| (text(labels), Sums::of(series))).collect();
        kind(out, "weft_requests_total", "counter", "Finished requests and connections by status class.");
        for (labels, sums) in &series {
            for (class, count) in sums.classes.iter().enumerate().filter(|(_, count)| **count > 0) {
                let class = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"].get(class).copied().unwrap_or("none");
                line(out, format_args!("weft_requests_total{{{labels},class=\"{class}\"}} {count}"));
            }
        }
        kind(
            out,
            "weft_failures_total",
            "counter",
            "Those that ended with 5xx, a gRPC failure, a refusal or a broken connection.",
        );
        for (labels, sums) in &series {
            line(out, format_args!("weft_failures_total{{{labels}}} {}", sums.failures));
        }
        kind(out, "weft_bytes_total", "counter", "Body bytes passed on.");
        for (labels, sums) in &series {
            line(out, format_args!("weft_bytes_total{{{labels},way=\"sent\"}} {}", sums.sent));
            line(out, format_args!("weft_bytes_total{{{labels},way=\"received\"}} {}", sums.received));
        }
        kind(out, "weft_duration_seconds", "histogram", "From a request's first byte to its end.");
        for (labels, sums) in &series {
            for octave in OCTAVES {
                let (le, count) = ((1u64 << octave) as f64 / 1e6, sums.duration.below_octave(octave));
                line(out, format_args!("weft_duration_seconds_bucket{{{labels},le=\"{le}\"}} {count}"));
            }
            let (count, sum) = (sums.duration.total(), sums.duration.sum as f64 / 1e6);
            line(out, format_args!("weft_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {count}"));
            line(out, format_args!("weft_duration_seconds_sum{{{labels}}} {sum}"));
            line(out, format_args!("weft_duration_seconds_count{{{labels}}} {count}"));
        }
    }
}

fn kind(out: &mut String, name: &str, kind: &str, help: &str) {
    line(out, format_args!("# HELP {name} {help}"));
    line(out, format_args!("# TYPE {name} {kind}"));
}

fn kind_lines(out: &mut String, name: &str, value: impl Fn(usize) -> u64) {
    for direction in [Direction::Inbound, Direction::Outbound] {
        let value = value(direction as usize);
        line(out, format_args!("{name}{{direction=\"{}\"}} {value}", direction.as_str()));
    }
}

/// Names of services hold no character that a label value must escape.
fn text(labels: &Labels) -> String {
    let (service, destination) = labels.services.as_ref().map_or_else(
        || (String::new(), String::new()),
        |(service, destination)| (service.to_string(), destination.to_string()),
    );
    let (direction, protocol) = (labels.direction.as_str(), if labels.tcp { "tcp" } else { "http" });
    format!("direction=\"{direction}\",protocol=\"{protocol}\",service=\"{service}\",destination=\"{destination}\"")
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = out.write_fmt(text);
    out.push('\n');
}
