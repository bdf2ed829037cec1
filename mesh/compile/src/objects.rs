//! The objects, and the indexes by which one finds its neighbours.
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use weft_model::{
    AccessPolicy, AnyRoute, HttpRouteFilter, Kind, Labels, Name, Namespace, Object, ObjectRef, Port, Protocol, Service,
    Stored, TrafficPolicy, Workload,
};

use crate::{Scope, index::Index, reference};

/// A pair of labels in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Label {
    namespace: Namespace,
    key: String,
    value: String,
}

/// All objects with their indexes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    all: RedBlackTreeMapSync<ObjectRef, Arc<Stored>>,
    by_namespace: Index<(Kind, Namespace)>,
    /// Services by the first pair of their selector: whatever they select carries it.
    services_by_label: Index<Label>,
    workloads_by_label: Index<Label>,
    /// Who names an object, in whatever field.
    referrers: Index<ObjectRef>,
    policies_by_scope: Index<(Kind, Scope)>,
}

/// The reference of a Service.
pub(crate) const fn service_ref(namespace: Namespace, name: Name) -> ObjectRef {
    ObjectRef { kind: Kind::Service, namespace, name }
}

/// The reference of an HTTPRouteFilter.
pub(crate) const fn filter_ref(namespace: Namespace, name: Name) -> ObjectRef {
    ObjectRef { kind: Kind::HttpRouteFilter, namespace, name }
}

impl Objects {
    /// Puts an object in, in its predecessor's place if there is one, or takes it out.
    pub(crate) fn set(&mut self, reference: &ObjectRef, stored: Option<Arc<Stored>>) {
        if let Some(before) = self.all.get(reference).cloned() {
            self.index(reference, &before.object, false);
            self.all.remove_mut(reference);
        }
        if let Some(stored) = stored {
            self.index(reference, &stored.object, true);
            self.all.insert_mut(reference.clone(), stored);
        }
    }

    pub(crate) fn stored(&self, reference: &ObjectRef) -> Option<&Arc<Stored>> {
        self.all.get(reference)
    }

    /// The reference as it is kept here, if there is such an object.
    pub(crate) fn stored_key(&self, reference: &ObjectRef) -> Option<&ObjectRef> {
        self.all.get_key_value(reference).map(|(kept, _)| kept)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&ObjectRef, &Arc<Stored>)> {
        self.all.iter()
    }

    pub(crate) fn service(&self, reference: &ObjectRef) -> Option<&Service> {
        match &self.all.get(reference)?.object {
            Object::Service(it) => Some(it),
            _ => None,
        }
    }

    pub(crate) fn workload(&self, reference: &ObjectRef) -> Option<&Workload> {
        match &self.all.get(reference)?.object {
            Object::Workload(it) => Some(it),
            _ => None,
        }
    }

    /// The route of that reference, of either kind.
    pub(crate) fn route(&self, reference: &ObjectRef) -> Option<AnyRoute<'_>> {
        AnyRoute::of(&self.all.get(reference)?.object)
    }

    pub(crate) fn route_filter(&self, reference: &ObjectRef) -> Option<&HttpRouteFilter> {
        match &self.all.get(reference)?.object {
            Object::HttpRouteFilter(it) => Some(it),
            _ => None,
        }
    }

    pub(crate) fn access_policy(&self, reference: &ObjectRef) -> Option<&AccessPolicy> {
        match &self.all.get(reference)?.object {
            Object::AccessPolicy(it) => Some(it),
            _ => None,
        }
    }

    pub(crate) fn traffic_policy(&self, reference: &ObjectRef) -> Option<&TrafficPolicy> {
        match &self.all.get(reference)?.object {
            Object::TrafficPolicy(it) => Some(it),
            _ => None,
        }
    }

    /// The protocol of a Service's port, if both exist.
    pub(crate) fn protocol(&self, service: &ObjectRef, port: Port) -> Option<Protocol> {
        Some(self.service(service)?.port(port)?.protocol)
    }

    /// The objects of a kind, in one namespace or in all, ordered.
    pub(crate) fn of_kind(&self, kind: Kind, namespace: Option<&Namespace>) -> Vec<&ObjectRef> {
        match namespace {
            Some(namespace) => self.by_namespace.of(&(kind, namespace.clone())).collect(),
            None => self.all.keys().filter(|reference| reference.kind == kind).collect(),
        }
    }

    /// Who names `object`, ordered.
    pub(crate) fn referrers(&self, object: &ObjectRef) -> impl Iterator<Item = &ObjectRef> {
        self.referrers.of(object)
    }

    /// The policies of a kind with a target of exactly that scope, ordered by reference.
    pub(crate) fn policies(&self, kind: Kind, scope: Scope) -> impl Iterator<Item = &ObjectRef> {
        self.policies_by_scope.of(&(kind, scope))
    }

    /// The Services that a workload of `namespace` with `labels` stands behind, ordered.
    pub(crate) fn services_selecting(&self, namespace: &Namespace, labels: &Labels) -> Vec<(&ObjectRef, &Service)> {
        let mut found: Vec<_> = labels
            .iter()
            .flat_map(|(key, value)| self.services_by_label.of(&label(namespace, key, value)))
            .filter_map(|reference| Some((reference, self.service(reference)?)))
            .filter(|(_, service)| service.selector.selects(labels))
            .collect();
        found.sort_unstable_by_key(|(reference, _)| *reference);
        found
    }

    /// The workloads behind a Service, ordered.
    pub(crate) fn workloads_behind<'a>(&'a self, service: &Service) -> Vec<(&'a ObjectRef, &'a Workload)> {
        let pairs = service.selector.0.iter().map(|(key, value)| label(&service.meta.namespace, key, value));
        let Some(rarest) = pairs.min_by_key(|pair| self.workloads_by_label.count(pair)) else {
            return Vec::new();
        };
        self.workloads_by_label
            .of(&rarest)
            .filter_map(|reference| Some((reference, self.workload(reference)?)))
            .filter(|(_, workload)| service.selector.selects(&workload.meta.labels))
            .collect()
    }

    /// Has the indexes show `object`, or not.
    fn index(&mut self, reference: &ObjectRef, object: &Object, present: bool) {
        self.by_namespace.set((reference.kind, reference.namespace.clone()), reference, present);
        for target in reference::of(object) {
            self.referrers.set(target.target, reference, present);
        }
        for scope in scopes(object) {
            self.policies_by_scope.set((reference.kind, scope), reference, present);
        }
        match object {
            Object::Service(it) => {
                if let Some((key, value)) = it.selector.0.iter().next() {
                    self.services_by_label.set(label(&it.meta.namespace, key, value), reference, present);
                }
            }
            Object::Workload(it) => {
                for (key, value) in &it.meta.labels {
                    self.workloads_by_label.set(label(&it.meta.namespace, key, value), reference, present);
                }
            }
            Object::HttpRoute(_)
            | Object::GrpcRoute(_)
            | Object::HttpRouteFilter(_)
            | Object::TrafficPolicy(_)
            | Object::AccessPolicy(_) => {}
        }
    }
}

/// The scopes of a policy's targets; none for another kind.
pub(crate) fn scopes(object: &Object) -> Vec<Scope> {
    let (meta, targets) = match object {
        Object::TrafficPolicy(it) => (&it.meta, &it.targets),
        Object::AccessPolicy(it) => (&it.meta, &it.targets),
        Object::Service(_)
        | Object::Workload(_)
        | Object::HttpRoute(_)
        | Object::GrpcRoute(_)
        | Object::HttpRouteFilter(_) => {
            return Vec::new();
        }
    };
    targets.iter().filter_map(|target| Scope::of(meta, target)).collect()
}

fn label(namespace: &Namespace, key: &str, value: &str) -> Label {
    Label { namespace: namespace.clone(), key: key.to_owned(), value: value.to_owned() }
}
