use std::time::Duration;

use proptest::prelude::*;
use weft_ir::{
    Affinity,
    Health::{self, Draining, Healthy, Unhealthy},
};
use weft_model::AffinityKey;

use super::*;
use crate::{
    PeakEwma, RequestHead, Routing, Snapshot, Verdict, normalize, permit_outbound, route,
    testing::{cluster, endpoints, everything, get, host, identity, resource, route_to, scope},
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
    let expected = Upstream::Mesh { identity: &identity("web"), sni: "80.web.shop.mesh.weft.local" };
    assert_eq!(picked.upstream(), expected);
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

/// A cluster of that balance, whose route has affinity by header or none.
fn balanced(balance: Balance, weights: &[(u32, Health)], by_header: bool) -> Snapshot {
    let mut route = route_to(0, everything(), &[("web", 1)]);
    route.affinity = by_header.then(|| Affinity { key: AffinityKey::Header { name: "x-user".to_owned() } });
    let cluster = Cluster { balance, ..cluster("web") };
    let resources = [resource(host("web", vec![route])), resource(cluster), resource(endpoints("web", weights))];
    Snapshot::complete(scope(), "", resources).unwrap()
}

fn picks(snapshot: &Snapshot, user: u64, turn: &Turn<'_>) -> (usize, bool) {
    let user = user.to_string();
    let headers: &[(&[u8], &[u8])] = &[(b"x-user", user.as_bytes())];
    let request = normalize(snapshot.scope(), &RequestHead { headers, ..get("web", "/") }).unwrap();
    match route(snapshot, &request, 0) {
        Routing::Routed(routed) => {
            let picked = pick_with(permit_outbound(routed), turn).unwrap();
            // What the record keeps is enough to pick again.
            let again = picked.circumstances(turn);
            assert_eq!(pick_with(permit_outbound(routed), &again.turn(turn.draw)).unwrap().index(), picked.index());
            (picked.index(), picked.second)
        }
        other => panic!("{other:?}"),
    }
}

fn ejected(snapshot: &Snapshot, places: impl IntoIterator<Item = usize>) -> Ejected {
    let all = snapshot.cluster(&crate::testing::service("web")).unwrap().endpoints();
    places.into_iter().map(|place| all.endpoints[place].address).collect()
}

const ALL: [Balance; 6] = Balance::ALL;

#[test]
fn shares_follow_weights_whatever_the_balance_and_whoever_is_out() {
    const TURNS: usize = 20_000;
    let weights = [(3, Healthy), (1, Healthy), (4, Healthy), (2, Healthy), (5, Draining)];
    for (balance, by_header) in ALL.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let snapshot = balanced(balance, &weights, by_header);
        for out in [vec![], vec![0], vec![0, 2], vec![0, 1, 2]] {
            let ejected = ejected(&snapshot, out.clone());
            let mut shares = [0u32; 5];
            for draw in 0..TURNS as u64 {
                shares[picks(&snapshot, draw, &Turn { ejected: &ejected, ..Turn::new(draw) }).0] += 1;
            }
            let stays = |place: &usize| *place < 4 && !out.contains(place);
            let sum: u32 = (0..4).filter(stays).map(|place| weights[place].0).sum();
            for place in 0..5 {
                let share = if stays(&place) { f64::from(weights[place].0) / f64::from(sum) } else { 0.0 };
                // 4.9 standard deviations of a binomial distribution: a probability of 10⁻⁶.
                let margin = 4.9 * (TURNS as f64 * share * (1.0 - share)).sqrt();
                let off = (f64::from(shares[place]) - TURNS as f64 * share).abs();
                assert!(off <= margin, "{balance:?} {by_header} without {out:?}: {shares:?}");
            }
        }
    }
}

#[test]
fn the_less_busy_of_two_is_picked_for_its_weight() {
    let snapshot = balanced(Balance::LeastRequest, &[(1, Healthy), (2, Healthy)], false);
    for (loads, winner) in [([0, 0], 1), ([0, 1], 0), ([1, 1], 1), ([1, 4], 0), ([5, 9], 1), ([100, 0], 1)] {
        for draw in 0..50 {
            let load = |place: usize| loads[place];
            let turn = Turn { loads: Loads::By(&load), ..Turn::new(draw) };
            if (loads[0] + 1) * 2 != loads[1] + 1 {
                assert_eq!(picks(&snapshot, 0, &turn).0, winner, "{loads:?}");
            }
        }
    }
}

#[test]
fn least_request_keeps_the_longest_queue_short() {
    // Requests that never end: of n put into n queues at random the longest is about ln n / ln ln n, of two choices about
    // ln ln n (Azar et al. 1994).
    let snapshot = balanced(Balance::LeastRequest, &[(1, Healthy); 100], false);
    let mut queues = [0u64; 100];
    for draw in 0..1000 {
        let load = |place: usize| queues[place];
        let (place, _) = picks(&snapshot, 0, &Turn { loads: Loads::By(&load), ..Turn::new(draw) });
        queues[place] += 1;
    }
    assert!(queues.iter().all(|queue| (7..=13).contains(queue)), "{queues:?}");
}

/// Endpoints of 1, 2 and 10 ms that serve one request at a time, and one that hangs for a while: who is asked is who will
/// have answered first.
#[test]
fn peak_ewma_sends_requests_where_they_are_answered_soonest() {
    let snapshot = balanced(Balance::PeakEwma, &[(1, Healthy); 4], false);
    let mut measures = [PeakEwma::default(); 4];
    let mut asked = [0; 4];
    for draw in 0..4000 {
        let now = Duration::from_millis(draw);
        // The last one hangs from 1 s to 2 s.
        let took = [1, 2, 10, if (1000..2000).contains(&draw) { 1000 } else { 1 }].map(Duration::from_millis);
        let load = |place: usize| measures[place].cost(0, now);
        let (place, _) = picks(&snapshot, 0, &Turn { loads: Loads::By(&load), ..Turn::new(draw) });
        measures[place].observe(took[place], Verdict::Good, now);
        asked[place] += 1;
        if draw == 999 {
            assert!(asked[2] < 10, "one of 10 ms is drawn beside a faster one always: {asked:?}");
            assert!(asked[0] > 340 && asked[3] > 340 && asked[1] > 100, "{asked:?}");
            asked = [0; 4];
        }
    }
    assert!(asked[3] <= 2, "one answer of 1 s is enough to be spared for seconds: {asked:?}");
}

#[test]
fn a_pick_says_why_it_is_this_one() {
    let said = |balance, by_header| {
        let snapshot = balanced(balance, &[(1, Healthy); 3], by_header);
        let headers: &[(&[u8], &[u8])] = &[(b"x-user", b"ann")];
        let request = normalize(snapshot.scope(), &RequestHead { headers, ..get("web", "/") }).unwrap();
        match route(&snapshot, &request, 0) {
            Routing::Routed(routed) => pick(permit_outbound(routed), 1).unwrap().why().to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        Balance::ALL.map(|balance| said(balance, false)),
        [
            "round robin",
            "the fewest requests of two",
            "chance",
            "the least peak EWMA of two",
            "chance: the request has no key",
            "chance: the request has no key",
        ]
    );
    assert_eq!(said(Balance::LeastRequest, true), "the hash of header x-user");
    assert_eq!(said(Balance::Maglev, true), "the hash of header x-user (Maglev)");
}

#[test]
fn where_all_are_ejected_it_is_as_if_none_were() {
    for balance in ALL {
        let snapshot = balanced(balance, &[(1, Healthy), (1, Healthy)], false);
        let ejected = ejected(&snapshot, 0..2);
        let turn = Turn { ejected: &ejected, ..Turn::new(9) };
        assert_eq!(picks(&snapshot, 0, &turn).0, picks(&snapshot, 0, &Turn::new(9)).0);
        assert_eq!(picks(&snapshot, 0, &Turn { avoid: Some(1), ..turn }).0, 0);
    }
}

proptest! {
    #[test]
    fn nothing_ejected_or_avoided_is_picked_while_there_is_another(
        balance in prop::sample::select(ALL.to_vec()),
        by_header: bool,
        count in 1usize..12,
        out in prop::collection::btree_set(0usize..12, 0..12),
        avoid in prop::option::of(0usize..12),
        draw: u64,
    ) {
        let snapshot = balanced(balance, &vec![(1, Healthy); count], by_header);
        let out: Vec<_> = out.into_iter().filter(|place| *place < count).collect();
        let ejected = ejected(&snapshot, out.clone());
        let (place, _) = picks(&snapshot, draw, &Turn { ejected: &ejected, avoid, ..Turn::new(draw) });
        let others = |place: &usize| !out.contains(place) && Some(*place) != avoid;
        if (0..count).any(|place| others(&place)) {
            prop_assert!(others(&place));
        } else if out.len() < count {
            prop_assert!(!out.contains(&place));
        }
    }

    #[test]
    fn only_the_keys_of_what_is_lost_or_ejected_move(
        balance in prop::sample::select(ALL.into_iter().filter(|it| *it != Balance::Maglev).collect::<Vec<_>>()),
        weights in prop::collection::vec(1u32..5, 2..10),
        lost in any::<prop::sample::Index>(),
        users: [u64; 16],
    ) {
        let lost = lost.index(weights.len());
        let healthy = |without: bool| -> Vec<_> {
            let health = |place| if without && place == lost { Draining } else { Healthy };
            weights.iter().enumerate().map(|(place, weight)| (*weight, health(place))).collect()
        };
        let snapshot = balanced(balance, &healthy(false), true);
        let without = balanced(balance, &healthy(true), true);
        let ejected = ejected(&snapshot, [lost]);
        for user in users {
            let before = picks(&snapshot, user, &Turn::new(user)).0;
            let (after, now) = (picks(&without, user, &Turn::new(!user)).0, Turn { ejected: &ejected, ..Turn::new(3) });
            prop_assert_eq!(after, picks(&snapshot, user, &now).0, "ejected or gone is the same");
            prop_assert!(before == after || before == lost);
        }
    }
}

/// A table moves a few keys of others when it is made anew; none while somebody is ejected, whose keys spread.
#[test]
fn with_a_table_only_the_keys_of_what_is_ejected_move_and_few_of_others_when_it_is_gone() {
    const USERS: u64 = 3000;
    let weights = [(1, Healthy), (2, Healthy), (1, Healthy), (1, Healthy), (1, Healthy)];
    let mut lost = weights;
    lost[2].1 = Draining;
    let (snapshot, without) = (balanced(Balance::Maglev, &weights, true), balanced(Balance::Maglev, &lost, true));
    let ejected = ejected(&snapshot, [2]);
    let (mut gained, mut moved) = ([0u64; 5], 0);
    for user in 0..USERS {
        let before = picks(&snapshot, user, &Turn::new(user)).0;
        let now = picks(&snapshot, user, &Turn { ejected: &ejected, ..Turn::new(!user) }).0;
        let after = picks(&without, user, &Turn::new(user)).0;
        assert!(now != 2 && after != 2);
        if before == 2 {
            gained[now] += 1;
        } else {
            assert_eq!(before, now, "user {user}");
            moved += u64::from(before != after);
        }
    }
    assert!(gained.iter().enumerate().all(|(place, gained)| place == 2 || *gained > USERS / 6 / 10), "{gained:?}");
    assert!(moved < USERS / 50, "{moved} of {USERS} moved");
}

#[test]
fn an_endpoint_that_is_new_has_the_share_of_its_part_of_a_weight() {
    const TURNS: u64 = 20_000;
    let weights = [(2, Healthy), (1, Healthy), (1, Healthy)];
    for balance in Balance::ALL.into_iter().filter(|it| it.can_start_slowly()) {
        let snapshot = balanced(balance, &weights, false);
        for part in [0.1, 0.5, 1.0] {
            let parts = |place: usize| if place == 2 { part } else { 1.0 };
            let mut shares = [0u32; 3];
            for draw in 0..TURNS {
                shares[picks(&snapshot, draw, &Turn { cold: Cold::By(&parts), ..Turn::new(draw) }).0] += 1;
            }
            for (place, share) in [2.0, 1.0, part].into_iter().enumerate() {
                let share = share / (3.0 + part);
                // 4.9 standard deviations of a binomial distribution: a probability of 10⁻⁶.
                let margin = 4.9 * (TURNS as f64 * share * (1.0 - share)).sqrt();
                let off = (f64::from(shares[place]) - TURNS as f64 * share).abs();
                assert!(off <= margin, "{balance:?} with {part}: {shares:?}");
            }
        }
    }
}

/// Endpoints in two zones and another region, of which some are ejected.
#[test]
fn near_endpoints_are_picked_while_they_suffice_and_what_they_cannot_take_goes_on() {
    const TURNS: u64 = 4000;
    let mut all = endpoints("web", &[(1, Healthy); 12]);
    for (place, endpoint) in all.endpoints.iter_mut().enumerate() {
        let (region, zone) = [("eu", "a"), ("eu", "b"), ("us", "a")][place % 3];
        endpoint.locality.region = Some(region.parse().unwrap());
        endpoint.locality.zone = Some(zone.parse().unwrap());
    }
    for (balance, by_header) in ALL.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let mut route = route_to(0, everything(), &[("web", 1)]);
        route.affinity = by_header.then(|| Affinity { key: AffinityKey::Header { name: "x-user".to_owned() } });
        let cluster = Cluster { balance, near_first: Some(weft_ir::NearFirst::default()), ..cluster("web") };
        let resources = [resource(host("web", vec![route])), resource(cluster), resource(all.clone())];
        let snapshot = Snapshot::complete(scope(), "", resources).unwrap();
        // Of the four near ones: all work, three, two, none.
        for (out, expected) in [
            (vec![], [1.0, 0.0, 0.0]),
            (vec![0], [1.0, 0.0, 0.0]),
            (vec![0, 3], [0.7, 0.3, 0.0]),
            (vec![0, 3, 6, 9], [0.0, 1.0, 0.0]),
            (vec![0, 3, 6, 9, 1, 4, 7], [0.0, 0.35, 0.65]),
        ] {
            let ejected = ejected(&snapshot, out.clone());
            let mut shares = [0u32; 3];
            for draw in 0..TURNS {
                let place = picks(&snapshot, draw, &Turn { ejected: &ejected, ..Turn::new(draw) }).0;
                assert!(!out.contains(&place), "{place} is out of {out:?}");
                shares[place % 3] += 1;
            }
            for (count, share) in shares.iter().zip(expected) {
                let margin = 4.9 * (TURNS as f64 * share * (1.0 - share)).sqrt() + 1.0;
                let off = (f64::from(*count) - TURNS as f64 * share).abs();
                assert!(off <= margin, "{balance:?} {by_header} without {out:?}: {shares:?}");
            }
        }
    }
}

#[test]
fn in_panic_what_was_ejected_is_picked_and_what_says_of_itself_that_it_is_not_well_is_not() {
    let mut all = endpoints("web", &[(1, Healthy), (1, Healthy), (1, Healthy), (1, Unhealthy), (1, Healthy)]);
    for endpoint in &mut all.endpoints {
        endpoint.locality = scope().locality;
    }
    let route = route_to(0, everything(), &[("web", 1)]);
    let cluster = Cluster { near_first: Some(weft_ir::NearFirst::default()), ..cluster("web") };
    let resources = [resource(host("web", vec![route])), resource(cluster), resource(all)];
    let snapshot = Snapshot::complete(scope(), "", resources).unwrap();
    let seen = |out: &[usize]| {
        let ejected = ejected(&snapshot, out.iter().copied());
        let turns = (0..200).map(|draw| picks(&snapshot, 0, &Turn { ejected: &ejected, ..Turn::new(draw) }).0);
        turns.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(seen(&[0]), [1, 2, 4], "three of five work");
    assert_eq!(seen(&[0, 1, 2]), [0, 1, 2, 4], "one of five works: below half");
}

#[test]
fn an_endpoint_that_is_new_does_not_relieve_a_busy_one_beyond_its_part() {
    const TURNS: u64 = 4000;
    let snapshot = balanced(Balance::LeastRequest, &[(1, Healthy), (1, Healthy)], false);
    let (parts, load) =
        (|place: usize| if place == 1 { 0.1 } else { 1.0 }, |place: usize| if place == 0 { 9 } else { 0 });
    let turn = |draw| Turn { cold: Cold::By(&parts), loads: Loads::By(&load), ..Turn::new(draw) };
    let new = (0..TURNS).filter(|draw| picks(&snapshot, 0, &turn(*draw)).0 == 1).count();
    // Of the two draws of a pick, up to nine tries fall to it at even odds, of which one of ten stands.
    assert!((TURNS / 20..TURNS * 2 / 3).contains(&(new as u64)), "{new} of {TURNS}");
}
