//! The virtual hosts of a Service's HTTP ports.
use std::{collections::BTreeSet, sync::Arc, time::Duration};

use weft_ir::{
    HostPort, MeshNames, Mirror, Resource, Route, RouteAction, RouteOrigin, ServiceKey, VirtualHost, WeightedCluster,
};
use weft_model::{
    AnyRoute, BackendRef, DirectResponse, HeaderField, HeaderFilters, Name, Namespace, ObjectRef, Port, Service,
    Stored, TrafficPolicy,
};

use crate::{
    Scope, attach,
    objects::{Objects, filter_ref, service_ref},
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
        let service = ServiceKey::from(service);
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

    fn default_route(&self, service: &ServiceKey, origins: &mut BTreeSet<ObjectRef>) -> Route {
        let own = WeightedCluster { cluster: service.clone(), weight: 1, refusal: None, headers: None };
        let policies = Covering::of(self.objects, policy::of_service(self.service));
        Route {
            origin: RouteOrigin::Rule { object: self.service.clone(), rule: 0, alternative: 0 },
            matches: rules::everything(),
            action: RouteAction::Forward(vec![own]),
            timeout: timeout(None, &policies, origins),
            try_timeout: None,
            idle_timeout: bound(&policies, origins, |policy| policy.idle_timeout),
            stream_timeout: bound(&policies, origins, |policy| policy.stream_timeout),
            retry: resilience::retry(&policies, origins),
            affinity: resilience::affinity(&policies, origins),
            headers: None,
            rewrite: None,
            cors: None,
            mirrors: Vec::new(),
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
            // What goes nowhere has nothing to wait for, to repeat, to keep together or to rewrite.
            let forwards = matches!(action, RouteAction::Forward(_));
            let mut bound = |of: fn(&TrafficPolicy) -> Option<Duration>| match forwards {
                true => bound(&policies, origins, of),
                false => None,
            };
            let (idle_timeout, stream_timeout) = (bound(|it| it.idle_timeout), bound(|it| it.stream_timeout));
            let (mut retry, affinity) = match forwards {
                true => (resilience::retry(&policies, origins), resilience::affinity(&policies, origins)),
                false => (None, None),
            };
            if let (Some(retry), Some(bound)) = (&mut retry, try_timeout) {
                // A bound on the whole answer is one on its head too.
                retry.per_try_timeout = retry.per_try_timeout.filter(|limit| *limit < bound);
            }
            let rewrite = it.filters.and_then(|filters| filters.rewrite.clone()).filter(|_| forwards).map(Box::new);
            origins.extend(self.extension(&object, &it).map(|(named, _)| named));
            let headers = self.headers(&object, &it);
            let cors = it.filters.and_then(|filters| filters.cors.clone()).map(Box::new);
            let mirrors = if forwards { self.mirrors(&object, &it) } else { Vec::new() };
            for (alternative, (order, matches)) in (0..).zip(it.matches) {
                let route = Route {
                    origin: RouteOrigin::Rule { object: object.clone(), rule, alternative },
                    matches,
                    action: action.clone(),
                    timeout,
                    try_timeout,
                    idle_timeout,
                    stream_timeout,
                    retry: retry.clone(),
                    affinity: affinity.clone(),
                    headers: headers.clone(),
                    rewrite: rewrite.clone(),
                    cors: cors.clone(),
                    mirrors: mirrors.clone(),
                };
                routes.push((order, route));
            }
        }
    }

    fn action(&self, route: &ObjectRef, rule: &Rule<'_>) -> RouteAction {
        if let Some(redirect) = rule.filters.and_then(|filters| filters.redirect.as_ref()) {
            return RouteAction::Redirect(rules::redirect(redirect));
        }
        if let Some((_, DirectResponse { status, body, .. })) = self.extension(route, rule) {
            return RouteAction::Respond { status: *status, body: body.clone() };
        }
        if let Some(name) = rule.filters.and_then(|filters| filters.extension.clone()) {
            let cause = format!("{} does not exist", filter_ref(route.namespace.clone(), name));
            return RouteAction::Refuse { cause };
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

    /// The rule's extension, with the answer that it gives.
    fn extension(&self, route: &ObjectRef, rule: &Rule<'_>) -> Option<(ObjectRef, &DirectResponse)> {
        let named = filter_ref(route.namespace.clone(), rule.filters?.extension.clone()?);
        let filter = self.objects.route_filter(&named)?;
        Some((named, &filter.answer))
    }

    /// The rule's changes of header fields, and what kind of body its own answer has.
    fn headers(&self, route: &ObjectRef, rule: &Rule<'_>) -> Option<Box<HeaderFilters>> {
        let mut headers = rule.headers.clone();
        let answer = self.extension(route, rule).filter(|(_, answer)| !answer.body.is_empty());
        if let Some((_, DirectResponse { content_type, .. })) = answer
            && headers.response.names().all(|name| name != "content-type")
        {
            let (name, value) = ("content-type".to_owned(), content_type.clone());
            headers.response.set.push(HeaderField { name, value });
        }
        (!headers.is_empty()).then(|| Box::new(headers))
    }

    fn share(&self, route: &ObjectRef, backend: &BackendRef) -> WeightedCluster {
        let BackendRef { namespace, name, port, .. } = backend;
        let (cluster, refusal) = self.named(route, ReferenceKind::Backend, (namespace, name, *port));
        let headers = (!backend.headers.is_empty()).then(|| Box::new(backend.headers.clone()));
        WeightedCluster { cluster, weight: backend.weight, refusal, headers }
    }
}

/// Those that are parts of a rule, and where they lead.
impl Builder<'_> {
    /// Who gets copies. What leads nowhere is left out, and told (Gateway API, HTTPRequestMirrorFilter "BackendRef").
    fn mirrors(&self, route: &ObjectRef, rule: &Rule<'_>) -> Vec<Mirror> {
        let mirror = |it: &weft_model::Mirror| {
            let (cluster, refusal) = self.named(route, ReferenceKind::Mirror, (&it.namespace, &it.name, it.port));
            let per_million = it.share.per_million();
            (refusal.is_none() && per_million > 0).then_some(Mirror { cluster, per_million })
        };
        rule.mirrors.iter().filter_map(mirror).collect()
    }

    /// The cluster of a Service port that a rule names, and why nothing may go there.
    fn named(
        &self,
        route: &ObjectRef,
        kind: ReferenceKind,
        (namespace, name, port): (&Namespace, &Name, Port),
    ) -> (ServiceKey, Option<String>) {
        let target = service_ref(namespace.clone(), name.clone());
        let cluster = service_port(self.names, &target, port).into();
        let reference = Reference { field: Default::default(), kind, target, port: Some(port), section: None };
        let check = attach::check(self.objects, &route.namespace, &reference);
        (cluster, check.err().map(|broken| broken.text(&reference)))
    }
}

/// What the most specific policy says; zero ends the search.
fn bound(
    policies: &Covering<'_>,
    origins: &mut BTreeSet<ObjectRef>,
    of: fn(&TrafficPolicy) -> Option<Duration>,
) -> Option<Duration> {
    policies.field(origins, of).filter(|timeout| !timeout.is_zero())
}

/// The route's own bound, else that of the most specific policy. Zero is "no bound" (Gateway API, HTTPRouteTimeouts
/// "Request"), and ends the search too.
fn timeout(own: Option<Duration>, policies: &Covering<'_>, origins: &mut BTreeSet<ObjectRef>) -> Option<Duration> {
    let timeout = own.or_else(|| policies.field(origins, |policy| policy.request_timeout));
    timeout.filter(|timeout| !timeout.is_zero())
}
