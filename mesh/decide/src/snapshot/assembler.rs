//! From single resources, in whatever order they come, to snapshots that always hold together (make-before-break).
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_ir::{Cluster, Endpoints, Listener, ListenerBody, Resource, ResourceKey, ResourceType, ServiceKey};

use super::{ClusterEntry, HostEntry, ListenerEntry, Scope, Snapshot, Tables, TcpEntry, Unusable, no_endpoints};
use crate::Destination;

/// How many hosts are remembered, and subscribed to, that are not in the mesh or not answered yet. An application that
/// asks for more makes the oldest be forgotten, so random hosts cost neither memory nor subscriptions.
const MAX_STRANGERS: usize = 1024;

/// What an xDS client has accepted.
#[derive(Clone, Debug)]
pub enum Update {
    /// A resource, new or in a new version.
    Present(Resource),
    /// The server says that there is no such resource.
    Removed(ResourceKey),
}

/// What a step comes to.
#[derive(Debug, Default)]
#[must_use]
pub struct Output {
    /// What to subscribe to, ordered; the name `*` stands for the wildcard of its type.
    pub subscribe: BTreeSet<ResourceKey>,
    /// What to unsubscribe from, ordered. Nothing of it is held any longer.
    pub unsubscribe: BTreeSet<ResourceKey>,
    /// A new snapshot, where something that can be decided from has changed.
    pub snapshot: Option<Arc<Snapshot>>,
    /// What has come into effect with it: the newest version that was given to [`Assembler::apply`] of each.
    pub applied: Vec<Applied>,
    /// What cannot be used; the last good version stays. Nothing that [`check`](crate::check) takes
    /// ends here.
    pub rejected: Vec<Rejected>,
}

/// A resource, or its removal, that has come into effect: what a receipt says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Applied {
    /// The resource.
    pub key: ResourceKey,
    /// Whether it is there; `false` for a removal.
    pub present: bool,
}

/// A resource that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The resource.
    pub key: ResourceKey,
    /// Why.
    pub reason: Unusable,
}

/// The machine between an xDS client and the snapshots that workers decide from.
///
/// A host or TCP listener is published once every cluster that it names, and that cluster's endpoints, have been
/// answered (present or removed); until then its last version stays, with the clusters that this one names even if they
/// are removed meanwhile. A change of a published cluster's own is published at once. What nothing names any longer is
/// unsubscribed and dropped.
#[derive(Debug)]
pub struct Assembler {
    snapshot: Arc<Snapshot>,
    destinations: BTreeMap<Destination, Slot>,
    clusters: BTreeMap<ServiceKey, ClusterSlot>,
    route_configurations: BTreeSet<String>,
    /// Destinations with a version that is not in effect yet.
    pending: BTreeSet<Destination>,
    /// Clusters to look at before the step ends.
    touched: BTreeSet<ServiceKey>,
    /// Hosts that are not present, by the order in which they were asked for.
    strangers: BTreeMap<u64, Destination>,
    asked: u64,
}

/// A host or TCP listener that is asked for.
#[derive(Debug)]
struct Slot {
    asked: u64,
    newest: Option<Version>,
    published: Option<Version>,
}

/// One answer for a destination: an entry or its absence, and the clusters that it holds.
#[derive(Debug, Default)]
struct Version {
    entry: Option<Entry>,
    clusters: BTreeSet<ServiceKey>,
}

#[derive(Debug)]
enum Entry {
    Host(Arc<HostEntry>),
    Tcp(Arc<TcpEntry>),
}

/// A cluster that some version names.
#[derive(Debug, Default)]
struct ClusterSlot {
    /// How many versions name it.
    users: usize,
    cluster: Answer<Arc<Cluster>>,
    endpoints: Answer<Arc<Endpoints>>,
}

/// What the server said of one resource.
#[derive(Debug)]
struct Answer<T> {
    /// `None`: nothing yet; `Some(None)`: there is none.
    value: Option<Option<T>>,
    /// Whether it is not in effect yet.
    fresh: bool,
}

impl<T> Default for Answer<T> {
    fn default() -> Self {
        Self { value: None, fresh: false }
    }
}

impl<T> Answer<T> {
    fn set(&mut self, value: Option<T>) {
        *self = Self { value: Some(value), fresh: true };
    }

    fn present(&self) -> Option<&T> {
        self.value.as_ref()?.as_ref()
    }

    fn is_absent(&self) -> bool {
        matches!(self.value, Some(None))
    }
}

impl ClusterSlot {
    fn is_answered(&self) -> bool {
        self.cluster.value.is_some() && self.endpoints.value.is_some()
    }
}

impl Assembler {
    /// A machine that knows nothing yet, and what to subscribe to: all listeners that the server has for this proxy,
    /// and those of the TCP services that the proxy listens for.
    pub fn new(scope: Scope, services: impl IntoIterator<Item = ServiceKey>) -> (Self, Output) {
        let snapshot = Snapshot {
            scope: Arc::new(scope),
            revision: "".into(),
            complete: false,
            lane: 0,
            tables: Tables::default(),
        };
        let mut assembler = Self {
            snapshot: Arc::new(snapshot),
            destinations: BTreeMap::new(),
            clusters: BTreeMap::new(),
            route_configurations: BTreeSet::new(),
            pending: BTreeSet::new(),
            touched: BTreeSet::new(),
            strangers: BTreeMap::new(),
            asked: 0,
        };
        let mut output = Output::default();
        output.subscribe.insert(ResourceKey::new(ResourceType::Listener, "*"));
        for service in services {
            assembler.want(Destination::Service(service), &mut output);
        }
        output.snapshot = Some(Arc::clone(&assembler.snapshot));
        (assembler, output)
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// All that is subscribed to.
    pub fn subscriptions(&self) -> BTreeSet<ResourceKey> {
        let listeners = [ResourceKey::new(ResourceType::Listener, "*")];
        let routes = self.route_configurations.iter();
        let routes = routes.map(|name| ResourceKey::new(ResourceType::RouteConfiguration, name.as_str()));
        let clusters = self.clusters.keys().flat_map(|name| [ResourceKey::cluster(name), ResourceKey::endpoints(name)]);
        listeners.into_iter().chain(routes).chain(self.destinations.keys().map(key)).chain(clusters).collect()
    }

    /// The data path asks for a destination. Asking again changes nothing.
    pub fn ask(&mut self, destination: Destination) -> Output {
        let mut output = Output::default();
        let mut draft = self.draft();
        self.want(destination, &mut output);
        while self.strangers.len() > MAX_STRANGERS {
            let Some((_, oldest)) = self.strangers.pop_first() else { break };
            self.drop_destination(&oldest, &mut draft, &mut output);
        }
        self.settle(draft, &mut output);
        output
    }

    /// Nothing uses a destination any longer.
    pub fn forget(&mut self, destination: &Destination) -> Output {
        let mut output = Output::default();
        let mut draft = self.draft();
        self.drop_destination(destination, &mut draft, &mut output);
        self.settle(draft, &mut output);
        output
    }

    /// Takes what the server said, in the order in which it said it. `revision` is the highest that it has named; empty
    /// for none. What nobody subscribed to is not kept.
    pub fn apply(&mut self, updates: impl IntoIterator<Item = Update>, revision: &str) -> Output {
        let mut output = Output::default();
        let mut draft = self.draft();
        if !revision.is_empty() && *draft.revision != *revision {
            draft.revision = revision.into();
            draft.changed = true;
        }
        for update in updates {
            match update {
                Update::Present(resource) => self.take(resource, &mut draft, &mut output),
                Update::Removed(key) => self.remove(&key, &mut draft, &mut output),
            }
        }
        self.settle(draft, &mut output);
        output
    }

    /// Takes a last good configuration from before a restart, in any order: its hosts count as asked for.
    pub fn restore(&mut self, resources: impl IntoIterator<Item = Resource>, revision: &str) -> Output {
        let (mut first, mut then) = (Vec::new(), Vec::new());
        let mut asked = Output::default();
        for resource in resources {
            match &resource {
                Resource::VirtualHost(host) => {
                    self.want(Destination::Host(host.authority.clone()), &mut asked);
                    first.push(resource);
                }
                Resource::Listener(_) | Resource::RouteConfiguration(_) => first.push(resource),
                Resource::Cluster(_) | Resource::Endpoints(_) => then.push(resource),
            }
        }
        let mut output = self.apply(first.into_iter().chain(then).map(Update::Present), revision);
        output.subscribe.append(&mut asked.subscribe);
        output
    }

    fn draft(&self) -> Draft {
        Draft {
            tables: self.snapshot.tables.clone(),
            revision: Arc::clone(&self.snapshot.revision),
            changed: false,
            inbound_changed: false,
        }
    }

    fn want(&mut self, destination: Destination, output: &mut Output) {
        if self.destinations.contains_key(&destination) {
            return;
        }
        output.subscribe.insert(key(&destination));
        self.asked += 1;
        if matches!(destination, Destination::Host(_)) {
            self.strangers.insert(self.asked, destination.clone());
        }
        self.destinations.insert(destination, Slot { asked: self.asked, newest: None, published: None });
    }

    fn take(&mut self, resource: Resource, draft: &mut Draft, output: &mut Output) {
        match resource {
            Resource::Cluster(cluster) => {
                if let Some(slot) = self.clusters.get_mut(&cluster.name) {
                    self.touched.insert(cluster.name.clone());
                    slot.cluster.set(Some(cluster));
                }
            }
            Resource::Endpoints(endpoints) => {
                if let Some(slot) = self.clusters.get_mut(&endpoints.name) {
                    self.touched.insert(endpoints.name.clone());
                    slot.endpoints.set(Some(endpoints));
                }
            }
            Resource::Listener(listener) => {
                let key = ResourceKey::new(ResourceType::Listener, listener.name.as_str());
                if let Err(reason) = self.take_listener(listener, draft, output) {
                    output.rejected.push(Rejected { key, reason });
                }
            }
            Resource::RouteConfiguration(it) => {
                let key = ResourceKey::new(ResourceType::RouteConfiguration, it.name.as_str());
                output.applied.push(Applied { key, present: true });
            }
            Resource::VirtualHost(host) => {
                let key = ResourceKey::virtual_host(&host.authority);
                match HostEntry::new(host) {
                    Ok(entry) => {
                        let clusters = entry.clusters().cloned().collect();
                        let destination = Destination::Host(entry.virtual_host().authority.clone());
                        let version = Version { entry: Some(Entry::Host(Arc::new(entry))), clusters };
                        self.answer(destination, version, output);
                    }
                    Err(reason) => output.rejected.push(Rejected { key, reason }),
                }
            }
        }
    }

    fn take_listener(
        &mut self,
        listener: Arc<Listener>,
        draft: &mut Draft,
        output: &mut Output,
    ) -> Result<(), Unusable> {
        if let Some(entry) = TcpEntry::new(Arc::clone(&listener))? {
            let clusters = [entry.body().cluster.clone()].into();
            let destination = Destination::Service(entry.service().clone());
            let version = Version { entry: Some(Entry::Tcp(Arc::new(entry))), clusters };
            self.answer(destination, version, output);
        } else {
            let name = listener.name.clone();
            self.put_listener(name, Some(ListenerEntry::new(listener)?), draft, output);
        }
        Ok(())
    }

    fn remove(&mut self, key: &ResourceKey, draft: &mut Draft, output: &mut Output) {
        match key.resource_type {
            ResourceType::Cluster | ResourceType::Endpoints => {
                let Ok(name) = key.name.parse::<ServiceKey>() else { return };
                let Some(slot) = self.clusters.get_mut(&name) else { return };
                match key.resource_type {
                    ResourceType::Cluster => slot.cluster.set(None),
                    _ => slot.endpoints.set(None),
                }
                self.touched.insert(name);
            }
            ResourceType::Listener => {
                let service = key.name.strip_prefix("outbound/").and_then(|name| name.parse().ok());
                match service {
                    Some(service) => self.answer(Destination::Service(service), Version::default(), output),
                    None => self.put_listener(key.name.to_string(), None, draft, output),
                }
            }
            ResourceType::RouteConfiguration => output.applied.push(Applied { key: key.clone(), present: false }),
            ResourceType::VirtualHost => {
                if let Some(host) = weft_ir::HostPort::from_resource_name(&key.name) {
                    self.answer(Destination::Host(host), Version::default(), output);
                }
            }
        }
    }

    /// Keeps the newest answer for a destination until it can take effect.
    fn answer(&mut self, destination: Destination, version: Version, output: &mut Output) {
        let Some(slot) = self.destinations.get_mut(&destination) else { return };
        let clusters = version.clusters.clone();
        let replaced = slot.newest.replace(version);
        self.pending.insert(destination);
        // The new ones first, so that what both name is never without a user.
        for name in clusters {
            self.retain(name, output);
        }
        self.release(replaced);
    }

    /// The two kinds of listener that wait for nothing.
    fn put_listener(&mut self, name: String, listener: Option<ListenerEntry>, draft: &mut Draft, output: &mut Output) {
        let key = ResourceKey::new(ResourceType::Listener, name.as_str());
        output.applied.push(Applied { key, present: listener.is_some() });
        draft.tables.put_listener(name, listener);
        draft.changed = true;
        draft.inbound_changed = true;
        let named = draft.tables.listeners.values().filter_map(|entry| match &entry.listener().body {
            ListenerBody::OutboundHttp { route_configuration } => Some(route_configuration.clone()),
            ListenerBody::OutboundTcp(_) | ListenerBody::Inbound(_) => None,
        });
        let named: BTreeSet<_> = named.collect();
        let key = |name: &String| ResourceKey::new(ResourceType::RouteConfiguration, name.as_str());
        for name in named.difference(&self.route_configurations) {
            output.begin(key(name));
        }
        for name in self.route_configurations.difference(&named) {
            output.end(key(name));
        }
        self.route_configurations = named;
    }

    fn retain(&mut self, name: ServiceKey, output: &mut Output) {
        let slot = self.clusters.entry(name.clone()).or_insert_with(|| {
            output.begin(ResourceKey::cluster(&name));
            output.begin(ResourceKey::endpoints(&name));
            ClusterSlot::default()
        });
        slot.users += 1;
        self.touched.insert(name);
    }

    fn release(&mut self, version: Option<Version>) {
        for name in version.map(|version| version.clusters).into_iter().flatten() {
            if let Some(slot) = self.clusters.get_mut(&name) {
                slot.users = slot.users.saturating_sub(1);
            }
            self.touched.insert(name);
        }
    }

    fn drop_destination(&mut self, destination: &Destination, draft: &mut Draft, output: &mut Output) {
        let Some(slot) = self.destinations.remove(destination) else { return };
        self.strangers.remove(&slot.asked);
        self.pending.remove(destination);
        output.end(key(destination));
        if slot.published.is_some() {
            draft.changed = true;
            draft.forget(destination);
        }
        self.release(slot.newest);
        self.release(slot.published);
    }

    /// Publishes what can be, and drops what nothing names any longer.
    fn settle(&mut self, mut draft: Draft, output: &mut Output) {
        for destination in std::mem::take(&mut self.pending) {
            if !self.publish(&destination, &mut draft, output) {
                self.pending.insert(destination);
            }
        }
        for name in std::mem::take(&mut self.touched) {
            self.settle_cluster(name, &mut draft, output);
        }
        if draft.inbound_changed {
            draft.tables.index_chains();
        }
        if draft.changed {
            let scope = Arc::clone(&self.snapshot.scope);
            let snapshot = Snapshot { scope, revision: draft.revision, complete: false, lane: 0, tables: draft.tables };
            self.snapshot = Arc::new(snapshot);
            output.snapshot = Some(Arc::clone(&self.snapshot));
        }
    }

    /// Brings a destination's newest version into effect if all that it names has been answered; whether it did.
    fn publish(&mut self, destination: &Destination, draft: &mut Draft, output: &mut Output) -> bool {
        let Some(slot) = self.destinations.get_mut(destination) else { return true };
        let clusters = &self.clusters;
        let is_ready = |version: &mut Version| {
            version.clusters.iter().all(|name| clusters.get(name).is_some_and(ClusterSlot::is_answered))
        };
        let Some(version) = slot.newest.take_if(is_ready) else { return slot.newest.is_none() };
        let present = version.entry.is_some();
        draft.put(destination, version.entry.as_ref());
        output.applied.push(Applied { key: key(destination), present });
        match destination {
            Destination::Host(_) if present => drop(self.strangers.remove(&slot.asked)),
            Destination::Host(_) => drop(self.strangers.insert(slot.asked, destination.clone())),
            Destination::Service(_) => {}
        }
        let before = slot.published.replace(version);
        self.release(before);
        true
    }

    /// Brings a cluster into the draft, or out of it.
    fn settle_cluster(&mut self, name: ServiceKey, draft: &mut Draft, output: &mut Output) {
        let is_held = self.is_held(&name);
        let Some(slot) = self.clusters.get_mut(&name) else { return };
        if slot.users == 0 {
            self.clusters.remove(&name);
            output.end(ResourceKey::cluster(&name));
            output.end(ResourceKey::endpoints(&name));
            if draft.tables.clusters.contains_key(&name) {
                draft.changed = true;
                draft.tables.put_cluster(name, None);
            }
            return;
        }
        let loses = slot.cluster.is_absent() || slot.endpoints.is_absent();
        let fresh = slot.cluster.fresh || slot.endpoints.fresh;
        if !fresh || !slot.is_answered() || (loses && is_held) {
            return;
        }
        if std::mem::take(&mut slot.cluster.fresh) {
            let present = slot.cluster.present().is_some();
            output.applied.push(Applied { key: ResourceKey::cluster(&name), present });
        }
        if std::mem::take(&mut slot.endpoints.fresh) {
            let present = slot.endpoints.present().is_some();
            output.applied.push(Applied { key: ResourceKey::endpoints(&name), present });
        }
        let entry = slot.cluster.present().map(|cluster| {
            let endpoints = slot.endpoints.present().map_or_else(|| no_endpoints(&name), Arc::clone);
            Arc::new(ClusterEntry::new(Arc::clone(cluster), endpoints, &self.snapshot.scope.locality))
        });
        draft.tables.put_cluster(name, entry);
        draft.changed = true;
    }

    /// Whether a version that is about to be replaced still routes to the cluster: it keeps it until then.
    fn is_held(&self, name: &ServiceKey) -> bool {
        let waiting = self.pending.iter().filter_map(|destination| self.destinations.get(destination));
        let mut held = waiting.filter_map(|slot| slot.published.as_ref());
        held.any(|version| version.clusters.contains(name))
    }
}

impl Output {
    fn begin(&mut self, key: ResourceKey) {
        self.subscribe.insert(key);
    }

    /// What began within this step needs no word of its end.
    fn end(&mut self, key: ResourceKey) {
        if !self.subscribe.remove(&key) {
            self.unsubscribe.insert(key);
        }
    }
}

fn key(destination: &Destination) -> ResourceKey {
    match destination {
        Destination::Host(host) => ResourceKey::virtual_host(host),
        Destination::Service(service) => ResourceKey::new(ResourceType::Listener, Listener::outbound_name(service)),
    }
}

/// The next snapshot in the making.
struct Draft {
    tables: Tables,
    revision: Arc<str>,
    changed: bool,
    inbound_changed: bool,
}

impl Draft {
    fn put(&mut self, destination: &Destination, entry: Option<&Entry>) {
        self.changed = true;
        match (destination, entry) {
            (Destination::Host(host), Some(Entry::Host(entry))) => {
                self.tables.put_host(&host.host, host.port, Some(Arc::clone(entry)));
            }
            (Destination::Service(service), Some(Entry::Tcp(entry))) => {
                self.tables.put_tcp(service.clone(), Some(Arc::clone(entry)));
                let listener = ListenerEntry::outbound(Arc::clone(entry.listener()));
                self.tables.put_listener(entry.listener().name.clone(), Some(listener));
            }
            (Destination::Host(host), None | Some(Entry::Tcp(_))) => {
                self.tables.put_host(&host.host, host.port, None);
            }
            (Destination::Service(service), None | Some(Entry::Host(_))) => {
                self.tables.put_tcp(service.clone(), None);
                self.tables.put_listener(Listener::outbound_name(service), None);
            }
        }
    }

    fn forget(&mut self, destination: &Destination) {
        match destination {
            Destination::Host(host) => self.tables.forget_host(&host.host, host.port),
            Destination::Service(service) => {
                Arc::make_mut(&mut self.tables.tcp).remove(service);
                self.tables.put_listener(Listener::outbound_name(service), None);
            }
        }
    }
}

#[cfg(test)]
mod tests;
