//! The Agent stream: registration as a lease, the application's health, draining, receipts, edge summaries, answers to relayed admin queries.
use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::StatusCode;
use tokio::{
    sync::{mpsc, watch},
    time::{self, Instant},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};
use weft_decide::Backoff;
use weft_proto::weft::{
    AdminAnswer, AdminQuery, AgentMessage, BoundListener, BoundListeners, ControlMessage, Draining, EdgeSummaries,
    EdgeSummary as WireEdge, Heartbeat, HeldRemovals, NothingLost, Receipt, Receipts, Registered, RemovalsConfirmed,
    agent_message::Message, agent_service_client::AgentServiceClient, control_message::Message as Control,
};

use super::{
    admin::Admin,
    channel::{self, CurrentConfig, MAX_MESSAGE_BYTES, status_text},
    guard::Word,
    health::{self, Verdict},
    http::{Answer, Handler},
    lifecycle::{Stop, asked_to_stop},
    receipts, registration,
    shared::Shared,
};
use crate::dataplane::EdgeSummary;

/// The first wait before a new stream is at most this long, and the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long the answer to a registration may take, connecting included.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(8);
/// How long receipts are gathered before they are sent.
const GATHER: Duration = Duration::from_millis(20);
/// How often edges are summed up.
const EDGES: Duration = Duration::from_secs(1);
/// How often the control plane is told that this proxy lives: three times before it takes it for silent, and often
/// enough that it notices within 2 s.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long one message may wait for the control plane to read.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// The leases that are taken from a control plane.
const LEASES: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(300));
/// Messages that wait for the connection to take them.
const MESSAGES: usize = 16;
/// Receipts in one message: far below the largest message even with the longest names.
const RECEIPTS: usize = 4096;
/// The largest answer to an admin query: a gRPC message minus room for its frame.
const MAX_ANSWER_BYTES: usize = MAX_MESSAGE_BYTES - (64 << 10);

/// Why an Agent stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{}", status_text(.0))]
    Status(Box<Status>),
    #[error("the control plane refused the registration: {0}")]
    Refused(String),
    #[error("the control plane closed the stream")]
    Closed,
    #[error("the control plane did not answer the registration in time")]
    Silent,
    #[error("the control plane does not read")]
    Stuck,
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// Keeps an Agent stream for as long as the task lives. `current` tells of renewed certificates.
pub(super) async fn run(
    shared: Arc<Shared>,
    config: CurrentConfig,
    mut current: watch::Receiver<Option<CurrentConfig>>,
) {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    let mut logged = String::new();
    loop {
        let opened = Instant::now();
        let Err(ended) = sessions(&shared, &config, &mut current).await;
        // A stream that ends as soon as it is open is a failure too.
        let was_open = shared.streams.agent.swap(false, Ordering::Relaxed);
        if was_open && opened.elapsed() >= BACKOFF.1 {
            backoff.succeeded();
        }
        metrics::gauge!("weft_agent_stream_connected").set(0);
        if let Ended::Refused(reason) = &ended {
            shared.lifecycle.note_registration(Some(reason.clone()));
        }
        // An outage is one line, not one for each attempt.
        let text = ended.to_string();
        if was_open || text != logged {
            tracing::warn!(why = text, "there is no Agent stream");
            logged = text;
        }
        time::sleep(backoff.failed(rand::random()).min(shared.longest_wait())).await;
    }
}

/// From a stream's opening to the end of the last of its successors. After a renewal the next stream takes over the
/// registration before the former one is left: the lease never lapses.
async fn sessions(
    shared: &Arc<Shared>,
    config: &CurrentConfig,
    current: &mut watch::Receiver<Option<CurrentConfig>>,
) -> Result<Infallible, Ended> {
    // A stream is opened by the certificate in force: only a later one asks for another stream.
    current.mark_unchanged();
    let mut registered = register(shared, config).await?;
    loop {
        let (mut session, lease) = registered;
        shared.streams.agent.store(true, Ordering::Relaxed);
        shared.lifecycle.note_registration(None);
        metrics::gauge!("weft_agent_stream_connected").set(1);
        tracing::info!(lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX), "the workload is registered");
        session.introduce().await?;
        registered = tokio::select! {
            // The former stream is ended by the control plane once the next one has its registration.
            biased;
            next = renewed(shared, config, current) => next,
            ended = session.keep(lease) => return ended,
        };
    }
}

/// Waits until the certificate is renewed, then registers by it, however often that takes.
async fn renewed(
    shared: &Arc<Shared>,
    config: &CurrentConfig,
    current: &mut watch::Receiver<Option<CurrentConfig>>,
) -> (Session, Duration) {
    if current.changed().await.is_err() {
        return std::future::pending().await;
    }
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        current.mark_unchanged();
        match register(shared, config).await {
            Ok(registered) => return registered,
            Err(ended) => {
                tracing::warn!(why = %ended, "no Agent stream by the renewed certificate yet");
                time::sleep(backoff.failed(rand::random())).await;
            }
        }
    }
}

/// Registers on a new connection, so that the certificate in force is the one that is shown.
async fn register(shared: &Arc<Shared>, config: &CurrentConfig) -> Result<(Session, Duration), Ended> {
    let channel = channel::channel(&shared.bootstrap.ads, Arc::clone(config));
    let channel = channel.map_err(|error| Status::invalid_argument(format!("the address cannot be used: {error}")))?;
    let opening = time::timeout(REGISTER_TIMEOUT, attach(shared, channel));
    opening.await.map_err(|_| Ended::Silent)?
}

/// Opens the stream with the registration; returns once the lease is granted.
async fn attach(shared: &Arc<Shared>, channel: Channel) -> Result<(Session, Duration), Ended> {
    let (messages, outgoing) = mpsc::channel(MESSAGES);
    let health = shared.application.changes();
    let registration = registration::registration(shared).await;
    // The channel is empty and its reader is held here: there is room.
    let _ = messages.try_send(AgentMessage { message: Some(Message::Registration(registration)) });
    let mut client = AgentServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let mut incoming = client.attach(ReceiverStream::new(outgoing)).await?.into_inner();
    loop {
        match incoming.message().await?.ok_or(Ended::Closed)?.message {
            Some(Control::Registered(Registered { lease_ms })) => {
                let lease = Duration::from_millis(lease_ms).clamp(LEASES.0, LEASES.1);
                let (shared, told) = (Arc::clone(shared), String::new());
                let session =
                    Session { shared, messages, incoming, health, told, says_draining: false, _channel: channel };
                return Ok((session, lease));
            }
            Some(Control::Refused(refused)) => return Err(Ended::Refused(refused.reason)),
            // Before the registration, or a message of a later version: not answered.
            Some(Control::Query(_) | Control::Confirmed(_) | Control::NothingLost(_)) | None => {}
        }
    }
}

/// An open stream with a lease.
struct Session {
    shared: Arc<Shared>,
    messages: mpsc::Sender<AgentMessage>,
    incoming: Streaming<ControlMessage>,
    /// The application's health since it was told with the registration.
    health: watch::Receiver<Verdict>,
    /// The revision that was told last.
    told: String,
    /// Whether it was said that this proxy drains. The control plane then confirms the registration as it stands now.
    says_draining: bool,
    /// The connection lives as long as the stream.
    _channel: Channel,
}

impl Session {
    /// Tells a control plane that may know nothing yet: what is bound, and what is in effect.
    async fn introduce(&mut self) -> Result<(), Ended> {
        self.tell_bound().await?;
        // Everything that waits is part of the whole that is told now.
        self.shared.receipts.take();
        let whole: Vec<_> = {
            let config = self.shared.config();
            let held = config.versions().map(|(key, version)| receipts::in_effect(key, version).1);
            held.chain(config.rejections().map(|rejection| receipts::rejected(rejection).1)).collect()
        };
        self.tell(whole).await
    }

    async fn tell_bound(&mut self) -> Result<(), Ended> {
        let bound = self.shared.bound();
        let listeners = bound.listeners().map(|(name, address)| BoundListener { name, address });
        self.send(Message::Bound(BoundListeners { listeners: listeners.collect() })).await
    }

    /// Keeps the lease until the stream ends.
    async fn keep(mut self, lease: Duration) -> Result<Infallible, Ended> {
        let shared = Arc::clone(&self.shared);
        let mut heartbeat = time::interval((lease / 3).min(HEARTBEAT));
        let mut edges = time::interval(EDGES);
        heartbeat.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        edges.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut stop = shared.lifecycle.stop();
        let mut guarded = shared.guard.state();
        guarded.mark_changed();
        loop {
            tokio::select! {
                message = self.incoming.message() => self.heard(message?.ok_or(Ended::Closed)?).await?,
                _ = heartbeat.tick() => self.send(Message::Heartbeat(Heartbeat {})).await?,
                _ = edges.tick() => self.tell_edges().await?,
                () = shared.receipts.added() => {
                    time::sleep(GATHER).await;
                    let waiting = shared.receipts.take();
                    self.tell(waiting).await?;
                }
                () = changed(&mut self.health) => {
                    let unhealthy = self.health.borrow_and_update().unhealthy();
                    self.send(Message::Health(health::report(unhealthy))).await?;
                }
                () = shared.ports.telling.notified() => self.tell_bound().await?,
                Ok(()) = guarded.changed() => {
                    let held = guarded.borrow_and_update().clone();
                    self.send(Message::Held(HeldRemovals::clone(&held))).await?;
                }
                () = asked_to_stop(&mut stop, Stop::Draining), if !self.says_draining => {
                    self.says_draining = true;
                    self.send(Message::Draining(Draining {})).await?;
                }
            }
        }
    }

    async fn heard(&mut self, message: ControlMessage) -> Result<(), Ended> {
        match message.message {
            Some(Control::Query(AdminQuery { id, path })) => {
                let answer = answer(&self.shared, &path);
                let body = AdminAnswer { id, status: answer.status.as_u16().into(), body: answer.body };
                self.send(Message::Answer(body)).await
            }
            Some(Control::Refused(refused)) => Err(Ended::Refused(refused.reason)),
            Some(Control::Confirmed(RemovalsConfirmed { revision })) => {
                match revision.parse() {
                    Ok(revision) => self.shared.guard.hear(Word::Confirmed(revision)),
                    Err(error) => tracing::warn!(revision, %error, "removals are confirmed for what is no revision"),
                }
                Ok(())
            }
            Some(Control::Registered(_)) => {
                if self.says_draining {
                    self.shared.lifecycle.set_told();
                }
                Ok(())
            }
            Some(Control::NothingLost(NothingLost { revision, named })) => {
                match revision.parse() {
                    Ok(revision) => self.shared.guard.hear(Word::NothingLost(revision, named)),
                    Err(error) => tracing::warn!(revision, %error, "nothing is said to be lost at what is no revision"),
                }
                Ok(())
            }
            // A message of a later version means nothing here.
            None => Ok(()),
        }
    }

    async fn tell(&mut self, receipts: Vec<Receipt>) -> Result<(), Ended> {
        let revision = self.shared.config().revision().map(ToString::to_string).unwrap_or_default();
        if receipts.is_empty() && revision != self.told {
            self.send(Message::Receipts(Receipts { receipts, revision: revision.clone() })).await?;
        } else {
            for receipts in receipts.chunks(RECEIPTS) {
                let message = Receipts { receipts: receipts.to_vec(), revision: revision.clone() };
                self.send(Message::Receipts(message)).await?;
            }
        }
        self.told = revision;
        Ok(())
    }

    async fn tell_edges(&mut self) -> Result<(), Ended> {
        let edges: Vec<_> = self.shared.collect_edges().iter().map(wire_edge).collect();
        if edges.is_empty() {
            return Ok(());
        }
        self.send(Message::Edges(EdgeSummaries { edges })).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Ended> {
        let message = AgentMessage { message: Some(message) };
        match time::timeout(SEND_TIMEOUT, self.messages.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::Closed),
            Err(_) => Err(Ended::Stuck),
        }
    }
}

/// Waits for another verdict on the application.
async fn changed(health: &mut watch::Receiver<Verdict>) {
    if health.changed().await.is_err() {
        // Its sender outlives every session.
        std::future::pending().await
    }
}

/// The admin interface's answer, as on its own socket.
fn answer(shared: &Arc<Shared>, path: &str) -> Answer {
    let path = path.split('?').next().unwrap_or_default();
    let answer = Admin(Arc::clone(shared)).answer(path);
    if answer.body.len() > MAX_ANSWER_BYTES {
        let text = "the answer is too large to be relayed: ask for a part of it, or ask the proxy's own admin socket";
        return Answer::error(StatusCode::PAYLOAD_TOO_LARGE, text);
    }
    answer
}

fn wire_edge(edge: &EdgeSummary) -> WireEdge {
    let EdgeSummary {
        service,
        destination,
        tcp,
        requests,
        failures,
        latency_us_p50,
        latency_us_p99,
        bytes_sent,
        bytes_received,
        status_classes,
    } = edge;
    WireEdge {
        service: service.to_string(),
        destination: destination.to_string(),
        requests: *requests,
        failures: *failures,
        latency_us_p50: *latency_us_p50,
        latency_us_p99: *latency_us_p99,
        bytes_sent: *bytes_sent,
        bytes_received: *bytes_received,
        tcp: *tcp,
        status_classes: status_classes.to_vec(),
    }
}
