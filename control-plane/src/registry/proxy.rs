//! What is known of one registered workload and its proxy.
use std::collections::BTreeMap;

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use weft_ir::MeshNames;
use weft_model::{Object, SpiffeId, Stored, Workload, WorkloadRef};
use weft_proto::weft::{AdminAnswer, BoundListeners, ControlMessage, Receipt, Receipts};

use super::{Registered, edges::Edges, stored};
use crate::wire::{RejectedResource, WorkloadItem, WorkloadState};

/// How many receipts are kept of one proxy; further resources are not listed.
const MAX_RECEIPTS: usize = 20_000;
/// How many bound listeners are kept of one proxy.
const MAX_LISTENERS: usize = 1_000;
/// The longest text that is kept of a proxy's own words, in bytes.
const MAX_TEXT: usize = 1_024;

#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) registered: Registered,
    /// The stream that holds the registration.
    pub(super) stream: u64,
    /// Towards the proxy, while its stream is open.
    pub(super) sender: Option<mpsc::Sender<ControlMessage>>,
    pub(super) expires: Instant,
    /// Since when the lease has run out.
    pub(super) expired: Option<Instant>,
    /// Why its application takes no connections; `None` where it does.
    pub(super) unhealthy: Option<String>,
    pub(super) draining: bool,
    pub(super) edges: Edges,
    pub(super) queries: BTreeMap<u64, oneshot::Sender<AdminAnswer>>,
    /// The last word on each resource: empty where it is in effect, else why it was rejected.
    receipts: BTreeMap<(String, String), String>,
    revision: String,
    listeners: BTreeMap<String, String>,
}

impl Proxy {
    pub(super) fn new(
        registered: Registered,
        stream: u64,
        sender: mpsc::Sender<ControlMessage>,
        expires: Instant,
    ) -> Self {
        Self {
            unhealthy: registered.unhealthy.clone(),
            registered,
            stream,
            sender: Some(sender),
            expires,
            expired: None,
            draining: false,
            edges: Edges::default(),
            queries: BTreeMap::new(),
            receipts: BTreeMap::new(),
            revision: String::new(),
            listeners: BTreeMap::new(),
        }
    }

    /// The same process again: on the same stream, or on a new one after the former broke. What it said stands.
    pub(super) fn again(
        self,
        registered: Registered,
        stream: u64,
        sender: mpsc::Sender<ControlMessage>,
        expires: Instant,
    ) -> Self {
        let unhealthy = registered.unhealthy.clone();
        Self { registered, unhealthy, stream, sender: Some(sender), expires, expired: None, ..self }
    }

    /// Whether another registration may take this one's place.
    pub(super) fn admits(&self, other: &Registered, own_stream: bool) -> Result<(), String> {
        let Registered { reference, account, .. } = &self.registered;
        if own_stream || self.expired.is_some() {
            return Ok(());
        }
        if other.account != *account {
            return Err(format!(
                "workload: {reference} is registered by account {account}; names are unique in a namespace"
            ));
        }
        if self.sender.is_some() && !self.is_same_start(other) {
            let address = self.registered.address();
            return Err(format!(
                "workload: another instance is registered as {reference} ({address}); give each its own name"
            ));
        }
        Ok(())
    }

    pub(super) fn is_same_start(&self, other: &Registered) -> bool {
        self.registered.start == other.start
    }

    /// What peers are told of it: whether it is healthy, and whether it is draining.
    pub(super) fn condition(&self) -> (bool, bool) {
        (self.unhealthy.is_none(), self.draining)
    }

    /// The Workload object that this registration makes; none for a workload that only calls.
    pub(super) fn stored(&self) -> Option<Stored> {
        let workload = self.registered.workload.as_ref()?;
        let (healthy, draining) = self.condition();
        let workload = Workload { draining, unhealthy: !healthy, ..workload.clone() };
        Some(stored(Object::Workload(workload.into())))
    }

    pub(super) fn disconnect(&mut self) {
        self.sender = None;
        // Who waits for an answer is told at once that there will be none.
        self.queries.clear();
    }

    pub(super) fn receipts(&mut self, receipts: Receipts) {
        let Receipts { receipts, revision } = receipts;
        if !revision.is_empty() {
            self.revision = shorten(revision);
        }
        for Receipt { type_url, name, version, rejected } in receipts {
            let key = (shorten(type_url), shorten(name));
            if version.is_empty() && rejected.is_empty() {
                self.receipts.remove(&key);
            } else if self.receipts.len() < MAX_RECEIPTS || self.receipts.contains_key(&key) {
                self.receipts.insert(key, shorten(rejected));
            }
        }
    }

    pub(super) fn bound(&mut self, bound: BoundListeners) {
        let listeners = bound.listeners.into_iter().take(MAX_LISTENERS);
        self.listeners = listeners.map(|it| (shorten(it.name), shorten(it.address))).collect();
    }

    pub(super) fn answered(&mut self, answer: AdminAnswer) {
        if let Some(waiting) = self.queries.remove(&answer.id) {
            // Who asked may have gone.
            let _gone = waiting.send(answer);
        }
    }

    pub(super) fn item(&self, reference: &WorkloadRef, names: &MeshNames) -> WorkloadItem {
        let Registered { account, labels, version, last_good_ms, .. } = &self.registered;
        let state = match (self.expired, self.condition()) {
            (Some(_), _) => WorkloadState::Expired,
            (None, (_, true)) => WorkloadState::Draining,
            (None, (false, false)) => WorkloadState::Unhealthy,
            (None, (true, false)) => WorkloadState::Registered,
        };
        let rejected = self.receipts.iter().filter(|(_, reason)| !reason.is_empty());
        WorkloadItem {
            namespace: reference.namespace.to_string(),
            name: reference.name.to_string(),
            account: account.to_string(),
            identity: SpiffeId::of_account(&names.trust_domain, &reference.namespace, account).to_string(),
            address: self.registered.address(),
            state,
            unhealthy: self.unhealthy.clone(),
            labels: labels.clone(),
            version: version.clone(),
            connected: self.sender.is_some(),
            revision: self.revision.clone(),
            in_sync: false,
            resources_sent: 0,
            resent: 0,
            rejected: rejected
                .map(|((type_url, name), reason)| RejectedResource {
                    type_url: type_url.clone(),
                    name: name.clone(),
                    reason: reason.clone(),
                })
                .collect(),
            listeners: self.listeners.clone(),
            last_good_ms: *last_good_ms,
        }
    }
}

/// A peer's text, cut to what is kept of one.
pub(crate) fn shorten(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
