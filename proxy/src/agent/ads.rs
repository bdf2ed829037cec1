//! The ADS stream: subscriptions out, snapshots in. The machines are `weft-xds`'s client and `weft-decide`'s assembler;
//! here are only the socket, the clock and the order of things.
use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, watch},
    time::{self, Instant},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};
use weft_decide::{Assembler, Backoff, Output, Scope, Update};
use weft_ir::{Listener, Resource, ResourceKey, ResourceType};
use weft_model::Revision;
use weft_proto::envoy::{
    config::core::v3::{Locality as WireLocality, Node},
    service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse,
        aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    },
};
use weft_xds::{Client, Rejection, Version, added_to};

use super::{
    bootstrap::{Bootstrap, ControlPlaneAddress},
    channel::{self, CurrentConfig, MAX_MESSAGE_BYTES, status_text},
    effects::{Effect, Effects},
    guard::{Kept, Word},
    last_good::LastGood,
    receipts,
    shared::Shared,
};
use crate::dataplane::Event;

/// The first wait before a new stream is at most this long, and the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long opening a stream may take, connecting included.
const OPEN_TIMEOUT: Duration = Duration::from_secs(8);
/// Requests that wait for the connection to take them; the client machine holds back the rest.
const REQUESTS: usize = 4;
/// The wildcard's name.
const WILDCARD: &str = "*";

/// Keeps an ADS stream for as long as the task lives, and answers the data plane's events also without one.
pub(super) async fn run(
    shared: Arc<Shared>,
    last_good: LastGood,
    mut events: mpsc::Receiver<Event>,
    mut current: watch::Receiver<Option<CurrentConfig>>,
) {
    let mut driver = Driver::new(shared, last_good);
    let config = driver.hearing(&mut events, identity(&mut current)).await;
    let link = Link { address: driver.shared.bootstrap.ads.clone(), config };
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        // A stream is opened by the certificate in force: only a later one asks for another stream.
        current.mark_unchanged();
        let ended = match driver.hearing(&mut events, link.open()).await {
            Ok(stream) => {
                let opened = Instant::now();
                let ended = driver.session(&mut events, stream, &link, &current).await;
                // A stream that ends as soon as it is open is a failure too.
                if opened.elapsed() >= BACKOFF.1 {
                    backoff.succeeded();
                }
                ended
            }
            Err(status) => status_text(&status),
        };
        driver.lost(&ended);
        let wait = backoff.failed(rand::random()).min(driver.shared.longest_wait());
        driver.hearing(&mut events, time::sleep(wait)).await;
    }
}

/// Waits for the first certificate.
async fn identity(current: &mut watch::Receiver<Option<CurrentConfig>>) -> CurrentConfig {
    loop {
        let config = current.borrow_and_update().clone();
        match config {
            Some(config) => return config,
            // Without its sender there will be no certificate; what is held goes on being served.
            None if current.changed().await.is_err() => return std::future::pending().await,
            None => {}
        }
    }
}

/// Both directions of an open stream, on a connection of its own.
struct Stream {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    /// The connection lives as long as the stream.
    _channel: Channel,
}

/// How streams are opened.
#[derive(Clone)]
struct Link {
    address: ControlPlaneAddress,
    config: CurrentConfig,
}

impl Link {
    /// Opens a stream on a new connection, so that the certificate in force is the one that is shown.
    async fn open(&self) -> Result<Stream, Status> {
        let channel = channel::channel(&self.address, Arc::clone(&self.config));
        let channel =
            channel.map_err(|error| Status::invalid_argument(format!("the address cannot be used: {error}")))?;
        let (requests, outgoing) = mpsc::channel(REQUESTS);
        let mut client =
            AggregatedDiscoveryServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let opening = client.delta_aggregated_resources(ReceiverStream::new(outgoing));
        let opened = time::timeout(OPEN_TIMEOUT, opening).await;
        let opened = opened.map_err(|_| Status::deadline_exceeded("the stream was not opened in time"))??;
        Ok(Stream { requests, responses: opened.into_inner(), _channel: channel })
    }

    /// Waits until the certificate is renewed, then opens a stream by it, however often that takes. The receiver that
    /// comes back waits for the next renewal.
    async fn renewed(
        self,
        mut current: watch::Receiver<Option<CurrentConfig>>,
    ) -> (Stream, watch::Receiver<Option<CurrentConfig>>) {
        if current.changed().await.is_err() {
            return std::future::pending().await;
        }
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            current.mark_unchanged();
            match self.open().await {
                Ok(stream) => return (stream, current),
                Err(status) => {
                    tracing::warn!(why = status_text(&status), "no ADS stream by the renewed certificate yet");
                    time::sleep(backoff.failed(rand::random())).await;
                }
            }
        }
    }
}

/// The client side's machines, and what is received but not in effect yet.
struct Driver {
    shared: Arc<Shared>,
    client: Client,
    assembler: Assembler,
    received: BTreeMap<ResourceKey, (Version, Resource)>,
    /// What is true once every worker decides from what was published.
    effects: Effects,
    /// What is kept of resources that a control plane of another history sends with less.
    kept: Kept,
    words: watch::Receiver<Option<Word>>,
    /// Why there is no stream, as it was last logged: an outage is one line, not one for each attempt.
    logged: String,
}

impl Driver {
    fn new(shared: Arc<Shared>, last_good: LastGood) -> Self {
        let bootstrap = &shared.bootstrap;
        let (namespace, names) = (bootstrap.namespace.clone(), bootstrap.mesh.clone());
        let scope = Scope { namespace, names, locality: bootstrap.locality.or_labels(&bootstrap.labels) };
        let services = bootstrap.tcp.iter().map(|listener| listener.service.clone().into());
        let (assembler, first) = Assembler::new(scope, services);
        let client = Client::new(node(bootstrap));
        let (received, effects, kept) = (BTreeMap::new(), Effects::default(), Kept::default());
        let (words, logged) = (shared.guard.words(), String::new());
        let mut driver = Self { shared, client, assembler, received, effects, kept, words, logged };
        driver.step(first);
        driver.restore(last_good);
        driver
    }

    /// Takes what was in effect before a restart: it is served at once, and the control plane is told its versions.
    fn restore(&mut self, LastGood { revision, resources }: LastGood) {
        // What this machine cannot serve now is not in effect, whatever was.
        let resources: Vec<_> =
            resources.into_iter().filter(|(_, resource)| self.shared.ports.refusal(resource).is_none()).collect();
        if resources.is_empty() {
            return;
        }
        let count = resources.len();
        for (version, resource) in &resources {
            self.received.insert(resource.key(), (version.clone(), resource.clone()));
        }
        let versions: Vec<_> = resources.iter().map(|(version, resource)| (resource.key(), version.clone())).collect();
        if let Ok(revision) = revision.parse() {
            self.client.restore_revision(&revision);
        }
        let output = self.assembler.restore(resources.into_iter().map(|(_, resource)| resource), &revision);
        self.shared.config().set_revision((!revision.is_empty()).then(|| revision.into()));
        self.step(output);
        for (key, version) in versions {
            self.client.restore(&key, version);
        }
        let revision = self.shared.config().revision().cloned();
        tracing::info!(count, ?revision, "the last good configuration is in effect");
        self.say_awaited();
    }

    /// Awaits something while the data plane's events are answered.
    async fn hearing<F: Future>(&mut self, events: &mut mpsc::Receiver<Event>, future: F) -> F::Output {
        let mut future = pin!(future);
        let shared = Arc::clone(&self.shared);
        loop {
            tokio::select! {
                output = &mut future => return output,
                Some(event) = events.recv() => self.heard(event),
                () = shared.progress.moved() => self.settle(),
                () = shared.ports.asking.notified() => self.ask_again(),
                Ok(()) = self.words.changed() => self.hear(),
            }
        }
    }

    fn heard(&mut self, event: Event) {
        match event {
            Event::Need(destination) => {
                let output = self.assembler.ask(destination);
                self.step(output);
            }
            Event::Drained => self.shared.lifecycle.set_drained(),
        }
    }

    /// From a stream's opening to the end of the last of its successors; why that ended. After a renewal the next
    /// stream is opened before the former one is left: the former's certificate may end at any time from then on.
    async fn session(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
        mut stream: Stream,
        link: &Link,
        current: &watch::Receiver<Option<CurrentConfig>>,
    ) -> String {
        self.connected();
        let mut next = None;
        let shared = Arc::clone(&self.shared);
        let mut renewed = pin!(link.clone().renewed(current.clone()));
        loop {
            next = next.or_else(|| self.client.request());
            let successor = tokio::select! {
                permit = stream.requests.reserve(), if next.is_some() => match (permit, next.take()) {
                    (Ok(permit), Some(request)) => {
                        permit.send(request);
                        None
                    }
                    _ => return "the connection was closed".to_owned(),
                },
                response = stream.responses.message() => match response {
                    Ok(Some(response)) => {
                        self.take(response);
                        None
                    }
                    Ok(None) => return "the control plane closed the stream".to_owned(),
                    Err(status) => return status_text(&status),
                },
                Some(event) = events.recv() => {
                    self.heard(event);
                    None
                }
                () = shared.progress.moved() => {
                    self.settle();
                    None
                }
                () = shared.ports.asking.notified() => {
                    self.ask_again();
                    None
                }
                Ok(()) = self.words.changed() => {
                    self.hear();
                    None
                }
                successor = &mut renewed => Some(successor),
            };
            if let Some((successor, current)) = successor {
                // What was not acknowledged on the former stream is told on this one by its version.
                (stream, next) = (successor, None);
                self.client.disconnected();
                self.connected();
                renewed.set(link.clone().renewed(current));
            }
        }
    }

    fn connected(&mut self) {
        self.client.connected();
        self.shared.source.connected();
        self.shared.streams.ads.store(true, Ordering::Relaxed);
        self.shared.streams.ads_opened.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!("weft_ads_connected").set(1);
        metrics::counter!("weft_ads_streams_total").increment(1);
        self.logged.clear();
        tracing::info!(control_plane = %self.shared.bootstrap.ads, "the ADS stream is open");
        self.say_awaited();
    }

    fn lost(&mut self, why: &str) {
        self.client.disconnected();
        self.shared.source.lost(SystemTime::now());
        self.shared.streams.ads.store(false, Ordering::Relaxed);
        metrics::gauge!("weft_ads_connected").set(0);
        if self.logged != why {
            why.clone_into(&mut self.logged);
            tracing::warn!(control_plane = %self.shared.bootstrap.ads, why, "there is no ADS stream");
        }
        if self.awaited().is_some() {
            let text = format!("the first configuration from {}: {why}", self.shared.bootstrap.ads);
            self.shared.lifecycle.await_configuration(Some(text));
        }
    }

    /// Takes one response: what is good comes into effect, in its own time.
    fn take(&mut self, response: DeltaDiscoveryResponse) {
        let ports = &self.shared.ports;
        let update = self.client.checked_response(response, |resource| {
            weft_decide::check(resource).map_err(|unusable| unusable.to_string())?;
            ports.refusal(resource).map_or(Ok(()), Err)
        });
        let rejected = update.rejected.into_iter().map(reject).collect::<Vec<_>>();
        self.effects.add(self.shared.progress.published(), rejected);
        let mut updates = Vec::with_capacity(update.added.len() + update.partial.len() + update.removed.len());
        for resource in update.partial {
            updates.extend(self.add(&resource));
        }
        for (resource, version) in update.added {
            updates.push(self.receive(version, resource));
        }
        for key in update.removed {
            self.received.remove(&key);
            updates.push(Update::Removed(key));
        }
        self.assemble(updates);
    }

    /// Brings updates into effect, each in its own time, and tells what there is to tell.
    fn assemble(&mut self, updates: Vec<Update>) {
        let revision = self.client.elsewhere().or_else(|| self.client.revision());
        let output = self.assembler.apply(updates, &revision.map(ToString::to_string).unwrap_or_default());
        let revision = self.client.revision().map(|revision| revision.to_string().into());
        self.shared.config().set_revision(revision);
        self.step(output);
        self.shared.guard.tell(self.client.revision(), self.client.elsewhere(), self.client.withheld(), &self.kept);
        self.count();
        self.say_awaited();
    }

    /// Takes a resource as it was sent, or, from a control plane of another history, with what it lacks.
    fn receive(&mut self, version: Version, resource: Resource) -> Update {
        let key = resource.key();
        let kept = match self.client.elsewhere() {
            Some(_) => self.kept.keep(self.held(&key), &version, &resource),
            None => {
                self.kept.forget(&key);
                None
            }
        };
        let (version, resource) = match kept {
            Some(kept) => {
                self.client.amended(&key);
                (Version::amended(), kept)
            }
            None => (version, resource),
        };
        self.received.insert(key, (version, resource.clone()));
        Update::Present(resource)
    }

    /// Takes what only adds to what is held; `None` where it adds nothing.
    fn add(&mut self, resource: &Resource) -> Option<Update> {
        let key = resource.key();
        let whole = added_to(self.held(&key).as_ref(), resource)?;
        self.client.amended(&key);
        self.received.insert(key, (Version::amended(), whole.clone()));
        Some(Update::Present(whole))
    }

    /// What is held under a key: received, on its way to the workers, or in effect.
    fn held(&self, key: &ResourceKey) -> Option<Resource> {
        let received = self.received.get(key).map(|(_, resource)| resource);
        let held = received.or_else(|| self.effects.waiting(key)).cloned();
        held.or_else(|| self.shared.config().held(key).cloned())
    }

    /// Takes the control plane's word on what is kept against it.
    fn hear(&mut self) {
        let word = self.words.borrow_and_update().clone();
        let adopted = match word {
            Some(Word::Confirmed(revision)) => Some(revision),
            // Said again with the next heartbeat, where it was too early.
            Some(Word::NothingLost(revision, named)) => {
                (self.kept.is_empty() && self.client.settle(&revision, named)).then_some(revision)
            }
            None => None,
        };
        if let Some(revision) = adopted {
            self.confirm(&revision);
        }
    }

    /// The control plane's history is taken for this proxy's own: what was kept against it goes.
    fn confirm(&mut self, revision: &Revision) {
        tracing::info!(%revision, "nothing is kept any more against the control plane's history");
        let mut updates = Vec::new();
        for key in self.client.confirm(revision) {
            self.received.remove(&key);
            updates.push(Update::Removed(key));
        }
        for (key, version, resource) in self.kept.end() {
            self.client.mended(&key, version.clone());
            updates.push(self.receive(version, resource));
        }
        self.assemble(updates);
        // The disk and the control plane hear of the revision that is now held to.
        self.shared.config_changed.notify_one();
        self.shared.receipts.add([]);
    }

    /// Carries out what the assembler says: the snapshot first; that it is in effect is said when every worker has it.
    fn step(&mut self, output: Output) {
        let Output { subscribe, unsubscribe, snapshot, applied, rejected } = output;
        if let Some(snapshot) = snapshot {
            self.shared.with_dataplane(|dataplane| dataplane.publish(snapshot));
        }
        for key in subscribe {
            if &*key.name == WILDCARD {
                self.client.subscribe_all(key.resource_type);
            } else {
                self.client.subscribe(&key);
            }
        }
        let mut effects = Vec::with_capacity(applied.len() + unsubscribe.len() + rejected.len());
        for applied in applied {
            effects.push(match self.received.remove(&applied.key) {
                Some((version, resource)) if applied.present => Effect::Put(version, resource),
                _ => Effect::Remove(applied.key),
            });
        }
        for key in unsubscribe {
            self.client.unsubscribe(&key);
            self.received.remove(&key);
            self.kept.forget(&key);
            effects.push(Effect::Forget(key));
        }
        for weft_decide::Rejected { key, reason } in rejected {
            let version = self.received.remove(&key).map(|(version, _)| version);
            effects.push(reject(Rejection { key, version, reason: reason.to_string() }));
        }
        self.effects.add(self.shared.progress.published(), effects);
        self.settle();
    }

    /// Takes down what every worker decides from by now, and has it told.
    fn settle(&mut self) {
        let due = self.effects.due(self.shared.progress.in_effect());
        if due.is_empty() {
            return;
        }
        let mut told = Vec::with_capacity(due.len());
        {
            let mut config = self.shared.config();
            for effect in due {
                match effect {
                    Effect::Put(version, resource) => {
                        told.push(receipts::in_effect(&resource.key(), &version));
                        config.put(version, resource);
                    }
                    Effect::Remove(key) => {
                        told.push(receipts::removed(&key));
                        config.remove(&key);
                    }
                    Effect::Forget(key) => {
                        told.push(receipts::removed(&key));
                        config.forget(&key);
                    }
                    Effect::Reject(rejection) => {
                        told.push(receipts::rejected(&rejection));
                        config.reject(rejection);
                    }
                }
            }
        }
        self.shared.config_changed.notify_one();
        self.shared.receipts.add(told);
        self.say_awaited();
    }

    /// A port that was taken is free: its listener is asked for anew, as if it had never come.
    fn ask_again(&mut self) {
        for key in self.shared.ports.freed() {
            if self.client.unsubscribe(&key) {
                self.client.subscribe(&key);
            }
        }
    }

    fn count(&self) {
        let (counts, streams) = (self.client.counts(), &self.shared.streams);
        streams.resources.store(counts.resources, Ordering::Relaxed);
        streams.unchanged.store(counts.unchanged, Ordering::Relaxed);
        streams.rejected.store(counts.rejected, Ordering::Relaxed);
        metrics::counter!("weft_ads_resources_total").absolute(counts.resources);
        metrics::counter!("weft_ads_resources_unchanged_total").absolute(counts.unchanged);
        metrics::counter!("weft_ads_resources_rejected_total").absolute(counts.rejected);
    }

    fn say_awaited(&self) {
        let text = self.awaited().map(|what| format!("{what} from {}", self.shared.bootstrap.ads));
        if text.is_none() {
            self.shared.application.set_configured();
        }
        self.shared.lifecycle.await_configuration(text);
    }

    /// What of the first configuration is not in effect yet.
    fn awaited(&self) -> Option<String> {
        let (bootstrap, config) = (&self.shared.bootstrap, self.shared.config());
        let listener = |name: String| ResourceKey::new(ResourceType::Listener, name);
        let mut needed = Vec::new();
        if bootstrap.outbound.is_some() {
            needed.push(listener(Listener::OUTBOUND.to_owned()));
        }
        if bootstrap.inbound.is_some() {
            needed.push(listener(Listener::inbound_name(&bootstrap.workload_ref())));
        }
        if let Some(key) = needed.into_iter().find(|key| !config.holds(key)) {
            return Some(format!("the {key}"));
        }
        if let Some(key) = config.awaited_routes() {
            return Some(format!("the {key}"));
        }
        // What was kept was in effect: that a name does not exist is not kept, and needs no second answer.
        if self.shared.source.text().is_some() {
            return None;
        }
        let mut tcp =
            bootstrap.tcp.iter().map(|local| listener(Listener::outbound_name(&local.service.clone().into())));
        tcp.find(|key| !config.is_answered(key) && !config.is_rejected(key))
            .map(|key| format!("an answer for the {key}"))
    }
}

/// A rejection, which is logged at once.
fn reject(rejection: Rejection) -> Effect {
    tracing::warn!(resource = %rejection.key, reason = rejection.reason, "a resource was rejected");
    Effect::Reject(rejection)
}

fn node(bootstrap: &Bootstrap) -> Node {
    let text = |name: &Option<weft_model::LocalityName>| name.as_ref().map(ToString::to_string).unwrap_or_default();
    let locality = &bootstrap.locality;
    Node {
        id: bootstrap.workload_ref().to_string(),
        cluster: bootstrap.mesh.cluster.to_string(),
        locality: Some(WireLocality {
            region: text(&locality.region),
            zone: text(&locality.zone),
            sub_zone: text(&locality.sub_zone),
        }),
        user_agent_name: "weft-proxy".to_owned(),
        ..Node::default()
    }
}
