//! Clusters and the endpoints behind them.
use std::{
    fmt::{self, Display},
    net::SocketAddr,
    time::Duration,
};

use serde::Serialize;
use weft_model::{ClusterName, Locality, NetworkName, ObjectRef, Protocol, SpiffeId, WorkloadRef};

use crate::{Breaker, Ejection, HealthCheck, Limits, NearFirst, ServiceKey, SlowStart};

/// How to reach one service; who stands behind it is in [`Endpoints`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Cluster {
    /// The service, which is the resource's key.
    pub name: ServiceKey,
    /// What is spoken upstream, inside TLS where it is secured.
    pub protocol: Protocol,
    /// How connections to it are secured.
    pub security: Security,
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
    /// By what a proxy finds out which endpoints work; `None`: by requests alone.
    pub health_check: Option<HealthCheck>,
    /// The objects that it was made from, ordered.
    pub origins: Vec<ObjectRef>,
}

/// How connections to a cluster are secured.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Security {
    /// By mesh TLS: both sides prove their identity, and an endpoint that names none is not used.
    Mesh {
        /// The server name of the hello: see [`ServicePort::sni`](crate::ServicePort::sni).
        sni: String,
    },
    /// Not at all. Only a static configuration has it: between services of the mesh there is always TLS.
    Plain,
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
    /// The service, which is the resource's key.
    pub name: ServiceKey,
    /// The endpoints, ordered by [`Peer`].
    pub endpoints: Vec<Endpoint>,
}

/// One of those who stand behind a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Endpoint {
    /// Who it is.
    pub peer: Peer,
    /// Where it is reached: for an instance of the mesh, its sidecar's inbound listener.
    pub address: EndpointAddress,
    /// Where it runs.
    pub locality: Locality,
    /// Its share against the other endpoints, above zero.
    pub weight: u32,
    /// Whether it is chosen.
    pub health: Health,
}

impl Endpoint {
    /// The instance of the mesh that it is; `None` for what is known by its address alone.
    pub const fn instance(&self) -> Option<&Instance> {
        match &self.peer {
            Peer::Instance(instance) => Some(instance),
            Peer::Address => None,
        }
    }

    /// What people call it: the workload, or the address.
    pub fn called(&self) -> impl Display + '_ {
        self.peer.called(self.address)
    }
}

/// Who an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Peer {
    /// An instance of the mesh.
    Instance(Instance),
    /// Whoever answers at the address: a static configuration's endpoint.
    Address,
}

impl Peer {
    /// What people call whoever is reached at `address`: the workload, or the address.
    pub fn called(&self, address: EndpointAddress) -> impl Display + '_ {
        fmt::from_fn(move |f| match (self, address) {
            (Self::Instance(instance), _) => instance.workload.fmt(f),
            (Self::Address, EndpointAddress::Socket(address)) => address.fmt(f),
        })
    }
}

/// An instance of a service of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Instance {
    /// Its workload.
    pub workload: WorkloadRef,
    /// The identity that its certificate must prove.
    pub identity: SpiffeId,
    /// The network of its address.
    pub network: NetworkName,
    /// The cluster it belongs to.
    pub cluster: ClusterName,
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
