//! Which routes attach to which Services, and whether a route may use a backend.
use std::collections::BTreeSet;

use weft_model::{AnyRoute, Namespace, ObjectRef, Port, Protocol, Stored};

use crate::{
    objects::{Objects, service_ref},
    reference::{Reference, ReferenceKind},
};

/// The Services that a route attaches to, whether or not they exist. Those of another namespace are left out: only a
/// Service's own namespace may say how its requests are routed (GAMMA's producer routes; consumer routes are not
/// supported).
pub(crate) fn parents(route: AnyRoute<'_>) -> BTreeSet<ObjectRef> {
    let own = route.parents().iter().filter(|parent| parent.namespace == route.meta().namespace);
    own.map(|parent| service_ref(parent.namespace.clone(), parent.name.clone())).collect()
}

/// The routes attached to a port of a Service, the oldest first, then by name. Of HTTPRoutes and GRPCRoutes at one port
/// only those of one kind, which the first of all tells; the others do not attach (Gateway API, GRPCRouteSpec "Hostnames":
/// where both kinds share a host, the oldest route is accepted and those of the other kind are not).
pub(crate) fn routes<'a>(objects: &'a Objects, service: &ObjectRef, port: Port) -> Vec<(&'a Stored, AnyRoute<'a>)> {
    let mut routes = candidates(objects, service, port);
    if let Some((_, first)) = routes.first().copied() {
        routes.retain(|(_, route)| matches!(route, AnyRoute::Http(_)) == matches!(first, AnyRoute::Http(_)));
    }
    routes
}

/// The routes that would attach to a port of a Service if it had none of the other kind, the oldest first, then by name.
pub(crate) fn candidates<'a>(objects: &'a Objects, service: &ObjectRef, port: Port) -> Vec<(&'a Stored, AnyRoute<'a>)> {
    let attached = |route: AnyRoute<'_>| {
        route.meta().namespace == service.namespace
            && route.parents().iter().any(|parent| {
                parent.namespace == service.namespace
                    && parent.name == service.name
                    && parent.port.is_none_or(|its| its == port)
            })
    };
    let mut routes: Vec<_> = objects
        .referrers(service)
        .filter_map(|referrer| Some((referrer, &**objects.stored(referrer)?, objects.route(referrer)?)))
        .filter(|(_, _, route)| attached(*route))
        .collect();
    routes.sort_by_key(|(referrer, stored, _)| (stored.created, &referrer.namespace, &referrer.name, referrer.kind));
    routes.into_iter().map(|(_, stored, route)| (stored, route)).collect()
}

/// Why a reference leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The object does not exist.
    Missing,
    /// The Service has no such port; these it has.
    Port(Port, Vec<Port>),
    /// The port does not speak HTTP.
    NotHttp(Port),
    /// The route has no rule of that name.
    Section,
    /// Another namespace's Service, which nothing allows the route to name.
    Foreign,
}

/// Checks a reference that an object of `namespace` makes.
pub(crate) fn check(objects: &Objects, namespace: &Namespace, reference: &Reference) -> Result<(), Broken> {
    let Reference { target, port, section, kind, .. } = reference;
    if target.namespace != *namespace {
        return Err(Broken::Foreign);
    }
    if objects.stored(target).is_none() {
        return Err(Broken::Missing);
    }
    if let Some(port) = port {
        match objects.protocol(target, *port) {
            Some(Protocol::Http | Protocol::Http2) => {}
            Some(Protocol::Tcp) => return Err(Broken::NotHttp(*port)),
            None => {
                let has =
                    objects.service(target).map_or_else(Vec::new, |it| it.ports.iter().map(|it| it.port).collect());
                return Err(Broken::Port(*port, has));
            }
        }
    }
    match (kind, section, objects.route(target)) {
        (ReferenceKind::Target, Some(section), Some(route))
            if !route.rules().iter().any(|rule| rule.name == Some(section)) =>
        {
            Err(Broken::Section)
        }
        _ => Ok(()),
    }
}

impl Broken {
    /// What is wrong: one sentence without a full stop, complete in itself.
    pub(crate) fn text(&self, reference: &Reference) -> String {
        let Reference { target, section, .. } = reference;
        match self {
            Self::Missing => format!("{target} does not exist"),
            Self::Port(port, _) => format!("{target} has no port {port}"),
            Self::NotHttp(port) => format!("port {port} of {target} speaks TCP, not HTTP"),
            Self::Section => {
                let section = section.as_ref().map_or("", |name| name.as_str());
                format!("{target} has no rule named {section}")
            }
            Self::Foreign => format!("{target} is in another namespace, which nothing allows this object to name"),
        }
    }
}
