//! Virtual hosts and their routes.
use std::{cmp::Reverse, fmt, sync::Arc, time::Duration};

use serde::Serialize;
use weft_model::{Cors, HeaderFilters, HttpMethod, ObjectRef, PathMatch, QueryMatch, Redirect, TextMatch, UrlRewrite};

use crate::{Affinity, HostPort, Retry, ServiceKey};

/// The routes of one authority: one HTTP service port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct VirtualHost {
    /// The authority, which is the resource's key.
    pub authority: HostPort,
    /// The service port that stands behind the authority.
    pub service: ServiceKey,
    /// The routes, by falling precedence: the first that matches wins.
    pub routes: Vec<Route>,
    /// The objects that it was made from, ordered.
    pub origins: Vec<ObjectRef>,
}

/// One match of one rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Route {
    /// Which part of which object this is.
    pub origin: RouteOrigin,
    /// What a request must be.
    pub matches: RouteMatch,
    /// Where it goes.
    pub action: RouteAction,
    /// How long it may take in all, from the head's end to the response's; `None` is no bound.
    pub timeout: Option<Duration>,
    /// How long one try of it may take, from its sending to the whole answer; `None` is as long as the request may.
    pub try_timeout: Option<Duration>,
    /// How long it may stand still; `None` leaves that to the proxy.
    pub idle_timeout: Option<Duration>,
    /// How long it may take in all with the tunnel that it opens; `None` is no bound of its own.
    pub stream_timeout: Option<Duration>,
    /// How its requests are repeated; `None`: once, and only with proof that they were not processed, within
    /// [`RetryBudget::default`](crate::RetryBudget).
    pub retry: Option<Retry>,
    /// By what its requests are kept together; `None`: each goes its own way.
    pub affinity: Option<Affinity>,
    /// Which header fields are changed. Boxed, as is all that few routes have: there are thousands of them.
    pub headers: Option<Box<HeaderFilters>>,
    /// The Host or path that is forwarded in place of what came.
    pub rewrite: Option<Box<UrlRewrite>>,
    /// What browsers let pages of other origins do.
    pub cors: Option<Box<Cors>>,
    /// Who gets copies of its requests; nobody where it forwards nothing.
    pub mirrors: Vec<Mirror>,
}

/// A cluster that gets copies of a route's requests, whose answers nobody waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Mirror {
    /// The cluster.
    pub cluster: ServiceKey,
    /// Of how many of a million requests, 1 to 1,000,000.
    pub per_million: u32,
}

/// Where a route was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum RouteOrigin {
    /// In an object: `HTTPRoute shop/reviews rule 1 match 0`, or a Service's own default route.
    Rule {
        /// The HTTPRoute, or the Service whose default route it is.
        object: ObjectRef,
        /// The rule's place, from zero.
        rule: u32,
        /// The match's place in the rule, from zero.
        alternative: u32,
    },
    /// In a static configuration: its name there, or its place.
    Named(Arc<str>),
}

impl RouteOrigin {
    /// The object that it was written in; `None` for a static configuration's.
    pub const fn object(&self) -> Option<&ObjectRef> {
        match self {
            Self::Rule { object, .. } => Some(object),
            Self::Named(_) => None,
        }
    }
}

impl fmt::Display for RouteOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { object, rule, alternative } => write!(f, "{object} rule {rule} match {alternative}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// All parts must match.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct RouteMatch {
    /// On the normalized path without its query.
    pub path: PathMatch,
    /// On the method.
    pub method: Option<HttpMethod>,
    /// On headers, ordered by name.
    pub headers: Vec<HeaderMatch>,
    /// On query parameters, ordered by name.
    pub query: Vec<QueryMatch>,
}

/// A match on one header's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HeaderMatch {
    /// The header's name in lower case.
    pub name: String,
    /// What its value must be.
    pub value: TextMatch,
}

/// How specific a match is by the Gateway API's rules for HTTPRoutes (HTTPRouteRule, "Matches"); the greater wins: an exact path, then
/// a regular expression (implementation-specific; between the two as in Envoy Gateway and Istio), then the longest
/// prefix; then a method; then the number of headers; then the number of query parameters. Ties are broken outside: the older route, then its name in
/// alphabetical order, then the earlier rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    path: (u8, usize),
    method: bool,
    headers: usize,
    query: usize,
}

impl RouteMatch {
    /// How specific this match is.
    pub fn precedence(&self) -> Precedence {
        let path = match &self.path {
            PathMatch::Exact(path) => (2, path.len()),
            PathMatch::Regex(regex) => (1, regex.len()),
            PathMatch::Prefix(prefix) => (0, prefix.len()),
        };
        let (headers, query) = (self.headers.len(), self.query.len());
        Precedence { path, method: self.method.is_some(), headers, query }
    }

    /// A key that sorts the more specific match first.
    pub fn order(&self) -> Reverse<Precedence> {
        Reverse(self.precedence())
    }
}

/// Where a matched request goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum RouteAction {
    /// To one of these clusters; weights are above zero and there is at least one.
    Forward(Vec<WeightedCluster>),
    /// Nowhere: the client is told to ask elsewhere.
    Redirect(Redirect),
    /// Nowhere: this is the answer. What kind of body it is, the route's header changes say.
    Respond {
        /// The status, 200 to 599.
        status: u16,
        /// The body.
        body: String,
    },
    /// Nowhere: none of the rule's backends exists, or it has none (Gateway API: status 500).
    Refuse {
        /// Why, for the record and the answer's body.
        cause: String,
    },
}

/// A share of a route's requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct WeightedCluster {
    /// The cluster.
    pub cluster: ServiceKey,
    /// Its share against the route's other clusters, above zero.
    pub weight: u32,
    /// Why requests of this share are refused with status 500: the backend does not exist, or the route may not use it
    /// (Gateway API, HTTPRouteRule "BackendRefs"). It keeps its share, so that the others get no more than was written.
    pub refusal: Option<String>,
    /// Which header fields are changed, after the route's own changes.
    pub headers: Option<Box<HeaderFilters>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_match(path: PathMatch, method: bool, headers: usize) -> RouteMatch {
        let header = |at: usize| HeaderMatch { name: format!("x-{at}"), value: TextMatch::Exact("a".into()) };
        let method = method.then(|| HttpMethod("GET".into()));
        RouteMatch { path, method, headers: (0..headers).map(header).collect(), query: Vec::new() }
    }

    #[test]
    fn matches_are_ordered_by_path_then_method_then_headers_then_query() {
        let (exact, regex) = (PathMatch::Exact("/a".into()), PathMatch::Regex("/.*".into()));
        let prefix = |text: &str| PathMatch::Prefix(text.into());
        let query = |of: RouteMatch, count: usize| {
            let parameter = |at: usize| QueryMatch { name: format!("q{at}"), value: TextMatch::Exact("a".into()) };
            RouteMatch { query: (0..count).map(parameter).collect(), ..of }
        };
        let falling = [
            a_match(exact.clone(), true, 0),
            a_match(exact.clone(), false, 9),
            a_match(exact, false, 0),
            a_match(regex, false, 0),
            a_match(prefix("/abc"), false, 0),
            a_match(prefix("/ab"), true, 1),
            a_match(prefix("/ab"), true, 0),
            query(a_match(prefix("/ab"), false, 2), 1),
            a_match(prefix("/ab"), false, 2),
            query(a_match(prefix("/ab"), false, 1), 9),
            a_match(prefix("/ab"), false, 1),
        ];
        assert!(falling.is_sorted_by(|a, b| a.order() < b.order()));
    }
}
