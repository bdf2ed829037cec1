//! What is forwarded, or told to the client, in place of the path and host that came.
use weft_model::{PathMatch, PathRewrite, Redirect, RedirectStatus, Scheme, UrlRewrite};
use weft_proto::envoy::{
    config::route::v3::{
        self as wire, RedirectAction,
        redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
        route_action::HostRewriteSpecifier,
    },
    r#type::matcher::v3::RegexMatchAndSubstitute,
};

use super::{
    common::{parse, safe_regex, shorten, text},
    fault::{Fault, Within, fault, nothing_left},
};

/// Matches every path, whole.
const WHOLE: &str = "^.*$";

/// The standard's two ways to replace a path: a prefix that was matched, or what an expression finds.
enum Wire {
    Prefix(String),
    Regex(RegexMatchAndSubstitute),
}

pub(super) fn encode(rewrite: Option<&UrlRewrite>, matched: &PathMatch, action: &mut wire::RouteAction) {
    let Some(UrlRewrite { host, path }) = rewrite else { return };
    action.host_rewrite_specifier =
        host.as_ref().map(|host| HostRewriteSpecifier::HostRewriteLiteral(host.to_string()));
    match path.as_ref().and_then(|path| encode_path(path, matched)) {
        Some(Wire::Prefix(prefix)) => action.prefix_rewrite = prefix,
        Some(Wire::Regex(regex)) => action.regex_rewrite = Some(regex),
        None => {}
    }
}

pub(super) fn decode(action: &mut wire::RouteAction, matched: &PathMatch) -> Result<Option<Box<UrlRewrite>>, Fault> {
    let host = match action.host_rewrite_specifier.take() {
        None => None,
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => Some(parse("host_rewrite_literal", &host)?),
        Some(_) => return Err(fault("host_rewrite_literal", "only it is read")),
    };
    let prefix = std::mem::take(&mut action.prefix_rewrite);
    let path = match (prefix.as_str(), action.regex_rewrite.take()) {
        ("", None) => None,
        ("", Some(regex)) => Some(decode_path(Wire::Regex(regex), matched).within("regex_rewrite")?),
        (_, None) => Some(decode_path(Wire::Prefix(prefix), matched).within("prefix_rewrite")?),
        (_, Some(_)) => return Err(fault("regex_rewrite", "there is a prefix_rewrite too")),
    };
    Ok((host.is_some() || path.is_some()).then(|| Box::new(UrlRewrite { host, path })))
}

pub(super) fn encode_redirect(redirect: &Redirect, matched: &PathMatch) -> RedirectAction {
    let Redirect { scheme, host, port, path, status } = redirect;
    let path = path.as_ref().and_then(|path| match path {
        PathRewrite::Full(path) => Some(PathRewriteSpecifier::PathRedirect(path.clone())),
        PathRewrite::Prefix(_) => encode_path(path, matched).map(|path| match path {
            Wire::Prefix(prefix) => PathRewriteSpecifier::PrefixRewrite(prefix),
            Wire::Regex(regex) => PathRewriteSpecifier::RegexRewrite(regex),
        }),
    });
    RedirectAction {
        host_redirect: host.as_ref().map(ToString::to_string).unwrap_or_default(),
        port_redirect: port.map_or(0, |port| port.get().into()),
        response_code: code(*status).into(),
        scheme_rewrite_specifier: scheme
            .map(|scheme| SchemeRewriteSpecifier::SchemeRedirect(scheme.as_str().to_owned())),
        path_rewrite_specifier: path,
        ..RedirectAction::default()
    }
}

pub(super) fn decode_redirect(mut action: RedirectAction, matched: &PathMatch) -> Result<Redirect, Fault> {
    let host = match std::mem::take(&mut action.host_redirect) {
        host if host.is_empty() => None,
        host => Some(parse("host_redirect", &host)?),
    };
    let port = match std::mem::take(&mut action.port_redirect) {
        0 => None,
        port => Some(parse("port_redirect", &port.to_string())?),
    };
    let status = RedirectResponseCode::try_from(std::mem::take(&mut action.response_code));
    let status = RedirectStatus::ALL.into_iter().find(|it| status == Ok(code(*it)));
    let scheme = match action.scheme_rewrite_specifier.take() {
        None => None,
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) if scheme == "http" => Some(Scheme::Http),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) if scheme == "https" => Some(Scheme::Https),
        Some(_) => return Err(fault("scheme_redirect", "only http and https are read")),
    };
    let path = match action.path_rewrite_specifier.take() {
        None => None,
        Some(PathRewriteSpecifier::PathRedirect(path)) => Some(PathRewrite::Full(full(path).within("path_redirect")?)),
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
            Some(decode_path(Wire::Prefix(prefix), matched).within("prefix_rewrite")?)
        }
        Some(PathRewriteSpecifier::RegexRewrite(regex)) => {
            Some(decode_path(Wire::Regex(regex), matched).within("regex_rewrite")?)
        }
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            return Err(fault("path_rewrite", "only path_redirect, prefix_rewrite and regex_rewrite are read"));
        }
    };
    nothing_left(&action)?;
    let status = status.ok_or_else(|| fault("response_code", "it is not known"))?;
    Ok(Redirect { scheme, host, port, path, status })
}

const fn code(status: RedirectStatus) -> RedirectResponseCode {
    match status {
        RedirectStatus::MovedPermanently => RedirectResponseCode::MovedPermanently,
        RedirectStatus::Found => RedirectResponseCode::Found,
        RedirectStatus::SeeOther => RedirectResponseCode::SeeOther,
        RedirectStatus::TemporaryRedirect => RedirectResponseCode::TemporaryRedirect,
        RedirectStatus::PermanentRedirect => RedirectResponseCode::PermanentRedirect,
    }
}

/// Elements are kept apart as the Gateway API wants them, which the standard leaves to whoever writes the two texts.
fn encode_path(path: &PathRewrite, matched: &PathMatch) -> Option<Wire> {
    match (path, matched) {
        (PathRewrite::Full(path), _) => Some(Wire::Regex(substitution(WHOLE.to_owned(), path))),
        (PathRewrite::Prefix(by), PathMatch::Prefix(root)) if root == "/" => Some(Wire::Prefix(format!("{by}/"))),
        // `/foo` replaced by nothing: `/foo` and `/foo/` are `/`, and `/foo/bar` is `/bar`.
        (PathRewrite::Prefix(by), PathMatch::Prefix(prefix)) if by.is_empty() => {
            Some(Wire::Regex(substitution(stripped(prefix), "/")))
        }
        (PathRewrite::Prefix(by), PathMatch::Prefix(_)) => Some(Wire::Prefix(by.clone())),
        // Nothing that a prefix has matched is there to replace.
        (PathRewrite::Prefix(_), PathMatch::Exact(_) | PathMatch::Regex(_)) => None,
    }
}

fn decode_path(path: Wire, matched: &PathMatch) -> Result<PathRewrite, Fault> {
    match (path, matched) {
        (Wire::Prefix(by), PathMatch::Prefix(root)) if root == "/" => match by.strip_suffix('/') {
            Some("") => Ok(PathRewrite::Prefix(String::new())),
            Some(by) => Ok(PathRewrite::Prefix(full(by.to_owned())?)),
            None => Err(fault("", "it replaces the root and does not end in a slash")),
        },
        (Wire::Prefix(by), PathMatch::Prefix(_)) if by.ends_with('/') => Err(fault("", "it ends in a slash")),
        (Wire::Prefix(by), PathMatch::Prefix(_)) => Ok(PathRewrite::Prefix(full(by)?)),
        (Wire::Prefix(_), PathMatch::Exact(_) | PathMatch::Regex(_)) => {
            Err(fault("", "the route matches no prefix that could be replaced"))
        }
        (Wire::Regex(mut regex), matched) => {
            let pattern = regex.pattern.take().ok_or_else(|| fault("pattern", "it is missing"))?;
            let by = std::mem::take(&mut regex.substitution);
            nothing_left(&regex)?;
            match matched {
                _ if pattern == safe_regex(WHOLE) => Ok(PathRewrite::Full(full(by)?)),
                PathMatch::Prefix(prefix) if prefix != "/" && by == "/" && pattern == safe_regex(&stripped(prefix)) => {
                    Ok(PathRewrite::Prefix(String::new()))
                }
                PathMatch::Prefix(_) | PathMatch::Exact(_) | PathMatch::Regex(_) => {
                    Err(fault("pattern", "only the whole path, or the matched prefix replaced by /, is read"))
                }
            }
        }
    }
}

fn substitution(pattern: String, by: &str) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute { pattern: Some(safe_regex(&pattern)), substitution: by.to_owned() }
}

/// What is taken away where a prefix is replaced by the root.
fn stripped(prefix: &str) -> String {
    format!("^{}/?", regex::escape(prefix))
}

/// A path that is put in another's place. That it is in normal form is checked where snapshots are made.
fn full(path: String) -> Result<String, Fault> {
    let path = text("", path)?;
    if path.starts_with('/') { Ok(path) } else { Err(fault("", format!("{:?} is not a path", shorten(&path)))) }
}
