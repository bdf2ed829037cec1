//! Requests go where the routes say.
use weft_harness::eventually;

use crate::shop::{Shop, route};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_through_both_sidecars_to_the_application() {
    let shop = Shop::open().await;
    let mut connection = shop.web.connect().await.unwrap();
    let reply = connection.get("reviews", "/a/b?c=d", &[("X-Mixed-Case", "kept")]).await.unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "v1"));
    let seen = shop.v1.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].line, "GET /a/b?c=d");
    assert!(seen[0].head.contains("X-Mixed-Case: kept"), "{}", seen[0].head);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alias_of_a_host_reaches_the_same_service() {
    let shop = Shop::open().await;
    let mut connection = shop.web.connect().await.unwrap();
    for host in ["reviews", "reviews.shop", "reviews.shop.svc", "reviews.shop.svc.cluster.local", "REVIEWS.shop:80"] {
        let reply = connection.get(host, "/", &[]).await.unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "v1"), "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_match_beats_the_weights_and_weights_are_kept() {
    let shop = Shop::open().await;
    shop.mesh.apply(&route(1, 1)).await.unwrap();
    let mut connection = shop.web.connect().await.unwrap();
    eventually("the new weights", async || {
        let reply = connection.get("reviews", "/", &[]).await.unwrap();
        (reply.text() == "v2").then_some(())
    })
    .await;
    let mut v2 = 0;
    for _ in 0..400 {
        let canary = connection.get("reviews", "/", &[("x-canary", "always")]).await.unwrap();
        assert_eq!(canary.text(), "v2");
        v2 += u32::from(connection.get("reviews", "/", &[]).await.unwrap().text() == "v2");
    }
    // 200 expected, standard deviation 10: beyond six of them once in 5 * 10^8 runs.
    assert!((140..=260).contains(&v2), "{v2} of 400");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_no_rule_matches_gets_404_and_names_the_host() {
    let shop = Shop::open().await;
    let exact = route(1, 0).replace(
        "    - backendRefs:\n",
        "    - matches: [{ path: { type: Exact, value: /only } }]\n      backendRefs:\n",
    );
    shop.mesh.apply(&exact).await.unwrap();
    let mut connection = shop.web.connect().await.unwrap();
    let reply = eventually("the narrower route", async || {
        let reply = connection.get("reviews", "/other", &[]).await.unwrap();
        (reply.status == 404).then_some(reply)
    })
    .await;
    assert!(reply.text().contains("reviews.shop.svc.cluster.local"), "{}", reply.text());
    assert!(reply.header("x-weft-decision").is_some());
    assert_eq!(connection.get("reviews", "/only", &[]).await.unwrap().text(), "v1");
}
