use weft_ir::{Access, Affinity, Caller, Health, RouteOrigin};
use weft_model::{AccessAction, AffinityKey, Kind};

use super::*;
use crate::testing::*;

fn snapshot() -> Snapshot {
    let allow = rule("one", 0, AccessAction::Allow, vec![Caller::Identity(identity("web"))]);
    let access = Access { policies: vec![object(Kind::AccessPolicy, "one")], rules: vec![allow] };
    let resources = [
        resource(host("web", vec![route_to(4, everything(), &[("v1", 1)])])),
        resource(cluster("v1")),
        resource(endpoints("v1", &[(1, Health::Healthy), (1, Health::Healthy)])),
        tcp("db", "v1"),
        inbound(vec![chain("stock", access)]),
    ];
    Snapshot::complete(scope(), "1", resources).unwrap()
}

#[test]
fn an_outbound_decision_is_replayed_from_its_draws() {
    let snapshot = snapshot();
    let draws = Draws { split: 17, pick: 3 };
    let head = get("Web:80", "/a/../b?c");
    let decision = evaluate_outbound(&snapshot, &head, draws);
    assert_eq!(decision, evaluate_outbound(&snapshot, &head, draws));
    let Decision::Forwarded(forwarded) = decision else { panic!("{decision:?}") };
    assert_eq!((forwarded.target.as_deref(), forwarded.host.as_deref()), (Some("/b?c"), Some("web:80")));
    assert!(matches!(forwarded.route, Some(RouteOrigin::Rule { rule: 4, .. })));
    assert_eq!((forwarded.service, forwarded.cluster), (service("web"), service("v1")));
    assert_eq!(forwarded.workload.unwrap().to_string(), "shop/v1-1");
    let tcp = evaluate_tcp(&snapshot, &service("db"), draws);
    assert!(matches!(tcp, Decision::Forwarded(it) if it.target.is_none() && it.route.is_none()));
}

#[test]
fn an_inbound_decision_names_the_rule_or_the_cause() {
    let snapshot = snapshot();
    let sni = "80.stock.shop.mesh.weft.local";
    let head = get("stock", "//x");
    let InboundDecision::Accepted(accepted) = evaluate_inbound(&snapshot, sni, &identity("web"), Some(&head)) else {
        panic!("it is allowed")
    };
    assert_eq!((accepted.target.as_deref(), accepted.host.as_deref()), (Some("/x"), Some("stock")));
    assert_eq!(accepted.rule.unwrap().to_string(), "AccessPolicy shop/one rule 0");
    assert_eq!(accepted.port.get(), 8080);
    let refused =
        |sni: &str, caller, target| match evaluate_inbound(&snapshot, sni, &caller, Some(&get("stock", target))) {
            InboundDecision::Refused(refusal) => refusal.status(),
            InboundDecision::Accepted(accepted) => panic!("{accepted:?}"),
        };
    assert_eq!(refused(sni, identity("other"), "/"), 403);
    assert_eq!(refused(sni, identity("web"), "/a%2fb"), 400);
    assert_eq!(refused("80.web.shop.mesh.weft.local", identity("web"), "/"), 421);
    assert!(matches!(
        evaluate_inbound(&snapshot, &sni.to_ascii_uppercase(), &identity("web"), None),
        InboundDecision::Accepted(Accepted { target: None, .. })
    ));
}

#[test]
fn every_refusal_has_a_status_of_its_class() {
    let snapshot = snapshot();
    for (head, status) in [(get("a,b", "/"), 400), (get("nowhere", "/"), 404)] {
        match evaluate_outbound(&snapshot, &head, Draws::default()) {
            Decision::Refused(refusal) => assert_eq!(refusal.status(), status),
            other => panic!("{other:?}"),
        }
    }
    let destination = Destination::Service(service("db"));
    let unreachable = Refusal::ControlPlaneUnreachable { destination };
    assert_eq!(unreachable.status(), 503);
    assert!(unreachable.to_string().starts_with("control plane unreachable"));
}

/// Two versions of three endpoints each, behind affinity by a cookie that is made up.
fn sticky() -> Snapshot {
    let mut route = route_to(0, everything(), &[("v1", 50), ("v2", 50)]);
    let (name, path) = ("user".to_owned(), "/".to_owned());
    route.affinity = Some(Affinity { key: AffinityKey::Cookie { name, path, ttl: None } });
    let healthy = [(1, Health::Healthy); 3];
    let versions = ["v1", "v2"].map(|name| [resource(cluster(name)), resource(endpoints(name, &healthy))]);
    let resources = versions.into_iter().flatten().chain([resource(host("web", vec![route]))]);
    Snapshot::complete(scope(), "1", resources).unwrap()
}

fn forwarded(snapshot: &Snapshot, cookie: Option<&str>, draws: Draws, circumstances: &Circumstances) -> Forwarded {
    let headers: Vec<(&[u8], &[u8])> = cookie.iter().map(|it| (&b"cookie"[..], it.as_bytes())).collect();
    let head = RequestHead { headers: &headers, ..get("web", "/") };
    match evaluate_outbound_in(snapshot, &head, draws, circumstances) {
        Decision::Forwarded(forwarded) => *forwarded,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_user_stays_where_the_first_answer_came_from_whatever_is_drawn() {
    let (snapshot, calm) = (sticky(), Circumstances::default());
    let mut places = std::collections::BTreeSet::new();
    for split in 0..40 {
        let first = forwarded(&snapshot, None, Draws { split, pick: split }, &calm);
        let set = first.set_cookie.clone().unwrap();
        let pair = set.split(';').next().unwrap();
        for draw in 0..5 {
            let next = forwarded(&snapshot, Some(pair), Draws { split: !draw, pick: draw }, &calm);
            assert_eq!(next, Forwarded { set_cookie: None, ..first.clone() });
        }
        places.insert(first.workload);
    }
    assert_eq!(places.len(), 6, "and users are spread");
}

#[test]
fn a_decision_is_replayed_from_its_circumstances() {
    let (snapshot, draws) = (sticky(), Draws { split: 1, pick: 1 });
    let first = forwarded(&snapshot, Some("user=ann"), draws, &Circumstances::default());
    let out = Circumstances { ejected: [first.address].into_iter().collect(), ..Circumstances::default() };
    let second = forwarded(&snapshot, Some("user=ann"), draws, &out);
    assert_eq!(second.cluster, first.cluster, "ejection moves nobody to another version");
    assert_ne!(second.address, first.address);
    assert_eq!(forwarded(&snapshot, Some("user=ann"), Draws::default(), &out), second);
    let tcp = |circumstances: &Circumstances| match evaluate_tcp_in(
        &self::snapshot(),
        &service("db"),
        draws,
        circumstances,
    ) {
        Decision::Forwarded(forwarded) => forwarded.address,
        other => panic!("{other:?}"),
    };
    let here = tcp(&Circumstances::default());
    let elsewhere = Circumstances { ejected: [here].into_iter().collect(), ..Circumstances::default() };
    assert_ne!(tcp(&elsewhere), here);
}
