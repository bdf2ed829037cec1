//! What objects compile to and what proxies decide from: plain structs, one for each kind of xDS resource.
//!
//! The IR is data and nothing else (invariant 1): ordered rules and tables, regexes as their source. Its `Hash` is what
//! a resource's version is made of, so every field that reaches the wire is part of it, and nothing else is.
//!
//! Grain: one service port is one [`Cluster`], one [`Endpoints`] and, if it speaks HTTP, one [`VirtualHost`]; one
//! workload is one inbound [`Listener`]. A changed weight touches one `VirtualHost`, a changed instance one `Endpoints`.
mod access;
mod endpoint;
mod health_check;
mod key;
mod listener;
mod resilience;
mod route;

pub use access::{Access, AccessRule, Caller, RequestMatch, RuleName};
pub use endpoint::{Balance, Cluster, Endpoint, EndpointAddress, Endpoints, Health, Instance, Peer, Security};
pub use health_check::{HealthCheck, Probe};
pub use key::{Dialect, Feature, Resource, ResourceKey, ResourceType, View};
pub use listener::{Inbound, InboundChain, Listener, ListenerBody, OutboundTcp, RouteConfiguration};
pub use resilience::{
    Affinity, Breaker, Ejection, Limits, NearFirst, Retry, RetryBackoff, RetryBudget, SlowStart, SuccessRate,
};
pub use route::{
    HeaderMatch, Mirror, Precedence, Route, RouteAction, RouteMatch, RouteOrigin, VirtualHost, WeightedCluster,
};

mod service_port;
pub use service_port::{HostPort, InvalidServicePort, MeshNames, ServiceKey, ServicePort};
