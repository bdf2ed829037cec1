//! Which TrafficPolicy wins, field by field.
use std::collections::BTreeSet;

use weft_model::{Kind, ObjectRef, TrafficPolicy};

use crate::{Scope, objects::Objects};

/// The policies that cover something, the winner first: by scopes from the most to the least specific; within one scope
/// the oldest, then the first by name.
pub(crate) struct Covering<'a>(Vec<(&'a TrafficPolicy, &'a ObjectRef)>);

impl<'a> Covering<'a> {
    /// `scopes` is ordered, the most specific first.
    pub(crate) fn of(objects: &'a Objects, scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self(scopes.into_iter().flat_map(|scope| by_age(objects, scope)).collect())
    }

    /// The value of a field; the policy that it comes from joins `origins`.
    pub(crate) fn field<T>(
        &self,
        origins: &mut BTreeSet<ObjectRef>,
        field: impl Fn(&TrafficPolicy) -> Option<T>,
    ) -> Option<T> {
        let (value, policy) = self.0.iter().find_map(|(policy, reference)| Some((field(policy)?, *reference)))?;
        if !origins.contains(policy) {
            origins.insert(policy.clone());
        }
        Some(value)
    }

    /// Whether a block is on: the most specific policy that writes it decides, and turns it on unless it says otherwise.
    pub(crate) fn is_on<B>(
        &self,
        origins: &mut BTreeSet<ObjectRef>,
        block: impl Fn(&TrafficPolicy) -> Option<&B>,
        enabled: impl Fn(&B) -> Option<bool>,
    ) -> bool {
        self.field(origins, |policy| block(policy).map(|block| enabled(block).unwrap_or(true))).unwrap_or(false)
    }
}

/// The oldest policy of exactly that scope that `writes` something.
pub(crate) fn oldest(objects: &Objects, scope: Scope, writes: impl Fn(&TrafficPolicy) -> bool) -> Option<&ObjectRef> {
    by_age(objects, scope).into_iter().find(|(policy, _)| writes(policy)).map(|(_, reference)| reference)
}

fn by_age(objects: &Objects, scope: Scope) -> Vec<(&TrafficPolicy, &ObjectRef)> {
    let mut policies: Vec<_> = objects
        .policies(Kind::TrafficPolicy, scope)
        .filter_map(|reference| {
            Some((objects.stored(reference)?.created, reference, objects.traffic_policy(reference)?))
        })
        .collect();
    policies.sort_by_key(|(created, reference, _)| (*created, *reference));
    policies.into_iter().map(|(_, reference, policy)| (policy, reference)).collect()
}

/// The scopes that cover a Service, the most specific first.
pub(crate) fn of_service(service: &ObjectRef) -> [Scope; 3] {
    [Scope::Service(service.clone()), Scope::Namespace(service.namespace.clone()), Scope::Mesh]
}
