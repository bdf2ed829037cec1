//! How every resource stands at every proxy that uses it, and with that every object: what is counted, brought up to date
//! by what has been touched.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use weft_ir::ResourceKey;
use weft_model::{ObjectRef, WorkloadRef};

use crate::wire::EffectState;

/// The board. A resource stands in one of the states other than [`EffectState::Unused`] at each proxy that uses it.
#[derive(Debug, Default)]
pub(crate) struct Board {
    proxies: BTreeMap<WorkloadRef, BTreeMap<ResourceKey, EffectState>>,
    users: HashMap<ResourceKey, Users>,
    /// How many resources each proxy has in effect.
    effective: BTreeMap<WorkloadRef, u64>,
    objects: HashMap<ObjectRef, Object>,
    counts: BTreeMap<EffectState, u64>,
    /// Grows with every round.
    round: u64,
}

/// The proxies that use a resource.
#[derive(Debug, Default)]
struct Users {
    proxies: BTreeSet<WorkloadRef>,
    states: BTreeMap<EffectState, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Object {
    state: EffectState,
    /// The round in which something about it was judged last.
    round: u64,
}

impl Board {
    /// Begins a round of changes.
    pub(crate) fn begin(&mut self) {
        self.round += 1;
    }

    /// The number of the latest round.
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// Notes how a resource stands at a proxy; `None` where the proxy does not use it.
    pub(crate) fn place(&mut self, workload: &WorkloadRef, key: &ResourceKey, state: Option<EffectState>) {
        let before = match state {
            Some(state) => match self.proxies.get_mut(workload) {
                Some(resources) => resources.insert(key.clone(), state),
                None => {
                    self.proxies.insert(workload.clone(), [(key.clone(), state)].into());
                    None
                }
            },
            None => self.proxies.get_mut(workload).and_then(|resources| resources.remove(key)),
        };
        if before == state {
            return;
        }
        if self.proxies.get(workload).is_some_and(BTreeMap::is_empty) {
            self.proxies.remove(workload);
        }
        let users = self.users.entry(key.clone()).or_default();
        for (state, by) in [(before, -1), (state, 1)] {
            let Some(state) = state else { continue };
            count(&mut users.states, state, by);
            if state == EffectState::InEffect {
                count(&mut self.effective, workload.clone(), by);
            }
        }
        match state {
            Some(_) => _ = users.proxies.insert(workload.clone()),
            None => _ = users.proxies.remove(workload),
        }
        if users.proxies.is_empty() {
            self.users.remove(key);
        }
    }

    /// The proxies that use a resource.
    pub(crate) fn users(&self, key: &ResourceKey) -> impl Iterator<Item = &WorkloadRef> {
        self.users.get(key).into_iter().flat_map(|users| &users.proxies)
    }

    /// The resources that a proxy uses.
    pub(crate) fn used(&self, workload: &WorkloadRef) -> impl Iterator<Item = &ResourceKey> {
        self.proxies.get(workload).into_iter().flat_map(BTreeMap::keys)
    }

    /// How many resources a proxy uses, and how many of them are in effect.
    pub(crate) fn tally(&self, workload: &WorkloadRef) -> (u64, u64) {
        let used = self.proxies.get(workload).map_or(0, |resources| resources.len() as u64);
        (used, self.effective.get(workload).copied().unwrap_or_default())
    }

    /// Whether a proxy uses something, and all that it uses is in effect.
    pub(crate) fn has_all_in_effect(&self, workload: &WorkloadRef) -> bool {
        let (used, effective) = self.tally(workload);
        used > 0 && used == effective
    }

    /// Judges an object by the resources that say something of it; `None` where it is gone.
    pub(crate) fn judge(&mut self, object: &ObjectRef, resources: Option<&[ResourceKey]>) {
        let state = resources.map(|resources| {
            let users = resources.iter().filter_map(|key| self.users.get(key));
            // The worst at any proxy; `Unused` is none of them.
            let worst = users.filter_map(|users| users.states.keys().next_back()).max();
            worst.copied().unwrap_or(EffectState::Unused)
        });
        let now = state.map(|state| Object { state, round: self.round });
        let before = match now {
            Some(now) => self.objects.insert(object.clone(), now),
            None => self.objects.remove(object),
        };
        for (state, by) in [(before.map(|it| it.state), -1), (state, 1)] {
            if let Some(state) = state {
                count(&mut self.counts, state, by);
            }
        }
    }

    /// How many objects there are in each state.
    pub(crate) fn counts(&self) -> &BTreeMap<EffectState, u64> {
        &self.counts
    }

    /// Whether something about an object was judged after a round.
    pub(crate) fn is_newer(&self, object: &ObjectRef, round: u64) -> bool {
        self.objects.get(object).is_none_or(|it| it.round > round)
    }
}

/// Counts one more or one less; what is not there is not kept.
fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K, by: i64) {
    let now = counts.get(&key).copied().unwrap_or_default().saturating_add_signed(by);
    match now {
        0 => _ = counts.remove(&key),
        now => _ = counts.insert(key, now),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weft_ir::ResourceType;
    use weft_model::Kind;

    use super::*;

    fn workload(at: u8) -> WorkloadRef {
        WorkloadRef { namespace: "shop".parse().unwrap(), name: format!("web-{at}").parse().unwrap() }
    }

    fn key(at: u8) -> ResourceKey {
        ResourceKey::new(ResourceType::Cluster, at.to_string().as_str())
    }

    fn object(at: u8) -> ObjectRef {
        let name = format!("object-{at}").parse().unwrap();
        ObjectRef { kind: Kind::Service, namespace: "shop".parse().unwrap(), name }
    }

    fn states() -> impl Strategy<Value = Option<EffectState>> {
        let all = [EffectState::InEffect, EffectState::Awaited, EffectState::RemovalHeld, EffectState::Rejected];
        prop::option::weighted(0.8, prop::sample::select(all.to_vec()))
    }

    proptest! {
        /// Object `n` was made into the resources `n` and `n + 1`.
        #[test]
        fn what_is_counted_step_by_step_is_what_counting_everything_anew_gives(
            steps in prop::collection::vec((0_u8..4, 0_u8..4, states()), 1..80)
        ) {
            let (mut board, mut all) = (Board::default(), BTreeMap::new());
            for (at, of, state) in steps {
                board.begin();
                match state {
                    Some(state) => _ = all.insert((at, of), state),
                    None => _ = all.remove(&(at, of)),
                }
                board.place(&workload(at), &key(of), state);
                for it in 0..4 {
                    board.judge(&object(it), (it != at).then_some(&[key(it), key(it + 1)][..]));
                }
                for it in 0..4 {
                    let used: BTreeSet<_> = all.keys().filter(|(at, _)| *at == it).map(|(_, of)| key(*of)).collect();
                    prop_assert_eq!(board.used(&workload(it)).cloned().collect::<BTreeSet<_>>(), used.clone());
                    let effective = all.iter().filter(|((at, _), state)| *at == it && **state == EffectState::InEffect);
                    prop_assert_eq!(board.tally(&workload(it)), (used.len() as u64, effective.count() as u64));
                    let users: Vec<_> = all.keys().filter(|(_, of)| *of == it).map(|(at, _)| workload(*at)).collect();
                    prop_assert_eq!(board.users(&key(it)).cloned().collect::<Vec<_>>(), users);
                }
                let mut counts: BTreeMap<EffectState, u64> = BTreeMap::new();
                for it in (0..4).filter(|it| *it != at) {
                    let own = all.iter().filter(|((_, of), _)| *of == it || *of == it + 1);
                    *counts.entry(own.map(|(_, state)| *state).max().unwrap_or(EffectState::Unused)).or_default() += 1;
                }
                prop_assert_eq!(board.counts(), &counts);
            }
        }
    }
}
