//! Matches that never win, because an earlier one takes all they could.
use std::collections::BTreeMap;

use weft_compile::Compiler;
use weft_ir::{HostPort, Resource, ResourceKey, Route, RouteOrigin, VirtualHost};
use weft_model::{AnyRoute, Code, Diagnostic, FieldPath, Kind, ObjectRef, Port};

/// Tells each match of a route that an earlier match takes all requests from, at every host that it stands at.
pub(crate) fn shadowed(compiler: &Compiler, object: &ObjectRef, route: AnyRoute<'_>) -> Vec<Diagnostic> {
    let mut by_match: BTreeMap<(u32, u32), Option<RouteOrigin>> = BTreeMap::new();
    for host in hosts(compiler, route) {
        for (at, own) in host.routes.iter().enumerate() {
            let place = match &own.origin {
                RouteOrigin::Rule { object: its, rule, alternative } if its == object => (*rule, *alternative),
                RouteOrigin::Rule { .. } | RouteOrigin::Named(_) => continue,
            };
            let shadow = shadow(host, at).map(|earlier| earlier.origin.clone());
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

/// The earlier route that takes every request that the route at `at` could.
///
/// That is one with the same match. A host's routes are ordered by falling precedence, and a match that is wider than
/// another comes after it: an exact path before a prefix of it, the longer prefix before the shorter, more conditions
/// before fewer; of gRPC's methods the longer name before the shorter. So nothing is told of regular expressions but that two are the same; a match may well be dead beside
/// one that takes all of its requests by other words.
fn shadow(host: &VirtualHost, at: usize) -> Option<&Route> {
    let (before, from) = host.routes.split_at_checked(at)?;
    let own = from.first()?;
    // GRPCRoutes are ordered by what their paths were made of.
    let rivals = match own.origin.object().map(|object| object.kind) {
        Some(Kind::GrpcRoute) => 0,
        _ => before.partition_point(|route| route.matches.order() < own.matches.order()),
    };
    before.iter().skip(rivals).find(|route| route.matches == own.matches)
}

/// The hosts that a route stands at. A second authority of the same service port has the same routes, and is left out.
pub(crate) fn hosts<'a>(compiler: &'a Compiler, route: AnyRoute<'_>) -> Vec<&'a VirtualHost> {
    let mut found = Vec::new();
    for parent in route.parents().iter().filter(|parent| parent.namespace == route.meta().namespace) {
        let (namespace, name) = (parent.namespace.clone(), parent.name.clone());
        found.extend(of_service(compiler, &ObjectRef { kind: Kind::Service, namespace, name }, parent.port));
    }
    found
}

/// The hosts of a Service's ports, or of one of them.
pub(crate) fn of_service<'a>(compiler: &'a Compiler, service: &ObjectRef, port: Option<Port>) -> Vec<&'a VirtualHost> {
    let host = format!("{}.{}.svc.{}", service.name, service.namespace, compiler.names().mesh_domain);
    let stored = compiler.stored(service).map(|stored| &stored.object);
    let (Some(weft_model::Object::Service(service)), Ok(host)) = (stored, host.parse::<weft_model::Host>()) else {
        return Vec::new();
    };
    let ports = service.ports.iter().filter(|spec| port.is_none_or(|port| port == spec.port));
    let keys = ports.map(|spec| ResourceKey::virtual_host(&HostPort { host: host.clone(), port: spec.port }));
    keys.filter_map(|key| match compiler.resource(&key) {
        Some(Resource::VirtualHost(host)) => Some(&**host),
        _ => None,
    })
    .collect()
}

/// The field of a match; of the rule where it wrote no match.
fn field(route: AnyRoute<'_>, rule: u32, alternative: u32) -> FieldPath {
    let (rule, alternative) = (rule as usize, alternative as usize);
    let field = FieldPath::from("spec.rules").index(rule);
    match route.rules().get(rule) {
        Some(it) if alternative < it.matches => field.key("matches").index(alternative),
        _ => field,
    }
}
