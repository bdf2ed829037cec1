//! Service: the core `v1` kind, field for field what weft needs of it.
use serde::Serialize;

use crate::{Meta, Port, PortName, Selector};

/// A name that workloads stand behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Service {
    /// Name, namespace, labels.
    pub meta: Meta,
    /// The ports it offers, in the order written; at least one; numbers and names are unique.
    pub ports: Vec<ServicePortSpec>,
    /// Which workloads of its namespace stand behind it. Empty: none (it may still be a route's parent).
    pub selector: Selector,
}

impl Service {
    /// The port of that number.
    pub fn port(&self, number: Port) -> Option<&ServicePortSpec> {
        self.ports.iter().find(|spec| spec.port == number)
    }
}

/// One port of a [`Service`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ServicePortSpec {
    /// Its name; required where there are several (as in Kubernetes).
    pub name: Option<PortName>,
    /// The number that clients use.
    pub port: Port,
    /// The workload's port; the same number where the user wrote none.
    pub target: TargetPort,
    /// What is spoken on it: from `appProtocol`, else from the name's prefix (`http`, `http-…`, `tcp`, `tcp-…`), else
    /// HTTP on port 80 and TCP elsewhere.
    pub protocol: Protocol,
}

/// A workload's port, by number or by the name that the workload gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum TargetPort {
    /// By number.
    Number(Port),
    /// By name.
    Name(PortName),
}

/// What an application speaks on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1: routed and recorded request by request.
    Http,
    /// Opaque bytes.
    Tcp,
    /// HTTP/2 with prior knowledge (RFC 9113 §3.3), gRPC among it: routed and recorded request by request.
    Http2,
}

impl Protocol {
    /// Whether it is a version of HTTP: what one speaks, a client of the other can be answered by.
    pub const fn is_http(self) -> bool {
        match self {
            Self::Http | Self::Http2 => true,
            Self::Tcp => false,
        }
    }
}
