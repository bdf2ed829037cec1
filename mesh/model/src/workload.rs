//! Workload: one running instance with an identity.
use std::{collections::BTreeMap, fmt, net::SocketAddr};

use serde::Serialize;

use crate::{
    AccountName, ClusterName, Labels, LocalityName, Meta, Name, Namespace, NetworkName, Port, PortName, TrustDomain,
};

/// One running instance, written by a user or made from a registration on an Agent stream (see `weft.v1`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Workload {
    /// Name (the instance), namespace, labels (by which Services select it).
    pub meta: Meta,
    /// The account whose identity it runs under: `spiffe://<trust domain>/ns/<namespace>/sa/<account>`.
    pub account: AccountName,
    /// Where its sidecar's inbound listener (mesh TLS) is reached.
    pub address: SocketAddr,
    /// The application's ports by name, as Services' `targetPort` names them.
    pub ports: BTreeMap<PortName, Port>,
    /// Where it runs.
    pub locality: Locality,
    /// The network in which `address` is reachable without a gateway.
    pub network: NetworkName,
    /// The cluster that it belongs to.
    pub cluster: ClusterName,
    /// Its trust domain; the mesh's own where `None`.
    pub trust_domain: Option<TrustDomain>,
    /// Its share against other endpoints of the same service, 1 by default.
    pub weight: u32,
    /// Whether it takes new work: a draining one keeps its connections and gets no new ones.
    pub draining: bool,
    /// Whether its application takes no connections, as its sidecar has found.
    pub unhealthy: bool,
}

impl Workload {
    /// What names this workload.
    pub fn reference(&self) -> WorkloadRef {
        WorkloadRef { namespace: self.meta.namespace.clone(), name: self.meta.name.clone() }
    }
}

/// What names one workload: `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct WorkloadRef {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name, unique in the namespace: the instance, not the deployment.
    pub name: Name,
}

impl fmt::Display for WorkloadRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Where a workload runs; each part may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Locality {
    /// Region, the largest part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<LocalityName>,
    /// Zone of the region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<LocalityName>,
    /// Rack or host of the zone.
    #[serde(skip_serializing_if = "Option::is_none", rename = "subZone")]
    pub sub_zone: Option<LocalityName>,
}

impl Locality {
    /// The label that names a region, and the one that names a zone (Kubernetes, "Well-Known Labels").
    pub const LABELS: [&'static str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

    /// With what labels say where nothing else does.
    #[must_use]
    pub fn or_labels(&self, labels: &Labels) -> Self {
        let [region, zone] = Self::LABELS.map(|label| labels.get(label).and_then(|value| value.parse().ok()));
        let Self { region: its_region, zone: its_zone, sub_zone } = self.clone();
        Self { region: its_region.or(region), zone: its_zone.or(zone), sub_zone }
    }
}
