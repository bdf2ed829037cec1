//! A small control plane for one proxy: `weft-xds`'s server machine and `weft-certs`' authority behind real sockets.
use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use futures::{Stream, StreamExt};
use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{broadcast, mpsc, oneshot},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::server::Connected};
use weft_certs::{
    Authority, CaPin,
    join::{JoinFile, Token, TokenRecord, redeem_for},
    recovery::{self, Challenges, DEFAULT_WINDOW, Offer},
    request_key,
    tls::{ClientAuth, peer_identity, server_config},
};
use weft_ir::{Dialect, Resource, ResourceKey, ResourceType, View};
use weft_model::{SpiffeId, TrustDomain};
use weft_proto::{
    envoy::service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        aggregated_discovery_service_server::{AggregatedDiscoveryService, AggregatedDiscoveryServiceServer},
    },
    weft::{
        AdminQuery, AgentMessage, ChallengeRequest, ChallengeResponse, ControlMessage, RecoverRequest, Registered,
        SignRequest, SignResponse, TrustBundle,
        agent_message::Message,
        agent_service_server::{AgentService, AgentServiceServer},
        certificate_service_server::{CertificateService, CertificateServiceServer},
        control_message,
    },
};
use weft_xds::{Encoded, Found, Lookup, Server, ServerCounts, encode, reader_revision};

/// Longer than anything here takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);
const VIEW: View = View { dialect: Dialect::Weft };

/// What outlives a control plane that is killed: its store and its authority.
pub(crate) struct Mesh {
    pub(crate) authority: Authority,
    challenges: Challenges,
    state: Mutex<State>,
    changed: Condvar,
    /// Tells open streams to look again, and Agent streams to ask.
    news: broadcast::Sender<News>,
}

#[derive(Clone)]
enum News {
    Resources,
    Ask(AdminQuery),
    Confirm,
}

#[derive(Default)]
struct State {
    resources: BTreeMap<ResourceKey, Arc<Encoded>>,
    tokens: Vec<TokenRecord>,
    lifetime: Duration,
    /// Of each ADS stream, in the order of their opening.
    streams: Vec<ServerCounts>,
    /// Everything that came on Agent streams.
    messages: Vec<Message>,
    /// When each of them came.
    heard: Vec<Instant>,
    lease_ms: u64,
    /// Whether it is not said that the draining of a proxy is known.
    is_mute: bool,
    signed: usize,
    /// How many of these were given for a proof by an expired certificate.
    recovered: usize,
    /// Why no token can be honoured, however good it is.
    unmet: Option<String>,
    /// How many requests by a token were refused for one of these reasons, or because it is not known.
    refused_tokens: usize,
    /// How many certificates are still to be signed without the answer's reaching the proxy.
    lost_answers: usize,
    /// The highest revision that the client of each ADS stream said that it has seen.
    revisions: Vec<Option<String>>,
    /// The certificate that the client of each ADS stream showed.
    leaves: Vec<Option<CaPin>>,
    /// Agent streams that hold a registration, and the fewest since the first.
    agents: usize,
    fewest_agents: Option<usize>,
}

impl Mesh {
    pub(crate) fn new(lifetime: Duration) -> Arc<Self> {
        let authority = Authority::create(TrustDomain::default_domain(), SystemTime::now()).unwrap();
        let state = Mutex::new(State { lifetime, lease_ms: 600, ..State::default() });
        let challenges = Challenges::new().unwrap();
        Arc::new(Self { authority, challenges, state, changed: Condvar::new(), news: broadcast::Sender::new(16) })
    }

    pub(crate) fn put(&self, resource: &Resource) {
        let encoded = Arc::new(encode(resource, &VIEW));
        self.update(|state| drop(state.resources.insert(encoded.key.clone(), encoded)));
        let _ = self.news.send(News::Resources);
    }

    /// A join file for `shop/web` with a token that is good for one use.
    pub(crate) fn join_file(&self, address: SocketAddr) -> JoinFile {
        let token = Token::generate().unwrap();
        let id: SpiffeId = "spiffe://weft.local/ns/shop/sa/web".parse().unwrap();
        let record = TokenRecord::new(&token, id, Duration::from_secs(60), SystemTime::now()).unwrap();
        self.update(|state| state.tokens.push(record));
        JoinFile {
            control_plane: address.to_string(),
            trust_domain: TrustDomain::default_domain(),
            mesh_domain: "cluster.local".parse().unwrap(),
            cluster: "local".parse().unwrap(),
            ca_sha256: self.authority.pin(),
            token: Some(token),
            namespace: "shop".parse().unwrap(),
            account: "web".parse().unwrap(),
        }
    }

    /// Loses the answers to the next requests for certificates, once they are signed.
    pub(crate) fn lose_answers(&self, count: usize) {
        self.update(|state| state.lost_answers = count);
    }

    /// From now on no token can be honoured, for this reason.
    pub(crate) fn honour_no_token(&self, why: &str) {
        self.update(|state| state.unmet = Some(why.to_owned()));
    }

    pub(crate) fn ask(&self, id: u64, path: &str) {
        let _ = self.news.send(News::Ask(AdminQuery { id, path: path.to_owned() }));
    }

    /// Grants leases of that length from now on.
    pub(crate) fn grant(&self, lease: Duration) {
        self.update(|state| state.lease_ms = u64::try_from(lease.as_millis()).unwrap());
    }

    /// Does not say from now on that it knows of a proxy's draining.
    pub(crate) fn keep_mute(&self) {
        self.update(|state| state.is_mute = true);
    }

    /// Says to all that their registrations stand as they are.
    pub(crate) fn confirm(&self) {
        let _ = self.news.send(News::Confirm);
    }

    /// Blocks until something is so.
    pub(crate) fn until<T>(&self, what: &str, mut seen: impl FnMut(&Seen<'_>) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.lock();
        loop {
            let State { streams, messages, heard, revisions, leaves, .. } = &*state;
            let seen_now = Seen {
                streams,
                messages,
                heard,
                signed: state.signed,
                recovered: state.recovered,
                refused_tokens: state.refused_tokens,
                revisions,
                leaves,
                fewest_agents: state.fewest_agents,
            };
            if let Some(seen) = seen(&seen_now) {
                return seen;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: not within {DEADLINE:?}; messages: {messages:#?}");
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// What the control plane has seen.
pub(crate) struct Seen<'a> {
    pub(crate) streams: &'a [ServerCounts],
    pub(crate) messages: &'a [Message],
    /// When each message came.
    pub(crate) heard: &'a [Instant],
    pub(crate) signed: usize,
    pub(crate) recovered: usize,
    pub(crate) refused_tokens: usize,
    pub(crate) revisions: &'a [Option<String>],
    pub(crate) leaves: &'a [Option<CaPin>],
    pub(crate) fewest_agents: Option<usize>,
}

impl Lookup for Mesh {
    fn find(&self, key: &ResourceKey) -> Found {
        self.lock().resources.get(key).map_or(Found::Absent, |encoded| Found::Resource(Arc::clone(encoded)))
    }

    fn wildcard(&self, resource_type: ResourceType) -> Vec<Arc<str>> {
        let state = self.lock();
        let keys = state.resources.keys().filter(|key| key.resource_type == resource_type);
        keys.filter(|key| &*key.name == "outbound" || key.name.starts_with("inbound/"))
            .map(|key| Arc::clone(&key.name))
            .collect()
    }

    fn revision(&self) -> String {
        "test/all=1".to_owned()
    }
}

/// A loopback address that no other test binds, with a port of the system's choice: a control plane that is away comes
/// back to its port, which nobody may have taken meanwhile.
pub(crate) fn address_of_its_own() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    // 127.128.0.0/9: away from 127.0.0.1, where the system chooses everybody else's ports.
    let address = Ipv4Addr::new(127, high | 0x80, low, NEXT.fetch_add(1, Ordering::Relaxed));
    (address, 0).into()
}

/// One process' life of a control plane. Dropping it is killing it.
pub(crate) struct ControlPlane {
    pub(crate) address: SocketAddr,
    kill: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ControlPlane {
    /// Starts on an address; port 0 for the system's choice.
    pub(crate) fn start(mesh: &Arc<Mesh>, address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let (kill, killed) = oneshot::channel();
        let mesh = Arc::clone(mesh);
        let thread = thread::spawn(move || {
            runtime.spawn(serve(mesh, listener));
            let _ = runtime.block_on(killed);
        });
        Self { address, kill: Some(kill), thread: Some(thread) }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        drop(self.kill.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()) || thread::panicking());
    }
}

async fn serve(mesh: Arc<Mesh>, listener: TcpListener) {
    let now = SystemTime::now();
    let id = SpiffeId::of_control_plane(&TrustDomain::default_domain());
    let svid = mesh.authority.issue(&id, Duration::from_secs(3600), now).unwrap();
    let svid = svid.sending_root(mesh.authority.root());
    let bundles = mesh.authority.bundle().unwrap().into();
    let config = server_config(&svid, &bundles, ClientAuth::Optional, &[b"h2"]).unwrap();
    let (connections, accepted) = mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, connections) = (TlsAcceptor::from(Arc::clone(&config)), connections.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = connections.send(Ok::<_, io::Error>(Connection(stream))).await;
                }
            });
        }
    });
    tonic::transport::Server::builder()
        .add_service(AggregatedDiscoveryServiceServer::new(Services(Arc::clone(&mesh))))
        .add_service(AgentServiceServer::new(Services(Arc::clone(&mesh))))
        .add_service(CertificateServiceServer::new(Services(mesh)))
        .serve_with_incoming(ReceiverStream::new(accepted))
        .await
        .unwrap();
}

struct Connection(TlsStream<TcpStream>);

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        let session = self.0.get_ref().1;
        let leaf = session.peer_certificates().and_then(|chain| chain.first()).map(CaPin::of);
        Peer(peer_identity(session), leaf)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[derive(Clone)]
struct Peer(Option<SpiffeId>, Option<CaPin>);

fn peer<T>(request: &Request<T>) -> Result<SpiffeId, Status> {
    let peer = request.extensions().get::<Peer>().and_then(|peer| peer.0.clone());
    peer.ok_or_else(|| Status::unauthenticated("a certificate is needed"))
}

struct Services(Arc<Mesh>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl CertificateService for Services {
    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let shown = peer(&request);
        let SignRequest { csr, token } = request.into_inner();
        let id = if token.is_empty() { shown? } else { self.redeem(&token, &csr, SystemTime::now())? };
        self.signed(&csr, &id)
    }

    async fn challenge(&self, _: Request<ChallengeRequest>) -> Result<Response<ChallengeResponse>, Status> {
        let challenge = self.0.challenges.issue(SystemTime::now()).unwrap();
        Ok(Response::new(ChallengeResponse { challenge }))
    }

    async fn recover(&self, request: Request<RecoverRequest>) -> Result<Response<SignResponse>, Status> {
        assert!(peer(&request).is_err(), "an expired certificate was shown in a handshake");
        let RecoverRequest { csr, chain, challenge, proof } = request.into_inner();
        let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
        let offer = Offer { challenge: &challenge, csr: &csr, chain: &chain, proof: &proof };
        let bundles = self.0.authority.bundle().unwrap().into();
        let proven = recovery::verify(&self.0.challenges, &bundles, DEFAULT_WINDOW, &offer, SystemTime::now());
        let proven = proven.map_err(|error| Status::failed_precondition(error.to_string()))?;
        self.0.update(|state| state.recovered += 1);
        self.signed(&csr, &proven.identity)
    }
}

impl Services {
    fn signed(&self, csr: &[u8], id: &SpiffeId) -> Result<Response<SignResponse>, Status> {
        let (mesh, now) = (&self.0, SystemTime::now());
        let lifetime = mesh.lock().lifetime;
        let signed = mesh.authority.sign(csr, id, lifetime, now);
        let signed = signed.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let bundle = mesh.authority.bundle().unwrap();
        let mut lost = false;
        mesh.update(|state| {
            state.signed += 1;
            lost = state.lost_answers > 0;
            state.lost_answers = state.lost_answers.saturating_sub(1);
        });
        if lost {
            return Err(Status::unavailable("the connection broke"));
        }
        Ok(Response::new(SignResponse {
            chain: signed.chain.iter().map(|certificate| certificate.to_vec()).collect(),
            bundles: vec![TrustBundle {
                trust_domain: bundle.trust_domain().to_string(),
                roots: bundle.roots().iter().map(|root| root.to_vec()).collect(),
                sequence: bundle.sequence(),
            }],
        }))
    }
}

impl Services {
    fn redeem(&self, token: &str, csr: &[u8], now: SystemTime) -> Result<SpiffeId, Status> {
        let mut state = self.0.lock();
        if let Some(unmet) = state.unmet.clone() {
            state.refused_tokens += 1;
            return Err(Status::failed_precondition(unmet));
        }
        let Some(record) = state.tokens.iter_mut().find(|record| record.hash.matches(token)) else {
            state.refused_tokens += 1;
            return Err(Status::permission_denied("the join token is not known"));
        };
        let key = request_key(csr).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let id = redeem_for(record, token, &key, now).map_err(|error| Status::permission_denied(error.to_string()))?;
        *record = record.clone().spent_for(key);
        Ok(id)
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Services {
    type StreamAggregatedResourcesStream = Answers<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        peer(&request)?;
        let leaf = request.extensions().get::<Peer>().and_then(|peer| peer.1);
        self.0.update(|state| state.leaves.push(leaf));
        let (answers, outgoing) = mpsc::channel(16);
        tokio::spawn(discover(Arc::clone(&self.0), request.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing).map(Ok))))
    }
}

async fn discover(
    mesh: Arc<Mesh>,
    mut requests: Streaming<DeltaDiscoveryRequest>,
    answers: mpsc::Sender<DeltaDiscoveryResponse>,
) {
    let (mut server, mut news) = (Server::new(&VIEW), mesh.news.subscribe());
    let mut place = 0;
    mesh.update(|state| {
        place = state.streams.len();
        state.streams.push(ServerCounts::default());
    });
    loop {
        tokio::select! {
            request = requests.message() => {
                let Ok(Some(request)) = request else { return };
                if let Some(node) = &request.node {
                    let revision = reader_revision(node).map(|revision| revision.to_string());
                    mesh.update(|state| state.revisions.push(revision));
                }
                server.request(request).unwrap();
            }
            news = news.recv() => match news {
                Ok(News::Resources) => {
                    let keys: Vec<_> = mesh.lock().resources.keys().cloned().collect();
                    server.changed(&keys);
                    server.recheck(ResourceType::Listener);
                }
                Ok(News::Ask(_) | News::Confirm) => {}
                Err(_) => return,
            },
        }
        while let Some(response) = server.respond(&*mesh) {
            if answers.send(response).await.is_err() {
                return;
            }
        }
        mesh.update(|state| state.streams[place] = server.counts());
    }
}

#[tonic::async_trait]
impl AgentService for Services {
    type AttachStream = Answers<ControlMessage>;

    async fn attach(&self, request: Request<Streaming<AgentMessage>>) -> Result<Response<Self::AttachStream>, Status> {
        peer(&request)?;
        let (answers, outgoing) = mpsc::channel(16);
        tokio::spawn(attend(Arc::clone(&self.0), request.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing).map(Ok))))
    }
}

/// An Agent stream's hold on its registration.
struct Held(Arc<Mesh>);

impl Held {
    fn take(mesh: &Arc<Mesh>) -> Self {
        mesh.update(|state| {
            state.agents += 1;
            state.fewest_agents.get_or_insert(state.agents);
        });
        Self(Arc::clone(mesh))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.update(|state| {
            state.agents -= 1;
            state.fewest_agents = state.fewest_agents.min(Some(state.agents));
        });
    }
}

async fn attend(mesh: Arc<Mesh>, mut messages: Streaming<AgentMessage>, answers: mpsc::Sender<ControlMessage>) {
    let mut news = mesh.news.subscribe();
    let mut held = None;
    loop {
        let answer = tokio::select! {
            message = messages.message() => {
                let Ok(Some(AgentMessage { message: Some(message) })) = message else { return };
                let is_registration = matches!(message, Message::Registration(_));
                if is_registration {
                    held.get_or_insert_with(|| Held::take(&mesh));
                }
                let is_draining = matches!(message, Message::Draining(_));
                let mut stands = is_registration;
                mesh.update(|state| {
                    stands |= is_draining && !state.is_mute;
                    state.messages.push(message);
                    state.heard.push(Instant::now());
                });
                stands.then(|| registered(&mesh))
            }
            news = news.recv() => match news {
                Ok(News::Ask(query)) => Some(control_message::Message::Query(query)),
                Ok(News::Confirm) => Some(registered(&mesh)),
                Ok(News::Resources) => None,
                Err(_) => return,
            },
        };
        if answer.is_some() && answers.send(ControlMessage { message: answer }).await.is_err() {
            return;
        }
    }
}

/// That a registration stands, as it is now.
fn registered(mesh: &Mesh) -> control_message::Message {
    control_message::Message::Registered(Registered { lease_ms: mesh.lock().lease_ms })
}
