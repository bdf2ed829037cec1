//! What is forwarded, or told to the client, in place of the path and host that came.
//!
//! A route is chosen, and on this side permitted, by the request as it came; the called side judges the request as it
//! arrives. What arrives is in normal form again: a replacement is one, and the rest of a normal path behind it hides
//! nothing that was not there before.
use std::borrow::Cow;

use serde::Serialize;
use weft_ir::Route;
use weft_model::{PathMatch, PathRewrite, Redirect, Scheme};

use crate::Normal;

/// What goes out in place of what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten<'a> {
    /// The path; the query stays as it came.
    pub path: Cow<'a, str>,
    /// The Host.
    pub host: Cow<'a, str>,
}

/// An answer that a route gives without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OwnAnswer {
    /// The status.
    pub status: u16,
    /// The header fields, `content-length` apart.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// What a route forwards of a request.
pub(crate) fn rewritten<'a>(route: Option<&'a Route>, request: &'a Normal<'_>) -> Rewritten<'a> {
    let mut out = Rewritten { path: Cow::Borrowed(&request.target.path), host: Cow::Borrowed(&request.host) };
    // The target of a CONNECT is a host: the tunnel's far end, which whoever asks for it must see as it is.
    let Some((route, rewrite)) = route.and_then(|route| Some((route, route.rewrite.as_deref()?))) else { return out };
    if request.is_connect() {
        return out;
    }
    if let Some(host) = &rewrite.host {
        out.host = Cow::Borrowed(host.as_str());
    }
    if let Some(path) = rewrite.path.as_ref().and_then(|path| replaced(&request.target.path, path, &route.matches.path))
    {
        out.path = path;
    }
    out
}

/// The URL that a redirect leads to (Gateway API, HTTPRequestRedirectFilter).
pub(crate) fn location(route: &Route, redirect: &Redirect, request: &Normal<'_>) -> String {
    let Redirect { scheme, host, port, path, status: _ } = redirect;
    let came = &*request.target.path;
    let path = path.as_ref().and_then(|path| replaced(came, path, &route.matches.path));
    // `*` and a CONNECT's target are no paths.
    let path = path.unwrap_or_else(|| Cow::Borrowed(if came.starts_with('/') { came } else { "/" }));
    let own = request.host.rsplit_once(':').map_or(&*request.host, |(host, _)| host);
    let host = host.as_ref().map_or(own, |host| host.as_str());
    let port = port.unwrap_or_else(|| request.authority.port()).get();
    // Applications speak plain HTTP to their sidecar.
    let scheme = scheme.unwrap_or(Scheme::Http);
    let mut url = format!("{}://{host}", scheme.as_str());
    if port != scheme.port() {
        url.push_str(&format!(":{port}"));
    }
    url.push_str(&path);
    if let Some(query) = request.target.query {
        url.push('?');
        url.push_str(query);
    }
    url
}

/// `path` with what `matched` took of it replaced; nothing where there is no path, or no prefix was matched.
fn replaced<'a>(path: &str, rewrite: &'a PathRewrite, matched: &PathMatch) -> Option<Cow<'a, str>> {
    if !path.starts_with('/') {
        return None;
    }
    match (rewrite, matched) {
        (PathRewrite::Full(path), _) => Some(Cow::Borrowed(path)),
        (PathRewrite::Prefix(by), PathMatch::Prefix(prefix)) => {
            let rest = path.strip_prefix(prefix.strip_suffix('/').unwrap_or(prefix))?;
            let joined = format!("{by}{rest}");
            Some(Cow::Owned(if joined.is_empty() { "/".to_owned() } else { joined }))
        }
        (PathRewrite::Prefix(_), PathMatch::Exact(_) | PathMatch::Regex(_)) => None,
    }
}

#[cfg(test)]
mod tests;
