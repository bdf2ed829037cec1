//! From a key to the objects that stand under it.
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use weft_model::ObjectRef;

/// A map from a key to a set of objects; a key without objects is not kept.
#[derive(Clone, Debug)]
pub(crate) struct Index<K>(BTreeMap<K, BTreeSet<ObjectRef>>);

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Index<K> {
    /// Has `object` stand under `key`, or not.
    pub(crate) fn set(&mut self, key: K, object: &ObjectRef, present: bool) {
        let mut set = match self.0.entry(key) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(_) if !present => return,
            Entry::Vacant(entry) => entry.insert_entry(BTreeSet::new()),
        };
        if present {
            set.get_mut().insert(object.clone());
        } else {
            set.get_mut().remove(object);
            if set.get().is_empty() {
                set.remove();
            }
        }
    }

    /// The objects under `key`, ordered.
    pub(crate) fn of<'a>(&'a self, key: &K) -> impl Iterator<Item = &'a ObjectRef> + use<'a, K> {
        self.0.get(key).into_iter().flatten()
    }

    /// How many objects stand under `key`.
    pub(crate) fn count(&self, key: &K) -> usize {
        self.0.get(key).map_or(0, BTreeSet::len)
    }
}
