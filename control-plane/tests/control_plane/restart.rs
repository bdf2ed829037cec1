//! What a restart keeps, and what it must not take away.
use std::time::Duration;

use weft_control_plane::wire::ConfirmRequest;
use weft_proto::weft::{
    Draining, Heartbeat, HeldRemovals, HeldResource, NothingLost, Receipts, agent_message::Message, control_message,
};

use crate::support::{
    Agent, CLUSTER, ENDPOINTS, LISTENER, Plane, SHOP, VIRTUAL_HOST, eventually, node_that_saw, registration,
};

const WEB: &str = "local/shop/web:80";
const WEB_HOST: &str = "outbound/web.shop.svc.cluster.local";

#[tokio::test]
async fn a_restart_keeps_the_epoch_and_resends_nothing() {
    let mut plane = Plane::start().await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    agent.next().await;
    let mut ads = plane.ads(&member, "web-1").await;
    ads.subscribe(LISTENER, &["*"]).await;
    ads.subscribe(CLUSTER, &[WEB]).await;
    ads.subscribe(ENDPOINTS, &[WEB]).await;
    ads.subscribe(VIRTUAL_HOST, &[WEB_HOST]).await;
    ads.until(|ads| ads.held.len() == 5).await;
    let (held, revision) = (ads.held.clone(), plane.running().revision());

    plane.stop().await;
    plane.start_again().await.unwrap();
    assert_eq!(plane.running().revision(), revision);
    let mut ads = plane.ads(&member, "web-1").await;
    ads.resume(CLUSTER, &[WEB], &held).await;
    ads.resume(ENDPOINTS, &[WEB], &held).await;
    ads.resume(LISTENER, &["*"], &held).await;
    // A wildcard is answered even if there is nothing to say.
    assert_eq!(ads.next_of(LISTENER).await, (vec![], vec![]));
    ads.resume(VIRTUAL_HOST, &[WEB_HOST], &held).await;
    ads.says_nothing_before("outbound/probe").await;
    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    agent.next().await;
    ads.says_nothing_before("outbound/second-probe").await;
    let status = plane.client().status().await.unwrap();
    assert_eq!((status.resources_sent, status.resources_resent), (0, 0));
}

#[tokio::test]
async fn endpoints_are_not_taken_away_before_one_lease_after_a_restart() {
    let mut plane = Plane::start().await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let mut first = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    let mut second = plane.agent(&member, registration("web-2", "web", "127.0.0.1:7002")).await;
    first.next().await;
    second.next().await;
    let mut ads = plane.ads(&member, "client").await;
    ads.subscribe(ENDPOINTS, &[WEB]).await;
    ads.next_of(ENDPOINTS).await;
    let held = ads.held.clone();
    plane.stop().await;

    plane.config.lease = Duration::from_secs(2);
    plane.start_again().await.unwrap();
    let mut ads = plane.ads(&member, "client").await;
    ads.resume(ENDPOINTS, &[WEB], &held).await;
    let mut first = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    first.next().await;
    // One of two is back: that is no reason to take the other away yet. It is told as an addition.
    let response = ads.next().await;
    assert_eq!(response.type_url, ENDPOINTS);
    let metadata = response.resources[0].metadata.as_ref().expect("a mark that it only adds");
    assert!(metadata.filter_metadata["weft.v1"].fields.contains_key("partial"), "{metadata:?}");
    ads.says_nothing_before("outbound/probe").await;
    // Who holds nothing gets what there is.
    let mut fresh = plane.ads(&member, "fresh").await;
    fresh.subscribe(ENDPOINTS, &[WEB]).await;
    fresh.next_of(ENDPOINTS).await;
    assert_ne!(fresh.held, held);
    // After the lease the one that did not come back is gone.
    ads.next_of(ENDPOINTS).await;
    assert!(ads.holds(ENDPOINTS, WEB).is_some());
    assert_ne!(ads.held, held);
}

#[tokio::test]
async fn endpoints_change_at_once_again_when_all_are_back_after_a_restart() {
    let mut plane = Plane::start().await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    agent.next().await;
    let mut ads = plane.ads(&member, "client").await;
    ads.subscribe(ENDPOINTS, &[WEB]).await;
    ads.next_of(ENDPOINTS).await;
    let held = ads.held.clone();
    plane.stop().await;

    // Far longer than this test waits for anything.
    plane.config.lease = Duration::from_secs(600);
    plane.start_again().await.unwrap();
    let mut ads = plane.ads(&member, "client").await;
    ads.resume(ENDPOINTS, &[WEB], &held).await;
    ads.says_nothing_before("outbound/probe").await;
    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    agent.next().await;
    eventually("the stream to have looked at it", async || {
        let proxies = plane.client().status().await.unwrap().proxies;
        (proxies.acknowledged == 1).then_some(())
    })
    .await;
    agent.say(Message::Draining(Draining {})).await;
    assert_eq!(ads.next_of(ENDPOINTS).await.0, [WEB]);
    assert_ne!(ads.held, held);
}

#[tokio::test]
async fn an_inbound_listener_is_never_taken_from_its_own_workload() {
    let plane = Plane::with(|config| config.lease = Duration::from_millis(300)).await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    agent.next().await;
    let mut ads = plane.ads(&member, "web-1").await;
    ads.subscribe(LISTENER, &["*"]).await;
    ads.until(|ads| ads.held.len() == 2).await;
    drop(agent);
    eventually("the lease to run out", async || {
        let objects = plane.client().objects(Some("Workload"), None, None).await.unwrap();
        objects.items.is_empty().then_some(())
    })
    .await;
    ads.says_nothing_before("outbound/probe").await;
    assert!(ads.holds(LISTENER, "inbound/shop/web-1").is_some());
}

/// It was offered for removal until the sidecar had registered again.
#[tokio::test]
async fn a_listener_whose_workload_has_not_registered_yet_is_neither_offered_for_removal_nor_removed_by_it() {
    let mut plane = Plane::with(|config| config.lease = Duration::from_secs(2)).await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    agent.next().await;
    let mut ads = plane.ads(&member, "web-1").await;
    ads.subscribe(LISTENER, &["*"]).await;
    ads.until(|ads| ads.held.len() == 2).await;
    let held = ads.held.clone();
    drop((agent, ads));
    plane.stop().await;
    plane.start_again().await.unwrap();

    // It has seen another store, and holds one thing that this one does not know.
    let gone = "local/shop/gone:80";
    let mut ads = plane.ads_as(&member, node_that_saw("web-1", "elsewhere/all=9")).await.unwrap();
    ads.resume(LISTENER, &["*"], &held).await;
    ads.held.clone_from(&held);
    assert_eq!(ads.next_of(LISTENER).await, (vec![], vec![]));
    let claimed = [((CLUSTER.to_owned(), gone.to_owned()), "0123456789abcdef".to_owned())].into();
    ads.resume(CLUSTER, &[gone], &claimed).await;
    let removals = eventually("what it would lose", async || {
        let removals = plane.client().removals().await.unwrap();
        (!removals.items.is_empty()).then_some(removals)
    })
    .await;
    assert_eq!(removals.items.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), [gone]);
    plane.client().confirm_removals(&ConfirmRequest { epoch: removals.epoch }).await.unwrap();
    assert_eq!(ads.next_of(CLUSTER).await, (vec![], vec![gone.to_owned()]));
    ads.says_nothing_before("outbound/probe").await;
    // Nor when the first lease is over: whoever serves by it may only be slow to come back.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    ads.says_nothing_before("outbound/second-probe").await;
    assert!(ads.holds(LISTENER, "inbound/shop/web-1").is_some());
    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    agent.next().await;
    ads.says_nothing_before("outbound/third-probe").await;
}

#[tokio::test]
async fn a_proxy_of_another_history_that_would_lose_nothing_is_told_so_and_only_then() {
    let mut plane = Plane::start().await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    agent.next().await;
    let mut ads = plane.ads(&member, "web-1").await;
    ads.subscribe(LISTENER, &["*"]).await;
    ads.subscribe(VIRTUAL_HOST, &[WEB_HOST]).await;
    ads.subscribe(ENDPOINTS, &[WEB]).await;
    ads.until(|ads| ads.held.len() == 4).await;
    let held = ads.held.clone();
    drop((agent, ads));
    plane.stop().await;
    plane.start_again().await.unwrap();

    let seen = "elsewhere/all=9";
    let mut ads = plane.ads_as(&member, node_that_saw("web-1", seen)).await.unwrap();
    ads.resume(ENDPOINTS, &[WEB], &held).await;
    ads.resume(VIRTUAL_HOST, &[WEB_HOST], &held).await;
    ads.resume(LISTENER, &["*"], &held).await;
    assert_eq!(ads.next_of(LISTENER).await, (vec![], vec![]));
    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    agent.next().await;
    // It keeps something by itself: nothing is said then.
    let resource = HeldResource { type_url: LISTENER.to_owned(), name: "inbound".to_owned(), part: "a".to_owned() };
    let own = plane.running().revision().to_string();
    let keeps = |resources| HeldRemovals { revision: seen.to_owned(), elsewhere: own.clone(), resources };
    agent.say(Message::Held(keeps(vec![resource]))).await;
    let receipts = |revision: &str| Message::Receipts(Receipts { receipts: Vec::new(), revision: revision.to_owned() });
    agent.say(receipts(seen)).await;
    eventually("its word", async || {
        let elsewhere = plane.client().status().await.unwrap().elsewhere;
        elsewhere.first().is_some_and(|it| it.held == 1).then_some(())
    })
    .await;
    agent.say(Message::Held(keeps(Vec::new()))).await;
    let told = eventually_told(&mut agent).await;
    assert_eq!(told, NothingLost { revision: own.clone(), named: 4 });
    // It goes on with this history from there, and nobody is asked.
    agent.say(receipts(&own)).await;
    eventually("that nobody holds to another history", async || {
        plane.client().status().await.unwrap().elsewhere.is_empty().then_some(())
    })
    .await;
    ads.says_nothing_before("outbound/probe").await;
}

/// What the control plane says once a heartbeat finds that nothing would be lost.
async fn eventually_told(agent: &mut Agent) -> NothingLost {
    loop {
        agent.say(Message::Heartbeat(Heartbeat {})).await;
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(100), agent.answers.message()).await {
            match answer.unwrap().unwrap().message {
                Some(control_message::Message::NothingLost(told)) => return told,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn several_control_planes_run_side_by_side() {
    let (one, other) = tokio::join!(Plane::start(), Plane::start());
    one.apply(SHOP).await.unwrap();
    assert!(other.client().objects(None, None, None).await.unwrap().items.is_empty());
    assert_ne!(one.running().revision().epoch(), other.running().revision().epoch());
}

#[tokio::test]
async fn a_second_control_plane_on_the_same_store_is_told_that_it_is_in_use() {
    let plane = Plane::start().await;
    let error = weft_control_plane::ControlPlane::start(plane.config.clone()).await.unwrap_err();
    assert!(error.to_string().contains("in use by another process"), "{error}");
}
