//! Whether objects are in effect, by the word of proxies that the tests play themselves.
use std::time::Duration;

use weft_control_plane::wire::{ConfirmRequest, EffectState, ObjectStatus, WaitRequest};
use weft_proto::{
    envoy::config::core::v3::Node,
    google::protobuf::{ListValue, Struct, Value, value::Kind},
    weft::{Receipt, Receipts, agent_message::Message},
};

use crate::support::{
    Ads, Agent, CLUSTER, ENDPOINTS, LISTENER, Member, Plane, SHOP, VIRTUAL_HOST, eventually, node_that_saw,
    registration,
};

const WEB: &str = "local/shop/web:80";

/// A control plane whose leases outlast any wait: these proxies do not renew theirs.
async fn patient() -> Plane {
    Plane::with(|config| config.lease = Duration::from_secs(600)).await
}

/// A proxy that takes what it asks for and says what the test has it say.
struct Fake {
    agent: Agent,
    ads: Ads,
}

impl Fake {
    async fn start(plane: &Plane, member: &Member, workload: &str, type_url: &str, name: &str) -> Self {
        let mut agent = plane.agent(member, registration(workload, "web", "")).await;
        agent.next().await;
        let mut ads = plane.ads(member, workload).await;
        ads.subscribe(type_url, &[name]).await;
        ads.until(|ads| ads.holds(type_url, name).is_some()).await;
        Self { agent, ads }
    }

    /// Says that a resource is in effect in the version that it holds, or why not.
    async fn receipt(&self, type_url: &str, name: &str, rejected: &str) {
        let version = self.ads.holds(type_url, name).unwrap();
        self.says(type_url, name, version, rejected).await;
    }

    async fn says(&self, type_url: &str, name: &str, version: &str, rejected: &str) {
        let receipt = Receipt {
            type_url: type_url.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
            rejected: rejected.to_owned(),
        };
        self.agent.say(Message::Receipts(Receipts { receipts: vec![receipt], revision: String::new() })).await;
    }
}

async fn until(plane: &Plane, kind: &str, name: &str, wanted: impl Fn(&ObjectStatus) -> bool) -> ObjectStatus {
    eventually(&format!("{kind} {name} as wanted"), async || {
        let status = plane.client().object_status(kind, "shop", name).await.unwrap();
        wanted(&status).then_some(status)
    })
    .await
}

#[tokio::test]
async fn an_object_is_effective_on_n_of_m_and_names_who_lacks_it_and_who_rejected_it() {
    let plane = patient().await;
    let applied = plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let unused = plane.client().object_status("Service", "shop", "web").await.unwrap();
    assert_eq!((unused.effect.state, unused.effect.proxies), (EffectState::Unused, 0));
    assert_eq!(unused.revision, applied.revision);

    let good = Fake::start(&plane, &member, "web-1", CLUSTER, WEB).await;
    let bad = Fake::start(&plane, &member, "web-2", CLUSTER, WEB).await;
    let mute = Fake::start(&plane, &member, "web-3", CLUSTER, WEB).await;
    // Acknowledged on the ADS stream is not in effect.
    until(&plane, "Service", "web", |it| it.effect.proxies == 3 && it.effect.effective == 0).await;
    let proxies = eventually("three acknowledgements", async || {
        let proxies = plane.client().status().await.unwrap().proxies;
        (proxies.acknowledged == 3).then_some(proxies)
    });
    assert_eq!(proxies.await.in_effect, 0);
    good.receipt(CLUSTER, WEB, "").await;
    bad.receipt(CLUSTER, WEB, "there is no room for it").await;
    let status =
        until(&plane, "Service", "web", |it| it.effect.effective == 1 && it.effect.state == EffectState::Rejected);
    let status = status.await;
    assert_eq!(status.effect.proxies, 3);
    let mut waiting: Vec<_> =
        status.effect.waiting.iter().map(|it| (it.workload.as_str(), it.rejected.as_deref())).collect();
    waiting.sort_unstable();
    assert_eq!(waiting, [("shop/web-2", Some("there is no room for it")), ("shop/web-3", None)]);
    assert!(status.effect.slowest.is_some_and(|it| it.workload != "shop/web-1"));
    let status = plane.client().status().await.unwrap();
    assert_eq!((status.proxies.in_effect, status.objects.get(&EffectState::Rejected)), (1, Some(&1)));
    let items = plane.client().workloads().await.unwrap().items;
    let told: Vec<_> = items.iter().map(|it| (it.in_effect, it.resources_in_effect, it.resources)).collect();
    assert_eq!(told, [(true, 1, 1), (false, 0, 1), (false, 0, 1)]);

    // Who says nothing for too long is named as such; these have no heartbeat.
    let silent = until(&plane, "Service", "web", |it| it.effect.waiting.iter().all(|it| it.silent_ms.is_some())).await;
    assert_eq!(silent.effect.waiting.len(), 2);
    let wait = WaitRequest { objects: vec!["Service shop/web".to_owned()], timeout_ms: 50 };
    assert!(!plane.client().wait(&wait).await.unwrap().in_effect);
    let long = WaitRequest { timeout_ms: 20_000, ..wait };
    let (client, told) = (plane.client(), async {
        bad.receipt(CLUSTER, WEB, "").await;
        mute.receipt(CLUSTER, WEB, "").await;
    });
    let (waited, ()) = tokio::join!(client.wait(&long), told);
    let waited = waited.unwrap();
    assert!(waited.in_effect && waited.items[0].effect.effective == 3, "{waited:?}");
    // A proxy that is gone is not waited for.
    drop((bad, mute));
    until(&plane, "Service", "web", |it| it.effect.proxies == 1).await;
}

#[tokio::test]
async fn an_older_version_is_not_in_effect_and_its_rejection_does_not_stand_against_the_newer() {
    let plane = patient().await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let mut fake = Fake::start(&plane, &member, "web-1", VIRTUAL_HOST, "outbound/web.shop.svc.cluster.local").await;
    let name = "outbound/web.shop.svc.cluster.local";
    let old = fake.ads.holds(VIRTUAL_HOST, name).unwrap().to_owned();
    fake.receipt(VIRTUAL_HOST, name, "").await;
    until(&plane, "Service", "web", |it| it.effect.state == EffectState::InEffect).await;
    fake.says(VIRTUAL_HOST, name, "another", "not this one").await;
    let policy = "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{group: \"\", kind: Service, name: web}]
  timeouts: {request: 3s}
";
    plane.apply(policy).await.unwrap();
    fake.ads.until(|ads| ads.holds(VIRTUAL_HOST, name) != Some(&old)).await;
    let status = plane.client().object_status("TrafficPolicy", "shop", "web").await.unwrap();
    assert_eq!((status.effect.state, status.effect.effective, status.effect.proxies), (EffectState::Awaited, 0, 1));
    fake.receipt(VIRTUAL_HOST, name, "").await;
    until(&plane, "TrafficPolicy", "web", |it| it.effect.state == EffectState::InEffect).await;
}

#[tokio::test]
async fn a_route_that_leaves_a_host_is_in_effect_when_that_host_is_without_it_everywhere() {
    let plane = patient().await;
    let other = SHOP.replace("name: web,", "name: other,").replace("name: web}", "name: other}");
    plane.apply(SHOP).await.unwrap();
    plane.apply(&other).await.unwrap();
    let route = |service: &str| {
        format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: moves, namespace: shop}}
spec:
  parentRefs: [{{group: \"\", kind: Service, name: {service}}}]
  rules: [{{matches: [{{path: {{type: PathPrefix, value: /a}}}}], backendRefs: [{{name: web, port: 80}}]}}]
"
        )
    };
    plane.apply(&route("web")).await.unwrap();
    let member = plane.join("web").await;
    let host = "outbound/web.shop.svc.cluster.local";
    let mut fake = Fake::start(&plane, &member, "web-1", VIRTUAL_HOST, host).await;
    fake.receipt(VIRTUAL_HOST, host, "").await;
    until(&plane, "HTTPRoute", "moves", |it| it.effect.state == EffectState::InEffect).await;
    let old = fake.ads.holds(VIRTUAL_HOST, host).unwrap().to_owned();
    plane.apply(&route("other")).await.unwrap();
    let status = plane.client().object_status("HTTPRoute", "shop", "moves").await.unwrap();
    assert_eq!((status.effect.state, status.effect.proxies), (EffectState::Awaited, 1), "{status:?}");
    fake.ads.until(|ads| ads.holds(VIRTUAL_HOST, host) != Some(&old)).await;
    fake.receipt(VIRTUAL_HOST, host, "").await;
    until(&plane, "HTTPRoute", "moves", |it| it.effect.state == EffectState::InEffect).await;
}

#[tokio::test]
async fn what_a_proxy_does_not_know_is_named_where_it_is_held_back() {
    let plane = patient().await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    agent.next().await;
    let nothing = Value { kind: Some(Kind::ListValue(ListValue::default())) };
    let metadata = Struct { fields: [("weft.features".to_owned(), nothing)].into() };
    let node = Node { id: "shop/web-1".to_owned(), metadata: Some(metadata), ..Node::default() };
    let mut ads = plane.ads_as(&member, node).await.unwrap();
    ads.subscribe(LISTENER, &["*"]).await;
    let status = until(&plane, "AccessPolicy", "web", |it| it.effect.state == EffectState::HeldBack).await;
    let [waiting] = status.effect.waiting.as_slice() else { panic!("{status:?}") };
    assert_eq!(
        (waiting.workload.as_str(), waiting.needs.as_slice()),
        ("shop/web-1", &["access-by-identity".to_owned()][..])
    );
    assert_eq!(waiting.resource, "listener inbound/shop/web-1");
}

/// It was told as waiting for the resource, as if it were about to come.
#[tokio::test]
async fn what_the_wipe_guard_holds_back_is_named_in_the_status_of_its_object_until_it_is_confirmed() {
    let plane = patient().await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let mut agent = plane.agent(&member, registration("web-1", "web", "")).await;
    agent.next().await;
    // Of another history it holds endpoints that this control plane has not heard of.
    let mut ads = plane.ads_as(&member, node_that_saw("web-1", "elsewhere/all=9")).await.unwrap();
    let version = "0123456789abcdef".to_owned();
    ads.resume(ENDPOINTS, &[WEB], &[((ENDPOINTS.to_owned(), WEB.to_owned()), version.clone())].into()).await;
    let receipt = Receipt { type_url: ENDPOINTS.to_owned(), name: WEB.to_owned(), version, rejected: String::new() };
    agent.say(Message::Receipts(Receipts { receipts: vec![receipt], revision: String::new() })).await;

    let status = until(&plane, "Service", "web", |it| it.effect.state == EffectState::RemovalHeld).await;
    let [waiting] = status.effect.waiting.as_slice() else { panic!("{status:?}") };
    let text = waiting.removal.as_ref().unwrap().text();
    for part in ["came back with another epoch", "elsewhere/all=9", "endpoints local/shop/web:80", "confirm-removals"] {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
    let items = plane.client().workloads().await.unwrap().items;
    assert!(!items[0].in_effect && items[0].removal.as_ref().is_some_and(|it| it.other_epoch), "{items:?}");
    let counted = plane.client().status().await.unwrap().objects;
    assert_eq!(counted.get(&EffectState::RemovalHeld), Some(&1));

    let epoch = plane.client().removals().await.unwrap().epoch;
    plane.client().confirm_removals(&ConfirmRequest { epoch }).await.unwrap();
    until(&plane, "Service", "web", |it| it.effect.state == EffectState::Awaited).await;
}
