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
    /// The client's registration arrives.
    Register,
    /// A person confirms; the word is on its way to the client.
    Confirm,
    /// The server says that the client would lose nothing, where it finds that.
    SayLossless,
    /// The word arrives, perhaps long after.
    Told,
    /// Another history that has all again, and time enough to find that.
    Again,
}

/// What one stream's server answers from.
struct Guarded<'a> {
    world: &'a World,
    guard: &'a Guard,
    registered: bool,
}

impl Lookup for Guarded<'_> {
    fn find(&self, key: &ResourceKey) -> Found {
        match self.world.find(key) {
            _ if !self.registered && *key == soft() && !self.guard.holds(key) => Found::Absent,
            _ if self.guard.holds(key) => Found::Unsettled,
            found => found,
        }
    }

    fn wildcard(&self, resource_type: ResourceType) -> Vec<Arc<str>> {
        let keys = (0..NAMES).map(|at| key(resource_type, at)).filter(|key| self.guard.holds(key));
        let mut names = self.world.wildcard(resource_type);
        names.retain(|name| self.registered || *name != soft().name);
        names.extend(keys.map(|key| key.name));
        names
    }

    fn revision(&self) -> String {
        self.world.revision()
    }
}

/// The one resource that a server has by its client's registration alone, whatever it has stored.
fn soft() -> ResourceKey {
    key(ResourceType::Listener, 0)
}

/// A word on its way to the client.
enum Word {
    Confirmed(Revision),
    /// Said by the server that has come back so many times.
    Lossless {
        revision: Revision,
        named: u64,
        returns: u64,
    },
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
    told: VecDeque<Word>,
    /// The client has registered since the server came back.
    registered: bool,
    /// How often the server has come back.
    returns: u64,
    /// What was removed since, as anybody may.
    deleted: BTreeSet<ResourceKey>,
    /// How often the client took another history for its own because it would lose nothing.
    settled: u64,
    /// How often it was asked to and would have.
    refused: u64,
    /// How often a confirmation met what waits for a registration.
    awaited: u64,
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
        let mut world = World::default();
        world.put(ResourceType::Listener, 0, 0);
        Self {
            world,
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
            registered: true,
            returns: 0,
            deleted: BTreeSet::new(),
            settled: 0,
            refused: 0,
            awaited: 0,
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
            Step::Remove(resource_type, at) if key(resource_type, at) == soft() => {}
            Step::Remove(resource_type, at) => {
                self.deleted.insert(key(resource_type, at));
                self.change(|world| world.remove(resource_type, at));
            }
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
            Step::Register => self.register(),
            Step::Confirm => self.confirm(),
            Step::SayLossless => self.say_lossless(),
            Step::Told => self.be_told(),
            Step::Again => self.go_on(),
        }
    }

    fn go_on(&mut self) {
        for step in [Step::Other(NAMES), Step::Connect, Step::Register] {
            self.step(step);
        }
        loop {
            self.speak();
            if !self.server_hears() & !self.client_hears() {
                break;
            }
        }
        self.step(Step::SayLossless);
        self.step(Step::Told);
    }

    fn change(&mut self, change: impl FnOnce(&mut World) -> ResourceKey) {
        self.history.push(self.world.clone());
        let key = change(&mut self.world);
        let known = self.knows(&key);
        if known {
            self.kept.remove(&key);
        }
        if let Some((server, guard)) = &mut self.server {
            if known {
                guard.appeared(&key);
            }
            server.changed([&key]);
        }
    }

    /// Whether the server has a resource for the client now.
    fn knows(&self, key: &ResourceKey) -> bool {
        self.world.resources.contains_key(key) && (self.registered || *key != soft())
    }

    fn register(&mut self) {
        self.registered = true;
        self.kept.remove(&soft());
        if let Some((server, guard)) = &mut self.server {
            guard.appeared(&soft());
            server.changed([&soft()]);
            server.recheck(ResourceType::Listener);
        }
    }

    fn own(&self) -> Revision {
        self.world.revision().parse().unwrap()
    }

    fn come_back(&mut self, mut world: World) {
        self.cut();
        // Whatever the store has: a registration makes it.
        let soft = self.world.resources.get_key_value(&soft());
        world.resources.extend(soft.map(|(key, resource)| (key.clone(), Arc::clone(resource))));
        self.world = world;
        (self.confirmed, self.registered) = (false, false);
        self.returns += 1;
        self.deleted.clear();
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
            let unknown = self.held.keys().filter(|key| !self.knows(key));
            self.kept = unknown.cloned().collect();
        }
        if !self.registered && self.guards && self.held.contains_key(&soft()) {
            self.kept.insert(soft());
        }
        self.server = Some((Server::new(&WEFT), Guard::default()));
        self.client.connected();
        if self.confirmed && seen.is_some_and(|seen| is_elsewhere(&seen, &own)) {
            self.told.push_back(Word::Confirmed(own));
        }
    }

    fn speak(&mut self) {
        while let Some(request) = self.client.request() {
            self.to_server.push_back(request);
        }
        if let Some((server, guard)) = &mut self.server {
            let lookup = Guarded { world: &self.world, guard, registered: self.registered };
            while let Some(response) = server.respond(&lookup) {
                self.to_client.push_back(response);
            }
        }
    }

    fn server_hears(&mut self) -> bool {
        let Some(request) = self.to_server.pop_front() else { return false };
        let (own, registered) = (self.own(), self.registered);
        let Some((server, guard)) = &mut self.server else { return false };
        if let Some(node) = &request.node
            && self.guards
            && !self.confirmed
        {
            *guard = Guard::new(reader_revision(node), &own);
            if !guard.is_elsewhere() {
                // An older copy that has counted on past what the client has seen is taken for its own history.
                self.kept.retain(|key| *key == soft() && !registered);
            }
        }
        let of_type = resource_type(&request.type_url).unwrap();
        if self.heard.insert(of_type) {
            let named = request.initial_resource_versions.keys().map(|name| ResourceKey::new(of_type, name.as_str()));
            for key in named {
                if key == soft() && !registered && self.guards {
                    guard.claimed_unregistered(key);
                } else if !self.world.resources.contains_key(&key) {
                    guard.claimed_unknown(key);
                }
            }
        }
        assert!(!guard.held().contains(&soft()), "what comes with a registration is offered for removal");
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
        let registered = self.registered;
        self.kept.retain(|key| *key == soft() && !registered);
        self.awaited += self.kept.len() as u64;
        self.told.push_back(Word::Confirmed(self.own()));
        if let Some((server, guard)) = &mut self.server {
            guard.confirm();
            ResourceType::ALL.into_iter().for_each(|it| server.recheck(it));
        }
    }

    fn say_lossless(&mut self) {
        let (revision, returns) = (self.own(), self.returns);
        if let Some((server, guard)) = &self.server
            && guard.is_lossless()
            && server.has_answered_all()
        {
            self.told.push_back(Word::Lossless { revision, named: server.counts().claimed, returns });
        }
    }

    /// Nothing that the client holds may be missing where it takes the server's history for its own unasked, but for what
    /// was deleted there since.
    fn settle(&mut self, revision: &Revision, named: u64, returns: u64) {
        let elsewhere = self.client.elsewhere().is_some();
        if !self.client.settle(revision, named) {
            self.refused += u64::from(elsewhere);
            return;
        }
        self.settled += 1;
        assert_eq!(self.client.elsewhere(), None);
        if returns != self.returns {
            return;
        }
        for key in self.held.keys().filter(|key| !self.knows(key)) {
            assert!(self.deleted.contains(key), "{key} can be lost from here on, and nobody was asked");
        }
    }

    fn be_told(&mut self) {
        let revision = match self.told.pop_front() {
            Some(Word::Confirmed(revision)) => revision,
            Some(Word::Lossless { revision, named, returns }) => return self.settle(&revision, named, returns),
            None => return,
        };
        let gone = self.client.confirm(&revision);
        if self.client.revision().is_some_and(|seen| !is_elsewhere(seen, &self.own())) {
            let registered = self.registered;
            self.kept.retain(|key| *key == soft() && !registered);
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
        self.register();
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
        1 => Just(Step::Again),
        1 => Just(Step::Same),
        1 => Just(Step::Break),
        8 => Just(Step::Connect),
        24 => Just(Step::Speak),
        30 => Just(Step::ServerHears),
        30 => Just(Step::ClientHears),
        2 => Just(Step::Register),
        1 => Just(Step::Confirm),
        4 => Just(Step::SayLossless),
        3 => Just(Step::Told),
    ]
}

/// What came about in all runs together.
#[derive(Clone, Copy, Default)]
struct Seen {
    guarded: u64,
    withheld: u64,
    settled: u64,
    refused: u64,
    awaited: u64,
}

fn run(guards: bool) -> Seen {
    let config = Config { cases: 1_000, failure_persistence: None, ..Config::default() };
    let seen = Cell::new(Seen::default());
    let run = |steps: Vec<Step>| {
        let mut mesh = Mesh::new(guards);
        mesh.step(Step::Connect);
        steps.into_iter().for_each(|step| mesh.step(step));
        mesh.finish();
        let so_far = seen.get();
        seen.set(Seen {
            guarded: so_far.guarded + mesh.guarded,
            withheld: so_far.withheld + mesh.withheld,
            settled: so_far.settled + mesh.settled,
            refused: so_far.refused + mesh.refused,
            awaited: so_far.awaited + mesh.awaited,
        });
        Ok(())
    };
    TestRunner::new(config).run(&vec(step(guards), 40..300), run).unwrap();
    seen.get()
}

#[test]
fn a_server_that_comes_back_with_less_takes_nothing_before_it_is_confirmed() {
    let Seen { guarded, settled, refused, awaited, .. } = run(true);
    assert!(guarded > 100, "the schedules are too tame: {guarded}");
    assert!(settled > 20, "it seldom goes on by itself where nothing would be lost: {settled}");
    assert!(refused > 5, "the word seldom comes too early or too late: {refused}");
    assert!(awaited > 5, "confirmations seldom meet what waits for a registration: {awaited}");
}

#[test]
fn a_client_keeps_half_of_each_type_from_a_server_without_a_guard() {
    let Seen { withheld, .. } = run(false);
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
    let held = |mesh: &Mesh| mesh.held.keys().filter(|key| key.resource_type == ResourceType::VirtualHost).count();
    assert_eq!(held(&mesh), usize::from(NAMES));
    mesh.step(Step::Same);
    mesh.step(Step::Connect);
    names().for_each(|(it, at)| mesh.step(Step::Remove(it, at)));
    settle(&mut mesh);
    assert_eq!(held(&mesh), 0, "all of them, also after a restart: {:?}", mesh.held);
    assert!(mesh.held.contains_key(&soft()), "the client has not registered: {:?}", mesh.held);
}
