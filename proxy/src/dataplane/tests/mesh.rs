//! A mesh of two sidecars: `web` calls, `reviews` (HTTP) and `stock` (TCP) are called.
use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use weft_certs::{Authority, TrustBundles};
use weft_decide::{Scope, Snapshot};
use weft_ir::*;
use weft_model::{
    AccessAction, ClusterName, Kind, Locality, NetworkName, ObjectRef, PathMatch, Port, Protocol, SpiffeId, WorkloadRef,
};

use crate::dataplane::{Bound, Dataplane, Event, Settings};

/// Far beyond what anything here takes: only a hang gets there.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn scope() -> Scope {
    Scope {
        namespace: "shop".parse().unwrap(),
        names: MeshNames {
            trust_domain: "weft.local".parse().unwrap(),
            mesh_domain: "cluster.local".parse().unwrap(),
            cluster: ClusterName::local(),
        },
        locality: Locality { region: Some("eu".parse().unwrap()), zone: Some("a".parse().unwrap()), sub_zone: None },
    }
}

pub(super) fn identity(account: &str) -> SpiffeId {
    format!("spiffe://weft.local/ns/shop/sa/{account}").parse().unwrap()
}

fn object(kind: Kind, name: &str) -> ObjectRef {
    ObjectRef { kind, namespace: "shop".parse().unwrap(), name: name.parse().unwrap() }
}

pub(super) fn service(name: &str) -> ServicePort {
    format!("local/shop/{name}").parse().unwrap()
}

/// An inbound listener with one chain, which the accounts in `allowed` may call; no policy at all where it is `None`.
pub(super) fn inbound(name: &str, protocol: Protocol, application: SocketAddr, allowed: Option<&[&str]>) -> Resource {
    let service = service(name);
    let policy = object(Kind::AccessPolicy, "callers");
    let access = allowed.map_or_else(Access::default, |accounts| Access {
        policies: vec![policy.clone()],
        rules: vec![AccessRule {
            name: RuleName { policy, rule: 0 },
            action: AccessAction::Allow,
            callers: accounts.iter().map(|account| Caller::Identity(identity(account))).collect(),
            requests: Vec::new(),
        }],
    });
    let workload = WorkloadRef { namespace: "shop".parse().unwrap(), name: "server".parse().unwrap() };
    let chain = InboundChain {
        sni: service.sni(&scope().names.trust_domain),
        host: service.host(&scope().names.mesh_domain).parse().unwrap(),
        service,
        protocol,
        application_port: Port::new(application.port()).unwrap(),
        access,
    };
    Resource::Listener(Arc::new(Listener {
        name: Listener::inbound_name(&workload),
        body: ListenerBody::Inbound(Inbound { workload, chains: vec![chain] }),
        origins: Vec::new(),
    }))
}

/// The same listener, with a further policy whose second rule denies this account.
pub(super) fn frozen(mut listener: Resource, account: &str) -> Resource {
    if let Resource::Listener(listener) = &mut listener
        && let ListenerBody::Inbound(inbound) = &mut Arc::make_mut(listener).body
    {
        let policy = object(Kind::AccessPolicy, "freeze");
        let Access { policies, rules } = &mut inbound.chains[0].access;
        policies.push(policy.clone());
        rules.push(AccessRule {
            name: RuleName { policy, rule: 1 },
            action: AccessAction::Deny,
            callers: vec![Caller::Identity(identity(account))],
            requests: Vec::new(),
        });
    }
    listener
}

/// The same listener, whose rule of that place is about these requests only.
pub(super) fn about(mut listener: Resource, rule: usize, requests: Vec<RequestMatch>) -> Resource {
    if let Resource::Listener(listener) = &mut listener
        && let ListenerBody::Inbound(inbound) = &mut Arc::make_mut(listener).body
    {
        inbound.chains[0].access.rules[rule].requests = requests;
    }
    listener
}

/// Requests that ask for nothing in particular.
pub(super) fn any_request() -> RequestMatch {
    RequestMatch { methods: Vec::new(), path: None, hosts: Vec::new(), headers: Vec::new() }
}

/// What a caller knows of a service: host or listener, cluster, endpoints at these addresses.
pub(super) fn outbound(
    name: &str,
    protocol: Protocol,
    timeout: Option<Duration>,
    endpoints: &[(SocketAddr, SpiffeId)],
) -> Vec<Resource> {
    let service = service(name);
    let key = ServiceKey::from(service.clone());
    let cluster = Cluster {
        name: key.clone(),
        protocol,
        security: Security::Mesh { sni: service.sni(&scope().names.trust_domain) },
        balance: Balance::RoundRobin,
        near_first: None,
        slow_start: None,
        connect_timeout: Duration::from_secs(5),
        limits: Limits::default(),
        breaker: None,
        ejection: None,
        health_check: None,
        origins: Vec::new(),
    };
    let endpoint = |(place, (address, identity)): (usize, &(SocketAddr, SpiffeId))| Endpoint {
        peer: weft_ir::Peer::Instance(Instance {
            workload: WorkloadRef {
                namespace: "shop".parse().unwrap(),
                name: format!("server-{place}").parse().unwrap(),
            },
            identity: identity.clone(),
            network: NetworkName::default_network(),
            cluster: ClusterName::local(),
        }),
        address: EndpointAddress::Socket(*address),
        locality: Locality::default(),
        weight: 1,
        health: Health::Healthy,
    };
    let endpoints = Endpoints { name: key.clone(), endpoints: endpoints.iter().enumerate().map(endpoint).collect() };
    let way_in = match protocol {
        Protocol::Http | Protocol::Http2 => Resource::VirtualHost(Arc::new(VirtualHost {
            authority: HostPort { host: service.host(&scope().names.mesh_domain).parse().unwrap(), port: service.port },
            service: key.clone(),
            routes: vec![Route {
                origin: RouteOrigin::Rule { object: object(Kind::Service, "default"), rule: 0, alternative: 0 },
                matches: RouteMatch {
                    path: PathMatch::Prefix("/".into()),
                    method: None,
                    headers: Vec::new(),
                    query: Vec::new(),
                },
                action: RouteAction::Forward(vec![WeightedCluster {
                    cluster: key,
                    weight: 1,
                    refusal: None,
                    headers: None,
                }]),
                timeout,
                retry: None,
                affinity: None,
                try_timeout: None,
                idle_timeout: None,
                stream_timeout: None,
                headers: None,
                rewrite: None,
                cors: None,
                mirrors: Vec::new(),
            }],
            origins: Vec::new(),
        })),
        Protocol::Tcp => Resource::Listener(Arc::new(Listener {
            name: Listener::outbound_name(&key),
            body: ListenerBody::OutboundTcp(OutboundTcp { cluster: key.clone() }),
            origins: Vec::new(),
        })),
    };
    vec![way_in, Resource::Cluster(Arc::new(cluster)), Resource::Endpoints(Arc::new(endpoints))]
}

pub(super) fn snapshot(resources: impl IntoIterator<Item = Resource>) -> Arc<Snapshot> {
    Arc::new(Snapshot::complete(scope(), "e1-7", resources).unwrap())
}

/// The mesh's authority.
pub(super) fn authority() -> Authority {
    Authority::create("weft.local".parse().unwrap(), SystemTime::now()).unwrap()
}

/// An access log that a test reads.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self) -> Vec<serde_json::Value> {
        let text = self.0.lock().unwrap().clone();
        text.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    /// The records so far.
    pub(super) fn all(&self) -> Vec<serde_json::Value> {
        self.lines()
    }

    /// The record of that id, once it is written.
    pub(super) async fn record(&self, id: &str) -> serde_json::Value {
        let waited = timeout(PATIENCE, async {
            loop {
                match self.lines().into_iter().find(|record| record["id"] == id) {
                    Some(record) => return record,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        });
        waited.await.unwrap_or_else(|_| panic!("no record of {id}: {:?}", self.lines()))
    }

    /// The records, once there are `count`.
    pub(super) async fn records(&self, count: usize) -> Vec<serde_json::Value> {
        let waited = timeout(PATIENCE, async {
            while self.lines().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "{count} records were expected: {:?}", self.lines());
        let lines = self.lines();
        assert_eq!(lines.len(), count, "{lines:?}");
        lines
    }
}

/// One running data plane.
pub(super) struct Side {
    pub(super) dataplane: Dataplane,
    pub(super) bound: Bound,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) log: Log,
}

impl Side {
    pub(super) fn start(instance: &str, configure: impl FnOnce(&mut Settings)) -> Self {
        Self::start_with_room(64, instance, configure)
    }

    /// With a channel that holds as many events.
    pub(super) fn start_with_room(room: usize, instance: &str, configure: impl FnOnce(&mut Settings)) -> Self {
        let log = Log::default();
        let mut settings = Settings::new(instance, "abcde");
        settings.inbound = Some("127.0.0.1:0".parse().unwrap());
        settings.outbound = Some("127.0.0.1:0".parse().unwrap());
        settings.tcp = vec![(service("stock:9000").into(), "127.0.0.1:0".parse().unwrap())];
        settings.access_log = Some(Box::new(log.clone()));
        settings.timeouts.drain_accept = Duration::from_millis(10);
        configure(&mut settings);
        let (sender, events) = mpsc::channel(room);
        let (dataplane, bound) = Dataplane::start(settings, sender).unwrap();
        Self { dataplane, bound, events, log }
    }

    pub(super) fn with_identity(self, authority: &Authority, account: &str) -> Self {
        let id: SpiffeId = format!("spiffe://{}/ns/shop/sa/{account}", authority.trust_domain()).parse().unwrap();
        let svid = authority.issue(&id, Duration::from_secs(3600), SystemTime::now()).unwrap();
        let bundles = TrustBundles::from(authority.bundle().unwrap());
        self.dataplane.publish_identity(&svid, &bundles).unwrap();
        self
    }

    /// The record of an answer of this side's own by HTTP/1.1: it has that status, and names the record once.
    pub(super) async fn refused(&self, head: &str, status: u16) -> serde_json::Value {
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{status} was expected: {head}");
        let ids: Vec<_> = head.lines().filter_map(|line| line.strip_prefix("x-weft-decision: ")).collect();
        let [id] = ids[..] else { panic!("{} decisions are named: {head}", ids.len()) };
        let record = self.log.record(id).await;
        assert_eq!(record["status"], status, "{record}");
        assert_ne!(record["outcome"], "complete", "{record}");
        record
    }

    /// Waits until the metrics have this line.
    pub(super) async fn has_metric(&self, line: &str) {
        let waited = timeout(PATIENCE, async {
            while !self.dataplane.metrics().lines().any(|its| its == line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "no {line:?} in {}", self.dataplane.metrics());
    }

    pub(super) fn outbound(&self) -> SocketAddr {
        self.bound.outbound.unwrap().0
    }

    pub(super) fn inbound(&self) -> SocketAddr {
        self.bound.inbound.unwrap().0
    }

    pub(super) fn stock(&self) -> SocketAddr {
        self.bound.tcp[0].1.0
    }
}

/// `web` and `reviews` with its application.
pub(super) struct Mesh {
    pub(super) web: Side,
    pub(super) server: Side,
    pub(super) application: TcpListener,
    pub(super) authority: Authority,
}

impl Mesh {
    /// A mesh whose server lets these accounts call.
    pub(super) async fn start(protocol: Protocol, allowed: Option<&[&str]>, route_timeout: Option<Duration>) -> Self {
        let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = authority();
        let name = match protocol {
            Protocol::Http | Protocol::Http2 => "reviews:80",
            Protocol::Tcp => "stock:9000",
        };
        let server = Side::start("server", |_| {}).with_identity(&authority, "reviews");
        server.dataplane.publish(snapshot([inbound(name, protocol, application.local_addr().unwrap(), allowed)]));
        let web = Side::start("web", |_| {}).with_identity(&authority, "web");
        let endpoints = [(server.inbound(), identity("reviews"))];
        web.dataplane.publish(snapshot(outbound(name, protocol, route_timeout, &endpoints)));
        Self { web, server, application, authority }
    }

    pub(super) async fn http() -> Self {
        Self::start(Protocol::Http, Some(&["web"]), None).await
    }

    pub(super) async fn client(&self) -> Peer {
        Peer::connect(self.web.outbound()).await
    }

    /// The application's next connection.
    pub(super) async fn accept(&self) -> Peer {
        let (stream, _) = timeout(PATIENCE, self.application.accept()).await.unwrap().unwrap();
        Peer { stream, read: Vec::new() }
    }
}

/// One end of a raw connection.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub(super) fn over(stream: TcpStream) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// Whether another request's head comes before the stream's end.
    pub(super) async fn has_head(&mut self) -> bool {
        loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                self.read.drain(..at + 4);
                return true;
            }
            if !matches!(self.stream.read_buf(&mut self.read).await, Ok(count) if count > 0) {
                return false;
            }
        }
    }

    /// The next request with a Content-Length or no body: its head and body; `None` at the stream's end.
    pub(super) async fn request(&mut self) -> Option<(String, Vec<u8>)> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.stream.read_buf(&mut self.read).await.ok().filter(|count| *count > 0)?;
        };
        let rest = self.read.split_off(end);
        let head = String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
        let length =
            head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let length: usize = length.unwrap_or(0);
        while self.read.len() < length {
            self.stream.read_buf(&mut self.read).await.ok().filter(|count| *count > 0)?;
        }
        let rest = self.read.split_off(length);
        Some((head, std::mem::replace(&mut self.read, rest)))
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Everything up to and with `end`, without the lines by which each proxy tells where a request belongs.
    pub(super) async fn until(&mut self, end: &str) -> String {
        let found = timeout(PATIENCE, async {
            loop {
                let at = self.read.windows(end.len()).position(|window| window == end.as_bytes());
                if let Some(at) = at {
                    let rest = self.read.split_off(at + end.len());
                    return std::mem::replace(&mut self.read, rest);
                }
                let count = self.stream.read_buf(&mut self.read).await.unwrap();
                assert!(count > 0, "the stream ended before {end:?}: {:?}", String::from_utf8_lossy(&self.read));
            }
        });
        let text = found.await.unwrap_or_else(|_| panic!("no {end:?}"));
        let text = String::from_utf8_lossy(&text);
        let added = |line: &&str| ["traceparent: ", "x-request-id: "].iter().any(|name| line.starts_with(name));
        text.split_inclusive("\r\n").filter(|line| !added(line)).collect()
    }

    /// Everything to the end of the stream.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.read);
        timeout(PATIENCE, self.stream.read_to_end(&mut bytes)).await.expect("no end of stream").unwrap();
        bytes
    }

    /// Whatever comes next.
    pub(super) async fn until_any(&mut self) -> Vec<u8> {
        if self.read.is_empty() {
            let count = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await.expect("nothing comes").unwrap();
            assert!(count > 0, "the stream ended");
        }
        std::mem::take(&mut self.read)
    }

    /// The error or the end of stream that comes next.
    pub(super) async fn failure(&mut self) -> Option<io::ErrorKind> {
        let mut bytes = Vec::new();
        timeout(PATIENCE, self.stream.read_to_end(&mut bytes)).await.expect("no end of stream").err().map(|e| e.kind())
    }

    /// One request by its text and one answer with a body of `length` bytes.
    pub(super) async fn ask(&mut self, request: &str) -> (String, String) {
        self.send(request).await;
        self.answer().await
    }

    /// An answer with Content-Length: its head and body.
    pub(super) async fn answer(&mut self) -> (String, String) {
        let head = self.until("\r\n\r\n").await;
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ").and_then(|value| value.parse::<usize>().ok()));
        let length = length.unwrap_or_else(|| panic!("no length: {head}"));
        let whole = timeout(PATIENCE, async {
            while self.read.len() < length {
                assert!(self.stream.read_buf(&mut self.read).await.unwrap() > 0, "the body is cut");
            }
        });
        whole.await.expect("the body does not come");
        let rest = self.read.split_off(length);
        let body = std::mem::replace(&mut self.read, rest);
        (head, String::from_utf8(body).unwrap())
    }
}
