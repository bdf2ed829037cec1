//! GRPCRoute's `spec`: the Gateway API's GAMMA form, with that specification's bounds.
use super::{
    super::{
        fields::{Context, Field, Fields, shorten},
        pattern,
    },
    MAX_MATCHES, backends, filters, headers, parents, rules,
};
use crate::{Code, GrpcMatch, GrpcMethodMatch, GrpcRoute, GrpcRule, Meta, Name, Namespace};

/// The most bytes of a service's or method's name or expression, as in the Gateway API.
const MAX_PART_BYTES: usize = 1024;

pub(in super::super) fn decode(cx: &mut Context, meta: Option<Meta>, spec: &Field<'_>) -> Option<GrpcRoute> {
    let own = meta.as_ref().map_or_else(Namespace::default_namespace, |meta| meta.namespace.clone());
    let mut fields = Fields::open(cx, spec)?;
    let parents = fields.required(cx, "parentRefs").map(|parents| self::parents(cx, &parents, &own));
    let rules = fields.required(cx, "rules").map(|rules| {
        self::rules(cx, &rules, |cx, item| rule(cx, item, &own), |rule| (rule.name.as_ref(), rule.matches.len()))
    });
    fields.unsupported(cx, &["hostnames", "useDefaultGateways"]);
    fields.finish(cx);
    Some(GrpcRoute { meta: meta?, parents: parents?, rules: rules? })
}

fn rule(cx: &mut Context, item: &Field<'_>, own: &Namespace) -> Option<GrpcRule> {
    let mut fields = Fields::open(cx, item)?;
    let name = fields.take("name").and_then(|name| name.parsed::<Name>(cx));
    let mut matches = Vec::new();
    if let Some(field) = fields.take("matches") {
        matches.extend(field.items(cx, 0..=MAX_MATCHES).iter().filter_map(|item| grpc_match(cx, item)));
    }
    if matches.is_empty() {
        matches.push(GrpcMatch::default());
    }
    let filters =
        fields.take("filters").map(|field| filters::filters(cx, &field, filters::CALLS, own)).unwrap_or_default();
    let backends = fields.required(cx, "backendRefs").map(|backends| self::backends(cx, &backends, own));
    fields.unsupported(cx, &["sessionPersistence"]);
    fields.finish(cx);
    Some(GrpcRule { name, matches, headers: filters.headers, mirrors: filters.mirrors, backends: backends? })
}

fn grpc_match(cx: &mut Context, item: &Field<'_>) -> Option<GrpcMatch> {
    let mut fields = Fields::open(cx, item)?;
    let method = match fields.take("method") {
        Some(method) => Some(method_match(cx, &method)?),
        None => None,
    };
    let headers = fields.take("headers").map(|field| headers(cx, &field)).unwrap_or_default();
    fields.finish(cx);
    Some(GrpcMatch { method, headers })
}

fn method_match(cx: &mut Context, field: &Field<'_>) -> Option<GrpcMethodMatch> {
    let mut fields = Fields::open(cx, field)?;
    let regex = match fields.take("type") {
        Some(kind) => kind.choice(cx, &[("Exact", false), ("RegularExpression", true)]),
        None => Some(false),
    };
    let (service, method) = (fields.take("service"), fields.take("method"));
    fields.finish(cx);
    if service.is_none() && method.is_none() {
        let hint = "write a service, a method or both".to_owned();
        field.report(cx, Code::MissingField, "it matches neither a service nor a method", Some(hint));
        return None;
    }
    let regex = regex?;
    let mut part = |written: Option<Field<'_>>, dots| match written {
        None => Some(None),
        Some(written) if regex => pattern::regex(cx, &written).map(Some),
        Some(written) => identifier(cx, &written, dots).map(Some),
    };
    let (service, method) = (part(service, true), part(method, false));
    let found = GrpcMethodMatch { regex, service: service?, method: method? };
    // Both parts together are one expression on the path, which has to hold the same bounds.
    let crate::PathMatch::Regex(path) = found.path() else { return Some(found) };
    pattern::regex_text(cx, field, &path).map(|_| found)
}

/// A name of protobuf's: letters, digits and `_`, no digit first; a service's with its package before it.
fn identifier(cx: &mut Context, field: &Field<'_>, dots: bool) -> Option<String> {
    let text = field.text(cx)?;
    let name = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let valid = if dots { text.split('.').all(name) } else { name(text) };
    if valid && text.len() <= MAX_PART_BYTES {
        return Some(text.to_owned());
    }
    let (what, hint) = match dots {
        true => ("service", "write it with its package, such as shop.v1.Stock"),
        false => ("method", "write its name alone, such as Reserve"),
    };
    field.invalid(cx, format!("{:?} is no gRPC {what}'s name", shorten(text)), hint);
    None
}
