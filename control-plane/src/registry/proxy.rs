//! What is known of one registered workload and its proxy.
use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use weft_ir::{MeshNames, ResourceKey};
use weft_model::{Object, Revision, SpiffeId, Stored, Workload, WorkloadRef};
use weft_proto::weft::{AdminAnswer, BoundListeners, ControlMessage, HeldRemovals, HeldResource, Receipts};

use super::{Registered, SILENT, edges::Edges, receipts::Told, stored};
use crate::wire::{WorkloadItem, WorkloadState};

/// How many bound listeners are kept of one proxy.
const MAX_LISTENERS: usize = 1_000;
/// How many resources are kept that one proxy says to hold by itself.
const MAX_HELD: usize = 1_000;
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
    /// When its last message came.
    pub(super) heard: Instant,
    /// Since when the lease has run out.
    pub(super) expired: Option<Instant>,
    /// Why its application takes no connections; `None` where it does.
    pub(super) unhealthy: Option<String>,
    pub(super) draining: bool,
    pub(super) edges: Edges,
    pub(super) queries: BTreeMap<u64, oneshot::Sender<AdminAnswer>>,
    pub(super) told: Told,
    /// Whether it had said nothing for too long when it was last looked at.
    pub(super) was_silent: bool,
    revision: String,
    listeners: BTreeMap<String, String>,
    /// What it keeps by itself of another history.
    pub(super) held: HeldRemovals,
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
            heard: Instant::now(),
            expired: None,
            draining: false,
            edges: Edges::default(),
            queries: BTreeMap::new(),
            told: Told::default(),
            was_silent: false,
            revision: String::new(),
            listeners: BTreeMap::new(),
            held: HeldRemovals::default(),
        }
    }

    /// The same process again: on the same stream, or on a new one after the former broke. What it said stands.
    pub(super) fn again(
        mut self,
        registered: Registered,
        stream: u64,
        sender: mpsc::Sender<ControlMessage>,
        expires: Instant,
    ) -> Self {
        let (unhealthy, heard) = (registered.unhealthy.clone(), Instant::now());
        if self.stream != stream {
            self.told.again(heard);
        }
        Self { registered, unhealthy, stream, sender: Some(sender), expires, heard, expired: None, ..self }
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

    /// For how long it has said nothing though its stream is open, where that is longer than it should.
    pub(super) fn silent(&self, now: Instant) -> Option<Duration> {
        self.quiet(now).filter(|_| self.sender.is_some())
    }

    /// For how long it has said nothing, where that is longer than one that is connected should.
    pub(super) fn quiet(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.heard)).filter(|quiet| *quiet >= SILENT)
    }

    /// Takes receipts, and tells what each is of.
    pub(super) fn receipts(&mut self, receipts: Receipts, now: Instant, told: impl Fn(&ResourceKey)) {
        let Receipts { receipts, revision } = receipts;
        if !revision.is_empty() {
            self.revision = shorten(revision);
        }
        for receipt in receipts {
            if let Some(key) = self.told.take(receipt, now) {
                told(&key);
            }
        }
    }

    pub(super) fn bound(&mut self, bound: BoundListeners) {
        let listeners = bound.listeners.into_iter().take(MAX_LISTENERS);
        self.listeners = listeners.map(|it| (shorten(it.name), shorten(it.address))).collect();
    }

    /// The highest revision that it has seen, as it last said.
    pub(super) fn seen(&self) -> Option<Revision> {
        self.revision.parse().ok()
    }

    pub(super) fn held(&mut self, held: HeldRemovals) {
        let HeldRemovals { revision, elsewhere, resources } = held;
        let cut = |HeldResource { type_url, name, part }| HeldResource {
            type_url: shorten(type_url),
            name: shorten(name),
            part: shorten(part),
        };
        let resources = resources.into_iter().take(MAX_HELD).map(cut).collect();
        self.held = HeldRemovals { revision: shorten(revision), elsewhere: shorten(elsewhere), resources };
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
        let silent = self.silent(Instant::now());
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
            silent_ms: silent.map(|silent| u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)),
            revision: self.revision.clone(),
            in_effect: false,
            resources: 0,
            resources_in_effect: 0,
            acknowledged: false,
            resources_sent: 0,
            resent: 0,
            holds_to: (!self.held.elsewhere.is_empty()).then(|| self.held.revision.clone()),
            removals_held: self.held.resources.len() as u64,
            removal: None,
            rejected: self.told.rejected(),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// With a heartbeat each half second, one that stops is named before 2 s are over, and one that lost two is not.
    #[test]
    fn a_proxy_is_silent_from_a_second_and_a_half_on_and_no_sooner() {
        let registered = Registered {
            reference: WorkloadRef { namespace: "shop".parse().unwrap(), name: "web-0".parse().unwrap() },
            account: "web".parse().unwrap(),
            labels: weft_model::Labels::default(),
            version: String::new(),
            start: "abcde".to_owned(),
            unhealthy: None,
            last_good_ms: None,
            workload: None,
        };
        let (sender, _messages) = mpsc::channel(1);
        let mut proxy = Proxy::new(registered, 0, sender, Instant::now() + Duration::from_secs(600));
        let after = |millis| proxy.heard + Duration::from_millis(millis);
        assert_eq!((proxy.quiet(after(1_499)), proxy.silent(after(1_499))), (None, None));
        let silent = Some(Duration::from_millis(1_500));
        assert_eq!((proxy.quiet(after(1_500)), proxy.silent(after(1_500))), (silent, silent));
        // Whose stream is over is not silent but gone.
        let late = after(1_500);
        proxy.disconnect();
        assert_eq!((proxy.quiet(late), proxy.silent(late)), (silent, None));
    }
}
