//! What all objects share: kind, metadata, owner, and the closed set of kinds.
use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::Serialize;

use crate::{
    AccessPolicy, GrpcRoute, HttpRoute, HttpRouteFilter, Name, Namespace, Service, Source, TrafficPolicy, Workload,
};

/// Labels or annotations: keys and values as the user wrote them, in order.
pub type Labels = BTreeMap<String, String>;

/// The kinds of object that weft reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Kind {
    /// `v1` Service: a name that workloads stand behind.
    Service,
    /// `weft.dev/v1alpha1` Workload: one running instance that does not register itself.
    Workload,
    /// `gateway.networking.k8s.io/v1` HTTPRoute with a Service as its parent (GAMMA).
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
    /// `gateway.networking.k8s.io/v1` GRPCRoute with a Service as its parent (GAMMA).
    #[serde(rename = "GRPCRoute")]
    GrpcRoute,
    /// `weft.dev/v1alpha1` HTTPRouteFilter.
    #[serde(rename = "HTTPRouteFilter")]
    HttpRouteFilter,
    /// `weft.dev/v1alpha1` TrafficPolicy.
    TrafficPolicy,
    /// `weft.dev/v1alpha1` AccessPolicy.
    AccessPolicy,
}

impl Kind {
    /// Every kind, in the order in which listings show them.
    pub const ALL: [Self; 7] = [
        Self::Service,
        Self::Workload,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::HttpRouteFilter,
        Self::TrafficPolicy,
        Self::AccessPolicy,
    ];

    /// The `kind` field as users write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Workload => "Workload",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::HttpRouteFilter => "HTTPRouteFilter",
            Self::TrafficPolicy => "TrafficPolicy",
            Self::AccessPolicy => "AccessPolicy",
        }
    }

    /// The `apiVersion` field as users write it.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::Service => "v1",
            Self::HttpRoute | Self::GrpcRoute => "gateway.networking.k8s.io/v1",
            Self::Workload | Self::HttpRouteFilter | Self::TrafficPolicy | Self::AccessPolicy => "weft.dev/v1alpha1",
        }
    }

    /// Whether it is a kind of route.
    pub const fn is_route(self) -> bool {
        matches!(self, Self::HttpRoute | Self::GrpcRoute)
    }

    /// The kind that a user means by `text`: singular or plural, any case (`services`, `httproute`).
    pub fn parse_loosely(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| {
            let (singular, text) = (kind.as_str().to_ascii_lowercase(), text.to_ascii_lowercase());
            let plural = match singular.strip_suffix('y') {
                Some(stem) => format!("{stem}ies"),
                None => format!("{singular}s"),
            };
            text == singular || text == plural
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What names one object: `Kind namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectRef {
    /// The object's kind.
    pub kind: Kind,
    /// The namespace it lives in.
    pub namespace: Namespace,
    /// Its name, unique for kind and namespace.
    pub name: Name,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// The metadata that a user writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Meta {
    /// The object's name.
    pub name: Name,
    /// The object's namespace; `default` where the file says none.
    pub namespace: Namespace,
    /// Labels, by which selectors choose.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
    /// Annotations: kept, shown, never decided upon unless under `weft.dev/`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Labels,
}

/// One object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// A Service.
    Service(Arc<Service>),
    /// A Workload.
    Workload(Arc<Workload>),
    /// An HTTPRoute.
    HttpRoute(Arc<HttpRoute>),
    /// A GRPCRoute.
    GrpcRoute(Arc<GrpcRoute>),
    /// An HTTPRouteFilter.
    HttpRouteFilter(Arc<HttpRouteFilter>),
    /// A TrafficPolicy.
    TrafficPolicy(Arc<TrafficPolicy>),
    /// An AccessPolicy.
    AccessPolicy(Arc<AccessPolicy>),
}

impl Object {
    /// The object's kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Workload(_) => Kind::Workload,
            Self::HttpRoute(_) => Kind::HttpRoute,
            Self::GrpcRoute(_) => Kind::GrpcRoute,
            Self::HttpRouteFilter(_) => Kind::HttpRouteFilter,
            Self::TrafficPolicy(_) => Kind::TrafficPolicy,
            Self::AccessPolicy(_) => Kind::AccessPolicy,
        }
    }

    /// The object's metadata.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Service(it) => &it.meta,
            Self::Workload(it) => &it.meta,
            Self::HttpRoute(it) => &it.meta,
            Self::GrpcRoute(it) => &it.meta,
            Self::HttpRouteFilter(it) => &it.meta,
            Self::TrafficPolicy(it) => &it.meta,
            Self::AccessPolicy(it) => &it.meta,
        }
    }

    /// What names this object.
    pub fn reference(&self) -> ObjectRef {
        let Meta { name, namespace, .. } = self.meta();
        ObjectRef { kind: self.kind(), namespace: namespace.clone(), name: name.clone() }
    }
}

/// The source that an object came from and that alone may change it: `api`, `file:/etc/weft/objects`, …
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Owner(pub Arc<str>);

impl Owner {
    /// The owner of everything that is written through the admin API.
    pub fn api() -> Self {
        Self("api".into())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object with what its store knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The object itself.
    pub object: Object,
    /// Who may change it.
    pub owner: Owner,
    /// The store's number when it was created: the older of two equally specific policies wins.
    pub created: u64,
    /// The store's number when it was last changed: its version in writes that expect one.
    pub modified: u64,
    /// Where it was read from, where that is known.
    pub source: Option<Source>,
}

/// Chooses objects by label: all pairs must be present. An empty selector chooses nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Selector(pub Labels);

impl Selector {
    /// Whether `labels` carry every pair of this selector, of which there is at least one.
    pub fn selects(&self, labels: &Labels) -> bool {
        !self.0.is_empty() && self.0.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}
