use proptest::prelude::*;
use weft_ir::{Affinity, HeaderMatch, RouteMatch, RouteOrigin, VirtualHost};
use weft_model::{AffinityKey, QueryMatch};

use super::*;
use crate::{
    RequestHead, normalize,
    testing::{authority, cluster, everything, get, host, method, path, resource, route_to, scope, service, tcp},
};

fn snapshot(host: VirtualHost) -> Snapshot {
    let clusters = ["web", "v1", "v2", "v3"].map(|name| resource(cluster(name)));
    let resources = clusters.into_iter().chain([resource(host), tcp("db", "v3"), tcp("dangling", "gone")]);
    Snapshot::complete(scope(), "7", resources).unwrap()
}

fn rule_of(snapshot: &Snapshot, head: &RequestHead<'_>) -> Option<u32> {
    match route(snapshot, &normalize(&scope(), head).unwrap(), 0) {
        Routing::Routed(routed) => match routed.origin().unwrap() {
            RouteOrigin::Rule { rule, .. } => Some(*rule),
            RouteOrigin::Named(_) => panic!("no object"),
        },
        Routing::Refused(Refusal::NoRoute { .. }) => None,
        other => panic!("{other:?}"),
    }
}

fn takes(matches: RouteMatch, head: &RequestHead<'_>) -> bool {
    rule_of(&snapshot(host("web", vec![route_to(0, matches, &[("v1", 1)])])), head).is_some()
}

#[test]
fn prefixes_match_whole_elements() {
    for (prefix, target, is_match) in [
        ("/", "/", true),
        ("/", "/x", true),
        ("/a", "/a", true),
        ("/a", "/a/", true),
        ("/a", "/a/b?c", true),
        ("/a", "/ab", false),
        ("/a/", "/a", true),
        ("/a/", "/ab", false),
        ("/a/b", "/a", false),
        ("/a", "/A", false),
        ("/a", "/x/../a", true),
        ("/a", "/a/../x", false),
    ] {
        assert_eq!(
            takes(path(PathMatch::Prefix(prefix.to_owned())), &get("web", target)),
            is_match,
            "{prefix} {target}"
        );
    }
}

#[test]
fn a_tunnel_is_opened_by_a_rule_that_names_connect_and_asks_for_no_path() {
    let head = RequestHead { method: b"CONNECT", ..get("web:80", "web:80") };
    let named = |matches: RouteMatch| RouteMatch { method: method("CONNECT"), ..matches };
    let prefix = |text: &str| path(PathMatch::Prefix(text.to_owned()));
    for (matches, takes) in [
        (named(everything()), true),
        (everything(), false),
        (RouteMatch { method: method("GET"), ..everything() }, false),
        (named(prefix("/a")), false),
        (named(prefix("web:80")), false),
        (named(path(PathMatch::Exact("web:80".to_owned()))), false),
        (named(path(PathMatch::Regex(".*".to_owned()))), false),
    ] {
        let routes = vec![route_to(0, matches.clone(), &[("v1", 1)])];
        let snapshot = snapshot(host("web", routes));
        match route(&snapshot, &normalize(&scope(), &head).unwrap(), 0) {
            Routing::Routed(_) if takes => {}
            Routing::Refused(refusal @ Refusal::NoTunnel { .. }) if !takes => assert_eq!(refusal.status(), 501),
            other => panic!("{matches:?}: {other:?}"),
        }
    }
}

#[test]
fn a_match_on_the_host_field_sees_what_the_next_hop_sees() {
    let headers = vec![HeaderMatch { name: "host".to_owned(), value: TextMatch::Exact("web".to_owned()) }];
    let matches = RouteMatch { headers, ..everything() };
    let written = |host: &'static str| {
        let field: &[(&[u8], &[u8])] = &[(b"Host", host.as_bytes())];
        takes(matches.clone(), &RequestHead { headers: field, ..get(host, "/") })
    };
    assert!(written("web") && written("WEB.") && written("Web:"));
    assert!(!written("web.shop") && !written("web:80"));
}

#[test]
fn exact_and_regex_matches_take_whole_paths() {
    let exact = |text: &str| path(PathMatch::Exact(text.to_owned()));
    assert!(takes(exact("/a"), &get("web", "/a?b")));
    assert!(!takes(exact("/a"), &get("web", "/a/")));
    let regex = |text: &str| path(PathMatch::Regex(text.to_owned()));
    assert!(takes(regex("/a|/b"), &get("web", "/b")));
    assert!(!takes(regex("/a|/b"), &get("web", "/bc")));
    assert!(!takes(regex("/a|/b"), &get("web", "/x/a")));
    assert!(takes(regex("/v[0-9]+/.*"), &get("web", "/v12/x")));
}

#[test]
fn every_lane_decides_alike() {
    let matches = path(PathMatch::Regex("/v[0-9]+".to_owned()));
    let snapshot = snapshot(host("web", vec![route_to(3, matches, &[("v1", 1)])]));
    for lane in [0, 1, 2, 200] {
        let lane = snapshot.for_lane(lane);
        assert_eq!(rule_of(&lane, &get("web", "/v2")), Some(3));
        assert_eq!(rule_of(&lane, &get("web", "/v")), None);
    }
}

#[test]
fn the_server_wide_target_is_taken_by_the_route_for_everything_only() {
    let head = RequestHead { method: b"OPTIONS", ..get("web", "*") };
    assert!(takes(everything(), &head));
    assert!(!takes(path(PathMatch::Prefix("/a".to_owned())), &head));
}

#[test]
fn methods_are_compared_with_case() {
    let matches = RouteMatch { method: method("GET"), ..everything() };
    assert!(takes(matches.clone(), &get("web", "/")));
    assert!(!takes(matches.clone(), &RequestHead { method: b"get", ..get("web", "/") }));
    assert!(!takes(matches, &RequestHead { method: b"POST", ..get("web", "/") }));
}

#[test]
fn header_names_have_no_case_and_repeated_values_are_joined() {
    let header = |value| {
        let headers = vec![HeaderMatch { name: "x-canary".to_owned(), value }];
        RouteMatch { headers, ..everything() }
    };
    let exact = |text: &str| header(TextMatch::Exact(text.to_owned()));
    let regex = |text: &str| header(TextMatch::Regex(text.to_owned()));
    let once: &[(&[u8], &[u8])] = &[(b"X-Canary", b"always")];
    let twice: &[(&[u8], &[u8])] = &[(b"x-canary", b"a"), (b"other", b"x"), (b"X-CANARY", b"b")];
    let with = |headers| RequestHead { headers, ..get("web", "/") };
    assert!(takes(exact("always"), &with(once)));
    assert!(!takes(exact("Always"), &with(once)));
    assert!(!takes(exact("always"), &with(&[])));
    assert!(takes(exact("a,b"), &with(twice)));
    assert!(!takes(exact("a"), &with(twice)));
    assert!(takes(regex("al.*"), &with(once)));
    assert!(!takes(regex("al"), &with(once)));
    assert!(takes(regex("[ab],[ab]"), &with(twice)));
    assert!(takes(regex(".*"), &with(&[(b"x-canary", b"")])));
}

#[test]
fn every_outcome_names_its_cause() {
    let mut missing = route_to(1, path(PathMatch::Exact("/missing".to_owned())), &[]);
    missing.action = RouteAction::Refuse { cause: "Service shop/nowhere does not exist".to_owned() };
    let gone = route_to(2, path(PathMatch::Exact("/gone".to_owned())), &[("gone", 1)]);
    let weightless = route_to(3, path(PathMatch::Exact("/weightless".to_owned())), &[("v1", 0)]);
    let snapshot = snapshot(host("web", vec![missing, gone, weightless]));
    for (head, status, text) in [
        (get("web", "/x"), 404, "no route of web.shop.svc.cluster.local matches GET /x"),
        (get("nowhere", "/x"), 404, "nowhere.shop.svc.cluster.local is not in the mesh"),
        (get("web:81", "/x"), 404, "web.shop.svc.cluster.local:81 is not in the mesh"),
        (get("web", "/missing"), 500, "HTTPRoute shop/route rule 1 match 0: Service shop/nowhere does not exist"),
        (get("web", "/gone"), 500, "web.shop.svc.cluster.local leads to local/shop/gone:80, which does not exist"),
        (get("web", "/weightless"), 500, "HTTPRoute shop/route rule 3 match 0: no backend has a weight above zero"),
    ] {
        match route(&snapshot, &normalize(&scope(), &head).unwrap(), 0) {
            Routing::Refused(refusal) => {
                assert_eq!((refusal.status(), refusal.to_string().as_str()), (status, text));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn tcp_goes_where_its_listener_says() {
    let snapshot = snapshot(host("web", Vec::new()));
    match route_tcp(&snapshot, &service("db")) {
        Routing::Routed(routed) => {
            assert_eq!((routed.service(), &routed.cluster().cluster().name), (&service("db"), &service("v3")));
            assert_eq!((routed.origin(), routed.host(), routed.timeout()), (None, None, None));
        }
        other => panic!("{other:?}"),
    }
    for (name, status) in [("dangling", 500), ("unknown", 404)] {
        assert!(matches!(route_tcp(&snapshot, &service(name)), Routing::Refused(it) if it.status() == status));
    }
}

#[test]
fn a_split_follows_its_draw() {
    let shares = [("v1", 90), ("v2", 0), ("v3", 10)];
    let snapshot = snapshot(host("web", vec![route_to(0, everything(), &shares)]));
    let at = |split| match route(&snapshot, &normalize(&scope(), &get("web", "/")).unwrap(), split) {
        Routing::Routed(routed) => {
            assert_eq!(routed.host(), Some(&authority("web")));
            routed.cluster().cluster().name.port().unwrap().service.to_string()
        }
        other => panic!("{other:?}"),
    };
    let edge = (u128::from(u64::MAX) * 9 / 10) as u64;
    assert_eq!([0, edge, edge + 2, u64::MAX].map(at), ["v1", "v1", "v3", "v3"]);
}

#[test]
fn a_missing_backend_keeps_its_share_and_refuses_it() {
    let mut split = route_to(0, everything(), &[("v1", 1), ("gone", 1)]);
    if let RouteAction::Forward(shares) = &mut split.action {
        shares[1].refusal = Some("Service shop/gone does not exist".to_owned());
    }
    let snapshot = snapshot(host("web", vec![split]));
    let request = normalize(&scope(), &get("web", "/")).unwrap();
    assert!(matches!(route(&snapshot, &request, 0), Routing::Routed(_)));
    match route(&snapshot, &request, u64::MAX) {
        Routing::Refused(refusal) => {
            assert_eq!(refusal.status(), 500);
            assert!(refusal.to_string().ends_with("Service shop/gone does not exist"), "{refusal}");
        }
        other => panic!("{other:?}"),
    }
}

fn path_matches() -> impl Strategy<Value = PathMatch> {
    let text = prop::sample::select(vec!["/a", "/a/b", "/b", "/a/b/c"]);
    prop_oneof![
        text.clone().prop_map(|text| PathMatch::Exact(text.to_owned())),
        text.clone().prop_map(|text| PathMatch::Prefix(text.to_owned())),
        Just(PathMatch::Prefix("/".to_owned())),
        text.prop_map(|text| PathMatch::Regex(format!("{text}.*"))),
    ]
}

fn route_matches() -> impl Strategy<Value = RouteMatch> {
    let method = prop::option::of(
        prop::sample::select(vec!["GET", "POST"]).prop_map(|it| weft_model::HttpMethod(it.to_owned())),
    );
    let header = |name: &'static str| {
        prop::option::of(prop::sample::select(vec!["1", "2"])).prop_map(move |value| {
            value.map(|value| HeaderMatch { name: name.to_owned(), value: TextMatch::Exact(value.to_owned()) })
        })
    };
    let query = prop::option::of(prop::sample::select(vec!["1", "2"]));
    let query = query.prop_map(|value| {
        value.map(|value| QueryMatch { name: "q".to_owned(), value: TextMatch::Exact(value.to_owned()) })
    });
    (path_matches(), method, header("x"), header("y"), query).prop_map(|(path, method, x, y, query)| RouteMatch {
        path,
        method,
        headers: [x, y].into_iter().flatten().collect(),
        query: query.into_iter().collect(),
    })
}

/// Matching written a second time, for plain requests, with no eye to speed.
fn naive(matches: &RouteMatch, method: &str, path: &str, headers: &[(&str, &str)], query: Option<&str>) -> bool {
    let path_matches = match &matches.path {
        PathMatch::Exact(text) => text == path,
        PathMatch::Prefix(text) => {
            let elements =
                |text: &str| text.split('/').filter(|it| !it.is_empty()).map(str::to_owned).collect::<Vec<_>>();
            elements(path).starts_with(&elements(text))
        }
        PathMatch::Regex(text) => path.starts_with(text.strip_suffix(".*").unwrap()),
    };
    let header_matches = |header: &HeaderMatch| {
        let TextMatch::Exact(value) = &header.value else { return false };
        headers.contains(&(header.name.as_str(), value.as_str()))
    };
    path_matches
        && matches.method.as_ref().is_none_or(|it| it.0 == method)
        && matches.headers.iter().all(header_matches)
        && matches.query.iter().all(|it| query.is_some_and(|query| it.value == TextMatch::Exact(query.to_owned())))
}

proptest! {
    #[test]
    fn the_winner_is_the_most_specific_match(
        mut all in prop::collection::vec(route_matches(), 1..12),
        method in prop::sample::select(vec!["GET", "POST", "PUT"]),
        path in prop::sample::select(vec!["/", "/a", "/ab", "/a/b", "/a/b/c", "/b/a"]),
        x in prop::sample::select(vec!["1", "2", "3"]),
        query in prop::option::of(prop::sample::select(vec!["1", "2", "3"])),
    ) {
        all.sort_by_key(RouteMatch::order);
        let routes = (0..).zip(&all).map(|(rule, matches)| route_to(rule, matches.clone(), &[("v1", 1)])).collect();
        let snapshot = snapshot(host("web", routes));
        let headers: &[(&[u8], &[u8])] = &[(b"X", x.as_bytes()), (b"y", b"1")];
        let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?p=2&q={query}&q=9"));
        let winner = rule_of(&snapshot, &RequestHead { method: method.as_bytes(), headers, ..get("web", &target) });
        let candidates = all.iter().filter(|matches| naive(matches, method, path, &[("x", x), ("y", "1")], query));
        let best = candidates.map(RouteMatch::precedence).max();
        prop_assert_eq!(winner.map(|rule| all[rule as usize].precedence()), best);
    }

    #[test]
    fn precedence_is_total(a in route_matches(), b in route_matches(), c in route_matches()) {
        let mut sorted = [&a, &b, &c].map(RouteMatch::precedence);
        sorted.sort_unstable();
        prop_assert!(sorted[0] <= sorted[1] && sorted[1] <= sorted[2] && sorted[0] <= sorted[2]);
        prop_assert_eq!(a.precedence() == b.precedence(), a.precedence().cmp(&b.precedence()).is_eq());
    }

    #[test]
    fn shares_converge_to_weights(weights in prop::collection::vec(0u32..=1_000_000, 1..6), offset: u64) {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        prop_assume!(total > 0);
        let names: Vec<_> = (0..weights.len()).map(|place| service(&format!("v{place}"))).collect();
        let clusters: Vec<_> = names.iter().zip(&weights)
            .map(|(name, weight)| WeightedCluster { cluster: name.clone(), weight: *weight, refusal: None, headers: None }).collect();
        // Draws spread evenly over the whole range: the count of each is off by one at each of its two edges.
        const DRAWS: u64 = 4096;
        let mut counts = vec![0u64; weights.len()];
        for draw in 0..DRAWS {
            let chosen = share(&clusters, draw.wrapping_mul(u64::MAX / DRAWS + 1).wrapping_add(offset)).unwrap();
            counts[names.iter().position(|name| *name == chosen.cluster).unwrap()] += 1;
        }
        for (count, weight) in counts.iter().zip(&weights) {
            let expected = DRAWS as f64 * f64::from(*weight) / total as f64;
            prop_assert!((*count as f64 - expected).abs() <= 2.0, "{counts:?} for {weights:?}");
            prop_assert!(*weight > 0 || *count == 0);
        }
    }
}

/// The cluster that a user is sent to where versions have those weights.
fn version(weights: &[(&str, u32)], user: u32) -> String {
    let mut route = route_to(0, everything(), weights);
    route.affinity = Some(Affinity { key: AffinityKey::Header { name: "x-user".to_owned() } });
    let snapshot = snapshot(host("web", vec![route]));
    let user = user.to_string();
    let headers: &[(&[u8], &[u8])] = &[(b"x-user", user.as_bytes())];
    let head = RequestHead { headers, ..get("web", "/") };
    match super::route(&snapshot, &normalize(&scope(), &head).unwrap(), user.len() as u64) {
        Routing::Routed(routed) => routed.cluster().cluster().name.port().unwrap().service.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_a_query_parameter_the_first_value_counts_as_it_stands() {
    let takes = |value: TextMatch, target: &str| {
        let query = vec![QueryMatch { name: "q".to_owned(), value }];
        takes(RouteMatch { query, ..everything() }, &get("web", target))
    };
    let exact = |text: &str| TextMatch::Exact(text.to_owned());
    for (value, target, expected) in [
        (exact("a"), "/?q=a", true),
        (exact("a"), "/?p=b&q=a&q=b", true),
        (exact("b"), "/?q=a&q=b", false),
        (exact("a"), "/?Q=a", false),
        (exact("a"), "/?q=%61", false),
        (exact("a%20b"), "/?q=a%20b", true),
        (exact("a=b"), "/?q=a=b", true),
        (exact(""), "/?q", true),
        (exact(""), "/?q=&r", true),
        (exact("a"), "/", false),
        (exact("a"), "/?", false),
        (TextMatch::Regex("[0-9]+".to_owned()), "/?q=17", true),
        (TextMatch::Regex("[0-9]+".to_owned()), "/?q=17a", false),
        (TextMatch::Regex(".*".to_owned()), "/?r=1", false),
    ] {
        assert_eq!(takes(value.clone(), target), expected, "{value:?} {target}");
    }
}

#[test]
fn a_growing_version_takes_users_from_the_other_only() {
    let mut v2_before = 0;
    for user in 0..2000 {
        let versions = [90, 80, 50, 10].map(|v1| version(&[("v1", v1), ("v2", 100 - v1)], user));
        assert!(versions.is_sorted(), "user {user}: {versions:?}");
        v2_before += u32::from(versions[0] == "v2");
    }
    // 200, and 4.9 standard deviations: a probability of 10⁻⁶.
    assert!((200 - 66..=200 + 66).contains(&v2_before), "{v2_before}");
}

#[test]
fn among_three_versions_a_user_moves_to_the_growing_one_or_not_at_all() {
    for user in 0..1000 {
        let before = version(&[("v1", 45), ("v2", 45), ("v3", 10)], user);
        let after = version(&[("v1", 25), ("v2", 25), ("v3", 50)], user);
        assert!(before == after || after == "v3", "user {user}: {before} to {after}");
        assert_eq!(before, version(&[("v3", 10), ("v2", 45), ("v1", 45)], user), "whatever the order");
    }
}

#[test]
fn a_cookie_that_is_made_up_leads_to_the_same_version_from_then_on() {
    let mut route = route_to(0, everything(), &[("v1", 50), ("v2", 50)]);
    let path = "/".to_owned();
    route.affinity = Some(Affinity { key: AffinityKey::Cookie { name: "weft-affinity".to_owned(), path, ttl: None } });
    let snapshot = snapshot(host("web", vec![route]));
    let ask = |cookie: &str, split| {
        let headers: &[(&[u8], &[u8])] = &[(b"cookie", cookie.as_bytes())];
        let head = RequestHead { headers, ..get("web", "/") };
        match super::route(&snapshot, &normalize(&scope(), &head).unwrap(), split) {
            Routing::Routed(routed) => (
                routed.cluster().cluster().name.clone(),
                routed.key().unwrap(),
                routed.set_cookie().map(|it| it.to_string()),
            ),
            other => panic!("{other:?}"),
        }
    };
    let mut seen = std::collections::BTreeSet::new();
    for split in 0..64 {
        let (cluster, key, set) = ask("", split);
        let set = set.unwrap();
        assert_eq!(ask(set.split(';').next().unwrap(), !split), (cluster.clone(), key, None));
        seen.insert(cluster);
    }
    assert_eq!(seen.len(), 2);
}
