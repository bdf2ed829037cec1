//! Random configurations: objects of every kind over the cast, which often meet and sometimes miss each other.
use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use weft_model::{
    AccessAction, AccessMatch, AccessPolicy, AccessRule, AffinityKey, BackendRef, Balancing, BreakerFields, Callers,
    EjectionFields, HeaderFilters, HeaderMatch, HealthCheckFields, HttpMatch, HttpMethod, HttpRoute, HttpRule, Labels,
    LimitFields, Locality, LocalityFields, Meta, Mirror, Name, Namespace, NetworkName, Object, ParentRef, PathMatch,
    PolicyTarget, Port, Protocol, RetryFields, Selector, Service, ServicePortSpec, Share, SlowStartFields, TargetKind,
    TargetPort, TextMatch, TrafficPolicy, Workload,
};

use crate::{
    cast::{CALLED, CAST, PORT_NAMES, Place},
    dice::{Dice, valid},
    filters,
};

/// The namespaces, and the names that Services may have in each.
pub(crate) const SERVICES: [(&str, [&str; 3]); 2] =
    [("shop", ["web", "cart", "stock"]), ("bank", ["web", "ledger", "vault"])];

/// Regular expressions of paths, each with paths that it takes. Mostly without Unicode classes, which take long to
/// compile.
pub(crate) const PATH_REGEXES: [(&str, [&str; 2]); 5] = [
    ("/v[0-9]+/[a-z/]*", ["/v1/", "/v12/list"]),
    ("/(a|b)/c?", ["/a/", "/b/c"]),
    ("(?i)/shout", ["/shout", "/SHOUT"]),
    ("/item/[0-9]{1,3}", ["/item/7", "/item/042"]),
    (".*/edit", ["/edit", "/item/7/edit"]),
];

/// Whole paths and prefixes.
pub(crate) const PATHS: [&str; 8] = ["/", "/a", "/a/b", "/item", "/item/7", "/v1", "/a~b/c", "/caf%C3%A9"];

/// Methods that a match may have.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "HEAD"];

/// Header matches: a name, what its value must be, and a value (or several lines) that is it.
pub(crate) const HEADERS: [(&str, bool, &str, &[&str]); 6] = [
    ("x-canary", false, "always", &["always"]),
    ("x-user", false, "a,b", &["a", "b"]),
    ("x-user", true, "[a-z]+[0-9]", &["kim7"]),
    ("x-colors", true, "(red|blue),[a-z]+", &["red", "green"]),
    ("user-agent", true, "[A-Za-z ]*[Ff]irefox [0-9]", &["Mozilla Firefox 9"]),
    ("cookie", false, "session=1", &["session=1"]),
];

/// The objects of one configuration. `probe` is the name of a Service that nobody stands behind.
pub(crate) fn objects(dice: &mut Dice, places: &[Place], probe: &str) -> Vec<Object> {
    let mut objects = workloads(dice, places);
    let services = services(dice, places);
    let routes = routes(dice, &services);
    objects.extend(access_policies(dice, &services));
    objects.extend(traffic_policies(dice, &services, &routes));
    objects.extend(services.into_iter().map(|it| Object::Service(Arc::new(it))));
    for route in routes {
        let has_backends = route.rules.iter().any(|rule| !rule.backends.is_empty());
        objects.push(match dice.percent(12) && has_backends {
            true => Object::GrpcRoute(Arc::new(filters::for_calls(dice, route))),
            false => Object::HttpRoute(Arc::new(route)),
        });
    }
    for (namespace, _) in SERVICES {
        let answers = filters::answers(namespace);
        objects.extend(answers.map(|it| Object::HttpRouteFilter(Arc::new(it))));
    }
    let ports = vec![port_spec(dice, 80, Protocol::Http, &[])];
    let probe = Service { meta: meta("probe", probe), ports, selector: Selector::default() };
    objects.push(Object::Service(Arc::new(probe)));
    objects
}

fn meta(namespace: &str, name: &str) -> Meta {
    Meta { name: valid(name), namespace: valid(namespace), labels: Labels::new(), annotations: Labels::new() }
}

fn workloads(dice: &mut Dice, places: &[Place]) -> Vec<Object> {
    let mut workloads = Vec::new();
    for (member, place) in CAST[..CALLED].iter().zip(places) {
        if dice.percent(5) {
            continue;
        }
        let mut meta = meta(member.namespace, member.name);
        meta.labels.insert("app".into(), (*dice.pick(&["a", "a", "a", "b"])).into());
        meta.labels.insert("version".into(), (*dice.pick(&["v1", "v2"])).into());
        let named = PORT_NAMES.iter().zip(place.ports).map(|(name, port)| (valid(name), port));
        let count = if dice.percent(80) { 2 } else { 1 };
        workloads.push(Object::Workload(Arc::new(Workload {
            meta,
            account: valid(member.account),
            address: place.inbound,
            ports: named.take(count).collect(),
            locality: locality(dice),
            network: NetworkName::default_network(),
            cluster: valid("local"),
            trust_domain: None,
            weight: *dice.pick(&[1, 1, 2, 7]),
            draining: dice.percent(10),
            unhealthy: dice.percent(10),
        })));
    }
    workloads
}

/// The callers are in zone `a` of `eu`.
fn locality(dice: &mut Dice) -> Locality {
    let (region, zone) = *dice.pick(&[("eu", "a"), ("eu", "b"), ("us", "a")]);
    Locality {
        region: dice.percent(90).then(|| valid(region)),
        zone: dice.percent(90).then(|| valid(zone)),
        sub_zone: None,
    }
}

fn services(dice: &mut Dice, places: &[Place]) -> Vec<Service> {
    let mut services = Vec::new();
    for (namespace, names) in SERVICES {
        let own: Vec<_> = CAST
            .iter()
            .zip(places)
            .filter(|(member, _)| member.namespace == namespace)
            .map(|(_, place)| *place)
            .collect();
        for name in names {
            if dice.percent(20) {
                continue;
            }
            let mut ports = Vec::new();
            for (number, protocol, percent) in
                [(80, Protocol::Http, 80), (8080, Protocol::Http, 50), (9000, Protocol::Tcp, 40)]
            {
                if dice.percent(percent) {
                    ports.push(port_spec(dice, number, protocol, &own));
                }
            }
            if ports.is_empty() {
                ports.push(port_spec(dice, 8080, Protocol::Http, &own));
            }
            let selector = match dice.below(40) {
                0 => Labels::new(),
                1 => label(&[("app", "nobody")]),
                2..6 => label(&[("app", "a"), ("version", *dice.pick(&["v1", "v2"]))]),
                6..9 => label(&[("app", "b")]),
                _ => label(&[("app", "a")]),
            };
            services.push(Service { meta: meta(namespace, name), ports, selector: Selector(selector) });
        }
    }
    services
}

fn label(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn port_spec(dice: &mut Dice, number: u16, protocol: Protocol, places: &[Place]) -> ServicePortSpec {
    let target = match dice.below(40) {
        0 => TargetPort::Name(valid("none")),
        1..8 => TargetPort::Name(valid("alt")),
        8..12 if !places.is_empty() => TargetPort::Number(dice.pick(places).ports[dice.below(2)]),
        _ => TargetPort::Name(valid("http")),
    };
    let name = Some(valid(&format!("p{number}")));
    ServicePortSpec { name, port: port(number), target, protocol }
}

pub(crate) fn port(number: u16) -> Port {
    Port::new(number).expect("a generated port is not zero")
}

fn routes(dice: &mut Dice, services: &[Service]) -> Vec<HttpRoute> {
    let mut routes = Vec::new();
    for service in services {
        let count = *dice.pick(&[0, 1, 1, 1, 2]);
        for _ in 0..count {
            let namespace = &service.meta.namespace;
            let parent = |name: &Name, port| ParentRef { namespace: namespace.clone(), name: name.clone(), port };
            let port = dice.percent(25).then(|| dice.pick(&service.ports).port);
            let mut parents = vec![parent(&service.meta.name, port)];
            if dice.percent(20) {
                let other: Name = valid(dice.pick::<&str>(&names_of(namespace)));
                if other != service.meta.name {
                    parents.push(parent(&other, None));
                }
            }
            let rules = (0..1 + dice.below(3)).map(|place| rule(dice, namespace, services, place)).collect();
            routes.push(HttpRoute { meta: meta(namespace.as_str(), &format!("r{}", routes.len())), parents, rules });
        }
    }
    routes
}

fn names_of(namespace: &Namespace) -> [&'static str; 3] {
    let found = SERVICES.iter().find(|(its, _)| *its == namespace.as_str());
    found.map(|(_, names)| *names).expect("a generated namespace")
}

fn rule(dice: &mut Dice, namespace: &Namespace, services: &[Service], place: usize) -> HttpRule {
    let matches: Vec<_> = (0..1 + dice.below(2)).map(|_| http_match(dice)).collect();
    let mut filters = filters::filters(dice, &matches);
    let mut backends = Vec::new();
    if !filters.answers() {
        backends.extend((0..*dice.pick(&[1, 1, 2, 2, 3])).map(|_| backend(dice, namespace, services)));
        if backends.iter().all(|backend| backend.weight == 0) {
            backends[0].weight = 1;
        }
        if dice.percent(15) {
            filters.mirrors.extend((0..1 + dice.below(2)).map(|_| mirror(dice, namespace, services)));
        }
    }
    let name = dice.percent(50).then(|| valid(&format!("rule-{place}")));
    let request_timeout = dice.percent(20).then(|| timeout(dice));
    let backend_timeout = dice.percent(35).then(|| Duration::from_secs(*dice.pick(&[0, 45, 60])));
    HttpRule { name, matches, filters, backends, request_timeout, backend_timeout }
}

/// Long enough that nothing here ever takes it; zero is no bound.
fn timeout(dice: &mut Dice) -> Duration {
    Duration::from_secs(*dice.pick(&[0, 60, 90, 3600]))
}

fn http_match(dice: &mut Dice) -> HttpMatch {
    let path = path_match(dice);
    let method = dice.percent(25).then(|| HttpMethod((*dice.pick(&METHODS)).to_owned()));
    let mut headers: BTreeMap<String, HeaderMatch> = BTreeMap::new();
    for _ in 0..*dice.pick(&[0, 0, 0, 1, 2]) {
        let header = header_match(dice);
        headers.insert(header.name.clone(), header);
    }
    HttpMatch { path, method, headers: headers.into_values().collect(), query: filters::query(dice) }
}

fn path_match(dice: &mut Dice) -> PathMatch {
    match dice.below(10) {
        0..3 => PathMatch::Exact((*dice.pick(&PATHS)).to_owned()),
        3..5 => PathMatch::Regex(dice.pick(&PATH_REGEXES).0.to_owned()),
        _ => PathMatch::Prefix((*dice.pick(&PATHS)).to_owned()),
    }
}

fn header_match(dice: &mut Dice) -> HeaderMatch {
    let &(name, is_regex, value, _) = dice.pick(&HEADERS);
    let value = value.to_owned();
    HeaderMatch {
        name: name.to_owned(),
        value: if is_regex { TextMatch::Regex(value) } else { TextMatch::Exact(value) },
    }
}

/// Mostly a port of an existing Service; now and then one that is missing, speaks TCP or is another namespace's.
fn backend(dice: &mut Dice, namespace: &Namespace, services: &[Service]) -> BackendRef {
    let weight = *dice.pick(&[1, 1, 1, 2, 10, 90, 0]);
    let headers = if dice.percent(12) { filters::headers(dice) } else { HeaderFilters::default() };
    let own: Vec<_> = services.iter().filter(|service| service.meta.namespace == *namespace).collect();
    if dice.percent(85)
        && !own.is_empty()
        && let service = *dice.pick(&own)
        && let Some(spec) = service.ports.iter().find(|spec| spec.protocol == Protocol::Http)
    {
        let (namespace, name, port) = (namespace.clone(), service.meta.name.clone(), spec.port);
        return BackendRef { namespace, name, port, weight, headers };
    }
    let namespace = if dice.percent(20) { valid(dice.pick(&SERVICES).0) } else { namespace.clone() };
    let name = valid(dice.pick::<&str>(&names_of(&namespace)));
    BackendRef { namespace, name, port: port(*dice.pick(&[80, 8080, 9000, 9000, 9000, 1234])), weight, headers }
}

/// A mirror that is there as often as a backend is.
fn mirror(dice: &mut Dice, namespace: &Namespace, services: &[Service]) -> Mirror {
    let BackendRef { namespace, name, port, .. } = backend(dice, namespace, services);
    let (part, of) = *dice.pick(&[(100, 100), (50, 100), (1, 3), (0, 100)]);
    Mirror { namespace, name, port, share: Share { part, of: NonZeroU32::new(of).expect("a denominator") } }
}

fn access_policies(dice: &mut Dice, services: &[Service]) -> Vec<Object> {
    let mut targets = Vec::new();
    for service in services {
        if dice.percent(45) {
            targets.push((service.meta.namespace.to_string(), of_service(service)));
        }
    }
    for (namespace, _) in SERVICES {
        if dice.percent(35) {
            targets.push((namespace.to_owned(), of_namespace(namespace)));
        }
    }
    if dice.percent(40) {
        targets.push((Namespace::system().to_string(), of_mesh()));
    }
    let policy = |(place, (namespace, target)): (usize, (String, PolicyTarget))| {
        let rules = (0..*dice.pick(&[0, 1, 1, 2, 2, 3])).map(|_| access_rule(dice)).collect();
        let meta = meta(&namespace, &format!("access-{place}"));
        Object::AccessPolicy(Arc::new(AccessPolicy { meta, targets: vec![target], rules }))
    };
    targets.into_iter().enumerate().map(policy).collect()
}

fn access_rule(dice: &mut Dice) -> AccessRule {
    let action = if dice.percent(60) { AccessAction::Allow } else { AccessAction::Deny };
    let mut from: Vec<_> = (0..1 + dice.below(2)).map(|_| callers(dice, action)).collect();
    from.dedup();
    let ports = if dice.percent(80) { Vec::new() } else { vec![port(*dice.pick(&[80, 8080]))] };
    let matches = if dice.percent(85) { vec![access_match(dice)] } else { Vec::new() };
    AccessRule { name: None, action, from, ports, matches }
}

fn access_match(dice: &mut Dice) -> AccessMatch {
    let mut asks = AccessMatch { methods: Vec::new(), path: None, hosts: Vec::new(), headers: Vec::new() };
    match dice.below(13) {
        0 => {
            asks.methods.extend(["GET", "HEAD", "OPTIONS"].map(|method| HttpMethod(method.to_owned())));
            if dice.percent(50) {
                asks.headers.push(header_match(dice));
            }
        }
        1 | 2 => asks.path = Some(PathMatch::Exact((*dice.pick(&PATHS)).to_owned())),
        3 | 4 => asks.path = Some(PathMatch::Prefix((*dice.pick(&PATHS)).to_owned())),
        5 | 6 => asks.path = Some(PathMatch::Regex(dice.pick(&PATH_REGEXES).0.to_owned())),
        7 | 8 => {
            let (namespace, names) = dice.pick(&SERVICES);
            let forms =
                [names[0].to_owned(), format!("{}.{namespace}", names[1]), format!("{}.{namespace}.svc", names[2])];
            asks.hosts.extend(forms.iter().map(|host| valid(host)));
            asks.path = dice.percent(30).then(|| path_match(dice));
        }
        9 | 10 => asks.headers.push(header(dice, false)),
        _ => asks.headers.push(header(dice, true)),
    }
    asks
}

/// A match of that kind.
fn header(dice: &mut Dice, by_regex: bool) -> HeaderMatch {
    loop {
        let header = header_match(dice);
        if matches!(header.value, TextMatch::Regex(_)) == by_regex {
            return header;
        }
    }
}

fn callers(dice: &mut Dice, action: AccessAction) -> Callers {
    let member = dice.pick(&CAST);
    // Who denies anyone leaves nothing to see: rarely.
    match dice.below(if action == AccessAction::Deny { 10 } else { 12 }) {
        0..3 => Callers::Namespace(valid(member.namespace)),
        3..6 => Callers::Account(valid(member.namespace), valid(member.account)),
        6..9 => Callers::Identity(member.identity()),
        _ => Callers::Anyone,
    }
}

fn traffic_policies(dice: &mut Dice, services: &[Service], routes: &[HttpRoute]) -> Vec<Object> {
    let mut policies = Vec::new();
    for place in 0..1 + dice.below(4) {
        let (namespace, target) = match dice.below(5) {
            0 => (Namespace::system().to_string(), of_mesh()),
            1 => {
                let namespace = dice.pick(&SERVICES).0;
                (namespace.to_owned(), of_namespace(namespace))
            }
            2 if !routes.is_empty() => {
                let route = dice.pick(routes);
                let section = route.rules.iter().find_map(|rule| rule.name.clone()).filter(|_| dice.percent(50));
                (route.meta.namespace.to_string(), of(&route.meta, TargetKind::HttpRoute, section))
            }
            _ if !services.is_empty() => {
                let service = dice.pick(services);
                (service.meta.namespace.to_string(), of_service(service))
            }
            _ => continue,
        };
        let meta = meta(&namespace, &format!("traffic-{place}"));
        let (balancing, affinity) = (dice.percent(85).then(|| *dice.pick(&BALANCINGS)), affinity(dice));
        let locality = dice.percent(40).then(LocalityFields::default);
        let request_timeout = dice.percent(80).then(|| timeout(dice));
        policies.push(Object::TrafficPolicy(Arc::new(TrafficPolicy {
            balancing,
            locality,
            affinity,
            request_timeout,
            idle_timeout: dice.percent(50).then(|| timeout(dice)),
            stream_timeout: dice.percent(50).then(|| timeout(dice)),
            ..resilience(dice, TrafficPolicy::new(meta, vec![target]))
        })));
    }
    policies
}

/// Fields that decide nothing as long as all goes well: what is drawn must neither change an answer nor be lost.
fn resilience(dice: &mut Dice, policy: TrafficPolicy) -> TrafficPolicy {
    let many = NonZeroU32::new(10_000);
    let (limits, breaker) = (dice.percent(30), dice.percent(30));
    let (ejection, retries) = (dice.percent(30), dice.percent(30));
    let limits = match limits {
        true => LimitFields { max_connections: many, max_pending: many, max_requests: many },
        false => LimitFields::default(),
    };
    TrafficPolicy {
        limits,
        breaker: breaker.then(|| BreakerFields { consecutive_failures: Some(1_000), ..BreakerFields::default() }),
        ejection: ejection.then(|| EjectionFields { consecutive_errors: Some(1_000), ..EjectionFields::default() }),
        retries: retries.then(|| RetryFields { attempts: Some(2), ..RetryFields::default() }),
        slow_start: dice.percent(20).then(|| SlowStartFields { enabled: Some(false), ..SlowStartFields::default() }),
        health_check: dice
            .percent(20)
            .then(|| HealthCheckFields { enabled: Some(false), ..HealthCheckFields::default() }),
        ..policy
    }
}

/// By each kind of key, and often by none. Matches are written for the same fields, so that they are there.
fn affinity(dice: &mut Dice) -> Option<AffinityKey> {
    let named = |name: &str| name.to_owned();
    match dice.below(8) {
        0 => Some(AffinityKey::Cookie { name: named("session"), path: named("/"), ttl: None }),
        1 => Some(AffinityKey::Header { name: named("x-user") }),
        2 => Some(AffinityKey::Query { name: named("v") }),
        3 => Some(AffinityKey::SourceAddress),
        _ => None,
    }
}

const BALANCINGS: [Balancing; 7] = [
    Balancing::RoundRobin,
    Balancing::LeastRequest,
    Balancing::Random,
    Balancing::PeakEwma,
    Balancing::RingHash,
    Balancing::Maglev,
    Balancing::Maglev,
];

fn of(meta: &Meta, kind: TargetKind, section: Option<Name>) -> PolicyTarget {
    PolicyTarget { kind, namespace: Some(meta.namespace.clone()), name: meta.name.clone(), section }
}

fn of_service(service: &Service) -> PolicyTarget {
    of(&service.meta, TargetKind::Service, None)
}

fn of_namespace(namespace: &str) -> PolicyTarget {
    of(&meta(namespace, namespace), TargetKind::Namespace, None)
}

fn of_mesh() -> PolicyTarget {
    PolicyTarget { kind: TargetKind::Mesh, namespace: None, name: valid("mesh"), section: None }
}
