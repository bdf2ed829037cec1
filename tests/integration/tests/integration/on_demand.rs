//! Hosts are asked for on first use.
use std::time::{Duration, Instant};

use weft_harness::eventually;

use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_in_the_mesh_is_refused_by_name_in_bounded_time() {
    let shop = Shop::open().await;
    let mut connection = shop.web.connect().await.unwrap();
    let start = Instant::now();
    let reply = connection.get("nobody.shop", "/", &[]).await.unwrap();
    assert_eq!(reply.status, 404, "{}", reply.text());
    assert!(reply.text().contains("nobody.shop"), "{}", reply.text());
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_unknown_is_served_once_it_appears() {
    let shop = Shop::open().await;
    let mut connection = shop.web.connect().await.unwrap();
    assert_eq!(connection.get("late", "/", &[]).await.unwrap().status, 404);
    let objects = r#"
{ apiVersion: v1, kind: Service, metadata: { name: late, namespace: shop },
  spec: { selector: { app: reviews, version: v1 }, ports: [{ name: http, port: 80, targetPort: http }] } }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: late, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: late }]
  rules: [{ action: Allow, from: [{ namespace: shop, account: web }] }]
"#;
    shop.mesh.apply(objects).await.unwrap();
    let reply = eventually("the new host", async || {
        let reply = connection.get("late", "/", &[]).await.unwrap();
        (reply.status == 200).then_some(reply)
    })
    .await;
    assert_eq!(reply.text(), "v1");
}
