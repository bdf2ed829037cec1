//! Routes of both kinds, with every form of match and filter.
use std::num::NonZeroU32;

use proptest::{collection, option, prelude::*, sample};

use super::{duration, meta, name, namespace, port_number, regex, rule_name, subdomain, text, valid};
use crate::{
    AccessMatch, BackendRef, Cors, DirectResponse, Filters, GrpcMatch, GrpcMethodMatch, GrpcRoute, GrpcRule,
    HeaderChanges, HeaderField, HeaderFilters, HeaderMatch, HttpMatch, HttpMethod, HttpRoute, HttpRouteFilter,
    HttpRule, Mirror, ParentRef, PathMatch, PathRewrite, QueryMatch, Redirect, RedirectStatus, Scheme, Share,
    TextMatch, UrlRewrite, is_ours_to_say,
};

/// An HTTPRoute with every form of match and filter.
pub fn http_route() -> impl Strategy<Value = HttpRoute> {
    let rules = collection::vec((any::<bool>(), http_rule()), 1..=4).prop_map(|rules| {
        let named = rules.into_iter().enumerate();
        named.map(|(index, (has_name, rule))| HttpRule { name: rule_name(has_name, index), ..rule }).collect()
    });
    (meta(subdomain()), parents(), rules).prop_map(|(meta, parents, rules)| HttpRoute { meta, parents, rules })
}

/// A GRPCRoute with every form of match and filter.
pub fn grpc_route() -> impl Strategy<Value = GrpcRoute> {
    let rule = (any::<bool>(), collection::vec(grpc_match(), 1..4), (header_filters(), mirrors()), backends());
    let rules = collection::vec(rule, 1..=4).prop_map(|rules| {
        let named = rules.into_iter().enumerate();
        let rule = |(index, (has_name, matches, (headers, mirrors), backends))| {
            let name = rule_name(has_name, index);
            GrpcRule { name, matches, headers, mirrors, backends }
        };
        named.map(rule).collect()
    });
    (meta(subdomain()), parents(), rules).prop_map(|(meta, parents, rules)| GrpcRoute { meta, parents, rules })
}

/// Changes of header fields, often none.
pub fn header_filters() -> impl Strategy<Value = HeaderFilters> {
    (header_changes(), header_changes()).prop_map(|(request, response)| HeaderFilters { request, response })
}

/// A rewrite of at least one part; `prefix` says whether it may replace what a prefix matched.
pub fn url_rewrite(prefix: bool) -> impl Strategy<Value = UrlRewrite> {
    prop_oneof![
        host().prop_map(|host| UrlRewrite { host: Some(host), path: None }),
        path_rewrite(prefix).prop_map(|path| UrlRewrite { host: None, path: Some(path) }),
        (host(), path_rewrite(prefix)).prop_map(|(host, path)| UrlRewrite { host: Some(host), path: Some(path) }),
    ]
}

/// A redirect that changes something; `prefix` says whether it may replace what a prefix matched.
pub fn redirect(prefix: bool) -> impl Strategy<Value = Redirect> {
    let scheme = prop_oneof![Just(Scheme::Http), Just(Scheme::Https)];
    let status = sample::select(&RedirectStatus::ALL[..]);
    let parts = (option::of(scheme), option::of(host()), option::of(port_number()), option::of(path_rewrite(prefix)));
    (parts, status).prop_map(|((scheme, host, port, path), status)| {
        let anything = scheme.is_some() || host.is_some() || port.is_some() || path.is_some();
        let scheme = scheme.or_else(|| (!anything).then_some(Scheme::Https));
        Redirect { scheme, host, port, path, status }
    })
}

/// An HTTPRouteFilter.
pub fn route_filter() -> impl Strategy<Value = HttpRouteFilter> {
    (meta(subdomain()), direct_response()).prop_map(|(meta, answer)| HttpRouteFilter { meta, answer })
}

/// A direct response of any status.
pub fn direct_response() -> impl Strategy<Value = DirectResponse> {
    (200..=599_u16, header_text(), text()).prop_map(|(status, content_type, body)| {
        let body = if matches!(status, 204 | 304) { String::new() } else { body };
        DirectResponse { status, content_type, body }
    })
}

/// CORS of every form.
pub fn cors() -> impl Strategy<Value = Cors> {
    let some = ["https://shop.example", "http://*.shop.example:8080", "https://*", "http://a:80", "https://a:443"];
    let origins = prop_oneof![Just(vec!["*"]), sample::subsequence(some.to_vec(), 1..=some.len())];
    let origins = origins.prop_map(|origins| origins.into_iter().map(valid).collect());
    let all = || Just(vec!["*"]);
    let methods = prop_oneof![all(), sample::subsequence(vec!["GET", "HEAD", "PUT", "PATCH", "DELETE"], 0..=5)];
    let names = || sample::subsequence(vec!["x-a", "x-b", "content-type", "authorization"], 0..=4);
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let lists =
        (methods.prop_map(owned), prop_oneof![all().boxed(), names().boxed()].prop_map(owned), names().prop_map(owned));
    (origins, any::<bool>(), lists, 1..=2_147_483_647_u32).prop_map(
        |(origins, credentials, (methods, headers, expose), max_age)| Cors {
            origins,
            credentials,
            methods,
            headers,
            expose,
            max_age,
        },
    )
}

/// Who gets copies; often nobody.
pub fn mirrors() -> impl Strategy<Value = Vec<Mirror>> {
    let fraction = (1..=i32::MAX.unsigned_abs()).prop_flat_map(|of| (0..=of, Just(of)));
    let share = prop_oneof![Just((100, 100)), (0..=100_u32, Just(100)), fraction];
    let share = share.prop_filter_map("a denominator", |(part, of)| Some(Share { part, of: NonZeroU32::new(of)? }));
    let mirror = (namespace(), name(), port_number(), share).prop_map(|(namespace, name, port, share)| Mirror {
        namespace,
        name,
        port,
        share,
    });
    prop_oneof![2 => Just(Vec::new()), 1 => collection::vec(mirror, 1..3)]
}

fn host() -> impl Strategy<Value = crate::Host> {
    prop_oneof![Just("api.example.com"), Just("web.shop.svc.cluster.local"), Just("stock")].prop_map(valid)
}

fn path_rewrite(prefix: bool) -> impl Strategy<Value = PathRewrite> {
    let path = "(/[a-z0-9~!$&'*+,=:@_-][a-z0-9~!$&'*+,=:@_-]{0,3}){0,3}";
    (path, any::<bool>()).prop_map(move |(path, wants)| {
        if prefix && wants { PathRewrite::Prefix(path) } else { PathRewrite::Full(rooted(path)) }
    })
}

fn header_changes() -> impl Strategy<Value = HeaderChanges> {
    let name = "x-[a-z][a-z0-9!#$%&'*+.^_`|~-]{0,6}".prop_filter("not ours", |name| !name.starts_with("x-weft-"));
    collection::btree_map(name, (0..3_u8, header_text()), 0..4).prop_map(|entries| {
        let mut changes = HeaderChanges::default();
        for (name, (kind, value)) in entries {
            match kind {
                0 => changes.set.push(HeaderField { name, value }),
                1 => changes.add.push(HeaderField { name, value }),
                _ => changes.remove.push(name),
            }
        }
        changes
    })
}

fn parents() -> impl Strategy<Value = Vec<ParentRef>> {
    let parent = (namespace(), name(), option::of(port_number()));
    collection::btree_set(parent, 1..=3).prop_map(|parents| {
        parents.into_iter().map(|(namespace, name, port)| ParentRef { namespace, name, port }).collect()
    })
}

fn backends() -> impl Strategy<Value = Vec<BackendRef>> {
    let backend = (namespace(), name(), port_number(), 0_u32..=1_000_000, header_filters())
        .prop_map(|(namespace, name, port, weight, headers)| BackendRef { namespace, name, port, weight, headers });
    collection::vec(backend, 1..4).prop_map(|mut backends| {
        if backends.iter().all(|backend| backend.weight == 0) {
            backends.iter_mut().for_each(|backend| backend.weight = 1);
        }
        backends
    })
}

fn http_rule() -> impl Strategy<Value = HttpRule> {
    let matches = collection::vec(http_match(), 1..4);
    let timeouts = (option::of(duration()), option::of(duration())).prop_map(|(whole, one)| {
        let fits = matches!((whole, one), (Some(whole), Some(one)) if whole.is_zero() || one <= whole);
        (whole, one.filter(|_| whole.is_none() || fits))
    });
    let cors = option::weighted(0.2, cors());
    (matches, backends(), (header_filters(), cors, mirrors()), timeouts, 0..6_u8).prop_flat_map(
        |(matches, backends, (headers, cors, mirrors), (request_timeout, backend_timeout), kind)| {
            let prefix = matches.iter().all(|it| matches!(it.path, PathMatch::Prefix(_)));
            let mirrors = if (1..=2).contains(&kind) { Vec::new() } else { mirrors };
            let plain = Filters { headers, cors, mirrors, ..Filters::default() };
            let filters = match kind {
                0 => url_rewrite(prefix).prop_map(move |it| Filters { rewrite: Some(it), ..plain.clone() }).boxed(),
                1 => redirect(prefix).prop_map(move |it| Filters { redirect: Some(it), ..plain.clone() }).boxed(),
                2 => {
                    subdomain().prop_map(move |name| Filters { extension: Some(valid(&name)), ..plain.clone() }).boxed()
                }
                _ => Just(plain).boxed(),
            };
            filters.prop_map(move |filters| HttpRule {
                name: None,
                matches: matches.clone(),
                backends: if filters.answers() { Vec::new() } else { backends.clone() },
                filters,
                request_timeout,
                backend_timeout,
            })
        },
    )
}

/// A match of an access rule, which asks for something.
pub(super) fn access_match() -> impl Strategy<Value = AccessMatch> {
    let methods = sample::subsequence(vec!["GET", "POST", "PURGE", "CONNECT"], 0..3);
    let hosts = sample::subsequence(vec!["web", "web.shop", "api.example.com"], 0..3);
    (methods, option::of(path_match()), hosts, headers()).prop_map(|(methods, path, hosts, mut headers)| {
        headers.retain(|header| !is_ours_to_say(&header.name));
        let methods: Vec<_> = methods.into_iter().map(|method| HttpMethod(method.to_owned())).collect();
        let hosts: Vec<_> = hosts.into_iter().map(valid).collect();
        let asks = !(methods.is_empty() && hosts.is_empty() && headers.is_empty());
        let path = path.or_else(|| (!asks).then(|| PathMatch::Prefix("/".to_owned())));
        AccessMatch { methods, path, hosts, headers }
    })
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        1 => "(/[a-z0-9~!$&'*+,=:@_-][a-z0-9~!$&'*+,;=:@_-]{0,3}){0,3}/?".prop_map(|path| PathMatch::Exact(rooted(path))),
        3 => "(/[a-z0-9~!$&'*+,=:@_-][a-z0-9~!$&'*+,;=:@_-]{0,3}){0,3}".prop_map(|path| PathMatch::Prefix(rooted(path))),
        1 => regex().prop_map(PathMatch::Regex),
    ]
}

fn http_match() -> impl Strategy<Value = HttpMatch> {
    let method =
        prop_oneof![Just("GET"), Just("POST"), Just("DELETE")].prop_map(|method| HttpMethod(method.to_owned()));
    let value = prop_oneof!["[!-%'-~&&[^#]]{1,6}".prop_map(TextMatch::Exact), regex().prop_map(TextMatch::Regex)];
    let query = collection::btree_map("[A-Za-z][A-Za-z0-9.^_-]{0,6}", value, 0..3)
        .prop_map(|query| query.into_iter().map(|(name, value)| QueryMatch { name, value }).collect());
    (path_match(), option::of(method), headers(), query).prop_map(|(path, method, headers, query)| HttpMatch {
        path,
        method,
        headers,
        query,
    })
}

fn grpc_match() -> impl Strategy<Value = GrpcMatch> {
    let service = "[a-z_][a-z0-9_]{0,4}(\\.[A-Za-z_][A-Za-z0-9_]{0,4}){0,2}";
    let exact = prop_oneof![
        (service, option::of("[A-Z_][A-Za-z0-9_]{0,6}")).prop_map(|(service, method)| (Some(service), method)),
        "[A-Z_][A-Za-z0-9_]{0,6}".prop_map(|method| (None, Some(method))),
    ]
    .prop_map(|(service, method)| GrpcMethodMatch { regex: false, service, method });
    let regex = prop_oneof![
        (regex(), option::of(regex())).prop_map(|(service, method)| (Some(service), method)),
        regex().prop_map(|method| (None, Some(method))),
    ]
    .prop_map(|(service, method)| GrpcMethodMatch { regex: true, service, method });
    (option::of(prop_oneof![exact, regex]), headers()).prop_map(|(method, headers)| GrpcMatch { method, headers })
}

fn headers() -> impl Strategy<Value = Vec<HeaderMatch>> {
    let value = prop_oneof![header_text().prop_map(TextMatch::Exact), regex().prop_map(TextMatch::Regex)];
    collection::btree_map("[a-z][a-z0-9!#$%&'*+.^_`|~-]{0,6}", value, 0..3)
        .prop_map(|headers| headers.into_iter().map(|(name, value)| HeaderMatch { name, value }).collect())
}

fn header_text() -> impl Strategy<Value = String> {
    text().prop_filter_map("a header's value", |text| {
        let text = text.replace('\n', " ").trim_matches([' ', '\t']).to_owned();
        (!text.is_empty()).then_some(text)
    })
}

fn rooted(path: String) -> String {
    if path.is_empty() { "/".to_owned() } else { path }
}
