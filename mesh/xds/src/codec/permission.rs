//! Which requests an access rule is about, as RBAC permissions: any of them, each all of its parts.
//!
//! Envoy reads the same words more loosely than weft does: it knows no aliases of a host, joins a repeated header's lines
//! and looks at that alone.
use weft_ir::{HeaderMatch, RequestMatch};
use weft_model::{Host, PathMatch, TextMatch};
use weft_proto::envoy::{
    config::rbac::v3::{
        Permission,
        permission::{Rule, Set},
    },
    r#type::matcher::v3::{PathMatcher, StringMatcher, path_matcher, string_matcher::MatchPattern},
};

use super::{
    common::{parse, read_regex, safe_regex},
    fault::{Fault, Within, fault, nothing_left},
    route::{METHOD, decode_header, decode_method, decode_path, encode_header, header, matcher},
};

/// The pseudo-header that a match on the host is on the wire.
const AUTHORITY: &str = ":authority";

/// How many parts there may be of each kind.
const MAX_REQUESTS: usize = 256;
const MAX_PARTS: usize = 256;

pub(super) fn encode(requests: &[RequestMatch]) -> Vec<Permission> {
    if requests.is_empty() {
        return vec![any()];
    }
    requests.iter().map(encode_request).collect()
}

pub(super) fn decode(permissions: Vec<Permission>) -> Result<Vec<RequestMatch>, Fault> {
    if permissions == [any()] {
        return Ok(Vec::new());
    }
    if permissions.is_empty() || permissions.len() > MAX_REQUESTS {
        return Err(fault("permissions", format!("there must be 1 to {MAX_REQUESTS}")));
    }
    let permissions = permissions.into_iter().enumerate();
    permissions.map(|(at, it)| decode_request(it).within(format_args!("permissions[{at}]"))).collect()
}

fn any() -> Permission {
    of(Rule::Any(true))
}

fn of(rule: Rule) -> Permission {
    Permission { rule: Some(rule) }
}

fn one_of(rules: Vec<Permission>) -> Permission {
    of(Rule::OrRules(Set { rules }))
}

fn encode_request(RequestMatch { methods, path, hosts, headers }: &RequestMatch) -> Permission {
    let exact = |name, value: &str| of(Rule::Header(header(name, MatchPattern::Exact(value.to_owned()))));
    let methods = (!methods.is_empty()).then(|| one_of(methods.iter().map(|it| exact(METHOD, &it.0)).collect()));
    let hosts = (!hosts.is_empty()).then(|| one_of(hosts.iter().map(|it| exact(AUTHORITY, it.as_str())).collect()));
    let headers = headers.iter().map(|header| of(Rule::Header(encode_header(header))));
    let rules = methods.into_iter().chain(hosts).chain(path.as_ref().map(encode_path)).chain(headers).collect();
    of(Rule::AndRules(Set { rules }))
}

fn encode_path(path: &PathMatch) -> Permission {
    match path {
        PathMatch::Exact(path) => url_path(MatchPattern::Exact(path.clone())),
        PathMatch::Prefix(prefix) if prefix == "/" => url_path(MatchPattern::Prefix(prefix.clone())),
        // Whole elements: the standard's prefix alone would take `/abcd` for `/abc`.
        PathMatch::Prefix(prefix) => one_of(vec![
            url_path(MatchPattern::Exact(prefix.clone())),
            url_path(MatchPattern::Prefix(format!("{prefix}/"))),
        ]),
        PathMatch::Regex(regex) => url_path(MatchPattern::SafeRegex(safe_regex(regex))),
    }
}

fn url_path(pattern: MatchPattern) -> Permission {
    of(Rule::UrlPath(PathMatcher { rule: Some(path_matcher::Rule::Path(matcher(pattern))) }))
}

fn decode_request(permission: Permission) -> Result<RequestMatch, Fault> {
    let Some(Rule::AndRules(Set { rules })) = permission.rule else {
        return Err(fault("and_rules", "it is missing, and only it and a single `any` are read"));
    };
    if rules.is_empty() || rules.len() > MAX_PARTS {
        return Err(fault("and_rules.rules", format!("there must be 1 to {MAX_PARTS}")));
    }
    let mut request = RequestMatch { methods: Vec::new(), path: None, hosts: Vec::new(), headers: Vec::new() };
    for (at, rule) in rules.into_iter().enumerate() {
        let order = order(&request);
        decode_part(rule, &mut request).within(format_args!("and_rules.rules[{at}]"))?;
        if self::order(&request) <= order && order < HEADERS {
            return Err(fault(
                &format!("and_rules.rules[{at}]"),
                "methods, hosts, path and headers stand in this order",
            ));
        }
    }
    Ok(request)
}

/// How far a match has been read.
fn order(request: &RequestMatch) -> usize {
    let parts =
        [!request.methods.is_empty(), !request.hosts.is_empty(), request.path.is_some(), !request.headers.is_empty()];
    parts.iter().rposition(|is_there| *is_there).map_or(0, |place| place + 1)
}

const HEADERS: usize = 4;

fn decode_part(part: Permission, request: &mut RequestMatch) -> Result<(), Fault> {
    match part.rule {
        Some(Rule::UrlPath(path)) => request.path = Some(decode_url_path(path)?),
        Some(Rule::Header(header)) => request.headers.push(plain_header(decode_header(header).within("header")?)?),
        Some(Rule::OrRules(Set { rules })) => decode_alternatives(rules, request).within("or_rules")?,
        _ => return Err(fault("rule", "only header, url_path and or_rules are read")),
    }
    Ok(())
}

fn plain_header(header: HeaderMatch) -> Result<HeaderMatch, Fault> {
    match header.name.starts_with(':') {
        false => Ok(header),
        true => Err(fault("header.name", "methods and hosts stand in or_rules; no other pseudo-header is read")),
    }
}

fn decode_url_path(matcher: PathMatcher) -> Result<PathMatch, Fault> {
    match pattern(matcher)? {
        MatchPattern::Exact(path) => Ok(PathMatch::Exact(decode_path(path)?)),
        MatchPattern::Prefix(prefix) if prefix == "/" => Ok(PathMatch::Prefix(prefix)),
        MatchPattern::SafeRegex(regex) => Ok(PathMatch::Regex(read_regex(regex).within("url_path.path.safe_regex")?)),
        _ => Err(fault("url_path.path", "only exact, safe_regex and the prefix / are read")),
    }
}

fn pattern(matcher: PathMatcher) -> Result<MatchPattern, Fault> {
    let Some(path_matcher::Rule::Path(mut path)) = matcher.rule else {
        return Err(fault("url_path.path", "it is missing"));
    };
    let pattern = path.match_pattern.take();
    nothing_left::<StringMatcher>(&path).within("url_path.path")?;
    pattern.ok_or_else(|| fault("url_path.path", "it is missing"))
}

/// Methods, hosts, or a prefix of whole elements.
fn decode_alternatives(rules: Vec<Permission>, request: &mut RequestMatch) -> Result<(), Fault> {
    if rules.is_empty() || rules.len() > MAX_PARTS {
        return Err(fault("rules", format!("there must be 1 to {MAX_PARTS}")));
    }
    if let [Permission { rule: Some(Rule::UrlPath(whole)) }, Permission { rule: Some(Rule::UrlPath(below)) }] =
        rules.as_slice()
    {
        let (whole, below) = (pattern(whole.clone())?, pattern(below.clone())?);
        return match (whole, below) {
            (MatchPattern::Exact(whole), MatchPattern::Prefix(below))
                if below.strip_suffix('/') == Some(&whole) && !whole.ends_with('/') =>
            {
                request.path = Some(PathMatch::Prefix(decode_path(whole)?));
                Ok(())
            }
            _ => Err(fault("rules", "of paths only the two forms of one prefix are read")),
        };
    }
    let (mut methods, mut hosts) = (Vec::new(), Vec::<Host>::new());
    for (at, rule) in rules.into_iter().enumerate() {
        let Some(Rule::Header(header)) = rule.rule else {
            return Err(fault(&format!("rules[{at}]"), "only header is read"));
        };
        let HeaderMatch { name, value } = decode_header(header).within(format_args!("rules[{at}].header"))?;
        match (name.as_str(), value) {
            (METHOD, TextMatch::Exact(method)) => methods.push(decode_method(method)?),
            (AUTHORITY, TextMatch::Exact(host)) => hosts.push(parse(AUTHORITY, &host)?),
            _ => return Err(fault(&format!("rules[{at}]"), "only exact methods and hosts are read")),
        }
    }
    match (methods.is_empty(), hosts.is_empty()) {
        (false, true) => request.methods = methods,
        (true, false) => request.hosts = hosts,
        _ => return Err(fault("rules", "methods and hosts do not mix")),
    }
    Ok(())
}
