//! What one stream's client may see, and what it must not lose.
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use weft_compile::Compiler;
use weft_ir::{Feature, Listener, ResourceKey, ResourceType};
use weft_model::{Kind, Object, ObjectRef, Revision, WorkloadRef};
use weft_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use weft_xds::{Found, Lookup, resource_type};

use crate::{registry::Account, state::MeshState};

/// What is known of a stream's client beside its subscriptions.
#[derive(Debug)]
pub(crate) struct ClientView {
    pub(crate) state: Arc<MeshState>,
    /// The xDS name of the one inbound listener that it may have.
    inbound: Arc<str>,
    account: Account,
    /// Its own Workload object, which may be of another account than the client's.
    own: ObjectRef,
    features: Option<BTreeSet<Feature>>,
    /// The versions that it came with: what it holds from another stream, perhaps of another control plane.
    claims: HashMap<ResourceKey, String>,
    /// The types of which it has said what it came with: the first request of each.
    heard: BTreeSet<ResourceType>,
    /// The highest revision that it has seen; `None` where it has seen none.
    seen: Option<Revision>,
    /// Whether what it has seen is of another store, or a later state of this one.
    is_ahead: bool,
    /// The types of which too much of what it came with is unknown here: nothing it came with is taken away.
    guarded: BTreeSet<ResourceType>,
    /// Whether every live workload has had the time to register since this control plane started.
    pub(crate) settled: bool,
}

impl ClientView {
    pub(crate) fn new(
        state: Arc<MeshState>,
        workload: &WorkloadRef,
        account: Account,
        features: Option<BTreeSet<Feature>>,
        seen: Option<Revision>,
        settled: bool,
    ) -> Self {
        let own = state.revision();
        let is_ahead = seen.as_ref().is_some_and(|seen| seen.epoch() != own.epoch() || own.is_behind(seen));
        let inbound = Listener::inbound_name(workload).into();
        let WorkloadRef { namespace, name } = workload.clone();
        let own_object = ObjectRef { kind: Kind::Workload, namespace, name };
        let (claims, heard, guarded) = (HashMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { state, inbound, account, own: own_object, features, claims, heard, seen, is_ahead, guarded, settled }
    }

    /// Notes which versions a request names, before the session takes it.
    ///
    /// The wipe guard: a client that knows another epoch or a later revision, and names a type of which this control
    /// plane does not know more than half, keeps what it has of it.
    pub(crate) fn claim(&mut self, request: &DeltaDiscoveryRequest) {
        let Some(resource_type) = resource_type(&request.type_url) else { return };
        if !self.heard.insert(resource_type) {
            return;
        }
        // As the session bounds them; what is beyond is refused there.
        let named = request.initial_resource_versions.iter().take(2 * weft_xds::MAX_NAMES);
        let mut unknown = 0;
        for (name, version) in named {
            let key = ResourceKey::new(resource_type, name.as_str());
            unknown += usize::from(self.state.look(|compiler| compiler.resource(&key).is_none()));
            if !self.is_as_claimed(&key, version) {
                self.claims.insert(key, version.clone());
            }
        }
        if self.is_ahead && unknown * 2 > request.initial_resource_versions.len() {
            self.guarded.insert(resource_type);
        }
    }

    /// Looks at changed keys for endpoints that have come to what the client holds: all of them have registered again,
    /// so what changes from then on is meant.
    pub(crate) fn changed(&mut self, keys: &[ResourceKey]) {
        if self.settled {
            return;
        }
        for key in keys.iter().filter(|key| key.resource_type == ResourceType::Endpoints) {
            if self.claims.get(key).is_some_and(|version| self.is_as_claimed(key, version)) {
                self.claims.remove(key);
            }
        }
    }

    fn is_as_claimed(&self, key: &ResourceKey, version: &str) -> bool {
        self.state.encoded(key).is_some_and(|encoded| encoded.version.as_str() == version)
    }

    /// Whether the client has seen another store, or a later state of this one.
    pub(crate) fn is_ahead(&self) -> bool {
        self.is_ahead
    }

    /// Whether `own` is behind what the client has seen of the same store.
    pub(crate) fn is_ahead_of(&self, own: &Revision) -> bool {
        self.seen.as_ref().is_some_and(|seen| own.is_behind(seen))
    }

    /// From now on what is not registered is gone.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
        if self.guarded.is_empty() {
            self.claims = HashMap::new();
        }
    }

    /// Whether the client may have this key at all: an inbound listener is its own workload's alone.
    fn is_visible(&self, key: &ResourceKey) -> bool {
        if key.resource_type != ResourceType::Listener || !key.name.starts_with("inbound/") {
            return true;
        }
        let of_account = |compiler: &Compiler| match compiler.stored(&self.own).map(|stored| &stored.object) {
            Some(Object::Workload(workload)) => workload.account == self.account.account,
            _ => true,
        };
        key.name == self.inbound && self.state.look(of_account)
    }

    fn is_readable(&self, key: &ResourceKey) -> bool {
        let Some(features) = &self.features else { return true };
        self.state.look(|compiler| compiler.resource(key).is_none_or(|resource| resource.needs().is_subset(features)))
    }
}

impl Lookup for ClientView {
    fn find(&self, key: &ResourceKey) -> Found {
        if !self.is_visible(key) {
            return Found::Absent;
        }
        let unsettled = |version: Option<&str>| {
            let claimed = self.claims.get(key);
            !self.settled
                && key.resource_type == ResourceType::Endpoints
                && claimed.is_some_and(|claimed| Some(claimed.as_str()) != version)
        };
        match self.state.encoded(key) {
            // What a reader lacks is not pushed to it: it keeps what it has.
            Some(_) if !self.is_readable(key) => Found::Unsettled,
            Some(encoded) if unsettled(Some(encoded.version.as_str())) => Found::Unsettled,
            Some(encoded) => Found::Resource(encoded),
            // Its own listener goes with its registration, which it may be about to renew: never a reason to stop
            // serving.
            None if key.name == self.inbound && key.resource_type == ResourceType::Listener => Found::Unsettled,
            None if unsettled(None) => Found::Unsettled,
            None if self.guarded.contains(&key.resource_type) && self.claims.contains_key(key) => Found::Unsettled,
            None => Found::Absent,
        }
    }

    fn wildcard(&self, resource_type: ResourceType) -> Vec<Arc<str>> {
        match resource_type {
            ResourceType::Listener => vec![Listener::OUTBOUND.into(), self.inbound.clone()],
            ResourceType::Cluster
            | ResourceType::Endpoints
            | ResourceType::RouteConfiguration
            | ResourceType::VirtualHost => Vec::new(),
        }
    }

    fn revision(&self) -> String {
        self.state.revision().to_string()
    }
}
