//! What a route's rules change about requests and answers: the Gateway API's filters.
use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::{Host, Meta, Mirror, Name, Port};

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

/// What stands for everything in the lists of [`Cors`].
pub const ANYTHING: &str = "*";

/// `CORS` (Gateway API `HTTPCORSFilter`): what browsers let pages of other origins do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Cors {
    /// Whose pages may ask; at least one.
    pub origins: Vec<OriginMatch>,
    /// Whether they may do so with cookies and the like.
    pub credentials: bool,
    /// By which methods, beside GET, HEAD and POST; `*` alone is any.
    pub methods: Vec<String>,
    /// With which header fields; `*` alone is any.
    pub headers: Vec<String>,
    /// Which header fields of an answer they may read.
    pub expose: Vec<String>,
    /// For how many seconds a browser may remember what it was told.
    pub max_age: u32,
}

/// An origin (RFC 6454 §6.2), whose host may be or begin with a `*` that stands for any labels; or `*` for all of them.
/// The port that follows from its scheme may be written or not: it makes no difference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginMatch(String);

/// A text that is no [`OriginMatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not scheme://host[:port], with http or https and at most one * at the host's begin, nor * alone")]
pub struct InvalidOrigin;

impl OriginMatch {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without the port that follows from the scheme: as browsers write origins.
    pub fn bare(&self) -> &str {
        without_default_port(&self.0)
    }

    /// Whether that origin is one of those meant.
    pub fn takes(&self, origin: &str) -> bool {
        if self.0 == ANYTHING {
            return true;
        }
        let origin = without_default_port(origin);
        let Some((prefix, suffix)) = self.bare().split_once('*') else {
            return self.bare().eq_ignore_ascii_case(origin);
        };
        let Some(labels) = origin.len().checked_sub(suffix.len()).and_then(|end| origin.get(prefix.len()..end)) else {
            return false;
        };
        let (start, end) = (origin.get(..prefix.len()), origin.get(prefix.len() + labels.len()..));
        let same = |part: Option<&str>, written: &str| part.is_some_and(|part| part.eq_ignore_ascii_case(written));
        let host = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
        same(start, prefix) && same(end, suffix) && !labels.is_empty() && labels.bytes().all(host)
    }
}

impl FromStr for OriginMatch {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let whole = || {
            let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
            let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
            let labels = host.strip_prefix("*.").unwrap_or(host).to_ascii_lowercase();
            let is_host = host == ANYTHING || labels.parse::<Host>().is_ok();
            (is_host && port.is_none_or(|port| port.parse::<Port>().is_ok())).then_some(())
        };
        if text == ANYTHING || whole().is_some() { Ok(Self(text.to_owned())) } else { Err(InvalidOrigin) }
    }
}

fn without_default_port(origin: &str) -> &str {
    let default = match origin.get(..8) {
        Some(start) if start.eq_ignore_ascii_case("https://") => ":443",
        _ => ":80",
    };
    origin.strip_suffix(default).unwrap_or(origin)
}

impl fmt::Display for OriginMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for OriginMatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
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
    /// What browsers let pages of other origins do.
    pub cors: Option<Cors>,
    /// Who gets copies of the requests that are forwarded. None with what answers.
    pub mirrors: Vec<Mirror>,
    /// `ExtensionRef`: the [`HttpRouteFilter`] of the route's namespace that answers. Never beside a rewrite or redirect.
    pub extension: Option<Name>,
}

impl Filters {
    /// Whether nothing is forwarded.
    pub fn answers(&self) -> bool {
        self.redirect.is_some() || self.extension.is_some()
    }
}

/// `weft.dev/v1alpha1` HTTPRouteFilter: what the Gateway API has no filter for, named by a rule's ExtensionRef.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HttpRouteFilter {
    /// Name, namespace, labels.
    pub meta: Meta,
    /// The answer that is given without asking anybody.
    pub answer: DirectResponse,
}

/// An answer that is given without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct DirectResponse {
    /// The status, 200 to 599.
    pub status: u16,
    /// The body's `content-type`.
    pub content_type: String,
    /// The body, at most [`MAX_BODY`](Self::MAX_BODY) bytes.
    pub body: String,
}

impl DirectResponse {
    /// The most bytes that a body may have: Envoy's bound on direct responses.
    pub const MAX_BODY: usize = 4096;
    /// What a body is where nothing is said.
    pub const TEXT: &str = "text/plain; charset=utf-8";
}
