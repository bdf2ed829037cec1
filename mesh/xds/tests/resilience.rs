//! Resilience in standard fields: what a stock Envoy reads there, and what this reader takes of others'.
use std::{num::NonZeroU32, time::Duration};

use prost::Message;
use weft_ir::{
    Affinity, Balance, Breaker, Cluster, Dialect, Ejection, Feature, HealthCheck, HostPort, Limits, NearFirst, Probe,
    Resource, ResourceType, Retry, Route, RouteAction, RouteMatch, RouteOrigin, Security, SlowStart, SuccessRate, View,
    VirtualHost, WeightedCluster,
};
use weft_model::{
    AffinityKey, Errors, GrpcCode, Kind, ObjectRef, PathMatch, Port, Protocol, RepeatSafety, RetryCondition,
    StatusRange,
};
use weft_proto::envoy::config::{
    cluster::v3::{
        self as wire,
        cluster::{LbConfig, LbPolicy, SlowStartConfig},
    },
    core::v3::health_check::HealthChecker,
    route::v3::{self as route_wire, RouteAction as WireAction, route::Action, route_action::hash_policy},
};
use weft_xds::{Rejected, decode, encode, type_url};

const WEFT: View = View { dialect: Dialect::Weft };
const NAME: &str = "local/shop/web:80";

fn cluster() -> Cluster {
    Cluster {
        name: NAME.parse().unwrap(),
        protocol: Protocol::Http,
        security: Security::Mesh { sni: "80.web.shop.mesh.weft.local".into() },
        balance: Balance::LeastRequest,
        near_first: None,
        slow_start: None,
        connect_timeout: Duration::from_secs(1),
        limits: Limits { max_connections: NonZeroU32::new(100), max_pending: None, max_requests: NonZeroU32::new(7) },
        breaker: Some(Breaker::default()),
        ejection: Some(Ejection::default()),
        health_check: None,
        origins: Vec::new(),
    }
}

fn host() -> VirtualHost {
    let service = NAME.parse().unwrap();
    let object = ObjectRef { kind: Kind::HttpRoute, namespace: "shop".parse().unwrap(), name: "web".parse().unwrap() };
    let on = [
        RetryCondition::ConnectFailure,
        RetryCondition::ServerError,
        RetryCondition::Status(429),
        RetryCondition::Grpc(GrpcCode::Unavailable),
    ];
    let key = AffinityKey::Cookie { name: "user".into(), path: "/shop".into(), ttl: None };
    let route = Route {
        origin: RouteOrigin::Rule { object, rule: 0, alternative: 0 },
        matches: RouteMatch {
            path: PathMatch::Prefix("/".into()),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        },
        action: RouteAction::Forward(vec![WeightedCluster {
            cluster: NAME.parse().unwrap(),
            weight: 1,
            refusal: None,
            headers: None,
        }]),
        timeout: Some(Duration::from_secs(2)),
        retry: Some(Retry {
            on: on.into_iter().collect(),
            per_try_timeout: Some(Duration::from_millis(300)),
            ..Retry::default()
        }),
        affinity: Some(Affinity { key }),
        try_timeout: None,
        idle_timeout: None,
        stream_timeout: None,
        headers: None,
        rewrite: None,
        cors: None,
        mirrors: Vec::new(),
    };
    let authority = HostPort { host: "web.shop.svc.cluster.local".parse().unwrap(), port: Port::HTTP };
    VirtualHost { authority, service, routes: vec![route], origins: Vec::new() }
}

fn cluster_message(cluster: Cluster) -> wire::Cluster {
    wire::Cluster::decode(&*encode(&Resource::Cluster(cluster.into()), &WEFT).bytes).unwrap()
}

fn host_message() -> route_wire::VirtualHost {
    route_wire::VirtualHost::decode(&*encode(&Resource::VirtualHost(host().into()), &WEFT).bytes).unwrap()
}

fn action(host: &mut route_wire::VirtualHost) -> &mut WireAction {
    match host.routes[0].action.as_mut().unwrap() {
        Action::Route(action) => action,
        other => panic!("{other:?}"),
    }
}

fn read_cluster(message: &wire::Cluster) -> Result<Resource, Rejected> {
    decode(type_url(ResourceType::Cluster), NAME, &message.encode_to_vec())
}

/// The field by which a cluster is refused that was changed so.
fn refused_cluster(change: impl FnOnce(&mut wire::Cluster)) -> String {
    let mut message = cluster_message(cluster());
    change(&mut message);
    read_cluster(&message).unwrap_err().field
}

/// The field by which a host is refused whose action was changed so.
fn refused_route(change: impl FnOnce(&mut WireAction)) -> String {
    let mut message = host_message();
    change(action(&mut message));
    let name = message.name.clone();
    let rejected = decode(type_url(ResourceType::VirtualHost), &name, &message.encode_to_vec()).unwrap_err();
    rejected.field.strip_prefix("routes[0].route.").unwrap().to_owned()
}

#[test]
fn limits_and_ejection_stand_in_the_fields_that_envoy_reads() {
    let message = cluster_message(cluster());
    assert_eq!(message.lb_policy, i32::from(LbPolicy::LeastRequest));
    let thresholds = &message.circuit_breakers.unwrap().thresholds[0];
    let value = |limit: &Option<weft_proto::google::protobuf::UInt32Value>| limit.as_ref().unwrap().value;
    assert_eq!(value(&thresholds.max_connections), 100);
    assert_eq!(value(&thresholds.max_pending_requests), u32::MAX, "left out, Envoy limits to 1024");
    assert_eq!(value(&thresholds.max_requests), 7);
    let ejection = message.outlier_detection.unwrap();
    assert_eq!(value(&ejection.consecutive_5xx), 5);
    assert_eq!(ejection.base_ejection_time.unwrap().seconds, 30);
    assert_eq!(ejection.max_ejection_time.unwrap().seconds, 300);
    assert_eq!(value(&ejection.max_ejection_percent), 50);
    assert_eq!(value(&ejection.enforcing_success_rate), 0, "left out, Envoy ejects by success rate too");
}

#[test]
fn kinds_of_errors_and_success_rates_stand_in_the_fields_that_envoy_reads() {
    let rate = SuccessRate { minimum_endpoints: 3, ..SuccessRate::default() };
    let ejection = Ejection { errors: Errors::Gateway, success_rate: Some(rate), ..Ejection::default() };
    let cluster = Cluster { ejection: Some(ejection), ..cluster() };
    let message = cluster_message(cluster.clone());
    let value = |limit: &Option<weft_proto::google::protobuf::UInt32Value>| limit.as_ref().map(|it| it.value);
    let found = message.outlier_detection.clone().unwrap();
    assert_eq!(
        (value(&found.consecutive_gateway_failure), value(&found.enforcing_consecutive_5xx)),
        (Some(5), Some(0))
    );
    assert_eq!(value(&found.enforcing_consecutive_gateway_failure), Some(100));
    assert_eq!((value(&found.enforcing_success_rate), found.interval.unwrap().seconds), (Some(100), 10));
    assert_eq!(
        (value(&found.success_rate_minimum_hosts), value(&found.success_rate_request_volume)),
        (Some(3), Some(100))
    );
    assert_eq!(value(&found.success_rate_stdev_factor), Some(1900));
    assert!(Resource::Cluster(cluster.clone().into()).needs().contains(&Feature::Outliers));
    assert_eq!(read_cluster(&message), Ok(Resource::Cluster(cluster.into())));
    let refused = |change: fn(&mut wire::OutlierDetection)| {
        let mut message = message.clone();
        change(message.outlier_detection.as_mut().unwrap());
        read_cluster(&message).unwrap_err().field.replace("outlier_detection.", "")
    };
    assert_eq!(refused(|it| it.interval = None), "interval");
    assert_eq!(refused(|it| it.success_rate_stdev_factor = None), "success_rate_stdev_factor");
    assert_eq!(refused(|it| it.enforcing_success_rate = None), "enforcing_success_rate");
    assert_eq!(refused(|it| it.enforcing_consecutive_5xx = None), "enforcing_consecutive_5xx");
    assert_eq!(refused(|it| it.consecutive_gateway_failure = it.enforcing_success_rate), "consecutive_gateway_failure");
}

#[test]
fn a_cluster_without_limits_sets_none_of_their_fields() {
    let plain = Cluster { limits: Limits::default(), breaker: None, ejection: None, ..cluster() };
    let message = cluster_message(plain.clone());
    assert_eq!((&message.circuit_breakers, &message.outlier_detection, &message.metadata), (&None, &None, &None));
    assert_eq!(read_cluster(&message), Ok(Resource::Cluster(plain.into())));
}

#[test]
fn retries_and_affinity_stand_in_the_fields_that_envoy_reads() {
    let mut message = host_message();
    let action = action(&mut message);
    let policy = action.retry_policy.as_ref().unwrap();
    assert_eq!(policy.retry_on, "connect-failure,5xx,unavailable,retriable-status-codes");
    assert_eq!(policy.retriable_status_codes, [429]);
    assert_eq!(policy.num_retries.as_ref().unwrap().value, 2);
    assert_eq!(policy.per_try_timeout.as_ref().unwrap().nanos, 300_000_000);
    let backoff = policy.retry_back_off.as_ref().unwrap();
    assert_eq!(backoff.base_interval.as_ref().unwrap().nanos, 25_000_000);
    let Some(hash_policy::PolicySpecifier::Cookie(cookie)) = &action.hash_policy[0].policy_specifier else {
        panic!("{:?}", action.hash_policy);
    };
    assert_eq!((cookie.name.as_str(), cookie.path.as_str()), ("user", "/shop"));
    assert_eq!(cookie.ttl, Some(Default::default()), "left out, Envoy sets no cookie");
    assert_eq!(cookie.attributes[0].name, "HttpOnly");
}

#[test]
fn balances_stand_in_the_fields_that_envoy_reads_or_beside_the_nearest_that_it_has() {
    let expected = [
        LbPolicy::RoundRobin,
        LbPolicy::LeastRequest,
        LbPolicy::Random,
        LbPolicy::LeastRequest,
        LbPolicy::RingHash,
        LbPolicy::Maglev,
    ];
    for (balance, policy) in Balance::ALL.into_iter().zip(expected) {
        let cluster = Cluster { balance, limits: Limits::default(), breaker: None, ejection: None, ..cluster() };
        let message = cluster_message(cluster.clone());
        assert_eq!(message.lb_policy(), policy, "{balance:?}");
        let new = matches!(balance, Balance::Random | Balance::PeakEwma | Balance::Maglev);
        let resource = Resource::Cluster(cluster.into());
        assert_eq!(resource.needs().contains(&Feature::Balances), new, "{balance:?}");
        assert_eq!(read_cluster(&message), Ok(resource));
    }
}

#[test]
fn near_endpoints_and_a_slow_start_stand_in_the_fields_that_envoy_reads() {
    let slow_start = Some(SlowStart { aggression_percent: 150, ..SlowStart::default() });
    for balance in [Balance::RoundRobin, Balance::LeastRequest] {
        let near_first = Some(NearFirst::default());
        let cluster = Cluster { balance, near_first, slow_start, breaker: None, ..cluster() };
        let message = cluster_message(cluster.clone());
        let panic = message.common_lb_config.as_ref().unwrap().healthy_panic_threshold;
        assert_eq!(panic.unwrap().value, 50.0);
        let config = match message.lb_config.clone().unwrap() {
            LbConfig::RoundRobinLbConfig(it) => it.slow_start_config.unwrap(),
            LbConfig::LeastRequestLbConfig(it) => it.slow_start_config.unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(config.slow_start_window.unwrap().seconds, 30);
        assert_eq!(config.aggression.unwrap().default_value, 1.5);
        assert_eq!(config.min_weight_percent.unwrap().value, 10.0);
        assert!(Resource::Cluster(cluster.clone().into()).needs().contains(&Feature::Balances));
        assert_eq!(read_cluster(&message), Ok(Resource::Cluster(cluster.into())));
    }
    let refused = |change: fn(&mut wire::Cluster)| {
        let cluster = Cluster { near_first: Some(NearFirst::default()), slow_start, ..cluster() };
        let mut message = cluster_message(cluster);
        change(&mut message);
        read_cluster(&message).unwrap_err().field
    };
    let start = |it: &mut wire::Cluster, change: fn(&mut SlowStartConfig)| match it.lb_config.as_mut().unwrap() {
        LbConfig::LeastRequestLbConfig(config) => change(config.slow_start_config.as_mut().unwrap()),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(|it| it.common_lb_config = None), "common_lb_config");
    assert_eq!(
        refused(|it| it.common_lb_config.as_mut().unwrap().ignore_new_hosts_until_first_hc = true),
        "common_lb_config.ignore_new_hosts_until_first_hc"
    );
    let wrong = |change: fn(&mut SlowStartConfig)| {
        let mut message = cluster_message(Cluster { slow_start, ..cluster() });
        start(&mut message, change);
        read_cluster(&message).unwrap_err().field
    };
    assert_eq!(
        wrong(|it| it.slow_start_window = Some(Default::default())),
        "lb_config.slow_start_config.slow_start_window"
    );
    assert_eq!(wrong(|it| it.aggression = None), "lb_config.slow_start_config.aggression");
    assert_eq!(wrong(|it| it.min_weight_percent = None), "lb_config.slow_start_config.min_weight_percent");
}

#[test]
fn keys_stand_in_the_fields_that_envoy_reads() {
    let with = |key| {
        let affinity = Some(Affinity { key });
        let route = Route { affinity, retry: None, ..host().routes[0].clone() };
        let resource = Resource::VirtualHost(VirtualHost { routes: vec![route], ..host() }.into());
        assert!(resource.needs().contains(&Feature::Balances));
        let mut message = route_wire::VirtualHost::decode(&*encode(&resource, &WEFT).bytes).unwrap();
        action(&mut message).hash_policy.remove(0).policy_specifier.unwrap()
    };
    let query = hash_policy::QueryParameter { name: "user".into() };
    let expected = hash_policy::PolicySpecifier::QueryParameter(query);
    assert_eq!(with(AffinityKey::Query { name: "user".into() }), expected);
    let source = hash_policy::ConnectionProperties { source_ip: true };
    assert_eq!(with(AffinityKey::SourceAddress), hash_policy::PolicySpecifier::ConnectionProperties(source));
}

#[test]
fn what_only_weft_has_is_needed_of_a_reader() {
    let needs = |resource: Resource| resource.needs().into_iter().collect::<Vec<_>>();
    assert_eq!(needs(Resource::Cluster(cluster().into())), [Feature::CircuitBreaker]);
    assert_eq!(needs(Resource::Cluster(Cluster { breaker: None, ..cluster() }.into())), []);
    assert_eq!(needs(Resource::VirtualHost(host().into())), [Feature::RepeatSafety]);
}

#[test]
fn nonsense_about_clusters_is_refused_by_its_field() {
    let number = |value| Some(weft_proto::google::protobuf::UInt32Value { value });
    let thresholds = |it: &mut wire::Cluster| it.circuit_breakers.take().unwrap().thresholds.remove(0);
    let refused = [
        refused_cluster(|it| it.lb_policy = LbPolicy::ClusterProvided.into()),
        refused_cluster(|it| it.lb_policy = LbPolicy::Random.into()),
        refused_cluster(|it| it.lb_config = None),
        refused_cluster(|it| it.circuit_breakers.as_mut().unwrap().thresholds.clear()),
        refused_cluster(|it| {
            let one = thresholds(it);
            let breakers = wire::CircuitBreakers { thresholds: vec![one, one], ..Default::default() };
            it.circuit_breakers = Some(breakers);
        }),
        refused_cluster(|it| it.circuit_breakers.as_mut().unwrap().thresholds[0].max_requests = number(0)),
        refused_cluster(|it| it.circuit_breakers.as_mut().unwrap().thresholds[0].priority = 1),
        refused_cluster(|it| it.outlier_detection.as_mut().unwrap().consecutive_5xx = number(0)),
        refused_cluster(|it| it.outlier_detection.as_mut().unwrap().max_ejection_percent = number(101)),
        refused_cluster(|it| it.outlier_detection.as_mut().unwrap().max_ejection_time = Some(Default::default())),
        refused_cluster(|it| it.outlier_detection.as_mut().unwrap().split_external_local_origin_errors = true),
    ];
    let expected = [
        "lb_policy",
        "lb_config",
        "lb_config",
        "circuit_breakers.thresholds",
        "circuit_breakers.thresholds",
        "circuit_breakers.thresholds[0].max_requests",
        "circuit_breakers.thresholds[0].priority",
        "outlier_detection.consecutive_5xx",
        "outlier_detection.max_ejection_percent",
        "outlier_detection.max_ejection_time",
        "outlier_detection.split_external_local_origin_errors",
    ];
    assert_eq!(refused, expected);
}

#[test]
fn nonsense_about_retries_and_affinity_is_refused_by_its_field() {
    let number = |value| Some(weft_proto::google::protobuf::UInt32Value { value });
    let policy =
        |change: fn(&mut route_wire::RetryPolicy)| refused_route(|it| change(it.retry_policy.as_mut().unwrap()));
    let cookie = |change: fn(&mut hash_policy::Cookie)| {
        refused_route(|it| match it.hash_policy[0].policy_specifier.as_mut().unwrap() {
            hash_policy::PolicySpecifier::Cookie(cookie) => change(cookie),
            other => panic!("{other:?}"),
        })
    };
    let refused = [
        policy(|it| it.retry_on = "5xx,envoy-ratelimited".into()),
        policy(|it| it.retry_on.clear()),
        policy(|it| it.retriable_status_codes.clear()),
        policy(|it| it.retriable_status_codes.push(200)),
        refused_route(|it| it.retry_policy.as_mut().unwrap().num_retries = number(11)),
        refused_route(|it| it.retry_policy.as_mut().unwrap().num_retries = number(0)),
        policy(|it| it.per_try_timeout = Some(Default::default())),
        policy(|it| it.retry_back_off = None),
        policy(|it| it.host_selection_retry_max_attempts = 3),
        refused_route(|it| it.retry_policy = None),
        cookie(|it| it.name = "a b".into()),
        cookie(|it| it.path = "/; Domain=evil.example".into()),
        cookie(|it| it.path = "/\r\nset-cookie: a=b".into()),
        cookie(|it| it.attributes.clear()),
        refused_route(|it| it.hash_policy.push(it.hash_policy[0].clone())),
        refused_route(|it| {
            let nothing = hash_policy::ConnectionProperties { source_ip: false };
            let specifier = hash_policy::PolicySpecifier::ConnectionProperties(nothing);
            it.hash_policy[0].policy_specifier = Some(specifier);
        }),
        refused_route(|it| {
            let specifier = hash_policy::PolicySpecifier::QueryParameter(Default::default());
            it.hash_policy[0].policy_specifier = Some(specifier);
        }),
    ];
    let expected = [
        "retry_policy.retry_on",
        "retry_policy.retry_on",
        "retry_policy.retriable_status_codes",
        "retry_policy.retriable_status_codes",
        "retry_policy.num_retries",
        "retry_policy.num_retries",
        "retry_policy.per_try_timeout",
        "retry_policy.retry_back_off",
        "retry_policy.host_selection_retry_max_attempts",
        "retry_policy",
        "hash_policy[0].cookie.name",
        "hash_policy[0].cookie.path",
        "hash_policy[0].cookie.path",
        "hash_policy[0].cookie.attributes",
        "hash_policy",
        "hash_policy[0]",
        "hash_policy[0].query_parameter.name",
    ];
    assert_eq!(refused, expected);
}

/// A server that knows the standard alone would have a POST repeated.
#[test]
fn a_retry_policy_without_word_of_what_is_safe_is_refused() {
    let mut message = host_message();
    let plain = VirtualHost { routes: vec![Route { retry: None, ..host().routes[0].clone() }], ..host() };
    let encoded = encode(&Resource::VirtualHost(plain.into()), &WEFT);
    let mut without = route_wire::VirtualHost::decode(&*encoded.bytes).unwrap();
    action(&mut without).retry_policy = action(&mut message).retry_policy.take();
    let rejected =
        decode(type_url(ResourceType::VirtualHost), &without.name.clone(), &without.encode_to_vec()).unwrap_err();
    assert!(rejected.field.ends_with("metadata.retry"), "{rejected}");
    assert_eq!(Retry::default().repeats_are_safe, RepeatSafety::Idempotent);
}

#[test]
fn health_checks_stand_in_the_fields_that_envoy_reads() {
    let statuses = vec![StatusRange { first: 200, last: 299 }];
    let probe = Probe::Http { host: "web".into(), path: "/ready".into(), statuses };
    let check = HealthCheck { probe, ..HealthCheck::DEFAULT };
    let checked = Cluster { health_check: Some(check), breaker: None, ..cluster() };
    let message = cluster_message(checked.clone());
    let [wire] = &message.health_checks[..] else { panic!("{message:?}") };
    assert_eq!((wire.interval.unwrap().seconds, wire.timeout.unwrap().seconds), (10, 1));
    assert_eq!(
        wire.no_traffic_interval.unwrap().seconds,
        10,
        "left out, Envoy looks once a minute at what nobody calls"
    );
    let Some(HealthChecker::HttpHealthCheck(http)) = &wire.health_checker else { panic!("{wire:?}") };
    assert_eq!((http.host.as_str(), http.path.as_str()), ("web", "/ready"));
    assert_eq!((http.expected_statuses[0].start, http.expected_statuses[0].end), (200, 300), "without its end");
    assert_eq!(
        Resource::Cluster(checked.clone().into()).needs().into_iter().collect::<Vec<_>>(),
        [Feature::HealthChecks]
    );
    let refused = |change: fn(&mut weft_proto::envoy::config::core::v3::HealthCheck)| {
        let mut message = cluster_message(checked.clone());
        change(&mut message.health_checks[0]);
        read_cluster(&message).unwrap_err().field
    };
    assert_eq!(refused(|it| it.interval = None), "health_checks[0].interval");
    assert_eq!(refused(|it| it.timeout = Some(Default::default())), "health_checks[0].timeout");
    assert_eq!(refused(|it| it.reuse_connection = None), "health_checks[0].reuse_connection");
    assert_eq!(refused(|it| it.healthy_threshold.as_mut().unwrap().value = 0), "health_checks[0].healthy_threshold");
    assert_eq!(refused(|it| it.health_checker = None), "health_checks[0].health_checker");
    assert_eq!(
        refused(|it| it.always_log_health_check_failures = true),
        "health_checks[0].always_log_health_check_failures"
    );
    let with_path = |path: &str| {
        let mut message = cluster_message(checked.clone());
        if let Some(HealthChecker::HttpHealthCheck(http)) = &mut message.health_checks[0].health_checker {
            http.path = path.to_owned();
        }
        read_cluster(&message).map_err(|rejected| rejected.field)
    };
    assert!(with_path("/ok").is_ok());
    for path in ["", "ready", "/a HTTP/1.1\r\nx: y", "/a b"] {
        assert_eq!(with_path(path).unwrap_err(), "health_checks[0].http_health_check.path", "{path:?}");
    }
    let mut message = cluster_message(checked.clone());
    message.health_checks.push(message.health_checks[0].clone());
    assert_eq!(read_cluster(&message).unwrap_err().field, "health_checks");
}
