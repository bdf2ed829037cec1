use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    RequestHead, normalize,
    testing::{get, scope},
};

fn by_cookie(ttl: Option<Duration>) -> Affinity {
    Affinity { key: AffinityKey::Cookie { name: "weft-affinity".to_owned(), path: "/shop".to_owned(), ttl } }
}

/// The affinity of a request of no query with these fields.
fn sticky_of<'s>(affinity: &'s Affinity, headers: &[(&[u8], &[u8])], draw: u64) -> Option<Sticky<'s>> {
    let head = RequestHead { headers, ..get("web", "/") };
    sticky(affinity, &normalize(&scope(), &head).unwrap(), draw)
}

fn by_header() -> Affinity {
    Affinity { key: AffinityKey::Header { name: "x-user".to_owned() } }
}

#[test]
fn cookies_are_read_as_servers_are_told_to() {
    for (fields, expected) in [
        (&["a=1; b=2"][..], Some("2")),
        (&["b=2"], Some("2")),
        (&["a=1;b=2;c=3"], Some("2")),
        (&[" b = 2 ;"], Some("2")),
        (&["b=\"2\""], Some("2")),
        (&["b=2\""], Some("2\"")),
        (&["b=x=y"], Some("x=y")),
        (&["b=1; b=2"], Some("1")),
        (&["b=; b=2"], Some("2")),
        (&["a=1", "b=2"], Some("2")),
        (&["b", "=b", "b;=2"], None),
        (&["B=2", "bb=2", "ab=2"], None),
        (&["a=\"x; b=2\""], Some("2\"")),
        (&["b=\"\""], None),
        (&[""], None),
        (&[], None),
    ] {
        let headers: Vec<_> = fields.iter().map(|field| (&b"Cookie"[..], field.as_bytes())).collect();
        assert_eq!(cookie(&headers, b"b"), expected.map(str::as_bytes), "{fields:?}");
    }
    assert_eq!(cookie(&[(b"set-cookie", b"b=2"), (b"x", b"b=2")], b"b"), None);
}

#[test]
fn a_request_without_its_cookie_gets_one_that_leads_where_it_went() {
    let affinity = by_cookie(Some(Duration::from_secs(90)));
    let first = sticky_of(&affinity, &[(b"cookie", b"other=1")], 0xabc).unwrap();
    let set = first.cookie.unwrap().to_string();
    assert_eq!(set, "weft-affinity=0000000000000abc; Path=/shop; Max-Age=90; HttpOnly");
    let pair = set.split(';').next().unwrap();
    let second = sticky_of(&affinity, &[(b"cookie", pair.as_bytes())], 0xdef).unwrap();
    assert_eq!(second, Sticky { key: first.key, cookie: None });
    let session = by_cookie(None);
    let set = sticky_of(&session, &[], 1).unwrap().cookie.unwrap().to_string();
    assert_eq!(set, "weft-affinity=0000000000000001; Path=/shop; HttpOnly");
}

#[test]
fn a_query_parameter_is_a_key_as_it_stands_in_the_query() {
    let affinity = Affinity { key: AffinityKey::Query { name: "user".to_owned() } };
    let key = |target: &str| sticky(&affinity, &normalize(&scope(), &get("web", target)).unwrap(), 7).map(|it| it.key);
    assert_eq!(key("/?user=ann"), Some(hash(b"ann")));
    assert_eq!(key("/a/b?x=1&user=ann&user=bob"), Some(hash(b"ann")), "of several the first");
    assert_eq!(key("/?user=a%20b"), Some(hash(b"a%20b")));
    for none in ["/", "/?", "/?user", "/?user=", "/?User=ann", "/?xuser=ann", "/user=ann"] {
        assert_eq!(key(none), None, "{none}");
    }
}

#[test]
fn a_source_is_a_key_by_its_address_alone() {
    let affinity = Affinity { key: AffinityKey::SourceAddress };
    let key = |source: Option<&str>| {
        let head = RequestHead { source: source.map(|it| it.parse().unwrap()), ..get("web", "/?user=ann") };
        sticky(&affinity, &normalize(&scope(), &head).unwrap(), 7).map(|it| it.key)
    };
    assert_eq!(key(Some("10.0.0.1")), Some(hash(&[10, 0, 0, 1])));
    assert_eq!(key(Some("::ffff:10.0.0.1")), key(Some("10.0.0.1")));
    assert_ne!(key(Some("10.0.0.2")), key(Some("10.0.0.1")));
    assert_ne!(key(Some("fd00::1")), key(Some("fd00::2")));
    assert_eq!(key(None), None);
}

#[test]
fn a_header_is_a_key_where_it_has_a_value() {
    let affinity = by_header();
    let key = |headers: &[(&[u8], &[u8])]| sticky_of(&affinity, headers, 7).map(|it| (it.key, it.cookie));
    assert_eq!(key(&[(b"X-User", b"ann")]), Some((hash(b"ann"), None)));
    assert_eq!(key(&[(b"x-user", b"ann"), (b"x-user", b"bob")]), Some((hash(b"ann,bob"), None)));
    assert_eq!(key(&[(b"x-user", b"")]), None);
    assert_eq!(key(&[(b"x-users", b"ann")]), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_and_a_found_value_is_found_again(field: Vec<u8>, name in "[a-z]{1,3}") {
        if let Some(value) = cookie(&[(b"cookie", &field)], name.as_bytes()) {
            prop_assert!(!value.is_empty() && !value.contains(&b';'));
            let written = [name.as_bytes(), b"=\"", value, b"\""].concat();
            prop_assert_eq!(cookie(&[(b"cookie", &written)], name.as_bytes()), Some(value));
        }
    }
}
