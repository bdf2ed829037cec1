//! A control plane in a temporary folder, and clients of each of its services.
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};
use weft_certs::{
    KeyPair, Svid, TrustBundle, TrustBundles, certificate_request,
    join::JoinFile,
    tls::{client_config, control_plane_name, root_pinned_client_config},
    verify::Expected,
};
use weft_control_plane::{
    Config, ControlPlane, Running, SealingKeySource, StartError,
    client::{CallError, Client},
    wire::{ApplyRequest, ApplyResponse, Document, TokenRequest},
};
use weft_model::SpiffeId;
use weft_proto::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse,
            aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
        },
    },
    google::protobuf::{Struct, Value as ProtoValue, value::Kind},
    weft::{
        AgentMessage, ControlMessage, Registration, SignRequest, SignResponse, agent_message,
        agent_service_client::AgentServiceClient, certificate_service_client::CertificateServiceClient,
    },
};

/// How long anything is waited for: far beyond what it takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub(crate) const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
pub(crate) const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
pub(crate) const VIRTUAL_HOST: &str = "type.googleapis.com/envoy.config.route.v3.VirtualHost";

/// A service, and who may call it.
pub(crate) const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{group: \"\", kind: Service, name: web}]
  rules: [{action: Allow, from: [{namespace: shop}]}]
";

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what} took longer than {DEADLINE:?}"))
}

/// Tries until there is something.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// A control plane; its folder goes when it is dropped.
pub(crate) struct Plane {
    pub(crate) folder: TempDir,
    pub(crate) config: Config,
    running: Option<Running>,
}

impl Plane {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().unwrap();
        let key = SealingKeySource::File(folder.path().join("sealing.key"));
        let mut config = Config::on_loopback(folder.path().join("store"), key);
        config.context_file = Some(folder.path().join("context.json"));
        change(&mut config);
        let mut plane = Self { folder, config, running: None };
        plane.start_again().await.unwrap();
        plane
    }

    pub(crate) async fn start_again(&mut self) -> Result<(), StartError> {
        self.running = Some(ControlPlane::start(self.config.clone()).await?);
        Ok(())
    }

    pub(crate) async fn stop(&mut self) {
        within("stopping", self.running.take().unwrap().shutdown()).await;
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.running().context.clone()).unwrap()
    }

    pub(crate) async fn apply(&self, text: &str) -> Result<ApplyResponse, CallError> {
        let document = Document { file: "test.yaml".to_owned(), text: text.to_owned() };
        self.client().apply(&ApplyRequest { documents: vec![document], dry_run: false }).await
    }

    /// One request over HTTPS as it is written.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: &[u8],
    ) -> (StatusCode, Bytes) {
        let expected = Expected::Exactly(self.running().context.control_plane());
        let tls = root_pinned_client_config(self.running().context.ca_sha256, expected, &[b"http/1.1"]).unwrap();
        let stream = connect(self.running().api, tls).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "weft");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let answer = within("an answer", sender.send_request(request)).await.unwrap();
        let status = answer.status();
        (status, answer.into_body().collect().await.unwrap().to_bytes())
    }

    /// A request with the admin token, and its answer as JSON.
    pub(crate) async fn json(&self, method: Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
        let token = self.running().context.token.reveal().to_owned();
        let (status, body) = self.request(method, path, Some(&token), body).await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// A join file that allows the label `app: web`.
    pub(crate) async fn join_file(&self, account: &str) -> JoinFile {
        self.join_file_with(account, &[("app", "web")]).await
    }

    pub(crate) async fn join_file_with(&self, account: &str, labels: &[(&str, &str)]) -> JoinFile {
        let request = TokenRequest {
            namespace: "shop".to_owned(),
            account: account.to_owned(),
            ttl_seconds: Some(60),
            labels: labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
        };
        let made = self.client().token(&request).await.unwrap();
        JoinFile::parse(made.join_file.to_string().as_bytes(), "the answer").unwrap()
    }

    /// What a joining proxy sees of the gRPC port: it knows the root's hash alone.
    pub(crate) async fn joining(&self) -> Channel {
        let expected = Expected::Exactly(self.running().context.control_plane());
        let tls = root_pinned_client_config(self.running().context.ca_sha256, expected, &[b"h2"]).unwrap();
        channel(self.running().grpc, tls).await
    }

    /// A proxy of an account of the namespace `shop`, joined by token.
    pub(crate) async fn join(&self, account: &str) -> Member {
        self.join_with(account, &[("app", "web")]).await
    }

    pub(crate) async fn join_with(&self, account: &str, labels: &[(&str, &str)]) -> Member {
        let token = self.join_file_with(account, labels).await.token.unwrap();
        let key = KeyPair::generate().unwrap();
        let signed = sign(self.joining().await, &key, token.reveal()).await.unwrap();
        Member::new(key, signed)
    }

    /// The gRPC port as a member sees it.
    pub(crate) async fn channel(&self, member: &Member) -> Channel {
        let expected = Expected::Exactly(self.running().context.control_plane());
        let tls = client_config(Some(&member.svid), &member.bundles, expected, &[b"h2"]).unwrap();
        channel(self.running().grpc, tls).await
    }

    /// An ADS stream of a member.
    pub(crate) async fn ads(&self, member: &Member, workload: &str) -> Ads {
        let node = Node { id: format!("shop/{workload}"), ..Node::default() };
        self.ads_as(member, node).await.unwrap()
    }

    pub(crate) async fn ads_as(&self, member: &Member, node: Node) -> Result<Ads, Status> {
        let mut client = AggregatedDiscoveryServiceClient::new(self.channel(member).await);
        let (requests, outgoing) = mpsc::channel(64);
        let opened = client.delta_aggregated_resources(ReceiverStream::new(outgoing));
        let responses = within("an ADS stream", opened).await?.into_inner();
        Ok(Ads { node: Some(node), requests, responses, held: BTreeMap::new(), revision: String::new() })
    }

    /// An Agent stream of a member, with its first message sent.
    pub(crate) async fn agent(&self, member: &Member, registration: Registration) -> Agent {
        let mut client = AgentServiceClient::new(self.channel(member).await);
        let (messages, outgoing) = mpsc::channel(64);
        let message = agent_message::Message::Registration(registration);
        messages.send(AgentMessage { message: Some(message) }).await.unwrap();
        let answers =
            within("an Agent stream", client.attach(ReceiverStream::new(outgoing))).await.unwrap().into_inner();
        Agent { messages, answers }
    }
}

/// Who has a certificate.
pub(crate) struct Member {
    pub(crate) svid: Svid,
    pub(crate) bundles: TrustBundles,
}

impl Member {
    pub(crate) fn new(key: KeyPair, signed: SignResponse) -> Self {
        let svid = Svid::new(signed.chain.into_iter().map(Into::into).collect(), key).unwrap();
        let [bundle] = signed.bundles.try_into().unwrap();
        let roots = bundle.roots.into_iter().map(Into::into).collect();
        let bundle = TrustBundle::new(bundle.trust_domain.parse().unwrap(), roots, bundle.sequence).unwrap();
        assert!(svid.is_valid_at(SystemTime::now()));
        Self { svid, bundles: bundle.into() }
    }

    pub(crate) fn id(&self) -> &SpiffeId {
        self.svid.id()
    }
}

pub(crate) async fn sign(channel: Channel, key: &KeyPair, token: &str) -> Result<SignResponse, Status> {
    let request = SignRequest { csr: certificate_request(key).unwrap(), token: token.to_owned() };
    let mut client = CertificateServiceClient::new(channel);
    Ok(within("a signature", client.sign(request)).await?.into_inner())
}

async fn connect(
    address: SocketAddr,
    tls: Arc<ClientConfig>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    TlsConnector::from(tls).connect(control_plane_name(), tcp).await
}

async fn channel(address: SocketAddr, tls: Arc<ClientConfig>) -> Channel {
    let connector = tower::service_fn(move |_: http::Uri| {
        let tls = tls.clone();
        async move { connect(address, tls).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://control-plane");
    within("a connection", endpoint.connect_with_connector(connector)).await.unwrap()
}

/// An ADS stream that acknowledges what it takes, and keeps the bytes.
pub(crate) struct Ads {
    node: Option<Node>,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    /// Version by type and name.
    pub(crate) held: BTreeMap<(String, String), String>,
    pub(crate) revision: String,
}

impl Ads {
    pub(crate) async fn subscribe(&mut self, type_url: &str, names: &[&str]) {
        self.resume(type_url, names, &BTreeMap::new()).await;
    }

    /// Subscribes as who holds `held` already.
    pub(crate) async fn resume(&mut self, type_url: &str, names: &[&str], held: &BTreeMap<(String, String), String>) {
        let of_type = held.iter().filter(|((held_type, _), _)| held_type == type_url);
        let request = DeltaDiscoveryRequest {
            node: self.node.take(),
            type_url: type_url.to_owned(),
            resource_names_subscribe: names.iter().map(|&name| name.to_owned()).collect(),
            initial_resource_versions: of_type.map(|((_, name), version)| (name.clone(), version.clone())).collect(),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).await.unwrap();
    }

    /// The next response, acknowledged.
    pub(crate) async fn next(&mut self) -> DeltaDiscoveryResponse {
        let response = within("a response", self.responses.message()).await.unwrap().unwrap();
        self.take(&response).await;
        response
    }

    /// The next response, where it must be of one type; its names, and those it removes.
    pub(crate) async fn next_of(&mut self, type_url: &str) -> (Vec<String>, Vec<String>) {
        let response = self.next().await;
        assert_eq!(response.type_url, type_url);
        (response.resources.into_iter().map(|resource| resource.name).collect(), response.removed_resources)
    }

    /// Takes responses until this much is held.
    pub(crate) async fn until(&mut self, reached: impl Fn(&Self) -> bool) {
        while !reached(self) {
            self.next().await;
        }
    }

    /// The end of the stream.
    pub(crate) async fn ended(&mut self) -> Status {
        loop {
            match within("the stream's end", self.responses.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    }

    /// Asserts that nothing comes: what was asked for before `probe` has then been answered, or never will be.
    pub(crate) async fn says_nothing_before(&mut self, probe: &str) {
        self.subscribe(VIRTUAL_HOST, &[probe]).await;
        let (names, removed) = self.next_of(VIRTUAL_HOST).await;
        assert_eq!((names, removed), (Vec::new(), vec![probe.to_owned()]));
    }

    pub(crate) fn holds(&self, type_url: &str, name: &str) -> Option<&str> {
        self.held.get(&(type_url.to_owned(), name.to_owned())).map(String::as_str)
    }

    async fn take(&mut self, response: &DeltaDiscoveryResponse) {
        let type_url = &response.type_url;
        for resource in &response.resources {
            self.held.insert((type_url.clone(), resource.name.clone()), resource.version.clone());
        }
        for name in &response.removed_resources {
            self.held.remove(&(type_url.clone(), name.clone()));
        }
        self.revision.clone_from(&response.system_version_info);
        let acknowledgement = DeltaDiscoveryRequest {
            type_url: type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(acknowledgement).await.unwrap();
    }
}

/// A node that says which revision it has seen.
pub(crate) fn node_that_saw(workload: &str, revision: &str) -> Node {
    let value = ProtoValue { kind: Some(Kind::StringValue(revision.to_owned())) };
    let metadata = Struct { fields: [("weft.revision".to_owned(), value)].into() };
    Node { id: format!("shop/{workload}"), metadata: Some(metadata), ..Node::default() }
}

/// An Agent stream.
pub(crate) struct Agent {
    pub(crate) messages: mpsc::Sender<AgentMessage>,
    pub(crate) answers: Streaming<ControlMessage>,
}

impl Agent {
    pub(crate) async fn say(&self, message: agent_message::Message) {
        self.messages.send(AgentMessage { message: Some(message) }).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> ControlMessage {
        within("an answer", self.answers.message()).await.unwrap().unwrap()
    }
}

/// A registration with an address and the label `app`.
pub(crate) fn registration(workload: &str, app: &str, address: &str) -> Registration {
    Registration {
        workload: workload.to_owned(),
        address: address.to_owned(),
        ports: [("http".to_owned(), 8080)].into(),
        labels: [("app".to_owned(), app.to_owned())].into(),
        version: "0.1.0".to_owned(),
        start: "abcde".to_owned(),
        ..Registration::default()
    }
}
