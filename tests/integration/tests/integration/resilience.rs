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
async fn an_instance_that_fails_its_health_checks_is_left_out_and_shown_so() {
    let shop = Shop::open().await;
    let (_application, _sidecar) = failing(&shop).await;
    let check = "healthCheck: { http: { path: /healthz }, interval: 100ms, timeout: 10s }";
    shop.mesh.apply(&policy(check)).await.unwrap();
    let state = eventually("it is unhealthy", async || {
        let answer = shop.mesh.client().proxy("shop", "web-0", "/config/endpoints").await.unwrap();
        // Both Services are checked, each with its own endpoints.
        let live = answer["live"].as_array()?;
        live.iter().find(|it| it["cluster"] == "local/shop/reviews-v1:80" && it["unhealthy"][0].is_object()).cloned()
    });
    // Services are known to a sidecar that has called them.
    let mut connection = shop.web.connect().await.unwrap();
    connection.get("reviews", "/", &[]).await.unwrap();
    let state = state.await;
    assert_eq!(state["unhealthy"][0]["workload"], "shop/reviews-v1-1", "{state}");
    assert_eq!(state["unhealthy"][0]["health"], "unhealthy (active): it answered 500, not 200-299", "{state}");
    until_all(&shop, |status, text| status == 200 && text == "v1").await;
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

#[tokio::test(flavor = "multi_thread")]
async fn the_balance_and_the_key_of_a_policy_decide_and_the_record_says_so() {
    let shop = Shop::open().await;
    let (application, _sidecar) = failing(&shop).await;
    application.answer_with(200);
    for (spec, said) in [
        ("loadBalancing: { type: Random }", "chance"),
        ("loadBalancing: { type: PeakEwma }", "the least peak EWMA of two"),
        (
            "loadBalancing: { type: Maglev }\n  affinity: { query: { name: user } }",
            "the hash of query parameter user (Maglev)",
        ),
        ("affinity: { sourceAddress: {} }", "the hash of source address"),
    ] {
        shop.mesh.apply(&policy(spec)).await.unwrap();
        let mut connection = shop.web.connect().await.unwrap();
        eventually(said, async || {
            let reply = connection.get("reviews", "/?user=ann", &[]).await.unwrap();
            assert_eq!(reply.status, 200);
            let log = shop.web.access_log();
            let record: serde_json::Value = serde_json::from_str(log.last()?).unwrap();
            (record["pickedBy"] == said).then_some(())
        })
        .await;
        // By a key, always the same one.
        if said.contains("hash") {
            let mut answers = std::collections::BTreeSet::new();
            for _ in 0..10 {
                answers.insert(connection.get("reviews", "/?user=ann", &[]).await.unwrap().text());
            }
            assert_eq!(answers.len(), 1, "{answers:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_asks_the_instance_of_its_own_zone_and_another_when_that_is_gone() {
    let shop = Shop::open().await;
    let application = Application::http("near").await;
    let plan = Plan::new("reviews-v1-1", "reviews").label("version", "v1").at("eu", "a");
    let near = Sidecar::start(&shop.mesh, plan.application("http", application.address)).await.unwrap();
    // Where nothing else says so, the label of the node does.
    let plan = Plan::new("web-1", "web").label("topology.kubernetes.io/region", "eu");
    let caller = Sidecar::start(&shop.mesh, plan.label("topology.kubernetes.io/zone", "a")).await.unwrap();
    shop.mesh.apply(&policy("loadBalancing: { type: LeastRequest, locality: {} }")).await.unwrap();
    let mut connection = caller.connect().await.unwrap();
    let mut all_by = async |name: &str| {
        eventually(name, async || {
            for _ in 0..10 {
                let reply = connection.get("reviews", "/", &[]).await.unwrap();
                if reply.text() != name {
                    return None;
                }
            }
            Some(())
        })
        .await;
    };
    all_by("near").await;
    near.proxy.drain();
    all_by("v1").await;
    for by in ["the fewest requests of two, own zone", "the fewest requests of two, elsewhere"] {
        eventually(by, async || caller.access_log().iter().any(|record| record.contains(by)).then_some(())).await;
    }
}
