//! What a control plane is started with.
use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use weft_certs::{MAX_LIFETIME, recovery::DEFAULT_WINDOW};
use weft_ir::MeshNames;
use weft_model::{ClusterName, TrustDomain};

/// Everything that a control plane is started with; the command line's form of it is [`Args`](crate::Args).
#[derive(Clone, Debug)]
pub struct Config {
    /// The store's directory, made if it is not there (its parent must be).
    pub dir: PathBuf,
    /// Where the key comes from that the CA's key is sealed under.
    pub sealing_key: SealingKeySource,
    /// Where the file that lets a person use the admin API is written (mode 0600); `None` writes none.
    pub context_file: Option<PathBuf>,
    /// Trust domain, mesh domain and cluster.
    pub names: MeshNames,
    /// Where xDS, the Agent streams and the certificate service are served. Port 0 is the system's choice.
    pub grpc: SocketAddr,
    /// Where the admin API is served. Port 0 is the system's choice.
    pub api: SocketAddr,
    /// How long a certificate is valid, a workload's and the control plane's own: [`MAX_LIFETIME`] if it is longer.
    pub leaf_lifetime: Duration,
    /// How long after its expiry a certificate may be used, once, to prove possession for the next; zero for never.
    pub recovery: Duration,
    /// How long a registration stands after the last message of its stream.
    pub lease: Duration,
}

impl Config {
    /// How long a workload's certificate is valid where nothing else is said (as in Istio and SPIRE's upper default).
    pub const DEFAULT_LEAF_LIFETIME: Duration = MAX_LIFETIME;
    /// How long a registration outlives its stream's last message where nothing else is said.
    pub const DEFAULT_LEASE: Duration = Duration::from_secs(10);

    /// A control plane on loopback with ports of the system's choice, and every other value at its default.
    pub fn on_loopback(dir: impl Into<PathBuf>, sealing_key: SealingKeySource) -> Self {
        Self {
            dir: dir.into(),
            sealing_key,
            context_file: None,
            names: default_names(),
            grpc: SocketAddr::from(([127, 0, 0, 1], 0)),
            api: SocketAddr::from(([127, 0, 0, 1], 0)),
            leaf_lifetime: Self::DEFAULT_LEAF_LIFETIME,
            recovery: DEFAULT_WINDOW,
            lease: Self::DEFAULT_LEASE,
        }
    }
}

/// The names of a mesh that was given no others: `weft.local`, `cluster.local`, `local`.
pub fn default_names() -> MeshNames {
    MeshNames {
        trust_domain: TrustDomain::default_domain(),
        mesh_domain: weft_model::Host::default_mesh_domain(),
        cluster: ClusterName::local(),
    }
}

/// Where the key comes from that the CA's key is sealed under. It never lies in the store's own directory: a copy of
/// the store alone must not be worth anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealingKeySource {
    /// 64 hexadecimal digits in the environment variable of this name.
    Variable(String),
    /// 64 hexadecimal digits in this file, which is made (mode 0600) with the first start.
    File(PathBuf),
}

impl fmt::Display for SealingKeySource {
    /// Where the key is, for logs; never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "${name}"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}
