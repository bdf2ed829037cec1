//! What routes change on the way, over real sockets.
use weft_harness::{Connection, Reply, eventually};

use crate::shop::Shop;

/// The route of `reviews`, with these rules.
fn rules(rules: &str) -> String {
    format!(
        r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: reviews, namespace: shop }}
spec:
  parentRefs: [{{ group: "", kind: Service, name: reviews, port: 80 }}]
  rules:
{rules}
"#
    )
}

/// Applies the rules and waits until they are in effect, which an answer to `GET path` tells.
async fn in_effect(shop: &Shop, text: &str, path: &str, told: impl Fn(&Reply) -> bool) -> (Connection, Reply) {
    shop.mesh.apply(&rules(text)).await.unwrap();
    let mut connection = shop.web.connect().await.unwrap();
    let reply = eventually("the new rules", async || {
        let reply = connection.get("reviews", path, &[]).await.unwrap();
        told(&reply).then_some(reply)
    })
    .await;
    (connection, reply)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewritten_request_arrives_as_rewritten_and_its_fields_as_edited() {
    let shop = Shop::open().await;
    let text = r#"
    - matches: [{ path: { value: /old }, queryParams: [{ name: v, value: "1" }] }]
      filters:
        - { type: URLRewrite, urlRewrite: { hostname: ratings.example, path: { type: ReplacePrefixMatch, replacePrefixMatch: / } } }
        - { type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-set, value: "100 %" }], remove: [x-gone] } }
        - { type: ResponseHeaderModifier, responseHeaderModifier: { add: [{ name: x-told, value: rule }] } }
      backendRefs:
        - name: reviews-v1
          port: 80
          filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { add: [{ name: x-set, value: backend }] } }]
    - backendRefs: [{ name: reviews-v2, port: 80 }]
"#;
    let (mut connection, _) = in_effect(&shop, text, "/old?v=1", |reply| reply.header("x-told").is_some()).await;
    let fields = [("X-Set", "client"), ("X-Gone", "a"), ("X-Kept", "b")];
    let reply = connection.get("reviews", "/old/a/b?u=0&v=1&v=2", &fields).await.unwrap();
    assert_eq!((reply.status, reply.text().as_str(), reply.header("x-told")), (200, "v1", Some("rule")));
    let seen = shop.v1.seen();
    let seen = seen.last().unwrap();
    assert_eq!(seen.line, "GET /a/b?u=0&v=1&v=2");
    let lines: Vec<_> = seen.head.lines().filter(|line| line.to_ascii_lowercase().starts_with("x-set")).collect();
    assert_eq!(lines, ["x-set: 100 %", "x-set: backend"], "{}", seen.head);
    assert!(seen.head.contains("Host: ratings.example\r\n"), "{}", seen.head);
    assert!(seen.head.contains("X-Kept: b") && !seen.head.contains("X-Gone"), "{}", seen.head);
    // Without the parameter it is the other rule's.
    assert_eq!(connection.get("reviews", "/old/a/b?u=0", &[]).await.unwrap().text(), "v2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_answered_by_the_callers_sidecar_and_nobody_else_is_asked() {
    let shop = Shop::open().await;
    let text = r#"
    - matches: [{ path: { value: /old } }]
      filters:
        - type: RequestRedirect
          requestRedirect: { hostname: docs.example, path: { type: ReplacePrefixMatch, replacePrefixMatch: /new }, statusCode: 308 }
        - { type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: cache-control, value: no-store }] } }
    - backendRefs: [{ name: reviews-v1, port: 80 }]
"#;
    let (mut connection, reply) = in_effect(&shop, text, "/old/a?b=c", |reply| reply.status == 308).await;
    assert_eq!(reply.header("location"), Some("http://docs.example/new/a?b=c"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!((reply.header("x-weft-decision"), reply.text().as_str()), (None, ""));
    let before = shop.v1.seen().len();
    // The connection goes on, whatever the method.
    connection.send(b"POST /old HTTP/1.1\r\nHost: reviews\r\nContent-Length: 2\r\n\r\nab").await.unwrap();
    assert_eq!(connection.receive().await.unwrap().header("location"), Some("http://docs.example/new"));
    assert_eq!(shop.v1.seen().len(), before);
    assert_eq!(connection.get("reviews", "/", &[]).await.unwrap().text(), "v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_told_by_the_sidecar_what_pages_of_other_origins_may_do() {
    let shop = Shop::open().await;
    let text = r#"
    - filters:
        - type: CORS
          cors: { allowOrigins: ["https://*.shop.example"], allowMethods: [PUT], allowHeaders: [x-a], exposeHeaders: [x-b], maxAge: 60 }
      backendRefs: [{ name: reviews-v1, port: 80 }]
"#;
    shop.mesh.apply(&rules(text)).await.unwrap();
    let mut connection = shop.web.connect().await.unwrap();
    let mut ask = async |origin: &str| {
        let head = format!("OPTIONS / HTTP/1.1\r\nHost: reviews\r\nOrigin: {origin}\r\n");
        connection.send(format!("{head}Access-Control-Request-Method: PUT\r\n\r\n").as_bytes()).await.unwrap();
        connection.receive().await.unwrap()
    };
    let allowed = eventually("the new rules", async || {
        let reply = ask("https://a.shop.example").await;
        reply.header("access-control-allow-origin").is_some().then_some(reply)
    })
    .await;
    let seen = shop.v1.seen().len();
    let told = |name: &str| allowed.header(&format!("access-control-{name}"));
    assert_eq!((told("allow-origin"), told("allow-methods")), (Some("https://a.shop.example"), Some("PUT")));
    assert_eq!((told("allow-headers"), told("max-age"), told("allow-credentials")), (Some("x-a"), Some("60"), None));
    assert_eq!(ask("https://evil.example").await.header("access-control-allow-origin"), None);
    assert_eq!(shop.v1.seen().len(), seen, "a preflight reached the application");
    let reply = connection.get("reviews", "/", &[("origin", "https://a.shop.example")]).await.unwrap();
    let told = |name: &str| reply.header(&format!("access-control-{name}"));
    assert_eq!((reply.text().as_str(), told("expose-headers")), ("v1", Some("x-b")));
    assert_eq!(told("allow-origin"), Some("https://a.shop.example"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_written_answer_is_given_by_the_sidecar_and_changes_with_its_object() {
    let shop = Shop::open().await;
    let answer = |body: &str| {
        format!(
            "{{apiVersion: weft.dev/v1alpha1, kind: HTTPRouteFilter, metadata: {{name: closed, namespace: shop}}, spec: \
             {{directResponse: {{statusCode: 503, contentType: text/html, body: {body}}}}}}}"
        )
    };
    shop.mesh.apply(&answer("closed")).await.unwrap();
    let text = r#"
    - matches: [{ path: { value: /closed } }]
      filters: [{ type: ExtensionRef, extensionRef: { group: weft.dev, kind: HTTPRouteFilter, name: closed } }]
    - backendRefs: [{ name: reviews-v1, port: 80 }]
"#;
    let (mut connection, reply) = in_effect(&shop, text, "/closed", |reply| reply.status == 503).await;
    assert_eq!((reply.text().as_str(), reply.header("content-type")), ("closed", Some("text/html")));
    shop.mesh.apply(&answer("for good")).await.unwrap();
    eventually("the new answer", async || {
        let reply = connection.get("reviews", "/closed/now", &[]).await.unwrap();
        (reply.text() == "for good").then_some(())
    })
    .await;
    assert_eq!(connection.get("reviews", "/", &[]).await.unwrap().text(), "v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_gets_copies_and_is_heard_by_nobody() {
    let shop = Shop::open().await;
    let text = r#"
    - filters:
        - { type: RequestMirror, requestMirror: { backendRef: { name: reviews-v2, port: 80 } } }
        - { type: RequestHeaderModifier, requestHeaderModifier: { add: [{ name: x-set, value: a }] } }
        - { type: ResponseHeaderModifier, responseHeaderModifier: { add: [{ name: x-told, value: rule }] } }
      backendRefs: [{ name: reviews-v1, port: 80 }]
"#;
    let (mut connection, reply) = in_effect(&shop, text, "/", |reply| reply.header("x-told").is_some()).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "v1"));
    let copy = eventually("a copy", async || shop.v2.seen().into_iter().next()).await;
    assert_eq!(copy.line, "GET /");
    for line in ["x-set: a\r\n", "x-weft-mirror: "] {
        assert!(copy.head.contains(line), "{}", copy.head);
    }
    assert!(shop.v1.seen().iter().all(|seen| !seen.head.contains("x-weft-mirror")));
    shop.v2.answer_with(500);
    assert_eq!(connection.get("reviews", "/", &[]).await.unwrap().text(), "v1");
    let copies = |status: &str| shop.web.access_log().iter().any(|it| it.contains("mirrorOf") && it.contains(status));
    eventually("the records of copies", async || (copies("\"status\":200") && copies("\"status\":500")).then_some(()))
        .await;
    shop.v2.fall_silent();
    for _ in 0..20 {
        assert_eq!(connection.get("reviews", "/", &[]).await.unwrap().text(), "v1");
    }
    eventually("all copies", async || (shop.v2.seen().len() >= 22).then_some(())).await;
}
