//! Generators of valid objects for property tests of this and other crates; only with the feature `strategies`.
//!
//! Values are small and often equal (few names, few ports), so that references between generated objects meet. Every
//! form that a kind has comes up.
mod route;
mod traffic;

use std::{collections::BTreeMap, fmt, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use proptest::{collection, option, prelude::*};

use crate::{
    AccessAction, AccessPolicy, AccessRule, Callers, Labels, Locality, Meta, Name, Namespace, Object, PolicyTarget,
    Port, PortName, Protocol, Selector, Service, ServicePortSpec, TargetKind, TargetPort, Workload,
};

pub use route::{
    cors, direct_response, grpc_route, header_filters, http_route, mirrors, redirect, route_filter, url_rewrite,
};
pub use traffic::{affinity, conditions, traffic_policy};

/// An object of any kind.
pub fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        service().prop_map(|it| Object::Service(Arc::new(it))),
        workload().prop_map(|it| Object::Workload(Arc::new(it))),
        http_route().prop_map(|it| Object::HttpRoute(Arc::new(it))),
        grpc_route().prop_map(|it| Object::GrpcRoute(Arc::new(it))),
        route_filter().prop_map(|it| Object::HttpRouteFilter(Arc::new(it))),
        traffic_policy().prop_map(|it| Object::TrafficPolicy(Arc::new(it))),
        access_policy().prop_map(|it| Object::AccessPolicy(Arc::new(it))),
    ]
}

/// A Service of one to four ports.
pub fn service() -> impl Strategy<Value = Service> {
    let port = (target_port(), protocol());
    let ports = collection::btree_map(port_number(), port, 1..=4);
    (meta(label_text("[a-z][a-z0-9-]{0,6}[a-z0-9]")), ports, labels()).prop_map(|(meta, ports, selector)| {
        let several = ports.len() > 1;
        let ports = ports.into_iter().enumerate().map(|(index, (port, (target, protocol)))| {
            let name = (several || index % 2 == 1).then(|| valid(&format!("p{index}")));
            ServicePortSpec { name, port, target, protocol }
        });
        Service { meta, ports: ports.collect(), selector: Selector(selector) }
    })
}

/// A Workload.
pub fn workload() -> impl Strategy<Value = Workload> {
    let address = (any::<std::net::IpAddr>(), 1..=u16::MAX)
        .prop_filter("an address that can be reached", |(ip, _)| !ip.is_unspecified() && !ip.is_multicast())
        .prop_map(SocketAddr::from);
    let place = || label_text("[A-Za-z0-9._-]{1,8}");
    let locality =
        (option::of(place()), option::of(place()), option::of(place())).prop_map(|(region, zone, sub_zone)| {
            let parse = |text: Option<String>| text.map(|text| valid(&text));
            Locality { region: parse(region), zone: parse(zone), sub_zone: parse(sub_zone) }
        });
    let place_in_mesh = (locality, place(), label_text("[a-z][a-z0-9-]{0,6}[a-z0-9]"), option::of("[a-z0-9._-]{1,12}"));
    let state = (1_u32..=1_000_000, any::<bool>(), any::<bool>());
    let ports = collection::btree_map(port_name(), port_number(), 0..4);
    (meta(subdomain()), subdomain(), address, ports, place_in_mesh, state).prop_map(
        |(meta, account, address, ports, (locality, network, cluster, trust_domain), (weight, draining, unhealthy))| {
            Workload {
                meta,
                account: valid(&account),
                address,
                ports,
                locality,
                network: valid(&network),
                cluster: valid(&cluster),
                trust_domain: trust_domain.map(|domain| valid(&domain)),
                weight,
                draining,
                unhealthy,
            }
        },
    )
}

/// An AccessPolicy of any targets, with every form of callers.
pub fn access_policy() -> impl Strategy<Value = AccessPolicy> {
    let callers = prop_oneof![
        Just(Callers::Anyone),
        "[a-z0-9.]{1,8}/[A-Za-z0-9_-]{1,8}(/[A-Za-z0-9_-]{1,8}){0,3}"
            .prop_map(|rest| Callers::Identity(valid(&format!("spiffe://{rest}")))),
        namespace().prop_map(Callers::Namespace),
        (namespace(), subdomain()).prop_map(|(namespace, account)| Callers::Account(namespace, valid(&account))),
    ];
    let action = prop_oneof![Just(AccessAction::Allow), Just(AccessAction::Deny)];
    let ports = collection::btree_set(port_number(), 0..3).prop_map(|ports| ports.into_iter().collect());
    let matches = collection::vec(route::access_match(), 0..3);
    let rule = (any::<bool>(), action, collection::vec(callers, 1..4), ports, matches);
    (policy_meta(), targets(false), collection::vec(rule, 0..4)).prop_map(|(meta, targets, rules)| {
        let (meta, targets) = place_targets(meta, targets);
        let rules = rules.into_iter().enumerate().map(|(index, it)| {
            let (has_name, action, from, ports, matches) = it;
            AccessRule { name: rule_name(has_name, index), action, from, ports, matches }
        });
        AccessPolicy { meta, targets, rules: rules.collect() }
    })
}

/// One of a few namespaces.
pub fn namespace() -> impl Strategy<Value = Namespace> {
    prop_oneof![Just("shop"), Just("tests"), Just("default")].prop_map(valid)
}

/// One of a few names of Services.
pub fn name() -> impl Strategy<Value = Name> {
    prop_oneof![Just("web"), Just("catalog"), Just("reviews"), Just("reviews-v2"), Just("stock")].prop_map(valid)
}

/// A port, often a usual one.
pub fn port_number() -> impl Strategy<Value = Port> {
    prop_oneof![Just(80_u16), Just(8080), Just(7000), 1..=u16::MAX].prop_map(|number| valid(&number.to_string()))
}

fn regex() -> impl Strategy<Value = String> {
    prop_oneof![Just("/v[0-9]+/.*"), Just("^(a|b)$"), Just("\\d{3}"), Just("#: 'x'"), Just("\"q\" - \\\\")]
        .prop_map(str::to_owned)
}

/// Targets whose namespace and names are not yet their policy's: see [`place_targets`].
fn targets(routes: bool) -> impl Strategy<Value = Vec<PolicyTarget>> {
    let section = if routes { option::of(name()).boxed() } else { Just(None).boxed() };
    let kind = if routes { 0_usize..5 } else { 0..3 };
    let target = (kind, name(), section).prop_map(|(kind, name, section)| {
        let kinds = [
            TargetKind::Mesh,
            TargetKind::Namespace,
            TargetKind::Service,
            TargetKind::HttpRoute,
            TargetKind::GrpcRoute,
        ];
        let kind = kinds[kind];
        let section = section.filter(|_| kind.is_route());
        PolicyTarget { kind, namespace: None, name, section }
    });
    collection::vec(target, 1..4)
}

/// Makes targets fit the policy, and moves a policy of the mesh to the root namespace.
fn place_targets(mut meta: Meta, targets: Vec<PolicyTarget>) -> (Meta, Vec<PolicyTarget>) {
    if targets.iter().any(|target| target.kind == TargetKind::Mesh) {
        meta.namespace = Namespace::system();
    }
    let mut placed: Vec<PolicyTarget> = Vec::new();
    for mut target in targets {
        target.namespace = (target.kind != TargetKind::Mesh).then(|| meta.namespace.clone());
        match target.kind {
            TargetKind::Mesh => target.name = valid("mesh"),
            TargetKind::Namespace => target.name = valid(meta.namespace.as_str()),
            TargetKind::Service | TargetKind::HttpRoute | TargetKind::GrpcRoute => {}
        }
        if !placed.contains(&target) {
            placed.push(target);
        }
    }
    (meta, placed)
}

fn policy_meta() -> impl Strategy<Value = Meta> {
    meta(subdomain())
}

fn meta(name: BoxedStrategy<String>) -> impl Strategy<Value = Meta> {
    let annotations = collection::btree_map(label_key(), text(), 0..3);
    (name, namespace(), labels(), annotations).prop_map(|(name, namespace, labels, annotations)| Meta {
        name: valid(&name),
        namespace,
        labels,
        annotations,
    })
}

fn labels() -> impl Strategy<Value = Labels> {
    let value = prop_oneof![
        Just(String::new()),
        Just("true".to_owned()),
        Just("1".to_owned()),
        Just("1e3".to_owned()),
        Just("null".to_owned()),
        Just("v2".to_owned()),
        label_text("[A-Za-z0-9]([A-Za-z0-9._-]{0,6}[A-Za-z0-9])?"),
    ];
    collection::btree_map(label_key(), value, 0..4).prop_map(BTreeMap::from_iter)
}

fn label_key() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("app".to_owned()),
        Just("version".to_owned()),
        Just("1".to_owned()),
        Just("true".to_owned()),
        label_text("([a-z][a-z0-9]{0,4}\\.dev/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,6}[A-Za-z0-9])?"),
    ]
}

/// Any text that decoding lets through, often one that YAML could mistake for something else.
fn text() -> impl Strategy<Value = String> {
    let tricky =
        ["", " a ", "- a", "a: b", "# a", "a #b", "'", "\"", "~", "no", "0x1F", ".5", "|", ">", "&a", "*a", "!a", "%"];
    let lines =
        ["a\nb", "\na", "a\n", "a\n\n", "  a\n b\n", "a\tb", "\t", "---", "...", "a\n---\nb", "{a", "[a", "{}", "[]"];
    prop_oneof![
        proptest::sample::select(tricky.to_vec()).prop_map(str::to_owned),
        proptest::sample::select(lines.to_vec()).prop_map(str::to_owned),
        "\\PC{0,12}".prop_map(|text| text.replace(['\u{2028}', '\u{2029}'], "")),
    ]
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(0), 1..100_000_u64, 1..359_999_999_999_u64].prop_map(Duration::from_millis)
}

fn target_port() -> impl Strategy<Value = TargetPort> {
    prop_oneof![port_number().prop_map(TargetPort::Number), port_name().prop_map(TargetPort::Name)]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Http), Just(Protocol::Tcp), Just(Protocol::Http2)]
}

fn port_name() -> impl Strategy<Value = PortName> {
    "[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,4})?".prop_map(|text| valid(&text))
}

fn subdomain() -> BoxedStrategy<String> {
    label_text("[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?(\\.[a-z0-9]{1,4}){0,2}")
}

fn rule_name(has_name: bool, index: usize) -> Option<Name> {
    has_name.then(|| valid(&format!("rule-{index}")))
}

fn label_text(pattern: &'static str) -> BoxedStrategy<String> {
    pattern.boxed()
}

/// A value of which the generator knows that it is valid.
fn valid<T: FromStr<Err: fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("the generator made {text:?}: {error:?}"))
}
