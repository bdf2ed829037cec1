//! The configuration in force, as the admin interface shows it and receipts tell it.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Serialize;
use serde_json::{Map, Value, json};
use weft_ir::{ListenerBody, Resource, ResourceKey, ResourceType};
use weft_xds::{Rejection, Version};

/// Every resource that is in effect, and what was rejected since.
#[derive(Debug, Default)]
pub(super) struct Config {
    held: BTreeMap<ResourceKey, (Version, Resource)>,
    /// Names that the control plane has said do not exist.
    absent: BTreeSet<ResourceKey>,
    rejected: BTreeMap<ResourceKey, Rejection>,
    revision: Option<Arc<str>>,
}

/// A part of the configuration that can be asked for on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Listeners,
    Routes,
    Clusters,
    Endpoints,
}

impl Part {
    pub(super) const ALL: [Self; 4] = [Self::Listeners, Self::Routes, Self::Clusters, Self::Endpoints];

    /// Its name in paths and as a key.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Listeners => "listeners",
            Self::Routes => "routes",
            Self::Clusters => "clusters",
            Self::Endpoints => "endpoints",
        }
    }

    const fn of(resource_type: ResourceType) -> Self {
        match resource_type {
            ResourceType::Listener => Self::Listeners,
            ResourceType::RouteConfiguration | ResourceType::VirtualHost => Self::Routes,
            ResourceType::Cluster => Self::Clusters,
            ResourceType::Endpoints => Self::Endpoints,
        }
    }
}

impl Config {
    /// A resource has come into effect.
    pub(super) fn put(&mut self, version: Version, resource: Resource) {
        let key = resource.key();
        self.absent.remove(&key);
        self.rejected.remove(&key);
        self.held.insert(key, (version, resource));
    }

    /// A resource is gone, or never was.
    pub(super) fn remove(&mut self, key: &ResourceKey) {
        self.held.remove(key);
        self.rejected.remove(key);
        self.absent.insert(key.clone());
    }

    /// A resource was rejected; what was held before stays in effect.
    pub(super) fn reject(&mut self, rejection: Rejection) {
        self.rejected.insert(rejection.key.clone(), rejection);
    }

    /// A name is not subscribed to any more.
    pub(super) fn forget(&mut self, key: &ResourceKey) {
        self.held.remove(key);
        self.absent.remove(key);
        self.rejected.remove(key);
    }

    pub(super) fn set_revision(&mut self, revision: Option<Arc<str>>) {
        self.revision = revision;
    }

    pub(super) fn revision(&self) -> Option<&Arc<str>> {
        self.revision.as_ref()
    }

    pub(super) fn holds(&self, key: &ResourceKey) -> bool {
        self.held.contains_key(key)
    }

    /// The resource in effect under a key.
    pub(super) fn held(&self, key: &ResourceKey) -> Option<&Resource> {
        self.held.get(key).map(|(_, resource)| resource)
    }

    /// Whether the control plane has said of a name what it is, or that it does not exist.
    pub(super) fn is_answered(&self, key: &ResourceKey) -> bool {
        self.holds(key) || self.absent.contains(key)
    }

    /// Whether the last version of a name was rejected.
    pub(super) fn is_rejected(&self, key: &ResourceKey) -> bool {
        self.rejected.contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Every resource in effect, with its version.
    pub(super) fn versions(&self) -> impl Iterator<Item = (&ResourceKey, &Version)> {
        self.held.iter().map(|(key, (version, _))| (key, version))
    }

    /// Every resource in effect, and its version.
    pub(super) fn resources(&self) -> impl Iterator<Item = (&Version, &Resource)> {
        self.held.values().map(|(version, resource)| (version, resource))
    }

    /// A route configuration that a listener names and of which the control plane has said nothing yet.
    pub(super) fn awaited_routes(&self) -> Option<ResourceKey> {
        let named = self.held.values().filter_map(|(_, resource)| match resource {
            Resource::Listener(listener) => match &listener.body {
                ListenerBody::OutboundHttp { route_configuration } => Some(route_configuration.as_str()),
                ListenerBody::OutboundTcp(_) | ListenerBody::Inbound(_) => None,
            },
            _ => None,
        });
        let mut keys = named.map(|name| ResourceKey::new(ResourceType::RouteConfiguration, name));
        keys.find(|key| !self.is_answered(key))
    }

    /// What was rejected since it last came in whole.
    pub(super) fn rejections(&self) -> impl Iterator<Item = &Rejection> {
        self.rejected.values()
    }

    /// One part as JSON: a list of `{type, name, version, resource}`, ordered by type and name.
    pub(super) fn part(&self, part: Part) -> Value {
        let items = self.held.iter().filter(|(key, _)| Part::of(key.resource_type) == part);
        items.map(|(key, (version, resource))| item(key, version, resource)).collect()
    }

    /// Everything as JSON, secrets aside.
    pub(super) fn all(&self) -> Map<String, Value> {
        let mut all = Map::new();
        all.insert("revision".to_owned(), json!(self.revision));
        for part in Part::ALL {
            all.insert(part.as_str().to_owned(), self.part(part));
        }
        let named = |key: &ResourceKey| json!({"type": key.resource_type.as_str(), "name": &*key.name});
        all.insert("absent".to_owned(), self.absent.iter().map(named).collect());
        all.insert("rejected".to_owned(), self.rejected.values().map(rejection).collect());
        all
    }
}

fn item(key: &ResourceKey, version: &Version, resource: &Resource) -> Value {
    let resource = match resource {
        Resource::Cluster(it) => to_value(it),
        Resource::Endpoints(it) => to_value(it),
        Resource::Listener(it) => to_value(it),
        Resource::RouteConfiguration(it) => to_value(it),
        Resource::VirtualHost(it) => to_value(it),
    };
    json!({
        "type": key.resource_type.as_str(),
        "name": &*key.name,
        "version": version.as_str(),
        "resource": resource,
    })
}

fn rejection(rejection: &Rejection) -> Value {
    let Rejection { key, version, reason } = rejection;
    json!({
        "type": key.resource_type.as_str(),
        "name": &*key.name,
        "version": version.as_ref().map(Version::as_str),
        "reason": reason,
    })
}

fn to_value(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_else(|error| json!({"error": error.to_string()}))
}
