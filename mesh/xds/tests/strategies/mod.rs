//! Every IR value, for property tests.
mod filters;
mod resilience;

use std::{net::SocketAddr, time::Duration};

use proptest::{collection::vec, option, prelude::*};
use weft_ir::{
    Access, AccessRule, Caller, Cluster, Endpoint, EndpointAddress, Endpoints, HeaderMatch, Health, HostPort, Inbound,
    InboundChain, Instance, Listener, ListenerBody, OutboundTcp, Peer, RequestMatch, Resource, Route, RouteAction,
    RouteConfiguration, RouteMatch, RouteOrigin, RuleName, Security, ServiceKey, ServicePort, VirtualHost,
    WeightedCluster,
};
use weft_model::{
    AccessAction, Host, HttpMethod, Kind, Locality, LocalityName, Name, Namespace, ObjectRef, PathMatch, Port,
    Protocol, QueryMatch, SpiffeId, TextMatch, TrustDomain, WorkloadRef,
};

pub(crate) fn resource() -> impl Strategy<Value = Resource> {
    prop_oneof![
        cluster().prop_map(|it| Resource::Cluster(it.into())),
        endpoints().prop_map(|it| Resource::Endpoints(it.into())),
        listener().prop_map(|it| Resource::Listener(it.into())),
        "[a-z]{1,9}".prop_map(|name| Resource::RouteConfiguration(RouteConfiguration { name }.into())),
        virtual_host().prop_map(|it| Resource::VirtualHost(it.into())),
    ]
}

pub(crate) fn cluster() -> impl Strategy<Value = Cluster> {
    let outliers = (resilience::ejection(), resilience::health_check());
    let resilience = (resilience::chosen(), resilience::limits(), resilience::breaker(), outliers);
    (service_port(), protocol(), sni(), duration(), resilience, origins()).prop_map(
        |(
            name,
            protocol,
            sni,
            connect_timeout,
            ((balance, near_first, slow_start), limits, breaker, (ejection, health_check)),
            origins,
        )| Cluster {
            name: name.into(),
            protocol,
            security: Security::Mesh { sni },
            balance,
            near_first,
            slow_start,
            connect_timeout,
            limits,
            breaker,
            ejection,
            health_check,
            origins,
        },
    )
}

pub(crate) fn endpoints() -> impl Strategy<Value = Endpoints> {
    (service_port(), vec(endpoint(), 0..8)).prop_map(|(name, mut endpoints)| {
        let workload = |it: &Endpoint| it.instance().map(|instance| instance.workload.clone());
        endpoints.sort_by_key(workload);
        endpoints.dedup_by_key(|it| workload(it));
        Endpoints { name: name.into(), endpoints }
    })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let address = (any::<std::net::IpAddr>(), 1..=u16::MAX).prop_map(|(ip, port)| SocketAddr::new(ip, port));
    let place = ("[a-z0-9._-]{1,9}", "[a-z]{1,5}").prop_map(|(network, cluster)| (network, cluster));
    let health = prop_oneof![Just(Health::Healthy), Just(Health::Draining), Just(Health::Unhealthy)];
    (workload(), address, spiffe_id(), locality(), place, 1..=u32::MAX, health).prop_map(
        |(workload, address, identity, locality, (network, cluster), weight, health)| Endpoint {
            peer: Peer::Instance(Instance {
                workload,
                identity,
                network: network.parse().unwrap(),
                cluster: cluster.parse().unwrap(),
            }),
            address: EndpointAddress::Socket(address),
            locality,
            weight,
            health,
        },
    )
}

pub(crate) fn listener() -> impl Strategy<Value = Listener> {
    let http = "[a-z]{1,9}".prop_map(|route_configuration| {
        (Listener::OUTBOUND.to_owned(), ListenerBody::OutboundHttp { route_configuration })
    });
    let tcp = service_port()
        .prop_map(ServiceKey::from)
        .prop_map(|cluster| (Listener::outbound_name(&cluster), ListenerBody::OutboundTcp(OutboundTcp { cluster })));
    let inbound = (workload(), vec(chain(), 0..4)).prop_map(|(workload, mut chains)| {
        chains.sort_by(|a, b| a.service.cmp(&b.service));
        chains.dedup_by(|a, b| a.service == b.service);
        for chain in &mut chains {
            chain.sni = chain.service.sni(&TrustDomain::default_domain());
        }
        chains.sort_by(|a, b| a.sni.cmp(&b.sni));
        chains.dedup_by(|a, b| a.sni == b.sni);
        chains.sort_by(|a, b| a.service.cmp(&b.service));
        (Listener::inbound_name(&workload), ListenerBody::Inbound(Inbound { workload, chains }))
    });
    (prop_oneof![http, tcp, inbound], origins()).prop_map(|((name, body), origins)| Listener { name, body, origins })
}

fn chain() -> impl Strategy<Value = InboundChain> {
    (sni(), service_port(), host(), protocol(), port(), access()).prop_map(
        |(sni, service, host, protocol, application_port, mut access)| {
            // Where bytes are carried there are no requests.
            for rule in access.rules.iter_mut().filter(|_| !protocol.is_http()) {
                rule.requests.clear();
            }
            InboundChain { sni, service, host, protocol, application_port, access }
        },
    )
}

fn access() -> impl Strategy<Value = Access> {
    let action = prop_oneof![Just(AccessAction::Allow), Just(AccessAction::Deny)];
    let rule = (object(), 0u32..20, action, vec(caller(), 1..4), vec(request_match(), 0..3));
    let rule = rule.prop_map(|(policy, rule, action, callers, requests)| {
        let name = RuleName { policy, rule };
        AccessRule { name, action, callers, requests }
    });
    (origins(), vec(rule, 0..6)).prop_map(|(policies, mut rules)| {
        let key = |rule: &AccessRule| (rule.action == AccessAction::Allow, rule.name.clone());
        rules.sort_by_key(key);
        rules.dedup_by_key(|rule| key(rule));
        Access { policies, rules }
    })
}

fn request_match() -> impl Strategy<Value = RequestMatch> {
    let methods = vec("[A-Z!a-z]{1,7}".prop_map(HttpMethod), 0..3);
    (methods, option::of(path_match()), vec(host(), 0..3), vec(header_match(), 0..3)).prop_map(
        |(methods, path, hosts, headers)| {
            let asks = !(methods.is_empty() && hosts.is_empty() && headers.is_empty());
            let path = path.or_else(|| (!asks).then(|| PathMatch::Prefix("/".to_owned())));
            RequestMatch { methods, path, hosts, headers }
        },
    )
}

fn caller() -> impl Strategy<Value = Caller> {
    prop_oneof![
        Just(Caller::Anyone),
        spiffe_id().prop_map(Caller::Identity),
        (trust_domain(), namespace()).prop_map(|(domain, namespace)| Caller::Namespace(domain, namespace)),
    ]
}

pub(crate) fn virtual_host() -> impl Strategy<Value = VirtualHost> {
    let authority = |service: ServicePort| {
        let own: Host = service.host(&"cluster.local".parse().unwrap()).parse().unwrap();
        let host = prop_oneof![3 => Just(own), 1 => host()];
        let port = prop_oneof![Just(service.port), Just(Port::HTTP)];
        (Just(service), host, port)
    };
    (service_port().prop_flat_map(authority), vec(route(), 0..5), origins()).prop_map(
        |((service, host, port), routes, origins)| VirtualHost {
            authority: HostPort { host, port },
            service: service.into(),
            routes,
            origins,
        },
    )
}

fn route() -> impl Strategy<Value = Route> {
    let origin = (object(), any::<u32>(), any::<u32>());
    let origin = origin.prop_map(|(object, rule, alternative)| RouteOrigin::Rule { object, rule, alternative });
    let resilience = (
        resilience::retry(),
        resilience::affinity(),
        option::of(duration()),
        (option::of(duration()), option::of(duration())),
    );
    let what = (origin, route_match(), route_action(), option::of(duration()), resilience);
    (
        what,
        (filters::headers(), filters::cors(), filters::mirrors(service_port())),
        filters::rewrite(),
        filters::redirect(),
        0..6_u8,
    )
        .prop_map(
            |(
                (origin, matches, action, timeout, (retry, affinity, try_timeout, (idle_timeout, stream_timeout))),
                (headers, cors, mirrors),
                rewrite,
                redirect,
                kind,
            )| {
                let by_prefix = matches!(matches.path, PathMatch::Prefix(_));
                let action = match redirect.filter(|_| kind == 0) {
                    Some(redirect) => RouteAction::Redirect(filters::fitting_redirect(redirect, by_prefix)),
                    None => action,
                };
                // What goes nowhere is neither repeated nor kept together nor rewritten.
                let forwards = matches!(action, RouteAction::Forward(_));
                let mut retry = retry.filter(|_| forwards);
                let try_timeout = try_timeout.filter(|bound| !bound.is_zero());
                if let (Some(retry), Some(bound)) = (&mut retry, try_timeout) {
                    retry.per_try_timeout = retry.per_try_timeout.filter(|limit| *limit < bound);
                }
                let bounded = |bound: Option<Duration>| bound.filter(|bound| forwards && !bound.is_zero());
                let (idle_timeout, stream_timeout) = (bounded(idle_timeout), bounded(stream_timeout));
                let affinity = affinity.filter(|_| forwards);
                let rewrite = rewrite.filter(|_| forwards).and_then(|it| filters::fitting(it, by_prefix)).map(Box::new);
                Route {
                    origin,
                    matches,
                    action,
                    timeout,
                    try_timeout,
                    idle_timeout,
                    stream_timeout,
                    retry,
                    affinity,
                    headers,
                    rewrite,
                    cors,
                    mirrors: if forwards { mirrors } else { Vec::new() },
                }
            },
        )
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        "/[ -~]{0,12}".prop_map(PathMatch::Exact),
        Just(PathMatch::Prefix("/".to_owned())),
        "(/[a-z.é]{1,5}){1,3}".prop_map(PathMatch::Prefix),
        regex().prop_map(PathMatch::Regex),
    ]
}

fn text_match() -> impl Strategy<Value = TextMatch> {
    prop_oneof![".{0,8}".prop_map(TextMatch::Exact), regex().prop_map(TextMatch::Regex)]
}

fn header_match() -> impl Strategy<Value = HeaderMatch> {
    ("[a-z0-9-]{1,9}", text_match()).prop_map(|(name, value)| HeaderMatch { name, value })
}

fn route_match() -> impl Strategy<Value = RouteMatch> {
    let parameter = (".{1,8}", text_match()).prop_map(|(name, value)| QueryMatch { name, value });
    let method = option::of("[A-Z!a-z]{1,7}".prop_map(HttpMethod));
    (path_match(), method, vec(header_match(), 0..3), vec(parameter, 0..3))
        .prop_map(|(path, method, headers, query)| RouteMatch { path, method, headers, query })
}

fn regex() -> impl Strategy<Value = String> {
    prop_oneof![Just("/v[0-9]+/.*"), Just(""), Just("a|b"), Just(r"\p{L}{2,3}(x)?")].prop_map(str::to_owned)
}

fn route_action() -> impl Strategy<Value = RouteAction> {
    let refusal = option::weighted(0.2, ".{0,9}");
    let share = (service_port(), prop_oneof![Just(1u32), 1..1_000_000u32], refusal, filters::headers())
        .prop_map(|(cluster, weight, refusal, headers)| (cluster.into(), weight, refusal, headers))
        .prop_map(|(cluster, weight, refusal, headers)| WeightedCluster { cluster, weight, refusal, headers });
    prop_oneof![
        vec(share, 1..4).prop_map(RouteAction::Forward),
        ".{0,20}".prop_map(|cause| RouteAction::Refuse { cause }),
        (200..=599_u16, ".{0,20}").prop_map(|(status, body)| RouteAction::Respond { status, body }),
    ]
}

pub(crate) fn service_port() -> impl Strategy<Value = ServicePort> {
    ("[a-z]{1,5}", namespace(), name(), port()).prop_map(|(cluster, namespace, service, port)| ServicePort {
        cluster: cluster.parse().unwrap(),
        namespace,
        service,
        port,
    })
}

fn workload() -> impl Strategy<Value = WorkloadRef> {
    (namespace(), name()).prop_map(|(namespace, name)| WorkloadRef { namespace, name })
}

fn origins() -> impl Strategy<Value = Vec<ObjectRef>> {
    vec(object(), 0..3)
}

fn object() -> impl Strategy<Value = ObjectRef> {
    (proptest::sample::select(&Kind::ALL[..]), namespace(), name()).prop_map(|(kind, namespace, name)| ObjectRef {
        kind,
        namespace,
        name,
    })
}

fn locality() -> impl Strategy<Value = Locality> {
    let part = || option::of("[a-c]".prop_map(|name| name.parse::<LocalityName>().unwrap()));
    (part(), part(), part()).prop_map(|(region, zone, sub_zone)| Locality { region, zone, sub_zone })
}

fn spiffe_id() -> impl Strategy<Value = SpiffeId> {
    (trust_domain(), "(/[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,4}){1,4}")
        .prop_map(|(domain, path)| format!("spiffe://{domain}{path}").parse().unwrap())
}

fn trust_domain() -> impl Strategy<Value = TrustDomain> {
    "[a-z0-9._-]{1,9}".prop_map(|domain| domain.parse().unwrap())
}

fn namespace() -> impl Strategy<Value = Namespace> {
    "[a-z]([a-z0-9-]{0,3}[a-z0-9])?".prop_map(|text| text.parse().unwrap())
}

fn name() -> impl Strategy<Value = Name> {
    "[a-z]([a-z0-9-]{0,5}[a-z0-9])?".prop_map(|text| text.parse().unwrap())
}

fn host() -> impl Strategy<Value = Host> {
    "[a-z]{1,5}(\\.[a-z0-9]{1,5}){0,4}".prop_map(|text| text.parse().unwrap())
}

fn sni() -> impl Strategy<Value = String> {
    "[a-z0-9.-]{0,20}"
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Http), Just(Protocol::Tcp), Just(Protocol::Http2)]
}

fn port() -> impl Strategy<Value = Port> {
    prop_oneof![Just(Port::HTTP), (1..=u16::MAX).prop_map(|port| Port::new(port).unwrap())]
}

fn duration() -> impl Strategy<Value = Duration> {
    (0u64..100_000, 1u32..1_000_000_000).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}
