//! The workloads that registered: leases, receipts, edges, admin queries. In memory only: after a restart it is rebuilt
//! from the streams.
mod edges;
mod proxy;
mod receipts;
mod validate;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use tracing::info;
use weft_model::{AccountName, Kind, Namespace, Object, ObjectRef, Owner, Stored, WorkloadRef};
use weft_proto::weft::{
    AdminAnswer, AdminQuery, AgentMessage, ControlMessage, HeldRemovals, NothingLost, RemovalsConfirmed,
    agent_message::Message, control_message,
};
use weft_xds::is_elsewhere;

use crate::{
    effect::{Proxy as Observed, Wanted},
    removals::Removals,
    state::MeshState,
    wire::{EdgeItem, WorkloadItem},
};
use proxy::Proxy;
pub(crate) use proxy::shorten;
pub(crate) use validate::Registered;

/// How long an expired registration is still listed.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);

/// How many workloads whose leases ran out together are named in the log.
const TOLD: usize = 20;

/// How many workloads may be registered.
const MAX_WORKLOADS: usize = 100_000;

/// How many admin queries one proxy may be asked at a time.
const MAX_QUERIES: usize = 16;

/// How long a proxy that lives may say nothing: three of its heartbeats. One that stops is noticed within 2 s.
const SILENT: Duration = Duration::from_millis(1_500);

/// How long a proxy may take to answer an admin query.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

/// The owner of the Workload objects that registrations make.
pub(crate) fn owner() -> Owner {
    Owner("agent".into())
}

/// Who holds a stream: what its certificate proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) namespace: Namespace,
    pub(crate) account: AccountName,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.account)
    }
}

/// All registrations.
#[derive(Debug)]
pub(crate) struct Registry {
    state: Arc<MeshState>,
    removals: Arc<Removals>,
    lease: Duration,
    proxies: Mutex<BTreeMap<WorkloadRef, Proxy>>,
    streams: AtomicU64,
    queries: AtomicU64,
}

/// One Agent stream's hold on its registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub(crate) workload: WorkloadRef,
    stream: u64,
}

/// Why a query to a proxy has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("no workload {0} is registered")]
    Unknown(WorkloadRef),
    #[error("the proxy of {0} is not connected")]
    NotConnected(WorkloadRef),
    #[error("the proxy of {0} is busy with other queries")]
    Busy(WorkloadRef),
    #[error("the proxy of {0} did not answer within 2 s")]
    TimedOut(WorkloadRef),
}

impl Registry {
    pub(crate) fn new(state: Arc<MeshState>, removals: Arc<Removals>, lease: Duration) -> Self {
        let (streams, queries) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { state, removals, lease, proxies: Mutex::new(BTreeMap::new()), streams, queries }
    }

    /// Takes a registration from a stream that `sender` answers. A stream that registered before passes its
    /// attachment: the registration is then changed.
    ///
    /// # Errors
    /// Why it is refused, for the proxy's log.
    pub(crate) fn register(
        &self,
        registered: Registered,
        former: Option<&Attachment>,
        sender: mpsc::Sender<ControlMessage>,
    ) -> Result<Attachment, String> {
        let reference = registered.reference.clone();
        if former.is_some_and(|former| former.workload != reference) {
            return Err(format!(
                "workload: the stream has registered {} already",
                former.map_or(&reference, |it| &it.workload)
            ));
        }
        let object = object_ref(&reference);
        let written = self.state.look(|compiler| {
            compiler.stored(&object).map(|stored| stored.owner.clone()).filter(|other| *other != owner())
        });
        if let Some(other) = written {
            return Err(format!("workload: {object} is owned by {other}; delete it, or register under another name"));
        }
        let mut proxies = self.proxies();
        if let Some(present) = proxies.get(&reference) {
            let own = former.is_some_and(|former| present.stream == former.stream);
            present.admits(&registered, own)?;
        } else if proxies.len() >= MAX_WORKLOADS {
            return Err(format!("workload: {MAX_WORKLOADS} workloads are registered, which is the most"));
        }
        let stream = former.map_or_else(|| self.streams.fetch_add(1, Ordering::Relaxed), |former| former.stream);
        let expires = Instant::now() + self.lease;
        let proxy = match proxies.remove(&reference) {
            Some(present) if present.stream == stream || present.is_same_start(&registered) => {
                present.again(registered, stream, sender, expires)
            }
            Some(_) | None => Proxy::new(registered, stream, sender, expires),
        };
        self.publish(&object, proxy.stored());
        proxies.insert(reference.clone(), proxy);
        self.touch(&reference);
        self.state.beat();
        Ok(Attachment { workload: reference, stream })
    }

    /// Takes a message of a registered stream; each renews the lease. `false` where another stream has taken the
    /// registration over, or it has expired and must be made again.
    pub(crate) fn message(&self, attachment: &Attachment, message: AgentMessage) -> bool {
        let mut proxies = self.proxies();
        let Some(proxy) = proxies.get_mut(&attachment.workload) else { return false };
        if proxy.stream != attachment.stream || proxy.expired.is_some() {
            return false;
        }
        let now = Instant::now();
        let silent = proxy.silent(now).is_some();
        (proxy.expires, proxy.heard) = (now + self.lease, now);
        let condition = proxy.condition();
        if silent || matches!(message.message, Some(Message::Receipts(_))) {
            self.state.beat();
        }
        match message.message {
            Some(Message::Health(report)) => proxy.unhealthy = validate::unhealthy(report),
            Some(Message::Draining(_)) => proxy.draining = true,
            Some(Message::Receipts(receipts)) => {
                let (touched, seen) = (self.state.touched(), proxy.seen());
                proxy.receipts(receipts, now, |key| touched.said(&attachment.workload, key));
                if proxy.seen() != seen {
                    self.touch(&attachment.workload);
                }
                let _told = self.release(&attachment.workload, proxy);
            }
            Some(Message::Held(held)) => {
                proxy.held(held);
                self.touch(&attachment.workload);
                self.state.beat();
            }
            Some(Message::Edges(summaries)) => proxy.edges.take(summaries, now),
            Some(Message::Bound(bound)) => proxy.bound(bound),
            Some(Message::Answer(answer)) => proxy.answered(answer),
            // A registration is the stream's business; an unknown message of a later version renews the lease alone.
            Some(Message::Registration(_)) | None => {}
            // Also for a confirmation that could not be told before.
            Some(Message::Heartbeat(_)) => _ = self.release(&attachment.workload, proxy),
        }
        if proxy.condition() != condition {
            self.publish(&object_ref(&attachment.workload), proxy.stored());
        }
        true
    }

    /// The stream has ended: the registration stands until its lease runs out.
    pub(crate) fn detach(&self, attachment: &Attachment) {
        if let Some(proxy) = self.proxies().get_mut(&attachment.workload).filter(|it| it.stream == attachment.stream) {
            proxy.disconnect();
            self.touch(&attachment.workload);
            self.state.beat();
        }
    }

    /// Ends the leases that have run out, every tenth of a lease. Never ends.
    pub(crate) async fn expire(self: Arc<Self>) {
        let mut tick = tokio::time::interval((self.lease / 10).max(Duration::from_millis(10)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = tick.tick().await;
            let mut proxies = self.proxies();
            let over: Vec<_> = proxies
                .iter_mut()
                .filter(|(_, proxy)| proxy.expired.is_none() && proxy.expires <= now)
                .map(|(reference, proxy)| {
                    proxy.expired = Some(now);
                    proxy.disconnect();
                    self.touch(reference);
                    object_ref(reference)
                })
                .collect();
            if !over.is_empty() {
                let named: Vec<_> = over.iter().take(TOLD).map(ToString::to_string).collect();
                self.state.beat();
                info!(count = over.len(), workloads = named.join(", "), "leases ran out");
                self.state.apply_soft(over.into_iter().map(|object| (object, None)));
            }
            proxies.retain(|reference, proxy| {
                let remembered = proxy.expired.is_none_or(|expired| now < expired + REMEMBERED);
                if !remembered {
                    self.touch(reference);
                }
                remembered
            });
        }
    }

    /// Asks a proxy's admin interface.
    pub(crate) async fn query(&self, workload: &WorkloadRef, path: &str) -> Result<AdminAnswer, QueryError> {
        let (answer, answered) = oneshot::channel();
        let id = self.queries.fetch_add(1, Ordering::Relaxed);
        let query = control_message::Message::Query(AdminQuery { id, path: path.to_owned() });
        {
            let mut proxies = self.proxies();
            let proxy = proxies.get_mut(workload).ok_or_else(|| QueryError::Unknown(workload.clone()))?;
            let sender = proxy.sender.clone().ok_or_else(|| QueryError::NotConnected(workload.clone()))?;
            proxy.queries.retain(|_, waiting| !waiting.is_closed());
            if proxy.queries.len() >= MAX_QUERIES {
                return Err(QueryError::Busy(workload.clone()));
            }
            let sent = sender.try_send(ControlMessage { message: Some(query) });
            sent.map_err(|_| QueryError::Busy(workload.clone()))?;
            proxy.queries.insert(id, answer);
        }
        match timeout(QUERY_TIMEOUT, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(QueryError::NotConnected(workload.clone())),
            Err(_) => Err(QueryError::TimedOut(workload.clone())),
        }
    }

    /// Tells every proxy that waits for it that removals are confirmed; how many were told.
    pub(crate) fn release_all(&self) -> usize {
        self.proxies().iter().filter(|(workload, proxy)| self.release(workload, proxy)).count()
    }

    /// Tells a proxy that still holds to another history that removals are confirmed, if they are, or that there are none
    /// for it; whether it was told that they are confirmed.
    fn release(&self, workload: &WorkloadRef, proxy: &Proxy) -> bool {
        let (own, seen) = (self.state.revision(), proxy.seen());
        let Some(seen) = seen.filter(|seen| is_elsewhere(seen, &own)) else { return false };
        let (revision, confirmed) = (own.to_string(), self.removals.cover(&seen, &own));
        let message = if confirmed {
            control_message::Message::Confirmed(RemovalsConfirmed { revision })
        } else {
            let named = self.removals.named_without_loss(workload).filter(|_| proxy.held.resources.is_empty());
            let Some(named) = named else { return false };
            control_message::Message::NothingLost(NothingLost { revision, named })
        };
        let message = ControlMessage { message: Some(message) };
        // Without room now, it is told with its next heartbeat.
        proxy.sender.as_ref().is_some_and(|sender| sender.try_send(message).is_ok()) && confirmed
    }

    /// The highest revision that a proxy says to have seen; empty where it has not said any.
    pub(crate) fn revision(&self, workload: &WorkloadRef) -> String {
        let seen = self.proxies().get(workload).and_then(Proxy::seen);
        seen.map(|seen| seen.to_string()).unwrap_or_default()
    }

    /// What proxies have said that they keep by themselves, ordered by workload.
    pub(crate) fn held(&self) -> Vec<(WorkloadRef, HeldRemovals)> {
        let proxies = self.proxies();
        let holding = proxies.iter().filter(|(_, proxy)| proxy.expired.is_none() && !proxy.held.resources.is_empty());
        holding.map(|(reference, proxy)| (reference.clone(), proxy.held.clone())).collect()
    }

    /// The account under which a workload is registered.
    pub(crate) fn account(&self, workload: &WorkloadRef) -> Option<AccountName> {
        let proxies = self.proxies();
        proxies.get(workload).filter(|proxy| proxy.expired.is_none()).map(|proxy| proxy.registered.account.clone())
    }

    /// Those of these proxies that are connected, by their Agent stream or as `streams` says, with what they hold of what
    /// is wanted.
    pub(crate) fn observe(
        &self,
        wanted: &BTreeMap<WorkloadRef, Wanted>,
        now: Instant,
        streams: impl Fn(&WorkloadRef) -> bool,
    ) -> BTreeMap<WorkloadRef, Observed> {
        let proxies = self.proxies();
        let there = wanted.iter().filter_map(|(workload, wanted)| Some((workload, proxies.get(workload)?, wanted)));
        let connected = there.filter(|(workload, proxy, _)| proxy.sender.is_some() || streams(workload));
        let observed = connected.map(|(workload, proxy, wanted)| {
            // Connected by one stream or the other, also when its lease has run out.
            let (silent, held) = (proxy.quiet(now), proxy.told.among(wanted, now));
            (workload.clone(), Observed { silent, held, ..Observed::default() })
        });
        observed.collect()
    }

    /// Notes the proxies that stand otherwise without having said a word: they have fallen silent, or have not told again
    /// in time what they had told on a former stream.
    pub(crate) fn look_at_the_clock(&self, now: Instant) {
        for (workload, proxy) in self.proxies().iter_mut() {
            let silent = proxy.quiet(now).is_some();
            if proxy.told.end_retelling(now) | (std::mem::replace(&mut proxy.was_silent, silent) != silent) {
                self.touch(workload);
            }
        }
    }

    /// Everything of this proxy is to be judged again.
    fn touch(&self, workload: &WorkloadRef) {
        self.state.touched().proxy(workload);
    }

    /// The workloads whose proxies say nothing though their streams are open.
    pub(crate) fn silent(&self) -> Vec<WorkloadRef> {
        let now = Instant::now();
        let silent = self.proxies();
        let silent = silent.iter().filter(|(_, proxy)| proxy.silent(now).is_some());
        silent.map(|(workload, _)| workload.clone()).collect()
    }

    /// Every registration, with what is known of it here; who lists adds what the ADS streams know.
    pub(crate) fn list(&self) -> Vec<(WorkloadRef, WorkloadItem)> {
        let names = self.state.look(|compiler| compiler.names().clone());
        self.proxies().iter().map(|(reference, proxy)| (reference.clone(), proxy.item(reference, &names))).collect()
    }

    /// The latest summaries of every edge.
    pub(crate) fn edges(&self) -> Vec<EdgeItem> {
        let now = Instant::now();
        self.proxies().iter().flat_map(|(reference, proxy)| proxy.edges.items(reference, now)).collect()
    }

    /// Makes the compiler's object what the registration says. Called with the registry's lock held, so that the order
    /// of registrations is the order of objects.
    fn publish(&self, object: &ObjectRef, stored: Option<Stored>) {
        self.state.apply_soft([(object.clone(), stored.map(Arc::new))]);
    }

    /// What is kept is whole between statements, so a panic elsewhere does not spoil it.
    fn proxies(&self) -> MutexGuard<'_, BTreeMap<WorkloadRef, Proxy>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn object_ref(WorkloadRef { namespace, name }: &WorkloadRef) -> ObjectRef {
    ObjectRef { kind: Kind::Workload, namespace: namespace.clone(), name: name.clone() }
}

/// The object of a registration, as the compiler takes it. It has no number of the store's.
fn stored(object: Object) -> Stored {
    Stored { object, owner: owner(), created: 0, modified: 0, source: None }
}
