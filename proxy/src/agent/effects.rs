//! What becomes true of the configuration when every worker decides from a snapshot: no sooner does a receipt say so.
use std::collections::VecDeque;

use weft_ir::{Resource, ResourceKey};
use weft_xds::{Rejection, Version};

/// One change of the configuration in force.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// A resource is in effect.
    Put(Version, Resource),
    /// A resource is gone.
    Remove(ResourceKey),
    /// A resource is not subscribed to any more.
    Forget(ResourceKey),
    /// A resource was rejected; what was in effect stays. It waits like the others, so that the last word on a resource
    /// is the last.
    Reject(Rejection),
}

/// Changes that wait for workers, in order.
#[derive(Debug, Default)]
pub(super) struct Effects {
    waiting: VecDeque<(u64, Effect)>,
}

impl Effects {
    /// Adds what is true once every worker decides from the snapshot of that number, or a later one.
    pub(super) fn add(&mut self, number: u64, effects: impl IntoIterator<Item = Effect>) {
        self.waiting.extend(effects.into_iter().map(|effect| (number, effect)));
    }

    /// The resource that waits last under a key.
    pub(super) fn waiting(&self, key: &ResourceKey) -> Option<&Resource> {
        self.waiting.iter().rev().find_map(|(_, effect)| match effect {
            Effect::Put(_, resource) if resource.key() == *key => Some(resource),
            _ => None,
        })
    }

    /// What is true now that every worker has come that far, in the order in which it was added.
    pub(super) fn due(&mut self, in_effect: u64) -> Vec<Effect> {
        let due = self.waiting.iter().take_while(|(number, _)| *number <= in_effect).count();
        self.waiting.drain(..due).map(|(_, effect)| effect).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weft_ir::ResourceType;

    use super::*;

    fn removed(at: usize) -> Effect {
        Effect::Remove(ResourceKey::new(ResourceType::Cluster, format!("local/shop/s{at}:80")))
    }

    proptest! {
        /// Snapshots are numbered as they are published, so the numbers that are added never fall.
        #[test]
        fn nothing_is_due_before_its_snapshot_and_everything_is_due_once_in_order(
            steps in prop::collection::vec((0_u64..3, 0_u64..4), 1..40)
        ) {
            let (mut effects, mut number, mut reached) = (Effects::default(), 0, 0);
            let (mut added, mut seen) = (Vec::new(), Vec::new());
            for (publish, take) in steps {
                number += publish;
                effects.add(number, [removed(added.len())]);
                added.push(number);
                reached = number.min(reached + take);
                seen.extend(effects.due(reached));
                prop_assert!(added.iter().take(seen.len()).all(|number| *number <= reached));
                prop_assert!(added.iter().skip(seen.len()).all(|number| *number > reached));
                prop_assert_eq!(effects.waiting.len(), added.len() - seen.len());
            }
            for (at, effect) in seen.iter().enumerate() {
                let Effect::Remove(key) = effect else { panic!() };
                prop_assert_eq!(key.name.to_string(), format!("local/shop/s{at}:80"));
            }
        }
    }
}
