//! The immutable, indexed view of its resources that a proxy decides from.
mod assembler;
mod cluster;
mod group;
mod index;
mod lanes;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use foldhash::fast::FixedState;
use smallvec::SmallVec;
use weft_ir::{Listener, MeshNames, Resource, ServiceKey};
use weft_model::{Host, Locality, Namespace, Port};

use self::index::ListenerEntry;
pub use self::{
    assembler::{Applied, Assembler, Output, Rejected, Update},
    cluster::ClusterEntry,
    index::{Chain, HostEntry, TcpEntry, Unusable, check},
};
pub(crate) use self::{
    group::{Candidate, Group},
    index::{HeaderPattern, Patterns, RequestPatterns, RulePatterns},
};

/// Where a proxy stands: what short host names mean there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The namespace of its workload.
    pub namespace: Namespace,
    /// The names of its mesh.
    pub names: MeshNames,
    /// In which region and zone.
    pub locality: Locality,
}

/// What is known of a host or service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// It is in the mesh.
    Present(T),
    /// The control plane has said that it is not.
    Absent,
    /// The control plane has not said anything yet.
    Unknown,
}

impl<T> Lookup<T> {
    /// What is known of something else that comes with it.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Lookup<U> {
        match self {
            Self::Present(it) => Lookup::Present(f(it)),
            Self::Absent => Lookup::Absent,
            Self::Unknown => Lookup::Unknown,
        }
    }
}

/// What a proxy decides from. Cloning shares everything; parts that a change does not touch are shared between
/// snapshots.
#[derive(Clone, Debug)]
pub struct Snapshot {
    scope: Arc<Scope>,
    revision: Arc<str>,
    /// Whether what is not there is absent rather than unknown.
    complete: bool,
    /// Whose clones of regular expressions are used.
    lane: usize,
    tables: Tables,
}

/// Keyed by what clients send, so its hash is seeded (std's SipHash).
type Hosts = HashMap<Host, SmallVec<[(Port, Option<Arc<HostEntry>>); 1]>>;

/// Keyed by configuration only.
type Clusters = HashMap<ServiceKey, Arc<ClusterEntry>, FixedState>;

/// The tables of a snapshot; `None` as a value is what is known to be absent.
#[derive(Clone, Debug, Default)]
struct Tables {
    listeners: Arc<BTreeMap<String, Arc<ListenerEntry>>>,
    tcp: Arc<BTreeMap<ServiceKey, Option<Arc<TcpEntry>>>>,
    hosts: Arc<Hosts>,
    clusters: Arc<Clusters>,
    /// For each server name the inbound listener and the chain's place in it.
    chains: Arc<HashMap<String, (Arc<ListenerEntry>, usize)>>,
}

impl Snapshot {
    /// A snapshot of everything there is: what is not among `resources` is absent. For simulation, proofs and tests; a
    /// proxy's comes from an [`Assembler`].
    ///
    /// # Errors
    /// The first resource that [`check`] refuses.
    pub fn complete(
        scope: Scope,
        revision: impl Into<Arc<str>>,
        resources: impl IntoIterator<Item = Resource>,
    ) -> Result<Self, Unusable> {
        let mut tables = Tables::default();
        let (mut clusters, mut endpoints) = (Vec::new(), HashMap::new());
        for resource in resources {
            match resource {
                Resource::Cluster(cluster) => clusters.push(cluster),
                Resource::Endpoints(it) => drop(endpoints.insert(it.name.clone(), it)),
                Resource::Listener(listener) => {
                    if let Some(entry) = TcpEntry::new(Arc::clone(&listener))? {
                        tables.put_tcp(entry.service().clone(), Some(Arc::new(entry)));
                    }
                    tables.put_listener(listener.name.clone(), Some(ListenerEntry::new(listener)?));
                }
                Resource::RouteConfiguration(_) => {}
                Resource::VirtualHost(host) => {
                    let entry = HostEntry::new(host)?;
                    let authority = entry.virtual_host().authority.clone();
                    tables.put_host(&authority.host, authority.port, Some(Arc::new(entry)));
                }
            }
        }
        for cluster in clusters {
            let its = endpoints.get(&cluster.name).map_or_else(|| no_endpoints(&cluster.name), Arc::clone);
            tables.put_cluster(cluster.name.clone(), Some(Arc::new(ClusterEntry::new(cluster, its, &scope.locality))));
        }
        tables.index_chains();
        Ok(Self { scope: Arc::new(scope), revision: revision.into(), complete: true, lane: 0, tables })
    }

    /// The same snapshot for one of several workers, numbered from 0: it decides alike and shares everything but what
    /// matching a regular expression writes to, so that workers do not meet there.
    #[must_use]
    pub fn for_lane(&self, lane: usize) -> Self {
        Self { lane, ..self.clone() }
    }

    pub(crate) fn lane(&self) -> usize {
        self.lane
    }

    /// Where the proxy stands.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The highest revision that the control plane had named when this was published; empty if none.
    pub fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    /// The host of a canonical authority.
    pub fn host(&self, host: &str, port: Port) -> Lookup<&HostEntry> {
        let ports = self.tables.hosts.get(host);
        let entry = ports.and_then(|ports| ports.iter().find(|(its, _)| *its == port));
        self.known(entry.map(|(_, entry)| entry.as_deref()))
    }

    /// The listener of a TCP service port.
    pub fn tcp(&self, service: &ServiceKey) -> Lookup<&TcpEntry> {
        self.known(self.tables.tcp.get(service).map(Option::as_deref))
    }

    /// A cluster and its endpoints, if it exists.
    pub fn cluster(&self, name: &ServiceKey) -> Option<&ClusterEntry> {
        self.tables.clusters.get(name).map(|entry| &**entry)
    }

    /// The listener of that xDS name.
    pub fn listener(&self, name: &str) -> Option<&Arc<Listener>> {
        self.tables.listeners.get(name).map(|entry| entry.listener())
    }

    /// The inbound chain of a hello's server name, which is compared without regard to case (RFC 6066 §3).
    pub fn chain(&self, server_name: &str) -> Option<Chain<'_>> {
        let found = self.tables.chains.get(server_name).or_else(|| {
            let shouts = server_name.bytes().any(|byte| byte.is_ascii_uppercase());
            shouts.then(|| self.tables.chains.get(&server_name.to_ascii_lowercase())).flatten()
        });
        let (listener, place) = found?;
        listener.chain(*place, self.lane)
    }

    /// Whether inbound chains are those of `other`, unchanged, so that whoever may use them is the same too. May say no
    /// where they are equal and were built anew.
    pub fn shares_chains(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tables.chains, &other.tables.chains)
    }

    /// Every listener, by name.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.tables.listeners.values().map(|entry| entry.listener())
    }

    /// Every host that is present, in no order.
    pub fn hosts(&self) -> impl Iterator<Item = &HostEntry> {
        self.tables.hosts.values().flatten().filter_map(|(_, entry)| entry.as_deref())
    }

    /// Every cluster with its endpoints, in no order.
    pub fn clusters(&self) -> impl Iterator<Item = &ClusterEntry> {
        self.tables.clusters.values().map(|entry| &**entry)
    }

    fn known<T>(&self, entry: Option<Option<T>>) -> Lookup<T> {
        match entry {
            Some(Some(entry)) => Lookup::Present(entry),
            Some(None) => Lookup::Absent,
            None if self.complete => Lookup::Absent,
            None => Lookup::Unknown,
        }
    }
}

fn no_endpoints(name: &ServiceKey) -> Arc<weft_ir::Endpoints> {
    Arc::new(weft_ir::Endpoints { name: name.clone(), endpoints: Vec::new() })
}

/// Copy on write: a table that a published snapshot shares is copied once, its entries stay shared.
impl Tables {
    fn put_listener(&mut self, name: String, listener: Option<ListenerEntry>) {
        let listeners = Arc::make_mut(&mut self.listeners);
        match listener {
            Some(listener) => drop(listeners.insert(name, Arc::new(listener))),
            None => drop(listeners.remove(&name)),
        }
    }

    fn put_tcp(&mut self, service: ServiceKey, entry: Option<Arc<TcpEntry>>) {
        Arc::make_mut(&mut self.tcp).insert(service, entry);
    }

    fn put_host(&mut self, host: &Host, port: Port, entry: Option<Arc<HostEntry>>) {
        let ports = Arc::make_mut(&mut self.hosts).entry(host.clone()).or_default();
        match ports.iter_mut().find(|(its, _)| *its == port) {
            Some((_, its)) => *its = entry,
            None => ports.push((port, entry)),
        }
    }

    fn put_cluster(&mut self, name: ServiceKey, entry: Option<Arc<ClusterEntry>>) {
        let clusters = Arc::make_mut(&mut self.clusters);
        match entry {
            Some(entry) => drop(clusters.insert(name, entry)),
            None => drop(clusters.remove(&name)),
        }
    }

    fn forget_host(&mut self, host: &Host, port: Port) {
        let hosts = Arc::make_mut(&mut self.hosts);
        if let Some(ports) = hosts.get_mut(host) {
            ports.retain(|(its, _)| *its != port);
            if ports.is_empty() {
                hosts.remove(host);
            }
        }
    }

    fn index_chains(&mut self) {
        let chains = self.listeners.values().flat_map(|listener| {
            let numbered = listener.server_names().enumerate();
            numbered.map(move |(place, name)| (name.to_ascii_lowercase(), (Arc::clone(listener), place)))
        });
        self.chains = Arc::new(chains.collect());
    }
}
