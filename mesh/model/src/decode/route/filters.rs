//! `filters` of rules and backends.
use std::collections::HashMap;

mod cors;
mod mirror;

use super::super::{
    fields::{Context, Field, Fields, shorten},
    path, pattern,
};
use crate::{
    Code, Filters, HeaderChanges, HeaderField, HttpMatch, Name, Namespace, PathMatch, PathRewrite, Redirect,
    RedirectStatus, Scheme, UrlRewrite, is_ours_to_say,
};

/// The most filters of a rule or backend, and the most entries of one list of header fields, as in the Gateway API.
const MAX_FILTERS: usize = 16;
const MAX_HEADERS: usize = 16;

/// A kind of filter that weft reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    RequestHeaders,
    ResponseHeaders,
    Rewrite,
    Redirect,
    Cors,
    Mirror,
    Extension,
}

/// Each by its `type`, and the field that holds what it says.
const KINDS: [(&str, &str, Kind); 7] = [
    ("RequestHeaderModifier", "requestHeaderModifier", Kind::RequestHeaders),
    ("ResponseHeaderModifier", "responseHeaderModifier", Kind::ResponseHeaders),
    ("URLRewrite", "urlRewrite", Kind::Rewrite),
    ("RequestRedirect", "requestRedirect", Kind::Redirect),
    ("RequestMirror", "requestMirror", Kind::Mirror),
    ("CORS", "cors", Kind::Cors),
    ("ExtensionRef", "extensionRef", Kind::Extension),
];

/// Where filters of every kind stand: an HTTPRoute's rules.
pub(super) const EVERY: &[Kind] = &[
    Kind::RequestHeaders,
    Kind::ResponseHeaders,
    Kind::Rewrite,
    Kind::Redirect,
    Kind::Cors,
    Kind::Mirror,
    Kind::Extension,
];

/// What stands in a GRPCRoute's rules.
pub(super) const CALLS: &[Kind] = &[Kind::RequestHeaders, Kind::ResponseHeaders, Kind::Mirror];

/// Where only header fields are changed: backends.
pub(super) const HEADERS: &[Kind] = &[Kind::RequestHeaders, Kind::ResponseHeaders];

/// The filters of a list, of which `allowed` may stand there, in an object of namespace `own`.
pub(super) fn filters(cx: &mut Context, field: &Field<'_>, allowed: &[Kind], own: &Namespace) -> Filters {
    let mut filters = Filters::default();
    let mut first: HashMap<Kind, u32> = HashMap::new();
    for item in field.items(cx, 0..=MAX_FILTERS) {
        let Some((kind, body)) = open(cx, &item, allowed) else { continue };
        // A request may have many copies; all else is done once.
        if let Some(line) = first.insert(kind, item.node.line).filter(|_| kind != Kind::Mirror) {
            let found = "a filter of this type stands here already";
            item.report(cx, Code::Duplicate, found, Some(format!("the first is on line {line}")));
        }
        match kind {
            Kind::RequestHeaders => filters.headers.request = changes(cx, &body).unwrap_or_default(),
            Kind::ResponseHeaders => filters.headers.response = changes(cx, &body).unwrap_or_default(),
            Kind::Rewrite => filters.rewrite = rewrite(cx, &body),
            Kind::Redirect => filters.redirect = redirect(cx, &body),
            Kind::Extension => filters.extension = extension(cx, &body),
            Kind::Cors => filters.cors = cors::decode(cx, &body),
            Kind::Mirror => filters.mirrors.extend(mirror::decode(cx, &body, own)),
        }
        let ends = [Kind::Rewrite, Kind::Redirect, Kind::Extension];
        if ends.contains(&kind) && ends.iter().filter(|end| first.contains_key(end)).count() > 1 {
            let hint = "remove all but one of them: a redirect has a hostname and a path of its own";
            let found = "a request is rewritten, redirected or answered by an ExtensionRef, and only one of these";
            item.report(cx, Code::InvalidValue, found, Some(hint.to_owned()));
        }
    }
    filters
}

/// A filter's kind and what it says.
fn open<'a>(cx: &mut Context, item: &Field<'a>, allowed: &[Kind]) -> Option<(Kind, Field<'a>)> {
    let mut fields = Fields::open(cx, item)?;
    let written = fields.required(cx, "type")?;
    let text = written.text(cx)?;
    let known = KINDS.iter().find(|(name, _, kind)| *name == text && allowed.contains(kind));
    let Some((_, key, kind)) = known else {
        let readable: Vec<_> =
            KINDS.iter().filter(|(_, _, kind)| allowed.contains(kind)).map(|(name, ..)| *name).collect();
        let found = format!("weft does not implement filters of type {:?} here", shorten(text));
        written.report(cx, Code::UnsupportedField, found, Some(format!("it reads {}", readable.join(", "))));
        return None;
    };
    let body = fields.required(cx, key);
    fields.finish(cx);
    Some((*kind, body?))
}

fn changes(cx: &mut Context, field: &Field<'_>) -> Option<HeaderChanges> {
    let mut fields = Fields::open(cx, field)?;
    let mut lists = Lists { first: HashMap::new() };
    let set = fields.take("set").map(|list| lists.written(cx, &list)).unwrap_or_default();
    let add = fields.take("add").map(|list| lists.written(cx, &list)).unwrap_or_default();
    let remove = fields.take("remove").map(|list| lists.removed(cx, &list)).unwrap_or_default();
    fields.finish(cx);
    Some(HeaderChanges { set, add, remove })
}

/// The lists of one filter, in which each name stands once.
struct Lists {
    first: HashMap<String, u32>,
}

impl Lists {
    fn written(&mut self, cx: &mut Context, list: &Field<'_>) -> Vec<HeaderField> {
        let items = list.items(cx, 0..=MAX_HEADERS);
        items
            .iter()
            .filter_map(|item| {
                let mut fields = Fields::open(cx, item)?;
                let name = fields.required(cx, "name").and_then(|name| self.name(cx, &name));
                let value = fields.required(cx, "value").and_then(|value| pattern::header_value(cx, &value));
                fields.finish(cx);
                Some(HeaderField { name: name?, value: value? })
            })
            .collect()
    }

    fn removed(&mut self, cx: &mut Context, list: &Field<'_>) -> Vec<String> {
        list.items(cx, 0..=MAX_HEADERS).iter().filter_map(|item| self.name(cx, item)).collect()
    }

    fn name(&mut self, cx: &mut Context, field: &Field<'_>) -> Option<String> {
        if field.text(cx)?.starts_with(':') {
            let hint = "they are the request's method, path and host: rewrite those by a URLRewrite filter";
            field.invalid(cx, "a filter changes no pseudo-header", hint);
            return None;
        }
        let name = pattern::header_name(cx, field)?;
        if is_ours_to_say(&name) {
            let hint = match name.as_str() {
                "host" => "rewrite the host by a URLRewrite filter's hostname",
                name if name.starts_with("x-weft-") => "remove it: weft says what it has to say itself",
                _ => "remove it: it belongs to one connection or says where a message ends, which proxies see to",
            };
            field.invalid(cx, format!("a filter must not change {name:?}"), hint);
            return None;
        }
        if let Some(line) = self.first.insert(name.clone(), field.node.line) {
            let found = format!("the header {name:?} stands twice in this filter");
            field.report(cx, Code::Duplicate, found, Some(format!("the first is on line {line}")));
        }
        Some(name)
    }
}

fn rewrite(cx: &mut Context, field: &Field<'_>) -> Option<UrlRewrite> {
    let mut fields = Fields::open(cx, field)?;
    let host = fields.take("hostname").map(|host| host.parsed(cx));
    let path = fields.take("path").map(|path| path_rewrite(cx, &path));
    fields.finish(cx);
    if host.is_none() && path.is_none() {
        field.report(cx, Code::MissingField, "it rewrites nothing", Some("write a hostname or a path".to_owned()));
    }
    Some(UrlRewrite { host: transposed(host)?, path: transposed(path)? })
}

/// `None` where something is written that is not valid.
fn transposed<T>(written: Option<Option<T>>) -> Option<Option<T>> {
    match written {
        None => Some(None),
        Some(valid) => valid.map(Some),
    }
}

/// An HTTPRouteFilter of the route's namespace.
fn extension(cx: &mut Context, field: &Field<'_>) -> Option<Name> {
    let mut fields = Fields::open(cx, field)?;
    fields.only(cx, "group", &["weft.dev"]);
    fields.only(cx, "kind", &["HTTPRouteFilter"]);
    let name = fields.required(cx, "name").and_then(|name| name.parsed(cx));
    fields.finish(cx);
    name
}

fn path_rewrite(cx: &mut Context, field: &Field<'_>) -> Option<PathRewrite> {
    let mut fields = Fields::open(cx, field)?;
    let full = fields.required(cx, "type")?.choice(cx, &[("ReplaceFullPath", true), ("ReplacePrefixMatch", false)])?;
    let key = if full { "replaceFullPath" } else { "replacePrefixMatch" };
    let value = fields.required(cx, key);
    fields.finish(cx);
    let value = value?;
    if full {
        return path::replacement(cx, &value).map(PathRewrite::Full);
    }
    // The Gateway API's table: nothing and `/` are the root, and a slash at the end makes no difference.
    let prefix = if value.text(cx)?.is_empty() { String::new() } else { path::replacement(cx, &value)? };
    Some(PathRewrite::Prefix(prefix.strip_suffix('/').unwrap_or(&prefix).to_owned()))
}

fn redirect(cx: &mut Context, field: &Field<'_>) -> Option<Redirect> {
    let schemes = [("http", Scheme::Http), ("https", Scheme::Https)];
    let mut fields = Fields::open(cx, field)?;
    let scheme = fields.take("scheme").map(|scheme| scheme.choice(cx, &schemes));
    let host = fields.take("hostname").map(|host| host.parsed(cx));
    let path = fields.take("path").map(|path| path_rewrite(cx, &path));
    let port = fields.take("port").map(|port| port.port(cx));
    let status = fields.take("statusCode").map(|status| self::status(cx, &status));
    fields.finish(cx);
    if scheme.is_none() && host.is_none() && path.is_none() && port.is_none() {
        let hint = "write a scheme, hostname, port or path that differs from the request's";
        field.report(cx, Code::MissingField, "it leads clients back to where they asked", Some(hint.to_owned()));
    }
    Some(Redirect {
        scheme: transposed(scheme)?,
        host: transposed(host)?,
        port: transposed(port)?,
        path: transposed(path)?,
        status: transposed(status)?.unwrap_or_default(),
    })
}

fn status(cx: &mut Context, field: &Field<'_>) -> Option<RedirectStatus> {
    let code: u16 = field.integer(cx, 0..=999).and_then(|code| u16::try_from(code).ok())?;
    let known = RedirectStatus::ALL.into_iter().find(|status| status.code() == code);
    if known.is_none() {
        let found = format!("{code} is no status of a redirect");
        field.invalid(cx, found, "write 301, 302, 303, 307 or 308 (RFC 9110 §15.4)");
    }
    known
}

/// Reports what the rule's matches cannot do for its filters, and a redirect beside backends.
pub(super) fn fit(cx: &mut Context, rule: &Field<'_>, filters: &Filters, matches: &[HttpMatch], backends: usize) {
    let field = |key: &str| Field { node: rule.node, path: rule.path.key(key) };
    if filters.answers() && backends > 0 {
        let hint = "remove the backends, or the filter";
        field("backendRefs").invalid(cx, "a rule that redirects or answers forwards nothing", hint);
    }
    if filters.answers() && !filters.mirrors.is_empty() {
        let hint = "remove the RequestMirror filters, or have the rule forward";
        field("filters").invalid(cx, "a rule that redirects or answers has nothing to mirror", hint);
    }
    let rewrites = [
        filters.rewrite.as_ref().and_then(|rewrite| rewrite.path.as_ref()),
        filters.redirect.as_ref().and_then(|redirect| redirect.path.as_ref()),
    ];
    let replaces_prefix = rewrites.into_iter().flatten().any(|path| matches!(path, PathRewrite::Prefix(_)));
    if replaces_prefix && matches.iter().any(|it| !matches!(it.path, PathMatch::Prefix(_))) {
        let hint = "match by PathPrefix, or replace the full path";
        field("filters").invalid(cx, "ReplacePrefixMatch needs a prefix that each match has matched", hint);
    }
}
