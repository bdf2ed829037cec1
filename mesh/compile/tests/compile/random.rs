//! Random objects in random order.
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use proptest::{prelude::*, sample};
use weft_compile::Compiler;
use weft_ir::{Resource, ResourceKey};
use weft_model::{
    AccessAction, AccessMatch, AccessPolicy, AccessRule, AffinityKey, BackendRef, Balancing, BreakerFields, Callers,
    ClusterName, Diagnostic, DirectResponse, Filters, GrpcMatch, GrpcRoute, GrpcRule, HeaderFilters, HttpMatch,
    HttpMethod, HttpRoute, HttpRouteFilter, HttpRule, Labels, LimitFields, Locality, Meta, Mirror, Name, Namespace,
    NetworkName, Object, ObjectRef, Owner, ParentRef, PathMatch, PolicyTarget, Port, Protocol, RetryFields, Selector,
    Service, ServicePortSpec, Share, Stored, TargetKind, TargetPort, TrafficPolicy, Workload,
};

use crate::support::names;

fn text<T: std::str::FromStr<Err: std::fmt::Debug> + Clone + std::fmt::Debug + 'static>(
    of: &'static [&'static str],
) -> impl Strategy<Value = T> {
    sample::select(of).prop_map(|it| it.parse::<T>().unwrap())
}

fn namespace() -> impl Strategy<Value = Namespace> {
    text(&["shop", "lab", "weft-system"])
}

fn name() -> impl Strategy<Value = Name> {
    text(&["a", "b", "c"])
}

fn port() -> impl Strategy<Value = Port> {
    text(&["80", "81", "82"])
}

fn labels() -> impl Strategy<Value = Labels> {
    let pair = |key: &'static str| {
        let value = proptest::option::of(sample::select(&["x", "y"][..]));
        value.prop_map(move |value| value.map(|value| (key.to_owned(), value.to_owned())))
    };
    (pair("app"), pair("tier")).prop_map(|(app, tier)| app.into_iter().chain(tier).collect())
}

fn meta() -> impl Strategy<Value = Meta> {
    let make = |(name, namespace, labels)| Meta { name, namespace, labels, annotations: Labels::new() };
    (name(), namespace(), labels()).prop_map(make)
}

fn service() -> impl Strategy<Value = Object> {
    let protocol = sample::select(&[Protocol::Http, Protocol::Http, Protocol::Tcp][..]);
    let target = prop_oneof![port().prop_map(TargetPort::Number), text(&["http", "other"]).prop_map(TargetPort::Name)];
    let spec = (port(), target, protocol);
    (meta(), proptest::collection::vec(spec, 1..4), labels()).prop_map(|(meta, specs, selector)| {
        let by_number: BTreeMap<_, _> =
            specs.into_iter().map(|(port, target, protocol)| (port, (target, protocol))).collect();
        let spec = |(port, (target, protocol))| ServicePortSpec { name: None, port, target, protocol };
        let ports = by_number.into_iter().map(spec).collect();
        Object::Service(Arc::new(Service { meta, ports, selector: Selector(selector) }))
    })
}

fn workload() -> impl Strategy<Value = Object> {
    let ports = proptest::collection::btree_map(text(&["http", "other"]), port(), 0..3);
    (meta(), ports, any::<[bool; 2]>(), 0u32..3, 1u16..4).prop_map(
        |(meta, ports, [draining, unhealthy], weight, address)| {
            Object::Workload(Arc::new(Workload {
                meta,
                account: "account".parse().unwrap(),
                address: ([10, 0, 0, 1], address).into(),
                ports,
                locality: Locality::default(),
                network: NetworkName::default_network(),
                cluster: ClusterName::local(),
                trust_domain: None,
                weight,
                draining,
                unhealthy,
            }))
        },
    )
}

fn http_route() -> impl Strategy<Value = Object> {
    let parent = (namespace(), name(), proptest::option::of(port())).prop_map(|(namespace, name, port)| ParentRef {
        namespace,
        name,
        port,
    });
    let path = sample::select(&["/", "/a", "/a/b"][..]);
    let path = (path, any::<bool>()).prop_map(|(path, exact)| {
        if exact { PathMatch::Exact(path.to_owned()) } else { PathMatch::Prefix(path.to_owned()) }
    });
    let matches = path.prop_map(|path| HttpMatch { path, method: None, headers: Vec::new(), query: Vec::new() });
    let backend = (namespace(), name(), port(), 0u32..3).prop_map(|(namespace, name, port, weight)| BackendRef {
        namespace,
        name,
        port,
        weight,
        headers: HeaderFilters::default(),
    });
    let mirror = (namespace(), name(), port()).prop_map(|(namespace, name, port)| Mirror {
        namespace,
        name,
        port,
        share: Share::ALL,
    });
    let mirrors = proptest::collection::vec(mirror, 0..2);
    let rule = (
        proptest::option::of(name()),
        proptest::collection::vec(matches, 0..3),
        proptest::collection::vec(backend, 0..3),
        (proptest::option::of(0u64..3), proptest::option::weighted(0.2, name()), mirrors),
    )
        .prop_map(|(name, matches, backends, (timeout, extension, mirrors))| HttpRule {
            name,
            matches,
            backends: if extension.is_some() { Vec::new() } else { backends },
            filters: Filters { mirrors, extension, ..Filters::default() },
            request_timeout: timeout.map(Duration::from_secs),
            backend_timeout: None,
        });
    (meta(), proptest::collection::vec(parent, 1..3), proptest::collection::vec(rule, 1..3))
        .prop_map(|(meta, parents, rules)| Object::HttpRoute(Arc::new(HttpRoute { meta, parents, rules })))
}

/// The same with rules for calls: what attaches where is what matters here.
fn grpc_route() -> impl Strategy<Value = Object> {
    http_route().prop_map(|route| match route {
        Object::HttpRoute(route) => {
            let rule = |rule: &HttpRule| GrpcRule {
                mirrors: rule.filters.mirrors.clone(),
                name: rule.name.clone(),
                matches: rule.matches.iter().map(|_| GrpcMatch::default()).collect(),
                headers: HeaderFilters::default(),
                backends: rule.backends.clone(),
            };
            let (meta, parents) = (route.meta.clone(), route.parents.clone());
            Object::GrpcRoute(Arc::new(GrpcRoute { meta, parents, rules: route.rules.iter().map(rule).collect() }))
        }
        other => other,
    })
}

/// Targets of every kind, also those that a policy must not have.
fn targets() -> impl Strategy<Value = Vec<PolicyTarget>> {
    let kind = sample::select(
        &[TargetKind::Mesh, TargetKind::Namespace, TargetKind::Service, TargetKind::HttpRoute, TargetKind::GrpcRoute][..],
    );
    let target = (kind, namespace(), name(), proptest::option::of(name()), any::<bool>());
    let target = target.prop_map(|(kind, namespace, name, section, valid)| PolicyTarget {
        kind,
        name: if kind == TargetKind::Namespace && valid { namespace.as_str().parse().unwrap() } else { name },
        namespace: (kind != TargetKind::Mesh).then_some(namespace),
        section: section.filter(|_| kind.is_route() || !valid),
    });
    proptest::collection::vec(target, 1..3)
}

fn route_filter() -> impl Strategy<Value = Object> {
    (meta(), 200..203_u16).prop_map(|(meta, status)| {
        let answer = DirectResponse { status, content_type: DirectResponse::TEXT.to_owned(), body: "a".to_owned() };
        Object::HttpRouteFilter(Arc::new(HttpRouteFilter { meta, answer }))
    })
}

fn traffic_policy() -> impl Strategy<Value = Object> {
    let balancing =
        proptest::option::of(sample::select(&[Balancing::RoundRobin, Balancing::RingHash, Balancing::Maglev][..]));
    let few = || proptest::option::of(1u32..3);
    let on = || proptest::option::weighted(0.2, any::<bool>());
    let breaker = proptest::option::of((on(), few()).prop_map(|(enabled, probes)| BreakerFields {
        enabled,
        probes,
        ..BreakerFields::default()
    }));
    let retries = proptest::option::of((on(), few()).prop_map(|(enabled, attempts)| RetryFields {
        enabled,
        attempts,
        ..RetryFields::default()
    }));
    let affinity = proptest::option::of(sample::select(&["x-a", "x-b"][..]));
    let rest = (few(), breaker, retries, affinity);
    (meta(), targets(), balancing, proptest::option::of(0u64..3), rest).prop_map(
        |(meta, targets, balancing, timeout, (requests, breaker, retries, affinity))| {
            let max_requests = requests.and_then(NonZeroU32::new);
            Object::TrafficPolicy(Arc::new(TrafficPolicy {
                balancing,
                affinity: affinity.map(|name| AffinityKey::Header { name: name.to_owned() }),
                limits: LimitFields { max_requests, ..LimitFields::default() },
                breaker,
                retries,
                request_timeout: timeout.map(Duration::from_secs),
                ..TrafficPolicy::new(meta, targets)
            }))
        },
    )
}

fn access_policy() -> impl Strategy<Value = Object> {
    let reads = AccessMatch {
        methods: vec![HttpMethod("GET".to_owned())],
        path: None,
        hosts: vec!["web".parse().unwrap()],
        headers: Vec::new(),
    };
    let callers = prop_oneof![Just(Callers::Anyone), namespace().prop_map(Callers::Namespace)];
    let ports = proptest::collection::vec(port(), 0..2);
    let rule = (any::<bool>(), proptest::collection::vec(callers, 1..3), ports, proptest::bool::weighted(0.3))
        .prop_map(move |(allow, from, ports, by_request)| AccessRule {
            name: None,
            action: if allow { AccessAction::Allow } else { AccessAction::Deny },
            from,
            ports,
            matches: by_request.then(|| reads.clone()).into_iter().collect(),
        });
    (meta(), targets(), proptest::collection::vec(rule, 0..3))
        .prop_map(|(meta, targets, rules)| Object::AccessPolicy(Arc::new(AccessPolicy { meta, targets, rules })))
}

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        service(),
        service(),
        workload(),
        workload(),
        http_route(),
        grpc_route(),
        route_filter(),
        traffic_policy(),
        access_policy()
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Put(Object),
    /// Deletes the object at that place among those there are.
    Delete(sample::Index),
    /// Replaces the object at that place by itself.
    Repeat(sample::Index),
    /// Replaces the object at that place by one that is the same but younger: it was deleted and made again unseen.
    Renew(sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![
        6 => object().prop_map(Step::Put),
        2 => any::<sample::Index>().prop_map(Step::Delete),
        1 => any::<sample::Index>().prop_map(Step::Repeat),
        1 => any::<sample::Index>().prop_map(Step::Renew),
    ];
    proptest::collection::vec(proptest::collection::vec(step, 1..5), 1..20)
}

type Objects = BTreeMap<ObjectRef, Arc<Stored>>;

/// The changes of a batch, made to `objects` too.
fn changes(objects: &mut Objects, batch: &[Step], clock: &mut u64) -> Vec<(ObjectRef, Option<Arc<Stored>>)> {
    let mut changes = Vec::new();
    for step in batch {
        *clock += 1;
        let nth = |index: &sample::Index| objects.iter().nth(index.index(objects.len().max(1)));
        let change = match step {
            Step::Put(object) => {
                let reference = object.reference();
                let created = objects.get(&reference).map_or(*clock, |stored| stored.created);
                let (object, owner) = (object.clone(), Owner::api());
                let stored = Stored { object, owner, created, modified: *clock, source: None };
                (reference, Some(Arc::new(stored)))
            }
            Step::Delete(index) => match nth(index) {
                Some((reference, _)) => (reference.clone(), None),
                None => continue,
            },
            Step::Repeat(index) => match nth(index) {
                Some((reference, stored)) => (reference.clone(), Some(Arc::clone(stored))),
                None => continue,
            },
            Step::Renew(index) => match nth(index) {
                Some((reference, stored)) => {
                    let renewed = Stored { created: *clock, ..(**stored).clone() };
                    (reference.clone(), Some(Arc::new(renewed)))
                }
                None => continue,
            },
        };
        match &change.1 {
            Some(stored) => objects.insert(change.0.clone(), Arc::clone(stored)),
            None => objects.remove(&change.0),
        };
        changes.push(change);
    }
    changes
}

fn resources(compiler: &Compiler) -> BTreeMap<ResourceKey, Resource> {
    compiler.keys().map(|key| (key.clone(), compiler.resource(key).unwrap().clone())).collect()
}

fn diagnostics(compiler: &Compiler) -> BTreeMap<ObjectRef, Vec<Diagnostic>> {
    compiler.all_diagnostics().map(|(object, found)| (object.clone(), found.to_vec())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_objects_give_the_same_resources_whatever_came_before(batches in steps()) {
        let (mut objects, mut clock) = (Objects::new(), 0);
        let mut compiler = Compiler::new(names());
        for batch in &batches {
            let before = resources(&compiler);
            let changed = compiler.apply(changes(&mut objects, batch, &mut clock));
            let after = resources(&compiler);
            let updated: BTreeSet<_> = after.iter().filter(|(key, it)| before.get(key) != Some(it)).map(|it| it.0.clone()).collect();
            let removed: BTreeSet<_> = before.keys().filter(|key| !after.contains_key(key)).cloned().collect();
            prop_assert_eq!(&changed.updated, &updated);
            prop_assert_eq!(&changed.removed, &removed);

            let mut fresh = Compiler::new(names());
            fresh.apply(objects.iter().map(|(reference, stored)| (reference.clone(), Some(Arc::clone(stored)))));
            prop_assert_eq!(&after, &resources(&fresh));
            prop_assert_eq!(diagnostics(&compiler), diagnostics(&fresh));
        }
    }

    #[test]
    fn the_order_and_the_batches_in_which_objects_come_make_no_difference(
        objects in proptest::collection::vec(object(), 1..30).prop_shuffle(),
        seed in any::<u64>(),
    ) {
        let unique: Objects = objects.into_iter().zip(1..).map(|(object, at)| {
            let stored = Stored { object, owner: Owner::api(), created: at / 3, modified: at, source: None };
            (stored.object.reference(), Arc::new(stored))
        }).collect();
        let mut once = Compiler::new(names());
        once.apply(unique.iter().map(|(reference, stored)| (reference.clone(), Some(Arc::clone(stored)))));
        let mut shuffled: Vec<_> = unique.into_iter().collect();
        shuffled.sort_by_key(|(_, stored)| stored.modified.wrapping_mul(seed | 1));
        let mut one_by_one = Compiler::new(names());
        for (reference, stored) in shuffled {
            one_by_one.apply([(reference, Some(stored))]);
        }
        prop_assert_eq!(resources(&once), resources(&one_by_one));
        prop_assert_eq!(diagnostics(&once), diagnostics(&one_by_one));
    }

    #[test]
    fn a_tenants_objects_change_nothing_of_another_namespace(objects in proptest::collection::vec(object(), 1..60)) {
        let stored = |object: &Object, at| {
            let stored = Stored { object: object.clone(), owner: Owner::api(), created: at, modified: at, source: None };
            (stored.object.reference(), Some(Arc::new(stored)))
        };
        let (hostile, others): (Vec<_>, Vec<_>) =
            objects.iter().partition(|object| object.meta().namespace.as_str() == "lab");
        let mut compiler = Compiler::new(names());
        compiler.apply(others.into_iter().zip(1..).map(|(object, at)| stored(object, at)));
        // As old as can be, so that they would win wherever age decides.
        let changed = compiler.apply(hostile.into_iter().map(|object| stored(object, 0)));
        for key in changed.updated.iter().chain(&changed.removed) {
            prop_assert!(key.name.contains("/lab/") || key.name.contains(".lab.svc."), "{}", key);
        }
    }

    #[test]
    fn what_is_compiled_is_keyed_by_its_own_name_and_ordered(objects in proptest::collection::vec(object(), 1..30)) {
        let mut compiler = Compiler::new(names());
        compiler.apply(objects.into_iter().zip(1..).map(|(object, at)| {
            let stored = Stored { object, owner: Owner::api(), created: at, modified: at, source: None };
            (stored.object.reference(), Some(Arc::new(stored)))
        }));
        for key in compiler.keys() {
            let resource = compiler.resource(key).unwrap();
            prop_assert_eq!(&resource.key(), key);
            match resource {
                Resource::Endpoints(it) => prop_assert!(it.endpoints.is_sorted_by_key(|endpoint| &endpoint.peer)),
                Resource::VirtualHost(it) => {
                    prop_assert!(it.routes.is_sorted_by_key(|route| route.matches.order()));
                    prop_assert!(!it.routes.is_empty());
                }
                Resource::Cluster(_) | Resource::Listener(_) | Resource::RouteConfiguration(_) => {}
            }
        }
    }
}
