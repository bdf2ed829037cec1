//! HTTPRoute's `spec`: the Gateway API's GAMMA form, with that specification's bounds. What GRPCRoute has in common with it
//! stands here too.
use std::{collections::HashMap, time::Duration};

mod filters;
pub(super) mod grpc;

use super::{
    fields::{Context, Field, Fields},
    path, pattern,
};
use crate::{
    BackendRef, Code, HeaderMatch, HttpMatch, HttpMethod, HttpRoute, HttpRule, Meta, Name, Namespace, ParentRef,
    PathMatch, QueryMatch, TextMatch, duration,
};

const MAX_PARENTS: usize = 32;
const MAX_RULES: usize = 16;
const MAX_MATCHES: usize = 64;
const MAX_ROUTE_MATCHES: usize = 128;
const MAX_HEADERS: usize = 16;
const MAX_QUERY: usize = 16;
const MAX_BACKENDS: usize = 16;
const MAX_WEIGHT: u32 = 1_000_000;

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

pub(super) fn decode(cx: &mut Context, meta: Option<Meta>, spec: &Field<'_>) -> Option<HttpRoute> {
    let own = meta.as_ref().map_or_else(Namespace::default_namespace, |meta| meta.namespace.clone());
    let mut fields = Fields::open(cx, spec)?;
    let parents = fields.required(cx, "parentRefs").map(|parents| self::parents(cx, &parents, &own));
    let rules = fields.required(cx, "rules").map(|rules| {
        self::rules(cx, &rules, |cx, item| rule(cx, item, &own), |rule| (rule.name.as_ref(), rule.matches.len()))
    });
    fields.unsupported(cx, &["hostnames", "useDefaultGateways"]);
    fields.finish(cx);
    Some(HttpRoute { meta: meta?, parents: parents?, rules: rules? })
}

fn parents(cx: &mut Context, field: &Field<'_>, own: &Namespace) -> Vec<ParentRef> {
    let mut first = HashMap::new();
    let mut parents = Vec::new();
    for item in field.items(cx, 1..=MAX_PARENTS) {
        let Some(parent) = parent(cx, &item, own) else { continue };
        let key = (parent.namespace.clone(), parent.name.clone(), parent.port);
        if let Some(line) = first.insert(key, item.node.line) {
            item.report(cx, Code::Duplicate, "the parent stands twice", Some(format!("the first is on line {line}")));
        }
        parents.push(parent);
    }
    parents
}

fn parent(cx: &mut Context, item: &Field<'_>, own: &Namespace) -> Option<ParentRef> {
    let mut fields = Fields::open(cx, item)?;
    // Left out, the Gateway API means its own group and a Gateway: a route without these never meant a Service.
    for (key, value) in [("group", ""), ("kind", "Service")] {
        let hint = format!("write `{key}: {value:?}`: a parent is a Service");
        match fields.take(key) {
            None => fields.missing(cx, key, Some(hint)),
            Some(field) => {
                if let Some(text) = field.text(cx)
                    && text != value
                {
                    let found = format!("weft does not implement parents of {key} {text:?}");
                    field.report(cx, Code::UnsupportedField, found, Some(hint));
                }
            }
        }
    }
    let namespace = namespace(cx, &mut fields, own);
    let name = fields.required(cx, "name").and_then(|name| name.parsed::<Name>(cx));
    let port = fields.take("port").and_then(|port| port.port(cx));
    fields.unsupported(cx, &["sectionName"]);
    fields.finish(cx);
    Some(ParentRef { namespace: namespace?, name: name?, port })
}

fn namespace(cx: &mut Context, fields: &mut Fields<'_>, own: &Namespace) -> Option<Namespace> {
    match fields.take("namespace") {
        Some(namespace) => namespace.parsed(cx),
        None => Some(own.clone()),
    }
}

/// The rules of either kind of route; `parts` tells a rule's name, and how many matches it has.
fn rules<R>(
    cx: &mut Context,
    field: &Field<'_>,
    read: impl Fn(&mut Context, &Field<'_>) -> Option<R>,
    parts: impl Fn(&R) -> (Option<&Name>, usize),
) -> Vec<R> {
    let mut first = HashMap::new();
    let mut rules = Vec::new();
    for item in field.items(cx, 1..=MAX_RULES) {
        let Some(rule) = read(cx, &item) else { continue };
        if let (Some(name), _) = parts(&rule)
            && let Some(line) = first.insert(name.clone(), item.node.line)
        {
            let field = Field { node: item.node, path: item.path.key("name") };
            let found = format!("the rule name {:?} stands twice", name.as_str());
            field.report(cx, Code::Duplicate, found, Some(format!("the first is on line {line}")));
        }
        rules.push(rule);
    }
    let matches: usize = rules.iter().map(|rule| parts(rule).1).sum();
    if matches > MAX_ROUTE_MATCHES {
        let found = format!("the rules have {matches} matches in all, more than {MAX_ROUTE_MATCHES}");
        field.report(cx, Code::TooLarge, found, Some("split the route".to_owned()));
    }
    rules
}

fn rule(cx: &mut Context, item: &Field<'_>, own: &Namespace) -> Option<HttpRule> {
    let mut fields = Fields::open(cx, item)?;
    let name = fields.take("name").and_then(|name| name.parsed::<Name>(cx));
    let mut matches = Vec::new();
    if let Some(field) = fields.take("matches") {
        matches.extend(field.items(cx, 0..=MAX_MATCHES).iter().filter_map(|item| http_match(cx, item)));
    }
    if matches.is_empty() {
        matches.push(HttpMatch { path: everything(), method: None, headers: Vec::new(), query: Vec::new() });
    }
    let filters =
        fields.take("filters").map(|field| filters::filters(cx, &field, filters::EVERY, own)).unwrap_or_default();
    // A rule that redirects or answers forwards nothing.
    let written = match filters.answers() {
        true => fields.take("backendRefs"),
        false => fields.required(cx, "backendRefs"),
    };
    let backends = written.map(|backends| self::backends(cx, &backends, own));
    filters::fit(cx, item, &filters, &matches, backends.as_ref().map_or(0, Vec::len));
    let timeouts = fields.take("timeouts").and_then(|timeouts| self::timeouts(cx, &timeouts));
    let (request_timeout, backend_timeout) = timeouts.unwrap_or_default();
    fields.unsupported(cx, &["retry", "sessionPersistence"]);
    fields.finish(cx);
    let backends = if filters.answers() { backends.unwrap_or_default() } else { backends? };
    Some(HttpRule { name, matches, filters, backends, request_timeout, backend_timeout })
}

/// `timeouts`: of the request, and of one try of it.
fn timeouts(cx: &mut Context, field: &Field<'_>) -> Option<(Option<Duration>, Option<Duration>)> {
    let mut fields = Fields::open(cx, field)?;
    let request = fields.take("request").and_then(|request| request.duration(cx));
    let backend_field = fields.take("backendRequest");
    let backend = backend_field.as_ref().and_then(|backend| backend.duration(cx));
    fields.finish(cx);
    let bounded = |timeout: Option<Duration>| timeout.filter(|timeout| !timeout.is_zero());
    if let (Some(whole), Some(try_), Some(field)) = (bounded(request), bounded(backend), backend_field)
        && try_ > whole
    {
        let (whole, try_) = (duration::format(whole), duration::format(try_));
        let found = format!("one try may take {try_}, longer than the whole request, {whole}");
        field.invalid(cx, found, &format!("write {whole} or less"));
    }
    Some((request, backend))
}

fn everything() -> PathMatch {
    PathMatch::Prefix("/".to_owned())
}

fn http_match(cx: &mut Context, item: &Field<'_>) -> Option<HttpMatch> {
    let mut fields = Fields::open(cx, item)?;
    let path = match fields.take("path") {
        Some(path) => path_match(cx, &path),
        None => Some(everything()),
    };
    let methods = METHODS.map(|method| (method, method));
    let method = fields.take("method").and_then(|method| method.choice(cx, &methods));
    let headers = fields.take("headers").map(|headers| self::headers(cx, &headers)).unwrap_or_default();
    let query = fields.take("queryParams").map(|query| self::query(cx, &query)).unwrap_or_default();
    fields.finish(cx);
    Some(HttpMatch { path: path?, method: method.map(|method| HttpMethod(method.to_owned())), headers, query })
}

fn query(cx: &mut Context, field: &Field<'_>) -> Vec<QueryMatch> {
    let mut first = HashMap::new();
    let mut query = Vec::new();
    for item in field.items(cx, 0..=MAX_QUERY) {
        let Some(parameter) = parameter(cx, &item) else { continue };
        if let Some(line) = first.insert(parameter.name.clone(), item.node.line) {
            let field = Field { node: item.node, path: item.path.key("name") };
            let found = format!("the query parameter {:?} stands twice", parameter.name);
            field.report(cx, Code::Duplicate, found, Some(format!("the first is on line {line}")));
        }
        query.push(parameter);
    }
    query
}

fn parameter(cx: &mut Context, item: &Field<'_>) -> Option<QueryMatch> {
    let types = [("Exact", MatchType::Exact), ("RegularExpression", MatchType::Regex)];
    let mut fields = Fields::open(cx, item)?;
    let match_type = match fields.take("type") {
        Some(match_type) => match_type.choice(cx, &types),
        None => Some(MatchType::Exact),
    };
    let name = fields.required(cx, "name").and_then(|name| pattern::query_name(cx, &name));
    let value = fields.required(cx, "value");
    fields.finish(cx);
    let value = match match_type? {
        MatchType::Regex => TextMatch::Regex(pattern::regex(cx, &value?)?),
        MatchType::Exact | MatchType::Prefix => TextMatch::Exact(pattern::query_value(cx, &value?)?),
    };
    Some(QueryMatch { name: name?, value })
}

/// How a match's `value` is read.
#[derive(Clone, Copy)]
enum MatchType {
    Exact,
    Prefix,
    Regex,
}

/// A match on a path; by prefix where no type is written.
pub(super) fn path_match(cx: &mut Context, field: &Field<'_>) -> Option<PathMatch> {
    let types =
        [("Exact", MatchType::Exact), ("PathPrefix", MatchType::Prefix), ("RegularExpression", MatchType::Regex)];
    let mut fields = Fields::open(cx, field)?;
    let match_type = match fields.take("type") {
        Some(match_type) => match_type.choice(cx, &types),
        None => Some(MatchType::Prefix),
    };
    let value = fields.take("value");
    fields.finish(cx);
    let Some(value) = value else {
        // The Gateway API's default value is `/` for every type.
        return Some(match match_type? {
            MatchType::Exact => PathMatch::Exact("/".to_owned()),
            MatchType::Prefix => everything(),
            MatchType::Regex => PathMatch::Regex("/".to_owned()),
        });
    };
    match match_type? {
        MatchType::Exact => path::decode(cx, &value).map(PathMatch::Exact),
        MatchType::Prefix => path::decode(cx, &value).map(|path| match path.strip_suffix('/') {
            Some(stem) if !stem.is_empty() => PathMatch::Prefix(stem.to_owned()),
            _ => PathMatch::Prefix(path),
        }),
        MatchType::Regex => pattern::regex(cx, &value).map(PathMatch::Regex),
    }
}

/// Matches on headers, each name once.
pub(super) fn headers(cx: &mut Context, field: &Field<'_>) -> Vec<HeaderMatch> {
    let mut first = HashMap::new();
    let mut headers = Vec::new();
    for item in field.items(cx, 0..=MAX_HEADERS) {
        let Some(header) = header(cx, &item) else { continue };
        if let Some(line) = first.insert(header.name.clone(), item.node.line) {
            let field = Field { node: item.node, path: item.path.key("name") };
            let found = format!("the header {:?} stands twice", header.name);
            field.report(cx, Code::Duplicate, found, Some(format!("the first is on line {line}")));
        }
        headers.push(header);
    }
    headers
}

fn header(cx: &mut Context, item: &Field<'_>) -> Option<HeaderMatch> {
    let types = [("Exact", MatchType::Exact), ("RegularExpression", MatchType::Regex)];
    let mut fields = Fields::open(cx, item)?;
    let match_type = match fields.take("type") {
        Some(match_type) => match_type.choice(cx, &types),
        None => Some(MatchType::Exact),
    };
    let name = fields.required(cx, "name").and_then(|name| pattern::header_name(cx, &name));
    let value = fields.required(cx, "value");
    fields.finish(cx);
    let value = match match_type? {
        MatchType::Regex => TextMatch::Regex(pattern::regex(cx, &value?)?),
        MatchType::Exact | MatchType::Prefix => TextMatch::Exact(pattern::header_value(cx, &value?)?),
    };
    Some(HeaderMatch { name: name?, value })
}

fn backends(cx: &mut Context, field: &Field<'_>, own: &Namespace) -> Vec<BackendRef> {
    let items = field.items(cx, 1..=MAX_BACKENDS);
    let backends: Vec<_> = items.iter().filter_map(|item| backend(cx, item, own)).collect();
    // Where a backend has an error of its own, its weight is not known.
    if !backends.is_empty() && backends.len() == items.len() && backends.iter().all(|backend| backend.weight == 0) {
        let hint = "give at least one backend a weight above 0".to_owned();
        field.report(cx, Code::ZeroWeights, "the weights sum to zero, so no request could go anywhere", Some(hint));
    }
    backends
}

fn backend(cx: &mut Context, item: &Field<'_>, own: &Namespace) -> Option<BackendRef> {
    let mut fields = Fields::open(cx, item)?;
    fields.only(cx, "group", &[""]);
    fields.only(cx, "kind", &["Service"]);
    let namespace = namespace(cx, &mut fields, own);
    let name = fields.required(cx, "name").and_then(|name| name.parsed::<Name>(cx));
    let port = fields.required(cx, "port").and_then(|port| port.port(cx));
    let weight = match fields.take("weight") {
        Some(weight) => weight.integer(cx, 0..=MAX_WEIGHT),
        None => Some(1),
    };
    let filters =
        fields.take("filters").map(|field| filters::filters(cx, &field, filters::HEADERS, own)).unwrap_or_default();
    fields.finish(cx);
    Some(BackendRef { namespace: namespace?, name: name?, port: port?, weight: weight?, headers: filters.headers })
}
