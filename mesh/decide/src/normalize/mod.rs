//! The one canonical form of a request: what policy sees, what is routed by, and what is forwarded.
//!
//! What cannot be brought into one form is refused, so that no two readers of it can disagree.
mod host;
mod kept;
mod path;

use std::{borrow::Cow, fmt, net::IpAddr};

use serde::Serialize;

pub use self::{host::Authority, kept::KeptRequest};
use crate::Scope;

/// The longest request target, in bytes.
pub const MAX_TARGET: usize = 8 * 1024;

/// A request head as it was received.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The Host header's value (HTTP/1.1) or `:authority`; empty where there is none. That there is only one is the
    /// codec's to check.
    pub authority: &'a [u8],
    /// The request target as received: origin-form, absolute-form, authority-form or asterisk-form (RFC 9112 §3.2).
    pub target: &'a [u8],
    /// The header fields in their order, values without surrounding white space.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// Where its connection comes from, if that is known; what only affinity looks at.
    pub source: Option<IpAddr>,
}

/// A request head in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normal<'a> {
    /// The method, a token.
    pub method: &'a str,
    /// The authority in full: what hosts are looked up by.
    pub authority: Authority<'a>,
    /// The Host that is forwarded: as it was written, in lower case, without a trailing dot or an empty port. Borrowed if
    /// it was normal already; `reviews` stays `reviews`.
    pub host: Cow<'a, str>,
    /// The target: what is forwarded, in origin-form, asterisk-form or, for CONNECT, authority-form.
    pub target: Target<'a>,
    /// The header fields as received.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// Where its connection comes from, if that is known.
    pub source: Option<IpAddr>,
}

impl Normal<'_> {
    /// Whether it asks for a tunnel (RFC 9110 §9.3.6).
    pub fn is_connect(&self) -> bool {
        self.method == CONNECT
    }
}

/// The method that asks for a tunnel.
const CONNECT: &str = "CONNECT";

/// A normalized request target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The normalized path, starting with `/`; `*` for asterisk-form; host and port for authority-form, which has no path.
    /// Borrowed if it was normal already.
    pub path: Cow<'a, str>,
    /// The query without its `?`, as received.
    pub query: Option<&'a str>,
}

impl Target<'_> {
    /// The value of the first query parameter of that name, as it stands in the query; of one without `=` it is empty.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query?.split('&').find_map(|parameter| {
            let (its, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (its == name).then_some(value)
        })
    }
}

impl fmt::Display for Target<'_> {
    /// As it is forwarded: `path[?query]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

/// Why a request has no canonical form. Every one is the client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum BadRequest {
    /// RFC 9110 §9.1: a method is a token.
    #[error("the method is not a token")]
    Method,
    /// RFC 9112 §3.2: a request names its host.
    #[error("the host is missing")]
    HostMissing,
    /// Several hosts in one value.
    #[error("the host is a list")]
    HostList,
    /// RFC 9110 §4.2.4: user information is not for requests.
    #[error("the host has user information")]
    HostUserInfo,
    /// Not a DNS name of letters, digits, `-` and `.` in labels of at most 63 characters and 253 in all.
    #[error("the host is not a DNS name")]
    HostName,
    /// Not a number from 1 to 65535.
    #[error("the host's port is not a port")]
    HostPort,
    /// An absolute target with another authority than the host.
    #[error("the target's authority is not the host")]
    HostMismatch,
    /// Longer than [`MAX_TARGET`].
    #[error("the target is longer than 8 KiB")]
    TargetTooLong,
    /// None of RFC 9112 §3.2's forms that the method may have.
    #[error("the target has no form that the method may have")]
    TargetForm,
    /// A control character, a space, or bytes that are not UTF-8.
    #[error("the path has a character that it cannot have")]
    PathCharacter,
    /// `\`, `%5C` or `%2F`: separators to some readers and not to others.
    #[error("the path has an ambiguous separator (a backslash or an encoded slash)")]
    PathSeparator,
    /// `%` without two hexadecimal digits, or encoded bytes that are control characters or not UTF-8.
    #[error("the path has an invalid percent-encoding")]
    PathEncoding,
    /// A segment that is empty or a dot segment once its parameters are stripped: `/..;x/`.
    #[error("the path hides a dot segment behind a parameter")]
    PathParameter,
    /// `#` does not belong into a request.
    #[error("the target has a fragment")]
    Fragment,
    /// A control character, a space, or bytes that are not UTF-8.
    #[error("the query has a character that it cannot have")]
    Query,
}

/// Brings a request head into its canonical form. The same form comes out if the result is normalized again.
///
/// Costs no allocation where host and path are canonical already, except for short host names.
///
/// # Errors
/// Whatever leaves room for two readings.
pub fn normalize<'a>(scope: &Scope, head: &RequestHead<'a>) -> Result<Normal<'a>, BadRequest> {
    let method = method(head.method)?;
    if head.target.len() > MAX_TARGET {
        return Err(BadRequest::TargetTooLong);
    }
    let (authority, host) = host::authority(scope, head.authority)?;
    let (target, its) = target(scope, method, head.target, &authority)?;
    // RFC 9112 §3.2.2: where the target names the host, it is the target's that counts.
    let RequestHead { headers, source, .. } = *head;
    Ok(Normal { method, authority, host: its.unwrap_or(host), target, headers, source })
}

/// Whether a path is as [`normalize`] would leave it.
pub(crate) fn is_normal_path(path: &str) -> bool {
    path.starts_with('/') && path::normalize(path.as_bytes()).is_ok_and(|normal| normal == path)
}

fn method(method: &[u8]) -> Result<&str, BadRequest> {
    match method {
        [] => Err(BadRequest::Method),
        method if method.iter().copied().all(is_token) => str::from_utf8(method).map_err(|_| BadRequest::Method),
        _ => Err(BadRequest::Method),
    }
}

/// RFC 9110 §5.6.2 `tchar`.
pub(crate) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// A target, and the host that is forwarded where the target names one.
type TargetAndHost<'a> = (Target<'a>, Option<Cow<'a, str>>);

fn target<'a>(
    scope: &Scope,
    method: &str,
    target: &'a [u8],
    authority: &Authority<'_>,
) -> Result<TargetAndHost<'a>, BadRequest> {
    match target {
        _ if method == CONNECT => authority_form(scope, target, authority),
        [b'/', ..] => Ok((origin_form(target)?, None)),
        b"*" if method == "OPTIONS" => Ok((Target { path: Cow::Borrowed("*"), query: None }, None)),
        _ => absolute_form(scope, method, target, authority),
    }
}

/// RFC 9112 §3.2.3: host and port, with no default for the port (RFC 9110 §9.3.6), and the Host field says the same.
fn authority_form<'a>(
    scope: &Scope,
    target: &'a [u8],
    authority: &Authority<'_>,
) -> Result<TargetAndHost<'a>, BadRequest> {
    if !target.last().is_some_and(u8::is_ascii_digit) || !target.contains(&b':') {
        return Err(BadRequest::TargetForm);
    }
    let (its, host) = host::authority(scope, target)?;
    if its != *authority {
        return Err(BadRequest::HostMismatch);
    }
    Ok((Target { path: host.clone(), query: None }, Some(host)))
}

fn origin_form(target: &[u8]) -> Result<Target<'_>, BadRequest> {
    if target.contains(&b'#') {
        return Err(BadRequest::Fragment);
    }
    let (path, query) = match target.iter().position(|&byte| byte == b'?') {
        Some(at) => (&target[..at], Some(query(&target[at + 1..])?)),
        None => (target, None),
    };
    Ok(Target { path: path::normalize(path)?, query })
}

/// RFC 9112 §3.2.2: the authority must be the host's; an empty path is `/`, or `*` for OPTIONS (§3.2.4).
fn absolute_form<'a>(
    scope: &Scope,
    method: &str,
    target: &'a [u8],
    authority: &Authority<'_>,
) -> Result<TargetAndHost<'a>, BadRequest> {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| {
            let (head, rest) = target.split_at_checked(scheme.len())?;
            head.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
        })
        .ok_or(BadRequest::TargetForm)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (its, rest) = rest.split_at(end);
    let (its, host) = host::authority(scope, its)?;
    if its != *authority {
        return Err(BadRequest::HostMismatch);
    }
    let target = match rest {
        [] if method == "OPTIONS" => Target { path: Cow::Borrowed("*"), query: None },
        [] => Target { path: Cow::Borrowed("/"), query: None },
        [b'?', query_text @ ..] if !query_text.contains(&b'#') => {
            Target { path: Cow::Borrowed("/"), query: Some(query(query_text)?) }
        }
        [b'/', ..] => origin_form(rest)?,
        _ => return Err(BadRequest::Fragment),
    };
    Ok((target, Some(host)))
}

/// A query is opaque to weft: it is kept byte for byte, but may hold nothing that breaks a request line.
fn query(query: &[u8]) -> Result<&str, BadRequest> {
    if query.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
        return Err(BadRequest::Query);
    }
    str::from_utf8(query).map_err(|_| BadRequest::Query)
}

#[cfg(test)]
mod tests;
