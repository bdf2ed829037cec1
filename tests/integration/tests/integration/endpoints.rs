//! Instances come and go.
use weft_harness::{Application, Plan, Sidecar, eventually};

use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_instance_gets_its_share_and_a_leaving_one_gets_no_more() {
    let shop = Shop::open().await;
    let mut connection = shop.web.connect().await.unwrap();
    assert_eq!(connection.get("reviews", "/", &[]).await.unwrap().text(), "v1");
    let second = Application::http("v1-second").await;
    let plan = Plan::new("reviews-v1-1", "reviews").label("version", "v1").application("http", second.address);
    let sidecar = Sidecar::start(&shop.mesh, plan).await.unwrap();
    eventually("the second instance", async || {
        (connection.get("reviews", "/", &[]).await.unwrap().text() == "v1-second").then_some(())
    })
    .await;
    sidecar.proxy.drain();
    let workloads = async || shop.mesh.client().workloads().await.unwrap().items;
    eventually("the second instance's leave", async || {
        let items = workloads().await;
        let item = items.iter().find(|item| item.name == "reviews-v1-1");
        item.is_none_or(|item| item.state != weft_control_plane::wire::WorkloadState::Registered).then_some(())
    })
    .await;
    eventually("ten requests in a row that stay away from it", async || {
        for _ in 0..10 {
            let reply = connection.get("reviews", "/", &[]).await.unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text());
            if reply.text() != "v1" {
                return None;
            }
        }
        Some(())
    })
    .await;
}
