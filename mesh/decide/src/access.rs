//! Whether an access rule matches a request.
//!
//! What a request says can be read in more than one way by who is behind the proxy: a repeated header's first line or all
//! of them, a path with its parameters or without. A deny rule matches if one reading does; an allow rule matches only what
//! all readings of a header agree on, and the path as it stands. So what is hidden from a rule is refused, never let in.
use std::{borrow::Cow, cell::OnceCell};

use smallvec::SmallVec;
use weft_ir::{AccessRule, HeaderMatch, RequestMatch};
use weft_model::{AccessAction, PathMatch};

use crate::{
    Normal,
    route::{has_prefix, text_matches},
    snapshot::{HeaderPattern, RequestPatterns, RulePatterns},
};

/// How many elements of a header's list are looked at one by one; a list that has more matches a deny rule unseen, so that
/// a request costs no more than so much.
const MAX_ELEMENTS: usize = 128;

/// A request that rules are asked about, for one worker.
pub(crate) struct Asked<'r> {
    request: &'r Normal<'r>,
    lane: usize,
    /// The path as servers read it that decode what RFC 3986 lets stand for itself, and those that cut parameters off.
    /// Nothing where they read what stands there.
    readings: OnceCell<SmallVec<[String; 2]>>,
}

impl<'r> Asked<'r> {
    pub(crate) fn of(request: &'r Normal<'r>, lane: usize) -> Self {
        Self { request, lane, readings: OnceCell::new() }
    }

    fn readings(&self) -> &[String] {
        self.readings.get_or_init(|| readings(&self.request.target.path))
    }
}

/// Whether a rule matches, whose callers do. `None` is a connection that carries bytes: what they ask for is not seen, so
/// a rule about requests does not allow it, and denies it.
pub(crate) fn matches(rule: &AccessRule, patterns: &RulePatterns, asked: Option<&Asked<'_>>) -> bool {
    if rule.requests.is_empty() {
        return true;
    }
    let Some(asked) = asked else { return rule.action == AccessAction::Deny };
    let mut requests = rule.requests.iter().zip(patterns);
    match rule.action {
        AccessAction::Allow => requests.any(|(request, patterns)| allowed(request, patterns, asked)),
        AccessAction::Deny => requests.any(|(request, patterns)| denied(request, patterns, asked)),
    }
}

fn allowed(asks: &RequestMatch, patterns: &RequestPatterns, asked: &Asked<'_>) -> bool {
    let Asked { request, lane, .. } = *asked;
    // What was written for requests does not open a tunnel: it must say so, as a route must.
    let method = if asks.methods.is_empty() { !request.is_connect() } else { has_method(asks, request) };
    let path = asks.path.as_ref().is_none_or(|path| path_matches(path, patterns, request, &request.target.path, lane));
    let headers = || {
        let mut headers = asks.headers.iter().zip(&patterns.headers);
        headers.all(|(header, pattern)| every_reading(header, pattern, request, lane))
    };
    method && path && has_host(asks, request) && headers()
}

fn denied(asks: &RequestMatch, patterns: &RequestPatterns, asked: &Asked<'_>) -> bool {
    let Asked { request, lane, .. } = *asked;
    let path = |path: &PathMatch| {
        path_matches(path, patterns, request, &request.target.path, lane)
            || asked.readings().iter().any(|reading| path_matches(path, patterns, request, reading, lane))
            || literal(path).is_some_and(|plain| asked.readings().iter().any(|it| matches_plain(path, &plain, it)))
            || literal(path).is_some_and(|plain| matches_plain(path, &plain, &request.target.path))
    };
    let headers = || {
        let mut headers = asks.headers.iter().zip(&patterns.headers);
        headers.all(|(header, pattern)| any_reading(header, pattern, request, lane))
    };
    (asks.methods.is_empty() || has_method(asks, request))
        && has_host(asks, request)
        && asks.path.as_ref().is_none_or(path)
        && headers()
}

fn has_method(asks: &RequestMatch, request: &Normal<'_>) -> bool {
    asks.methods.iter().any(|method| method.0 == request.method)
}

fn has_host(asks: &RequestMatch, request: &Normal<'_>) -> bool {
    asks.hosts.is_empty() || asks.hosts.iter().any(|host| host.as_str() == request.authority.host())
}

fn path_matches(path: &PathMatch, patterns: &RequestPatterns, request: &Normal<'_>, text: &str, lane: usize) -> bool {
    match path {
        // A CONNECT has no path: only what asks nothing of it can match.
        PathMatch::Prefix(prefix) if request.is_connect() => prefix == "/",
        PathMatch::Exact(_) | PathMatch::Regex(_) if request.is_connect() => false,
        PathMatch::Regex(_) => patterns.path.as_ref().is_some_and(|regex| regex.of(lane).is_match(text)),
        PathMatch::Exact(_) | PathMatch::Prefix(_) => matches_plain(path, text_of(path), text),
    }
}

fn text_of(path: &PathMatch) -> &str {
    match path {
        PathMatch::Exact(text) | PathMatch::Prefix(text) | PathMatch::Regex(text) => text,
    }
}

fn matches_plain(path: &PathMatch, written: &str, text: &str) -> bool {
    match path {
        PathMatch::Exact(_) => written == text,
        PathMatch::Prefix(_) => has_prefix(text, written),
        PathMatch::Regex(_) => false,
    }
}

/// A policy's own path as servers read it that decode it, where that differs.
fn literal(path: &PathMatch) -> Option<String> {
    let written = text_of(path);
    (!matches!(path, PathMatch::Regex(_)) && written.contains('%')).then(|| decoded(written).into_owned())
}

/// Other readings of a normalized path.
fn readings(path: &str) -> SmallVec<[String; 2]> {
    let mut readings = SmallVec::new();
    let plain = decoded(path);
    if plain.contains(';') {
        let segments = plain.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
        readings.push(segments.collect::<Vec<_>>().join("/"));
    }
    if let Cow::Owned(plain) = plain {
        readings.push(plain);
    }
    readings
}

/// A normalized path with what RFC 3986 §3.3 lets stand in a path unescaped: normalization leaves it as it was written,
/// since the two are not equivalent (§2.2), and most servers decode it.
fn decoded(path: &str) -> Cow<'_, str> {
    const ESCAPES: [(&str, &str); 13] = [
        ("%21", "!"),
        ("%24", "$"),
        ("%26", "&"),
        ("%27", "'"),
        ("%28", "("),
        ("%29", ")"),
        ("%2A", "*"),
        ("%2B", "+"),
        ("%2C", ","),
        ("%3A", ":"),
        ("%3B", ";"),
        ("%3D", "="),
        ("%40", "@"),
    ];
    let mut out = String::new();
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (head, tail) = rest.split_at(at);
        let found = ESCAPES.iter().find(|(escape, _)| tail.starts_with(escape));
        let (text, taken) = found.map_or(("%", 1), |(escape, text)| (*text, escape.len()));
        out.push_str(head);
        out.push_str(text);
        rest = tail.get(taken..).unwrap_or_default();
    }
    out.push_str(rest);
    if out == path { Cow::Borrowed(path) } else { Cow::Owned(out) }
}

/// The lines of a header.
fn lines<'r>(name: &str, request: &'r Normal<'_>) -> impl Iterator<Item = &'r [u8]> {
    let of_name =
        move |(its, value): &(&'r [u8], &'r [u8])| its.eq_ignore_ascii_case(name.as_bytes()).then_some(*value);
    request.headers.iter().filter_map(of_name)
}

/// The lines as one (RFC 9110 §5.3), a cookie's as RFC 9113 §8.2.3 has them; `None` where there are not several.
fn joined(name: &str, request: &Normal<'_>) -> Option<SmallVec<[u8; 256]>> {
    let separator: &[u8] = if name == COOKIE { b"; " } else { b"," };
    let mut joined = SmallVec::new();
    let mut count = 0;
    for line in lines(name, request) {
        if count > 0 {
            joined.extend_from_slice(separator);
        }
        joined.extend_from_slice(line);
        count += 1;
    }
    (count > 1).then_some(joined)
}

const COOKIE: &str = "cookie";

fn any_reading(
    HeaderMatch { name, value }: &HeaderMatch,
    pattern: &HeaderPattern,
    request: &Normal<'_>,
    lane: usize,
) -> bool {
    let test = |text: &[u8]| text_matches(value, pattern, text, lane);
    let separator = if name == COOKIE { b';' } else { b',' };
    let elements = |line: &[u8]| line.iter().filter(|&&byte| byte == separator).count();
    if lines(name, request).map(elements).sum::<usize>() > MAX_ELEMENTS {
        return true;
    }
    lines(name, request).any(|line| test(line) || line.split(|&byte| byte == separator).any(|it| test(it.trim_ascii())))
        || joined(name, request).is_some_and(|joined| test(&joined))
}

fn every_reading(
    HeaderMatch { name, value }: &HeaderMatch,
    pattern: &HeaderPattern,
    request: &Normal<'_>,
    lane: usize,
) -> bool {
    let test = |text: &[u8]| text_matches(value, pattern, text, lane);
    match joined(name, request) {
        None => lines(name, request).next().is_some_and(test),
        // Crumbs of a cookie are one cookie to every reader.
        Some(joined) => test(&joined) && (name == COOKIE || lines(name, request).all(test)),
    }
}

#[cfg(test)]
mod tests;
