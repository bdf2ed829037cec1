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
