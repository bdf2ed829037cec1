use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use weft_ir::{Health, HostPort, Route};
use weft_model::{PathMatch, Port};

use super::*;
use crate::{Lookup, testing::*};

fn present(resource: Resource) -> Update {
    Update::Present(resource)
}

fn to(clusters: &[&str]) -> Vec<Route> {
    let shares: Vec<_> = clusters.iter().map(|name| (*name, 1)).collect();
    vec![route_to(0, everything(), &shares)]
}

fn started() -> Assembler {
    Assembler::new(scope(), [service("db")]).0
}

fn host_of(assembler: &Assembler, name: &str) -> Option<bool> {
    let HostPort { host, port } = authority(name);
    match assembler.snapshot().host(host.as_str(), port) {
        Lookup::Present(_) => Some(true),
        Lookup::Absent => Some(false),
        Lookup::Unknown => None,
    }
}

fn ask(assembler: &mut Assembler, name: &str) -> Output {
    assembler.ask(Destination::Host(authority(name)))
}

fn names(keys: &BTreeSet<ResourceKey>) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

#[test]
fn it_starts_with_the_listeners() {
    let (assembler, output) = Assembler::new(scope(), [service("db")]);
    assert_eq!(names(&output.subscribe), ["listener *", "listener outbound/local/shop/db:80"]);
    assert_eq!(output.subscribe, assembler.subscriptions());
    assert_eq!(assembler.snapshot().tcp(&service("db")).map(drop), Lookup::Unknown);
}

#[test]
fn a_host_is_published_once_all_that_it_names_is_answered() {
    let mut assembler = started();
    assert_eq!(names(&ask(&mut assembler, "web").subscribe), ["virtual host outbound/web.shop.svc.cluster.local"]);
    assert!(ask(&mut assembler, "web").subscribe.is_empty());
    let output = assembler.apply([present(resource(host("web", to(&["v1", "v2"]))))], "5");
    assert_eq!(output.subscribe.len(), 4);
    assert_eq!((host_of(&assembler, "web"), output.applied), (None, vec![]));
    let first = [resource(cluster("v1")), resource(endpoints("v1", &[])), resource(cluster("v2"))];
    let _ = assembler.apply(first.map(present), "5");
    assert_eq!(host_of(&assembler, "web"), None);
    let output = assembler.apply([Update::Removed(ResourceKey::endpoints(&service("v2")))], "5");
    assert_eq!(host_of(&assembler, "web"), Some(true));
    let key = ResourceKey::virtual_host(&authority("web"));
    assert!(output.applied.contains(&Applied { key, present: true }), "{:?}", output.applied);
    assert_eq!(&**output.snapshot.unwrap().revision(), "5");
}

#[test]
fn the_old_routes_and_their_clusters_stay_until_the_new_ones_are_answered() {
    let mut assembler = started();
    let _ = ask(&mut assembler, "web");
    let old = [
        resource(host("web", to(&["v1"]))),
        resource(cluster("v1")),
        resource(endpoints("v1", &[(1, Health::Healthy)])),
    ];
    let _ = assembler.apply(old.map(present), "1");
    // The new version comes, and the old cluster goes, before the new cluster is there.
    let output = assembler.apply([present(resource(host("web", to(&["v2"]))))], "2");
    assert_eq!(output.unsubscribe.len(), 0);
    let gone = [ResourceKey::cluster(&service("v1")), ResourceKey::endpoints(&service("v1"))];
    let output = assembler.apply(gone.map(Update::Removed), "2");
    assert_eq!(output.applied, []);
    assert_eq!(assembler.snapshot().cluster(&service("v1")).map(ClusterEntry::healthy), Some(1));
    let new = [resource(cluster("v2")), resource(endpoints("v2", &[(1, Health::Healthy)]))];
    let output = assembler.apply(new.map(present), "2");
    assert_eq!(names(&output.unsubscribe), ["cluster local/shop/v1:80", "endpoints local/shop/v1:80"]);
    let snapshot = output.snapshot.unwrap();
    assert!(snapshot.cluster(&service("v1")).is_none());
    assert!(snapshot.cluster(&service("v2")).is_some());
}

#[test]
fn unchanged_parts_are_shared_between_snapshots() {
    let mut assembler = started();
    let _ = ask(&mut assembler, "web");
    let all = [resource(host("web", to(&["v1"]))), resource(cluster("v1")), resource(endpoints("v1", &[]))];
    let _ = assembler.apply(all.map(present), "1");
    let before = Arc::clone(assembler.snapshot());
    let output = assembler.apply([present(resource(endpoints("v1", &[(1, Health::Healthy)])))], "1");
    let after = output.snapshot.unwrap();
    assert!(Arc::ptr_eq(&before.tables.hosts, &after.tables.hosts));
    assert_eq!(before.cluster(&service("v1")).unwrap().healthy(), 0);
    assert_eq!(after.cluster(&service("v1")).unwrap().healthy(), 1);
    let key = ResourceKey::endpoints(&service("v1"));
    assert_eq!(output.applied, [Applied { key, present: true }]);
}

#[test]
fn an_unusable_host_leaves_the_last_good_one() {
    let mut assembler = started();
    let _ = ask(&mut assembler, "web");
    let _ = assembler.apply([present(resource(host("web", Vec::new())))], "1");
    for bad in ["(", "a)|(b", &"a".repeat(1025), "(?:a{1000}){1000}"] {
        let route = route_to(0, path(PathMatch::Regex(bad.to_owned())), &[("v1", 1)]);
        let broken = resource(host("web", vec![route]));
        assert!(crate::check(&broken).is_err());
        let output = assembler.apply([present(broken)], "1");
        assert_eq!((output.rejected.len(), output.subscribe.len()), (1, 0));
        assert!(output.snapshot.is_none());
    }
    assert_eq!(host_of(&assembler, "web"), Some(true));
}

#[test]
fn a_host_that_does_not_exist_is_known_to_be_absent_and_may_come() {
    let mut assembler = started();
    let _ = ask(&mut assembler, "web");
    let key = ResourceKey::virtual_host(&authority("web"));
    let output = assembler.apply([Update::Removed(key.clone())], "1");
    assert_eq!(output.applied, [Applied { key: key.clone(), present: false }]);
    assert_eq!(host_of(&assembler, "web"), Some(false));
    let _ = assembler.apply([present(resource(host("web", Vec::new())))], "2");
    assert_eq!(host_of(&assembler, "web"), Some(true));
    let output = assembler.forget(&Destination::Host(authority("web")));
    assert_eq!((host_of(&assembler, "web"), output.unsubscribe), (None, [key].into()));
}

#[test]
fn random_hosts_cost_neither_memory_nor_subscriptions() {
    let mut assembler = started();
    let _ = ask(&mut assembler, "web");
    let _ = assembler.apply([present(resource(host("web", Vec::new())))], "1");
    for place in 0..3 * MAX_STRANGERS {
        let name = format!("h{place}");
        let _ = ask(&mut assembler, &name);
        if place % 2 == 0 {
            let _ = assembler.apply([Update::Removed(ResourceKey::virtual_host(&authority(&name)))], "1");
        }
    }
    assert_eq!(assembler.subscriptions().len(), MAX_STRANGERS + 3);
    assert_eq!(host_of(&assembler, "web"), Some(true));
    assert_eq!(host_of(&assembler, "h0"), None);
    assert_eq!(assembler.snapshot().tables.hosts.len(), MAX_STRANGERS / 2 + 1);
}

#[test]
fn what_nobody_subscribed_to_is_not_kept() {
    let mut assembler = started();
    let before = assembler.subscriptions();
    let all = [resource(host("web", to(&["v1"]))), resource(cluster("v1")), tcp("other", "v1")];
    let output = assembler.apply(all.map(present), "");
    assert!(output.snapshot.is_none() && output.applied.is_empty() && output.rejected.is_empty());
    assert_eq!(assembler.subscriptions(), before);
}

#[test]
fn inbound_chains_and_the_route_configuration_follow_their_listeners() {
    let mut assembler = started();
    let outbound = Resource::Listener(Arc::new(Listener {
        name: Listener::OUTBOUND.to_owned(),
        body: ListenerBody::OutboundHttp { route_configuration: "outbound".to_owned() },
        origins: Vec::new(),
    }));
    let stock = chain("stock", weft_ir::Access::default());
    let output = assembler.apply([present(outbound), present(inbound(vec![stock.clone()]))], "1");
    assert_eq!(names(&output.subscribe), ["route configuration outbound"]);
    let snapshot = output.snapshot.unwrap();
    assert_eq!(snapshot.chain(&stock.sni).unwrap().ir(), &stock);
    assert!(snapshot.chain("80.web.shop.mesh.weft.local").is_none());
    let gone = ["outbound", "inbound/shop/stock-0"].map(|name| ResourceKey::new(ResourceType::Listener, name));
    let output = assembler.apply(gone.map(Update::Removed), "1");
    assert_eq!(names(&output.unsubscribe), ["route configuration outbound"]);
    assert!(output.snapshot.unwrap().chain(&stock.sni).is_none());
}

#[test]
fn a_last_good_configuration_is_restored_in_any_order() {
    let all = [
        resource(endpoints("v1", &[(1, Health::Healthy)])),
        resource(cluster("v1")),
        tcp("db", "v1"),
        resource(host("web", to(&["v1"]))),
    ];
    let mut assembler = started();
    let output = assembler.restore(all, "9");
    assert_eq!(output.subscribe.len(), 3);
    assert_eq!(host_of(&assembler, "web"), Some(true));
    assert!(matches!(assembler.snapshot().tcp(&service("db")), Lookup::Present(_)));
}

/// A server with a world of resources, and a client that hears of it late and in any order of types.
struct Server {
    world: BTreeMap<ResourceKey, Resource>,
    subscribed: BTreeSet<ResourceKey>,
    /// What the client was told last does not exist.
    absent: BTreeSet<ResourceKey>,
    queues: BTreeMap<ResourceType, VecDeque<ResourceKey>>,
}

impl Server {
    fn note(&mut self, output: &Output) {
        for key in &output.unsubscribe {
            assert!(self.subscribed.remove(key), "{key} was not subscribed to");
            self.absent.remove(key);
        }
        for key in &output.subscribe {
            assert!(self.subscribed.insert(key.clone()), "{key} was subscribed to already");
            self.push(key.clone());
        }
    }

    fn push(&mut self, key: ResourceKey) {
        self.queues.entry(key.resource_type).or_default().push_back(key);
    }

    fn set(&mut self, key: ResourceKey, resource: Option<Resource>) {
        match resource {
            Some(resource) => drop(self.world.insert(key.clone(), resource)),
            None => drop(self.world.remove(&key)),
        }
        self.push(key);
    }

    /// Delivers the next message of a type, with what the world is by now.
    fn deliver(&mut self, assembler: &mut Assembler, resource_type: ResourceType) -> bool {
        let Some(key) = self.queues.get_mut(&resource_type).and_then(VecDeque::pop_front) else { return false };
        if !self.subscribed.contains(&key) {
            return true;
        }
        let update = match self.world.get(&key) {
            Some(resource) => {
                self.absent.remove(&key);
                Update::Present(resource.clone())
            }
            None => {
                self.absent.insert(key.clone());
                Update::Removed(key)
            }
        };
        let output = assembler.apply([update], "");
        assert!(output.rejected.is_empty());
        self.note(&output);
        self.check(assembler.snapshot());
        assert_eq!(self.subscribed, assembler.subscriptions());
        true
    }

    /// Every cluster that a published host names is held, unless the client was told that it does not exist.
    fn check(&self, snapshot: &Snapshot) {
        for cluster in snapshot.hosts().flat_map(HostEntry::clusters) {
            let is_held = snapshot.cluster(cluster).is_some();
            assert!(is_held || self.absent.contains(&ResourceKey::cluster(cluster)), "{cluster} is not held");
        }
    }
}

const HOSTS: [&str; 3] = ["web", "api", "old"];
const CLUSTERS: [&str; 4] = ["v1", "v2", "v3", "v4"];
#[derive(Clone, Debug)]
enum Step {
    Host(usize, Option<Vec<usize>>),
    Cluster(usize, bool),
    Endpoints(usize, u8),
    Tcp(Option<usize>),
    Deliver(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..HOSTS.len(), prop::option::weighted(0.8, prop::collection::vec(0..CLUSTERS.len(), 0..3)))
            .prop_map(|(host, clusters)| Step::Host(host, clusters)),
        1 => (0..CLUSTERS.len(), any::<bool>()).prop_map(|(cluster, there)| Step::Cluster(cluster, there)),
        1 => (0..CLUSTERS.len(), 0u8..3).prop_map(|(cluster, count)| Step::Endpoints(cluster, count)),
        1 => prop::option::of(0..CLUSTERS.len()).prop_map(Step::Tcp),
        6 => (0..ResourceType::ALL.len()).prop_map(Step::Deliver),
    ];
    prop::collection::vec(step, 0..60)
}

fn endpoints_of(name: &str, count: u8) -> Resource {
    resource(endpoints(name, &vec![(1, Health::Healthy); usize::from(count)]))
}

fn run(server: &mut Server, assembler: &mut Assembler, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Host(at, clusters) => {
                let name = HOSTS[*at];
                let routes = clusters.as_ref().map(|places| {
                    let names: Vec<_> = places.iter().map(|place| CLUSTERS[*place]).collect();
                    resource(host(name, to(&names)))
                });
                server.set(ResourceKey::virtual_host(&authority(name)), routes);
            }
            Step::Cluster(at, there) => {
                let name = CLUSTERS[*at];
                let key = ResourceKey::cluster(&service(name));
                server.set(key, there.then(|| resource(cluster(name))));
            }
            Step::Endpoints(at, count) => {
                let name = CLUSTERS[*at];
                server.set(ResourceKey::endpoints(&service(name)), Some(endpoints_of(name, *count)));
            }
            Step::Tcp(to) => {
                let key = ResourceKey::new(ResourceType::Listener, Listener::outbound_name(&service("db")));
                server.set(key, to.map(|at| tcp("db", CLUSTERS[at])));
            }
            Step::Deliver(at) => drop(server.deliver(assembler, ResourceType::ALL[*at])),
        }
    }
    while ResourceType::ALL.into_iter().any(|it| server.deliver(assembler, it)) {}
}

/// What can be decided from a snapshot, as text.
fn seen(snapshot: &Snapshot) -> BTreeSet<String> {
    let hosts = HOSTS.map(|name| {
        let found = snapshot.host(authority(name).host.as_str(), Port::HTTP);
        format!("{name}: {:?}", found.map(|entry| Arc::clone(entry.virtual_host())))
    });
    let clusters = snapshot.clusters().map(|entry| format!("{:?} {:?}", entry.cluster(), entry.endpoints()));
    let tcp = format!("{:?}", snapshot.tcp(&service("db")).map(|entry| entry.body().clone()));
    let listeners = snapshot.listeners().map(|listener| format!("{listener:?}"));
    hosts.into_iter().chain(clusters).chain([tcp]).chain(listeners).collect()
}

fn server() -> Server {
    let world = CLUSTERS.iter().flat_map(|name| [resource(cluster(name)), endpoints_of(name, 1)]);
    let world = world.map(|resource| (resource.key(), resource)).collect();
    Server { world, subscribed: BTreeSet::new(), absent: BTreeSet::new(), queues: BTreeMap::new() }
}

fn connected(server: &mut Server) -> Assembler {
    let (mut assembler, output) = Assembler::new(scope(), [service("db")]);
    server.note(&output);
    for name in HOSTS {
        server.note(&ask(&mut assembler, name));
    }
    assembler
}

proptest! {
    #[test]
    fn any_interleaving_ends_where_all_at_once_does(steps in steps()) {
        let mut live = server();
        let mut assembler = connected(&mut live);
        run(&mut live, &mut assembler, &steps);
        prop_assert!(assembler.pending.is_empty() && assembler.touched.is_empty());

        let mut fresh = Server { world: live.world, ..server() };
        let mut at_once = connected(&mut fresh);
        run(&mut fresh, &mut at_once, &[]);
        prop_assert_eq!(seen(assembler.snapshot()), seen(at_once.snapshot()));
        prop_assert_eq!(assembler.subscriptions(), at_once.subscriptions());
    }
}
