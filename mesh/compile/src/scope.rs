//! What a policy's target covers.
use weft_model::{Kind, Meta, Name, Namespace, ObjectRef, PolicyTarget, TargetKind};

/// What a target covers, ordered from the least to the most specific.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Everything.
    Mesh,
    /// Everything in a namespace.
    Namespace(Namespace),
    /// One Service.
    Service(ObjectRef),
    /// One route.
    Route(ObjectRef),
    /// One rule of a route, by its name.
    Rule(ObjectRef, Name),
}

impl Scope {
    /// What `target` of the policy `meta` covers.
    ///
    /// `None` where a policy must not reach: another namespace than its own (policies of one tenant do not change
    /// another's), the mesh from outside `weft-system`, a section of something that has none.
    pub fn of(meta: &Meta, target: &PolicyTarget) -> Option<Self> {
        let foreign = target.namespace.as_ref().is_some_and(|namespace| *namespace != meta.namespace);
        let here = |kind| ObjectRef { kind, namespace: meta.namespace.clone(), name: target.name.clone() };
        match (target.kind, &target.section) {
            (TargetKind::Mesh, None) => (meta.namespace == Namespace::system()).then_some(Self::Mesh),
            _ if foreign => None,
            (TargetKind::Namespace, None) => {
                let own = target.name.as_str() == meta.namespace.as_str();
                own.then(|| Self::Namespace(meta.namespace.clone()))
            }
            (TargetKind::Service, None) => Some(Self::Service(here(Kind::Service))),
            (TargetKind::HttpRoute, None) => Some(Self::Route(here(Kind::HttpRoute))),
            (TargetKind::GrpcRoute, None) => Some(Self::Route(here(Kind::GrpcRoute))),
            (TargetKind::HttpRoute, Some(section)) => Some(Self::Rule(here(Kind::HttpRoute), section.clone())),
            (TargetKind::GrpcRoute, Some(section)) => Some(Self::Rule(here(Kind::GrpcRoute), section.clone())),
            (TargetKind::Mesh | TargetKind::Namespace | TargetKind::Service, Some(_)) => None,
        }
    }
}
