//! The rules of a route of either kind in one form, with the order in which their matches are tried.
use std::{cmp::Reverse, time::Duration};

use weft_ir::{HeaderMatch, Precedence, RouteMatch};
use weft_model::{
    AnyRoute, BackendRef, Filters, GrpcMatch, HeaderFilters, HttpMatch, Mirror, Name, PathMatch, Port, Redirect,
};

/// Sorts the more specific match first. Routes of one host are all of one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// By the rules for HTTPRoutes.
    Http(Reverse<Precedence>),
    /// By those for GRPCRoutes (Gateway API, GRPCRouteRule "Matches"): the characters of the service, those of the method,
    /// the number of headers.
    Grpc(Reverse<((usize, usize), usize)>),
}

impl Default for Order {
    fn default() -> Self {
        Self::Http(everything().order())
    }
}

/// A rule.
pub(crate) struct Rule<'a> {
    pub(crate) name: Option<&'a Name>,
    /// Its matches; one of every request where it has none.
    pub(crate) matches: Vec<(Order, RouteMatch)>,
    pub(crate) backends: &'a [BackendRef],
    pub(crate) headers: &'a HeaderFilters,
    pub(crate) mirrors: &'a [Mirror],
    /// The filters that only an HTTPRoute may have.
    pub(crate) filters: Option<&'a Filters>,
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) backend_timeout: Option<Duration>,
}

/// The rules of a route, in order.
pub(crate) fn of(route: AnyRoute<'_>) -> Vec<Rule<'_>> {
    match route {
        AnyRoute::Http(route) => route
            .rules
            .iter()
            .map(|it| Rule {
                name: it.name.as_ref(),
                matches: alternatives(&it.matches, http_match, || (Order::default(), everything())),
                backends: &it.backends,
                headers: &it.filters.headers,
                mirrors: &it.filters.mirrors,
                filters: Some(&it.filters),
                request_timeout: it.request_timeout,
                backend_timeout: it.backend_timeout,
            })
            .collect(),
        AnyRoute::Grpc(route) => route
            .rules
            .iter()
            .map(|it| Rule {
                name: it.name.as_ref(),
                matches: alternatives(&it.matches, grpc_match, || grpc_match(&GrpcMatch::default())),
                backends: &it.backends,
                headers: &it.headers,
                mirrors: &it.mirrors,
                filters: None,
                request_timeout: None,
                backend_timeout: None,
            })
            .collect(),
    }
}

/// The match of every request.
pub(crate) fn everything() -> RouteMatch {
    let path = PathMatch::Prefix("/".to_owned());
    RouteMatch { path, method: None, headers: Vec::new(), query: Vec::new() }
}

/// With the port that follows from a scheme (Gateway API, HTTPRequestRedirectFilter "Port").
pub(crate) fn redirect(redirect: &Redirect) -> Redirect {
    let port = redirect.port.or_else(|| redirect.scheme.and_then(|scheme| Port::new(scheme.port())));
    Redirect { port, ..redirect.clone() }
}

fn alternatives<M>(
    matches: &[M],
    read: impl Fn(&M) -> (Order, RouteMatch),
    none: impl FnOnce() -> (Order, RouteMatch),
) -> Vec<(Order, RouteMatch)> {
    if matches.is_empty() { vec![none()] } else { matches.iter().map(read).collect() }
}

fn http_match(HttpMatch { path, method, headers, query }: &HttpMatch) -> (Order, RouteMatch) {
    let mut query = query.clone();
    query.sort_by(|a, b| a.name.cmp(&b.name));
    let matches = RouteMatch { path: path.clone(), method: method.clone(), headers: header_matches(headers), query };
    (Order::Http(matches.order()), matches)
}

fn grpc_match(GrpcMatch { method, headers }: &GrpcMatch) -> (Order, RouteMatch) {
    let path = method.as_ref().map_or_else(|| PathMatch::Prefix("/".to_owned()), |method| method.path());
    let called = method.as_ref().map_or((0, 0), |method| method.precedence());
    let matches = RouteMatch { path, method: None, headers: header_matches(headers), query: Vec::new() };
    (Order::Grpc(Reverse((called, headers.len()))), matches)
}

/// Matches on headers, ordered by name.
pub(crate) fn header_matches(headers: &[weft_model::HeaderMatch]) -> Vec<HeaderMatch> {
    let header = |it: &weft_model::HeaderMatch| HeaderMatch { name: it.name.clone(), value: it.value.clone() };
    let mut headers: Vec<_> = headers.iter().map(header).collect();
    headers.sort_by(|a, b| a.name.cmp(&b.name));
    headers
}
