//! What one stream's client may see, and what it must not lose.
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use weft_compile::Compiler;
use weft_ir::{Feature, Listener, Resource, ResourceKey, ResourceType};
use weft_model::{Kind, Object, ObjectRef, Revision, WorkloadRef};
use weft_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use weft_xds::{Found, Guard, Lookup, resource_type};

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
    /// What it keeps of what it came with although nothing of it is known here.
    guard: Guard,
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
        let guard = Guard::new(seen, &state.revision());
        let inbound = Listener::inbound_name(workload).into();
        let WorkloadRef { namespace, name } = workload.clone();
        let own_object = ObjectRef { kind: Kind::Workload, namespace, name };
        let (claims, heard) = (HashMap::new(), BTreeSet::new());
        Self { state, inbound, account, own: own_object, features, claims, heard, guard, settled }
    }

    /// Notes which versions a request names, before the session takes it. Returns whether something is now held back.
    ///
    /// The wipe guard: a client that has seen another epoch or a later revision keeps what it names and this control
    /// plane does not know, until a person confirms.
    pub(crate) fn claim(&mut self, request: &DeltaDiscoveryRequest) -> bool {
        let Some(resource_type) = resource_type(&request.type_url) else { return false };
        if !self.heard.insert(resource_type) {
            return false;
        }
        let before = self.guard.len();
        // As the session bounds them; what is beyond is refused there.
        for (name, version) in request.initial_resource_versions.iter().take(2 * weft_xds::MAX_NAMES) {
            let key = ResourceKey::new(resource_type, name.as_str());
            if self.only_adds() && resource_type == ResourceType::Endpoints && !self.is_as_claimed(&key, version) {
                self.claims.insert(key.clone(), version.clone());
            }
            match self.is_visible(&key) {
                true if self.is_known(&key) => {}
                // It is there again once the client has registered.
                true if self.is_own_inbound(&key) => self.guard.claimed_unregistered(key),
                true | false => self.guard.claimed_unknown(key),
            }
        }
        self.guard.len() != before
    }

    /// Looks at changed keys for endpoints that have come to what the client holds: all of them have registered again,
    /// so what changes from then on is meant. And for what is known now: it is no longer held back. Returns whether
    /// there was any.
    pub(crate) fn changed(&mut self, keys: &BTreeSet<ResourceKey>) -> bool {
        let before = self.guard.len();
        if before > 0 {
            for key in keys {
                if self.is_visible(key) && self.is_known(key) {
                    self.guard.appeared(key);
                }
            }
        }
        if !self.only_adds() {
            return self.guard.len() != before;
        }
        for key in keys.iter().filter(|key| key.resource_type == ResourceType::Endpoints) {
            if self.claims.get(key).is_some_and(|version| self.is_as_claimed(key, version)) {
                self.claims.remove(key);
            }
        }
        self.guard.len() != before
    }

    /// Whether the client holds this from another stream, so that a change of it must be looked at whatever it asked for.
    pub(crate) fn keeps(&self, key: &ResourceKey) -> bool {
        self.claims.contains_key(key) || self.guard.holds(key)
    }

    fn is_as_claimed(&self, key: &ResourceKey, version: &str) -> bool {
        self.state.encoded(key).is_some_and(|encoded| encoded.version.as_str() == version)
    }

    /// What is held back from the client's sight.
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Whether the client comes from another history, and of what it has named so far nothing is missing here, no endpoint
    /// either: nobody need be asked whether it may go on with this one.
    pub(crate) fn is_lossless(&self) -> bool {
        self.guard.is_lossless() && self.claims.is_empty()
    }

    /// A person has confirmed the removals.
    pub(crate) fn confirm(&mut self) {
        self.guard.confirm();
        if self.settled {
            self.claims = HashMap::new();
        }
    }

    /// Whether the client keeps the endpoints that it came with until all of them are back: every live workload has not
    /// had the time to register yet, or the store may be too old to know them.
    fn only_adds(&self) -> bool {
        !self.settled || self.guard.is_elsewhere()
    }

    /// Whether `own` is behind what the client has seen of the same store.
    pub(crate) fn is_ahead_of(&self, own: &Revision) -> bool {
        self.guard.seen().is_some_and(|seen| own.is_behind(seen))
    }

    /// From now on what is not registered is gone.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
        if !self.only_adds() {
            self.claims = HashMap::new();
        }
    }

    fn is_known(&self, key: &ResourceKey) -> bool {
        self.state.look(|compiler| compiler.resource(key).is_some())
    }

    fn is_own_inbound(&self, key: &ResourceKey) -> bool {
        key.resource_type == ResourceType::Listener && key.name == self.inbound
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

    fn has_endpoints(&self, key: &ResourceKey) -> bool {
        self.state.look(|compiler| match compiler.resource(key) {
            Some(Resource::Endpoints(it)) => !it.endpoints.is_empty(),
            _ => false,
        })
    }

    fn is_readable(&self, key: &ResourceKey) -> bool {
        let Some(features) = &self.features else { return true };
        self.state.look(|compiler| compiler.resource(key).is_none_or(|resource| resource.needs().is_subset(features)))
    }
}

impl Lookup for ClientView {
    fn find(&self, key: &ResourceKey) -> Found {
        if !self.is_visible(key) {
            return if self.guard.holds(key) { Found::Unsettled } else { Found::Absent };
        }
        let unsettled = |version: Option<&str>| {
            let claimed = self.claims.get(key);
            self.only_adds()
                && key.resource_type == ResourceType::Endpoints
                && claimed.is_some_and(|claimed| Some(claimed.as_str()) != version)
        };
        match self.state.encoded(key) {
            // What a reader lacks is not pushed to it: it keeps what it has.
            Some(_) if !self.is_readable(key) => Found::Unsettled,
            Some(encoded) if unsettled(Some(encoded.version.as_str())) => match self.has_endpoints(key) {
                true => Found::Partial(encoded),
                false => Found::Unsettled,
            },
            Some(encoded) => Found::Resource(encoded),
            // Its own listener goes with its registration, which it may be about to renew: never a reason to stop
            // serving.
            None if self.is_own_inbound(key) => Found::Unsettled,
            None if unsettled(None) || self.guard.holds(key) => Found::Unsettled,
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
