//! The control plane goes and comes back.
use weft_harness::eventually;

use crate::shop::{Shop, route};

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_on_without_a_control_plane_and_nothing_unchanged_is_resent_after_it() {
    let mut shop = Shop::open().await;
    let mut connection = shop.web.connect().await.unwrap();
    assert_eq!(connection.get("reviews", "/", &[]).await.unwrap().status, 200);
    let before = shop.mesh.client().status().await.unwrap().revision;
    shop.mesh.stop_control_plane().await;
    for _ in 0..50 {
        assert_eq!(connection.get("reviews", "/", &[]).await.unwrap().status, 200);
    }
    let unknown = connection.get("nobody.shop", "/", &[]).await.unwrap();
    assert_eq!(unknown.status, 503, "{}", unknown.text());
    assert!(unknown.text().contains("control plane unreachable"), "{}", unknown.text());
    shop.mesh.start_control_plane().await.unwrap();
    let status = eventually("all four proxies to have everything in effect", async || {
        let status = shop.mesh.client().status().await.ok()?;
        (status.proxies.in_effect == 4 && status.proxies.connected == 4).then_some(status)
    })
    .await;
    assert_eq!(status.revision, before, "the store has the same epoch and revision");
    assert_eq!(status.resources_resent, 0);
    assert_eq!(connection.get("reviews", "/", &[]).await.unwrap().status, 200);
    shop.mesh.apply(&route(0, 1)).await.unwrap();
    eventually("a change after the return", async || {
        (connection.get("reviews", "/", &[]).await.unwrap().text() == "v2").then_some(())
    })
    .await;
}
