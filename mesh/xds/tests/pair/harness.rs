//! A client and a server joined by two queues, in virtual time, and what must hold of them after every step.
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use weft_ir::{Resource, ResourceKey, ResourceType};
use weft_proto::{
    envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    google::rpc::Status,
};
use weft_xds::{Client, Server, Version, decode, resource_type, type_url};

use crate::world::{NAMES, WEFT, World, key};

/// What happens next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Subscribe(ResourceType, u8),
    Unsubscribe(ResourceType, u8),
    Put(ResourceType, u8, u8),
    PutBad(ResourceType, u8, u8),
    Remove(ResourceType, u8),
    Unsettle(u8),
    Settle,
    ServerSpeaks,
    ClientSpeaks,
    ServerHears,
    ClientHears,
    Break,
    /// To the same replica, or to one that stands where this one stood so many changes ago.
    Connect(u8),
    StaleAnswer,
}

/// How often what a schedule is about came to pass.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    pub(crate) rejections: u64,
    pub(crate) removals: u64,
    pub(crate) claims: u64,
    pub(crate) stale: u64,
    pub(crate) unsolicited: u64,
    pub(crate) behind: u64,
    pub(crate) several: u64,
}

/// What the test itself knows of one stream, from the messages alone.
#[derive(Default)]
struct Stream {
    outstanding: BTreeMap<ResourceType, Outstanding>,
    answered: Vec<(ResourceType, String)>,
    opened: BTreeSet<ResourceType>,
    has: BTreeMap<ResourceKey, Version>,
    refused: BTreeSet<(ResourceKey, Version)>,
}

struct Outstanding {
    nonce: String,
    before: BTreeMap<ResourceKey, (Version, Option<Version>)>,
}

pub(crate) struct Pair {
    pub(crate) world: World,
    pub(crate) client: Client,
    pub(crate) server: Option<Server>,
    pub(crate) coverage: Coverage,
    /// Whether removals by a replica that is behind are confirmed as soon as it speaks; the guard has tests of its own.
    pub(crate) confirms: bool,
    history: Vec<World>,
    to_server: VecDeque<DeltaDiscoveryRequest>,
    to_client: VecDeque<DeltaDiscoveryResponse>,
    stream: Stream,
    held: BTreeMap<ResourceKey, (Resource, Version)>,
    told_absent: BTreeSet<ResourceKey>,
    rejected: BTreeSet<(ResourceKey, Version)>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let mut client = Client::new(Default::default());
        client.subscribe_all(ResourceType::Listener);
        Self {
            world: World::default(),
            client,
            server: None,
            coverage: Coverage::default(),
            confirms: true,
            history: Vec::new(),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            stream: Stream::default(),
            held: BTreeMap::new(),
            told_absent: BTreeSet::new(),
            rejected: BTreeSet::new(),
        }
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Subscribe(resource_type, at) => _ = self.client.subscribe(&key(resource_type, at)),
            Step::Unsubscribe(resource_type, at) => self.unsubscribe(&key(resource_type, at)),
            Step::Put(resource_type, at, variant) => self.change(|world| world.put(resource_type, at, variant)),
            Step::PutBad(resource_type, at, variant) => self.change(|world| world.put_bad(resource_type, at, variant)),
            Step::Remove(resource_type, at) => self.change(|world| world.remove(resource_type, at)),
            Step::Unsettle(at) => _ = self.world.unsettled.insert(key(ResourceType::Endpoints, at)),
            Step::Settle => self.settle(),
            Step::ServerSpeaks => self.server_speaks(),
            Step::ClientSpeaks => self.client_speaks(),
            Step::ServerHears => _ = self.server_hears(),
            Step::ClientHears => _ = self.client_hears(),
            Step::Break => self.cut(),
            Step::Connect(back) => self.connect(back),
            Step::StaleAnswer => self.answer_late(),
        }
    }

    /// Lets everything arrive and be answered, then checks that the client holds what the server has for it.
    pub(crate) fn finish(&mut self) {
        self.connect(0);
        self.settle();
        for _ in 0..10_000 {
            self.client_speaks();
            self.server_speaks();
            if !self.server_hears() & !self.client_hears() {
                return self.check();
            }
        }
        panic!("it does not come to rest");
    }

    fn check(&self) {
        let server = self.server.as_ref().unwrap();
        assert!(server.has_answered_all(), "{server:#?}");
        assert_eq!(server.counts().resent, 0);
        for resource_type in ResourceType::ALL {
            for at in 0..NAMES {
                self.check_key(&key(resource_type, at));
            }
        }
        let held: Vec<_> = self.held.iter().map(|(key, (_, version))| (key.clone(), version.clone())).collect();
        let claimed: Vec<_> = self.client.held().map(|(key, version)| (key, version.clone())).collect();
        assert_eq!(held, claimed);
    }

    fn check_key(&self, key: &ResourceKey) {
        let by_name = self.client.subscribes(key);
        let held = self.held.get(key);
        if !by_name && !self.world.covers(key) {
            assert_eq!(held, None, "{key} is held and not subscribed to");
            return;
        }
        let Some(encoded) = self.world.resources.get(key) else {
            assert_eq!(held, None, "{key} is held and gone");
            assert!(!by_name || self.told_absent.contains(key), "nobody said that {key} does not exist");
            return;
        };
        match decode(type_url(key.resource_type), &key.name, &encoded.bytes) {
            Ok(resource) => assert_eq!(held, Some(&(resource, encoded.version.clone())), "{key}"),
            Err(_) => {
                assert!(self.rejected.contains(&(key.clone(), encoded.version.clone())), "{key} was not rejected");
                assert_ne!(held.map(|(_, version)| version), Some(&encoded.version));
            }
        }
    }

    fn unsubscribe(&mut self, key: &ResourceKey) {
        if self.client.unsubscribe(key) {
            self.held.remove(key);
            self.told_absent.remove(key);
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut World) -> ResourceKey) {
        self.history.push(self.world.clone());
        let key = change(&mut self.world);
        if let Some(server) = &mut self.server {
            server.changed([&key]);
        }
    }

    fn settle(&mut self) {
        self.world.unsettled.clear();
        if let Some(server) = &mut self.server {
            server.recheck(ResourceType::Endpoints);
        }
    }

    fn cut(&mut self) {
        if let Some(server) = self.server.take() {
            let counts = server.counts();
            assert_eq!(counts.resent, 0);
            self.coverage.claims += counts.claimed;
            self.coverage.stale += counts.stale;
            self.coverage.rejections += counts.rejected;
            self.coverage.removals += counts.removals;
        }
        self.coverage.unsolicited = self.client.counts().unsolicited;
        self.client.disconnected();
        self.to_server.clear();
        self.to_client.clear();
        self.stream = Stream::default();
    }

    fn connect(&mut self, back: u8) {
        if self.server.is_some() {
            return;
        }
        if back > 0 && self.history.len() >= usize::from(back) {
            let unsettled = std::mem::take(&mut self.world.unsettled);
            let revision = self.world.revision;
            self.world = self.history[self.history.len() - usize::from(back)].clone();
            self.world.unsettled = unsettled;
            self.coverage.behind += u64::from(self.world.revision < revision);
        }
        self.server = Some(Server::new(&WEFT));
        self.client.connected();
    }

    fn server_speaks(&mut self) {
        let Some(server) = &mut self.server else { return };
        while let Some(response) = server.respond(&self.world) {
            self.stream.emitted(&response);
            self.coverage.several += u64::from(response.resources.len() > 1);
            self.to_client.push_back(response);
        }
    }

    fn client_speaks(&mut self) {
        while let Some(request) = self.client.request() {
            self.to_server.push_back(request);
        }
    }

    fn server_hears(&mut self) -> bool {
        let Some(request) = self.to_server.pop_front() else { return false };
        let Some(server) = &mut self.server else { return false };
        let expected = self.stream.answered(&request);
        let heard = server.request(request.clone()).unwrap();
        assert_eq!(heard.answered, expected.is_some());
        for rejection in heard.rejected {
            let version = rejection.version.unwrap();
            self.stream.rejected(expected.as_ref().unwrap(), &rejection.key, &version);
        }
        self.stream.subscribed(&request);
        true
    }

    fn client_hears(&mut self) -> bool {
        let Some(response) = self.to_client.pop_front() else { return false };
        let resource_type = resource_type(&response.type_url).unwrap();
        let wanted: Vec<_> = response
            .resources
            .iter()
            .map(|it| {
                let key = ResourceKey::new(resource_type, it.name.as_str());
                let any = it.resource.as_ref().unwrap();
                let good = decode(&response.type_url, &it.name, &any.value).is_ok();
                let wanted = self.client.subscribes(&key) || resource_type == ResourceType::Listener;
                (key, good, wanted)
            })
            .collect();
        let update = self.client.response(response);
        let of = |good: bool| wanted.iter().filter(move |it| it.2 && it.1 == good).map(|it| it.0.clone());
        let added: Vec<_> = update.added.iter().map(|(resource, _)| resource.key()).collect();
        assert_eq!(added, of(true).collect::<Vec<_>>(), "the good are taken, whatever comes beside them");
        let rejected: Vec<_> = update.rejected.iter().map(|it| it.key.clone()).collect();
        assert_eq!(rejected, of(false).collect::<Vec<_>>(), "the bad are rejected");
        for (resource, version) in update.added {
            self.told_absent.remove(&resource.key());
            self.held.insert(resource.key(), (resource, version));
        }
        let confirmed = match self.client.elsewhere().cloned() {
            Some(said) if self.confirms => self.client.confirm(&said),
            _ => Vec::new(),
        };
        for key in update.removed.into_iter().chain(confirmed) {
            self.held.remove(&key);
            self.told_absent.insert(key);
        }
        for rejection in update.rejected {
            self.told_absent.remove(&rejection.key);
            self.rejected.insert((rejection.key, rejection.version.unwrap()));
        }
        true
    }

    /// Sends an answer to a response that was answered long ago: half of the time a NACK.
    fn answer_late(&mut self) {
        let Some((resource_type, nonce)) = self.stream.answered.last().cloned() else { return };
        let error_detail =
            (self.stream.answered.len().is_multiple_of(2)).then(|| Status { code: 3, ..Status::default() });
        self.to_server.push_back(DeltaDiscoveryRequest {
            type_url: type_url(resource_type).to_owned(),
            response_nonce: nonce,
            error_detail,
            ..DeltaDiscoveryRequest::default()
        });
    }
}

impl Stream {
    /// What must hold of every response: it is the only one of its type, and brings nothing that the client has or
    /// has refused.
    fn emitted(&mut self, response: &DeltaDiscoveryResponse) {
        let resource_type = resource_type(&response.type_url).unwrap();
        let mut before = BTreeMap::new();
        for resource in &response.resources {
            let key = ResourceKey::new(resource_type, Arc::<str>::from(resource.name.as_str()));
            let version = Version::parse(&resource.version).unwrap();
            assert_ne!(self.has.get(&key), Some(&version), "{key} is sent unchanged");
            assert!(!self.refused.contains(&(key.clone(), version.clone())), "{key} was refused in this version");
            let had = self.has.insert(key.clone(), version.clone());
            before.insert(key, (version, had));
        }
        for name in &response.removed_resources {
            let key = ResourceKey::new(resource_type, name.as_str());
            self.has.remove(&key);
            // What comes again after that is another resource, whatever its bytes.
            self.refused.retain(|(refused, _)| *refused != key);
        }
        let outstanding = Outstanding { nonce: response.nonce.clone(), before };
        assert!(self.outstanding.insert(resource_type, outstanding).is_none(), "two responses of a type are under way");
    }

    /// The outstanding response that a request answers.
    fn answered(&mut self, request: &DeltaDiscoveryRequest) -> Option<Outstanding> {
        let resource_type = resource_type(&request.type_url).unwrap();
        let answers = self.outstanding.get(&resource_type).is_some_and(|it| it.nonce == request.response_nonce);
        let outstanding = if answers { self.outstanding.remove(&resource_type) } else { None };
        if let Some(it) = &outstanding {
            self.answered.push((resource_type, it.nonce.clone()));
        }
        outstanding
    }

    /// What a request asks for is not there any more; what it claims is.
    fn subscribed(&mut self, request: &DeltaDiscoveryRequest) {
        let resource_type = resource_type(&request.type_url).unwrap();
        let first = self.opened.insert(resource_type);
        for name in request.resource_names_subscribe.iter().chain(&request.resource_names_unsubscribe) {
            let key = ResourceKey::new(resource_type, name.as_str());
            self.has.remove(&key);
            self.refused.retain(|(refused, _)| *refused != key);
        }
        for (name, version) in &request.initial_resource_versions {
            assert!(first, "versions are named in a stream's first request of a type");
            self.has.insert(ResourceKey::new(resource_type, name.as_str()), Version::parse(version).unwrap());
        }
    }

    fn rejected(&mut self, answered: &Outstanding, key: &ResourceKey, version: &Version) {
        let (sent, before) = answered.before.get(key).unwrap();
        assert_eq!(sent, version);
        if self.has.get(key) == Some(version) {
            match before {
                Some(before) => self.has.insert(key.clone(), before.clone()),
                None => self.has.remove(key),
            };
        }
        self.refused.insert((key.clone(), version.clone()));
    }
}
