//! From what the streams tell to the status of each object.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval};
use weft_ir::{Feature, ResourceKey};
use weft_model::{Kind, ObjectRef, Revision, Stored, WorkloadRef};

use super::{At, Board, Held, Kept, Standing, Tally, standing, touched::Due};
use crate::{
    registry::Registry,
    serve::AdsStreams,
    state::MeshState,
    wire::{ObjectEffect, ObjectStatus},
};

/// How often what was touched is judged though nobody asks.
const KEEP_UP: Duration = Duration::from_secs(1);

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
    /// Taken before every other lock, and by one at a time: rounds do not overlap.
    board: Arc<Mutex<Board>>,
}

/// Which resources of a proxy are looked at.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// All that it holds or asked for.
    All,
    /// These.
    Keys(BTreeSet<ResourceKey>),
}

/// What one connected proxy holds or asked for of the resources in question.
#[derive(Debug, Default)]
pub(crate) struct Proxy {
    /// For how long it has said nothing, where that is too long.
    pub(crate) silent: Option<Duration>,
    pub(crate) features: Option<BTreeSet<Feature>>,
    pub(crate) held: BTreeMap<ResourceKey, Held>,
    pub(crate) subscribed: BTreeMap<ResourceKey, Instant>,
    pub(crate) kept: Option<Kept>,
}

/// What a selection has become since a round of the board.
#[derive(Debug)]
pub(crate) struct Since {
    /// The round that this is of.
    pub(crate) round: u64,
    /// Everything that there is, ordered.
    pub(crate) all: Vec<ObjectRef>,
    /// What may be other than it was.
    pub(crate) newer: Vec<(Arc<Stored>, ObjectStatus)>,
}

/// How one resource stands at one proxy, and how long it is due.
type Place = (Standing, Duration);

/// The proxies that were looked at, and how everything stands that was.
type Places = BTreeMap<WorkloadRef, (Proxy, BTreeMap<ResourceKey, Place>)>;

impl Effects {
    /// A status of everything in the mesh.
    pub(crate) fn new(state: Arc<MeshState>, registry: Arc<Registry>, streams: Arc<AdsStreams>) -> Self {
        Self { state, registry, streams, board: Arc::default() }
    }

    /// Brings the board up to date with all that was touched, and has it looked at. The cost is in proportion to what was
    /// touched since the last time.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Board) -> T) -> T {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        self.registry.look_at_the_clock(now);
        let due = self.state.touched().take();
        if !due.is_empty() {
            self.round(&mut board, due, now);
        }
        look(&board)
    }

    /// Keeps what is to be judged again from piling up while nobody asks. Never ends.
    pub(crate) async fn keep_up(self, told: impl Fn(&Board) + Clone + Send + 'static) {
        let mut tick = interval(KEEP_UP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let (effects, told) = (self.clone(), told.clone());
            // An error means that the runtime ends.
            let _looked = tokio::task::spawn_blocking(move || effects.look(told)).await;
        }
    }

    fn round(&self, board: &mut Board, due: Due, now: Instant) {
        board.begin();
        let Due { proxies, said, resources, mut objects } = due;
        let mut wanted: BTreeMap<WorkloadRef, Wanted> = BTreeMap::new();
        let users = resources.iter().flat_map(|key| board.users(key).map(move |workload| (workload.clone(), key)));
        for (workload, key) in users {
            want(&mut wanted, workload, [key.clone()]);
        }
        said.into_iter().for_each(|(workload, keys)| want(&mut wanted, workload, keys));
        wanted.extend(proxies.into_iter().map(|workload| (workload, Wanted::All)));

        let places = self.places(&wanted, now);
        let mut looked = BTreeSet::new();
        for (workload, wanted) in &wanted {
            let found = places.get(workload).map(|(_, found)| found);
            let mut keys: BTreeSet<ResourceKey> = found.into_iter().flat_map(BTreeMap::keys).cloned().collect();
            match wanted {
                Wanted::All => keys.extend(board.used(workload).cloned()),
                Wanted::Keys(wanted) => keys.extend(wanted.iter().cloned()),
            }
            for key in &keys {
                let place = found.and_then(|found| found.get(key));
                board.place(workload, key, place.map(|(standing, _)| standing.state()));
            }
            looked.append(&mut keys);
        }
        // Also where the state is the same: the words may be others.
        objects.extend(self.state.makers(&looked));
        let objects: Vec<_> = objects.into_iter().collect();
        for (object, keys) in objects.iter().zip(self.state.made_by_stored(&objects)) {
            board.judge(object, keys.as_deref());
        }
    }

    /// The objects of a selection, each as it is stored and with its status.
    pub(crate) fn select(&self, selection: &Selection) -> Vec<(Arc<Stored>, ObjectStatus)> {
        self.select_since(selection, None).newer
    }

    /// What there is of a selection, and, of the objects of which something may be other than at a round of the board,
    /// each as it is stored and with its status.
    pub(crate) fn select_since(&self, selection: &Selection, round: Option<u64>) -> Since {
        // Before the selection is read: what comes up meanwhile is newer than this round.
        let latest = self.look(Board::round);
        let selected: Vec<_> = self.state.look(|compiler| {
            let chosen = compiler.objects().filter(|(object, _)| selection.has(object));
            chosen.map(|(object, stored)| (object.clone(), stored.clone())).collect()
        });
        let newer = self.look(|board| {
            let newer = selected.iter().filter(|(object, _)| round.is_none_or(|round| board.is_newer(object, round)));
            newer.map(|(_, stored)| stored.clone()).collect()
        });
        let all = selected.into_iter().map(|(object, _)| object).collect();
        Since { round: latest, all, newer: self.statuses(newer) }
    }

    /// The status of these objects; those that do not exist are left out.
    pub(crate) fn of(&self, objects: &[ObjectRef]) -> Vec<ObjectStatus> {
        let stored: Vec<_> =
            self.state.look(|compiler| objects.iter().filter_map(|it| compiler.stored(it).cloned()).collect());
        self.statuses(stored).into_iter().map(|(_, status)| status).collect()
    }

    fn statuses(&self, stored: Vec<Arc<Stored>>) -> Vec<(Arc<Stored>, ObjectStatus)> {
        let objects: Vec<_> = stored.iter().map(|stored| stored.object.reference()).collect();
        let epoch = self.state.revision();
        let effects = self.effects(&objects).into_iter().zip(stored);
        effects.map(|(effect, stored)| (stored.clone(), status(&epoch, &stored, effect))).collect()
    }

    fn effects(&self, objects: &[ObjectRef]) -> Vec<ObjectEffect> {
        let now = Instant::now();
        let made = self.state.made_by(objects);
        let keys: BTreeSet<_> = made.iter().flatten().collect();
        let wanted = self.look(|board| {
            let mut wanted = BTreeMap::new();
            let users = keys.iter().flat_map(|key| board.users(key).map(move |workload| (workload, *key)));
            users.for_each(|(workload, key)| want(&mut wanted, workload.clone(), [key.clone()]));
            wanted
        });
        let places = self.places(&wanted, now);
        let mut users: HashMap<&ResourceKey, Vec<&WorkloadRef>> = HashMap::new();
        for (workload, (_, found)) in &places {
            found.keys().for_each(|key| users.entry(key).or_default().push(workload));
        }
        let tallies = made.iter().map(|keys| {
            let concerned: BTreeSet<_> = keys.iter().filter_map(|key| users.get(key)).flatten().collect();
            let mut tally = Tally::default();
            for workload in concerned {
                let Some((proxy, found)) = places.get(*workload) else { continue };
                let resources = keys.iter().filter_map(|key| {
                    let (standing, due) = found.get(key)?;
                    Some((key.clone(), standing.clone(), *due))
                });
                tally.add(workload, (proxy.silent, proxy.kept.as_ref()), resources);
            }
            tally.effect()
        });
        tallies.collect()
    }

    /// How what is wanted stands at the proxies that are connected and use it.
    fn places(&self, wanted: &BTreeMap<WorkloadRef, Wanted>, now: Instant) -> Places {
        // What proxies say first: a version that comes up meanwhile is awaited, never taken for in effect.
        let proxies = self.proxies(wanted, now);
        let used = proxies.values().flat_map(|it| it.held.keys().chain(it.subscribed.keys()));
        let current = self.state.current(used.collect::<HashSet<_>>());
        let place = |proxy: &Proxy, key: &ResourceKey| {
            let resource = current.get(key)?;
            let at = At {
                current: resource.version.as_ref(),
                changed: resource.changed,
                needs: &resource.needs,
                held: proxy.held.get(key),
                subscribed: proxy.subscribed.get(key).copied(),
                features: proxy.features.as_ref(),
                kept: proxy.kept.as_ref(),
            };
            let since = [at.changed, at.subscribed].into_iter().flatten().max();
            let due = since.map(|since| now.saturating_duration_since(since)).unwrap_or_default();
            Some((key.clone(), (standing(key, at), due)))
        };
        let placed = proxies.into_iter().map(|(workload, proxy)| {
            let concerned: BTreeSet<_> = proxy.held.keys().chain(proxy.subscribed.keys()).collect();
            let found = concerned.into_iter().filter_map(|key| place(&proxy, key)).collect();
            (workload, (proxy, found))
        });
        placed.collect()
    }

    /// Those of these proxies that are connected, with what they hold and asked for of what is wanted.
    fn proxies(&self, wanted: &BTreeMap<WorkloadRef, Wanted>, now: Instant) -> BTreeMap<WorkloadRef, Proxy> {
        let streams = self.streams.latest(wanted.keys());
        let mut proxies = self.registry.observe(wanted, now, |workload| streams.contains_key(workload));
        for (workload, stream) in &streams {
            let Some(wanted) = wanted.get(workload) else { continue };
            let proxy = proxies.entry(workload.clone()).or_default();
            proxy.subscribed = stream.subscribed(wanted);
            proxy.features = stream.features().cloned();
        }
        for (workload, kept) in self.kept() {
            if let Some(proxy) = proxies.get_mut(&workload) {
                proxy.kept = Some(kept);
            }
        }
        proxies
    }
}

fn want(
    wanted: &mut BTreeMap<WorkloadRef, Wanted>,
    workload: WorkloadRef,
    keys: impl IntoIterator<Item = ResourceKey>,
) {
    match wanted.entry(workload).or_insert_with(|| Wanted::Keys(BTreeSet::new())) {
        Wanted::All => {}
        Wanted::Keys(known) => known.extend(keys),
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
