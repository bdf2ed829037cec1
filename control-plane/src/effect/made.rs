//! Which resources each object made, which objects each resource was made of, and when it changed last.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio::time::Instant;
use weft_compile::Compiler;
use weft_ir::{Endpoint, Resource, ResourceKey};
use weft_model::{Kind, ObjectRef, WorkloadRef};

/// How many resources that an object no longer makes are remembered: those that changed when it left them.
const FORMER: usize = 64;

/// An index from objects to resources and back, kept up to date with the compiler.
#[derive(Debug, Default)]
pub(crate) struct Made {
    by_object: BTreeMap<ObjectRef, BTreeSet<ResourceKey>>,
    /// Of which objects each resource was made.
    origins: HashMap<ResourceKey, BTreeSet<ObjectRef>>,
    former: BTreeMap<ObjectRef, Vec<ResourceKey>>,
    /// Which objects were once in what a resource was made of.
    former_origins: HashMap<ResourceKey, BTreeSet<ObjectRef>>,
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

    /// Takes in that these objects were put or deleted, and that these resources have changed, or are gone, with it.
    pub(crate) fn update<'a>(
        &mut self,
        compiler: &Compiler,
        objects: &[ObjectRef],
        keys: impl IntoIterator<Item = &'a ResourceKey>,
        now: Instant,
    ) {
        let mut gone = false;
        for key in keys {
            gone |= compiler.resource(key).is_none();
            let left = self.link(compiler, key);
            self.changed.insert(key.clone(), now);
            for object in left.into_iter().filter(|object| compiler.stored(object).is_some()) {
                self.leave(object, key);
            }
        }
        for object in objects.iter().filter(|object| compiler.stored(object).is_none()) {
            for key in self.by_object.remove(object).unwrap_or_default() {
                if let Some(origins) = self.origins.get_mut(&key) {
                    origins.remove(object);
                }
            }
            for key in self.former.remove(object).unwrap_or_default() {
                gone = true;
                self.forget_former(object, &key);
            }
        }
        if gone {
            // What is gone and of no object's concern any more is not remembered.
            let Self { changed, former_origins, .. } = self;
            changed.retain(|key, _| compiler.resource(key).is_some() || former_origins.contains_key(key));
        }
    }

    /// The objects that a resource says something of: those that it is made of, and those that it was made of before it
    /// changed.
    pub(crate) fn objects(&self, key: &ResourceKey) -> impl Iterator<Item = &ObjectRef> {
        let former = self.former_origins.get(key).into_iter().flatten();
        self.origins.get(key).into_iter().flatten().chain(former)
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

    /// Notes what a resource is made of now. Returns what it is no longer made of.
    fn link(&mut self, compiler: &Compiler, key: &ResourceKey) -> Vec<ObjectRef> {
        let now: BTreeSet<_> = compiler.resource(key).map(origins).into_iter().flatten().collect();
        let before = self.origins.remove(key).unwrap_or_default();
        for object in now.difference(&before) {
            self.by_object.entry(object.clone()).or_default().insert(key.clone());
            if let Some(former) = self.former.get_mut(object) {
                former.retain(|other| other != key);
            }
            self.forget_former(object, key);
        }
        let left: Vec<_> = before.difference(&now).cloned().collect();
        for object in &left {
            if let Some(made) = self.by_object.get_mut(object) {
                made.remove(key);
            }
        }
        if !now.is_empty() {
            self.origins.insert(key.clone(), now);
        }
        left
    }

    /// An object had made this resource, which has changed.
    fn leave(&mut self, object: ObjectRef, key: &ResourceKey) {
        self.former_origins.entry(key.clone()).or_default().insert(object.clone());
        let former = self.former.entry(object.clone()).or_default();
        former.push(key.clone());
        if former.len() > FORMER {
            let oldest = former.remove(0);
            self.forget_former(&object, &oldest);
        }
    }

    fn forget_former(&mut self, object: &ObjectRef, key: &ResourceKey) {
        if let Some(objects) = self.former_origins.get_mut(key) {
            objects.remove(object);
            if objects.is_empty() {
                self.former_origins.remove(key);
            }
        }
    }
}

/// The objects that a resource was made of: of endpoints, their Service and the workloads among them.
fn origins(resource: &Resource) -> Vec<ObjectRef> {
    match resource {
        Resource::Cluster(it) => it.origins.clone(),
        Resource::Listener(it) => it.origins.clone(),
        Resource::VirtualHost(it) => it.origins.clone(),
        Resource::RouteConfiguration(_) => Vec::new(),
        Resource::Endpoints(it) => {
            let service = it.name.port().map(|port| {
                let (namespace, name) = (port.namespace.clone(), port.service.clone());
                ObjectRef { kind: Kind::Service, namespace, name }
            });
            let instances = it.endpoints.iter().filter_map(Endpoint::instance);
            let workloads = instances.map(|instance| {
                let WorkloadRef { namespace, name } = instance.workload.clone();
                ObjectRef { kind: Kind::Workload, namespace, name }
            });
            service.into_iter().chain(workloads).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use weft_model::{Owner, Stored, decode::decode};

    use super::*;

    const SERVICES: [&str; 3] = ["a", "b", "c"];

    fn stored(text: &str) -> (ObjectRef, Option<Arc<Stored>>) {
        let decoded = decode("test", text);
        assert!(!decoded.has_errors(), "{:?}", decoded.diagnostics);
        let object = decoded.objects.into_iter().next().unwrap().0;
        let stored = Stored { object, owner: Owner::api(), created: 1, modified: 1, source: None };
        (stored.object.reference(), Some(Arc::new(stored)))
    }

    fn service(name: &str) -> (ObjectRef, Option<Arc<Stored>>) {
        stored(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{selector: {{app: {name}}}, \
             ports: [{{name: http, port: 80}}]}}\n"
        ))
    }

    fn route(name: usize, parent: &str) -> (ObjectRef, Option<Arc<Stored>>) {
        stored(&format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r{name}, namespace: shop}}\nspec:\n  \
             parentRefs: [{{group: \"\", kind: Service, name: {parent}}}]\n  rules: [{{backendRefs: [{{name: a, port: 80}}]}}]\n"
        ))
    }

    /// What the index must say: the resources whose origins name the object.
    fn searched(compiler: &Compiler, object: &ObjectRef) -> BTreeSet<ResourceKey> {
        let made = compiler.keys().filter(|key| origins(compiler.resource(key).unwrap()).contains(object));
        made.cloned().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_index_says_what_a_search_would_and_remembers_what_was_left_only_while_the_object_is_there(
            steps in prop::collection::vec((0_usize..4, 0_usize..3, any::<bool>()), 1..25)
        ) {
            let mut compiler = Compiler::new(crate::default_names());
            let mut made = Made::of(&compiler);
            for (what, service_at, there) in steps {
                let (object, put) = match what {
                    0 | 1 => route(what, SERVICES[service_at]),
                    _ => service(SERVICES[service_at]),
                };
                let changed = compiler.apply([(object.clone(), put.filter(|_| there))]);
                made.update(&compiler, &[object], changed.updated.iter().chain(&changed.removed), Instant::now());
                let all = SERVICES.map(|name| service(name).0).into_iter().chain([route(0, "a").0, route(1, "a").0]);
                for object in all {
                    let told: BTreeSet<_> = made.keys(&object).cloned().collect();
                    let expected = searched(&compiler, &object);
                    prop_assert!(told.is_superset(&expected), "{}: {:?} lacks some of {:?}", object, told, expected);
                    for key in &told {
                        prop_assert!(made.objects(key).any(|it| *it == object), "{} does not know {}", key, object);
                    }
                    for left in told.difference(&expected) {
                        prop_assert!(compiler.stored(&object).is_some(), "{} is gone, and {} is remembered", object, left);
                        prop_assert!(made.changed(left).is_some());
                    }
                }
            }
        }
    }
}
