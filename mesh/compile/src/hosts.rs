//! The virtual hosts of a Service's HTTP ports.
use std::{collections::BTreeSet, sync::Arc, time::Duration};

use weft_ir::{
    HostPort, MeshNames, Resource, Route, RouteAction, RouteOrigin, ServicePort, VirtualHost, WeightedCluster,
};
use weft_model::{AnyRoute, BackendRef, ObjectRef, Port, Service, Stored};

use crate::{
    Scope, attach,
    objects::{Objects, service_ref},
    policy::{self, Covering},
    reference::{Reference, ReferenceKind},
    resilience, rules,
    rules::Rule,
    service::service_port,
};

pub(crate) fn hosts(names: &MeshNames, objects: &Objects, reference: &ObjectRef) -> Vec<Resource> {
    let Some(service) = objects.service(reference) else { return Vec::new() };
    let http: Vec<_> = service.ports.iter().filter(|spec| spec.protocol.is_http()).collect();
    let mut hosts = Vec::new();
    for spec in &http {
        let Some(host) = (Builder { names, objects, service: reference }).host(spec.port) else { continue };
        if let Some(bare) = bare_authority(service, &http, &host) {
            hosts.push(Resource::VirtualHost(Arc::new(VirtualHost { authority: bare, ..host.clone() })));
        }
        hosts.push(Resource::VirtualHost(Arc::new(host)));
    }
    hosts
}

/// The authority without a port, where there is only one HTTP port that it can mean.
fn bare_authority(
    service: &Service,
    http: &[&weft_model::ServicePortSpec],
    VirtualHost { authority, .. }: &VirtualHost,
) -> Option<HostPort> {
    let free = service.port(Port::HTTP).is_none();
    (http.len() == 1 && free).then(|| HostPort { host: authority.host.clone(), port: Port::HTTP })
}

struct Builder<'a> {
    names: &'a MeshNames,
    objects: &'a Objects,
    service: &'a ObjectRef,
}

impl Builder<'_> {
    /// `None` where the Service's host would be longer than a DNS name may be.
    fn host(&self, port: Port) -> Option<VirtualHost> {
        let service = service_port(self.names, self.service, port);
        let host = service.host(&self.names.mesh_domain).parse().ok()?;
        let mut origins = BTreeSet::from([self.service.clone()]);
        let attached = attach::routes(self.objects, self.service, port);
        let mut routes = Vec::new();
        for (stored, route) in &attached {
            origins.insert(stored.object.reference());
            self.add_routes(stored, *route, &mut routes, &mut origins);
        }
        if attached.is_empty() {
            routes.push((rules::Order::default(), self.default_route(&service, &mut origins)));
        }
        // Stable: ties stay in the order of creation, name, rule and alternative, in which they were added.
        routes.sort_by(|(one, _), (other, _)| one.cmp(other));
        let routes = routes.into_iter().map(|(_, route)| route).collect();
        let origins = origins.into_iter().collect();
        Some(VirtualHost { authority: HostPort { host, port }, service, routes, origins })
    }

    fn default_route(&self, service: &ServicePort, origins: &mut BTreeSet<ObjectRef>) -> Route {
        let own = WeightedCluster { cluster: service.clone(), weight: 1, refusal: None, headers: None };
        let policies = Covering::of(self.objects, policy::of_service(self.service));
        Route {
            origin: RouteOrigin { object: self.service.clone(), rule: 0, alternative: 0 },
            matches: rules::everything(),
            action: RouteAction::Forward(vec![own]),
            timeout: timeout(None, &policies, origins),
            try_timeout: None,
            retry: resilience::retry(&policies, origins),
            affinity: resilience::affinity(&policies, origins),
            headers: None,
            rewrite: None,
        }
    }

    fn add_routes(
        &self,
        stored: &Stored,
        route: AnyRoute<'_>,
        routes: &mut Vec<(rules::Order, Route)>,
        origins: &mut BTreeSet<ObjectRef>,
    ) {
        let object = stored.object.reference();
        for (rule, it) in (0..).zip(rules::of(route)) {
            let by_rule = it.name.cloned().map(|section| Scope::Rule(object.clone(), section));
            let scopes = by_rule.into_iter().chain([Scope::Route(object.clone())]);
            let policies = Covering::of(self.objects, scopes.chain(policy::of_service(self.service)));
            let action = self.action(&object, &it);
            let timeout = timeout(it.request_timeout, &policies, origins);
            let try_timeout = it.backend_timeout.filter(|timeout| !timeout.is_zero());
            // What goes nowhere has nothing to repeat, to keep together or to rewrite.
            let forwards = matches!(action, RouteAction::Forward(_));
            let (mut retry, affinity) = match forwards {
                true => (resilience::retry(&policies, origins), resilience::affinity(&policies, origins)),
                false => (None, None),
            };
            if let (Some(retry), Some(bound)) = (&mut retry, try_timeout) {
                // A bound on the whole answer is one on its head too.
                retry.per_try_timeout = retry.per_try_timeout.filter(|limit| *limit < bound);
            }
            let rewrite = it.filters.and_then(|filters| filters.rewrite.clone()).filter(|_| forwards).map(Box::new);
            let headers = (!it.headers.is_empty()).then(|| Box::new(it.headers.clone()));
            for (alternative, (order, matches)) in (0..).zip(it.matches) {
                let route = Route {
                    origin: RouteOrigin { object: object.clone(), rule, alternative },
                    matches,
                    action: action.clone(),
                    timeout,
                    try_timeout,
                    retry: retry.clone(),
                    affinity: affinity.clone(),
                    headers: headers.clone(),
                    rewrite: rewrite.clone(),
                };
                routes.push((order, route));
            }
        }
    }

    fn action(&self, route: &ObjectRef, rule: &Rule<'_>) -> RouteAction {
        if let Some(redirect) = rule.filters.and_then(|filters| filters.redirect.as_ref()) {
            return RouteAction::Redirect(rules::redirect(redirect));
        }
        let with_share = rule.backends.iter().filter(|backend| backend.weight > 0);
        let clusters: Vec<_> = with_share.map(|backend| self.share(route, backend)).collect();
        if clusters.iter().any(|cluster| cluster.refusal.is_none()) {
            return RouteAction::Forward(clusters);
        }
        let causes: BTreeSet<_> = clusters.into_iter().filter_map(|cluster| cluster.refusal).collect();
        let cause = match causes.is_empty() {
            true => "the rule has no backend".to_owned(),
            false => causes.into_iter().collect::<Vec<_>>().join("; "),
        };
        RouteAction::Refuse { cause }
    }

    fn share(&self, route: &ObjectRef, backend: &BackendRef) -> WeightedCluster {
        let target = service_ref(backend.namespace.clone(), backend.name.clone());
        let cluster = service_port(self.names, &target, backend.port);
        let (field, port) = (Default::default(), Some(backend.port));
        let reference = Reference { field, kind: ReferenceKind::Backend, target, port, section: None };
        let check = attach::check(self.objects, &route.namespace, &reference);
        let refusal = check.err().map(|broken| broken.text(&reference));
        let headers = (!backend.headers.is_empty()).then(|| Box::new(backend.headers.clone()));
        WeightedCluster { cluster, weight: backend.weight, refusal, headers }
    }
}

/// The route's own bound, else that of the most specific policy. Zero is "no bound" (Gateway API, HTTPRouteTimeouts
/// "Request"), and ends the search too.
fn timeout(own: Option<Duration>, policies: &Covering<'_>, origins: &mut BTreeSet<ObjectRef>) -> Option<Duration> {
    let timeout = own.or_else(|| policies.field(origins, |policy| policy.request_timeout));
    timeout.filter(|timeout| !timeout.is_zero())
}
