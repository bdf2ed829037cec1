//! Delta ADS: one task a stream, which drives the session machine.
use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::Stream;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};
use weft_ir::{ResourceKey, ResourceType};
use weft_model::{Name, WorkloadRef};
use weft_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    aggregated_discovery_service_server::AggregatedDiscoveryService,
};
use weft_xds::{Lookup, Server, ServerCounts, named, reader_features, reader_revision};

use super::{
    grpc::Core,
    lookup::ClientView,
    peer::Peer,
    streams::{AdsStreams, Listed},
};
use crate::{
    metrics::{OpenStream, StreamKind},
    registry::Account,
    wakes::Wake,
};

/// How long a client may take for its first message, which says who it is.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);

/// How long a control plane that is behind a client waits to catch up before it pushes.
const CATCH_UP: Duration = Duration::from_secs(2);

/// Responses that wait for the connection; the session folds changes together meanwhile.
const QUEUE: usize = 2;

/// The ADS service.
#[derive(Clone, Debug)]
pub(crate) struct Ads {
    pub(crate) core: Core,
    pub(crate) streams: Arc<AdsStreams>,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented(
            "this control plane speaks delta xDS: call DeltaAggregatedResources (in an Envoy bootstrap: api_type: DELTA_GRPC)",
        ))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let peer = Peer::of(&request)?;
        let (_, account) = peer.identity(&self.core.names)?;
        let (responses, stream) = mpsc::channel(QUEUE);
        let (this, stop) = (self.clone(), self.core.stop.clone());
        tokio::spawn(async move {
            if let Err(status) = serve(this, account, request.into_inner(), &responses, stop).await {
                info!(address = %peer.address, code = %status.code(), reason = status.message(), "an ADS stream was ended");
                // The client may be gone.
                let _gone = responses.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// A stream whose client has said who it is.
struct Session {
    server: Server,
    client: ClientView,
    /// What the API is told, as long as the stream is open.
    listed: Listed,
    _open: OpenStream,
    core: Core,
    counted: ServerCounts,
    /// Tells of changes that concern the client.
    wake: Arc<Wake>,
    /// With how many named resources the client was found to lose none.
    lossless: Option<u64>,
    /// Nothing is pushed before then, or before this control plane has caught up.
    held_until: Option<Instant>,
}

async fn serve(
    ads: Ads,
    account: Account,
    mut requests: Streaming<DeltaDiscoveryRequest>,
    responses: &mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Status> {
    let first = tokio::time::timeout(FIRST_MESSAGE, requests.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("the stream's first message did not come"))?;
    let Some(first) = first? else { return Ok(()) };
    let mut revisions = ads.core.state.revisions();
    let mut confirmations = ads.core.removals.subscribe();
    let mut session = Session::open(&ads, account, &first)?;
    let wake = session.wake.clone();
    session.request(first)?;
    loop {
        let full = session.respond(responses);
        let settles = (!session.client.settled).then_some(ads.core.settled_at);
        tokio::select! {
            request = requests.message() => match request? {
                Some(request) => session.request(request)?,
                None => return Ok(()),
            },
            () = wake.changed() => session.changed(),
            permit = responses.reserve(), if full => match permit {
                Ok(permit) => drop(permit),
                Err(_) => return Ok(()),
            },
            Ok(()) = confirmations.changed() => session.confirm(),
            () = sleep_until(settles.unwrap_or(ads.core.settled_at)), if settles.is_some() => session.settle(),
            () = sleep_until(session.held_until.unwrap_or(ads.core.settled_at)), if session.held_until.is_some() => {
                session.held_until = None;
            }
            changed = revisions.changed(), if session.held_until.is_some() => {
                if changed.is_err() || !session.client.is_ahead_of(&revisions.borrow_and_update()) {
                    session.held_until = None;
                }
            }
            _ = stop.wait_for(|stopped| *stopped) => {
                return Err(Status::unavailable("the control plane stops"));
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.core.removals.note(self.listed.key(), None);
        self.core.state.beat();
    }
}

impl Session {
    fn open(ads: &Ads, account: Account, first: &DeltaDiscoveryRequest) -> Result<Self, Status> {
        let node = first.node.as_ref();
        let node = node.ok_or_else(|| Status::invalid_argument("the first request has no node"))?;
        let workload = workload_of(&node.id, &account)?;
        if let Some(other) = ads.core.registry.account(&workload).filter(|other| *other != account.account) {
            let text = format!("{workload} is registered by account {other}, and this client is {}", account.account);
            return Err(Status::permission_denied(text));
        }
        let core = ads.core.clone();
        let settled = Instant::now() >= core.settled_at;
        let seen = reader_revision(node);
        let mut client =
            ClientView::new(core.state.clone(), &workload, account, reader_features(node), seen.clone(), settled);
        let own = core.state.revision();
        if seen.as_ref().is_some_and(|seen| core.removals.release(seen, &own)) {
            client.confirm();
        }
        let held_until = client.is_ahead_of(&own).then(|| Instant::now() + CATCH_UP);
        if let Some(seen) = &seen
            && client.guard().is_elsewhere()
        {
            warn!(%workload, %seen, %own, "a proxy has seen another store, or a later state of this one: nothing is taken from it");
        }
        debug!(%workload, "an ADS stream was opened");
        let wake = Arc::new(core.state.wakes().open());
        let listed = ads.streams.list(workload, reader_features(node), wake.behind());
        listed.guard(client.guard());
        Ok(Self {
            server: Server::new(core.state.view()),
            client,
            listed,
            _open: core.metrics.stream(StreamKind::Ads),
            counted: ServerCounts::default(),
            wake,
            lossless: None,
            held_until,
            core,
        })
    }

    fn request(&mut self, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        let named = named(&request, &self.client);
        // Before anything is looked up: what changes afterwards is told.
        self.wake.listen(&named);
        if self.client.claim(&request) {
            self.listed.guard(self.client.guard());
        }
        let heard =
            self.server.request(request).map_err(|violation| Status::invalid_argument(violation.to_string()))?;
        for rejection in heard.rejected {
            let version = rejection.version.map(tracing::field::display);
            warn!(key = %rejection.key, version, reason = rejection.reason, "a resource was rejected");
        }
        if !named.is_empty() {
            self.wake.heard(&named, (&self.server, &self.client), |key| self.client.keeps(key));
            self.note_subscriptions(named);
        }
        Ok(())
    }

    /// Tells the API which resources the client wants, as of a request that named these.
    fn note_subscriptions(&self, named: BTreeSet<ResourceKey>) {
        let wanted = |key: &ResourceKey| {
            let covered = || self.client.wildcard(key.resource_type).contains(&key.name);
            self.server.subscribes(key) || (self.server.subscribes_to_all(key.resource_type) && covered())
        };
        if self.listed.subscribe(named.into_iter().map(|key| (key.clone(), wanted(&key)))) {
            self.core.state.beat();
        }
    }

    /// Looks at what has changed of that which concerns the client.
    fn changed(&mut self) {
        // Before the changes are taken up: until they are answered, nobody takes them for acknowledged.
        self.listed.state.acknowledged.store(false, Ordering::Release);
        let changed = self.wake.take();
        if self.client.changed(&changed) {
            self.listed.guard(self.client.guard());
        }
        self.server.changed(&changed);
    }

    /// A person has confirmed the removals: what was held back is told.
    fn confirm(&mut self) {
        let own = self.core.state.revision();
        if self.client.guard().seen().is_some_and(|seen| self.core.removals.cover(seen, &own)) {
            self.client.confirm();
            self.listed.guard(self.client.guard());
            ResourceType::ALL.into_iter().for_each(|resource_type| self.server.recheck(resource_type));
        }
    }

    /// Every live workload has had the time to register: what is missing is gone.
    fn settle(&mut self) {
        self.client.settle();
        self.server.recheck(ResourceType::Endpoints);
    }

    /// Sends what there is to send; whether the connection must take something before there is room for more.
    fn respond(&mut self, responses: &mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>) -> bool {
        let mut full = false;
        while self.held_until.is_none() {
            let Ok(permit) = responses.try_reserve() else {
                full = true;
                break;
            };
            match self.server.respond(&self.client) {
                Some(response) => permit.send(Ok(response)),
                None => break,
            }
        }
        let counts = self.server.counts();
        let (sent, resent) = (counts.resources - self.counted.resources, counts.resent - self.counted.resent);
        self.core.metrics.resources(sent, resent);
        self.counted = counts;
        let state = &self.listed.state;
        state.sent.store(counts.resources, Ordering::Relaxed);
        state.resent.store(counts.resent, Ordering::Relaxed);
        // While a response waits for room, the session may have more to say than it knows of.
        let acknowledged = !full && self.held_until.is_none() && self.server.has_answered_all();
        state.acknowledged.store(acknowledged, Ordering::Release);
        // What is not acknowledged yet may make a difference to what the client keeps.
        let lossless = (acknowledged && self.client.is_lossless()).then_some(counts.claimed);
        if std::mem::replace(&mut self.lossless, lossless) != lossless {
            self.core.removals.note(self.listed.key(), lossless);
        }
        full
    }
}

/// The workload that a node id names: `<namespace>/<workload>` in the namespace that the certificate proves.
fn workload_of(id: &str, account: &Account) -> Result<WorkloadRef, Status> {
    let parts = id.split_once('/');
    let parsed = parts.and_then(|(namespace, name)| Some((namespace, name.parse::<Name>().ok()?)));
    let (namespace, name) = parsed.ok_or_else(|| {
        Status::invalid_argument("the node's id must be <namespace>/<workload>, for example shop/web-1")
    })?;
    if namespace != account.namespace.as_str() {
        let text = format!(
            "the node's id names the namespace {namespace:?}, and the certificate proves {}",
            account.namespace
        );
        return Err(Status::permission_denied(text));
    }
    Ok(WorkloadRef { namespace: account.namespace.clone(), name })
}
