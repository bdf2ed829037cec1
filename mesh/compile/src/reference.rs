//! What objects name of each other.
use weft_model::{AnyRoute, FieldPath, Name, Object, ObjectRef, PolicyTarget, Port};

use crate::objects::{filter_ref, service_ref};

/// One reference: a field that names another object, and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The field that holds the reference: `spec.rules[0].backendRefs[1]`; the object's name is its `name`.
    pub field: FieldPath,
    /// What the reference is for.
    pub kind: ReferenceKind,
    /// The object that is named.
    pub target: ObjectRef,
    /// The port of it, where one is named.
    pub port: Option<Port>,
    /// The rule of it, where one is named.
    pub section: Option<Name>,
}

/// What a reference is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReferenceKind {
    /// A route's parent.
    Parent,
    /// A route's backend.
    Backend,
    /// Who gets copies of a rule's requests.
    Mirror,
    /// A rule's ExtensionRef.
    Filter,
    /// A policy's target.
    Target,
}

impl Reference {
    /// The references of an object, in the order of its fields. Namespaces and the mesh are no objects, and targets
    /// that a policy must not have are left out.
    pub fn of(object: &Object) -> Vec<Self> {
        of(object)
    }
}

pub(crate) fn of(object: &Object) -> Vec<Reference> {
    match object {
        Object::Service(_) | Object::Workload(_) | Object::HttpRouteFilter(_) => Vec::new(),
        Object::HttpRoute(it) => of_route(AnyRoute::Http(it)),
        Object::GrpcRoute(it) => of_route(AnyRoute::Grpc(it)),
        Object::TrafficPolicy(it) => of_targets(&it.targets),
        Object::AccessPolicy(it) => of_targets(&it.targets),
    }
}

fn of_route(route: AnyRoute<'_>) -> Vec<Reference> {
    let parents = route.parents().iter().enumerate().map(|(at, parent)| Reference {
        field: FieldPath::from("spec.parentRefs").index(at),
        kind: ReferenceKind::Parent,
        target: service_ref(parent.namespace.clone(), parent.name.clone()),
        port: parent.port,
        section: None,
    });
    let backends = route.rules().into_iter().enumerate().flat_map(|(rule, it)| {
        it.backends.iter().enumerate().map(move |(at, backend)| Reference {
            field: FieldPath::from("spec.rules").index(rule).key("backendRefs").index(at),
            kind: ReferenceKind::Backend,
            target: service_ref(backend.namespace.clone(), backend.name.clone()),
            port: Some(backend.port),
            section: None,
        })
    });
    let mirrors = route.rules().into_iter().enumerate().flat_map(|(rule, it)| {
        it.mirrors.iter().map(move |mirror| Reference {
            field: FieldPath::from("spec.rules").index(rule).key("filters").key("requestMirror").key("backendRef"),
            kind: ReferenceKind::Mirror,
            target: service_ref(mirror.namespace.clone(), mirror.name.clone()),
            port: Some(mirror.port),
            section: None,
        })
    });
    let filters = match route {
        AnyRoute::Http(it) => it.rules.as_slice(),
        AnyRoute::Grpc(_) => &[],
    };
    let filters = filters.iter().enumerate().filter_map(|(rule, it)| {
        let target = filter_ref(route.meta().namespace.clone(), it.filters.extension.clone()?);
        let field = FieldPath::from("spec.rules").index(rule).key("filters").key("extensionRef");
        Some(Reference { field, kind: ReferenceKind::Filter, target, port: None, section: None })
    });
    parents.chain(backends).chain(mirrors).chain(filters).collect()
}

fn of_targets(targets: &[PolicyTarget]) -> Vec<Reference> {
    let reference = |(at, target): (usize, &PolicyTarget)| {
        Some(Reference {
            field: FieldPath::from("spec.targetRefs").index(at),
            kind: ReferenceKind::Target,
            target: target.object()?,
            port: None,
            section: target.section.clone(),
        })
    };
    targets.iter().enumerate().filter_map(reference).collect()
}
