//! Delta ADS.
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use weft_proto::envoy::{
    config::core::v3::Node,
    service::discovery::v3::{
        DeltaDiscoveryRequest, DiscoveryRequest, aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    },
};

use crate::support::{
    CLUSTER, ENDPOINTS, LISTENER, Plane, SHOP, VIRTUAL_HOST, eventually, node_that_saw, registration, within,
};

const WEB: &str = "local/shop/web:80";
const WEB_HOST: &str = "outbound/web.shop.svc.cluster.local";

#[tokio::test]
async fn objects_become_resources_and_a_change_is_sent_alone() {
    let plane = Plane::start().await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let mut ads = plane.ads(&member, "web-1").await;
    ads.subscribe(CLUSTER, &[WEB]).await;
    assert_eq!(ads.next_of(CLUSTER).await, (vec![WEB.to_owned()], vec![]));
    ads.subscribe(VIRTUAL_HOST, &[WEB_HOST]).await;
    assert_eq!(ads.next_of(VIRTUAL_HOST).await, (vec![WEB_HOST.to_owned()], vec![]));
    ads.subscribe(ENDPOINTS, &[WEB]).await;
    assert_eq!(ads.next_of(ENDPOINTS).await, (vec![WEB.to_owned()], vec![]));
    let before = ads.held.clone();

    let policy = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{group: \"\", kind: Service, name: web}]
  timeouts: {request: 3s}
";
    let applied = plane.apply(policy).await.unwrap();
    assert_eq!(ads.next_of(VIRTUAL_HOST).await, (vec![WEB_HOST.to_owned()], vec![]));
    assert_eq!(ads.revision, applied.revision);
    assert_ne!(
        ads.holds(VIRTUAL_HOST, WEB_HOST),
        before.get(&(VIRTUAL_HOST.to_owned(), WEB_HOST.to_owned())).map(String::as_str)
    );

    plane.client().delete("TrafficPolicy", "shop", "web").await.unwrap();
    assert_eq!(ads.next_of(VIRTUAL_HOST).await, (vec![WEB_HOST.to_owned()], vec![]));
    assert_eq!(ads.held, before);
    let status = plane.client().status().await.unwrap();
    assert_eq!((status.resources_sent, status.resources_resent), (5, 0));
    eventually("the stream to be acknowledged", async || {
        let proxies = plane.client().status().await.unwrap().proxies;
        (proxies.connected == 1 && proxies.acknowledged == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_unknown_name_is_told_as_removed_and_comes_when_it_is_made() {
    let plane = Plane::start().await;
    let member = plane.join("web").await;
    let mut ads = plane.ads(&member, "web-1").await;
    ads.subscribe(VIRTUAL_HOST, &[WEB_HOST]).await;
    assert_eq!(ads.next_of(VIRTUAL_HOST).await, (vec![], vec![WEB_HOST.to_owned()]));
    plane.apply(SHOP).await.unwrap();
    assert_eq!(ads.next_of(VIRTUAL_HOST).await, (vec![WEB_HOST.to_owned()], vec![]));
    plane.client().delete("AccessPolicy", "shop", "web").await.unwrap();
    plane.client().delete("Service", "shop", "web").await.unwrap();
    assert_eq!(ads.next_of(VIRTUAL_HOST).await, (vec![], vec![WEB_HOST.to_owned()]));
}

#[tokio::test]
async fn a_proxy_gets_its_own_inbound_listener_alone() {
    let plane = Plane::start().await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let _web = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    let mut ads = plane.ads(&member, "web-1").await;
    ads.subscribe(LISTENER, &["*"]).await;
    ads.until(|ads| ads.holds(LISTENER, "inbound/shop/web-1").is_some()).await;
    assert!(ads.holds(LISTENER, "outbound").is_some());

    let stranger = plane.join("other").await;
    let mut ads = plane.ads(&stranger, "other-1").await;
    ads.subscribe(LISTENER, &["*", "inbound/shop/web-1"]).await;
    ads.until(|ads| ads.holds(LISTENER, "outbound").is_some()).await;
    ads.says_nothing_before("outbound/probe").await;
    assert_eq!(ads.holds(LISTENER, "inbound/shop/web-1"), None);

    let mut impostor = plane.ads(&stranger, "web-1").await;
    impostor.subscribe(LISTENER, &["*"]).await;
    assert_eq!(impostor.ended().await.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_node_id_that_the_certificate_does_not_prove_is_refused() {
    let plane = Plane::start().await;
    let member = plane.join("web").await;
    for (id, code) in [
        ("bank/web-1", Code::PermissionDenied),
        ("web-1", Code::InvalidArgument),
        ("shop/", Code::InvalidArgument),
        ("", Code::InvalidArgument),
    ] {
        let node = Node { id: id.to_owned(), ..Node::default() };
        let mut ads = plane.ads_as(&member, node).await.unwrap();
        ads.subscribe(CLUSTER, &[WEB]).await;
        assert_eq!(ads.ended().await.code(), code, "{id:?}");
    }
}

#[tokio::test]
async fn a_client_without_certificate_gets_nothing() {
    let plane = Plane::start().await;
    let mut client = AggregatedDiscoveryServiceClient::new(plane.joining().await);
    let request = DeltaDiscoveryRequest { type_url: CLUSTER.to_owned(), ..DeltaDiscoveryRequest::default() };
    let refused = within("an answer", client.delta_aggregated_resources(tokio_stream::once(request))).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn the_state_of_the_world_is_refused_with_what_to_use_instead() {
    let plane = Plane::start().await;
    let member = plane.join("web").await;
    let mut client = AggregatedDiscoveryServiceClient::new(plane.channel(&member).await);
    let (_requests, outgoing) = tokio::sync::mpsc::channel::<DiscoveryRequest>(1);
    let refused = within("an answer", client.stream_aggregated_resources(ReceiverStream::new(outgoing))).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("DELTA_GRPC"), "{refused}");
}

#[tokio::test]
async fn a_message_that_breaks_the_protocol_ends_its_stream_alone() {
    let plane = Plane::start().await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let mut good = plane.ads(&member, "web-1").await;
    good.subscribe(CLUSTER, &[WEB]).await;
    good.next_of(CLUSTER).await;
    let mut bad = plane.ads(&member, "web-2").await;
    bad.subscribe("type.googleapis.com/no.such.Type", &[WEB]).await;
    assert_eq!(bad.ended().await.code(), Code::InvalidArgument);
    good.subscribe(ENDPOINTS, &[WEB]).await;
    assert_eq!(good.next_of(ENDPOINTS).await.0, [WEB]);
}

#[tokio::test]
async fn a_message_over_16_mib_is_not_read_and_ends_its_stream_alone() {
    let plane = Plane::start().await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let mut good = plane.ads(&member, "web-1").await;
    good.subscribe(CLUSTER, &[WEB]).await;
    good.next_of(CLUSTER).await;
    let mut bad = plane.ads(&member, "web-2").await;
    bad.subscribe(CLUSTER, &[&"x".repeat(16 << 20)]).await;
    let ended = bad.ended().await;
    assert_eq!(ended.code(), Code::OutOfRange, "{ended}");
    good.subscribe(ENDPOINTS, &[WEB]).await;
    assert_eq!(good.next_of(ENDPOINTS).await.0, [WEB]);
}

#[tokio::test]
async fn a_client_of_another_epoch_keeps_what_this_store_does_not_know() {
    let plane = Plane::start().await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let claim = |name: &str| ((CLUSTER.to_owned(), name.to_owned()), "0123456789abcdef".to_owned());
    let held = [claim("local/shop/gone-1:80"), claim("local/shop/gone-2:80"), claim(WEB)].into();
    let names = ["local/shop/gone-1:80", "local/shop/gone-2:80", WEB];

    let mut ads = plane.ads_as(&member, node_that_saw("web-1", "another/all=7")).await.unwrap();
    ads.resume(CLUSTER, &names, &held).await;
    assert_eq!(ads.next_of(CLUSTER).await, (vec![WEB.to_owned()], vec![]));
    ads.says_nothing_before("outbound/probe").await;

    // Of this store, deletions flow.
    let seen = plane.running().revision().to_string();
    let mut ads = plane.ads_as(&member, node_that_saw("web-2", &seen)).await.unwrap();
    ads.resume(CLUSTER, &names, &held).await;
    assert_eq!(ads.next_of(CLUSTER).await.0, [WEB]);
    let (_, mut removed) = ads.next_of(CLUSTER).await;
    removed.sort();
    assert_eq!(removed, ["local/shop/gone-1:80", "local/shop/gone-2:80"]);
}

#[tokio::test]
async fn a_client_that_has_seen_more_of_this_store_is_served_after_a_bounded_wait() {
    let plane = Plane::start().await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let ahead = format!("{}/all=2", plane.running().revision().epoch());
    let ahead = |workload: &str| node_that_saw(workload, &ahead);
    let mut waiting = plane.ads_as(&member, ahead("web-1")).await.unwrap();
    waiting.subscribe(CLUSTER, &[WEB]).await;
    // The store reaches what the client has seen: no need to wait longer.
    let applied = plane.apply(&SHOP.replace("port: 80,", "port: 81,")).await.unwrap();
    assert_eq!(waiting.next_of(CLUSTER).await, (vec![], vec![WEB.to_owned()]));
    assert_eq!(waiting.revision, applied.revision);

    let lost = format!("{}/all=99", plane.running().revision().epoch());
    let mut lost = plane.ads_as(&member, node_that_saw("web-2", &lost)).await.unwrap();
    lost.subscribe(CLUSTER, &["local/shop/web:81"]).await;
    assert_eq!(lost.next_of(CLUSTER).await.0, ["local/shop/web:81"]);
}
