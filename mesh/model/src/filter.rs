//! What a route's rules change about requests and answers: the Gateway API's filters.
use serde::Serialize;

use crate::{Host, Port};

/// A header field that is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HeaderField {
    /// Its name in lower case.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What is changed about the header fields of a request or an answer (Gateway API `HTTPHeaderFilter`). A name stands in
/// one of the lists at most, so their order says nothing. None of a connection's own fields, none that say how a message
/// is framed, no Host and none of weft's own is among them ([`is_ours_to_say`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct HeaderChanges {
    /// Each is the only field of its name afterwards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<HeaderField>,
    /// Each stands behind the fields of its name that are there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<HeaderField>,
    /// Names in lower case of which no field is left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl HeaderChanges {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// Every name that it speaks of.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let written = self.set.iter().chain(&self.add).map(|field| field.name.as_str());
        written.chain(self.remove.iter().map(String::as_str))
    }
}

/// The header changes of one rule or backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct HeaderFilters {
    /// `RequestHeaderModifier`: what the next hop gets.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub request: HeaderChanges,
    /// `ResponseHeaderModifier`: what the client gets.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub response: HeaderChanges,
}

impl HeaderFilters {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty()
    }
}

/// Header fields that only a proxy itself may write, in lower case: those of one connection (RFC 9110 §7.6.1), those that
/// say where a message ends (RFC 9112 §6), and Host, which is part of the request's target.
const NOT_TO_BE_CHANGED: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Whether a header field of that name, in lower case, is the proxy's own to write, so that no filter may.
pub fn is_ours_to_say(name: &str) -> bool {
    name.starts_with("x-weft-") || NOT_TO_BE_CHANGED.contains(&name)
}

/// What of a request's path is replaced (Gateway API `HTTPPathModifier`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum PathRewrite {
    /// `ReplaceFullPath`: the whole path, by one in normal form; the query stays.
    Full(String),
    /// `ReplacePrefixMatch`: what the rule's path prefix has matched, by this, which has no slash at its end; nothing
    /// stands for the root. Elements are kept apart: `/foo` replaced by `/` makes `/bar` of `/foo/bar`.
    Prefix(String),
}

/// `URLRewrite`: what is forwarded in place of what came. At least one part is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct UrlRewrite {
    /// The Host that is forwarded.
    pub host: Option<Host>,
    /// The path that is forwarded.
    pub path: Option<PathRewrite>,
}

/// A URL's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Scheme {
    /// `http`, port 80.
    Http,
    /// `https`, port 443.
    Https,
}

impl Scheme {
    /// As it stands before `://`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port where a URL names none (RFC 9110 §4.2.1, §4.2.2).
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// `RequestRedirect`: the client is told to ask elsewhere. What is not written stays as the client asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Redirect {
    /// The scheme.
    pub scheme: Option<Scheme>,
    /// The host.
    pub host: Option<Host>,
    /// The port; where only a scheme is written, that scheme's own.
    pub port: Option<Port>,
    /// The path.
    pub path: Option<PathRewrite>,
    /// The status.
    pub status: RedirectStatus,
}

/// The status of a redirect (RFC 9110 §15.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum RedirectStatus {
    /// 301.
    MovedPermanently,
    /// 302, the Gateway API's default.
    #[default]
    Found,
    /// 303.
    SeeOther,
    /// 307.
    TemporaryRedirect,
    /// 308.
    PermanentRedirect,
}

impl RedirectStatus {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::MovedPermanently, Self::Found, Self::SeeOther, Self::TemporaryRedirect, Self::PermanentRedirect];

    /// The number.
    pub const fn code(self) -> u16 {
        match self {
            Self::MovedPermanently => 301,
            Self::Found => 302,
            Self::SeeOther => 303,
            Self::TemporaryRedirect => 307,
            Self::PermanentRedirect => 308,
        }
    }
}

/// The filters of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Filters {
    /// Changes of header fields.
    pub headers: HeaderFilters,
    /// Another Host or path.
    pub rewrite: Option<UrlRewrite>,
    /// Nothing is forwarded: the client is told to ask elsewhere. Never beside a rewrite.
    pub redirect: Option<Redirect>,
}
