use proptest::{collection::vec, option, prelude::*};
use weft_ir::{Access, Caller};
use weft_model::{Host, HttpMethod, Kind, TextMatch};

use super::*;
use crate::{
    Denied, RequestHead, normalize, permit, permit_request,
    testing::{Held, held, identity, object, rule, scope},
};

fn asks() -> RequestMatch {
    RequestMatch { methods: Vec::new(), path: None, hosts: Vec::new(), headers: Vec::new() }
}

fn header(name: &str, value: &str) -> HeaderMatch {
    HeaderMatch { name: name.to_owned(), value: TextMatch::Exact(value.to_owned()) }
}

fn with(place: u32, action: AccessAction, requests: Vec<RequestMatch>) -> AccessRule {
    AccessRule { requests, ..rule("one", place, action, vec![Caller::Anyone]) }
}

fn holding(rules: Vec<AccessRule>) -> Held {
    held("stock", Access { policies: vec![object(Kind::AccessPolicy, "one")], rules })
}

/// Everything is allowed but what is asked for.
fn but(asks: RequestMatch) -> Held {
    holding(vec![with(0, AccessAction::Deny, vec![asks]), with(1, AccessAction::Allow, Vec::new())])
}

/// Only what is asked for is allowed.
fn only(asks: RequestMatch) -> Held {
    holding(vec![with(0, AccessAction::Allow, vec![asks])])
}

type Lines<'a> = &'a [(&'a [u8], &'a [u8])];

fn passes(held: &Held, method: &str, authority: &str, target: &str, headers: Lines<'_>) -> bool {
    let (method, authority, target) = (method.as_bytes(), authority.as_bytes(), target.as_bytes());
    let request = normalize(&scope(), &RequestHead { method, authority, target, headers, source: None }).unwrap();
    permit_request(held.get(), &identity("web"), &request).is_ok()
}

fn gets(held: &Held, target: &str) -> bool {
    passes(held, "GET", "stock", target, &[])
}

fn path(path: PathMatch) -> RequestMatch {
    RequestMatch { path: Some(path), ..asks() }
}

fn prefix(text: &str) -> RequestMatch {
    path(PathMatch::Prefix(text.to_owned()))
}

#[test]
fn a_path_is_matched_as_it_is_forwarded() {
    for held in [only(prefix("/a/b")), only(path(PathMatch::Regex("/a/b(/.*)?".to_owned())))] {
        for (target, passes) in [
            ("/a/b", true),
            ("/a/b/c?q", true),
            ("/a//b", true),
            ("/a/./x/../%62", true),
            ("/a/bc", false),
            ("/a/b/../c", false),
            ("/x", false),
            ("/A/b", false),
        ] {
            assert_eq!(gets(&held, target), passes, "{target}");
        }
    }
    let exact = only(path(PathMatch::Exact("/a.b".to_owned())));
    assert!(gets(&exact, "/a.b") && !gets(&exact, "/aXb") && !gets(&exact, "/a.b/"));
}

/// Paths that a server behind the proxy may read as `/admin@x/keys`, each in another way to write it.
#[test]
fn a_denied_path_is_denied_in_every_way_that_a_server_may_read_it() {
    let written =
        ["/admin@x/keys", "/admin%40x/keys", "/admin@x;v=1/keys", "/admin@x%3Bv=1/keys", "/admin%40x;a;b/keys;c"];
    for rule in ["/admin@x", "/admin%40x"] {
        for target in written {
            assert!(!gets(&but(prefix(rule)), target), "{rule} {target}");
        }
    }
    for target in &written[..2] {
        assert!(!gets(&but(path(PathMatch::Exact("/admin@x/keys".to_owned()))), target), "{target}");
    }
    let regex = but(path(PathMatch::Regex("/admin@[a-z]/.*".to_owned())));
    assert!(written.iter().all(|target| !gets(&regex, target)));
    // What is allowed is allowed as it stands, or not at all.
    let allowed = only(prefix("/admin@x"));
    assert!(gets(&allowed, "/admin@x/keys") && !gets(&allowed, "/admin@x;v=1/keys"));
    assert!(gets(&but(prefix("/admin")), "/administration"));
}

#[test]
fn a_connect_is_allowed_by_who_names_it_and_denied_by_who_does_not() {
    let named = RequestMatch { methods: vec![HttpMethod("CONNECT".to_owned())], ..asks() };
    let host = || RequestMatch { hosts: vec!["stock.shop.svc.cluster.local".parse().unwrap()], ..asks() };
    let connects = |held: &Held| passes(held, "CONNECT", "stock:80", "stock:80", &[]);
    assert!(connects(&only(named)) && !connects(&only(host())) && !connects(&but(host())));
    assert!(!connects(&only(prefix("/"))) && !connects(&but(prefix("/"))) && connects(&but(prefix("/a"))));
}

#[test]
fn a_host_is_matched_in_every_way_to_write_it() {
    let hosts = vec!["stock.shop.svc.cluster.local".parse::<Host>().unwrap()];
    let held = only(RequestMatch { hosts, ..asks() });
    for (authority, allowed) in [
        ("stock", true),
        ("STOCK.shop.", true),
        ("stock.shop.svc:81", true),
        ("stock.shop.svc.cluster.local", true),
        ("stock.bank", false),
    ] {
        assert_eq!(passes(&held, "GET", authority, "/", &[]), allowed, "{authority}");
    }
}

#[test]
fn a_second_value_of_a_header_hides_from_no_rule() {
    let role = |value: &str| RequestMatch { headers: vec![header("x-role", value)], ..asks() };
    let (deny, allow) = (but(role("admin")), only(role("user")));
    let lines: [(Lines<'_>, bool, bool); 8] = [
        (&[], true, false),
        (&[(b"X-Role", b"user")], true, true),
        (&[(b"x-role", b"admin")], false, false),
        (&[(b"x-role", b"user"), (b"x-role", b"admin")], false, false),
        (&[(b"x-role", b"admin"), (b"X-ROLE", b"user")], false, false),
        (&[(b"x-role", b"user, admin")], false, false),
        (&[(b"x-role", b"user"), (b"x-role", b"user")], true, false),
        (&[(b"x-role", b"adm"), (b"x-role", b"in")], true, false),
    ];
    for (lines, denied, allowed) in lines {
        assert_eq!(passes(&deny, "GET", "stock", "/", lines), denied, "deny {lines:?}");
        assert_eq!(passes(&allow, "GET", "stock", "/", lines), allowed, "allow {lines:?}");
    }
    // The joined lines are what a rule may be written for.
    let both = but(role("a,b"));
    assert!(!passes(&both, "GET", "stock", "/", &[(b"x-role", b"a"), (b"x-role", b"b")]));
    // A list that is too long to be looked at is not let past a deny rule.
    let long = "x,".repeat(MAX_ELEMENTS + 1);
    assert!(!passes(&deny, "GET", "stock", "/", &[(b"x-role", long.as_bytes())]));
}

#[test]
fn a_cookies_crumbs_are_one_cookie() {
    let cookie = |value: &str| RequestMatch { headers: vec![header("cookie", value)], ..asks() };
    let crumbs: Lines<'_> = &[(b"cookie", b"a=1"), (b"cookie", b"b=2")];
    assert!(passes(&only(cookie("a=1; b=2")), "GET", "stock", "/", crumbs));
    assert!(!passes(&only(cookie("a=1")), "GET", "stock", "/", crumbs));
    for denied in ["a=1", "b=2", "a=1; b=2"] {
        assert!(!passes(&but(cookie(denied)), "GET", "stock", "/", crumbs), "{denied}");
        assert!(!passes(&but(cookie(denied)), "GET", "stock", "/", &[(b"cookie", b"a=1; b=2")]), "{denied}");
    }
}

#[test]
fn a_connection_of_bytes_is_denied_by_what_it_may_hold_and_allowed_by_nothing_unseen() {
    let caller = identity("web");
    assert!(matches!(permit(but(prefix("/a")).get(), &caller), Err(Denied::Rule { rule, .. }) if rule.rule == 0));
    assert!(matches!(permit(only(prefix("/")).get(), &caller), Err(Denied::NoRule { .. })));
}

#[test]
fn a_refusal_names_the_rules_that_allow_the_caller_something_else() {
    let held = only(prefix("/a"));
    let head = RequestHead { method: b"GET", authority: b"stock", target: b"/b", headers: &[], source: None };
    let request = normalize(&scope(), &head).unwrap();
    let denied = permit_request(held.get(), &identity("web"), &request).unwrap_err().to_string();
    assert!(denied.contains("by this request (other requests: AccessPolicy shop/one rule 0)"), "{denied}");
}

fn a_match() -> impl Strategy<Value = RequestMatch> {
    let path = prop_oneof![
        Just(PathMatch::Exact("/a".to_owned())),
        Just(PathMatch::Prefix("/a".to_owned())),
        Just(PathMatch::Prefix("/".to_owned())),
        Just(PathMatch::Regex("/[ab](;.*)?".to_owned())),
    ];
    let methods = proptest::sample::subsequence(vec!["GET", "POST"], 0..=2);
    let hosts = proptest::sample::subsequence(vec!["a.shop.svc.cluster.local", "b.shop.svc.cluster.local"], 0..=2);
    let headers = proptest::sample::subsequence(vec![header("x", "1"), header("y", "2"), header("x", "1,2")], 0..=2);
    (methods, option::of(path), hosts, headers).prop_map(|(methods, path, hosts, headers)| RequestMatch {
        methods: methods.into_iter().map(|method| HttpMethod(method.to_owned())).collect(),
        path,
        hosts: hosts.into_iter().map(|host| host.parse().unwrap()).collect(),
        headers,
    })
}

fn a_rule() -> impl Strategy<Value = AccessRule> {
    let action = prop_oneof![Just(AccessAction::Allow), Just(AccessAction::Deny)];
    let caller = prop_oneof![
        Just(Caller::Anyone),
        Just(Caller::Identity(identity("web"))),
        Just(Caller::Identity(identity("other")))
    ];
    (action, vec(caller, 1..3), vec(a_match(), 0..3), 0_u32..100)
        .prop_map(|(action, callers, requests, place)| AccessRule { requests, ..rule("one", place, action, callers) })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn deny_beats_allow_whatever_the_order(
        rules in vec(a_rule(), 0..6),
        shuffled in any::<proptest::sample::Index>(),
        method in prop_oneof![Just("GET"), Just("POST"), Just("PUT")],
        host in prop_oneof![Just("a"), Just("B.shop"), Just("c")],
        target in prop_oneof![Just("/a"), Just("/a;x"), Just("/a/b"), Just("/%61"), Just("/b")],
        lines in vec(prop_oneof![Just(("x", "1")), Just(("x", "2")), Just(("y", "2")), Just(("X", "1,2"))], 0..4),
    ) {
        let lines: Vec<(&[u8], &[u8])> = lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let passes = |rules: Vec<AccessRule>| passes(&holding(rules), method, host, target, &lines);
        let alone = |rule: &AccessRule| passes(vec![rule.clone(), with(100, AccessAction::Allow, Vec::new())]);
        let denied = rules.iter().any(|rule| rule.action == AccessAction::Deny && !alone(rule));
        let allowed = rules.iter().any(|rule| rule.action == AccessAction::Allow && passes(vec![rule.clone()]));
        let verdict = passes(rules.clone());
        prop_assert_eq!(verdict, allowed && !denied);
        let mut turned = rules;
        turned.reverse();
        let place = shuffled.index(turned.len().max(1)).min(turned.len());
        turned.rotate_left(place);
        prop_assert_eq!(passes(turned), verdict);
    }

    #[test]
    fn joining_a_headers_lines_changes_no_denial(
        values in vec("[a-c]{1,2}", 1..4),
        denied in "[a-c]{1,2}(,[a-c]{1,2})?",
    ) {
        let held = but(RequestMatch { headers: vec![header("x", &denied)], ..asks() });
        let lines: Vec<(&[u8], &[u8])> = values.iter().map(|value| (&b"x"[..], value.as_bytes())).collect();
        let joined = values.join(",");
        let apart = passes(&held, "GET", "stock", "/", &lines);
        prop_assert_eq!(passes(&held, "GET", "stock", "/", &[(b"x", joined.as_bytes())]), apart);
    }
}
