//! Which resources each object made, and when they changed last.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio::time::Instant;
use weft_compile::Compiler;
use weft_ir::{Resource, ResourceKey};
use weft_model::{Kind, ObjectRef};

/// How many resources that an object no longer makes are remembered: those that changed when it left them.
const FORMER: usize = 64;

/// An index from objects to resources, kept up to date with the compiler.
#[derive(Debug, Default)]
pub(crate) struct Made {
    by_object: BTreeMap<ObjectRef, BTreeSet<ResourceKey>>,
    origins: HashMap<ResourceKey, Vec<ObjectRef>>,
    former: BTreeMap<ObjectRef, Vec<ResourceKey>>,
    changed: HashMap<ResourceKey, Instant>,
}

impl Made {
    /// An index of everything that a compiler holds.
    pub(crate) fn of(compiler: &Compiler) -> Self {
        let mut made = Self::default();
        for key in compiler.keys() {
            made.link(compiler, key);
        }
        made
    }

    /// Takes in that these resources have changed, or are gone.
    pub(crate) fn update<'a>(
        &mut self,
        compiler: &Compiler,
        keys: impl IntoIterator<Item = &'a ResourceKey>,
        now: Instant,
    ) {
        for key in keys {
            let before = self.origins.remove(key).unwrap_or_default();
            for object in &before {
                if let Some(made) = self.by_object.get_mut(object) {
                    made.remove(key);
                }
            }
            self.link(compiler, key);
            self.changed.insert(key.clone(), now);
            for object in before {
                self.leave(compiler, object, key);
            }
        }
    }

    /// The resources that say something of an object: those that it makes, and those that it no longer makes since they
    /// changed.
    pub(crate) fn keys(&self, object: &ObjectRef) -> impl Iterator<Item = &ResourceKey> {
        let former = self.former.get(object).into_iter().flatten();
        self.by_object.get(object).into_iter().flatten().chain(former)
    }

    /// Since when a resource is as it is, or gone; `None` where it has not changed since this was made.
    pub(crate) fn changed(&self, key: &ResourceKey) -> Option<Instant> {
        self.changed.get(key).copied()
    }

    fn link(&mut self, compiler: &Compiler, key: &ResourceKey) {
        let Some(resource) = compiler.resource(key) else { return };
        let origins = origins(resource);
        for object in &origins {
            self.by_object.entry(object.clone()).or_default().insert(key.clone());
            if let Some(former) = self.former.get_mut(object) {
                former.retain(|other| other != key);
            }
        }
        if !origins.is_empty() {
            self.origins.insert(key.clone(), origins);
        }
    }

    /// An object had made this resource, which has changed.
    fn leave(&mut self, compiler: &Compiler, object: ObjectRef, key: &ResourceKey) {
        if compiler.stored(&object).is_none() {
            let left = self.former.remove(&object).unwrap_or_default();
            for key in left.iter().chain([key]).filter(|key| compiler.resource(key).is_none()) {
                self.changed.remove(key);
            }
            if self.by_object.get(&object).is_some_and(BTreeSet::is_empty) {
                self.by_object.remove(&object);
            }
        } else if !self.by_object.get(&object).is_some_and(|made| made.contains(key)) {
            let former = self.former.entry(object).or_default();
            former.push(key.clone());
            if former.len() > FORMER {
                former.remove(0);
            }
        }
    }
}

/// The objects that a resource was made from. Endpoints name their Service alone: the workloads among them are found by
/// looking, because they come and go.
fn origins(resource: &Resource) -> Vec<ObjectRef> {
    match resource {
        Resource::Cluster(it) => it.origins.clone(),
        Resource::Listener(it) => it.origins.clone(),
        Resource::VirtualHost(it) => it.origins.clone(),
        Resource::RouteConfiguration(_) => Vec::new(),
        Resource::Endpoints(it) => {
            vec![ObjectRef { kind: Kind::Service, namespace: it.name.namespace.clone(), name: it.name.service.clone() }]
        }
    }
}
