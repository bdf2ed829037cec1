//! What is in effect where: by the word of each proxy, once each of its workers decides by it.
use std::net::TcpListener;

use weft_control_plane::wire::{EffectState, ObjectStatus, WaitRequest};
use weft_harness::{Application, Mesh, Plan, Sidecar, eventually};

use crate::shop::{OBJECTS, Shop, route};

async fn status(mesh: &Mesh, kind: &str, name: &str) -> ObjectStatus {
    mesh.client().object_status(kind, "shop", name).await.unwrap()
}

async fn until(mesh: &Mesh, kind: &str, name: &str, state: EffectState, proxies: u64) -> ObjectStatus {
    eventually(&format!("{kind} {name} {state:?} at {proxies}"), async || {
        let status = status(mesh, kind, name).await;
        (status.effect.state == state && status.effect.proxies == proxies).then_some(status)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_in_effect_when_the_proxies_that_use_it_decide_by_it() {
    let shop = Shop::open().await;
    let route_name = "HTTPRoute shop/reviews".to_owned();
    let unused = until(&shop.mesh, "HTTPRoute", "reviews", EffectState::Unused, 0).await;
    assert!(unused.effect.is_done() && unused.effect.slowest.is_none());
    shop.web.connect().await.unwrap().get("reviews", "/", &[]).await.unwrap();
    until(&shop.mesh, "HTTPRoute", "reviews", EffectState::InEffect, 1).await;
    for weight in 1..6 {
        let applied = shop.mesh.apply(&route(0, weight)).await.unwrap();
        let request = WaitRequest { objects: vec![route_name.clone()], timeout_ms: 20_000 };
        let waited = shop.mesh.client().wait(&request).await.unwrap();
        assert!(waited.in_effect, "{waited:?}");
        let status = &waited.items[0];
        assert_eq!((status.effect.effective, status.effect.proxies, &status.revision), (1, 1, &applied.revision));
        assert_eq!(status.effect.slowest.as_ref().unwrap().workload, "shop/web-0");
        // In effect means that the next request goes by it.
        let reply = shop.web.connect().await.unwrap().get("reviews", "/", &[]).await.unwrap();
        assert_eq!(reply.text(), "v2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_rejected_in_the_proxys_words_until_it_is_free() {
    let mesh = Mesh::start().await.unwrap();
    mesh.apply(OBJECTS).await.unwrap();
    let echo = Application::echo("hello\n").await;
    let _stock = Sidecar::start(&mesh, Plan::new("stock-0", "stock").application("tcp", echo.address)).await.unwrap();
    let _good = Sidecar::start(&mesh, Plan::new("web-0", "web").calls("shop/stock:9000")).await.unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let web = Plan::new("web-1", "web").calls(&format!("shop/stock:9000={address}"));
    // It starts, and serves the rest.
    let web = Sidecar::start(&mesh, web).await.unwrap();
    assert_eq!(web.tcp("shop/stock:9000"), None);
    let reply = web.connect().await.unwrap().get("nowhere", "/", &[]).await.unwrap();
    assert_eq!(reply.status, 404, "{}", reply.text());

    let stock = eventually("two of three", async || {
        let status = status(&mesh, "Service", "stock").await;
        (status.effect.effective == 2 && status.effect.state == EffectState::Rejected).then_some(status)
    })
    .await;
    assert_eq!(stock.effect.proxies, 3);
    let [waiting] = stock.effect.waiting.as_slice() else { panic!("{stock:?}") };
    let reason = waiting.rejected.as_deref().unwrap();
    assert!(reason.contains(&format!("cannot listen on {address}")) && reason.contains("in use"), "{reason}");
    assert_eq!(
        (waiting.workload.as_str(), waiting.resource.as_str()),
        ("shop/web-1", "listener outbound/local/shop/stock:9000")
    );
    let object = vec!["Service shop/stock".to_owned()];
    let waited = mesh.client().wait(&WaitRequest { objects: object.clone(), timeout_ms: 200 }).await.unwrap();
    assert!(!waited.in_effect && waited.items[0].effect.waiting[0].rejected.as_deref() == Some(reason), "{waited:?}");

    drop(taken);
    let waited = mesh.client().wait(&WaitRequest { objects: object, timeout_ms: 20_000 }).await.unwrap();
    assert!(waited.in_effect, "{waited:?}");
    let workloads = mesh.client().workloads().await.unwrap().items;
    let item = workloads.iter().find(|item| item.name == "web-1").unwrap();
    assert_eq!(item.rejected, []);
    eventually("the address to be told", async || {
        let workloads = mesh.client().workloads().await.unwrap().items;
        let item = workloads.into_iter().find(|item| item.name == "web-1")?;
        (item.listeners.get("outbound/local/shop/stock:9000") == Some(&address.to_string())).then_some(())
    })
    .await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut greeting = [0; 6];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello\n");
    let written = std::fs::read_to_string(web.state.join("listeners.json")).unwrap();
    assert!(written.contains(&address.to_string()), "{written}");
}
