//! How resources are named, what they need of a reader, and for whom they are encoded.
use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::Serialize;
use weft_model::{AffinityKey, Errors, PathMatch, Protocol};

use crate::{
    Balance, Cluster, Ejection, Endpoints, HostPort, Listener, ListenerBody, Route, RouteAction, RouteConfiguration,
    ServiceKey, VirtualHost,
};

/// The kinds of resource, in the order in which a client must hold them before the next makes sense to it
/// (make-before-break): clusters, endpoints, listeners, routes, hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ResourceType {
    /// CDS.
    Cluster,
    /// EDS.
    Endpoints,
    /// LDS.
    Listener,
    /// RDS.
    RouteConfiguration,
    /// VHDS.
    VirtualHost,
}

impl ResourceType {
    /// Every type, in make-before-break order.
    pub const ALL: [Self; 5] =
        [Self::Cluster, Self::Endpoints, Self::Listener, Self::RouteConfiguration, Self::VirtualHost];

    /// A short name for people: `cluster`, `endpoints`, …
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Endpoints => "endpoints",
            Self::Listener => "listener",
            Self::RouteConfiguration => "route configuration",
            Self::VirtualHost => "virtual host",
        }
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What names a resource: with a [`View`], the key of its bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ResourceKey {
    /// The resource's type.
    pub resource_type: ResourceType,
    /// Its xDS name.
    pub name: Arc<str>,
}

impl ResourceKey {
    /// The key of a resource by its type and xDS name.
    pub fn new(resource_type: ResourceType, name: impl Into<Arc<str>>) -> Self {
        Self { resource_type, name: name.into() }
    }

    /// The key of a cluster.
    pub fn cluster(service: &ServiceKey) -> Self {
        Self::new(ResourceType::Cluster, service.to_string())
    }

    /// The key of a cluster's endpoints.
    pub fn endpoints(service: &ServiceKey) -> Self {
        Self::new(ResourceType::Endpoints, service.to_string())
    }

    /// The key of an authority's virtual host.
    pub fn virtual_host(authority: &HostPort) -> Self {
        Self::new(ResourceType::VirtualHost, authority.resource_name())
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.resource_type, self.name)
    }
}

/// A resource of any type, shared between snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// CDS.
    Cluster(Arc<Cluster>),
    /// EDS.
    Endpoints(Arc<Endpoints>),
    /// LDS.
    Listener(Arc<Listener>),
    /// RDS.
    RouteConfiguration(Arc<RouteConfiguration>),
    /// VHDS.
    VirtualHost(Arc<VirtualHost>),
}

impl Resource {
    /// The resource's type.
    pub const fn resource_type(&self) -> ResourceType {
        match self {
            Self::Cluster(_) => ResourceType::Cluster,
            Self::Endpoints(_) => ResourceType::Endpoints,
            Self::Listener(_) => ResourceType::Listener,
            Self::RouteConfiguration(_) => ResourceType::RouteConfiguration,
            Self::VirtualHost(_) => ResourceType::VirtualHost,
        }
    }

    /// What names the resource.
    pub fn key(&self) -> ResourceKey {
        match self {
            Self::Cluster(it) => ResourceKey::cluster(&it.name),
            Self::Endpoints(it) => ResourceKey::endpoints(&it.name),
            Self::Listener(it) => ResourceKey::new(ResourceType::Listener, it.name.as_str()),
            Self::RouteConfiguration(it) => ResourceKey::new(ResourceType::RouteConfiguration, it.name.as_str()),
            Self::VirtualHost(it) => ResourceKey::virtual_host(&it.authority),
        }
    }

    /// What a reader must know to take this resource as it is meant. A reader that lacks one rejects the resource; the
    /// server does not push it there and says so in the object's status.
    pub fn needs(&self) -> BTreeSet<Feature> {
        match self {
            Self::Endpoints(_) | Self::RouteConfiguration(_) => BTreeSet::new(),
            Self::Cluster(cluster) => {
                let http2 = (cluster.protocol == Protocol::Http2).then_some(Feature::Http2Application);
                let breaker = cluster.breaker.map(|_| Feature::CircuitBreaker);
                let balances = matches!(cluster.balance, Balance::Random | Balance::PeakEwma | Balance::Maglev);
                let balances = balances || cluster.near_first.is_some() || cluster.slow_start.is_some();
                let balances = balances.then_some(Feature::Balances);
                let later = |it: &Ejection| it.errors == Errors::Gateway || it.success_rate.is_some();
                let outliers = cluster.ejection.as_ref().is_some_and(later).then_some(Feature::Outliers);
                let checks = cluster.health_check.as_ref().map(|_| Feature::HealthChecks);
                [breaker, http2, balances, outliers, checks].into_iter().flatten().collect()
            }
            Self::Listener(listener) => match &listener.body {
                ListenerBody::Inbound(inbound) => {
                    let http2 = inbound.chains.iter().any(|chain| chain.protocol == Protocol::Http2);
                    let http2 = http2.then_some(Feature::Http2Application);
                    let mut rules = inbound.chains.iter().flat_map(|chain| &chain.access.rules);
                    let by_request = rules.any(|rule| !rule.requests.is_empty()).then_some(Feature::AccessByRequest);
                    [Feature::AccessByIdentity].into_iter().chain(http2).chain(by_request).collect()
                }
                ListenerBody::OutboundHttp { .. } => [Feature::HostsOnDemand].into(),
                ListenerBody::OutboundTcp(_) => BTreeSet::new(),
            },
            Self::VirtualHost(host) => {
                let any = |is: fn(&Route) -> bool, need| host.routes.iter().any(is).then_some(need);
                let regex = any(|route| matches!(route.matches.path, PathMatch::Regex(_)), Feature::PathRegex);
                let retry = any(|route| route.retry.is_some(), Feature::RepeatSafety);
                let filters = any(is_filtered, Feature::RouteFilters);
                let keys = any(has_later_key, Feature::Balances);
                let answers = any(answers_itself, Feature::OwnAnswers);
                let mirrors = any(|route| !route.mirrors.is_empty(), Feature::Mirrors);
                let streams = any(|route| route.stream_timeout.is_some(), Feature::StreamTimeout);
                [regex, retry, filters, keys, answers, mirrors, streams].into_iter().flatten().collect()
            }
        }
    }
}

/// Whether a route is kept together by a key that the first readers did not know.
fn has_later_key(route: &Route) -> bool {
    let key = route.affinity.as_ref().map(|affinity| &affinity.key);
    matches!(key, Some(AffinityKey::Query { .. } | AffinityKey::SourceAddress))
}

/// Whether a route says something that the first readers did not know.
fn is_filtered(route: &Route) -> bool {
    let Route { matches, action, try_timeout, headers, rewrite, .. } = route;
    let by_action = match action {
        RouteAction::Forward(shares) => shares.iter().any(|share| share.headers.is_some()),
        RouteAction::Redirect(_) => true,
        RouteAction::Respond { .. } | RouteAction::Refuse { .. } => false,
    };
    by_action || !matches.query.is_empty() || try_timeout.is_some() || headers.is_some() || rewrite.is_some()
}

/// Whether it says what those who read [`Feature::RouteFilters`] first did not know.
fn answers_itself(Route { action, idle_timeout, cors, .. }: &Route) -> bool {
    matches!(action, RouteAction::Respond { .. }) || idle_timeout.is_some() || cors.is_some()
}

/// Something that not every version of every reader knows. Its text is on the wire: never change one, only add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Feature {
    /// Access rules by peer identity on inbound chains.
    AccessByIdentity,
    /// Virtual hosts on demand (VHDS).
    HostsOnDemand,
    /// Path matches by regular expression.
    PathRegex,
    /// Which requests may be repeated, and how many: a reader of the standard's retry policy alone would repeat a POST.
    RepeatSafety,
    /// Circuit breakers that remember: a reader without them would go on calling what its owner wants left alone.
    CircuitBreaker,
    /// Applications that speak HTTP/2.
    Http2Application,
    /// Matches on query parameters, changes of header fields, rewrites, redirects, and a bound on each try.
    RouteFilters,
    /// Balance at random, by peak EWMA and by Maglev, near endpoints first, a slow start; affinity by query parameter and
    /// source address.
    Balances,
    /// Ejection by gateway errors alone, and by success rate.
    Outliers,
    /// Access rules by what a request asks for.
    AccessByRequest,
    /// Answers that users write, answers to browsers that ask what a page of another origin may, and a bound on standing
    /// still.
    OwnAnswers,
    /// Copies of requests.
    Mirrors,
    /// A bound on all that a request opens.
    StreamTimeout,
    /// Active health checks by the reader: one without them would go on calling what its owner wants left alone.
    HealthChecks,
}

impl Feature {
    /// Every feature that this version reads.
    pub const ALL: [Self; 14] = [
        Self::AccessByIdentity,
        Self::HostsOnDemand,
        Self::PathRegex,
        Self::RepeatSafety,
        Self::CircuitBreaker,
        Self::Http2Application,
        Self::RouteFilters,
        Self::Balances,
        Self::Outliers,
        Self::AccessByRequest,
        Self::OwnAnswers,
        Self::Mirrors,
        Self::StreamTimeout,
        Self::HealthChecks,
    ];

    /// The feature's text on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessByIdentity => "access-by-identity",
            Self::HostsOnDemand => "hosts-on-demand",
            Self::PathRegex => "path-regex",
            Self::RepeatSafety => "repeat-safety",
            Self::CircuitBreaker => "circuit-breaker",
            Self::Http2Application => "http2-application",
            Self::RouteFilters => "route-filters",
            Self::Balances => "balances",
            Self::Outliers => "outliers",
            Self::AccessByRequest => "access-by-request",
            Self::OwnAnswers => "own-answers",
            Self::Mirrors => "mirrors",
            Self::StreamTimeout => "stream-timeout",
            Self::HealthChecks => "health-checks",
        }
    }

    /// The feature of that text, if this version knows it.
    pub fn from_name(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.as_str() == text)
    }
}

/// What may change a resource's bytes for different clients.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View {
    /// Who reads it.
    pub dialect: Dialect,
}

/// The kinds of client that resources are encoded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// A weft proxy.
    Weft,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_read_back_by_its_text() {
        for feature in Feature::ALL {
            assert_eq!(Feature::from_name(feature.as_str()), Some(feature));
        }
        assert_eq!(Feature::from_name("hovercraft"), None);
    }

    #[test]
    fn resource_types_stand_in_the_order_in_which_clients_need_them() {
        assert!(ResourceType::ALL.is_sorted());
    }
}
