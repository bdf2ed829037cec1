//! What the mesh is now: the compiler, fed by the store and by registrations, and the encoded resources.
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::watch, time::Instant};
use weft_compile::Compiler;
use weft_ir::{Dialect, Feature, MeshNames, Resource, ResourceKey, View};
use weft_model::{ObjectRef, Revision, Stored};
use weft_xds::{Encoded, Version, encode};

use crate::{
    effect::{Made, Touched},
    wakes::Wakes,
};

/// The state that all streams of one control plane serve from.
#[derive(Debug)]
pub(crate) struct MeshState {
    view: View,
    inner: Mutex<Inner>,
    wakes: Arc<Wakes>,
    touched: Arc<Touched>,
    revision: watch::Sender<Revision>,
    pulse: watch::Sender<()>,
}

/// A resource as it is now.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    /// `None` where it is gone.
    pub(crate) version: Option<Version>,
    /// Since when; `None` where it has not changed since this control plane started.
    pub(crate) changed: Option<Instant>,
    /// What a reader must know.
    pub(crate) needs: BTreeSet<Feature>,
}

#[derive(Debug)]
struct Inner {
    compiler: Compiler,
    /// Which object made what.
    made: Made,
    /// Encoded on first use, shared by all subscribers, dropped when the resource changes.
    encoded: HashMap<ResourceKey, Arc<Encoded>>,
}

/// A change of one object; `None` deletes.
pub(crate) type ObjectChange = (ObjectRef, Option<Arc<Stored>>);

impl MeshState {
    /// The state of a mesh with these objects at this revision.
    pub(crate) fn new(names: MeshNames, revision: Revision, objects: impl IntoIterator<Item = ObjectChange>) -> Self {
        let mut compiler = Compiler::new(names);
        compiler.apply(objects);
        let made = Made::of(&compiler);
        let touched = Arc::<Touched>::default();
        touched.objects(compiler.objects().map(|(object, _)| object));
        Self {
            view: View { dialect: Dialect::Weft },
            inner: Mutex::new(Inner { compiler, made, encoded: HashMap::new() }),
            wakes: Arc::default(),
            touched,
            revision: watch::Sender::new(revision),
            pulse: watch::Sender::new(()),
        }
    }

    /// Wakes who waits for objects to come into effect, or watches them: something may be other than before.
    pub(crate) fn beat(&self) {
        self.pulse.send_replace(());
    }

    /// What [`beat`](Self::beat) wakes.
    pub(crate) fn pulse(&self) -> watch::Receiver<()> {
        self.pulse.subscribe()
    }

    /// The keys of the resources that say something of each of these objects.
    pub(crate) fn made_by(&self, objects: &[ObjectRef]) -> Vec<Vec<ResourceKey>> {
        let inner = self.inner();
        objects.iter().map(|object| inner.made.keys(object).cloned().collect()).collect()
    }

    /// The same for objects that there are; `None` for others.
    pub(crate) fn made_by_stored(&self, objects: &[ObjectRef]) -> Vec<Option<Vec<ResourceKey>>> {
        let inner = self.inner();
        let made = objects
            .iter()
            .map(|object| inner.compiler.stored(object).map(|_| inner.made.keys(object).cloned().collect()));
        made.collect()
    }

    /// The objects that these resources say something of.
    pub(crate) fn makers<'a>(&self, keys: impl IntoIterator<Item = &'a ResourceKey>) -> BTreeSet<ObjectRef> {
        let inner = self.inner();
        keys.into_iter().flat_map(|key| inner.made.objects(key)).cloned().collect()
    }

    /// These resources as they are now.
    pub(crate) fn current<'a>(&self, keys: impl IntoIterator<Item = &'a ResourceKey>) -> HashMap<ResourceKey, Current> {
        let mut inner = self.inner();
        let current = keys.into_iter().map(|key| {
            let version = inner.encoded(key, &self.view).map(|encoded| encoded.version.clone());
            let needs = inner.compiler.resource(key).map(Resource::needs).unwrap_or_default();
            (key.clone(), Current { version, changed: inner.made.changed(key), needs })
        });
        current.collect()
    }

    /// Takes in what the store says at a revision, and tells the streams of the resources that concern them.
    pub(crate) fn apply(&self, changes: impl IntoIterator<Item = ObjectChange>, revision: Revision) {
        self.apply_locked(self.inner(), changes, Some(revision));
    }

    fn apply_locked(
        &self,
        mut inner: MutexGuard<'_, Inner>,
        changes: impl IntoIterator<Item = ObjectChange>,
        revision: Option<Revision>,
    ) {
        let changes: Vec<_> = changes.into_iter().collect();
        let objects: Vec<_> = changes.iter().map(|(object, _)| object.clone()).collect();
        let changed = inner.compiler.apply(changes);
        let keys: Vec<_> = changed.updated.into_iter().chain(changed.removed).collect();
        for key in &keys {
            inner.encoded.remove(key);
        }
        let Inner { compiler, made, .. } = &mut *inner;
        made.update(compiler, &objects, &keys, Instant::now());
        let concerned = keys.iter().flat_map(|key| made.objects(key));
        self.touched.objects(objects.iter().chain(concerned));
        self.touched.resources(&keys);
        self.beat();
        if let Some(revision) = revision {
            self.revision.send_replace(revision);
        }
        if !keys.is_empty() {
            self.wakes.tell(&keys);
        }
    }

    /// Takes in what registrations say. An object that somebody wrote is left alone: it came in between.
    pub(crate) fn apply_soft(&self, changes: impl IntoIterator<Item = ObjectChange>) {
        let inner = self.inner();
        let free = |object: &ObjectRef| {
            inner.compiler.stored(object).is_none_or(|stored| stored.owner == crate::registry::owner())
        };
        let changes: Vec<_> = changes.into_iter().filter(|(object, _)| free(object)).collect();
        self.apply_locked(inner, changes, None);
    }

    /// The resource of that key, encoded. What a stream finds is at least as new as the changes that it was told.
    pub(crate) fn encoded(&self, key: &ResourceKey) -> Option<Arc<Encoded>> {
        self.inner().encoded(key, &self.view)
    }

    /// Looks at the compiler. The lock is held meanwhile: what takes long works on a clone.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Compiler) -> T) -> T {
        look(&self.inner().compiler)
    }

    /// What tells streams of changes.
    pub(crate) fn wakes(&self) -> &Arc<Wakes> {
        &self.wakes
    }

    /// What is to be judged again before a status is told.
    pub(crate) fn touched(&self) -> &Arc<Touched> {
        &self.touched
    }

    /// The store's revision that everything here is at.
    pub(crate) fn revision(&self) -> Revision {
        self.revision.borrow().clone()
    }

    /// The revision as it changes.
    pub(crate) fn revisions(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }

    /// What resources are encoded for.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// The state is whole between statements, so a panic elsewhere does not spoil it.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn encoded(&mut self, key: &ResourceKey, view: &View) -> Option<Arc<Encoded>> {
        if let Some(encoded) = self.encoded.get(key) {
            return Some(encoded.clone());
        }
        let encoded = Arc::new(encode(self.compiler.resource(key)?, view));
        self.encoded.insert(key.clone(), encoded.clone());
        Some(encoded)
    }
}

#[cfg(test)]
mod tests {
    use weft_ir::ResourceType;
    use weft_model::{Object, Owner, decode::decode};

    use super::*;

    fn stored(owner: Owner, port: u16) -> Stored {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  ports: [{{name: http, port: {port}}}]\n"
        );
        let object: Object = decode("test", &text).objects.remove(0).0;
        Stored { object, owner, created: 1, modified: 1, source: None }
    }

    #[test]
    fn a_written_object_is_left_alone_by_what_is_soft() {
        let revision: Revision = "e/all=0".parse().unwrap();
        let state = MeshState::new(crate::default_names(), revision.clone(), []);
        let written = stored(Owner::api(), 80);
        let object = written.object.reference();
        state.apply([(object.clone(), Some(Arc::new(written.clone())))], revision);
        let _seen = state.touched().take();

        let soft = stored(crate::registry::owner(), 81);
        state.apply_soft([(object.clone(), Some(Arc::new(soft)))]);
        state.apply_soft([(object.clone(), None)]);
        assert_eq!(state.look(|compiler| compiler.stored(&object).cloned()).as_deref(), Some(&written));
        assert!(state.touched().take().is_empty(), "nothing changed, and it is judged again");
    }

    #[test]
    fn a_resource_is_encoded_once_until_it_changes() {
        let revision: Revision = "e/all=0".parse().unwrap();
        let state = MeshState::new(crate::default_names(), revision.clone(), []);
        let put = |port| {
            let stored = stored(Owner::api(), port);
            state.apply([(stored.object.reference(), Some(Arc::new(stored)))], revision.clone());
        };
        put(80);
        let key = state
            .look(|compiler| compiler.keys().find(|key| key.resource_type == ResourceType::Cluster).cloned().unwrap());
        let (first, second) = (state.encoded(&key).unwrap(), state.encoded(&key).unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        put(81);
        assert_eq!(state.encoded(&key), None);
    }
}
