//! Matches that never win, because an earlier one takes all they could.
use std::collections::BTreeMap;

use weft_compile::Compiler;
use weft_ir::{HostPort, Resource, ResourceKey, RouteMatch, RouteOrigin, VirtualHost};
use weft_model::{Code, Diagnostic, FieldPath, HttpRoute, Kind, ObjectRef, PathMatch};

/// Tells each match of a route that an earlier match takes all requests from, at every host that it stands at.
pub(crate) fn shadowed(compiler: &Compiler, object: &ObjectRef, route: &HttpRoute) -> Vec<Diagnostic> {
    let mut by_match: BTreeMap<(u32, u32), Option<RouteOrigin>> = BTreeMap::new();
    for host in hosts(compiler, route) {
        for (at, own) in host.routes.iter().enumerate().filter(|(_, it)| it.origin.object == *object) {
            let earlier = host.routes.iter().take(at).find(|earlier| covers(&earlier.matches, &own.matches));
            let place = (own.origin.rule, own.origin.alternative);
            let shadow = earlier.map(|earlier| earlier.origin.clone());
            let told = by_match.entry(place).or_insert_with(|| shadow.clone());
            // One host at which it can win is enough.
            if shadow.is_none() {
                *told = None;
            }
        }
    }
    by_match
        .into_iter()
        .filter_map(|((rule, alternative), shadow)| {
            let field = field(route, rule, alternative);
            let text = format!("it never matches: {} takes every request that it could", shadow?);
            let diagnostic = Diagnostic::warning(object, field, Code::ShadowedRule, text);
            Some(diagnostic.hint("make the match more specific than the other, or delete it"))
        })
        .collect()
}

/// Whether every request that matches `specific` matches `general` too. Exact but for regular expressions, of which
/// only equal ones are known to cover each other: what it says is covered never wins behind the other.
pub fn covers(general: &RouteMatch, specific: &RouteMatch) -> bool {
    let method = general.method.as_ref().is_none_or(|method| specific.method.as_ref() == Some(method));
    method
        && general.headers.iter().all(|header| specific.headers.contains(header))
        && covers_path(&general.path, &specific.path)
}

fn covers_path(general: &PathMatch, specific: &PathMatch) -> bool {
    match (general, specific) {
        (PathMatch::Exact(a), PathMatch::Exact(b)) | (PathMatch::Regex(a), PathMatch::Regex(b)) => a == b,
        (PathMatch::Prefix(prefix), PathMatch::Exact(path) | PathMatch::Prefix(path)) => is_under(path, prefix),
        (PathMatch::Prefix(prefix), PathMatch::Regex(_)) => is_under("", prefix),
        (PathMatch::Exact(_), PathMatch::Prefix(_) | PathMatch::Regex(_)) => false,
        (PathMatch::Regex(_), PathMatch::Exact(_) | PathMatch::Prefix(_)) => false,
    }
}

/// Whether `prefix` is whole leading elements of `path`. As a proxy reads it, a trailing slash makes no difference to a
/// prefix, and `/` is a prefix of everything.
fn is_under(path: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    prefix.is_empty() || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The hosts that a route stands at. A second authority of the same service port has the same routes, and is left out.
fn hosts<'a>(compiler: &'a Compiler, route: &HttpRoute) -> Vec<&'a VirtualHost> {
    let names = compiler.names();
    let mut found = Vec::new();
    for parent in route.parents.iter().filter(|parent| parent.namespace == route.meta.namespace) {
        let (namespace, name) = (parent.namespace.clone(), parent.name.clone());
        let host = format!("{name}.{namespace}.svc.{}", names.mesh_domain);
        let service = ObjectRef { kind: Kind::Service, namespace, name };
        let Some(stored) = compiler.stored(&service) else { continue };
        let weft_model::Object::Service(service) = &stored.object else { continue };
        let Ok(host) = host.parse::<weft_model::Host>() else { continue };
        for spec in service.ports.iter().filter(|spec| parent.port.is_none_or(|port| port == spec.port)) {
            let authority = HostPort { host: host.clone(), port: spec.port };
            if let Some(Resource::VirtualHost(host)) = compiler.resource(&ResourceKey::virtual_host(&authority)) {
                found.push(&**host);
            }
        }
    }
    found
}

/// The field of a match; of the rule where it wrote no match.
fn field(route: &HttpRoute, rule: u32, alternative: u32) -> FieldPath {
    let (rule, alternative) = (rule as usize, alternative as usize);
    let field = FieldPath::from("spec.rules").index(rule);
    match route.rules.get(rule) {
        Some(it) if alternative < it.matches.len() => field.key("matches").index(alternative),
        _ => field,
    }
}
