//! Who calls whom, as callers' proxies sum it up each second.
use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;
use weft_model::WorkloadRef;
use weft_proto::weft::{EdgeSummaries, EdgeSummary};

use super::proxy::shorten;
use crate::wire::EdgeItem;

/// How many edges are kept of one caller; further ones are not listed.
const MAX_EDGES: usize = 1_000;

/// Status classes: 0 for no answer, 1 to 5 for 1xx to 5xx.
const CLASSES: usize = 6;

/// The edges of one caller.
#[derive(Debug, Default)]
pub(super) struct Edges(BTreeMap<Key, Edge>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    service: String,
    destination: String,
    tcp: bool,
}

#[derive(Debug)]
struct Edge {
    latest: EdgeSummary,
    at: Instant,
    totals: Totals,
}

#[derive(Debug, Default)]
struct Totals {
    requests: u64,
    failures: u64,
    bytes_sent: u64,
    bytes_received: u64,
    classes: [u64; CLASSES],
}

impl Edges {
    pub(super) fn take(&mut self, summaries: EdgeSummaries, now: Instant) {
        for summary in summaries.edges.into_iter().take(MAX_EDGES) {
            let key = Key {
                service: shorten(summary.service.clone()),
                destination: shorten(summary.destination.clone()),
                tcp: summary.tcp,
            };
            if self.0.len() < MAX_EDGES || self.0.contains_key(&key) {
                let new = || Edge { latest: EdgeSummary::default(), at: now, totals: Totals::default() };
                self.0.entry(key).or_insert_with(new).take(summary, now);
            }
        }
    }

    pub(super) fn items(&self, caller: &WorkloadRef, now: Instant) -> Vec<EdgeItem> {
        let workload = caller.to_string();
        let item = |(Key { service, destination, tcp }, Edge { latest, at, totals }): (&Key, &Edge)| EdgeItem {
            workload: workload.clone(),
            service: service.clone(),
            destination: destination.clone(),
            requests: latest.requests,
            failures: latest.failures,
            latency_us_p50: latest.latency_us_p50,
            latency_us_p99: latest.latency_us_p99,
            status_classes: latest.status_classes.clone(),
            tcp: *tcp,
            age_ms: millis(now.saturating_duration_since(*at)),
            requests_total: totals.requests,
            failures_total: totals.failures,
            bytes_sent_total: totals.bytes_sent,
            bytes_received_total: totals.bytes_received,
            status_classes_total: totals.classes.to_vec(),
        };
        self.0.iter().map(item).collect()
    }
}

impl Edge {
    fn take(&mut self, mut summary: EdgeSummary, now: Instant) {
        summary.status_classes.truncate(CLASSES);
        let totals = &mut self.totals;
        totals.requests = totals.requests.saturating_add(summary.requests);
        totals.failures = totals.failures.saturating_add(summary.failures);
        totals.bytes_sent = totals.bytes_sent.saturating_add(summary.bytes_sent);
        totals.bytes_received = totals.bytes_received.saturating_add(summary.bytes_received);
        for (total, count) in totals.classes.iter_mut().zip(&summary.status_classes) {
            *total = total.saturating_add(*count);
        }
        self.latest = summary;
        self.at = now;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
