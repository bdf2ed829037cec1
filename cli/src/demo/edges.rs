//! The live table: a line for each edge, from the control plane's totals, with the gRPC statuses that the callers'
//! sidecars have recorded.
use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
};

use serde::Deserialize;
use tonic::Code;
use weft_control_plane::wire::EdgeItem;

use super::{mesh::Mesh, service::prices};
use crate::output;

/// The most of an access log that is read at once, in bytes: what is behind that is read the next time.
const PIECE: u64 = 8 << 20;

/// The gRPC statuses of every edge, by the access logs of the callers' sidecars.
pub(super) struct Statuses {
    logs: Vec<Log>,
    /// By who called and which service port was chosen: how often each status was told.
    counts: BTreeMap<(String, String), BTreeMap<i32, u64>>,
}

/// The access log of one workload's sidecar, read as it grows.
struct Log {
    workload: String,
    path: PathBuf,
    /// How much of it is read.
    read: u64,
}

/// What is read of a record.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Call {
    direction: String,
    destination: String,
    grpc_status: i32,
}

impl Statuses {
    /// Of a mesh, from now on.
    pub(super) fn of(mesh: &Mesh) -> Self {
        let logs = mesh.instances.iter().map(|instance| {
            let path = instance.access_log.clone();
            let read = path.metadata().map_or(0, |metadata| metadata.len());
            Log { workload: format!("shop/{}", instance.plan.instance), path, read }
        });
        Self { logs: logs.collect(), counts: BTreeMap::new() }
    }

    /// Reads what has been recorded since.
    pub(super) fn read(&mut self) {
        for log in &mut self.logs {
            // A log that cannot be read now is read the next time.
            for call in log.calls().unwrap_or_default() {
                let counts = self.counts.entry((log.workload.clone(), call.destination)).or_default();
                *counts.entry(call.grpc_status).or_default() += 1;
            }
        }
    }

    /// What an edge's calls have come to, where they were gRPC.
    fn on(&self, edge: &EdgeItem) -> Option<String> {
        let counts = self.counts.get(&(edge.workload.clone(), edge.destination.clone()))?;
        let told = counts.iter().map(|(code, count)| format!("{} {count}", prices::name(Code::from_i32(*code))));
        Some(format!("grpc {}", told.collect::<Vec<_>>().join("  ")))
    }
}

impl Log {
    /// The gRPC calls of the lines that have come since.
    fn calls(&mut self) -> std::io::Result<Vec<Call>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut text = Vec::new();
        file.take(PIECE).read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.read += whole as u64;
        let lines = text.split(|byte| *byte == b'\n');
        // Records of anything else have no such field.
        let calls = lines.filter_map(|line| serde_json::from_slice::<Call>(line).ok());
        Ok(calls.filter(|call| call.direction == "outbound").collect())
    }
}

/// One line for each edge, with each destination's share of its service.
pub(super) fn table(edges: &[EdgeItem], statuses: &Statuses) -> String {
    let mut totals = BTreeMap::new();
    for edge in edges {
        *totals.entry((&edge.workload, &edge.service)).or_insert(0) += edge.requests_total;
    }
    let rows = edges.iter().map(|edge| {
        let total = totals.get(&(&edge.workload, &edge.service)).copied().unwrap_or_default().max(1);
        [
            edge.workload.clone(),
            short(&edge.service).to_owned(),
            short(&edge.destination).to_owned(),
            edge.requests_total.to_string(),
            format!("{:.1} %", edge.requests_total as f64 * 100.0 / total as f64),
            edge.failures_total.to_string(),
            statuses.on(edge).unwrap_or_else(|| status(edge)),
            format!("{:.2} ms", edge.latency_us_p50 as f64 / 1000.0),
            format!("{:.2} ms", edge.latency_us_p99 as f64 / 1000.0),
        ]
    });
    output::table(["FROM", "TO", "CHOSEN", "REQUESTS", "SHARE", "FAILED", "STATUS", "P50", "P99"], rows)
}

fn status(edge: &EdgeItem) -> String {
    if edge.tcp {
        return "tcp".to_owned();
    }
    let count = |class: usize| edge.status_classes_total.get(class).copied().unwrap_or_default();
    format!("2xx {}  4xx {}  5xx {}", count(2), count(4), count(5))
}

/// `local/shop/reviews:80` as `shop/reviews:80`.
fn short(service: &str) -> &str {
    service.split_once('/').map_or(service, |(_, rest)| rest)
}
