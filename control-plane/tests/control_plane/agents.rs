//! Agent streams: registrations, leases, summaries, relayed queries.
use std::time::Duration;

use hyper::{Method, StatusCode};
use weft_control_plane::wire::{WorkloadItem, WorkloadState};
use weft_proto::weft::{
    AdminAnswer, BoundListener, BoundListeners, Draining, EdgeSummaries, EdgeSummary, HealthReport, Heartbeat, Receipt,
    Receipts, Registration, agent_message::Message, control_message,
};

use crate::support::{ENDPOINTS, Plane, SHOP, eventually, registration, within};

const WEB: &str = "local/shop/web:80";

async fn workload(plane: &Plane, name: &str) -> Option<WorkloadItem> {
    plane.client().workloads().await.unwrap().items.into_iter().find(|item| item.name == name)
}

#[tokio::test]
async fn a_registration_becomes_an_endpoint_and_draining_is_pushed() {
    let plane = Plane::start().await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let mut ads = plane.ads(&member, "client").await;
    ads.subscribe(ENDPOINTS, &[WEB]).await;
    ads.next_of(ENDPOINTS).await;
    let empty = ads.held.clone();
    let revision = ads.revision.clone();

    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    let Some(control_message::Message::Registered(registered)) = agent.next().await.message else { panic!() };
    assert_eq!(registered.lease_ms, 10_000);
    let response = ads.next().await;
    let bytes = &response.resources[0].resource.as_ref().unwrap().value;
    assert!(bytes.windows(9).any(|it| it == b"127.0.0.1"), "the address is not in the resource");
    assert_ne!(ads.held, empty);
    let serving = ads.held.clone();
    assert_eq!(ads.revision, revision, "a registration is no revision");
    let item = workload(&plane, "web-1").await.unwrap();
    assert_eq!(
        (item.state, item.connected, item.address.as_str()),
        (WorkloadState::Registered, true, "127.0.0.1:7001")
    );
    assert_eq!(item.identity, "spiffe://weft.local/ns/shop/sa/web");

    agent.say(Message::Draining(Draining {})).await;
    // Only who is told that it stands so lets its peers go.
    let answer = agent.next().await.message;
    assert!(matches!(answer, Some(control_message::Message::Registered(_))), "{answer:?}");
    ads.next_of(ENDPOINTS).await;
    assert!(ads.held != serving && ads.held != empty);
    assert_eq!(workload(&plane, "web-1").await.unwrap().state, WorkloadState::Draining);
    let listed = plane.client().objects(Some("workload"), None, None).await.unwrap();
    assert_eq!(listed.items[0].owner, "agent");
}

#[tokio::test]
async fn an_unhealthy_application_is_pushed_and_told_with_its_reason_and_so_is_its_return() {
    let plane = Plane::start().await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    agent.next().await;
    let mut ads = plane.ads(&member, "client").await;
    ads.subscribe(ENDPOINTS, &[WEB]).await;
    ads.next_of(ENDPOINTS).await;
    let serving = ads.held.clone();
    let condition = async || {
        let item = workload(&plane, "web-1").await.unwrap();
        (item.state, item.unhealthy)
    };
    assert_eq!(condition().await, (WorkloadState::Registered, None));

    let refused = "port http: \u{1b}[31mrefused".to_owned();
    agent.say(Message::Health(HealthReport { healthy: false, reason: refused })).await;
    ads.next_of(ENDPOINTS).await;
    let unhealthy = ads.held.clone();
    assert_ne!(unhealthy, serving);
    let told = "port http: [31mrefused".to_owned();
    assert_eq!(condition().await, (WorkloadState::Unhealthy, Some(told)), "a terminal is not to be misled");

    agent.say(Message::Draining(Draining {})).await;
    ads.next_of(ENDPOINTS).await;
    assert!(ads.held != unhealthy && ads.held != serving);
    assert_eq!(condition().await.0, WorkloadState::Draining);

    // A new start of the same workload says how it is with its registration.
    drop(agent);
    eventually("the stream's end to be noticed", async || {
        workload(&plane, "web-1").await.filter(|item| !item.connected)
    })
    .await;
    let again = Registration { start: "fghij".to_owned(), ..registration("web-1", "web", "127.0.0.1:7001") };
    let health = Some(HealthReport { healthy: false, reason: "it was not checked yet".to_owned() });
    let mut agent = plane.agent(&member, Registration { health, ..again }).await;
    agent.next().await;
    assert_eq!(condition().await, (WorkloadState::Unhealthy, Some("it was not checked yet".to_owned())));
    agent.say(Message::Health(HealthReport { healthy: true, reason: String::new() })).await;
    eventually("the return", async || (condition().await == (WorkloadState::Registered, None)).then_some(())).await;
    eventually("the first version", async || {
        ads.next_of(ENDPOINTS).await;
        (ads.held == serving).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_outlives_its_stream_until_the_lease_runs_out() {
    let plane = Plane::with(|config| config.lease = Duration::from_millis(400)).await;
    plane.apply(SHOP).await.unwrap();
    let member = plane.join("web").await;
    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    agent.next().await;
    let mut ads = plane.ads(&member, "client").await;
    ads.subscribe(ENDPOINTS, &[WEB]).await;
    ads.next_of(ENDPOINTS).await;
    let serving = ads.held.clone();

    drop(agent);
    eventually("the stream's end to be noticed", async || {
        workload(&plane, "web-1").await.filter(|item| !item.connected)
    })
    .await;
    ads.next_of(ENDPOINTS).await;
    assert_ne!(ads.held, serving);
    assert_eq!(workload(&plane, "web-1").await.unwrap().state, WorkloadState::Expired);
}

#[tokio::test]
async fn any_message_renews_the_lease() {
    let plane = Plane::with(|config| config.lease = Duration::from_millis(500)).await;
    let member = plane.join("web").await;
    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    agent.next().await;
    for _ in 0..15 {
        agent.say(Message::Heartbeat(Heartbeat {})).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(workload(&plane, "web-1").await.unwrap().state, WorkloadState::Registered);
}

#[tokio::test]
async fn a_bad_registration_is_refused_with_every_field() {
    let plane = Plane::start().await;
    let member = plane.join("web").await;
    let bad = Registration {
        workload: "Web_1".to_owned(),
        address: "0.0.0.0:0".to_owned(),
        ports: [("http".to_owned(), 70_000)].into(),
        labels: [("app".to_owned(), "a b".to_owned())].into(),
        cluster: "Not A Cluster".to_owned(),
        weight: 2_000_000,
        start: String::new(),
        ..Registration::default()
    };
    let mut agent = plane.agent(&member, bad).await;
    let Some(control_message::Message::Refused(refused)) = agent.next().await.message else { panic!() };
    for field in ["workload:", "address:", "ports:", "labels:", "cluster:", "weight:", "start:"] {
        assert!(refused.reason.contains(field), "{field} is not in {}", refused.reason);
    }
    let ended = within("the stream's end", agent.answers.message()).await.unwrap_err();
    assert_eq!(ended.code(), tonic::Code::FailedPrecondition);
    assert_eq!(workload(&plane, "Web_1").await, None);
}

/// Any account of a namespace once took a Service's traffic by registering with the labels that the Service selects.
#[tokio::test]
async fn a_label_that_no_token_granted_is_refused_with_what_to_do() {
    let plane = Plane::start().await;
    plane.apply(SHOP).await.unwrap();
    let intruder = plane.join_with("intruder", &[("app", "intruder")]).await;
    let refusal = async |registration: Registration| {
        let mut agent = plane.agent(&intruder, registration).await;
        match agent.next().await.message {
            Some(control_message::Message::Refused(refused)) => Some(refused.reason),
            _ => None,
        }
    };
    let told = refusal(registration("intruder-1", "web", "127.0.0.1:7001")).await.unwrap();
    for part in ["app=web", "shop/intruder", "make a join token with --label app=web"] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    assert!(plane.client().objects(Some("Workload"), None, None).await.unwrap().items.is_empty());
    // What a further token of the identity grants is added, also for who joined before.
    plane.join_with("intruder", &[("app", "web"), ("version", "v1")]).await;
    assert_eq!(refusal(registration("intruder-1", "web", "127.0.0.1:7001")).await, None);
    assert_eq!(refusal(registration("intruder-2", "intruder", "127.0.0.1:7002")).await, None);
    assert!(refusal(registration("intruder-3", "catalog", "127.0.0.1:7003")).await.is_some());
}

#[tokio::test]
async fn tokens_of_one_identity_that_are_used_at_once_all_grant_their_labels() {
    let plane = Plane::start().await;
    let values: Vec<_> = (0..8).map(|at| format!("v{at}")).collect();
    let joining = values.iter().map(|value| async { plane.join_with("web", &[("version", value)]).await });
    let members = futures::future::join_all(joining).await;
    for (at, value) in values.iter().enumerate() {
        let mut registration = registration(&format!("web-{at}"), "web", "");
        registration.labels = [("version".to_owned(), value.clone())].into();
        let mut agent = plane.agent(&members[0], registration).await;
        let answer = agent.next().await.message;
        assert!(matches!(answer, Some(control_message::Message::Registered(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn granted_labels_outlive_a_restart() {
    let mut plane = Plane::start().await;
    let member = plane.join("web").await;
    plane.stop().await;
    plane.start_again().await.unwrap();
    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    let answer = agent.next().await.message;
    assert!(matches!(answer, Some(control_message::Message::Registered(_))), "{answer:?}");
}

#[tokio::test]
async fn a_name_belongs_to_one_instance_at_a_time() {
    let plane = Plane::start().await;
    let member = plane.join("web").await;
    let mut first = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    first.next().await;
    let other = Registration { start: "fghij".to_owned(), ..registration("web-1", "web", "127.0.0.1:7002") };
    let mut second = plane.agent(&member, other.clone()).await;
    let Some(control_message::Message::Refused(refused)) = second.next().await.message else { panic!() };
    assert!(refused.reason.contains("127.0.0.1:7001"), "{}", refused.reason);

    let stranger = plane.join("other").await;
    let mut third = plane.agent(&stranger, other.clone()).await;
    let Some(control_message::Message::Refused(refused)) = third.next().await.message else { panic!() };
    assert!(refused.reason.contains("account web"), "{}", refused.reason);

    // The process is gone, another takes its place before the lease is over.
    drop(first);
    eventually("the new instance to be taken", async || {
        let mut agent = plane.agent(&member, other.clone()).await;
        let taken = matches!(agent.next().await.message, Some(control_message::Message::Registered(_)));
        taken.then_some(agent)
    })
    .await;
    assert_eq!(workload(&plane, "web-1").await.unwrap().address, "127.0.0.1:7002");
}

#[tokio::test]
async fn a_written_workload_is_not_taken_over_by_a_registration() {
    let plane = Plane::start().await;
    let written = "
apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {serviceAccount: web, address: \"127.0.0.1:7009\"}
";
    plane.apply(written).await.unwrap();
    let member = plane.join("web").await;
    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    let Some(control_message::Message::Refused(refused)) = agent.next().await.message else { panic!() };
    assert!(refused.reason.contains("owned by api"), "{}", refused.reason);
    let mut agent = plane.agent(&member, registration("web-2", "web", "127.0.0.1:7001")).await;
    agent.next().await;
    assert!(plane.apply(&written.replace("web-1", "web-2")).await.is_err());
}

#[tokio::test]
async fn what_a_proxy_tells_of_itself_is_listed() {
    let plane = Plane::start().await;
    let member = plane.join("web").await;
    let registration = Registration { last_good_ms: Some(1_500), ..registration("web-1", "web", "") };
    let mut agent = plane.agent(&member, registration).await;
    agent.next().await;
    let receipt = |name: &str, rejected: &str| Receipt {
        type_url: ENDPOINTS.to_owned(),
        name: name.to_owned(),
        version: "1".to_owned(),
        rejected: rejected.to_owned(),
    };
    let receipts = vec![receipt("a", ""), receipt("b", "too many")];
    agent.say(Message::Receipts(Receipts { receipts, revision: "e/all=3".to_owned() })).await;
    let listeners = vec![BoundListener { name: "outbound".to_owned(), address: "127.0.0.1:15001".to_owned() }];
    agent.say(Message::Bound(BoundListeners { listeners })).await;
    let summary = EdgeSummary {
        service: WEB.to_owned(),
        destination: WEB.to_owned(),
        requests: 5,
        failures: 1,
        status_classes: vec![0, 0, 4, 0, 0, 1],
        ..EdgeSummary::default()
    };
    for _ in 0..2 {
        agent.say(Message::Edges(EdgeSummaries { edges: vec![summary.clone()] })).await;
    }
    let edge = eventually("both summaries", async || {
        let edges = plane.client().edges().await.unwrap().items;
        edges.into_iter().find(|edge| edge.requests_total == 10)
    })
    .await;
    assert_eq!((edge.workload.as_str(), edge.requests, edge.failures_total), ("shop/web-1", 5, 2));
    assert_eq!(edge.status_classes_total, [0, 0, 8, 0, 0, 2]);
    let item = workload(&plane, "web-1").await.unwrap();
    assert_eq!((item.revision.as_str(), item.rejected.len()), ("e/all=3", 1));
    assert_eq!(item.last_good_ms, Some(1_500));
    assert_eq!(item.rejected[0].reason, "too many");
    assert_eq!(item.listeners["outbound"], "127.0.0.1:15001");
}

#[tokio::test]
async fn an_admin_query_is_relayed_and_its_answer_given_back() {
    let plane = Plane::start().await;
    let member = plane.join("web").await;
    let mut agent = plane.agent(&member, registration("web-1", "web", "")).await;
    agent.next().await;
    let path = "/v1/workloads/shop/web-1/proxy?path=/config/listeners";
    let answering = async {
        let Some(control_message::Message::Query(query)) = agent.next().await.message else { panic!() };
        assert_eq!(query.path, "/config/listeners");
        let answer = AdminAnswer { id: query.id, status: 200, body: b"{\"listeners\": []}".to_vec() };
        agent.say(Message::Answer(answer)).await;
    };
    let ((status, body), ()) = tokio::join!(plane.json(Method::GET, path, b""), answering);
    assert_eq!((status, body), (StatusCode::OK, serde_json::json!({"listeners": []})));

    let (status, body) = plane.json(Method::GET, path, b"").await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{body}");
}
