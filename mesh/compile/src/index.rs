//! From a key to the objects that stand under it.
use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};
use weft_model::ObjectRef;

/// A map from a key to a set of objects; a key without objects is not kept.
#[derive(Clone, Debug)]
pub(crate) struct Index<K: Ord>(RedBlackTreeMapSync<K, RedBlackTreeSetSync<ObjectRef>>);

impl<K: Ord> Default for Index<K> {
    fn default() -> Self {
        Self(RedBlackTreeMapSync::new_sync())
    }
}

impl<K: Ord + Clone> Index<K> {
    /// Has `object` stand under `key`, or not.
    pub(crate) fn set(&mut self, key: K, object: &ObjectRef, present: bool) {
        match (self.0.get_mut(&key), present) {
            (Some(set), true) => set.insert_mut(object.clone()),
            (Some(set), false) => {
                set.remove_mut(object);
                if set.is_empty() {
                    self.0.remove_mut(&key);
                }
            }
            (None, true) => {
                let mut set = RedBlackTreeSetSync::new_sync();
                set.insert_mut(object.clone());
                self.0.insert_mut(key, set);
            }
            (None, false) => {}
        }
    }

    /// The objects under `key`, ordered.
    pub(crate) fn of<'a>(&'a self, key: &K) -> impl Iterator<Item = &'a ObjectRef> + use<'a, K> {
        self.0.get(key).into_iter().flat_map(RedBlackTreeSetSync::iter)
    }

    /// How many objects stand under `key`.
    pub(crate) fn count(&self, key: &K) -> usize {
        self.0.get(key).map_or(0, RedBlackTreeSetSync::size)
    }
}
