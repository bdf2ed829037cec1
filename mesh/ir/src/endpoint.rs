//! Clusters and the endpoints behind them.
use std::{net::SocketAddr, time::Duration};

use serde::Serialize;
use weft_model::{ClusterName, Locality, NetworkName, ObjectRef, Protocol, SpiffeId, WorkloadRef};

use crate::{Breaker, Ejection, Limits, NearFirst, ServicePort, SlowStart};

/// How to reach one service port; who stands behind it is in [`Endpoints`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Cluster {
    /// The service port, which is the resource's key.
    pub name: ServicePort,
    /// What is spoken upstream, inside TLS.
    pub protocol: Protocol,
    /// How the connection is secured.
    pub tls: UpstreamTls,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// That near endpoints come first; `None`: places make no difference.
    pub near_first: Option<NearFirst>,
    /// How an endpoint that is new begins; `None`: with its whole weight.
    pub slow_start: Option<SlowStart>,
    /// How long connecting may take, the TLS handshake included.
    pub connect_timeout: Duration,
    /// How much of it a proxy uses at once.
    pub limits: Limits,
    /// When requests are refused because all of them fail; `None`: never.
    pub breaker: Option<Breaker>,
    /// When an endpoint that fails is left out for a while; `None`: never.
    pub ejection: Option<Ejection>,
    /// The objects that it was made from, ordered.
    pub origins: Vec<ObjectRef>,
}

/// Mesh TLS towards a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct UpstreamTls {
    /// The server name of the hello: see [`ServicePort::sni`].
    pub sni: String,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Balance {
    /// One after the other, by weight.
    RoundRobin,
    /// Of two drawn at random (by weight), the one with fewer requests of this proxy on it.
    LeastRequest,
    /// At random, by weight.
    Random,
    /// Of two drawn at random (by weight), the one whose answers take less time for the requests of this proxy on it.
    PeakEwma,
    /// By the hash of the route's affinity key on a ring of the endpoints (by weight): when one is lost, only its keys
    /// move. Without a key, at random.
    RingHash,
    /// By the hash of the route's affinity key in a table of the endpoints (by weight): a pick costs the same whatever
    /// their number. Without a key, at random.
    Maglev,
}

impl Balance {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::RoundRobin, Self::LeastRequest, Self::Random, Self::PeakEwma, Self::RingHash, Self::Maglev];

    /// Whether there is a [`SlowStart`] for it: not where endpoints are chosen by chance or by a key.
    pub const fn can_start_slowly(self) -> bool {
        matches!(self, Self::RoundRobin | Self::LeastRequest | Self::PeakEwma)
    }
}

/// The endpoints of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Endpoints {
    /// The service port, which is the resource's key.
    pub name: ServicePort,
    /// The endpoints, ordered by workload.
    pub endpoints: Vec<Endpoint>,
}

/// One instance behind a service port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Endpoint {
    /// The instance.
    pub workload: WorkloadRef,
    /// Where its sidecar's inbound listener is reached.
    pub address: EndpointAddress,
    /// The identity that its certificate must prove.
    pub identity: SpiffeId,
    /// Where it runs.
    pub locality: Locality,
    /// The network of its address.
    pub network: NetworkName,
    /// The cluster it belongs to.
    pub cluster: ClusterName,
    /// Its share against the other endpoints, above zero.
    pub weight: u32,
    /// Whether it is chosen.
    pub health: Health,
}

/// Where an endpoint is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum EndpointAddress {
    /// A TCP socket.
    Socket(SocketAddr),
}

/// Whether an endpoint is chosen for new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Health {
    /// Chosen.
    Healthy,
    /// Not chosen; its connections go on.
    Draining,
    /// Not chosen: its application takes no connections.
    Unhealthy,
}
