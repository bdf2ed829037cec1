//! GRPCRoute with Services as parents and backends, and what both kinds of route have in common.
use serde::Serialize;

use crate::{BackendRef, HeaderFilters, HeaderMatch, HttpRoute, Meta, Mirror, Name, Object, ParentRef, PathMatch};

/// Rules for gRPC calls to the Services that are its parents.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct GrpcRoute {
    /// Name, namespace, labels.
    pub meta: Meta,
    /// The Services whose calls it routes; at least one.
    pub parents: Vec<ParentRef>,
    /// The rules in the order written; at least one.
    pub rules: Vec<GrpcRule>,
}

/// One rule: any of `matches` selects it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct GrpcRule {
    /// Its name, unique in the route, where it has one.
    pub name: Option<Name>,
    /// Alternatives; an absent list is one match of every call.
    pub matches: Vec<GrpcMatch>,
    /// Changes of header fields (gRPC's metadata).
    pub headers: HeaderFilters,
    /// Who gets copies of the calls.
    pub mirrors: Vec<Mirror>,
    /// Where a matched call goes: weights sum to more than zero.
    pub backends: Vec<BackendRef>,
}

/// All parts must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct GrpcMatch {
    /// On the called method.
    pub method: Option<GrpcMethodMatch>,
    /// On headers (metadata), each name at most once.
    pub headers: Vec<HeaderMatch>,
}

/// A match on a gRPC method; at least one part is there, and the other is any.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct GrpcMethodMatch {
    /// Whether the parts are regular expressions of linear time; else they are names.
    pub regex: bool,
    /// The service with its package: `shop.v1.Stock`.
    pub service: Option<String>,
    /// The method.
    pub method: Option<String>,
}

impl GrpcMethodMatch {
    /// The match on the path `/<service>/<method>` that it is (gRPC over HTTP2, "Requests").
    pub fn path(&self) -> PathMatch {
        match (self.regex, &self.service, &self.method) {
            (_, None, None) => PathMatch::Prefix("/".to_owned()),
            (false, Some(service), Some(method)) => PathMatch::Exact(format!("/{service}/{method}")),
            (false, Some(service), None) => PathMatch::Prefix(format!("/{service}")),
            (false, None, Some(method)) => PathMatch::Regex(format!("/[^/]+/{method}")),
            (true, service, method) => {
                let part = |part: &Option<String>| match part {
                    Some(regex) => format!("(?:{regex})"),
                    None => "[^/]+".to_owned(),
                };
                PathMatch::Regex(format!("/{}/{}", part(service), part(method)))
            }
        }
    }

    /// How specific it is: the characters of the service, then those of the method (Gateway API, GRPCRouteRule
    /// "Matches").
    pub fn precedence(&self) -> (usize, usize) {
        let characters = |part: &Option<String>| part.as_ref().map_or(0, |part| part.chars().count());
        (characters(&self.service), characters(&self.method))
    }
}

/// A route of either kind.
#[derive(Clone, Copy, Debug)]
pub enum AnyRoute<'a> {
    /// An HTTPRoute.
    Http(&'a HttpRoute),
    /// A GRPCRoute.
    Grpc(&'a GrpcRoute),
}

/// What the rules of either kind have in common.
#[derive(Clone, Copy, Debug)]
pub struct AnyRule<'a> {
    /// Its name.
    pub name: Option<&'a Name>,
    /// How many matches it writes.
    pub matches: usize,
    /// Where a matched request goes.
    pub backends: &'a [BackendRef],
    /// Who gets copies of it.
    pub mirrors: &'a [Mirror],
}

impl<'a> AnyRoute<'a> {
    /// The route that an object is.
    pub fn of(object: &'a Object) -> Option<Self> {
        match object {
            Object::HttpRoute(it) => Some(Self::Http(it)),
            Object::GrpcRoute(it) => Some(Self::Grpc(it)),
            Object::Service(_)
            | Object::Workload(_)
            | Object::HttpRouteFilter(_)
            | Object::TrafficPolicy(_)
            | Object::AccessPolicy(_) => None,
        }
    }

    /// Its metadata.
    pub fn meta(self) -> &'a Meta {
        match self {
            Self::Http(it) => &it.meta,
            Self::Grpc(it) => &it.meta,
        }
    }

    /// The Services whose requests it routes.
    pub fn parents(self) -> &'a [ParentRef] {
        match self {
            Self::Http(it) => &it.parents,
            Self::Grpc(it) => &it.parents,
        }
    }

    /// Its rules in the order written.
    pub fn rules(self) -> Vec<AnyRule<'a>> {
        match self {
            Self::Http(it) => it
                .rules
                .iter()
                .map(|rule| AnyRule {
                    name: rule.name.as_ref(),
                    matches: rule.matches.len(),
                    backends: &rule.backends,
                    mirrors: &rule.filters.mirrors,
                })
                .collect(),
            Self::Grpc(it) => it
                .rules
                .iter()
                .map(|rule| AnyRule {
                    name: rule.name.as_ref(),
                    matches: rule.matches.len(),
                    backends: &rule.backends,
                    mirrors: &rule.mirrors,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_match_is_a_path_match() {
        let of = |regex, service: Option<&str>, method: Option<&str>| {
            GrpcMethodMatch { regex, service: service.map(Into::into), method: method.map(Into::into) }.path()
        };
        assert_eq!(of(false, Some("a.B"), Some("C")), PathMatch::Exact("/a.B/C".into()));
        assert_eq!(of(false, Some("a.B"), None), PathMatch::Prefix("/a.B".into()));
        assert_eq!(of(false, None, Some("C")), PathMatch::Regex("/[^/]+/C".into()));
        assert_eq!(of(true, Some("a|b"), None), PathMatch::Regex("/(?:a|b)/[^/]+".into()));
        assert_eq!(of(true, Some("a"), Some("C|D")), PathMatch::Regex("/(?:a)/(?:C|D)".into()));
    }
}
