//! Who gets in, and what the others are told.
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use weft_harness::{Plan, Sidecar, eventually};

use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_policies_that_select_the_workload_or_says_that_none_does() {
    let shop = Shop::open().await;
    let intruder = Sidecar::start(&shop.mesh, Plan::new("intruder-0", "intruder")).await.unwrap();
    let mut connection = intruder.connect().await.unwrap();
    let reply = connection.get("reviews", "/", &[]).await.unwrap();
    assert_eq!(reply.status, 403);
    assert!(reply.text().contains("AccessPolicy shop/reviews"), "{}", reply.text());
    shop.mesh.client().delete("AccessPolicy", "shop", "reviews").await.unwrap();
    let reply = eventually("the policy's end", async || {
        let reply = connection.get("reviews", "/", &[]).await.unwrap();
        (!reply.text().contains("AccessPolicy shop/reviews")).then_some(reply)
    })
    .await;
    assert_eq!(reply.status, 403);
    assert!(reply.text().contains("no AccessPolicy selects shop/reviews"), "{}", reply.text());
    assert!(shop.v1.seen().is_empty(), "the application saw a refused request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deny_rule_beats_an_allow_rule() {
    let shop = Shop::open().await;
    let mut connection = shop.web.connect().await.unwrap();
    assert_eq!(connection.get("reviews", "/", &[]).await.unwrap().status, 200);
    let deny = r#"
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: freeze, namespace: shop }
spec:
  targetRefs: [{ kind: Namespace, name: shop }]
  rules: [{ name: all, action: Deny, from: [{ anyone: true }] }]
"#;
    shop.mesh.apply(deny).await.unwrap();
    let reply = eventually("the deny rule", async || {
        let reply = connection.get("reviews", "/", &[]).await.unwrap();
        (reply.status == 403).then_some(reply)
    })
    .await;
    assert!(reply.text().contains("AccessPolicy shop/freeze"), "{}", reply.text());
}

/// The policy of `reviews`: who may do what there. Its first line is line 1.
const BY_REQUEST: &str = r#"apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: reviews, namespace: shop }
spec:
  targetRefs:
    - { group: "", kind: Service, name: reviews-v1 }
  rules:
    - name: readers
      action: Allow
      from: [{ namespace: shop, account: web }]
      matches:
        - { methods: [GET], path: { type: PathPrefix, value: /books }, hosts: [reviews, api.example.com] }
        - { path: { type: RegularExpression, value: "/v[0-9]+/list" } }
    - name: no-debugging
      action: Deny
      from: [{ anyone: true }]
      matches:
        - { headers: [{ name: x-debug, value: "1" }] }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_permitted_by_what_they_ask_for_and_a_refusal_is_explained_with_its_rules_line() {
    let shop = Shop::open().await;
    shop.mesh.apply(BY_REQUEST).await.unwrap();
    let mut connection = shop.web.connect().await.unwrap();
    let refused = eventually("the policy", async || {
        let reply = connection.get("reviews", "/", &[]).await.unwrap();
        (reply.status == 403).then_some(reply)
    })
    .await;
    let text = refused.text();
    assert!(text.contains("by this request (other requests: AccessPolicy shop/reviews rule 0)"), "{text}");
    let seen = shop.v1.seen().len();
    for (host, path, fields, status) in [
        ("reviews", "/books", &[][..], 200),
        ("REVIEWS.shop", "/./books/%31", &[], 200),
        ("reviews.shop.svc", "/v12/list?x", &[], 200),
        ("reviews", "/books/../keys", &[], 403),
        ("reviews", "/v12/lists", &[], 403),
        ("reviews", "/books", &[("x-debug", "1")], 403),
        ("reviews", "/books", &[("x-debug", "0"), ("X-Debug", "1")], 403),
        ("reviews", "/books", &[("x-debug", "2")], 200),
    ] {
        let reply = connection.get(host, path, fields).await.unwrap();
        assert_eq!(reply.status, status, "{host} {path} {fields:?}: {}", reply.text());
    }
    assert_eq!(shop.v1.seen().len() - seen, 4, "the application saw what was refused");

    let denied = connection.get("reviews", "/books", &[("x-debug", "1")]).await.unwrap();
    assert!(denied.text().contains("AccessPolicy shop/reviews rule 1 denies"), "{}", denied.text());
    let id = denied.header("x-weft-decision").unwrap();
    let answer = shop.mesh.client().proxy("shop", "reviews-v1-0", &format!("/records/{id}")).await.unwrap();
    assert_eq!(answer["record"]["rule"], "AccessPolicy shop/reviews rule 1");
    let held = shop.mesh.client().objects(Some("AccessPolicy"), Some("shop"), Some("reviews")).await.unwrap();
    let source = held.items[0].source.clone().unwrap();
    let line = BY_REQUEST.lines().nth(usize::try_from(source.rule(1)).unwrap() - 1).unwrap();
    assert_eq!(line.trim(), "- name: no-debugging");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_about_requests_at_a_port_that_carries_bytes_is_refused_with_its_line() {
    let shop = Shop::open().await;
    let text = BY_REQUEST.replace("reviews-v1", "stock").replace("name: reviews,", "name: by-request,");
    let refused = format!("{:?}", shop.mesh.apply(&text).await.unwrap_err());
    for told in [
        "port 9000 of shop/stock carries bytes, where no request is seen, so the rule allows nothing",
        "port 9000 of shop/stock carries bytes, where no request is seen, so the rule denies its",
        "spec.rules[0].matches",
        "spec.rules[1].matches",
        "line: 8,",
        "line: 14,",
    ] {
        assert!(refused.contains(told), "{told:?} is not in {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_at_an_inbound_port_gets_no_answer_and_no_byte_reaches_the_application() {
    let shop = Shop::open().await;
    let mut stream = TcpStream::connect(shop.reviews_v1.bound.inbound.unwrap()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: reviews.shop\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // A reset is as good an end as a close.
    let _end = stream.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/"), "{answer:?}");
    assert!(shop.v1.seen().is_empty());
}
