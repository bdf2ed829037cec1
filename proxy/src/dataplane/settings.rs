//! What is local to this machine: addresses, names, timeouts. What is the mesh's comes in snapshots.
use std::{collections::BTreeMap, fmt, io, net::SocketAddr, str::FromStr, time::Duration};

use weft_ir::ServiceKey;
use weft_model::{Host, PortName};
use weft_net::LocalAddr;

/// How a data plane is started.
pub struct Settings {
    /// How many worker threads; at least one is started.
    pub workers: usize,
    /// This instance's name, the first part of each decision id.
    pub instance: String,
    /// Five characters drawn once a process start, the second part of each decision id.
    pub start: String,
    /// Where peers connect to with mesh TLS; port 0 for the system's choice.
    pub inbound: Option<SocketAddr>,
    /// Where the application sends HTTP for every service; port 0 for the system's choice.
    pub outbound: Option<SocketAddr>,
    /// One listener for each TCP service port that the application calls; port 0 for the system's choice.
    pub tcp: Vec<(ServiceKey, SocketAddr)>,
    /// What an earlier run bound. Where the system is to choose a port, that one is taken again if it is free: while the
    /// control plane is away, peers find a restarted proxy only where it was.
    pub former: Bound,
    /// Where the application's ports are reached, by name. A chain's `application_port` goes to the socket of that port
    /// number, and to `127.0.0.1:<application_port>` where there is none.
    pub applications: BTreeMap<PortName, SocketAddr>,
    /// What becomes of HTTP/1.0 clients.
    pub http10: Http10,
    /// Bounds on waiting.
    pub timeouts: Timeouts,
    /// Bounds on connections.
    pub limits: Limits,
    /// Where records go, one JSON line each; `None` writes none. It is written to by a thread of its own.
    pub access_log: Option<Box<dyn io::Write + Send>>,
}

impl Settings {
    /// Settings with one worker, no listener, no access log and the default timeouts and limits.
    pub fn new(instance: impl Into<String>, start: impl Into<String>) -> Self {
        Self {
            workers: 1,
            instance: instance.into(),
            start: start.into(),
            inbound: None,
            outbound: None,
            tcp: Vec::new(),
            former: Bound::default(),
            applications: BTreeMap::new(),
            http10: Http10::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            access_log: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("workers", &self.workers)
            .field("instance", &self.instance)
            .field("start", &self.start)
            .field("inbound", &self.inbound)
            .field("outbound", &self.outbound)
            .field("tcp", &self.tcp)
            .field("former", &self.former)
            .field("applications", &self.applications)
            .field("http10", &self.http10)
            .field("timeouts", &self.timeouts)
            .field("limits", &self.limits)
            .field("access_log", &self.access_log.is_some())
            .finish()
    }
}

/// What becomes of HTTP/1.0 clients (Envoy refuses them unless told otherwise; nginx, which speaks it to its upstreams by
/// default until 1.29, and HAProxy serve them).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http10 {
    /// Whether they are served.
    pub serve: ServeHttp10,
    /// The Host of a request that has none, which HTTP/1.0 allows; without it such a request is answered 400.
    pub default_host: Option<Host>,
}

/// Whether HTTP/1.0 clients are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServeHttp10 {
    /// They are answered 505.
    Refuse,
    /// One request a connection, whatever they ask for: a proxy keeps none to them (RFC 9112 §9.3).
    #[default]
    Close,
    /// A connection that its client asks to be kept (`Connection: keep-alive`) is, where the answer's length is told.
    KeepAlive,
}

impl ServeHttp10 {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Close => "close",
            Self::KeepAlive => "keep-alive",
        }
    }
}

impl FromStr for ServeHttp10 {
    type Err = InvalidServeHttp10;

    fn from_str(text: &str) -> Result<Self, InvalidServeHttp10> {
        let all = [Self::Refuse, Self::Close, Self::KeepAlive];
        all.into_iter().find(|it| it.as_str() == text).ok_or(InvalidServeHttp10)
    }
}

/// A text that is none of what can be done with HTTP/1.0 clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is none of refuse, close and keep-alive")]
pub struct InvalidServeHttp10;

/// Bounds on waiting. Peers' defaults stand beside ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// How long a request waits for a host, cluster or endpoints that are asked for the first time.
    pub on_demand: Duration,
    /// How long an inbound TLS handshake may take (Linkerd's detection: 10 s).
    pub handshake: Duration,
    /// How long a request's head may take from its first byte (Envoy's edge guide and slowloris tests: 10 s).
    pub head: Duration,
    /// How long an exchange may go without a byte in either direction while a body is under way (Envoy's stream idle
    /// timeout: 5 min; nginx: 60 s between two reads or writes). The time that an upstream takes to begin its answer to a
    /// whole request is not bounded by it but by the route's timeout.
    pub body_idle: Duration,
    /// How long a TCP connection, or a tunnel that HTTP has opened, may go without a byte in either direction (Envoy: 1 h;
    /// nginx: 10 min).
    pub stream_idle: Duration,
    /// How long connecting to the local application may take (Linkerd: 1 s).
    pub application_connect: Duration,
    /// How long an upstream connection is kept unused by the client side (below common servers' 60 s).
    pub pool_idle: Duration,
    /// How long a connection to the local application is kept unused: shorter, because common servers close theirs after
    /// 5 s (Node.js) without a word that would prove that a request was not processed.
    pub application_idle: Duration,
    /// How long a mesh server side keeps an unused HTTP/1.1 connection: longer than any client side uses one, so that
    /// the client side is the one that closes (DESIGN §5, Drain).
    pub server_idle: Duration,
    /// How often a mesh peer must show over HTTP/2 that it is there, while it has something to answer (gRPC: 2 h; Linkerd:
    /// 10 s). What a peer that vanished had to answer ends after this and [`pong_within`](Self::pong_within).
    pub ping_every: Duration,
    /// How long it may take to show it (gRPC: 20 s; Linkerd: 3 s).
    pub pong_within: Duration,
    /// How long an unused connection of the local application is kept open (Envoy: 1 h; nginx: 75 s).
    pub client_idle: Duration,
    /// How long draining goes on accepting, so that peers that have not heard of it yet are still served; then unused
    /// connections are closed too. The application is served so much longer than the last peer, whose request it may need
    /// others for.
    pub drain_accept: Duration,
    /// When draining ends, whatever is still in flight (ztunnel: 5 s; Linkerd: 120 s).
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            on_demand: Duration::from_secs(1),
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body_idle: Duration::from_secs(300),
            stream_idle: Duration::from_secs(3600),
            application_connect: Duration::from_secs(1),
            pool_idle: Duration::from_secs(45),
            application_idle: Duration::from_secs(4),
            server_idle: Duration::from_secs(60),
            ping_every: Duration::from_secs(10),
            pong_within: Duration::from_secs(3),
            client_idle: Duration::from_secs(900),
            drain_accept: Duration::from_millis(500),
            drain: Duration::from_secs(20),
        }
    }
}

/// Bounds on accepted connections, for all workers together. What comes beyond is closed at once with a reset and counted
/// in `weft_connections_refused_total`, as is what gives way. Peers' defaults stand beside ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Accepted connections that are open, inbound and outbound (Envoy: no bound unless its overload manager is given one,
    /// 50,000 in its guide for edges; HAProxy: what the limit on descriptors allows; nginx: 512 a worker, and that counts
    /// upstream connections too). Each may hold an upstream connection, so twice as many descriptors.
    pub connections: usize,
    /// Inbound connections whose client has not yet proven who it is, at most [`Timeouts::handshake`] each: a stranger
    /// costs memory and a signature before anything is known of it (Envoy, Linkerd and nginx bound only the time). Beyond,
    /// the oldest of them gives way to the newest.
    pub handshakes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 16_384, handshakes: 1_024 }
    }
}

/// The addresses that a data plane's listeners were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Where peers connect to.
    pub inbound: Option<LocalAddr>,
    /// Where the application sends HTTP.
    pub outbound: Option<LocalAddr>,
    /// Where the application connects for each TCP service port, in the order of the settings.
    pub tcp: Vec<(ServiceKey, LocalAddr)>,
    /// The TCP service ports whose address could not be bound.
    pub unbound: Vec<Unbound>,
}

/// A listener that could not be bound, while the others are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbound {
    /// The TCP service port that it is for.
    pub service: ServiceKey,
    /// The address that was asked for.
    pub address: SocketAddr,
    /// What the system said.
    pub error: String,
}

impl Bound {
    /// Where the application connects for a TCP service port.
    pub fn tcp(&self, service: &ServiceKey) -> Option<LocalAddr> {
        self.tcp.iter().find(|(bound, _)| bound == service).map(|(_, address)| *address)
    }
}

/// Why a data plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error("cannot listen for {listener} on {address}: {error}")]
    Bind {
        /// Which listener: `inbound`, `outbound`, or a TCP service port.
        listener: String,
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A thread or its runtime could not be made.
    #[error("cannot start a worker: {0}")]
    Worker(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_side_keeps_idle_connections_fifteen_seconds_longer_than_client_sides_use_them() {
        let Timeouts { pool_idle, server_idle, .. } = Timeouts::default();
        assert!(server_idle >= pool_idle + Duration::from_secs(15), "{server_idle:?}, {pool_idle:?}");
    }
}
