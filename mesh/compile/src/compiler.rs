//! The compiler: objects in, changed resources out.
use std::{collections::BTreeSet, sync::Arc};

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};
use weft_ir::{Listener, ListenerBody, MeshNames, Resource, ResourceKey, RouteConfiguration};
use weft_model::{Diagnostic, ObjectRef, Stored};

use crate::{
    Work, diagnose, dirty, endpoints, hosts, inbound,
    objects::Objects,
    service,
    unit::{Unit, UnitKind},
};

/// The keys of resources that a batch of changes affected; a key is in at most one of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Added, or of another value than before.
    pub updated: BTreeSet<ResourceKey>,
    /// No longer there.
    pub removed: BTreeSet<ResourceKey>,
    /// The objects of which it was computed anew what is to be said, whether that changed or not.
    pub diagnosed: BTreeSet<ObjectRef>,
}

impl Changed {
    /// Whether no resource changed.
    pub fn is_empty(&self) -> bool {
        self.updated.is_empty() && self.removed.is_empty()
    }
}

/// A set of objects and all that follows from it, kept up to date.
///
/// A clone costs next to nothing, and a change to it what the change touches: all maps are persistent trees, which share
/// what is the same. It is how a change is tried out before it is made.
#[derive(Clone, Debug)]
pub struct Compiler {
    names: MeshNames,
    objects: Objects,
    resources: RedBlackTreeMapSync<ResourceKey, Resource>,
    /// Which resources each unit made.
    made: RedBlackTreeMapSync<Unit, RedBlackTreeSetSync<ResourceKey>>,
    diagnostics: RedBlackTreeMapSync<ObjectRef, Arc<[Diagnostic]>>,
    work: Work,
}

impl Compiler {
    /// A compiler of no objects. The listener and the route configuration `outbound` are there from the start.
    pub fn new(names: MeshNames) -> Self {
        let resources = always_there().into_iter().map(|resource| (resource.key(), resource)).collect();
        Self {
            names,
            objects: Objects::default(),
            resources,
            made: RedBlackTreeMapSync::new_sync(),
            diagnostics: RedBlackTreeMapSync::new_sync(),
            work: Work::default(),
        }
    }

    /// Takes a batch of changes in: `Some` puts an object (under its own reference, whatever the tuple's first part
    /// says), `None` deletes it. What depends on them is computed once, after the last.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = (ObjectRef, Option<Arc<Stored>>)>) -> Changed {
        let mut dirty = BTreeSet::new();
        for (reference, stored) in changes {
            let reference = stored.as_ref().map_or(reference, |stored| stored.object.reference());
            let before = self.objects.stored(&reference).cloned();
            let shift = dirty::Shift::between(before.as_deref(), stored.as_deref());
            dirty::mark(&self.objects, before.as_deref(), &shift, &mut dirty);
            self.objects.set(&reference, stored.clone());
            dirty::mark(&self.objects, stored.as_deref(), &shift, &mut dirty);
        }
        let mut changed = Changed::default();
        for unit in dirty {
            self.recompute(unit, &mut changed);
        }
        changed
    }

    /// The resource of that key.
    pub fn resource(&self, key: &ResourceKey) -> Option<&Resource> {
        self.resources.get(key)
    }

    /// The keys of all resources, ordered by type and name.
    pub fn keys(&self) -> impl Iterator<Item = &ResourceKey> {
        self.resources.keys()
    }

    /// What is to be said of an object as the others stand: references that lead nowhere, fields that lose against
    /// another policy's, what is not supported. Never an error: what was accepted stays in force as far as it goes.
    pub fn diagnostics(&self, object: &ObjectRef) -> &[Diagnostic] {
        self.diagnostics.get(object).map_or(&[], |found| &**found)
    }

    /// What is to be said of all objects, ordered by object; those without a finding are left out.
    pub fn all_diagnostics(&self) -> impl Iterator<Item = (&ObjectRef, &[Diagnostic])> {
        self.diagnostics.iter().map(|(object, found)| (object, &**found))
    }

    /// The object of that reference.
    pub fn stored(&self, object: &ObjectRef) -> Option<&Arc<Stored>> {
        self.objects.stored(object)
    }

    /// All objects, ordered by kind, namespace and name.
    pub fn objects(&self) -> impl Iterator<Item = (&ObjectRef, &Arc<Stored>)> {
        self.objects.all()
    }

    /// The objects that name `object`: a Service's HTTPRoutes (as parent or backend) and policies, an HTTPRoute's
    /// policies. `object` itself need not exist.
    pub fn referrers(&self, object: &ObjectRef) -> impl Iterator<Item = &ObjectRef> {
        self.objects.referrers(object)
    }

    /// The names that are one for the whole mesh.
    pub const fn names(&self) -> &MeshNames {
        &self.names
    }

    /// How much was computed since the compiler was made.
    pub const fn work(&self) -> Work {
        self.work
    }

    fn recompute(&mut self, unit: Unit, changed: &mut Changed) {
        self.work.count(unit.kind);
        let resources = match unit.kind {
            UnitKind::Clusters => service::clusters(&self.names, &self.objects, &unit.object),
            UnitKind::Endpoints => endpoints::endpoints(&self.names, &self.objects, &unit.object),
            UnitKind::Hosts => hosts::hosts(&self.names, &self.objects, &unit.object),
            UnitKind::Inbound => inbound::listener(&self.names, &self.objects, &unit.object).into_iter().collect(),
            UnitKind::Diagnosis => {
                changed.diagnosed.insert(unit.object.clone());
                return self.diagnose(unit.object);
            }
        };
        let mut keys = RedBlackTreeSetSync::new_sync();
        for resource in resources {
            let key = resource.key();
            if self.resources.get(&key) != Some(&resource) {
                self.resources.insert_mut(key.clone(), resource);
                changed.updated.insert(key.clone());
            }
            keys.insert_mut(key);
        }
        for key in self.made.get(&unit).into_iter().flat_map(RedBlackTreeSetSync::iter) {
            if !keys.contains(key) {
                self.resources.remove_mut(key);
                changed.removed.insert(key.clone());
            }
        }
        if keys.is_empty() {
            self.made.remove_mut(&unit);
        } else {
            self.made.insert_mut(unit, keys);
        }
    }

    fn diagnose(&mut self, object: ObjectRef) {
        let found = self.objects.stored(&object).map(|stored| diagnose::diagnose(&self.names, &self.objects, stored));
        match found {
            Some(found) if !found.is_empty() => self.diagnostics.insert_mut(object, found.into()),
            Some(_) | None => _ = self.diagnostics.remove_mut(&object),
        }
    }
}

fn always_there() -> [Resource; 2] {
    let name = Listener::OUTBOUND.to_owned();
    let body = ListenerBody::OutboundHttp { route_configuration: name.clone() };
    [
        Resource::Listener(Arc::new(Listener { name: name.clone(), body, origins: Vec::new() })),
        Resource::RouteConfiguration(Arc::new(RouteConfiguration { name })),
    ]
}
