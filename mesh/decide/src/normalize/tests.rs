use proptest::prelude::*;
use weft_model::Host;

use super::*;
use crate::testing::{get, scope};

fn path_of(target: &str) -> Result<String, BadRequest> {
    normalize(&scope(), &get("web", target)).map(|normal| normal.target.path.into_owned())
}

fn host_of(authority: &str) -> Result<String, BadRequest> {
    normalize(&scope(), &get(authority, "/")).map(|normal| normal.authority.to_string())
}

#[test]
fn every_way_to_write_a_service_is_one_host() {
    for (text, host) in [
        ("web", "web.shop.svc.cluster.local"),
        ("WEB", "web.shop.svc.cluster.local"),
        ("web.", "web.shop.svc.cluster.local"),
        ("web:80", "web.shop.svc.cluster.local"),
        ("web:", "web.shop.svc.cluster.local"),
        ("web.:8080", "web.shop.svc.cluster.local:8080"),
        ("web.other", "web.other.svc.cluster.local"),
        ("web.other.svc", "web.other.svc.cluster.local"),
        ("Web.Other.Svc.Cluster.Local.", "web.other.svc.cluster.local"),
        ("api.example.com", "api.example.com"),
        ("10.0.0.1:99", "10.0.0.1:99"),
    ] {
        assert_eq!(host_of(text).as_deref(), Ok(host), "{text}");
    }
}

#[test]
fn hosts_that_can_be_read_in_two_ways_are_refused() {
    for (text, cause) in [
        ("", BadRequest::HostMissing),
        (".", BadRequest::HostMissing),
        (":80", BadRequest::HostMissing),
        ("a,b", BadRequest::HostList),
        ("a, b", BadRequest::HostList),
        ("user@web", BadRequest::HostUserInfo),
        ("web..", BadRequest::HostName),
        ("web..shop", BadRequest::HostName),
        ("we b", BadRequest::HostName),
        ("-web", BadRequest::HostName),
        ("[::1]", BadRequest::HostName),
        ("[::1]:80", BadRequest::HostName),
        ("wéb", BadRequest::HostName),
        ("web\0", BadRequest::HostName),
        ("web/x", BadRequest::HostName),
        ("web:0", BadRequest::HostPort),
        ("web:65536", BadRequest::HostPort),
        ("web:+80", BadRequest::HostPort),
        ("web:80:80", BadRequest::HostPort),
    ] {
        assert_eq!(host_of(text), Err(cause), "{text:?}");
    }
}

#[test]
fn paths_have_one_form() {
    for (text, path) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/", "/a/"),
        ("//", "/"),
        ("//a///b//", "/a/b/"),
        ("/./a/./b/.", "/a/b/"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/../../x", "/x"),
        ("/%2e%2e/x", "/x"),
        ("/a/%2E/x", "/a/x"),
        ("/a%7eb", "/a~b"),
        ("/%41", "/A"),
        ("/a%3fb", "/a%3Fb"),
        ("/%252e", "/%252e"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/café", "/caf%C3%A9"),
        ("/{x}|y", "/%7Bx%7D%7Cy"),
        ("/a;x=1/b", "/a;x=1/b"),
        ("/;session=1", "/;session=1"),
        ("/.well-known/x", "/.well-known/x"),
        ("/...", "/..."),
    ] {
        assert_eq!(path_of(text).as_deref(), Ok(path), "{text}");
    }
}

#[test]
fn paths_that_can_be_read_in_two_ways_are_refused() {
    for (text, cause) in [
        ("/a%2fb", BadRequest::PathSeparator),
        ("/a%2Fb", BadRequest::PathSeparator),
        ("/a%5cb", BadRequest::PathSeparator),
        ("/a\\b", BadRequest::PathSeparator),
        ("/a#b", BadRequest::Fragment),
        ("/a?b#c", BadRequest::Fragment),
        ("/a%00", BadRequest::PathEncoding),
        ("/a%0a", BadRequest::PathEncoding),
        ("/a%7f", BadRequest::PathEncoding),
        ("/a%", BadRequest::PathEncoding),
        ("/a%2", BadRequest::PathEncoding),
        ("/a%zz", BadRequest::PathEncoding),
        ("/%c0%af", BadRequest::PathEncoding),
        ("/%ff", BadRequest::PathEncoding),
        ("/a\0", BadRequest::PathCharacter),
        ("/a b", BadRequest::PathCharacter),
        ("/a\r", BadRequest::PathCharacter),
        ("/..;x/a", BadRequest::PathParameter),
        ("/a/..;", BadRequest::PathParameter),
        ("/.;x", BadRequest::PathParameter),
        ("/;x/a", BadRequest::PathParameter),
        ("/%2e%2e;x/a", BadRequest::PathParameter),
        ("/..%3bx/a", BadRequest::PathParameter),
        ("/?a b", BadRequest::Query),
        ("/?a\n", BadRequest::Query),
        ("a", BadRequest::TargetForm),
        ("", BadRequest::TargetForm),
        ("*", BadRequest::TargetForm),
        ("ftp://web/", BadRequest::TargetForm),
        ("http://other/", BadRequest::HostMismatch),
        ("http://web:81/", BadRequest::HostMismatch),
        ("http:///", BadRequest::HostMissing),
        ("http://u@web/", BadRequest::HostUserInfo),
    ] {
        assert_eq!(path_of(text), Err(cause), "{text:?}");
    }
    assert_eq!(path_of(&format!("/{}", "a".repeat(MAX_TARGET))), Err(BadRequest::TargetTooLong));
}

#[test]
fn absolute_targets_come_out_in_origin_form() {
    for (text, target) in [
        ("http://web", "/"),
        ("HTTP://Web.shop:80/a/../b?c=%2F", "/b?c=%2F"),
        ("https://web.shop.svc.cluster.local.?x", "/?x"),
    ] {
        assert_eq!(normalize(&scope(), &get("web", text)).unwrap().target.to_string(), target);
    }
    let options = |target| RequestHead { method: b"OPTIONS", ..get("web", target) };
    for target in ["*", "http://web"] {
        assert_eq!(normalize(&scope(), &options(target)).unwrap().target.path, "*");
    }
}

#[test]
fn methods_are_tokens() {
    for (method, cause) in [("", BadRequest::Method), ("G T", BadRequest::Method)] {
        let head = RequestHead { method: method.as_bytes(), ..get("web", "/") };
        assert_eq!(normalize(&scope(), &head), Err(cause));
    }
}

#[test]
fn a_tunnel_is_asked_for_by_the_host_and_port_that_the_host_field_says_too() {
    let connect = |host: &'static str, target: &'static str| {
        let head = RequestHead { method: b"CONNECT", ..get(host, target) };
        normalize(&scope(), &head).map(|it| (it.authority.to_string(), it.host.into_owned(), it.target.to_string()))
    };
    let is = |authority: &str, text: &str| Ok((authority.to_owned(), text.to_owned(), text.to_owned()));
    assert_eq!(connect("web:80", "web:80"), is("web.shop.svc.cluster.local", "web:80"));
    assert_eq!(connect("web", "WEB.shop.:80"), is("web.shop.svc.cluster.local", "web.shop:80"));
    assert_eq!(connect("web:9000", "web:9000"), is("web.shop.svc.cluster.local:9000", "web:9000"));
    for (host, target, cause) in [
        ("web:80", "web", BadRequest::TargetForm),
        ("web:80", "web:", BadRequest::TargetForm),
        ("web:80", "/", BadRequest::TargetForm),
        ("web:80", "*", BadRequest::TargetForm),
        ("web:80", "http://web:80", BadRequest::HostPort),
        ("web:80", "web:81", BadRequest::HostMismatch),
        ("web:80", "other:80", BadRequest::HostMismatch),
        ("web:80", "user@web:80", BadRequest::HostUserInfo),
        ("web:80", "web:80,other:80", BadRequest::HostList),
        ("web:80", "[::1]:80", BadRequest::HostName),
        ("web:80", "web:0", BadRequest::HostPort),
    ] {
        assert_eq!(connect(host, target), Err(cause), "{target}");
    }
}

#[test]
fn a_host_is_forwarded_in_lower_case_without_dot_or_empty_port_and_not_expanded() {
    let forwarded = |host: &str, target: &str| normalize(&scope(), &get(host, target)).unwrap().host.into_owned();
    for (written, host) in [
        ("web", "web"),
        ("web:80", "web:80"),
        ("web.shop.svc.cluster.local:8080", "web.shop.svc.cluster.local:8080"),
        ("Web", "web"),
        ("web.", "web"),
        ("WEB.Shop.:080", "web.shop:080"),
        ("web:", "web"),
        ("web.:", "web"),
        ("10.0.0.1:99", "10.0.0.1:99"),
    ] {
        assert_eq!(forwarded(written, "/"), host, "{written}");
    }
    // RFC 9112 §3.2.2: the target's host counts, which is the same one here in another spelling.
    assert_eq!(forwarded("web", "http://Web.Shop./x"), "web.shop");
}

#[test]
fn a_canonical_request_is_borrowed() {
    let head = get("web.shop.svc.cluster.local", "/a/b-c/d;e=1,2?f=%2f");
    let normal = normalize(&scope(), &head).unwrap();
    assert!(matches!(normal.target.path, Cow::Borrowed("/a/b-c/d;e=1,2")));
    assert_eq!(normal.target.query, Some("f=%2f"));
    assert!(matches!(normal.host, Cow::Borrowed("web.shop.svc.cluster.local")));
    assert!(matches!(normalize(&scope(), &get("web:8080", "/")).unwrap().host, Cow::Borrowed("web:8080")));
}

/// Paths made of what normalization cares about.
fn paths() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "/", "/", ".", "..", "%2e", "%2E", ";", "%3b", "a", "B", "~", "%7e", "%41", "%25", "%2f", "%5C", "\\", "%c3",
        "%a9", "é", "{", "%", "%00", "#", "?", "=", " ",
    ]);
    prop::collection::vec(part, 0..12).prop_map(|parts| format!("/{}", parts.concat()))
}

proptest! {
    #[test]
    fn normalization_is_idempotent_and_leaves_nothing_to_resolve(target in paths()) {
        if let Ok(normal) = normalize(&scope(), &get("web", &target)) {
            let once = normal.target.to_string();
            let path = normal.target.path.to_string();
            prop_assert!(path.starts_with('/') && !path.contains("//"), "{path}");
            prop_assert!(path.split('/').all(|segment| !matches!(segment, "." | "..")), "{path}");
            prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\' && byte != b'#'), "{path}");
            prop_assert!(!path.contains("%2F") && !path.contains("%5C") && !path.contains("%2E"), "{path}");
            let host = normal.authority.to_string();
            let again = normalize(&scope(), &get(&host, &once)).unwrap();
            prop_assert!(again.target.to_string() == once, "{once}");
            prop_assert!(again.authority.to_string() == host, "{host}");
        }
    }

    #[test]
    fn any_bytes_are_normalized_or_refused(host: Vec<u8>, target: Vec<u8>, method: Vec<u8>) {
        let head = RequestHead { method: &method, authority: &host, target: &target, headers: &[], source: None };
        let _ = normalize(&scope(), &head);
        let _ = normalize(&scope(), &RequestHead { method: b"GET", authority: b"web", ..head });
    }

    #[test]
    fn the_forwarded_host_is_the_same_host_and_normal_already(host in "[a-cA-C0-1.:]{1,12}") {
        if let Ok(normal) = normalize(&scope(), &get(&host, "/")) {
            let again = normalize(&scope(), &get(&normal.host, "/")).unwrap();
            prop_assert_eq!(&again.authority, &normal.authority);
            prop_assert!(matches!(&again.host, Cow::Borrowed(it) if *it == normal.host), "{:?}", again.host);
        }
    }

    #[test]
    fn what_is_taken_for_a_host_is_a_host_name(host in "[a-cA-C0-1.:_-]{1,12}") {
        match normalize(&scope(), &get(&host, "/")) {
            Ok(normal) => {
                prop_assert!(normal.authority.host_port().is_ok());
                prop_assert_eq!(normal.authority.host_port().unwrap().to_string(), normal.authority.to_string());
            }
            Err(BadRequest::HostName) => {
                let name = host.split(':').next().unwrap().to_ascii_lowercase();
                prop_assert!(name.strip_suffix('.').unwrap_or(&name).parse::<Host>().is_err());
            }
            Err(_) => {}
        }
    }
}
