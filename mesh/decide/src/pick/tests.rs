use proptest::prelude::*;
use weft_ir::Health::{self, Draining, Healthy, Unhealthy};

use super::*;
use crate::{
    Routing, Snapshot, normalize, permit_outbound, route,
    testing::{cluster, endpoints, everything, get, host, resource, route_to, scope},
};

fn snapshot(weights: &[(u32, Health)]) -> Snapshot {
    let routes = vec![route_to(0, everything(), &[("web", 1)])];
    let resources = [resource(host("web", routes)), resource(cluster("web")), resource(endpoints("web", weights))];
    Snapshot::complete(scope(), "", resources).unwrap()
}

fn permitted(snapshot: &Snapshot) -> Permitted<'_> {
    let request = normalize(snapshot.scope(), &get("web", "/")).unwrap();
    match route(snapshot, &request, 0) {
        Routing::Routed(routed) => permit_outbound(routed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn equal_endpoints_take_turns() {
    let snapshot = snapshot(&[(5, Healthy), (5, Healthy), (5, Draining), (5, Healthy), (5, Unhealthy)]);
    for start in [0, 1, 1000] {
        let mut picks: Vec<_> = (start..start + 3).map(|at| pick(permitted(&snapshot), at).unwrap().index()).collect();
        picks.sort_unstable();
        assert_eq!(picks, [0, 1, 3]);
    }
}

#[test]
fn a_pick_tells_address_identity_and_server_name() {
    let snapshot = snapshot(&[(1, Draining), (1, Healthy)]);
    let picked = pick(permitted(&snapshot), 7).unwrap();
    assert_eq!(picked.index(), 1);
    assert_eq!(picked.address(), EndpointAddress::Socket(([10, 0, 0, 1], 2).into()));
    assert_eq!(picked.identity().as_str(), "spiffe://weft.local/ns/shop/sa/web");
    assert_eq!(picked.sni(), "80.web.shop.mesh.weft.local");
    assert_eq!(picked.endpoint(), &picked.endpoints().endpoints[1]);
    assert_eq!(picked.cluster().name, picked.permitted().routed().cluster().cluster().name);
}

#[test]
fn no_healthy_endpoint_is_a_refusal_that_names_the_cluster() {
    let refusal = pick(permitted(&snapshot(&[(1, Draining)])), 0).unwrap_err();
    assert_eq!(refusal.status(), 503);
    assert_eq!(refusal.to_string(), "local/shop/web:80 has no healthy endpoint (1 known)");
    assert_eq!(pick(permitted(&snapshot(&[])), 0).unwrap_err().status(), 503);
}

#[test]
fn a_heavy_endpoints_turns_are_spread() {
    let snapshot = snapshot(&[(50, Healthy), (50, Healthy), (1, Healthy)]);
    let picks: Vec<_> = (0..101).map(|at| pick(permitted(&snapshot), at).unwrap().index()).collect();
    let longest = picks.chunk_by(|a, b| a == b).map(<[_]>::len).max();
    assert!(longest <= Some(3), "{picks:?}");
}

proptest! {
    #[test]
    fn a_round_visits_each_healthy_endpoint_as_often_as_its_weight(
        weights in prop::collection::vec((1u32..30, prop::sample::select(vec![Healthy, Healthy, Draining])), 1..8),
        start in 0u64..1 << 40,
    ) {
        let snapshot = snapshot(&weights);
        let healthy = weights.iter().filter(|(_, health)| *health == Healthy);
        let sum: u64 = healthy.map(|(weight, _)| u64::from(*weight)).sum();
        let mut visits = vec![0; weights.len()];
        for cursor in start..start + sum {
            visits[pick(permitted(&snapshot), cursor).unwrap().index()] += 1;
        }
        for ((weight, health), visits) in weights.iter().zip(visits) {
            prop_assert_eq!(if *health == Healthy { *weight } else { 0 }, visits);
        }
    }

    #[test]
    fn any_weights_and_any_cursor_give_a_pick(weights in prop::collection::vec(1u32.., 1..5), cursor: u64) {
        let weights: Vec<_> = weights.into_iter().map(|weight| (weight, Healthy)).collect();
        let snapshot = snapshot(&weights);
        prop_assert_eq!(
            pick(permitted(&snapshot), cursor).unwrap().index(),
            pick(permitted(&snapshot), cursor).unwrap().index()
        );
    }
}
