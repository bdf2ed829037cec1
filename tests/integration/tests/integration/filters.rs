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
