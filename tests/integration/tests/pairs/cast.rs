//! The fixed cast: who calls and who is called in every configuration.
use std::net::SocketAddr;

use weft_decide::Scope;
use weft_ir::MeshNames;
use weft_model::{ClusterName, Host, Locality, Port, SpiffeId, TrustDomain, WorkloadRef};

use crate::dice::valid;

/// One workload with a data plane and an application.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its namespace.
    pub(crate) namespace: &'static str,
    /// Its name.
    pub(crate) name: &'static str,
    /// Its account.
    pub(crate) account: &'static str,
    /// The trust domain of its identity.
    pub(crate) domain: &'static str,
}

/// The trust domain of the mesh.
pub(crate) const OWN_DOMAIN: &str = "weft.local";

/// The trust domain of the outsider, which all trust.
pub(crate) const OTHER_DOMAIN: &str = "other.example";

/// Two instances share an identity, two namespaces share an account's name, and the last one is an outsider: nobody's
/// endpoint, with the namespace and account of another but of a foreign trust domain.
pub(crate) const CAST: [Member; 6] = [
    Member { namespace: "shop", name: "web-0", account: "web", domain: OWN_DOMAIN },
    Member { namespace: "shop", name: "cart-0", account: "cart", domain: OWN_DOMAIN },
    Member { namespace: "shop", name: "cart-1", account: "cart", domain: OWN_DOMAIN },
    Member { namespace: "bank", name: "ledger-0", account: "ledger", domain: OWN_DOMAIN },
    Member { namespace: "bank", name: "web-0", account: "web", domain: OWN_DOMAIN },
    Member { namespace: "shop", name: "guest", account: "web", domain: OTHER_DOMAIN },
];

/// How many of the cast are called: all but the outsider.
pub(crate) const CALLED: usize = CAST.len() - 1;

impl Member {
    /// Its identity.
    pub(crate) fn identity(&self) -> SpiffeId {
        SpiffeId::of_account(&valid(self.domain), &valid(self.namespace), &valid(self.account))
    }

    /// What names it.
    pub(crate) fn workload(&self) -> WorkloadRef {
        WorkloadRef { namespace: valid(self.namespace), name: valid(self.name) }
    }

    /// Where its proxy stands.
    pub(crate) fn scope(&self) -> Scope {
        Scope { namespace: valid(self.namespace), names: names(), locality: own_place() }
    }
}

/// The names of the mesh.
pub(crate) fn names() -> MeshNames {
    MeshNames {
        trust_domain: TrustDomain::default_domain(),
        mesh_domain: Host::default_mesh_domain(),
        cluster: ClusterName::local(),
    }
}

/// Where every caller stands.
fn own_place() -> Locality {
    Locality { region: Some(valid("eu")), zone: Some(valid("a")), sub_zone: None }
}

/// Where a called member is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Its proxy.
    pub(crate) inbound: SocketAddr,
    /// Its application's two ports, named `http` and `alt`.
    pub(crate) ports: [Port; 2],
}

/// The names of an application's ports.
pub(crate) const PORT_NAMES: [&str; 2] = ["http", "alt"];
