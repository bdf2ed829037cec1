//! What the mesh is now: the compiler, fed by the store and by registrations, and the encoded resources.
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{broadcast, watch};
use weft_compile::Compiler;
use weft_ir::{Dialect, MeshNames, ResourceKey, View};
use weft_model::{ObjectRef, Revision, Stored};
use weft_xds::{Encoded, encode};

/// How many batches of changed keys wait for a slow stream; one that misses any looks at everything again.
const BATCHES: usize = 1024;

/// The state that all streams of one control plane serve from.
#[derive(Debug)]
pub(crate) struct MeshState {
    view: View,
    inner: Mutex<Inner>,
    changes: broadcast::Sender<Arc<ChangedKeys>>,
    /// The number of the last batch of changed keys.
    sequence: AtomicU64,
    revision: watch::Sender<Revision>,
}

#[derive(Debug)]
struct Inner {
    compiler: Compiler,
    /// Encoded on first use, shared by all subscribers, dropped when the resource changes.
    encoded: HashMap<ResourceKey, Arc<Encoded>>,
}

/// The keys of resources that changed together.
#[derive(Debug)]
pub(crate) struct ChangedKeys {
    pub(crate) sequence: u64,
    pub(crate) keys: Vec<ResourceKey>,
}

/// A change of one object; `None` deletes.
pub(crate) type ObjectChange = (ObjectRef, Option<Arc<Stored>>);

impl MeshState {
    /// The state of a mesh with these objects at this revision.
    pub(crate) fn new(names: MeshNames, revision: Revision, objects: impl IntoIterator<Item = ObjectChange>) -> Self {
        let mut compiler = Compiler::new(names);
        compiler.apply(objects);
        Self {
            view: View { dialect: Dialect::Weft },
            inner: Mutex::new(Inner { compiler, encoded: HashMap::new() }),
            changes: broadcast::Sender::new(BATCHES),
            sequence: AtomicU64::new(0),
            revision: watch::Sender::new(revision),
        }
    }

    /// Takes changes in and tells every stream which resources are affected. `revision` is the store's where the
    /// changes come from it; registrations have none.
    pub(crate) fn apply(&self, changes: impl IntoIterator<Item = ObjectChange>, revision: Option<Revision>) {
        let mut inner = self.inner();
        let changed = inner.compiler.apply(changes);
        let keys: Vec<_> = changed.updated.into_iter().chain(changed.removed).collect();
        for key in &keys {
            inner.encoded.remove(key);
        }
        if let Some(revision) = revision {
            self.revision.send_replace(revision);
        }
        if !keys.is_empty() {
            // Inside the lock: the order of the batches is the order of the changes.
            let sequence = self.sequence.fetch_add(1, Ordering::AcqRel) + 1;
            // An error means that no stream is open.
            let _streams = self.changes.send(Arc::new(ChangedKeys { sequence, keys }));
        }
    }

    /// The resource of that key, encoded. What a stream finds is at least as new as the changes that it was told.
    pub(crate) fn encoded(&self, key: &ResourceKey) -> Option<Arc<Encoded>> {
        let mut inner = self.inner();
        let Inner { compiler, encoded } = &mut *inner;
        if let Some(encoded) = encoded.get(key) {
            return Some(encoded.clone());
        }
        let made = Arc::new(encode(compiler.resource(key)?, &self.view));
        encoded.insert(key.clone(), made.clone());
        Some(made)
    }

    /// Looks at the compiler. The lock is held meanwhile: what takes long works on a clone.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Compiler) -> T) -> T {
        look(&self.inner().compiler)
    }

    /// The batches of changed keys from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<ChangedKeys>> {
        self.changes.subscribe()
    }

    /// The number of the last batch of changed keys.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Acquire)
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
