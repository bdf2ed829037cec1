//! Random filters of rules and backends, and routes for gRPC's calls.
use weft_model::{
    Cors, DirectResponse, Filters, GrpcMatch, GrpcMethodMatch, GrpcRoute, GrpcRule, HeaderChanges, HeaderField,
    HeaderFilters, HttpMatch, HttpRoute, HttpRouteFilter, HttpRule, Labels, Meta, PathMatch, PathRewrite, Port,
    QueryMatch, Redirect, RedirectStatus, Scheme, TextMatch, UrlRewrite,
};

use crate::dice::{Dice, valid};

/// Matches on query parameters: a name, whether it is a regular expression, what its value must be, and a value that is.
pub(crate) const QUERIES: [(&str, bool, &str, &str); 4] =
    [("v", false, "2", "2"), ("page", true, "[0-9]+", "17"), ("q", false, "a%20b", "a%20b"), ("v", true, "[a-c]", "b")];

/// The services and methods of calls.
pub(crate) const CALLS: [(&str, &str); 3] =
    [("shop.v1.Stock", "Reserve"), ("shop.v1.Stock", "List"), ("shop.v1.Cart", "List")];

/// Paths that are put in others' places.
const REPLACEMENTS: [&str; 5] = ["", "/new", "/new/place", "/v1", "/caf%C3%A9"];

/// The header fields that an application's answers have, for filters to change.
pub(crate) const ANSWER_FIELDS: [(&str, &str); 2] = [("x-version", "1"), ("x-powered-by", "pairs")];

/// Changes of header fields, among them of those that requests and answers have.
pub(crate) fn headers(dice: &mut Dice) -> HeaderFilters {
    HeaderFilters {
        request: changes(dice, &["x-canary", "x-user", "x-colors", "x-added"]),
        response: changes(dice, &["x-version", "x-powered-by", "x-told"]),
    }
}

fn changes(dice: &mut Dice, names: &[&str]) -> HeaderChanges {
    let mut changes = HeaderChanges::default();
    for name in names {
        let field = |value: &str| HeaderField { name: (*name).to_owned(), value: value.to_owned() };
        match dice.below(8) {
            0 => changes.set.push(field("set: 100 %")),
            1 => changes.add.push(field("added")),
            2 => changes.remove.push((*name).to_owned()),
            _ => {}
        }
    }
    changes
}

/// The filters of a rule with those matches.
pub(crate) fn filters(dice: &mut Dice, matches: &[HttpMatch]) -> Filters {
    let headers = if dice.percent(25) { headers(dice) } else { HeaderFilters::default() };
    let prefix = matches.iter().all(|it| matches!(it.path, PathMatch::Prefix(_)));
    let (mut rewrite, mut redirect, mut extension) = (None, None, None);
    match dice.below(20) {
        13..16 => {
            let host = dice.percent(50).then(|| valid(dice.pick::<&str>(&["api.example.com", "cart", "v2.web.shop"])));
            let path = (host.is_none() || dice.percent(50)).then(|| path(dice, prefix));
            rewrite = Some(UrlRewrite { host, path });
        }
        0..6 => redirect = Some(self::redirect(dice, prefix)),
        6..13 => {
            extension = Some(valid(dice.pick::<&str>(&["teapot", "teapot", "teapot", "empty", "empty", "missing"])))
        }
        _ => {}
    }
    let cors = dice.percent(30).then(|| cors(dice));
    Filters { headers, rewrite, redirect, cors, mirrors: Vec::new(), extension }
}

/// The answers that rules name; those of a third name do not exist.
pub(crate) fn answers(namespace: &str) -> [HttpRouteFilter; 2] {
    [("teapot", 418, "no coffee here"), ("empty", 204, "")].map(|(name, status, body)| {
        let meta =
            Meta { name: valid(name), namespace: valid(namespace), labels: Labels::new(), annotations: Labels::new() };
        let content_type = DirectResponse::TEXT.to_owned();
        HttpRouteFilter { meta, answer: DirectResponse { status, content_type, body: body.to_owned() } }
    })
}

/// Origins of pages.
pub(crate) const ORIGINS: [&str; 4] =
    ["https://shop.example", "https://a.shop.example", "http://other.example:8080", "null"];

fn cors(dice: &mut Dice) -> Cors {
    let mut names = |all: bool, name: &str| match dice.below(3) {
        0 => Vec::new(),
        1 if all => vec!["*".to_owned()],
        _ => vec![name.to_owned()],
    };
    let (methods, headers, expose) = (names(true, "PUT"), names(true, "x-user"), names(false, "x-user"));
    let some = dice.pick::<&[&str]>(&[&["https://shop.example:443"], &["https://*.shop.example", "http://a"], &["*"]]);
    let origins = some.iter().map(|origin| valid(origin)).collect();
    Cors { origins, credentials: dice.percent(50), methods, headers, expose, max_age: 5 + dice.below(60) as u32 }
}

fn path(dice: &mut Dice, prefix: bool) -> PathRewrite {
    let path = (*dice.pick(&REPLACEMENTS)).to_owned();
    if prefix && dice.percent(75) {
        return PathRewrite::Prefix(path);
    }
    PathRewrite::Full(if path.is_empty() { "/".to_owned() } else { path })
}

fn redirect(dice: &mut Dice, prefix: bool) -> Redirect {
    let mut redirect = Redirect {
        scheme: dice.percent(40).then(|| *dice.pick(&[Scheme::Http, Scheme::Https])),
        host: dice.percent(40).then(|| valid("elsewhere.example")),
        port: dice.percent(30).then(|| Port::new(*dice.pick(&[80, 443, 8443])).expect("not zero")),
        path: dice.percent(50).then(|| path(dice, prefix)),
        status: *dice.pick(&RedirectStatus::ALL),
    };
    let Redirect { scheme, host, port, path, .. } = &redirect;
    if scheme.is_none() && host.is_none() && port.is_none() && path.is_none() {
        redirect.scheme = Some(Scheme::Https);
    }
    redirect
}

/// Matches on the query, often none.
pub(crate) fn query(dice: &mut Dice) -> Vec<QueryMatch> {
    if dice.percent(80) {
        return Vec::new();
    }
    let &(name, is_regex, value, _) = dice.pick(&QUERIES);
    let value = value.to_owned();
    vec![QueryMatch {
        name: name.to_owned(),
        value: if is_regex { TextMatch::Regex(value) } else { TextMatch::Exact(value) },
    }]
}

/// The same route for calls.
pub(crate) fn for_calls(dice: &mut Dice, route: HttpRoute) -> GrpcRoute {
    let HttpRoute { meta, parents, rules } = route;
    let mut rule = |HttpRule { name, matches, filters, backends, .. }: HttpRule| {
        let matches = matches.into_iter().map(|it| GrpcMatch { method: method(dice), headers: it.headers }).collect();
        GrpcRule { name, matches, headers: filters.headers, mirrors: filters.mirrors, backends }
    };
    let rules = rules.into_iter().filter(|rule| !rule.backends.is_empty()).map(&mut rule).collect();
    GrpcRoute { meta, parents, rules }
}

fn method(dice: &mut Dice) -> Option<GrpcMethodMatch> {
    let &(service, method) = dice.pick(&CALLS);
    let (service, method) = match dice.below(4) {
        0 => return None,
        1 => (Some(service), None),
        2 => (None, Some(method)),
        _ => (Some(service), Some(method)),
    };
    let regex = dice.percent(30);
    let written =
        |part: Option<&str>| part.map(|part| if regex { part.replace("v1", "v[0-9]") } else { part.to_owned() });
    Some(GrpcMethodMatch { regex, service: written(service), method: written(method) })
}
