//! From a normalized request, or a TCP listener, to the cluster that takes it.
use std::time::Duration;

use smallvec::SmallVec;
use weft_ir::{HostPort, Retry, Route, RouteAction, RouteOrigin, ServiceKey, ServicePort, WeightedCluster};
use weft_model::{AffinityKey, Cors, HeaderChanges, HeaderFilters, PathMatch, Redirect, TextMatch};

use crate::{
    ClusterEntry, Destination, FieldEdits, HostEntry, Lookup, Normal, OwnAnswer, Refusal, Rewritten, SetCookie,
    Snapshot,
    affinity::{Sticky, sticky},
    cors, mirror,
    rendezvous::{Seed, choose},
    rewrite,
    snapshot::{HeaderPattern, Patterns},
};

/// What routing comes to.
#[derive(Debug)]
pub enum Routing<'s> {
    /// A cluster takes it.
    Routed(Routed<'s>),
    /// Its route answers it, and nobody is asked.
    Answers(Answers<'s>),
    /// Nothing is known of the destination yet: ask the control plane, wait a bounded time, and route again.
    Needs(Destination),
    /// Nothing takes it.
    Refused(Refusal),
}

/// A request or connection with its cluster. Made by [`route`] and [`route_tcp`] only.
#[derive(Clone, Copy, Debug)]
pub struct Routed<'s> {
    service: &'s ServiceKey,
    host: Option<&'s HostPort>,
    route: Option<&'s Route>,
    patterns: Option<&'s Patterns>,
    share: Option<&'s WeightedCluster>,
    cluster: &'s ClusterEntry,
    sticky: Option<Sticky<'s>>,
}

/// A request with the route that answers it. Made by [`route`] only.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'s> {
    service: &'s ServiceKey,
    route: &'s Route,
    with: With<'s>,
}

/// What a route answers with.
#[derive(Clone, Copy, Debug)]
enum With<'s> {
    Redirect(&'s Redirect),
    Response(u16, &'s str),
    Preflight(&'s Cors, &'s cors::Texts),
}

impl<'s> Answers<'s> {
    /// The service port that the client addressed.
    pub fn service(&self) -> &'s ServiceKey {
        self.service
    }

    /// Where the route was written.
    pub fn origin(&self) -> &'s RouteOrigin {
        &self.route.origin
    }

    /// The answer, with the route's changes of its header fields.
    pub(crate) fn answer(&self, request: &Normal<'_>) -> OwnAnswer {
        let Self { service: _, route, with } = self;
        let OwnAnswer { status, fields, body } = match with {
            With::Redirect(redirect) => {
                let location = ("location".to_owned(), rewrite::location(route, redirect, request));
                OwnAnswer { status: redirect.status.code(), fields: vec![location], body: String::new() }
            }
            With::Response(status, body) => OwnAnswer { status: *status, fields: Vec::new(), body: (*body).to_owned() },
            With::Preflight(cors, texts) => cors::preflight(cors, texts, request),
        };
        let edits = FieldEdits::of(route.headers.as_deref().map(|headers| &headers.response));
        let kept = fields.into_iter().filter(|(name, _)| !edits.drops(name.as_bytes()));
        let added = edits.added().map(|(name, value)| (name.to_owned(), value.to_owned()));
        OwnAnswer { status, fields: kept.chain(added).collect(), body }
    }
}

impl<'s> Routed<'s> {
    /// The service port that the client addressed; the cluster's may be another.
    pub fn service(&self) -> &'s ServiceKey {
        self.service
    }

    /// The authority of the virtual host; `None` for TCP.
    pub fn host(&self) -> Option<&'s HostPort> {
        self.host
    }

    /// Where the route was written; `None` for TCP.
    pub fn origin(&self) -> Option<&'s RouteOrigin> {
        self.route.map(|route| &route.origin)
    }

    /// The cluster that takes it, with its endpoints.
    pub fn cluster(&self) -> &'s ClusterEntry {
        self.cluster
    }

    /// How long the request may take in all; `None` is no bound.
    pub fn timeout(&self) -> Option<Duration> {
        self.route.and_then(|route| route.timeout)
    }

    /// How long one try of it may take, from its sending to the whole answer; `None` is no bound of its own.
    pub fn try_timeout(&self) -> Option<Duration> {
        self.route.and_then(|route| route.try_timeout)
    }

    /// How long the request may stand still; `None` leaves that to the proxy.
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.route.and_then(|route| route.idle_timeout)
    }

    /// How long the request may take in all with the tunnel that it opens; `None` is no bound of its own.
    pub fn stream_timeout(&self) -> Option<Duration> {
        self.route.and_then(|route| route.stream_timeout)
    }

    /// Who gets copies of the request, by the draw that chose among the route's clusters. What that chose says nothing of
    /// whether there are copies, nor one copy of another.
    pub fn mirrors(&self, split: u64) -> impl Iterator<Item = Mirrored> + use<'s> {
        let service = self.service;
        let mirrors = self.route.map(|route| route.mirrors.as_slice()).unwrap_or_default();
        mirror::drawn(mirrors, split).map(|cluster| Mirrored { service: service.clone(), cluster: cluster.clone() })
    }

    /// What is forwarded in place of the request's path and Host.
    pub fn rewritten<'a>(&self, request: &'a Normal<'_>) -> Rewritten<'a>
    where
        's: 'a,
    {
        rewrite::rewritten(self.route, request)
    }

    /// What becomes of the request's header fields: the rule's changes, then the chosen backend's.
    pub fn request_changes(&self) -> impl Iterator<Item = &'s HeaderChanges> {
        self.changes(|headers| &headers.request)
    }

    /// What becomes of the answer's header fields: what CORS says of them, then the rule's changes and the chosen
    /// backend's.
    pub fn answer_edits<'a>(&self, request: &Normal<'a>) -> FieldEdits<'a>
    where
        's: 'a,
    {
        let mut edits = FieldEdits::default();
        let cors = self.route.and_then(|route| route.cors.as_deref());
        if let Some((cors, texts)) = cors.zip(self.patterns.and_then(|patterns| patterns.cors.as_ref())) {
            cors::edit(cors, texts, request, &mut edits);
        }
        self.changes(|headers| &headers.response).for_each(|changes| edits.change(changes));
        edits
    }

    fn changes(&self, of: fn(&HeaderFilters) -> &HeaderChanges) -> impl Iterator<Item = &'s HeaderChanges> {
        let rule = self.route.and_then(|route| route.headers.as_deref());
        let share = self.share.and_then(|share| share.headers.as_deref());
        rule.into_iter().chain(share).map(of)
    }

    /// How the request is repeated; `None` for TCP and for routes without retries.
    pub fn retry(&self) -> Option<&'s Retry> {
        self.route.and_then(|route| route.retry.as_ref())
    }

    /// The hash of the request's affinity key; `None` if its route has no affinity or the request no key.
    pub fn key(&self) -> Option<u64> {
        self.sticky.map(|sticky| sticky.key)
    }

    /// By what the route keeps requests together; `None` for TCP and where each goes its own way.
    pub fn affinity(&self) -> Option<&'s AffinityKey> {
        self.route.and_then(|route| route.affinity.as_ref()).map(|affinity| &affinity.key)
    }

    /// The cookie that the answer sets, because the route has affinity by cookie and the request had none.
    pub fn set_cookie(&self) -> Option<SetCookie<'s>> {
        self.sticky.and_then(|sticky| sticky.cookie)
    }
}

/// Routes a request by its host's routes: the first that matches wins, which is the most specific one (see
/// [`weft_ir::RouteMatch::precedence`]). `split` is a uniform draw that chooses among the route's weighted clusters, where
/// no affinity does.
pub fn route<'s>(snapshot: &'s Snapshot, request: &Normal<'_>, split: u64) -> Routing<'s> {
    let host = match snapshot.host(request.authority.host(), request.authority.port()) {
        Lookup::Present(host) => host,
        Lookup::Absent => {
            return match request.authority.host_port() {
                Ok(host) => Routing::Refused(Refusal::NotInMesh { destination: Destination::Host(host) }),
                Err(cause) => Routing::Refused(cause.into()),
            };
        }
        Lookup::Unknown => {
            return match request.authority.host_port() {
                Ok(host) => Routing::Needs(Destination::Host(host)),
                Err(cause) => Routing::Refused(cause.into()),
            };
        }
    };
    let Some((route, patterns)) = first_match(host, request, snapshot.lane()) else {
        if request.is_connect() {
            return Routing::Refused(Refusal::NoTunnel { host: host.virtual_host().authority.clone() });
        }
        return Routing::Refused(Refusal::NoRoute {
            host: host.virtual_host().authority.clone(),
            method: request.method.to_owned(),
            path: request.target.path.clone().into_owned(),
        });
    };
    let service = &host.virtual_host().service;
    if let Some((cors, texts)) = route.cors.as_deref().zip(patterns.cors.as_ref())
        && cors::is_preflight(request)
    {
        return Routing::Answers(Answers { service, route, with: With::Preflight(cors, texts) });
    }
    match &route.action {
        RouteAction::Forward(shares) => forward(snapshot, (host, route, patterns), shares, request, split),
        RouteAction::Redirect(redirect) => Routing::Answers(Answers { service, route, with: With::Redirect(redirect) }),
        RouteAction::Respond { status, body } => {
            Routing::Answers(Answers { service, route, with: With::Response(*status, body) })
        }
        RouteAction::Refuse { cause } => {
            let (origin, cause) = (route.origin.clone(), cause.clone());
            Routing::Refused(Refusal::BackendMissing { origin, cause })
        }
    }
}

/// Where a copy of a request goes, also when the request is over. Made by [`Routed::mirrors`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    service: ServiceKey,
    cluster: ServiceKey,
}

impl Mirrored {
    /// The cluster that gets the copy.
    pub fn cluster(&self) -> &ServiceKey {
        &self.cluster
    }
}

/// Routes a copy of a request. It has the bounds of no route: what nobody waits for, nobody repeats.
///
/// # Errors
/// Its cluster is not in the snapshot any more.
pub fn route_mirrored<'s>(snapshot: &'s Snapshot, to: &'s Mirrored) -> Result<Routed<'s>, Refusal> {
    let Mirrored { service, cluster } = to;
    match snapshot.cluster(cluster) {
        Some(cluster) => {
            Ok(Routed { service, host: None, route: None, patterns: None, share: None, cluster, sticky: None })
        }
        None => Err(Refusal::ClusterMissing {
            destination: Destination::Service(service.clone()),
            cluster: cluster.clone(),
        }),
    }
}

/// Routes a connection to a TCP service port.
pub fn route_tcp<'s>(snapshot: &'s Snapshot, service: &ServiceKey) -> Routing<'s> {
    let entry = match snapshot.tcp(service) {
        Lookup::Present(entry) => entry,
        Lookup::Absent => {
            return Routing::Refused(Refusal::NotInMesh { destination: Destination::Service(service.clone()) });
        }
        Lookup::Unknown => return Routing::Needs(Destination::Service(service.clone())),
    };
    match snapshot.cluster(&entry.body().cluster) {
        Some(cluster) => {
            let (service, sticky) = (entry.service(), None);
            Routing::Routed(Routed { service, host: None, route: None, patterns: None, share: None, cluster, sticky })
        }
        None => Routing::Refused(Refusal::ClusterMissing {
            destination: Destination::Service(service.clone()),
            cluster: entry.body().cluster.clone(),
        }),
    }
}

fn first_match<'s>(host: &'s HostEntry, request: &Normal<'_>, lane: usize) -> Option<(&'s Route, &'s Patterns)> {
    host.routes().find(|(route, patterns)| matches(route, patterns, request, lane))
}

fn forward<'s>(
    snapshot: &'s Snapshot,
    (host, route, patterns): (&'s HostEntry, &'s Route, &'s Patterns),
    clusters: &'s [WeightedCluster],
    request: &Normal<'_>,
    split: u64,
) -> Routing<'s> {
    let virtual_host = host.virtual_host();
    let sticky = route.affinity.as_ref().and_then(|affinity| sticky(affinity, request, split));
    let chosen = match sticky {
        Some(sticky) => share_by_key(clusters, sticky.key),
        None => share(clusters, split),
    };
    let Some(chosen) = chosen else {
        let (origin, cause) = (route.origin.clone(), "no backend has a weight above zero".to_owned());
        return Routing::Refused(Refusal::BackendMissing { origin, cause });
    };
    if let Some(cause) = &chosen.refusal {
        let (origin, cause) = (route.origin.clone(), cause.clone());
        return Routing::Refused(Refusal::BackendMissing { origin, cause });
    }
    match snapshot.cluster(&chosen.cluster) {
        Some(cluster) => Routing::Routed(Routed {
            service: &virtual_host.service,
            host: Some(&virtual_host.authority),
            route: Some(route),
            patterns: Some(patterns),
            share: Some(chosen),
            cluster,
            sticky,
        }),
        None => Routing::Refused(Refusal::ClusterMissing {
            destination: Destination::Host(virtual_host.authority.clone()),
            cluster: chosen.cluster.clone(),
        }),
    }
}

/// The cluster whose share of the draw's range the draw falls into. Multiply-shift: each share is off by at most
/// `sum of weights / 2^64`.
fn share(clusters: &[WeightedCluster], split: u64) -> Option<&WeightedCluster> {
    let total: u64 = clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
    // Below `total`, which is below 2^64: nothing is cut off.
    let mut point = ((u128::from(split) * u128::from(total)) >> 64) as u64;
    clusters.iter().find(|cluster| {
        let weight = u64::from(cluster.weight);
        let here = point < weight;
        point = point.saturating_sub(weight);
        here
    })
}

/// The cluster that a key chooses: the same while weights stand, and where they change, as few keys move as must.
fn share_by_key(clusters: &[WeightedCluster], key: u64) -> Option<&WeightedCluster> {
    let candidates = clusters.iter().enumerate().filter(|(_, it)| it.weight > 0).map(|(place, it)| {
        // A cluster that is written twice has two shares.
        let earlier = clusters.iter().take(place).filter(|other| other.cluster == it.cluster).count() as u64;
        let seed = match &it.cluster {
            ServiceKey::Port(ServicePort { cluster, namespace, service, port }) => {
                let name = [cluster.as_str(), namespace.as_str(), service.as_str()].map(str::as_bytes);
                let [cluster, namespace, service] = name;
                Seed::new(b'c', &[cluster, namespace, service, &port.get().to_be_bytes(), &earlier.to_be_bytes()])
            }
            ServiceKey::Named(name) => Seed::new(b'n', &[name.as_bytes(), &earlier.to_be_bytes()]),
        };
        (it, seed, it.weight)
    });
    choose(key, candidates)
}

fn matches(route: &Route, patterns: &Patterns, request: &Normal<'_>, lane: usize) -> bool {
    let (path, connect) = (&*request.target.path, request.is_connect());
    let path_matches = match &route.matches.path {
        // A CONNECT has no path: only a rule that asks nothing of it can match.
        PathMatch::Exact(_) | PathMatch::Regex(_) if connect => false,
        PathMatch::Exact(exact) => exact == path,
        PathMatch::Prefix(prefix) if connect => prefix == "/",
        PathMatch::Prefix(prefix) => has_prefix(path, prefix),
        PathMatch::Regex(_) => patterns.path.as_ref().is_some_and(|regex| regex.of(lane).is_match(path)),
    };
    path_matches
        // Nor does a rule that was written for requests open a tunnel: it must say so.
        && route.matches.method.as_ref().map_or(!connect, |method| method.0 == request.method)
        && (route.matches.headers.iter().zip(&patterns.headers))
            .all(|(header, pattern)| header_matches((&header.name, &header.value), pattern, request, lane))
        && (route.matches.query.iter().zip(&patterns.query)).all(|(parameter, pattern)| {
            let value = request.target.parameter(&parameter.name);
            value.is_some_and(|value| text_matches(&parameter.value, pattern, value.as_bytes(), lane))
        })
}

/// Whether a text is what a match asks for.
pub(crate) fn text_matches(value: &TextMatch, pattern: &HeaderPattern, text: &[u8], lane: usize) -> bool {
    match value {
        TextMatch::Exact(exact) => exact.as_bytes() == text,
        TextMatch::Regex(_) => pattern.as_ref().is_some_and(|regex| regex.of(lane).is_match(text)),
    }
}

/// Whether `prefix` is whole leading elements of `path` (Gateway API `PathPrefix`); `/` takes everything, `*` too.
pub(crate) fn has_prefix(path: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    prefix.is_empty() || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn header_matches(
    (name, value): (&str, &TextMatch),
    pattern: &HeaderPattern,
    request: &Normal<'_>,
    lane: usize,
) -> bool {
    let test = |text: &[u8]| text_matches(value, pattern, text, lane);
    // What the next hop sees, not what was written.
    if name.eq_ignore_ascii_case("host") {
        return test(request.host.as_bytes());
    }
    let mut values =
        request.headers.iter().filter(|(its, _)| its.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| *value);
    let Some(first) = values.next() else { return false };
    let Some(second) = values.next() else { return test(first) };
    let mut joined: SmallVec<[u8; 256]> = SmallVec::from_slice(first);
    for value in std::iter::once(second).chain(values) {
        joined.push(b',');
        joined.extend_from_slice(value);
    }
    test(&joined)
}

#[cfg(test)]
mod tests;
