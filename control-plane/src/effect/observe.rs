//! From what the streams tell to the status of each object.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use weft_ir::{Feature, ResourceKey};
use weft_model::{Kind, ObjectRef, Revision, Stored, WorkloadRef};

use super::{At, Held, Standing, Tally, standing};
use crate::{
    registry::Registry,
    serve::AdsStreams,
    state::MeshState,
    wire::{ObjectEffect, ObjectStatus},
};

/// Which objects; what is absent chooses all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) kind: Option<Kind>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
}

impl Selection {
    /// Whether an object is one of them.
    pub(crate) fn has(&self, object: &ObjectRef) -> bool {
        self.kind.is_none_or(|kind| object.kind == kind)
            && self.namespace.as_ref().is_none_or(|namespace| object.namespace.as_str() == namespace)
            && self.name.as_ref().is_none_or(|name| object.name.as_str() == name)
    }
}

/// Everything that a status is computed from.
#[derive(Clone, Debug)]
pub(crate) struct Effects {
    pub(crate) state: Arc<MeshState>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) streams: Arc<AdsStreams>,
}

/// What one connected proxy holds or asked for of the resources in question.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) workload: WorkloadRef,
    /// For how long it has said nothing, where that is too long.
    pub(crate) silent: Option<Duration>,
    pub(crate) features: Option<BTreeSet<Feature>>,
    pub(crate) held: BTreeMap<ResourceKey, Held>,
    pub(crate) subscribed: BTreeMap<ResourceKey, Instant>,
}

/// How one resource stands at one proxy, by its place, and how long it is due.
type Place = (usize, Standing, Duration);

impl Effects {
    /// The objects of a selection, each as it is stored and with its status.
    pub(crate) fn select(&self, selection: &Selection) -> Vec<(Arc<Stored>, ObjectStatus)> {
        let stored: Vec<_> = self.state.look(|compiler| {
            compiler.objects().filter(|(object, _)| selection.has(object)).map(|(_, it)| it.clone()).collect()
        });
        let objects: Vec<_> = stored.iter().map(|stored| stored.object.reference()).collect();
        let epoch = self.state.revision();
        let effects = self.effects(&objects).into_iter().zip(stored);
        effects.map(|(effect, stored)| (stored.clone(), status(&epoch, &stored, effect))).collect()
    }

    /// The status of these objects; those that do not exist are left out.
    pub(crate) fn of(&self, objects: &[ObjectRef]) -> Vec<ObjectStatus> {
        let stored: Vec<_> =
            self.state.look(|compiler| objects.iter().filter_map(|it| compiler.stored(it).cloned()).collect());
        let there: Vec<_> = stored.iter().map(|stored: &Arc<Stored>| stored.object.reference()).collect();
        let epoch = self.state.revision();
        let effects = self.effects(&there).into_iter().zip(stored);
        effects.map(|(effect, stored)| status(&epoch, &stored, effect)).collect()
    }

    fn effects(&self, objects: &[ObjectRef]) -> Vec<ObjectEffect> {
        let now = Instant::now();
        let made = self.state.made_by(objects);
        let keys: BTreeSet<_> = made.iter().flatten().cloned().collect();
        // What proxies say first: a version that comes up meanwhile is awaited, never taken for in effect.
        let proxies = self.proxies(&keys, now);
        let places = self.places(&proxies, now);
        let tallies = made.into_iter().map(|keys| {
            let mut by_proxy: BTreeMap<usize, Vec<(ResourceKey, Standing, Duration)>> = BTreeMap::new();
            for key in keys {
                for (proxy, standing, due) in places.get(&key).into_iter().flatten() {
                    by_proxy.entry(*proxy).or_default().push((key.clone(), standing.clone(), *due));
                }
            }
            let mut tally = Tally::default();
            for (proxy, resources) in by_proxy {
                if let Some(Proxy { workload, silent, .. }) = proxies.get(proxy) {
                    tally.add(workload, *silent, resources);
                }
            }
            tally.effect()
        });
        tallies.collect()
    }

    /// The connected proxies, with what they hold of or asked for among `keys`.
    fn proxies(&self, keys: &BTreeSet<ResourceKey>, now: Instant) -> Vec<Proxy> {
        let streams = self.streams.latest();
        let mut proxies = self.registry.observe(keys, now, |workload| streams.contains_key(workload));
        for (workload, stream) in &streams {
            let asked = stream.subscribed(keys);
            match proxies.get_mut(workload) {
                Some(proxy) => {
                    proxy.subscribed = asked;
                    proxy.features = stream.features().cloned();
                }
                None => {
                    let (held, features) = (BTreeMap::new(), stream.features().cloned());
                    let proxy = Proxy { workload: workload.clone(), silent: None, features, held, subscribed: asked };
                    proxies.insert(workload.clone(), proxy);
                }
            }
        }
        proxies.into_values().collect()
    }

    fn places(&self, proxies: &[Proxy], now: Instant) -> HashMap<ResourceKey, Vec<Place>> {
        let used: BTreeSet<_> = proxies.iter().flat_map(|it| it.held.keys().chain(it.subscribed.keys())).collect();
        let current = self.state.current(used.iter().copied());
        let mut places: HashMap<ResourceKey, Vec<Place>> = HashMap::new();
        for (index, proxy) in proxies.iter().enumerate() {
            let concerned: BTreeSet<_> = proxy.held.keys().chain(proxy.subscribed.keys()).collect();
            for key in concerned {
                let Some(resource) = current.get(key) else { continue };
                let at = At {
                    current: resource.version.as_ref(),
                    changed: resource.changed,
                    needs: &resource.needs,
                    held: proxy.held.get(key),
                    subscribed: proxy.subscribed.get(key).copied(),
                    features: proxy.features.as_ref(),
                };
                let since = [at.changed, at.subscribed].into_iter().flatten().max();
                let due = since.map(|since| now.saturating_duration_since(since)).unwrap_or_default();
                places.entry(key.clone()).or_default().push((index, standing(at), due));
            }
        }
        places
    }
}

fn status(epoch: &Revision, stored: &Stored, effect: ObjectEffect) -> ObjectStatus {
    let revision = match stored.modified {
        // It registered itself: the store has not seen it.
        0 => None,
        number => Revision::of_store(epoch.epoch(), number).ok(),
    };
    ObjectStatus {
        object: stored.object.reference().to_string(),
        owner: stored.owner.to_string(),
        revision: revision.map(|revision| revision.to_string()).unwrap_or_default(),
        effect,
    }
}
