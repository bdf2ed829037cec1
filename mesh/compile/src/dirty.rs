//! From a changed object to the units that read it.
use std::collections::BTreeSet;

use weft_model::{AnyRoute, DirectResponse, Kind, Name, Namespace, Object, ObjectRef, Port, Protocol, Stored};

use crate::{
    ReferenceKind, Scope, attach,
    objects::{Objects, scopes},
    reference,
    unit::{Unit, UnitKind},
    written::{Reach, written},
};

/// In which respects an object differs from its predecessor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shift {
    /// In any that a resource could depend on.
    any: bool,
    /// In what those who name it can see: that it exists, a Service's ports, a route's rules.
    surface: bool,
    /// A policy's say on clusters, if either has one.
    clusters: bool,
    /// A policy's say on routes, if either has one.
    routes: bool,
}

impl Shift {
    pub(crate) fn between(before: Option<&Stored>, after: Option<&Stored>) -> Self {
        let content = |stored: Option<&Stored>| stored.map(|it| (it.object.clone(), it.created));
        let any = content(before) != content(after);
        let says = |reach: Reach| {
            any && [before, after].into_iter().flatten().any(|stored| match &stored.object {
                Object::TrafficPolicy(policy) => written(policy).iter().any(|field| field.reach == reach),
                _ => false,
            })
        };
        Self {
            any,
            surface: before.map(surface) != after.map(surface),
            clusters: says(Reach::Clusters),
            routes: says(Reach::Routes),
        }
    }
}

/// What those who name an object can see of it.
#[derive(PartialEq, Eq)]
enum Surface {
    Ports(Vec<(Port, Protocol)>),
    Rules(Vec<Option<Name>>),
    Answer(DirectResponse),
    Existence,
}

fn surface(stored: &Stored) -> Surface {
    match &stored.object {
        Object::Service(it) => Surface::Ports(it.ports.iter().map(|spec| (spec.port, spec.protocol)).collect()),
        Object::HttpRoute(it) => Surface::Rules(it.rules.iter().map(|rule| rule.name.clone()).collect()),
        Object::GrpcRoute(it) => Surface::Rules(it.rules.iter().map(|rule| rule.name.clone()).collect()),
        Object::HttpRouteFilter(it) => Surface::Answer(it.answer.clone()),
        Object::Workload(_) | Object::TrafficPolicy(_) | Object::AccessPolicy(_) => Surface::Existence,
    }
}

/// Marks the units that read `stored`, as the other objects stand. Called before a change with the predecessor and
/// after it with the successor: a dependency that the change makes or breaks is seen from one of the two.
pub(crate) fn mark(objects: &Objects, stored: Option<&Stored>, shift: &Shift, dirty: &mut BTreeSet<Unit>) {
    let Some(stored) = stored else { return };
    let reference = stored.object.reference();
    let mut marker = Marker { objects, dirty };
    marker.add(UnitKind::Diagnosis, &reference);
    if shift.any {
        marker.readers(&reference, &stored.object, shift);
    }
    if shift.surface {
        marker.referrers(&reference);
        marker.judges_of_requests(&reference);
    }
}

struct Marker<'a> {
    objects: &'a Objects,
    dirty: &'a mut BTreeSet<Unit>,
}

impl Marker<'_> {
    fn add(&mut self, kind: UnitKind, object: &ObjectRef) {
        self.dirty.insert(Unit { kind, object: object.clone() });
    }

    fn readers(&mut self, reference: &ObjectRef, object: &Object, shift: &Shift) {
        match object {
            Object::Service(service) => {
                for kind in [UnitKind::Clusters, UnitKind::Endpoints, UnitKind::Hosts] {
                    self.add(kind, reference);
                }
                for (workload, _) in self.objects.workloads_behind(service) {
                    self.add(UnitKind::Inbound, workload);
                }
            }
            Object::Workload(workload) => {
                self.add(UnitKind::Inbound, reference);
                for (service, _) in self.objects.services_selecting(&reference.namespace, &workload.meta.labels) {
                    self.add(UnitKind::Endpoints, service);
                }
            }
            Object::HttpRoute(route) => self.route(AnyRoute::Http(route)),
            Object::GrpcRoute(route) => self.route(AnyRoute::Grpc(route)),
            // Those who name it are marked as such.
            Object::HttpRouteFilter(_) => {}
            Object::TrafficPolicy(_) => {
                for scope in scopes(object) {
                    self.traffic(&scope, shift);
                }
            }
            Object::AccessPolicy(_) => {
                for scope in scopes(object) {
                    self.access(&scope);
                }
            }
        }
    }

    fn referrers(&mut self, reference: &ObjectRef) {
        for referrer in self.objects.referrers(reference) {
            self.add(UnitKind::Diagnosis, referrer);
            let Some(stored) = self.objects.stored(referrer) else { continue };
            let as_backend = |it: &reference::Reference| match it.kind {
                ReferenceKind::Backend | ReferenceKind::Mirror | ReferenceKind::Filter => it.target == *reference,
                ReferenceKind::Parent | ReferenceKind::Target => false,
            };
            if let Some(route) = AnyRoute::of(&stored.object)
                && reference::of(&stored.object).iter().any(as_backend)
            {
                self.hosts_of(route);
            }
        }
    }

    /// Its hosts, and what is told of the other routes there: which kind attaches is the oldest one's to say.
    fn route(&mut self, route: AnyRoute<'_>) {
        self.hosts_of(route);
        for service in attach::parents(route) {
            let rivals: Vec<_> = self.objects.referrers(&service).filter(|it| it.kind.is_route()).cloned().collect();
            for rival in rivals {
                self.add(UnitKind::Diagnosis, &rival);
            }
        }
    }

    fn hosts_of(&mut self, route: AnyRoute<'_>) {
        for service in attach::parents(route) {
            self.add(UnitKind::Hosts, &service);
        }
    }

    fn traffic(&mut self, scope: &Scope, shift: &Shift) {
        let rivals: Vec<_> = self.objects.policies(Kind::TrafficPolicy, scope.clone()).cloned().collect();
        for rival in rivals {
            self.add(UnitKind::Diagnosis, &rival);
        }
        let services = match scope {
            Scope::Mesh => self.of_kind(Kind::Service, None),
            Scope::Namespace(namespace) => self.of_kind(Kind::Service, Some(namespace)),
            Scope::Service(service) => vec![service.clone()],
            Scope::Route(route) | Scope::Rule(route, _) => {
                if shift.routes
                    && let Some(route) = self.objects.route(route)
                {
                    self.hosts_of(route);
                }
                return;
            }
        };
        for service in services {
            if shift.clusters {
                self.add(UnitKind::Clusters, &service);
            }
            if shift.routes {
                self.add(UnitKind::Hosts, &service);
            }
        }
    }

    fn access(&mut self, scope: &Scope) {
        let workloads = match scope {
            Scope::Mesh => self.of_kind(Kind::Workload, None),
            Scope::Namespace(namespace) => self.of_kind(Kind::Workload, Some(namespace)),
            Scope::Service(service) => {
                let Some(service) = self.objects.service(service) else { return };
                self.objects.workloads_behind(service).into_iter().map(|(workload, _)| workload.clone()).collect()
            }
            Scope::Route(_) | Scope::Rule(..) => return,
        };
        for workload in workloads {
            self.add(UnitKind::Inbound, &workload);
        }
    }

    /// A Service's ports say whether the requests that a policy speaks of can be seen there. Those that name the Service
    /// are its referrers.
    fn judges_of_requests(&mut self, reference: &ObjectRef) {
        if reference.kind != Kind::Service {
            return;
        }
        for scope in [Scope::Namespace(reference.namespace.clone()), Scope::Mesh] {
            for policy in self.objects.policies(Kind::AccessPolicy, scope) {
                let rules = self.objects.access_policy(policy).map(|it| it.rules.as_slice()).unwrap_or_default();
                if rules.iter().any(|rule| !rule.matches.is_empty()) {
                    self.dirty.insert(Unit { kind: UnitKind::Diagnosis, object: policy.clone() });
                }
            }
        }
    }

    fn of_kind(&self, kind: Kind, namespace: Option<&Namespace>) -> Vec<ObjectRef> {
        self.objects.of_kind(kind, namespace).into_iter().cloned().collect()
    }
}
