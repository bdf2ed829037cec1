//! What may stand otherwise than when it was last judged. Noted where it happens, judged when somebody asks.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use weft_ir::ResourceKey;
use weft_model::{ObjectRef, WorkloadRef};

/// What is to be judged again.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// Proxies that came, went, or told all that they hold anew.
    pub(crate) proxies: BTreeSet<WorkloadRef>,
    /// What single proxies have said of, or asked for.
    pub(crate) said: BTreeMap<WorkloadRef, BTreeSet<ResourceKey>>,
    /// Resources that changed, at all proxies.
    pub(crate) resources: BTreeSet<ResourceKey>,
    /// Objects that changed, or whose resources did.
    pub(crate) objects: BTreeSet<ObjectRef>,
}

impl Due {
    /// Whether nothing is.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { proxies, said, resources, objects } = self;
        proxies.is_empty() && said.is_empty() && resources.is_empty() && objects.is_empty()
    }
}

/// Collects what is to be judged again. Its lock is held for single statements and taken last of all.
#[derive(Debug, Default)]
pub(crate) struct Touched(Mutex<Due>);

impl Touched {
    /// A proxy as a whole.
    pub(crate) fn proxy(&self, workload: &WorkloadRef) {
        let mut due = self.due();
        due.said.remove(workload);
        due.proxies.insert(workload.clone());
    }

    /// One resource at one proxy.
    pub(crate) fn said(&self, workload: &WorkloadRef, key: &ResourceKey) {
        let mut due = self.due();
        if due.proxies.contains(workload) {
            return;
        }
        match due.said.get_mut(workload) {
            Some(keys) => _ = keys.insert(key.clone()),
            None => _ = due.said.insert(workload.clone(), [key.clone()].into()),
        }
    }

    /// Resources, wherever they are used.
    pub(crate) fn resources(&self, keys: &[ResourceKey]) {
        self.due().resources.extend(keys.iter().cloned());
    }

    /// Objects.
    pub(crate) fn objects<'a>(&self, objects: impl IntoIterator<Item = &'a ObjectRef>) {
        self.due().objects.extend(objects.into_iter().cloned());
    }

    /// Everything so far.
    pub(crate) fn take(&self) -> Due {
        std::mem::take(&mut *self.due())
    }

    /// What is kept is whole between statements, so a panic elsewhere does not spoil it.
    fn due(&self) -> MutexGuard<'_, Due> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
