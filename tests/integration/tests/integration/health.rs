//! Applications that take no connections.
use std::time::{Duration, Instant};

use weft_control_plane::wire::{WorkloadItem, WorkloadState};
use weft_harness::{Application, Plan, Sidecar, eventually};

use crate::shop::Shop;

/// From the verdict to the last peer that has heard of it, on a machine that does much else.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

async fn item(shop: &Shop, name: &str) -> WorkloadItem {
    let items = shop.mesh.client().workloads().await.unwrap().items;
    items.into_iter().find(|item| item.name == name).unwrap()
}

/// Waits until ten requests in a row are answered by one of `names` only, and each of them at least once.
async fn answered_by(shop: &Shop, names: &[&str]) {
    let mut connection = shop.web.connect().await.unwrap();
    eventually("ten answers by them all", async || {
        let mut seen = Vec::new();
        for _ in 0..10 {
            let reply = connection.get("reviews", "/", &[]).await.unwrap();
            seen.push(reply.text().to_owned());
        }
        let right = seen.iter().all(|name| names.contains(&name.as_str()));
        (right && names.iter().all(|name| seen.iter().any(|it| it == name))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_application_dies_is_not_chosen_until_it_is_back() {
    let shop = Shop::open().await;
    let second = Application::http("v1-second").await;
    let address = second.address;
    let plan = Plan::new("reviews-v1-1", "reviews").label("version", "v1").application("http", address);
    let plan = plan.checked_every(Duration::from_millis(200));
    let check = plan.health;
    let _sidecar = Sidecar::start(&shop.mesh, plan).await.unwrap();
    answered_by(&shop, &["v1", "v1-second"]).await;

    let died = Instant::now();
    drop(second);
    let told = eventually("the verdict", async || {
        let item = item(&shop, "reviews-v1-1").await;
        (item.state == WorkloadState::Unhealthy).then_some(item)
    })
    .await;
    let within = died.elapsed();
    assert!(within < check.notices_within() + TOLD_WITHIN, "{within:?}");
    let reason = told.unhealthy.unwrap();
    assert!(reason.starts_with(&format!("port http at {address}: ")) && reason.contains("refused"), "{reason}");
    answered_by(&shop, &["v1"]).await;

    let returned = Instant::now();
    let _second = Application::http_at(address, "v1-second").await;
    eventually("the return", async || {
        let item = item(&shop, "reviews-v1-1").await;
        (item.state == WorkloadState::Registered && item.unhealthy.is_none()).then_some(())
    })
    .await;
    let within = returned.elapsed();
    assert!(within < check.readmits_within() + TOLD_WITHIN, "{within:?}");
    answered_by(&shop, &["v1", "v1-second"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_only_calls_is_healthy_and_one_that_has_not_begun_to_listen_is_not() {
    let shop = Shop::open().await;
    assert_eq!(item(&shop, "web-0").await.state, WorkloadState::Registered);
    let early = Application::http("early").await;
    let address = early.address;
    drop(early);
    let plan = Plan::new("reviews-v1-1", "reviews").label("version", "v1").application("http", address);
    let sidecar = Sidecar::start(&shop.mesh, plan.checked_every(Duration::from_millis(50))).await.unwrap();
    eventually("the registration", async || {
        let items = shop.mesh.client().workloads().await.unwrap().items;
        items.iter().any(|item| item.name == "reviews-v1-1").then_some(())
    })
    .await;
    let reason = item(&shop, "reviews-v1-1").await.unhealthy.unwrap();
    assert!(
        reason.contains("refused") || reason.contains("not checked") || reason.contains("not in effect"),
        "{reason}"
    );
    answered_by(&shop, &["v1"]).await;
    let _late = Application::http_at(address, "late").await;
    answered_by(&shop, &["v1", "late"]).await;
    drop(sidecar);
}
