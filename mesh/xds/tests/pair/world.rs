//! A server's resources: few names of each type, each in one of many variants, some of which no client can read.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use weft_ir::{
    Balance, Cluster, Dialect, Endpoints, HostPort, Limits, Listener, ListenerBody, OutboundTcp, Resource, ResourceKey,
    ResourceType, Route, RouteAction, RouteMatch, RouteOrigin, Security, ServiceKey, View, VirtualHost,
};
use weft_model::{Kind, ObjectRef, PathMatch, Port, Protocol};
use weft_xds::{Encoded, Found, Lookup, Version, encode};

pub(crate) const WEFT: View = View { dialect: Dialect::Weft };

/// How many names there are of each type.
pub(crate) const NAMES: u8 = 4;

/// How many of the listeners the wildcard yields; the others come by name.
const COVERED: u8 = 2;

/// What a server holds, and what its clients are told.
#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) resources: BTreeMap<ResourceKey, Arc<Encoded>>,
    pub(crate) unsettled: BTreeSet<ResourceKey>,
    pub(crate) revision: u64,
    /// The store's epoch, `e` and this number.
    pub(crate) epoch: u8,
}

impl Lookup for World {
    fn find(&self, key: &ResourceKey) -> Found {
        if self.unsettled.contains(key) {
            return Found::Unsettled;
        }
        self.resources.get(key).map_or(Found::Absent, |it| Found::Resource(Arc::clone(it)))
    }

    fn wildcard(&self, resource_type: ResourceType) -> Vec<Arc<str>> {
        let covered = (0..COVERED).map(|at| key(resource_type, at));
        covered.filter(|key| self.resources.contains_key(key)).map(|key| key.name).collect()
    }

    fn revision(&self) -> String {
        format!("e{}/all={}", self.epoch, self.revision)
    }
}

impl World {
    pub(crate) fn put(&mut self, resource_type: ResourceType, at: u8, variant: u8) -> ResourceKey {
        self.revision += 1;
        let encoded = encode(&resource(resource_type, at, variant), &WEFT);
        let key = encoded.key.clone();
        self.resources.insert(key.clone(), encoded.into());
        key
    }

    /// Puts what no client can read.
    pub(crate) fn put_bad(&mut self, resource_type: ResourceType, at: u8, variant: u8) -> ResourceKey {
        self.revision += 1;
        let key = key(resource_type, at);
        let version = Version::parse(&format!("bad-{variant}")).unwrap();
        self.resources.insert(key.clone(), Arc::new(Encoded { key: key.clone(), version, bytes: [0xff; 3].into() }));
        key
    }

    pub(crate) fn remove(&mut self, resource_type: ResourceType, at: u8) -> ResourceKey {
        self.revision += 1;
        let key = key(resource_type, at);
        self.resources.remove(&key);
        key
    }

    /// Whether a wildcard subscription covers a key.
    pub(crate) fn covers(&self, key: &ResourceKey) -> bool {
        key.resource_type == ResourceType::Listener && self.wildcard(key.resource_type).contains(&key.name)
    }
}

pub(crate) fn key(resource_type: ResourceType, at: u8) -> ResourceKey {
    resource(resource_type, at, 0).key()
}

fn resource(resource_type: ResourceType, at: u8, variant: u8) -> Resource {
    let name = service(at);
    let origins = vec![object(variant)];
    match resource_type {
        ResourceType::Cluster => {
            let security = Security::Mesh { sni: format!("v{variant}") };
            let cluster = Cluster {
                name,
                protocol: Protocol::Http,
                security,
                balance: Balance::RoundRobin,
                near_first: None,
                slow_start: None,
                connect_timeout: Duration::from_secs(1),
                limits: Limits::default(),
                breaker: None,
                ejection: None,
                health_check: None,
                origins,
            };
            Resource::Cluster(cluster.into())
        }
        ResourceType::Endpoints => Resource::Endpoints(endpoints(name, variant).into()),
        ResourceType::Listener => {
            let name_ = Listener::outbound_name(&name);
            let body = ListenerBody::OutboundTcp(OutboundTcp { cluster: name });
            Resource::Listener(Listener { name: name_, body, origins }.into())
        }
        ResourceType::RouteConfiguration => {
            let name = format!("outbound-{at}");
            Resource::RouteConfiguration(weft_ir::RouteConfiguration { name }.into())
        }
        ResourceType::VirtualHost => {
            let authority =
                HostPort { host: format!("s{at}.shop.svc.cluster.local").parse().unwrap(), port: Port::HTTP };
            let routes = vec![route(variant)];
            Resource::VirtualHost(VirtualHost { authority, service: name, routes, origins }.into())
        }
    }
}

fn endpoints(name: ServiceKey, variant: u8) -> Endpoints {
    let endpoint = weft_ir::Endpoint {
        peer: weft_ir::Peer::Instance(weft_ir::Instance {
            workload: weft_model::WorkloadRef { namespace: "shop".parse().unwrap(), name: "one".parse().unwrap() },
            identity: "spiffe://weft.local/ns/shop/sa/one".parse().unwrap(),
            network: "default".parse().unwrap(),
            cluster: "local".parse().unwrap(),
        }),
        address: weft_ir::EndpointAddress::Socket(([127, 0, 0, 1], 1000 + u16::from(variant)).into()),
        locality: weft_model::Locality::default(),
        weight: 1,
        health: weft_ir::Health::Healthy,
    };
    Endpoints { name, endpoints: vec![endpoint] }
}

fn route(variant: u8) -> Route {
    Route {
        origin: RouteOrigin::Rule { object: object(variant), rule: 0, alternative: 0 },
        matches: RouteMatch {
            path: PathMatch::Prefix("/".into()),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        },
        action: RouteAction::Refuse { cause: format!("variant {variant}") },
        timeout: None,
        retry: None,
        affinity: None,
        try_timeout: None,
        idle_timeout: None,
        stream_timeout: None,
        headers: None,
        rewrite: None,
        cors: None,
        mirrors: Vec::new(),
    }
}

fn service(at: u8) -> ServiceKey {
    format!("local/shop/s{at}:80").parse().unwrap()
}

fn object(variant: u8) -> ObjectRef {
    let name = format!("v{variant}").parse().unwrap();
    ObjectRef { kind: Kind::HttpRoute, namespace: "shop".parse().unwrap(), name }
}
