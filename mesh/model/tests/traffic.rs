//! What a TrafficPolicy may say of resilience, and what is told of nonsense.
use std::{num::NonZeroU32, time::Duration};

use weft_model::{
    AffinityKey, Balancing, BreakerFields, EjectionFields, Errors, GrpcCode, HealthCheckFields, HealthProbe,
    LimitFields, LocalityFields, Object, RepeatSafety, RetryCondition, RetryFields, SlowStartFields, StatusRange,
    SuccessRateFields, TrafficPolicy, decode, encode,
};

/// The policy that the fields of a `spec` make.
fn policy(fields: &str) -> TrafficPolicy {
    let decoded = decode("shop.yaml", &text(fields));
    assert!(decoded.diagnostics.is_empty(), "{:#?}", decoded.diagnostics);
    match &decoded.objects[0].0 {
        Object::TrafficPolicy(policy) => (**policy).clone(),
        other => panic!("{other:?}"),
    }
}

/// What is told of the fields of a `spec`: one line each, without the object's name.
fn told(fields: &str) -> String {
    let decoded = decode("shop.yaml", &text(fields));
    assert!(decoded.objects.is_empty(), "{:?}", decoded.objects);
    let told = decoded.diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect::<String>();
    told.replace("TrafficPolicy shop/web: spec.", "").replace("shop.yaml:", "")
}

fn text(fields: &str) -> String {
    let head = "apiVersion: weft.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: web, namespace: shop}\nspec:\n";
    format!("{head}  targetRefs: [{{kind: Service, name: web}}]\n{fields}")
}

const WHOLE: &str = "  loadBalancing:
    type: LeastRequest
    locality: {overprovisioningPercent: 150, panicPercent: 40}
    slowStart: {window: 30s, aggressionPercent: 200, minWeightPercent: 5}
  affinity: {cookie: {name: user, path: /shop, ttl: 1h}}
  limits: {maxConnections: 100, maxPending: 10, maxRequests: 200}
  circuitBreaker: {consecutiveFailures: 7, openTime: 2s, maxOpenTime: 30s, probes: 3}
  outlierEjection: {enabled: true, consecutiveErrors: 4, baseTime: 10s, maxTime: 1m, maxSharePercent: 34,
    errors: gateway, successRate: {interval: 20s, minimumEndpoints: 3, minimumRequests: 50, deviationPercent: 250}}
  retries:
    attempts: 3
    on: [connect-failure, gateway-error, 429, grpc-unavailable]
    safe: always
    perTryTimeout: 300ms
    backoff: {base: 10ms, max: 200ms}
    budget: {percent: 10, minPerSecond: 5}
  timeouts: {request: 1s}
";

#[test]
fn every_field_is_read() {
    let read = policy(WHOLE);
    let limit = NonZeroU32::new;
    assert_eq!(read.balancing, Some(Balancing::LeastRequest));
    let locality = LocalityFields { enabled: None, overprovisioning_percent: Some(150), panic_percent: Some(40) };
    assert_eq!(read.locality, Some(locality));
    let slow_start = SlowStartFields {
        enabled: None,
        window: Some(Duration::from_secs(30)),
        aggression_percent: Some(200),
        min_weight_percent: Some(5),
    };
    assert_eq!(read.slow_start, Some(slow_start));
    let ttl = Some(Duration::from_secs(3600));
    assert_eq!(read.affinity, Some(AffinityKey::Cookie { name: "user".into(), path: "/shop".into(), ttl }));
    let limits = LimitFields { max_connections: limit(100), max_pending: limit(10), max_requests: limit(200) };
    assert_eq!(read.limits, limits);
    let breaker = BreakerFields {
        enabled: None,
        consecutive_failures: Some(7),
        open_time: Some(Duration::from_secs(2)),
        max_open_time: Some(Duration::from_secs(30)),
        probes: Some(3),
    };
    assert_eq!(read.breaker, Some(breaker));
    let ejection = EjectionFields {
        enabled: Some(true),
        consecutive_errors: Some(4),
        base_time: Some(Duration::from_secs(10)),
        max_time: Some(Duration::from_secs(60)),
        max_share_percent: Some(34),
        errors: Some(Errors::Gateway),
        success_rate: Some(SuccessRateFields {
            enabled: None,
            interval: Some(Duration::from_secs(20)),
            minimum_endpoints: Some(3),
            minimum_requests: Some(50),
            deviation_percent: Some(250),
        }),
    };
    assert_eq!(read.ejection, Some(ejection));
    let on = [
        RetryCondition::ConnectFailure,
        RetryCondition::GatewayError,
        RetryCondition::Status(429),
        RetryCondition::Grpc(GrpcCode::Unavailable),
    ];
    let retries = RetryFields {
        enabled: None,
        attempts: Some(3),
        on: Some(on.into_iter().collect()),
        safe: Some(RepeatSafety::Always),
        per_try_timeout: Some(Duration::from_millis(300)),
        backoff_base: Some(Duration::from_millis(10)),
        backoff_max: Some(Duration::from_millis(200)),
        budget_percent: Some(10),
        budget_min_per_second: Some(5),
    };
    assert_eq!(read.retries, Some(retries));
    assert_eq!(read.request_timeout, Some(Duration::from_secs(1)));
}

#[test]
fn a_policy_is_shown_as_it_was_written() {
    let written = policy(WHOLE);
    let shown = encode::to_yaml(&Object::TrafficPolicy(written.clone().into()));
    for line in ["type: LeastRequest", "ttl: 1h", "maxPending: 10", "openTime: 2s", "maxSharePercent: 34", "- 429"] {
        assert!(shown.contains(line), "{line} is missing in\n{shown}");
    }
    let fields = shown.split_once("spec:\n").unwrap().1;
    let head = "apiVersion: weft.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: web, namespace: shop}\nspec:\n";
    let again = decode("shown.yaml", &format!("{head}{fields}"));
    assert_eq!(again.objects[0].0, Object::TrafficPolicy(written.into()));
}

#[test]
fn an_empty_block_turns_its_part_on_and_every_key_and_type_is_read() {
    let read = policy("  circuitBreaker: {}\n  outlierEjection: {}\n  retries: {}\n  affinity: {cookie: {}}\n");
    assert_eq!(read.breaker, Some(BreakerFields::default()));
    assert_eq!(read.ejection, Some(EjectionFields::default()));
    assert_eq!(read.retries, Some(RetryFields::default()));
    let cookie = AffinityKey::Cookie { name: "weft-affinity".into(), path: "/".into(), ttl: None };
    assert_eq!(read.affinity, Some(cookie));
    for (key, read) in [
        ("header: {name: X-User}", AffinityKey::Header { name: "x-user".into() }),
        ("query: {name: User}", AffinityKey::Query { name: "User".into() }),
        ("sourceAddress: {}", AffinityKey::SourceAddress),
    ] {
        assert_eq!(policy(&format!("  affinity: {{{key}}}\n")).affinity, Some(read), "{key}");
    }
    for (name, balancing) in [
        ("RoundRobin", Balancing::RoundRobin),
        ("LeastRequest", Balancing::LeastRequest),
        ("Random", Balancing::Random),
        ("PeakEwma", Balancing::PeakEwma),
        ("RingHash", Balancing::RingHash),
        ("Maglev", Balancing::Maglev),
    ] {
        assert_eq!(policy(&format!("  loadBalancing: {{type: {name}}}\n")).balancing, Some(balancing));
    }
}

#[test]
fn health_checks_ask_in_one_way_and_nonsense_of_them_is_told() {
    let read = policy(
        "  healthCheck: {http: {path: /ready, expectedStatuses: [200, \"300-308\"]}, interval: 5s, timeout: 500ms,
    healthyThreshold: 1, unhealthyThreshold: 4}\n",
    );
    let statuses = vec![StatusRange { first: 200, last: 200 }, StatusRange { first: 300, last: 308 }];
    let expected = HealthCheckFields {
        enabled: None,
        probe: Some(HealthProbe::Http { path: "/ready".into(), statuses }),
        interval: Some(Duration::from_secs(5)),
        timeout: Some(Duration::from_millis(500)),
        healthy_threshold: Some(1),
        unhealthy_threshold: Some(4),
    };
    assert_eq!(read.health_check, Some(expected));
    assert_eq!(policy("  healthCheck: {}\n").health_check, Some(HealthCheckFields::default()));
    for (text, probe) in [
        ("http: {path: /}", HealthProbe::Http { path: "/".into(), statuses: vec![StatusRange::SUCCESS] }),
        ("grpc: {}", HealthProbe::Grpc { service: String::new() }),
        ("grpc: {service: shop.v1.Prices}", HealthProbe::Grpc { service: "shop.v1.Prices".into() }),
        ("tcp: {}", HealthProbe::Tcp),
    ] {
        let read = policy(&format!("  healthCheck: {{{text}}}\n")).health_check;
        assert_eq!(read.and_then(|it| it.probe), Some(probe), "{text}");
    }
    let fields = "  healthCheck:
    http: {path: ready, expectedStatuses: [100, 600, \"299-200\", \"2xx\", 204, 204]}
    interval: 0s
    timeout: 2m
    healthyThreshold: 0
    unhealthyThreshold: 101
    port: 80
";
    insta::assert_snapshot!(told(fields), @r#"
    7: error[invalid-value]: healthCheck.http.path: "ready" is no path in normal form: it does not start with '/' (write a path such as /products)
    7: error[invalid-value]: healthCheck.http.expectedStatuses[0]: 100 is out of bounds (write a number from 200 to 599)
    7: error[invalid-value]: healthCheck.http.expectedStatuses[1]: 600 is out of bounds (write a number from 200 to 599)
    7: error[invalid-value]: healthCheck.http.expectedStatuses[2]: "299-200" is no range of statuses (write a status from 200 to 599, or a range of them such as "200-299")
    7: error[invalid-value]: healthCheck.http.expectedStatuses[3]: "2xx" is no range of statuses (write a status from 200 to 599, or a range of them such as "200-299")
    7: error[duplicate]: healthCheck.http.expectedStatuses[5]: 204 stands twice (remove it)
    8: error[invalid-value]: healthCheck.interval: 0s is out of bounds (write a duration from 1ms to 1h)
    9: error[invalid-value]: healthCheck.timeout: 2m is out of bounds (write a duration from 1ms to 1m)
    10: error[invalid-value]: healthCheck.healthyThreshold: 0 is out of bounds (write a number from 1 to 100)
    11: error[invalid-value]: healthCheck.unhealthyThreshold: 101 is out of bounds (write a number from 1 to 100)
    12: error[unknown-field]: healthCheck.port: there is no such field (its fields are enabled, http, grpc, tcp, interval, timeout, healthyThreshold, unhealthyThreshold)
    "#);
    for (text, says) in [
        ("tcp: {}, grpc: {}", "healthCheck: it asks in more than one way: grpc, tcp (keep one of them)"),
        ("http: {}", "healthCheck.http.path: the field is required"),
        ("grpc: {service: \"a b\"}", "healthCheck.grpc.service: \"a b\" is no service of gRPC (write up to 253"),
    ] {
        let told = told(&format!("  healthCheck: {{{text}}}\n"));
        assert!(told.contains(says), "{told}");
    }
}

#[test]
fn near_first_and_a_slow_start_need_no_type_but_something_must_be_said() {
    let read = policy("  loadBalancing: {locality: {}, slowStart: {enabled: false}}\n");
    assert_eq!((read.balancing, read.locality), (None, Some(LocalityFields::default())));
    assert_eq!(read.slow_start, Some(SlowStartFields { enabled: Some(false), ..SlowStartFields::default() }));
    let fields = "  loadBalancing:
    locality: {overprovisioningPercent: 99, panicPercent: 101, zone: a}
    slowStart: {window: 0s, aggressionPercent: 9, minWeightPercent: 0}
";
    insta::assert_snapshot!(told(fields), @r#"
    7: error[invalid-value]: loadBalancing.locality.overprovisioningPercent: 99 is out of bounds (write a number from 100 to 1000)
    7: error[invalid-value]: loadBalancing.locality.panicPercent: 101 is out of bounds (write a number from 0 to 100)
    7: error[unknown-field]: loadBalancing.locality.zone: there is no such field (its fields are enabled, overprovisioningPercent, panicPercent)
    8: error[invalid-value]: loadBalancing.slowStart.window: 0s is out of bounds (write a duration from 1ms to 1h)
    8: error[invalid-value]: loadBalancing.slowStart.aggressionPercent: 9 is out of bounds (write a number from 10 to 1000)
    8: error[invalid-value]: loadBalancing.slowStart.minWeightPercent: 0 is out of bounds (write a number from 1 to 100)
    "#);
    assert!(told("  loadBalancing: {}\n").contains("loadBalancing.type: the field is required"));
}

/// Stores of the first builds hold it so.
#[test]
fn the_first_form_of_load_balancing_is_read_but_not_beside_the_present_one() {
    assert_eq!(policy("  balancing: {policy: RoundRobin}\n").balancing, Some(Balancing::RoundRobin));
    insta::assert_snapshot!(told("  balancing: {policy: RoundRobin}\n  loadBalancing: {type: RoundRobin}\n"), @r#"
    6: error[duplicate]: balancing: it says the same as loadBalancing, which stands here too (remove it)
    "#);
}

#[test]
fn numbers_out_of_bounds_are_told_with_their_bounds() {
    let fields = "  limits: {maxConnections: 0, maxPending: 1000001, maxRequests: many}
  circuitBreaker: {consecutiveFailures: 0, openTime: 0s, maxOpenTime: 25h, probes: 101}
  outlierEjection: {consecutiveErrors: 0, baseTime: 1, maxTime: 0s, maxSharePercent: 101}
  retries:
    attempts: 11
    on: [302]
    backoff: {base: 0s, max: 2m}
    budget: {percent: 101, minPerSecond: -1}
";
    insta::assert_snapshot!(told(fields), @r#"
    6: error[invalid-value]: limits.maxConnections: 0 is out of bounds (write a number from 1 to 1000000)
    6: error[invalid-value]: limits.maxPending: 1000001 is out of bounds (write a number from 1 to 1000000)
    6: error[wrong-type]: limits.maxRequests: expected a whole number, found the text "many"
    7: error[invalid-value]: circuitBreaker.consecutiveFailures: 0 is out of bounds (write a number from 1 to 10000)
    7: error[invalid-value]: circuitBreaker.openTime: 0s is out of bounds (write a duration from 1ms to 24h)
    7: error[invalid-value]: circuitBreaker.maxOpenTime: 25h is out of bounds (write a duration from 1ms to 24h)
    7: error[invalid-value]: circuitBreaker.probes: 101 is out of bounds (write a number from 1 to 100)
    8: error[invalid-value]: outlierEjection.consecutiveErrors: 0 is out of bounds (write a number from 1 to 10000)
    8: error[wrong-type]: outlierEjection.baseTime: expected a duration, found the number 1 (write its unit too, such as 1s)
    8: error[invalid-value]: outlierEjection.maxTime: 0s is out of bounds (write a duration from 1ms to 24h)
    8: error[invalid-value]: outlierEjection.maxSharePercent: 101 is out of bounds (write a number from 1 to 100)
    10: error[invalid-value]: retries.attempts: 11 is out of bounds (write a number from 1 to 10)
    11: error[invalid-value]: retries.on[0]: 302 is out of bounds (write a number from 400 to 599)
    12: error[invalid-value]: retries.backoff.base: 0s is out of bounds (write a duration from 1ms to 1m)
    12: error[invalid-value]: retries.backoff.max: 2m is out of bounds (write a duration from 1ms to 1m)
    13: error[invalid-value]: retries.budget.percent: 101 is out of bounds (write a number from 0 to 100)
    13: error[invalid-value]: retries.budget.minPerSecond: -1 is out of bounds (write a number from 0 to 100000)
    "#);
    insta::assert_snapshot!(told("  outlierEjection: {errors: 5xx, successRate: {interval: 2h, minimumRequests: 0}}\n"), @r#"
    6: error[invalid-value]: outlierEjection.errors: "5xx" is not one of its values (write `any` or `gateway`)
    6: error[invalid-value]: outlierEjection.successRate.interval: 2h is out of bounds (write a duration from 1ms to 1h)
    6: error[invalid-value]: outlierEjection.successRate.minimumRequests: 0 is out of bounds (write a number from 1 to 1000000)
    "#);
    insta::assert_snapshot!(told("  retries: {attempts: 0}\n  outlierEjection: {maxSharePercent: 0}\n"), @r#"
    6: error[invalid-value]: retries.attempts: 0 is out of bounds (write a number from 1 to 10)
    7: error[invalid-value]: outlierEjection.maxSharePercent: 0 is out of bounds (write a number from 1 to 100)
    "#);
}

#[test]
fn fields_that_contradict_each_other_are_told() {
    let fields = "  circuitBreaker: {openTime: 10s, maxOpenTime: 5s}
  outlierEjection: {baseTime: 10s, maxTime: 5s}
  retries:
    perTryTimeout: 2s
    on: [gateway-error, reset]
    safe: never
    backoff: {base: 1s, max: 100ms}
    budget: {percent: 0, minPerSecond: 0}
  timeouts: {request: 1s}
";
    insta::assert_snapshot!(told(fields), @r#"
    6: error[invalid-value]: circuitBreaker.maxOpenTime: 5s is shorter than openTime, 10s (write 10s or more)
    7: error[invalid-value]: outlierEjection.maxTime: 5s is shorter than baseTime, 10s (write 10s or more)
    9: error[invalid-value]: retries.perTryTimeout: 2s is longer than timeouts.request, 1s (write 1s or less)
    10: error[invalid-value]: retries.on: with `safe: never` nothing of this is ever repeated (add connect-failure or refused-stream, which prove that nothing was processed, or change `safe`)
    12: error[invalid-value]: retries.backoff.max: 100ms is shorter than base, 1s (write 1s or more)
    13: error[invalid-value]: retries.budget: the budget allows no repetition at all (write `enabled: false` to turn retries off)
    "#);
    policy("  retries: {perTryTimeout: 2s}\n  timeouts: {request: 0s}\n");
    policy("  retries: {on: [reset, refused-stream], safe: never}\n");
}

#[test]
fn words_that_are_not_known_are_told_with_those_that_are() {
    let fields = "  affinity: {cookie: {}, header: {name: a}}
  circuitBreaker: {consecutiveErrors: 3}
  outlierEjection: {consecutiveFailures: 3, baseEjectionTime: 3s}
  retries:
    on: [5xx, gateway-eror, retriable-4xx, reset, reset, 503, 503]
    safe: yes
    numRetries: 3
";
    insta::assert_snapshot!(told(fields), @r#"
    6: error[invalid-value]: affinity: it has more than one key: cookie, header (write one of `cookie: {}`, `header: {name: x-user}`, `query: {name: user}` and `sourceAddress: {}`)
    7: error[unknown-field]: circuitBreaker.consecutiveErrors: there is no such field (did you mean `consecutiveFailures`?)
    8: error[unknown-field]: outlierEjection.consecutiveFailures: there is no such field (its fields are enabled, consecutiveErrors, baseTime, maxTime, maxSharePercent, errors, successRate)
    8: error[unknown-field]: outlierEjection.baseEjectionTime: there is no such field (its fields are enabled, consecutiveErrors, baseTime, maxTime, maxSharePercent, errors, successRate)
    10: error[invalid-value]: retries.on[0]: "5xx" is not a condition (write `server-error`)
    10: error[invalid-value]: retries.on[1]: "gateway-eror" is not a condition (did you mean `gateway-error`?)
    10: error[invalid-value]: retries.on[2]: "retriable-4xx" is not a condition (write a status such as 503, or one of connect-failure, refused-stream, reset, gateway-error, server-error, grpc-cancelled, grpc-deadline-exceeded, grpc-resource-exhausted, grpc-internal, grpc-unavailable)
    10: error[duplicate]: retries.on[4]: reset stands twice (remove it)
    10: error[duplicate]: retries.on[6]: 503 stands twice (remove it)
    11: error[invalid-value]: retries.safe: "yes" is not one of its values (write `methods` or `always` or `never`)
    12: error[unknown-field]: retries.numRetries: there is no such field (its fields are enabled, attempts, on, safe, perTryTimeout, backoff, budget)
    "#);
    insta::assert_snapshot!(told("  retries: {on: []}\n  affinity: {}\n"), @r#"
    6: error[missing-field]: retries.on: the list is empty (write at least 1)
    7: error[invalid-value]: affinity: it has no key (write one of `cookie: {}`, `header: {name: x-user}`, `query: {name: user}` and `sourceAddress: {}`)
    "#);
}

#[test]
fn cookies_that_no_client_would_keep_are_told() {
    for (cookie, part) in [
        ("{name: 'a b'}", "is not a cookie's name"),
        ("{name: ''}", "is not a cookie's name"),
        ("{name: 'a=b'}", "is not a cookie's name"),
        ("{name: __Host-a}", "browsers take cookies of this name only over TLS"),
        ("{path: shop}", "is not a cookie's path"),
        ("{path: '/a; Domain=evil.example'}", "is not a cookie's path"),
        ("{path: '/ä'}", "is not a cookie's path"),
        ("{ttl: 0s}", "leave ttl out"),
        ("{ttl: 1500ms}", "whole seconds"),
        ("{ttl: 9601h}", "write at most 9600h"),
    ] {
        let told = told(&format!("  affinity: {{cookie: {cookie}}}\n"));
        assert!(told.contains(part) && told.lines().count() == 1, "{cookie}: {told}");
    }
    assert!(told("  affinity: {header: {name: 'a b'}}\n").contains("is not a header name"));
    assert!(told("  affinity: {query: {name: 'a&b=c d'}}\n").contains("is not a name"));
    assert!(told("  affinity: {sourceAddress: {prefix: 24}}\n").contains("there is no such field"));
}
