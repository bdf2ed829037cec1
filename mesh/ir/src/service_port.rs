//! The names that tie resources together.
use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use serde::{Serialize, Serializer};
use weft_model::{ClusterName, Host, Name, Namespace, Port, TrustDomain};

/// The names that are one for the whole mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MeshNames {
    /// The trust domain of the mesh's own workloads; `weft.local` by default.
    pub trust_domain: TrustDomain,
    /// The DNS suffix of services; `cluster.local` by default, as in Kubernetes.
    pub mesh_domain: Host,
    /// The name of this cluster; `local` by default.
    pub cluster: ClusterName,
}

impl MeshNames {
    /// A host in full, seen from `namespace`: `svc` is in that namespace, `svc.ns` and `svc.ns.svc` are in the mesh domain,
    /// other names stay. It may be longer than a DNS name may be. `host` is in lower case, without a trailing dot.
    pub fn full_host<'a>(&self, namespace: &Namespace, host: Cow<'a, str>) -> Cow<'a, str> {
        let domain = &self.mesh_domain;
        match host.bytes().filter(|&byte| byte == b'.').count() {
            0 => format!("{host}.{namespace}.svc.{domain}").into(),
            1 => format!("{host}.svc.{domain}").into(),
            2 if host.ends_with(".svc") => format!("{host}.{domain}").into(),
            _ => host,
        }
    }
}

/// One port of one service of one cluster: `<cluster>/<namespace>/<service>:<port>`, the xDS name of its cluster and of
/// its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePort {
    /// The cluster; `local` in a mesh of one.
    pub cluster: ClusterName,
    /// The service's namespace.
    pub namespace: Namespace,
    /// The service's name.
    pub service: Name,
    /// The service's port (not the workload's).
    pub port: Port,
}

impl ServicePort {
    /// The server name that a mesh client puts into its TLS hello for this service port:
    /// `<port>.<service>.<namespace>.mesh.<trust domain>`.
    pub fn sni(&self, domain: &TrustDomain) -> String {
        format!("{}.{}.{}.mesh.{domain}", self.port, self.service, self.namespace)
    }

    /// The host that names the service everywhere: `<service>.<namespace>.svc.<mesh domain>`.
    pub fn host(&self, mesh_domain: &Host) -> String {
        format!("{}.{}.svc.{mesh_domain}", self.service, self.namespace)
    }
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, namespace, service, port } = self;
        write!(f, "{cluster}/{namespace}/{service}:{port}")
    }
}

impl Serialize for ServicePort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text that is not `<cluster>/<namespace>/<service>:<port>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidServicePort;

impl fmt::Display for InvalidServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is not <cluster>/<namespace>/<service>:<port>")
    }
}

impl std::error::Error for InvalidServicePort {}

impl FromStr for ServicePort {
    type Err = InvalidServicePort;

    fn from_str(text: &str) -> Result<Self, InvalidServicePort> {
        let parts = || {
            let (cluster, rest) = text.split_once('/')?;
            let (namespace, rest) = rest.split_once('/')?;
            let (service, port) = rest.rsplit_once(':')?;
            Some(Self {
                cluster: cluster.parse().ok()?,
                namespace: namespace.parse().ok()?,
                service: service.parse().ok()?,
                port: port.parse().ok()?,
            })
        };
        parts().ok_or(InvalidServicePort)
    }
}

/// What a cluster and its endpoints are known by, and what a client is said to have called: the key of clusters, of
/// records and of metrics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceKey {
    /// A service port of the mesh.
    Port(ServicePort),
    /// What a static configuration gives a name of its own: a cluster or virtual host of Envoy's bootstrap.
    Named(Arc<str>),
}

impl ServiceKey {
    /// The service port of the mesh; `None` for what a static configuration names.
    pub const fn port(&self) -> Option<&ServicePort> {
        match self {
            Self::Port(port) => Some(port),
            Self::Named(_) => None,
        }
    }
}

impl From<ServicePort> for ServiceKey {
    fn from(port: ServicePort) -> Self {
        Self::Port(port)
    }
}

impl PartialEq<ServicePort> for ServiceKey {
    fn eq(&self, other: &ServicePort) -> bool {
        self.port() == Some(other)
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => port.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl Serialize for ServiceKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The key of a service port of the mesh: static names do not go over the wire.
impl FromStr for ServiceKey {
    type Err = InvalidServicePort;

    fn from_str(text: &str) -> Result<Self, InvalidServicePort> {
        text.parse().map(Self::Port)
    }
}

/// A canonical authority: a host and the port that the client named (80 where it named none).
///
/// Printed with the port elided if it is 80: the key of a [`VirtualHost`](crate::VirtualHost), whose xDS name is
/// `outbound/<host>[:port]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The host, in full: `<service>.<namespace>.svc.<mesh domain>`.
    pub host: Host,
    /// The port.
    pub port: Port,
}

impl HostPort {
    /// The xDS name of the virtual host: `outbound/<host>[:port]`.
    pub fn resource_name(&self) -> String {
        format!("outbound/{self}")
    }

    /// The authority that an xDS name of a virtual host stands for.
    pub fn from_resource_name(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("outbound/")?;
        let (host, port) = match rest.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (rest, Port::HTTP),
        };
        Some(Self { host: host.parse().ok()?, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Port::HTTP => write!(f, "{}", self.host),
            port => write!(f, "{}:{port}", self.host),
        }
    }
}

impl Serialize for HostPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_port_is_read_back_as_it_was_written() {
        let port: ServicePort = "local/shop/reviews.v2:9080".parse().unwrap();
        assert_eq!(port.to_string(), "local/shop/reviews.v2:9080");
        assert_eq!(port.sni(&TrustDomain::default_domain()), "9080.reviews.v2.shop.mesh.weft.local");
        assert_eq!(port.host(&Host::default_mesh_domain()), "reviews.v2.shop.svc.cluster.local");
    }

    #[test]
    fn a_text_that_is_no_service_port_is_refused() {
        for text in
            ["", "local/shop/reviews", "shop/reviews:80", "local/shop/reviews:0", "local/shop/reviews:80:81", "/a/b:1"]
        {
            assert_eq!(text.parse::<ServicePort>(), Err(InvalidServicePort), "{text}");
        }
    }

    #[test]
    fn port_80_is_left_out_of_an_authoritys_resource_name() {
        for (name, port) in
            [("outbound/web.shop.svc.cluster.local", 80), ("outbound/web.shop.svc.cluster.local:8080", 8080)]
        {
            let authority = HostPort::from_resource_name(name).unwrap();
            assert_eq!((authority.port.get(), authority.resource_name().as_str()), (port, name));
        }
        for name in ["", "outbound", "inbound/web:80", "outbound/web:", "outbound/web:x", "outbound/Web"] {
            assert_eq!(HostPort::from_resource_name(name), None, "{name}");
        }
    }
}
