use proptest::{option, prelude::*};
use weft_model::{RedirectStatus, UrlRewrite};

use super::*;
use crate::{Target, normalize, testing::*};

fn of_prefix(path: &str, prefix: &str, by: &str) -> String {
    let rewrite = PathRewrite::Prefix(by.strip_suffix('/').unwrap_or(by).to_owned());
    let prefix = match prefix.strip_suffix('/') {
        Some(stem) if !stem.is_empty() => stem,
        _ => prefix,
    };
    replaced(path, &rewrite, &PathMatch::Prefix(prefix.to_owned())).unwrap().into_owned()
}

/// The table of the Gateway API's HTTPPathModifier, and what follows from it for the root.
#[test]
fn a_prefix_is_replaced_as_the_gateway_api_says() {
    for (path, prefix, by, becomes) in [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        ("/", "/", "/xyz", "/xyz/"),
        ("/bar", "/", "/xyz", "/xyz/bar"),
        ("/bar", "/", "/", "/bar"),
    ] {
        assert_eq!(of_prefix(path, prefix, by), becomes, "{path} {prefix} {by}");
    }
}

#[test]
fn a_redirect_names_scheme_host_port_path_and_query() {
    let redirect = |change: fn(&mut Redirect)| {
        let mut it = Redirect { scheme: None, host: None, port: None, path: None, status: RedirectStatus::Found };
        change(&mut it);
        it
    };
    let prefix = path(PathMatch::Prefix("/a".to_owned()));
    let route = route_to(0, prefix, &[("web", 1)]);
    let url = |authority: &str, target: &str, redirect: Redirect| {
        let head = get(authority, target);
        location(&route, &redirect, &normalize(&scope(), &head).unwrap())
    };
    for (authority, target, change, becomes) in [
        (
            "web",
            "/a?b=c",
            (|it| it.host = Some("b.example".parse().unwrap())) as fn(&mut Redirect),
            "http://b.example/a?b=c",
        ),
        ("web:8080", "/a", |it| it.host = Some("b.example".parse().unwrap()), "http://b.example:8080/a"),
        ("Web.shop.:8080", "/a", |it| it.scheme = Some(Scheme::Https), "https://web.shop:8080/a"),
        (
            "web",
            "/a",
            |it| {
                it.scheme = Some(Scheme::Https);
                it.port = Some("443".parse().unwrap());
            },
            "https://web/a",
        ),
        ("web", "/a", |it| it.port = Some("8443".parse().unwrap()), "http://web:8443/a"),
        ("web", "/a/b", |it| it.path = Some(PathRewrite::Prefix(String::new())), "http://web/b"),
        ("web", "/a/b?", |it| it.path = Some(PathRewrite::Full("/c/".into())), "http://web/c/?"),
    ] {
        assert_eq!(url(authority, target, redirect(change)), becomes, "{authority} {target}");
    }
}

#[test]
fn a_tunnels_target_and_the_asterisk_are_not_rewritten() {
    let mut route = route_to(0, everything(), &[("web", 1)]);
    let rewrite = UrlRewrite { host: Some("b".parse().unwrap()), path: Some(PathRewrite::Full("/x".into())) };
    route.rewrite = Some(Box::new(rewrite));
    let asked = |method: &'static [u8], target: &'static [u8]| {
        let head = crate::RequestHead { method, authority: b"web:80", target, headers: &[], source: None };
        let request = normalize(&scope(), &head).unwrap();
        let Rewritten { path, host } = rewritten(Some(&route), &request);
        (path.into_owned(), host.into_owned())
    };
    assert_eq!(asked(b"CONNECT", b"web:80"), ("web:80".to_owned(), "web:80".to_owned()));
    assert_eq!(asked(b"OPTIONS", b"*"), ("*".to_owned(), "b".to_owned()));
    assert_eq!(asked(b"GET", b"/y"), ("/x".to_owned(), "b".to_owned()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What is forwarded would be read as nothing else by whoever normalizes it again, and stays below what replaced the
    /// prefix.
    #[test]
    fn a_rewritten_path_is_in_normal_form_and_stays_below_its_replacement(
        target in "(/[a-z%.;/~-]{0,8}){1,4}",
        by in "(/[a-z0-9~._-][a-z0-9~_-]{0,3}){0,3}",
        root in any::<bool>(),
        query in option::of("[a-z=&]{0,4}"),
    ) {
        let text = query.as_ref().map_or_else(|| target.clone(), |query| format!("{target}?{query}"));
        let head = get("web", &text);
        let Ok(request) = normalize(&scope(), &head) else { return Ok(()) };
        let by_head = get("web", if by.is_empty() { "/" } else { &by });
        prop_assume!(normalize(&scope(), &by_head).is_ok_and(|it| it.target.path == if by.is_empty() { "/" } else { &by }));
        let first = request.target.path.split('/').nth(1).unwrap_or_default();
        let prefix = if root { "/".to_owned() } else { format!("/{first}") };
        let rewrite = PathRewrite::Prefix(by.clone());
        let became = replaced(&request.target.path, &rewrite, &PathMatch::Prefix(prefix)).unwrap();
        prop_assert!(became.starts_with('/') && became.starts_with(&by));
        let again_head = get("web", &became);
        let again = normalize(&scope(), &again_head);
        prop_assert_eq!(again.map(|it| it.target), Ok(Target { path: became.clone(), query: None }));
    }
}
