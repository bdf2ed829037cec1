//! One route of a virtual host.
use std::{collections::HashMap, time::Duration};

use weft_ir::{Affinity, HeaderMatch, Mirror, Retry, Route, RouteAction, RouteMatch, RouteOrigin, WeightedCluster};
use weft_model::{HttpMethod, PathMatch, QueryMatch, TextMatch, UrlRewrite};
use weft_proto::{
    envoy::{
        config::{
            core::v3::{DataSource, data_source::Specifier},
            route::v3::{
                self as wire, DirectResponseAction, HeaderMatcher, QueryParameterMatcher,
                header_matcher::HeaderMatchSpecifier,
                query_parameter_matcher::QueryParameterMatchSpecifier,
                route::Action,
                route_action::{ClusterNotFoundResponseCode, ClusterSpecifier, MaxStreamDuration},
                route_match::PathSpecifier,
                weighted_cluster::ClusterWeight,
            },
        },
        r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
    },
    google::protobuf::{self, UInt32Value},
    weft,
};

use super::{
    affinity, changes,
    common::{
        annotate, annotation, duration, duration_of_ours, is_token, origin, parse, read_duration,
        read_duration_of_ours, read_origin, read_regex, required, safe_regex, shorten, text,
    },
    cors,
    fault::{Fault, Within, expect, fault, nothing_left},
    mirror, retry, rewrite,
};

/// The status of a refusal (Gateway API, HTTPRouteRule "BackendRefs").
const REFUSED: u32 = 500;

/// The pseudo-header that a method match is on the wire.
pub(super) const METHOD: &str = ":method";

/// The longest method, header name and path that are read, in bytes.
const MAX_METHOD_BYTES: usize = 64;
const MAX_HEADER_NAME_BYTES: usize = 256;

/// What the standard has no field for, on its way between the parts of a route.
#[derive(Default)]
struct Extra {
    refusal_timeout: Option<prost_types::Duration>,
    refused_shares: HashMap<u32, String>,
    retry: Option<weft::Retry>,
    try_timeout: Option<prost_types::Duration>,
    written_response: bool,
}

pub(super) fn encode(route: &Route) -> wire::Route {
    let Route {
        origin: from,
        matches,
        action,
        timeout,
        try_timeout,
        idle_timeout,
        stream_timeout,
        retry,
        affinity,
        headers,
        rewrite,
        cors,
        mirrors,
    } = route;
    let mut extra = Extra { try_timeout: try_timeout.map(duration_of_ours), ..Extra::default() };
    let action = match action {
        RouteAction::Forward(shares) => {
            let mut action = encode_shares(shares, &mut extra);
            // Zero is no bound; left out it would be 15 s.
            action.timeout = Some(duration(timeout.unwrap_or_default()));
            action.idle_timeout = idle_timeout.map(duration);
            action.max_stream_duration = stream_timeout.map(|bound| MaxStreamDuration {
                max_stream_duration: Some(duration(bound)),
                ..MaxStreamDuration::default()
            });
            action.hash_policy = affinity.iter().map(affinity::encode).collect();
            (action.retry_policy, extra.retry) = retry::encode(retry.as_ref(), *try_timeout);
            rewrite::encode(rewrite.as_deref(), &matches.path, &mut action);
            action.request_mirror_policies = mirrors.iter().map(mirror::encode).collect();
            Action::Route(action)
        }
        RouteAction::Respond { status, body } => {
            extra.refusal_timeout = timeout.map(duration_of_ours);
            extra.written_response = true;
            Action::DirectResponse(direct_response((*status).into(), body))
        }
        RouteAction::Redirect(redirect) => {
            extra.refusal_timeout = timeout.map(duration_of_ours);
            Action::Redirect(rewrite::encode_redirect(redirect, &matches.path))
        }
        RouteAction::Refuse { cause } => {
            extra.refusal_timeout = timeout.map(duration_of_ours);
            Action::DirectResponse(direct_response(REFUSED, cause))
        }
    };
    let Extra { refusal_timeout, refused_shares, retry, try_timeout, written_response } = extra;
    let changes = changes::encode(headers.as_deref());
    let (typed_per_filter_config, cors_origins) = cors::encode(cors.as_deref());
    wire::Route {
        typed_per_filter_config,
        request_headers_to_add: changes.request_add,
        request_headers_to_remove: changes.request_remove,
        response_headers_to_add: changes.response_add,
        response_headers_to_remove: changes.response_remove,
        name: from.to_string(),
        r#match: Some(encode_match(matches)),
        action: Some(action),
        metadata: Some(annotate(&weft::Route {
            origin: match from {
                RouteOrigin::Rule { object, rule, alternative } => Some(origin(object, *rule, *alternative)),
                // Nothing of a static configuration goes over the wire.
                RouteOrigin::Named(_) => None,
            },
            refusal_timeout,
            refused_shares,
            retry,
            try_timeout,
            cors_origins,
            written_response,
        })),
        ..wire::Route::default()
    }
}

pub(super) fn decode(mut message: wire::Route) -> Result<Route, Fault> {
    let weft::Route { origin, refusal_timeout, refused_shares, retry, try_timeout, cors_origins, written_response } =
        required("metadata", annotation(message.metadata.take()).within("metadata")?)?;
    let (object, rule, alternative) = read_origin(required("metadata.origin", origin)?).within("metadata.origin")?;
    let origin = RouteOrigin::Rule { object, rule, alternative };
    expect("name", &std::mem::take(&mut message.name), &origin.to_string())?;
    let mut extra = Extra { refusal_timeout, refused_shares, retry, try_timeout, written_response };
    let matches = decode_match(required("match", message.r#match.take())?).within("match")?;
    let Decoded { action, timeout, try_timeout, idle_timeout, stream_timeout, retry, affinity, rewrite, mirrors } =
        match required("action", message.action.take())? {
            Action::Route(action) => decode_forward(action, &matches.path, &mut extra).within("route")?,
            Action::DirectResponse(response) => decode_refusal(response, &mut extra).within("direct_response")?,
            Action::Redirect(redirect) => {
                let redirect = rewrite::decode_redirect(redirect, &matches.path).within("redirect")?;
                answered(RouteAction::Redirect(redirect), &mut extra)?
            }
            _ => return Err(fault("action", "only route, redirect and direct_response are read")),
        };
    let Extra { refusal_timeout, refused_shares, retry: its_retry, try_timeout: its_try, written_response } = extra;
    if written_response
        || refusal_timeout.is_some()
        || !refused_shares.is_empty()
        || its_retry.is_some()
        || its_try.is_some()
    {
        return Err(fault("metadata", "it speaks of something that the action does not have"));
    }
    let headers = changes::decode(changes::Lists {
        request_add: std::mem::take(&mut message.request_headers_to_add),
        request_remove: std::mem::take(&mut message.request_headers_to_remove),
        response_add: std::mem::take(&mut message.response_headers_to_add),
        response_remove: std::mem::take(&mut message.response_headers_to_remove),
    })?;
    let cors = cors::decode(&mut message.typed_per_filter_config, cors_origins).within("typed_per_filter_config")?;
    nothing_left(&message)?;
    Ok(Route {
        origin,
        matches,
        action,
        timeout,
        try_timeout,
        idle_timeout,
        stream_timeout,
        retry,
        affinity,
        headers,
        rewrite,
        cors,
        mirrors,
    })
}

fn direct_response(status: u32, body: &str) -> DirectResponseAction {
    let body = DataSource { specifier: Some(Specifier::InlineString(body.to_owned())), ..DataSource::default() };
    DirectResponseAction { status, body: Some(body), ..DirectResponseAction::default() }
}

fn encode_match(matches: &RouteMatch) -> wire::RouteMatch {
    let RouteMatch { path, method, headers, query } = matches;
    let path = match path {
        PathMatch::Exact(path) => PathSpecifier::Path(path.clone()),
        // Envoy's path_separated_prefix takes no trailing slash, so not the root.
        PathMatch::Prefix(prefix) if prefix == "/" => PathSpecifier::Prefix(prefix.clone()),
        PathMatch::Prefix(prefix) => PathSpecifier::PathSeparatedPrefix(prefix.clone()),
        PathMatch::Regex(regex) => PathSpecifier::SafeRegex(safe_regex(regex)),
    };
    let method = method.iter().map(|HttpMethod(method)| header(METHOD, MatchPattern::Exact(method.clone())));
    let headers = headers.iter().map(encode_header);
    wire::RouteMatch {
        path_specifier: Some(path),
        headers: method.chain(headers).collect(),
        query_parameters: query.iter().map(encode_parameter).collect(),
        ..wire::RouteMatch::default()
    }
}

pub(super) fn encode_header(HeaderMatch { name, value }: &HeaderMatch) -> HeaderMatcher {
    match value {
        TextMatch::Exact(value) => header(name, MatchPattern::Exact(value.clone())),
        TextMatch::Regex(regex) => header(name, MatchPattern::SafeRegex(safe_regex(regex))),
    }
}

pub(super) fn header(name: &str, pattern: MatchPattern) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(matcher(pattern))),
        ..HeaderMatcher::default()
    }
}

pub(super) fn matcher(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() }
}

fn encode_parameter(QueryMatch { name, value }: &QueryMatch) -> QueryParameterMatcher {
    let pattern = match value {
        TextMatch::Exact(value) => MatchPattern::Exact(value.clone()),
        TextMatch::Regex(regex) => MatchPattern::SafeRegex(safe_regex(regex)),
    };
    let specifier = QueryParameterMatchSpecifier::StringMatch(matcher(pattern));
    QueryParameterMatcher { name: name.clone(), query_parameter_match_specifier: Some(specifier) }
}

fn decode_parameter(parameter: QueryParameterMatcher) -> Result<QueryMatch, Fault> {
    let QueryParameterMatcher { name, query_parameter_match_specifier } = parameter;
    let Some(QueryParameterMatchSpecifier::StringMatch(value)) = query_parameter_match_specifier else {
        return Err(fault("string_match", "it is missing, and only it is read"));
    };
    if name.is_empty() {
        return Err(fault("name", "it is empty"));
    }
    Ok(QueryMatch { name: text("name", name)?, value: read_matcher(value)? })
}

fn decode_match(mut message: wire::RouteMatch) -> Result<RouteMatch, Fault> {
    let path = match required("path", message.path_specifier.take())? {
        PathSpecifier::Path(path) => PathMatch::Exact(decode_path(path)?),
        PathSpecifier::Prefix(prefix) if prefix == "/" => PathMatch::Prefix(prefix),
        PathSpecifier::Prefix(_) => return Err(fault("prefix", "only / is read; others are path_separated_prefix")),
        PathSpecifier::PathSeparatedPrefix(prefix) if prefix.ends_with('/') => {
            return Err(fault("path_separated_prefix", "it ends in a slash"));
        }
        PathSpecifier::PathSeparatedPrefix(prefix) => PathMatch::Prefix(decode_path(prefix)?),
        PathSpecifier::SafeRegex(regex) => PathMatch::Regex(read_regex(regex).within("safe_regex")?),
        _ => return Err(fault("path", "only path, prefix, path_separated_prefix and safe_regex are read")),
    };
    let parameters = std::mem::take(&mut message.query_parameters).into_iter().enumerate();
    let parameter = |(at, it)| decode_parameter(it).within(format_args!("query_parameters[{at}]"));
    let query = parameters.map(parameter).collect::<Result<_, _>>()?;
    let (mut method, mut headers) = (None, Vec::new());
    for (at, matcher) in std::mem::take(&mut message.headers).into_iter().enumerate() {
        let HeaderMatch { name, value } = decode_header(matcher).within(format_args!("headers[{at}]"))?;
        match value {
            TextMatch::Exact(value) if at == 0 && name == METHOD => method = Some(decode_method(value)?),
            value if !name.starts_with(':') => headers.push(HeaderMatch { name, value }),
            _ => {
                return Err(fault(
                    &format!("headers[{at}]"),
                    ":method stands first, with an exact value; no other pseudo-header is read",
                ));
            }
        }
    }
    nothing_left(&message)?;
    Ok(RouteMatch { path, method, headers, query })
}

pub(super) fn decode_path(path: String) -> Result<String, Fault> {
    if path.starts_with('/') { text("path", path) } else { Err(fault("path", "it does not start with a slash")) }
}

pub(super) fn decode_method(method: String) -> Result<HttpMethod, Fault> {
    let good = (1..=MAX_METHOD_BYTES).contains(&method.len()) && method.bytes().all(is_token);
    if good { Ok(HttpMethod(method)) } else { Err(fault(METHOD, format!("{:?} is not a method", shorten(&method)))) }
}

pub(super) fn decode_header(mut matcher: HeaderMatcher) -> Result<HeaderMatch, Fault> {
    let name = std::mem::take(&mut matcher.name);
    let plain = name.strip_prefix(':').unwrap_or(&name);
    let lower = |b: u8| is_token(b) && !b.is_ascii_uppercase();
    if !(1..=MAX_HEADER_NAME_BYTES).contains(&plain.len()) || !plain.bytes().all(lower) {
        return Err(fault("name", format!("{:?} is not a header's name in lower case", shorten(&name))));
    }
    let Some(HeaderMatchSpecifier::StringMatch(value)) = matcher.header_match_specifier.take() else {
        return Err(fault("string_match", "it is missing, and only it is read"));
    };
    nothing_left(&matcher)?;
    Ok(HeaderMatch { name, value: read_matcher(value)? })
}

fn read_matcher(mut value: StringMatcher) -> Result<TextMatch, Fault> {
    let pattern = value.match_pattern.take();
    nothing_left(&value).within("string_match")?;
    match pattern {
        Some(MatchPattern::Exact(value)) => Ok(TextMatch::Exact(text("string_match.exact", value)?)),
        Some(MatchPattern::SafeRegex(regex)) => {
            Ok(TextMatch::Regex(read_regex(regex).within("string_match.safe_regex")?))
        }
        Some(_) | None => Err(fault("string_match", "only exact and safe_regex are read")),
    }
}

fn encode_shares(shares: &[WeightedCluster], extra: &mut Extra) -> wire::RouteAction {
    for (at, share) in (0..).zip(shares) {
        if let Some(refusal) = &share.refusal {
            extra.refused_shares.insert(at, refusal.clone());
        }
    }
    let specifier = match shares {
        [WeightedCluster { cluster, weight: 1, refusal: _, headers: None }] => {
            ClusterSpecifier::Cluster(cluster.to_string())
        }
        shares => ClusterSpecifier::WeightedClusters(wire::WeightedCluster {
            clusters: shares.iter().map(encode_share).collect(),
            ..wire::WeightedCluster::default()
        }),
    };
    wire::RouteAction {
        cluster_specifier: Some(specifier),
        cluster_not_found_response_code: not_found_code(!extra.refused_shares.is_empty()),
        ..wire::RouteAction::default()
    }
}

/// What a reader that knows no refused shares answers for one: its cluster does not exist.
fn not_found_code(has_refused_share: bool) -> i32 {
    let code = match has_refused_share {
        true => ClusterNotFoundResponseCode::InternalServerError,
        false => ClusterNotFoundResponseCode::ServiceUnavailable,
    };
    code.into()
}

fn encode_share(share: &WeightedCluster) -> ClusterWeight {
    let changes = changes::encode(share.headers.as_deref());
    ClusterWeight {
        name: share.cluster.to_string(),
        weight: Some(UInt32Value { value: share.weight }),
        request_headers_to_add: changes.request_add,
        request_headers_to_remove: changes.request_remove,
        response_headers_to_add: changes.response_add,
        response_headers_to_remove: changes.response_remove,
        ..ClusterWeight::default()
    }
}

/// What an action says.
struct Decoded {
    action: RouteAction,
    timeout: Option<Duration>,
    try_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    stream_timeout: Option<Duration>,
    retry: Option<Retry>,
    affinity: Option<Affinity>,
    rewrite: Option<Box<UrlRewrite>>,
    mirrors: Vec<Mirror>,
}

impl Decoded {
    /// An action without all that most lack.
    fn new(action: RouteAction) -> Self {
        Self {
            action,
            timeout: None,
            try_timeout: None,
            idle_timeout: None,
            stream_timeout: None,
            retry: None,
            affinity: None,
            rewrite: None,
            mirrors: Vec::new(),
        }
    }
}

fn decode_forward(mut action: wire::RouteAction, matched: &PathMatch, extra: &mut Extra) -> Result<Decoded, Fault> {
    let timeout = read_duration("timeout", required("timeout", action.timeout.take())?)?;
    let code = std::mem::take(&mut action.cluster_not_found_response_code);
    expect("cluster_not_found_response_code", &code, &not_found_code(!extra.refused_shares.is_empty()))?;
    let specifier = required("cluster", action.cluster_specifier.take())?;
    let try_timeout = read_above_zero("metadata.try_timeout", extra.try_timeout.take())?;
    let retry = retry::decode(action.retry_policy.take(), extra.retry.take(), try_timeout)?;
    let rewrite = rewrite::decode(&mut action, matched)?;
    let idle_timeout = read_bound("idle_timeout", action.idle_timeout.take())?;
    let stream_timeout = match action.max_stream_duration.take() {
        Some(mut stream) => {
            let bound = required("max_stream_duration.max_stream_duration", stream.max_stream_duration.take())?;
            nothing_left(&stream).within("max_stream_duration")?;
            read_bound("max_stream_duration", Some(bound))?
        }
        None => None,
    };
    let affinity = affinity::decode(std::mem::take(&mut action.hash_policy))?;
    let mirrors = mirror::decode(std::mem::take(&mut action.request_mirror_policies))?;
    nothing_left(&action)?;
    let mut shares = match specifier {
        ClusterSpecifier::Cluster(cluster) => {
            vec![WeightedCluster { cluster: parse("cluster", &cluster)?, weight: 1, refusal: None, headers: None }]
        }
        ClusterSpecifier::WeightedClusters(mut weighted) => {
            let clusters = std::mem::take(&mut weighted.clusters).into_iter().enumerate();
            nothing_left(&weighted).within("weighted_clusters")?;
            let share = |(at, it)| decode_share(it).within(format_args!("weighted_clusters.clusters[{at}]"));
            clusters.map(share).collect::<Result<Vec<_>, _>>()?
        }
        _ => return Err(fault("cluster", "only cluster and weighted_clusters are read")),
    };
    let total = shares.iter().try_fold(0u32, |sum, share| sum.checked_add(share.weight));
    if shares.is_empty() || total.is_none() {
        return Err(fault("weighted_clusters", "there must be one or more, with weights that sum to less than 2^32"));
    }
    for (at, refusal) in std::mem::take(&mut extra.refused_shares) {
        let share = usize::try_from(at).ok().and_then(|at| shares.get_mut(at));
        let share = share.ok_or_else(|| fault("metadata.refused_shares", "it names a place that does not exist"))?;
        share.refusal = Some(text("metadata.refused_shares", refusal)?);
    }
    let timeout = (!timeout.is_zero()).then_some(timeout);
    let action = RouteAction::Forward(shares);
    let decoded = Decoded { timeout, try_timeout, idle_timeout, stream_timeout, retry, ..Decoded::new(action) };
    Ok(Decoded { affinity, rewrite, mirrors, ..decoded })
}

fn decode_share(mut share: ClusterWeight) -> Result<WeightedCluster, Fault> {
    let cluster = parse("name", &std::mem::take(&mut share.name))?;
    let UInt32Value { value: weight } = required("weight", share.weight.take())?;
    if weight == 0 {
        return Err(fault("weight", "it must be above zero"));
    }
    let headers = changes::decode(changes::Lists {
        request_add: std::mem::take(&mut share.request_headers_to_add),
        request_remove: std::mem::take(&mut share.request_headers_to_remove),
        response_add: std::mem::take(&mut share.response_headers_to_add),
        response_remove: std::mem::take(&mut share.response_headers_to_remove),
    })?;
    nothing_left(&share)?;
    Ok(WeightedCluster { cluster, weight, refusal: None, headers })
}

fn decode_refusal(mut response: DirectResponseAction, extra: &mut Extra) -> Result<Decoded, Fault> {
    let status = std::mem::take(&mut response.status);
    let mut body = required("body", response.body.take())?;
    let Some(Specifier::InlineString(cause)) = body.specifier.take() else {
        return Err(fault("body.inline_string", "it is missing, and only it is read"));
    };
    nothing_left(&body).within("body")?;
    nothing_left(&response)?;
    let body = text("body.inline_string", cause)?;
    if std::mem::take(&mut extra.written_response) {
        let known = u16::try_from(status).ok().filter(|status| (200..=599).contains(status));
        let status = known.ok_or_else(|| fault("status", "it must be from 200 to 599"))?;
        return answered(RouteAction::Respond { status, body }, extra);
    }
    expect("status", &status, &REFUSED)?;
    answered(RouteAction::Refuse { cause: body }, extra)
}

/// What is said of an action that forwards nothing.
fn answered(action: RouteAction, extra: &mut Extra) -> Result<Decoded, Fault> {
    let timeout = read_above_zero("metadata.refusal_timeout", extra.refusal_timeout.take())?;
    let try_timeout = read_above_zero("metadata.try_timeout", extra.try_timeout.take())?;
    Ok(Decoded { timeout, try_timeout, ..Decoded::new(action) })
}

/// A bound in one of the standard's own fields, in which zero would take another's away.
fn read_bound(field: &str, span: Option<protobuf::Duration>) -> Result<Option<Duration>, Fault> {
    let Some(span) = span else { return Ok(None) };
    let span = read_duration(field, span)?;
    if span.is_zero() { Err(fault(field, "it must be above zero")) } else { Ok(Some(span)) }
}

fn read_above_zero(field: &str, span: Option<prost_types::Duration>) -> Result<Option<Duration>, Fault> {
    let Some(span) = span else { return Ok(None) };
    let span = read_duration_of_ours(field, span)?;
    if span.is_zero() { Err(fault(field, "it must be above zero")) } else { Ok(Some(span)) }
}
