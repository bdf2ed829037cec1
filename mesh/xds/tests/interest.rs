//! A stream that is told of the changes that concern it says what it would say if it were told of all.
use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use weft_ir::{Dialect, ResourceKey, ResourceType, View};
use weft_proto::{
    envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    google::rpc::Status,
};
use weft_xds::{Encoded, Found, Interests, Lookup, Server, Version, named, type_url};

/// How many names there are of each type.
const NAMES: u8 = 4;
/// How many clients there are.
const CLIENTS: usize = 3;

/// What one client may see: everything by name; by wildcard the common listener and one of its own, there or not.
struct Seen<'a> {
    resources: &'a BTreeMap<ResourceKey, Arc<Encoded>>,
    client: usize,
}

impl Lookup for Seen<'_> {
    fn find(&self, key: &ResourceKey) -> Found {
        self.resources.get(key).map_or(Found::Absent, |it| Found::Resource(Arc::clone(it)))
    }

    fn wildcard(&self, resource_type: ResourceType) -> Vec<Arc<str>> {
        match resource_type {
            ResourceType::Listener => vec!["0".into(), (self.client + 1).to_string().into()],
            _ => Vec::new(),
        }
    }

    fn revision(&self) -> String {
        "e/all=1".to_owned()
    }
}

/// One client's stream at a server that tells it of everything, and at one that tells it of what concerns it.
struct Pair {
    all: Server,
    some: Server,
    outstanding: Vec<DeltaDiscoveryResponse>,
}

#[derive(Clone, Debug)]
enum Step {
    /// Resources change together: each to a version, or to nothing.
    Change(Vec<(u8, u8, Option<u8>)>),
    /// A client says what it wants.
    Request { client: usize, resource_type: u8, subscribe: Vec<u8>, unsubscribe: Vec<u8>, claims: Vec<(u8, u8)> },
    /// A client answers the oldest response that it has not answered.
    Answer { client: usize, refuse: bool },
}

/// A type; by how far it stands in the order of all.
fn of_type(at: u8) -> ResourceType {
    let [cluster, endpoints, listener, _, host] = ResourceType::ALL;
    *[cluster, endpoints, listener, host].get(usize::from(at)).unwrap_or(&listener)
}

/// The name, the last of them the wildcard.
fn name(at: u8) -> String {
    if at == NAMES { "*".to_owned() } else { at.to_string() }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let names = || prop::collection::vec(0..=NAMES, 0..3);
    let change = (0_u8..4, 0..NAMES, prop::option::of(0_u8..3));
    let request = (0..CLIENTS, 0_u8..4, names(), names(), prop::collection::vec((0..NAMES, 0_u8..3), 0..3));
    let request = request.prop_map(|(client, resource_type, subscribe, unsubscribe, claims)| Step::Request {
        client,
        resource_type,
        subscribe,
        unsubscribe,
        claims,
    });
    let answer = (0..CLIENTS, prop::bool::weighted(0.2));
    let step = prop_oneof![
        3 => prop::collection::vec(change, 1..4).prop_map(Step::Change),
        2 => request,
        3 => answer.prop_map(|(client, refuse)| Step::Answer { client, refuse }),
    ];
    prop::collection::vec(step, 1..60)
}

fn request(resource_type: u8, subscribe: &[u8], unsubscribe: &[u8], claims: &[(u8, u8)]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url(of_type(resource_type)).to_owned(),
        resource_names_subscribe: subscribe.iter().map(|at| name(*at)).collect(),
        resource_names_unsubscribe: unsubscribe.iter().map(|at| name(*at)).collect(),
        initial_resource_versions: claims.iter().map(|(at, version)| (name(*at), version.to_string())).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn answer(response: &DeltaDiscoveryResponse, refuse: bool) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        error_detail: refuse.then(|| Status { code: 3, message: "no".to_owned(), details: Vec::new() }),
        ..DeltaDiscoveryRequest::default()
    }
}

/// How often the streams were told something, with and without the index.
#[derive(Debug, Default)]
struct Told {
    all: usize,
    some: usize,
}

fn run(steps: Vec<Step>) -> Result<Told, TestCaseError> {
    let mut resources: BTreeMap<ResourceKey, Arc<Encoded>> = BTreeMap::new();
    let mut interests = Interests::default();
    let view = View { dialect: Dialect::Weft };
    let pair = || Pair { all: Server::new(&view), some: Server::new(&view), outstanding: Vec::new() };
    let mut clients: [Pair; CLIENTS] = std::array::from_fn(|_| pair());
    let mut told = Told::default();
    for step in steps {
        let mut sent = None;
        match step {
            Step::Change(changes) => {
                let keys: Vec<_> = changes
                    .into_iter()
                    .map(|(resource_type, at, version)| {
                        let key = ResourceKey::new(of_type(resource_type), name(at));
                        match version {
                            Some(version) => {
                                let version = Version::parse(&version.to_string()).unwrap();
                                let encoded = Encoded { key: key.clone(), version, bytes: [0; 3].into() };
                                resources.insert(key.clone(), encoded.into());
                            }
                            None => drop(resources.remove(&key)),
                        }
                        key
                    })
                    .collect();
                let concerned = interests.concerned(&keys);
                for (client, pair) in clients.iter_mut().enumerate() {
                    pair.all.changed(&keys);
                    told.all += 1;
                    if let Some(keys) = concerned.get(&client) {
                        pair.some.changed(keys.iter().copied());
                        told.some += 1;
                    }
                }
            }
            Step::Request { client, resource_type, subscribe, unsubscribe, claims } => {
                sent = Some((client, request(resource_type, &subscribe, &unsubscribe, &claims)));
            }
            Step::Answer { client, refuse } => {
                let outstanding = &mut clients[client].outstanding;
                if !outstanding.is_empty() {
                    sent = Some((client, answer(&outstanding.remove(0), refuse)));
                }
            }
        }
        if let Some((client, request)) = sent {
            let lookup = Seen { resources: &resources, client };
            let Pair { all, some, .. } = &mut clients[client];
            let names = named(&request, &lookup);
            let heard = [all.request(request.clone()), some.request(request)];
            prop_assert_eq!(&heard[0], &heard[1]);
            interests.heard(client, &names, (some, &lookup), |_| false);
        }
        for (client, Pair { all, some, outstanding }) in clients.iter_mut().enumerate() {
            let lookup = Seen { resources: &resources, client };
            loop {
                let (one, other) = (all.respond(&lookup), some.respond(&lookup));
                prop_assert_eq!(&one, &other);
                let Some(response) = one else { break };
                outstanding.push(response);
            }
        }
    }
    Ok(told)
}

proptest! {
    #[test]
    fn the_same_is_sent_whether_a_stream_is_told_of_every_change_or_of_those_that_concern_it(steps in steps()) {
        let told = run(steps)?;
        prop_assert!(told.some <= told.all);
    }
}

#[test]
fn a_stream_is_not_told_of_what_it_never_asked_for() {
    let subscribe = |client, at| Step::Request {
        client,
        resource_type: 0,
        subscribe: vec![at],
        unsubscribe: Vec::new(),
        claims: Vec::new(),
    };
    let told = run(vec![subscribe(0, 0), subscribe(1, 1), Step::Change(vec![(0, 0, Some(1))])]).unwrap();
    assert_eq!((told.all, told.some), (CLIENTS, 1));
}
