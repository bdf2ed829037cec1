//! The server's end alone: order, cutting, bounds, and answers to what clients may say.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_ir::{Dialect, ResourceKey, ResourceType, View};
use weft_proto::{
    envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    google::{protobuf::Any, rpc::Status},
    weft::{Rejection, Rejections},
};
use weft_xds::{Encoded, Found, Lookup, MAX_RESPONSE_BYTES, Server, Version, Violation, type_url};

use ResourceType::{Cluster, Endpoints, Listener, VirtualHost};

/// A server's stream and what it reads from.
struct Bench {
    server: Server,
    world: World,
}

#[derive(Default)]
struct World {
    resources: BTreeMap<ResourceKey, Arc<Encoded>>,
    unsettled: BTreeSet<ResourceKey>,
}

impl Lookup for World {
    fn find(&self, key: &ResourceKey) -> Found {
        if self.unsettled.contains(key) {
            return Found::Unsettled;
        }
        self.resources.get(key).map_or(Found::Absent, |it| Found::Resource(Arc::clone(it)))
    }

    fn wildcard(&self, resource_type: ResourceType) -> Vec<Arc<str>> {
        let all = self.resources.keys().filter(|key| key.resource_type == resource_type);
        all.map(|key| Arc::clone(&key.name)).collect()
    }

    fn revision(&self) -> String {
        "e/all=1".to_owned()
    }
}

impl Bench {
    fn new() -> Self {
        Self { server: Server::new(&View { dialect: Dialect::Weft }), world: World::default() }
    }

    fn put(&mut self, resource_type: ResourceType, name: &str, version: &str, bytes: usize) {
        let key = ResourceKey::new(resource_type, name);
        let version = Version::parse(version).unwrap();
        let encoded = Encoded { key: key.clone(), version, bytes: vec![0; bytes].into() };
        self.world.resources.insert(key.clone(), encoded.into());
        self.server.changed([&key]);
    }

    fn remove(&mut self, resource_type: ResourceType, name: &str) {
        let key = ResourceKey::new(resource_type, name);
        self.world.resources.remove(&key);
        self.server.changed([&key]);
    }

    fn subscribe(&mut self, resource_type: ResourceType, names: &[&str]) {
        let resource_names_subscribe = names.iter().map(|name| (*name).to_owned()).collect();
        self.server.request(DeltaDiscoveryRequest { resource_names_subscribe, ..of(resource_type) }).unwrap();
    }

    fn answer(&mut self, response: &DeltaDiscoveryResponse, error_detail: Option<Status>) -> weft_xds::Heard {
        let type_url = response.type_url.clone();
        let response_nonce = response.nonce.clone();
        let request = DeltaDiscoveryRequest { type_url, response_nonce, error_detail, ..Default::default() };
        self.server.request(request).unwrap()
    }

    fn respond(&mut self) -> Option<DeltaDiscoveryResponse> {
        self.server.respond(&self.world)
    }

    /// Acknowledges everything, and returns what came: type, names, removed names.
    fn drain(&mut self) -> Vec<(ResourceType, Vec<String>, Vec<String>)> {
        let mut seen = Vec::new();
        while let Some(response) = self.respond() {
            self.answer(&response, None);
            seen.push(summary(&response));
        }
        seen
    }
}

fn of(resource_type: ResourceType) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: type_url(resource_type).to_owned(), ..DeltaDiscoveryRequest::default() }
}

fn summary(response: &DeltaDiscoveryResponse) -> (ResourceType, Vec<String>, Vec<String>) {
    let names = response.resources.iter().map(|resource| resource.name.clone()).collect();
    (weft_xds::resource_type(&response.type_url).unwrap(), names, response.removed_resources.clone())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn additions_come_before_what_names_them_and_removals_after() {
    let mut bench = Bench::new();
    for resource_type in [VirtualHost, Listener, Endpoints, Cluster] {
        bench.subscribe(resource_type, &["a", "b"]);
        bench.put(resource_type, "a", "1", 1);
        bench.put(resource_type, "b", "1", 1);
    }
    let order: Vec<_> = bench.drain().into_iter().map(|(resource_type, ..)| resource_type).collect();
    assert_eq!(order, [Cluster, Endpoints, Listener, VirtualHost]);

    for resource_type in [Cluster, Endpoints, Listener, VirtualHost] {
        bench.remove(resource_type, "a");
        bench.put(resource_type, "b", "2", 1);
    }
    let changes = |it| (it, names(&["b"]), names(&[]));
    let removals = |it| (it, names(&[]), names(&["a"]));
    let all = [Cluster, Endpoints, Listener, VirtualHost];
    let expected: Vec<_> = all.into_iter().map(changes).chain(all.into_iter().rev().map(removals)).collect();
    assert_eq!(bench.drain(), expected);
}

#[test]
fn a_host_waits_for_clusters_that_could_not_be_sent_yet() {
    let mut bench = Bench::new();
    bench.subscribe(Cluster, &["a", "b"]);
    bench.subscribe(VirtualHost, &["h"]);
    bench.put(Cluster, "a", "1", 1);
    bench.put(Cluster, "b", "1", 1);
    bench.put(VirtualHost, "h", "1", 1);
    bench.drain();
    bench.put(Cluster, "a", "2", 1);
    let outstanding = bench.respond().unwrap();
    bench.put(Cluster, "b", "2", 1);
    bench.put(VirtualHost, "h", "2", 1);
    assert_eq!(bench.respond(), None);
    bench.answer(&outstanding, None);
    let order: Vec<_> = bench.drain().into_iter().map(|(resource_type, ..)| resource_type).collect();
    assert_eq!(order, [Cluster, VirtualHost]);
}

#[test]
fn a_response_is_cut_at_one_mebibyte_and_a_larger_resource_goes_alone() {
    let mut bench = Bench::new();
    bench.subscribe(Cluster, &["a", "b", "c", "d"]);
    bench.put(Cluster, "a", "1", MAX_RESPONSE_BYTES / 2);
    bench.put(Cluster, "b", "1", MAX_RESPONSE_BYTES / 3);
    bench.put(Cluster, "c", "1", 3 * MAX_RESPONSE_BYTES);
    bench.put(Cluster, "d", "1", 1);
    let cut: Vec<_> = bench.drain().into_iter().map(|(_, names, _)| names).collect();
    assert_eq!(cut, [names(&["a", "b"]), names(&["c"]), names(&["d"])]);
}

#[test]
fn changes_while_a_response_is_under_way_are_folded_into_the_next() {
    let mut bench = Bench::new();
    bench.subscribe(Cluster, &["a"]);
    bench.put(Cluster, "a", "1", 1);
    let first = bench.respond().unwrap();
    for version in ["2", "3", "4"] {
        bench.put(Cluster, "a", version, 1);
        assert_eq!(bench.respond(), None);
    }
    bench.answer(&first, None);
    assert_eq!(bench.respond().unwrap().resources[0].version, "4");
}

#[test]
fn a_wildcard_with_nothing_behind_it_is_answered_empty_and_once() {
    let mut bench = Bench::new();
    bench.subscribe(Listener, &["*"]);
    let response = bench.respond().unwrap();
    assert_eq!(summary(&response), (Listener, names(&[]), names(&[])));
    assert_eq!(response.system_version_info, "e/all=1");
    bench.answer(&response, None);
    assert_eq!(bench.respond(), None);
    bench.put(Listener, "inbound/shop/web", "1", 1);
    assert_eq!(bench.drain(), [(Listener, names(&["inbound/shop/web"]), names(&[]))]);
}

#[test]
fn an_unknown_name_is_answered_once_and_again_when_it_appears() {
    let mut bench = Bench::new();
    bench.subscribe(VirtualHost, &["h"]);
    assert_eq!(bench.drain(), [(VirtualHost, names(&[]), names(&["h"]))]);
    bench.server.changed([&ResourceKey::new(VirtualHost, "h")]);
    assert_eq!(bench.drain(), []);
    bench.put(VirtualHost, "h", "1", 1);
    assert_eq!(bench.drain(), [(VirtualHost, names(&["h"]), names(&[]))]);
}

#[test]
fn a_nack_that_names_one_resource_leaves_the_others_taken() {
    let mut bench = Bench::new();
    bench.subscribe(Cluster, &["good", "bad"]);
    bench.put(Cluster, "good", "1", 1);
    bench.put(Cluster, "bad", "1", 1);
    let response = bench.respond().unwrap();
    let rejection = Rejection { name: "bad".into(), version: "1".into(), reason: "tls: no".into() };
    let value = prost::Message::encode_to_vec(&Rejections { rejections: vec![rejection] });
    let details = vec![Any { type_url: "type.googleapis.com/weft.v1.Rejections".into(), value }];
    let heard = bench.answer(&response, Some(Status { code: 3, details, ..Status::default() }));
    assert!(heard.answered);
    let rejected: Vec<_> = heard.rejected.iter().map(|it| (&*it.key.name, it.reason.as_str())).collect();
    assert_eq!(rejected, [("bad", "tls: no")]);

    // What was refused does not come again; what replaces it does, and so does it when it is asked for anew.
    bench.server.recheck(Cluster);
    assert_eq!(bench.drain(), []);
    bench.put(Cluster, "bad", "2", 1);
    assert_eq!(bench.drain(), [(Cluster, names(&["bad"]), names(&[]))]);
    bench.put(Cluster, "bad", "1", 1);
    assert_eq!(bench.drain(), []);
    bench.subscribe(Cluster, &["bad"]);
    assert_eq!(bench.drain(), [(Cluster, names(&["bad"]), names(&[]))]);
}

#[test]
fn a_nack_without_names_refuses_the_whole_response() {
    let mut bench = Bench::new();
    bench.subscribe(Cluster, &["a", "b"]);
    bench.put(Cluster, "a", "1", 1);
    bench.put(Cluster, "b", "1", 1);
    let response = bench.respond().unwrap();
    let heard = bench.answer(&response, Some(Status { code: 3, message: "no".into(), ..Status::default() }));
    assert_eq!(heard.rejected.len(), 2);
    assert_eq!(bench.drain(), []);
    assert!(bench.server.has_answered_all());
}

#[test]
fn a_stale_nonce_answers_nothing_but_its_subscriptions_count() {
    let mut bench = Bench::new();
    bench.subscribe(Cluster, &["a"]);
    bench.put(Cluster, "a", "1", 1);
    let response = bench.respond().unwrap();
    let request = DeltaDiscoveryRequest {
        response_nonce: "stale".into(),
        error_detail: Some(Status { code: 3, ..Status::default() }),
        resource_names_subscribe: names(&["b"]),
        ..of(Cluster)
    };
    let heard = bench.server.request(request).unwrap();
    assert!(!heard.answered && heard.rejected.is_empty());
    assert_eq!(bench.server.counts().stale, 1);
    assert_eq!(bench.respond(), None, "the first response is still under way");
    bench.answer(&response, None);
    assert_eq!(bench.drain(), [(Cluster, names(&[]), names(&["b"]))]);
}

#[test]
fn what_is_not_settled_is_neither_sent_nor_removed() {
    let mut bench = Bench::new();
    bench.world.unsettled.insert(ResourceKey::new(Endpoints, "e"));
    let initial_resource_versions = [("e".to_owned(), "1".to_owned())].into();
    let resource_names_subscribe = names(&["e"]);
    let request = DeltaDiscoveryRequest { resource_names_subscribe, initial_resource_versions, ..of(Endpoints) };
    bench.server.request(request).unwrap();
    assert_eq!(bench.drain(), []);
    bench.world.unsettled.clear();
    bench.server.recheck(Endpoints);
    assert_eq!(bench.drain(), [(Endpoints, names(&[]), names(&["e"]))]);
}

#[test]
fn a_name_given_up_under_a_wildcard_is_spoken_of_once_more() {
    let mut bench = Bench::new();
    bench.put(Listener, "a", "1", 1);
    bench.subscribe(Listener, &["*", "a", "b"]);
    assert_eq!(bench.drain(), [(Listener, names(&["a"]), names(&["b"]))]);
    let resource_names_unsubscribe = names(&["a", "b"]);
    bench.server.request(DeltaDiscoveryRequest { resource_names_unsubscribe, ..of(Listener) }).unwrap();
    assert_eq!(bench.drain(), [(Listener, names(&["a"]), names(&["b"]))]);
    assert_eq!(bench.drain(), []);
}

#[test]
fn bounds_and_what_is_not_spoken_end_the_stream() {
    let mut bench = Bench::new();
    let request = |names: Vec<String>| DeltaDiscoveryRequest { resource_names_subscribe: names, ..of(Cluster) };
    assert_eq!(bench.server.request(request(vec!["n".repeat(1025)])), Err(Violation::NameLength(1025)));
    assert_eq!(bench.server.request(request(vec![String::new()])), Err(Violation::NameLength(0)));
    let many = (0..=weft_xds::MAX_NAMES).map(|at| at.to_string()).collect();
    assert_eq!(bench.server.request(request(many)), Err(Violation::TooManyNames));
    let foreign = DeltaDiscoveryRequest { type_url: "x".into(), ..DeltaDiscoveryRequest::default() };
    assert_eq!(bench.server.request(foreign), Err(Violation::UnknownType("x".into())));
}
