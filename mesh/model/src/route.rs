//! HTTPRoute with Services as parents and backends: the Gateway API's GAMMA form.
use std::time::Duration;

use serde::Serialize;

use crate::{Filters, HeaderFilters, Meta, Name, Namespace, Port};

/// Rules for requests to the Services that are its parents.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HttpRoute {
    /// Name, namespace, labels.
    pub meta: Meta,
    /// The Services whose requests it routes; at least one.
    pub parents: Vec<ParentRef>,
    /// The rules in the order written; at least one.
    pub rules: Vec<HttpRule>,
}

/// A Service that a route attaches to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ParentRef {
    /// The Service's namespace; the route's where the user wrote none.
    pub namespace: Namespace,
    /// The Service's name.
    pub name: Name,
    /// One port of it, or every HTTP port.
    pub port: Option<Port>,
}

/// One rule: any of `matches` selects it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HttpRule {
    /// Its name, unique in the route, where it has one.
    pub name: Option<Name>,
    /// Alternatives; an absent list is one match of every path.
    pub matches: Vec<HttpMatch>,
    /// What is changed about requests and answers, or told instead of forwarding.
    pub filters: Filters,
    /// Where a matched request goes: weights sum to more than zero. None with a redirect.
    pub backends: Vec<BackendRef>,
    /// How long a request may take in all; zero is no limit (as in the Gateway API), `None` leaves it to policies.
    pub request_timeout: Option<Duration>,
    /// How long one try of it may take, from its sending to the whole answer; zero is no limit.
    pub backend_timeout: Option<Duration>,
}

/// All parts must match.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HttpMatch {
    /// On the normalized path, without the query.
    pub path: PathMatch,
    /// On the method.
    pub method: Option<HttpMethod>,
    /// On headers, each name at most once.
    pub headers: Vec<HeaderMatch>,
    /// On query parameters, each name at most once.
    pub query: Vec<QueryMatch>,
}

/// A match on one query parameter. Names and values are compared as they stand in the query, without decoding, and of
/// a repeated parameter the first counts: so does Envoy, and so do most servers read the first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct QueryMatch {
    /// The parameter's name, case-sensitive.
    pub name: String,
    /// What its value must be.
    pub value: TextMatch,
}

/// A match on the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole leading elements: `/abc` takes `/abc` and `/abc/d`, not `/abcd` (Gateway API `PathPrefix`). Without a
    /// trailing slash unless it is `/`.
    Prefix(String),
    /// The whole path by a regular expression of linear time (RE2 syntax), at most 1 KiB of source.
    Regex(String),
}

/// A match on one header's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HeaderMatch {
    /// The header's name in lower case.
    pub name: String,
    /// What its value must be. A header that is repeated matches if its values joined by `,` do (RFC 9110 §5.3).
    pub value: TextMatch,
}

/// A match on a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum TextMatch {
    /// The whole text.
    Exact(String),
    /// The whole text by a regular expression of linear time.
    Regex(String),
}

/// A request method: a token of RFC 9110 §9.1, case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct HttpMethod(pub String);

/// A Service port that a rule forwards to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct BackendRef {
    /// The Service's namespace; the route's where the user wrote none.
    pub namespace: Namespace,
    /// The Service's name.
    pub name: Name,
    /// The Service's port.
    pub port: Port,
    /// Its share among the rule's backends, 0 to 1,000,000; 1 where the user wrote none.
    pub weight: u32,
    /// What is changed about the header fields of what goes to it, after the rule's own changes.
    pub headers: HeaderFilters,
}
