//! The control plane comes back empty, older, or as another store: nothing is taken from a proxy until a person confirms.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinHandle;
use weft_control_plane::wire::{ConfirmRequest, Status};
use weft_harness::{Connection, eventually};
use weft_proxy::agent::Proxy;

use crate::shop::{OBJECTS, Shop, route};

/// Requests for `reviews` without pause; each must be answered with 200.
struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
    done: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl Load {
    async fn start(shop: &Shop) -> Self {
        let (stop, done, failed) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let mut connection = shop.web.connect().await.unwrap();
        // What is asked for the first time needs the control plane.
        assert_eq!(connection.get("reviews", "/", &[]).await.unwrap().status, 200);
        let address = shop.web.outbound();
        let (stopped, count, failures) = (Arc::clone(&stop), Arc::clone(&done), Arc::clone(&failed));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                match connection.get("reviews", "/", &[]).await {
                    Ok(reply) if reply.status == 200 => {}
                    outcome => {
                        eprintln!("a request failed: {outcome:?}");
                        failures.fetch_add(1, Ordering::Relaxed);
                        let Ok(next) = Connection::open(address).await else { break };
                        connection = next;
                    }
                }
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        Self { stop, task, done, failed }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (done, failed) = (self.done(), self.failed());
        self.task.await.unwrap();
        assert!(done > 20, "{done} requests are no load");
        assert_eq!(failed, 0, "of {done} requests");
    }
}

/// Waits until the proxies are back and have been found to hold to another history.
async fn held_back(shop: &Shop, proxies: usize) -> Status {
    eventually("every proxy to be held back from", async || {
        let status = shop.mesh.client().status().await.ok()?;
        let told = status.elsewhere.iter().filter(|proxy| proxy.held > 0).count();
        (told == proxies && status.proxies.acknowledged == 4).then_some(status)
    })
    .await
}

async fn epoch(shop: &Shop) -> String {
    shop.mesh.client().removals().await.unwrap().epoch
}

/// What a proxy says under `/ready`.
async fn ready(proxy: &Proxy) -> String {
    let mut connection = Connection::open(proxy.bound().status).await.unwrap();
    connection.get("proxy", "/ready", &[]).await.unwrap().text()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_store_takes_nothing_from_a_proxy_until_a_person_confirms_it() {
    let mut shop = Shop::open().await;
    let mut connection = shop.web.connect().await.unwrap();
    assert_eq!(connection.get("reviews", "/", &[]).await.unwrap().status, 200);
    let former = shop.mesh.client().status().await.unwrap().revision;
    let load = Load::start(&shop).await;
    shop.mesh.stop_control_plane().await;
    shop.mesh.empty_store().await.unwrap();
    shop.mesh.start_control_plane().await.unwrap();

    // `web` calls, the other three serve: each has lost something from the store's sight.
    let status = held_back(&shop, 4).await;
    assert!(status.elsewhere.iter().all(|proxy| proxy.other_epoch && proxy.revision == former), "{status:?}");
    // Each proxy tells what it holds type by type.
    let wanted = [
        ("virtual host", "outbound/reviews.shop.svc.cluster.local", "", "shop/web-0"),
        ("endpoints", "local/shop/reviews-v1:80", "", "shop/web-0"),
        ("listener", "inbound/shop/stock-0", "the service port local/shop/stock:9000", "shop/stock-0"),
    ];
    for (of_type, name, part, proxy) in wanted {
        eventually(&format!("{of_type} {name} {part} is told, held by {proxy} alone"), async || {
            let items = shop.mesh.client().removals().await.ok()?.items;
            let found = items.iter().find(|it| it.resource_type == of_type && it.name == name && it.part == part)?;
            (found.proxies == [proxy]).then_some(())
        })
        .await;
    }
    let text = ready(&shop.web.proxy).await;
    assert!(text.starts_with("ready\nholding to revision") && text.contains("weft confirm-removals"), "{text}");
    let workloads = shop.mesh.client().workloads().await.unwrap().items;
    assert!(workloads.iter().all(|it| it.holds_to.as_ref() == Some(&former) && it.removals_held > 0), "{workloads:#?}");

    // Streams that break, and a control plane that starts again, make it no less another store.
    shop.mesh.stop_control_plane().await;
    shop.mesh.start_control_plane().await.unwrap();
    held_back(&shop, 4).await;
    assert_eq!(connection.get("reviews", "/", &[]).await.unwrap().text(), "v1");
    load.end().await;

    let wrong = ConfirmRequest { epoch: "another".to_owned() };
    assert!(shop.mesh.client().confirm_removals(&wrong).await.is_err());
    shop.mesh.client().confirm_removals(&ConfirmRequest { epoch: epoch(&shop).await }).await.unwrap();
    eventually("what was confirmed to go", async || {
        let reply = connection.get("reviews", "/", &[]).await.unwrap();
        let stock = shop.mesh.client().proxy("shop", "stock-0", "/config/listeners").await.ok()?.to_string();
        (reply.status != 200 && !stock.contains("local/shop/stock:9000")).then_some(())
    })
    .await;
    let status = eventually("nobody to hold to another history", async || {
        let status = shop.mesh.client().status().await.ok()?;
        status.elsewhere.is_empty().then_some(status)
    })
    .await;
    assert_ne!(status.revision, former);
    assert_eq!(ready(&shop.web.proxy).await, "ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_takes_nothing_and_what_is_applied_again_is_not_held_back() {
    let mut shop = Shop::open().await;
    shop.mesh.stop_control_plane().await;
    let copy = shop.mesh.copy_store().unwrap();
    shop.mesh.start_control_plane().await.unwrap();
    let later = r#"
{ apiVersion: v1, kind: Service, metadata: { name: later, namespace: shop },
  spec: { selector: { app: reviews, version: v1 }, ports: [{ name: http, port: 80, targetPort: http }] } }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: later, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: later }]
  rules: [{ action: Allow, from: [{ namespace: shop, account: web }] }]
"#;
    shop.mesh.apply(later).await.unwrap();
    let mut connection = shop.web.connect().await.unwrap();
    eventually("the later service", async || {
        (connection.get("later", "/", &[]).await.unwrap().status == 200).then_some(())
    })
    .await;
    let load = Load::start(&shop).await;
    shop.mesh.stop_control_plane().await;
    shop.mesh.put_store_back(&copy).unwrap();
    shop.mesh.start_control_plane().await.unwrap();
    let status = held_back(&shop, 2).await;
    assert!(status.elsewhere.iter().all(|proxy| !proxy.other_epoch), "{status:?}");
    for _ in 0..20 {
        assert_eq!(connection.get("later", "/", &[]).await.unwrap().text(), "v1");
    }
    assert_eq!(load.failed(), 0);

    // A rule that is there now and refuses holds at once, on a chain whose policy the store does not know.
    let refusing = later.replace("action: Allow", "action: Deny").replace(
        "name: later, namespace: shop }\nspec:\n  targetRefs",
        "name: stricter, namespace: shop }\nspec:\n  targetRefs",
    );
    shop.mesh.apply(&refusing).await.unwrap();
    eventually("the new refusal", async || {
        (connection.get("later", "/", &[]).await.unwrap().status == 403).then_some(())
    })
    .await;
    // Applied again, nothing is missing: no confirmation is needed for the service to stay.
    shop.mesh.client().delete("AccessPolicy", "shop", "stricter").await.unwrap();
    shop.mesh.apply(later).await.unwrap();
    eventually("the later service again", async || {
        (connection.get("later", "/", &[]).await.unwrap().status == 200).then_some(())
    })
    .await;
    let removals = shop.mesh.client().removals().await.unwrap();
    assert!(removals.items.iter().all(|it| it.resource_type == "listener"), "{removals:#?}");
    shop.mesh.client().confirm_removals(&ConfirmRequest { epoch: removals.epoch }).await.unwrap();
    eventually("nobody to hold to another history", async || {
        shop.mesh.client().status().await.ok()?.elsewhere.is_empty().then_some(())
    })
    .await;
    assert_eq!(connection.get("later", "/", &[]).await.unwrap().status, 200);
    shop.mesh.apply(&route(0, 1)).await.unwrap();
    eventually("a change in the restored history", async || {
        (connection.get("reviews", "/", &[]).await.unwrap().text() == "v2").then_some(())
    })
    .await;
    load.end().await;
}

/// Each confirmation once needed another: what came back whole was another history to the proxies, and was held back from
/// until a person had confirmed that nothing would go.
#[tokio::test(flavor = "multi_thread")]
async fn another_store_that_has_all_again_is_gone_on_with_unasked_and_what_is_deleted_then_goes() {
    let mut shop = Shop::open().await;
    let load = Load::start(&shop).await;
    shop.mesh.stop_control_plane().await;
    shop.mesh.empty_store().await.unwrap();
    shop.mesh.start_control_plane().await.unwrap();
    held_back(&shop, 4).await;
    let (web, _) = OBJECTS.split_once("---").unwrap();
    shop.mesh.apply(web).await.unwrap();
    // Not all of it: each still lacks something.
    held_back(&shop, 4).await;
    shop.mesh.apply(&format!("{OBJECTS}---{}", route(1, 0))).await.unwrap();
    eventually("nobody to hold to another history", async || {
        let status = shop.mesh.client().status().await.ok()?;
        (status.elsewhere.is_empty() && status.proxies.in_effect == 4).then_some(())
    })
    .await;
    assert_eq!(ready(&shop.web.proxy).await, "ready\n");
    load.end().await;
    // It is their own history now: deletions flow.
    shop.mesh.client().delete("HTTPRoute", "shop", "reviews").await.unwrap();
    for service in ["reviews", "reviews-v1"] {
        shop.mesh.client().delete("Service", "shop", service).await.unwrap();
    }
    let mut connection = shop.web.connect().await.unwrap();
    eventually("what was deleted to go", async || {
        (connection.get("reviews", "/", &[]).await.unwrap().status != 200).then_some(())
    })
    .await;
}

/// A sidecar's own listener was offered for removal until its registration had come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_right_after_a_restart_takes_no_listener_of_a_sidecar_that_has_not_registered_yet() {
    let mut shop = Shop::open().await;
    shop.mesh.stop_control_plane().await;
    let copy = shop.mesh.copy_store().unwrap();
    shop.mesh.start_control_plane().await.unwrap();
    let (web, _) = OBJECTS.split_once("---").unwrap();
    // What the copy does not know: the sidecars that serve it have seen a later state than the copy's.
    shop.mesh.apply(&web.replace("name: web,", "name: later,").replace("app: web", "app: reviews")).await.unwrap();
    for (sidecar, part) in [("reviews-v1-0", "listeners"), ("reviews-v2-0", "listeners"), ("web-0", "routes")] {
        let mut connection = shop.web.connect().await.unwrap();
        eventually(&format!("{sidecar} to have the later service"), async || {
            connection.get("later", "/", &[]).await.unwrap();
            let config = shop.mesh.client().proxy("shop", sidecar, &format!("/config/{part}")).await.ok()?;
            config.to_string().contains("later").then_some(())
        })
        .await;
    }
    let load = Load::start(&shop).await;
    shop.mesh.stop_control_plane().await;
    shop.mesh.put_store_back(&copy).unwrap();
    shop.mesh.start_control_plane().await.unwrap();
    // At the first moment at which there is anything to confirm: before most have registered.
    let removals = eventually("what would go", async || {
        let removals = shop.mesh.client().removals().await.ok()?;
        let own = removals.items.iter().find(|it| it.name.starts_with("inbound/") && it.part.is_empty());
        assert_eq!(own, None, "a live listener is offered for removal");
        (!removals.items.is_empty()).then_some(removals)
    })
    .await;
    shop.mesh.client().confirm_removals(&ConfirmRequest { epoch: removals.epoch }).await.unwrap();
    eventually("nobody to hold to another history", async || {
        let status = shop.mesh.client().status().await.ok()?;
        (status.elsewhere.is_empty() && status.proxies.in_effect == 4).then_some(())
    })
    .await;
    for sidecar in ["reviews-v1-0", "reviews-v2-0"] {
        let listeners = shop.mesh.client().proxy("shop", sidecar, "/config/listeners").await.unwrap().to_string();
        assert!(listeners.contains(&format!("inbound/shop/{sidecar}")), "{listeners}");
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_removed_is_another_mesh_and_costs_the_proxies_nothing() {
    let mut shop = Shop::open().await;
    let mut connection = shop.web.connect().await.unwrap();
    assert_eq!(connection.get("reviews", "/", &[]).await.unwrap().status, 200);
    let load = Load::start(&shop).await;
    shop.mesh.stop_control_plane().await;
    shop.mesh.lose_store().unwrap();
    shop.mesh.start_control_plane().await.unwrap();
    // A new CA: the proxies do not take it for their control plane, however often they try meanwhile.
    eventually("five hundred requests more", async || (load.done() >= 500).then_some(())).await;
    let status = shop.mesh.client().status().await.unwrap();
    assert_eq!((status.proxies.connected, status.resources_sent), (0, 0));
    assert_eq!(connection.get("reviews", "/", &[]).await.unwrap().status, 200);
    load.end().await;
}
