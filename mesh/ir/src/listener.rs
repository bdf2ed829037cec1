//! Listeners: what a proxy accepts, and which rules hold for it.
use serde::Serialize;
use weft_model::{Host, ObjectRef, Port, Protocol, WorkloadRef};

use crate::{Access, ServiceKey, ServicePort};

/// A listener. Which address it binds is the proxy's local choice (its bootstrap's extension), not the mesh's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Listener {
    /// Its xDS name: `outbound`, `outbound/<service port>` or `inbound/<workload>`.
    pub name: String,
    /// What it does.
    pub body: ListenerBody,
    /// The objects that it was made from, ordered.
    pub origins: Vec<ObjectRef>,
}

impl Listener {
    /// The name of the one HTTP outbound listener.
    pub const OUTBOUND: &'static str = "outbound";

    /// The name of the outbound listener of a TCP service port.
    pub fn outbound_name(service: &ServiceKey) -> String {
        format!("outbound/{service}")
    }

    /// The name of a workload's inbound listener.
    pub fn inbound_name(workload: &WorkloadRef) -> String {
        format!("inbound/{workload}")
    }
}

/// The three kinds of listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum ListenerBody {
    /// HTTP by Host, for every service: routes come from a [`RouteConfiguration`] by name, hosts on demand.
    OutboundHttp {
        /// The route configuration's name.
        route_configuration: String,
    },
    /// One TCP service port.
    OutboundTcp(OutboundTcp),
    /// What peers connect to.
    Inbound(Inbound),
}

/// Where a TCP service port's connections go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct OutboundTcp {
    /// The cluster that its connections go to.
    pub cluster: ServiceKey,
}

/// A workload's inbound side: one chain for each service port that it stands behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Inbound {
    /// The workload.
    pub workload: WorkloadRef,
    /// The chains, ordered by service port. A hello that names none of them is refused.
    pub chains: Vec<InboundChain>,
}

/// What happens to connections for one service port, chosen by the server name of the TLS hello.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct InboundChain {
    /// The server name: see [`ServicePort::sni`].
    pub sni: String,
    /// The service port.
    pub service: ServicePort,
    /// The service's host in full; what inbound requests are recorded under.
    pub host: Host,
    /// What the application speaks there.
    pub protocol: Protocol,
    /// The application's port on this workload; at which local address it listens is the proxy's local knowledge.
    pub application_port: Port,
    /// Who may call.
    pub access: Access,
}

/// The named set of virtual hosts that the HTTP outbound listener routes by. It holds no host itself: each is asked for
/// on first use (VHDS).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct RouteConfiguration {
    /// Its xDS name: `outbound`.
    pub name: String,
}
