//! The wipe guard of both ends: servers that come back empty, older, as another store, with confirmations and
//! reconnects that cross.
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use weft_ir::{ResourceKey, ResourceType};
use weft_model::Revision;
use weft_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use weft_xds::{Client, Found, Guard, Lookup, Server, Version, is_elsewhere, reader_revision, resource_type};

use crate::world::{NAMES, WEFT, World, key};

#[derive(Clone, Copy, Debug)]
enum Step {
    Subscribe(ResourceType, u8),
    Unsubscribe(ResourceType, u8),
    Put(ResourceType, u8, u8),
    Remove(ResourceType, u8),
    /// The server is gone and comes back with what it had so many changes ago.
    Older(u8),
    /// It comes back as another store, with what it has of these many names of each type.
    Other(u8),
    /// It comes back as it was.
    Same,
    /// Only the stream breaks.
    Break,
    Connect,
    Speak,
    ServerHears,
    ClientHears,
    /// A person confirms; the word is on its way to the client.
    Confirm,
    /// The word arrives, perhaps long after.
    Told,
}

/// What one stream's server answers from.
struct Guarded<'a>(&'a World, &'a Guard);

impl Lookup for Guarded<'_> {
    fn find(&self, key: &ResourceKey) -> Found {
        match self.0.find(key) {
            Found::Absent if self.1.holds(key) => Found::Unsettled,
            found => found,
        }
    }

    fn wildcard(&self, resource_type: ResourceType) -> Vec<Arc<str>> {
        let held = self.1.held().iter().filter(|key| key.resource_type == resource_type);
        let mut names = self.0.wildcard(resource_type);
        names.extend(held.map(|key| Arc::clone(&key.name)));
        names
    }

    fn revision(&self) -> String {
        self.0.revision()
    }
}

struct Mesh {
    world: World,
    history: Vec<World>,
    epochs: u8,
    /// Whether the server keeps the guard; the client always does.
    guards: bool,
    /// A person has confirmed since the server came back.
    confirmed: bool,
    server: Option<(Server, Guard)>,
    heard: BTreeSet<ResourceType>,
    client: Client,
    held: BTreeMap<ResourceKey, Version>,
    to_server: VecDeque<DeltaDiscoveryRequest>,
    to_client: VecDeque<DeltaDiscoveryResponse>,
    told: VecDeque<Revision>,
    /// What the client held when the server came back without it, and must keep.
    kept: BTreeSet<ResourceKey>,
    /// What the client held when the server became another, and how much of each type that has taken.
    before: BTreeMap<ResourceType, BTreeSet<ResourceKey>>,
    guarded: u64,
    withheld: u64,
}

impl Mesh {
    fn new(guards: bool) -> Self {
        let mut client = Client::new(Default::default());
        client.subscribe_all(ResourceType::Listener);
        Self {
            world: World::default(),
            history: Vec::new(),
            epochs: 0,
            guards,
            confirmed: false,
            server: None,
            heard: BTreeSet::new(),
            client,
            held: BTreeMap::new(),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            told: VecDeque::new(),
            kept: BTreeSet::new(),
            before: BTreeMap::new(),
            guarded: 0,
            withheld: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Subscribe(resource_type, at) => _ = self.client.subscribe(&key(resource_type, at)),
            Step::Unsubscribe(resource_type, at) => {
                let key = key(resource_type, at);
                if self.client.unsubscribe(&key) {
                    self.held.remove(&key);
                    self.kept.remove(&key);
                }
            }
            Step::Put(resource_type, at, variant) => self.change(|world| world.put(resource_type, at, variant)),
            Step::Remove(resource_type, at) => self.change(|world| world.remove(resource_type, at)),
            Step::Older(back) => {
                if let Some(at) = self.history.len().checked_sub(usize::from(back)) {
                    let world = self.history[at.min(self.history.len() - 1)].clone();
                    self.come_back(world);
                }
            }
            Step::Other(names) => {
                self.epochs += 1;
                let mut world = World { epoch: self.epochs, ..self.world.clone() };
                let known: BTreeSet<_> = (0..names).flat_map(|at| ResourceType::ALL.map(|it| key(it, at))).collect();
                world.resources.retain(|key, _| known.contains(key));
                self.come_back(world);
            }
            Step::Same => self.come_back(self.world.clone()),
            Step::Break => self.cut(),
            Step::Connect => self.connect(),
            Step::Speak => self.speak(),
            Step::ServerHears => _ = self.server_hears(),
            Step::ClientHears => _ = self.client_hears(),
            Step::Confirm => self.confirm(),
            Step::Told => self.be_told(),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut World) -> ResourceKey) {
        self.history.push(self.world.clone());
        let key = change(&mut self.world);
        if self.world.resources.contains_key(&key) {
            self.kept.remove(&key);
        }
        if let Some((server, guard)) = &mut self.server {
            if self.world.resources.contains_key(&key) {
                guard.appeared(&key);
            }
            server.changed([&key]);
        }
    }

    fn own(&self) -> Revision {
        self.world.revision().parse().unwrap()
    }

    fn come_back(&mut self, world: World) {
        self.cut();
        self.world = world;
        self.confirmed = false;
    }

    fn cut(&mut self) {
        self.server = None;
        self.client.disconnected();
        self.to_server.clear();
        self.to_client.clear();
        self.heard.clear();
    }

    fn connect(&mut self) {
        if self.server.is_some() {
            return;
        }
        let (seen, own) = (self.client.revision().cloned(), self.own());
        let elsewhere = seen.as_ref().is_some_and(|seen| is_elsewhere(seen, &own)) && !self.confirmed;
        self.kept.clear();
        if elsewhere && self.guards {
            let unknown = self.held.keys().filter(|key| !self.world.resources.contains_key(*key));
            self.kept = unknown.cloned().collect();
        }
        self.server = Some((Server::new(&WEFT), Guard::default()));
        self.client.connected();
        if self.confirmed && seen.is_some_and(|seen| is_elsewhere(&seen, &own)) {
            self.told.push_back(own);
        }
    }

    fn speak(&mut self) {
        while let Some(request) = self.client.request() {
            self.to_server.push_back(request);
        }
        if let Some((server, guard)) = &mut self.server {
            while let Some(response) = server.respond(&Guarded(&self.world, guard)) {
                self.to_client.push_back(response);
            }
        }
    }

    fn server_hears(&mut self) -> bool {
        let Some(request) = self.to_server.pop_front() else { return false };
        let own = self.own();
        let Some((server, guard)) = &mut self.server else { return false };
        if let Some(node) = &request.node
            && self.guards
            && !self.confirmed
        {
            *guard = Guard::new(reader_revision(node), &own);
            if !guard.is_elsewhere() {
                // An older copy that has counted on past what the client has seen is taken for its own history.
                self.kept.clear();
            }
        }
        let of_type = resource_type(&request.type_url).unwrap();
        if self.heard.insert(of_type) {
            let named = request.initial_resource_versions.keys().map(|name| ResourceKey::new(of_type, name.as_str()));
            named.filter(|key| !self.world.resources.contains_key(key)).for_each(|key| guard.claimed_unknown(key));
        }
        self.guarded += u64::from(!guard.held().is_empty());
        server.request(request).unwrap();
        true
    }

    fn client_hears(&mut self) -> bool {
        let Some(response) = self.to_client.pop_front() else { return false };
        let was_home = self.client.elsewhere().is_none();
        let held: Vec<_> = self.held.keys().cloned().collect();
        let update = self.client.response(response);
        if was_home && self.client.elsewhere().is_some() {
            self.before.clear();
            for key in held {
                self.before.entry(key.resource_type).or_default().insert(key);
            }
        }
        self.withheld += update.withheld.len() as u64;
        for (resource, version) in update.added {
            self.held.insert(resource.key(), version);
        }
        for key in update.removed {
            let lost = self.held.remove(&key).is_some();
            assert!(!(lost && self.kept.contains(&key)), "{key} is taken away and nobody has confirmed it");
        }
        for key in &self.kept {
            assert!(self.held.contains_key(key), "{key} is lost");
        }
        if !self.guards && self.client.elsewhere().is_some() {
            self.check_halves();
        }
        true
    }

    /// However a server of another history goes about it: half of each type stays.
    fn check_halves(&self) {
        for (resource_type, before) in &self.before {
            let left = before.iter().filter(|key| self.held.contains_key(*key)).count();
            assert!(left * 2 >= before.len(), "{left} of {} are left of {resource_type:?}", before.len());
        }
    }

    fn confirm(&mut self) {
        self.confirmed = true;
        self.kept.clear();
        self.told.push_back(self.own());
        if let Some((server, guard)) = &mut self.server {
            guard.confirm();
            ResourceType::ALL.into_iter().for_each(|it| server.recheck(it));
        }
    }

    fn be_told(&mut self) {
        let Some(revision) = self.told.pop_front() else { return };
        let gone = self.client.confirm(&revision);
        if self.client.revision().is_some_and(|seen| !is_elsewhere(seen, &self.own())) {
            self.kept.clear();
        }
        for key in gone {
            assert!(!self.kept.contains(&key), "{key} goes by a word that was for another server");
            self.held.remove(&key);
        }
        self.before.clear();
    }

    /// With the last confirmation the client holds what the server has.
    fn finish(&mut self) {
        self.connect();
        for round in 0..2 {
            self.confirm();
            while !self.told.is_empty() {
                self.be_told();
            }
            for turn in 0.. {
                assert!(turn < 10_000, "it does not come to rest");
                self.speak();
                if !self.server_hears() & !self.client_hears() {
                    break;
                }
            }
            assert_eq!(self.client.elsewhere(), None, "round {round}");
        }
        for resource_type in ResourceType::ALL {
            for key in (0..NAMES).map(|at| key(resource_type, at)) {
                let wanted = self.client.subscribes(&key) || self.world.covers(&key);
                let expected = self.world.resources.get(&key).filter(|_| wanted).map(|it| &it.version);
                assert_eq!(self.held.get(&key), expected, "{key}");
            }
        }
        assert_eq!(self.client.withheld().count(), 0);
    }
}

fn step(unsubscribes: bool) -> impl Strategy<Value = Step> {
    let of_type = || (select(&ResourceType::ALL[..]), 0..NAMES);
    prop_oneof![
        8 => of_type().prop_map(|(it, at)| Step::Subscribe(it, at)),
        1 => of_type().prop_map(move |(it, at)| if unsubscribes { Step::Unsubscribe(it, at) } else { Step::Speak }),
        12 => (of_type(), 0u8..4).prop_map(|((it, at), variant)| Step::Put(it, at, variant)),
        2 => of_type().prop_map(|(it, at)| Step::Remove(it, at)),
        1 => (1u8..20).prop_map(Step::Older),
        1 => (0..NAMES).prop_map(Step::Other),
        1 => Just(Step::Same),
        1 => Just(Step::Break),
        8 => Just(Step::Connect),
        24 => Just(Step::Speak),
        30 => Just(Step::ServerHears),
        30 => Just(Step::ClientHears),
        1 => Just(Step::Confirm),
        1 => Just(Step::Told),
    ]
}

fn run(guards: bool) -> (u64, u64) {
    let config = Config { cases: 1_000, failure_persistence: None, ..Config::default() };
    let (guarded, withheld) = (Cell::new(0), Cell::new(0));
    let run = |steps: Vec<Step>| {
        let mut mesh = Mesh::new(guards);
        mesh.step(Step::Connect);
        steps.into_iter().for_each(|step| mesh.step(step));
        mesh.finish();
        guarded.set(guarded.get() + mesh.guarded);
        withheld.set(withheld.get() + mesh.withheld);
        Ok(())
    };
    TestRunner::new(config).run(&vec(step(guards), 40..300), run).unwrap();
    (guarded.get(), withheld.get())
}

#[test]
fn a_server_that_comes_back_with_less_takes_nothing_before_it_is_confirmed() {
    let (guarded, _) = run(true);
    assert!(guarded > 100, "the schedules are too tame: {guarded}");
}

#[test]
fn a_client_keeps_half_of_each_type_from_a_server_without_a_guard() {
    let (_, withheld) = run(false);
    assert!(withheld > 100, "the schedules are too tame: {withheld}");
}

#[test]
fn within_one_epoch_deletions_flow() {
    let mut mesh = Mesh::new(true);
    mesh.step(Step::Connect);
    let names = || (0..NAMES).map(|at| (ResourceType::VirtualHost, at));
    names().for_each(|(it, at)| {
        mesh.step(Step::Put(it, at, 0));
        mesh.step(Step::Subscribe(it, at));
    });
    let settle = |mesh: &mut Mesh| {
        loop {
            mesh.speak();
            if !mesh.server_hears() & !mesh.client_hears() {
                return;
            }
        }
    };
    settle(&mut mesh);
    assert_eq!(mesh.held.len(), usize::from(NAMES));
    mesh.step(Step::Same);
    mesh.step(Step::Connect);
    names().for_each(|(it, at)| mesh.step(Step::Remove(it, at)));
    settle(&mut mesh);
    assert!(mesh.held.is_empty(), "all of them, also after a restart: {:?}", mesh.held);
}
