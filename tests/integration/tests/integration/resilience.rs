//! What a TrafficPolicy says of failing parts, applied as YAML and seen by a client.
use weft_harness::{Application, Plan, Sidecar, eventually};

use crate::shop::Shop;

fn policy(spec: &str) -> String {
    format!(
        r#"
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {{ name: careful, namespace: shop }}
spec:
  targetRefs: [{{ group: "", kind: Service, name: reviews-v1 }}, {{ group: "", kind: Service, name: reviews }}]
  {spec}
"#
    )
}

/// A second instance of v1, which fails.
async fn failing(shop: &Shop) -> (Application, Sidecar) {
    let application = Application::http("failing").await;
    application.answer_with(500);
    let plan = Plan::new("reviews-v1-1", "reviews").label("version", "v1").application("http", application.address);
    let sidecar = Sidecar::start(&shop.mesh, plan).await.unwrap();
    (application, sidecar)
}

/// Waits until a round of requests is answered as `right` says.
async fn until_all(shop: &Shop, right: impl Fn(u16, &str) -> bool) {
    let mut connection = shop.web.connect().await.unwrap();
    eventually("a round of right answers", async || {
        let mut all = true;
        for _ in 0..10 {
            let reply = connection.get("reviews", "/", &[]).await.unwrap();
            all &= right(reply.status, &reply.text());
        }
        all.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_fails_again_and_again_is_left_out_and_shown_so() {
    let shop = Shop::open().await;
    let (application, _sidecar) = failing(&shop).await;
    shop.mesh.apply(&policy("outlierEjection: { consecutiveErrors: 2, baseTime: 10m, maxTime: 10m }")).await.unwrap();
    until_all(&shop, |status, text| status == 200 && text == "v1" && application.seen().len() > 1).await;
    let answer = shop.mesh.client().proxy("shop", "web-0", "/config/endpoints").await.unwrap();
    let live = answer["live"].as_array().unwrap();
    let state = live.iter().find(|it| it["cluster"] == "local/shop/reviews-v1:80").unwrap();
    assert_eq!(state["ejected"][0]["workload"], "shop/reviews-v1-1", "{state}");
    assert!(state["ejected"][0]["leftMs"].as_u64().unwrap() > 0, "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_repeats_hides_an_instance_that_fails() {
    let shop = Shop::open().await;
    shop.mesh
        .apply(&policy("retries: { attempts: 1, on: [server-error], budget: { percent: 100, minPerSecond: 100 } }"))
        .await
        .unwrap();
    let (application, _sidecar) = failing(&shop).await;
    until_all(&shop, |status, text| status == 200 && text == "v1" && !application.seen().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_an_open_breaker_leads_to_the_policy_that_set_it() {
    let shop = Shop::open().await;
    shop.mesh
        .apply(&policy("circuitBreaker: { consecutiveFailures: 2, openTime: 10m, maxOpenTime: 10m }"))
        .await
        .unwrap();
    shop.v1.answer_with(500);
    until_all(&shop, |status, _| status == 503).await;
    let reply = shop.web.connect().await.unwrap().get("reviews", "/", &[]).await.unwrap();
    let id = reply.header("x-weft-decision").unwrap();
    let answer = shop.mesh.client().proxy("shop", "web-0", &format!("/records/{id}")).await.unwrap();
    let record = &answer["record"];
    assert_eq!((&record["outcome"], &record["stage"]), (&"breaker-open".into(), &"pick".into()), "{record}");
    let detail = record["detail"].as_str().unwrap();
    assert!(detail.contains("TrafficPolicy circuitBreaker"), "{detail}");
    assert!(detail.ends_with("TrafficPolicy shop/careful"), "{detail}");
}
