//! Which TrafficPolicy wins, field by field.
use weft_model::{Kind, ObjectRef, TrafficPolicy};

use crate::{Scope, objects::Objects};

/// The value of a field and the policy that it comes from, by scopes from the most to the least specific; within one
/// scope the oldest policy wins, then the first by name.
pub(crate) fn winner<T>(
    objects: &Objects,
    scopes: impl IntoIterator<Item = Scope>,
    field: impl Fn(&TrafficPolicy) -> Option<T>,
) -> Option<(T, &ObjectRef)> {
    scopes.into_iter().find_map(|scope| oldest(objects, scope, &field))
}

/// The value of a field within one scope, and the policy that it comes from.
pub(crate) fn oldest<T>(
    objects: &Objects,
    scope: Scope,
    field: impl Fn(&TrafficPolicy) -> Option<T>,
) -> Option<(T, &ObjectRef)> {
    objects
        .policies(Kind::TrafficPolicy, scope)
        .filter_map(|reference| {
            let value = field(objects.traffic_policy(reference)?)?;
            Some((objects.stored(reference)?.created, reference, value))
        })
        .min_by_key(|(created, reference, _)| (*created, *reference))
        .map(|(_, reference, value)| (value, reference))
}

/// The scopes that cover a Service, the most specific first.
pub(crate) fn of_service(service: &ObjectRef) -> [Scope; 3] {
    [Scope::Service(service.clone()), Scope::Namespace(service.namespace.clone()), Scope::Mesh]
}
