//! Active health checks.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::SeqCst},
    },
    time::Duration,
};

use ::http::{HeaderMap, Response};
use bytes::Bytes;
use tokio::net::TcpListener;
use weft_ir::{Cluster, EndpointAddress, HealthCheck, Probe, Resource, Route};
use weft_model::{Protocol, StatusRange};

use super::{
    fleet::{CLUSTER, Fleet, GET, eventually},
    mesh::{Mesh, Side, authority, identity, inbound, outbound, snapshot},
};

/// Often, and patiently: the machine may be busy.
fn checks(probe: Probe) -> HealthCheck {
    let (interval, timeout) = (Duration::from_millis(40), Duration::from_secs(10));
    HealthCheck { probe, interval, timeout, healthy_threshold: 2, unhealthy_threshold: 2 }
}

fn asking(path: &str) -> HealthCheck {
    let statuses = vec![StatusRange::SUCCESS, StatusRange { first: 404, last: 404 }];
    checks(Probe::Http { host: "reviews.shop.svc.cluster.local".into(), path: path.into(), statuses })
}

fn checked(check: HealthCheck) -> impl Fn(&mut Cluster, &mut Route) {
    move |cluster, _| cluster.health_check = Some(check.clone())
}

/// Answers to requests of whose bodies the number of the instance is a part.
async fn answered_by(fleet: &Fleet, count: usize) -> Vec<String> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let (_, body) = fleet.ask(GET).await;
        numbers.push(body.split(' ').next().unwrap().to_owned());
    }
    numbers.sort();
    numbers.dedup();
    numbers
}

#[tokio::test]
async fn who_fails_its_checks_gets_no_request_and_gets_them_again_once_it_passes() {
    let fleet = Fleet::start(2, 2, checked(asking("/healthz"))).await;
    fleet.says("both are asked and pass", |state| state.checks.is_some_and(|counts| counts.passed >= 4)).await;
    assert!(fleet.state().unhealthy.is_empty());
    fleet.instances[0].mode.store(503, SeqCst);
    fleet.says("one is unhealthy", |state| state.unhealthy.len() == 1).await;
    let [unhealthy] = &fleet.state().unhealthy[..] else { panic!() };
    assert_eq!(unhealthy.workload, "shop/server-0");
    assert_eq!(unhealthy.health, "unhealthy (active): it answered 503, not 200-299, 404");
    fleet.web.has_metric(&format!("weft_endpoints_unhealthy{{cluster=\"{CLUSTER}\"}} 1")).await;
    eventually("no request gets there", async || answered_by(&fleet, 6).await == ["1"]).await;
    let address = fleet.instances[0].side.inbound();
    let told = format!("unhealthy={address}");
    let is_told = async || fleet.web.log.all().iter().any(|record| record["circumstances"] == told);
    eventually("records tell it", is_told).await;
    fleet.instances[0].mode.store(404, SeqCst);
    fleet.says("all are healthy", |state| state.unhealthy.is_empty()).await;
    eventually("it is back", async || answered_by(&fleet, 6).await == ["0", "1"]).await;
}

#[tokio::test]
async fn where_all_fail_requests_go_out_as_if_none_did() {
    let fleet = Fleet::start(2, 1, checked(asking("/"))).await;
    fleet.instances.iter().for_each(|instance| instance.mode.store(500, SeqCst));
    fleet.says("all are unhealthy", |state| state.unhealthy.len() == 2).await;
    assert_eq!(fleet.ask(GET).await.0, 500);
    // Who is checked no more fails no more.
    fleet.publish(0..2, |cluster, _| cluster.limits.max_requests = std::num::NonZeroU32::new(9));
    fleet.says("nobody is checked", |state| state.unhealthy.is_empty() && state.checks.is_none()).await;
}

#[tokio::test]
async fn a_check_proves_who_the_endpoint_is_and_finds_who_is_not_there() {
    let authority = authority();
    let right = Side::start("server", |_| {}).with_identity(&authority, "reviews");
    let wrong = Side::start("server", |_| {}).with_identity(&authority, "somebody");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let web = Side::start("web", |_| {}).with_identity(&authority, "web");
    let endpoints = [right.inbound(), wrong.inbound(), gone].map(|address| (address, identity("reviews")));
    let mut resources = outbound("reviews:80", Protocol::Http, None, &endpoints);
    for resource in &mut resources {
        if let Resource::Cluster(cluster) = resource {
            Arc::make_mut(cluster).health_check = Some(checks(Probe::Tcp));
        }
    }
    // A sidecar that is not served yet takes no connection.
    let chain = inbound("reviews:80", Protocol::Http, gone, Some(&["web"]));
    for side in [&right, &wrong] {
        side.dataplane.publish(snapshot([chain.clone()]));
    }
    web.dataplane.publish(snapshot(resources));
    eventually("two fail", async || web.dataplane.clusters()[0].unhealthy.len() == 2).await;
    let state = web.dataplane.clusters().remove(0);
    let health = |workload: &str| &state.unhealthy.iter().find(|it| it.workload == workload).unwrap().health;
    assert!(health("shop/server-1").contains("it did not prove to be"), "{state:?}");
    assert!(health("shop/server-2").contains("cannot connect"), "{state:?}");
}

#[tokio::test]
async fn a_check_of_bytes_finds_an_application_that_takes_no_connection() {
    let Mesh { web, server, application, .. } = Mesh::start(Protocol::Tcp, Some(&["web"]), None).await;
    let endpoints = [(server.inbound(), identity("reviews"))];
    let mut resources = outbound("stock:9000", Protocol::Tcp, None, &endpoints);
    for resource in &mut resources {
        if let Resource::Cluster(cluster) = resource {
            Arc::make_mut(cluster).health_check = Some(checks(Probe::Tcp));
        }
    }
    web.dataplane.publish(snapshot(resources));
    let passes = async || web.dataplane.clusters()[0].checks.is_some_and(|counts| counts.passed >= 2);
    eventually("its connections stand", passes).await;
    assert!(web.dataplane.clusters()[0].unhealthy.is_empty());
    drop(application);
    eventually("it is found", async || web.dataplane.clusters()[0].unhealthy.len() == 1).await;
    let health = web.dataplane.clusters().remove(0).unhealthy.remove(0).health;
    assert!(health.contains("broken off"), "{health}");
}

#[tokio::test]
async fn what_a_sidecar_has_not_looked_at_says_nothing_of_its_application() {
    let fleet = Fleet::start(1, 1, checked(asking("/"))).await;
    fleet.says("it passes", |state| state.checks.is_some_and(|counts| counts.passed > 0)).await;
    // Without a chain it answers 421 under its own mark.
    let server = &fleet.instances[0].side;
    server.dataplane.publish(snapshot([]));
    let misdirected = async || server.log.all().iter().filter(|record| record["status"] == 421).count() > 1;
    eventually("it is asked in vain", misdirected).await;
    let state = fleet.state();
    assert_eq!((state.unhealthy.len(), state.checks.unwrap().failed), (0, 0), "{state:?}");
}

/// Answers calls of gRPC's health service with what `serving` holds, where it is asked for `prices`.
async fn serve_health(application: TcpListener, serving: Arc<AtomicU16>) {
    loop {
        let (stream, _) = application.accept().await.unwrap();
        let serving = serving.clone();
        tokio::spawn(async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            while let Some(Ok((asked, mut respond))) = connection.accept().await {
                let known = asked.uri().path() == "/grpc.health.v1.Health/Check";
                let status = serving.load(SeqCst);
                tokio::spawn(async move {
                    let mut body = asked.into_body();
                    let question = body.data().await.unwrap().unwrap();
                    assert_eq!(&question[..], b"\0\0\0\0\x08\x0a\x06prices");
                    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                    let mut send = respond.send_response(head, false).unwrap();
                    let message = [0, 0, 0, 0, 2, 8, u8::try_from(status).unwrap()];
                    send.send_data(Bytes::copy_from_slice(&message), false).unwrap();
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", if known { "0" } else { "12" }.parse().unwrap());
                    send.send_trailers(trailers).unwrap();
                });
            }
        });
    }
}

#[tokio::test]
async fn a_server_of_grpc_is_healthy_while_its_health_service_says_serving() {
    let Mesh { web, server, application, .. } = Mesh::start(Protocol::Http2, Some(&["web"]), None).await;
    let serving = Arc::new(AtomicU16::new(1));
    let application = tokio::spawn(serve_health(application, serving.clone()));
    let endpoints = [(server.inbound(), identity("reviews"))];
    let mut resources = outbound("reviews:80", Protocol::Http2, None, &endpoints);
    for resource in &mut resources {
        if let Resource::Cluster(cluster) = resource {
            let probe = Probe::Grpc { host: "reviews.shop.svc.cluster.local".into(), service: "prices".into() };
            Arc::make_mut(cluster).health_check = Some(checks(probe));
        }
    }
    web.dataplane.publish(snapshot(resources));
    let state = || web.dataplane.clusters().remove(0);
    eventually("it serves", async || state().checks.unwrap().passed > 1).await;
    assert!(state().unhealthy.is_empty());
    serving.store(2, SeqCst);
    eventually("it does not serve", async || state().unhealthy.len() == 1).await;
    assert_eq!(state().unhealthy[0].health, "unhealthy (active): it says NOT_SERVING");
    assert_eq!(state().unhealthy[0].address, server.inbound().to_string());
    serving.store(1, SeqCst);
    eventually("it serves again", async || state().unhealthy.is_empty()).await;
    application.abort();
}

fn answer(fleet: &Fleet, numbers: &[usize], status: u16) {
    numbers.iter().for_each(|number| fleet.instances[*number].mode.store(status, SeqCst));
}

/// In a place where too few pass, those that fail are chosen again; where others can take all, they are not.
#[tokio::test]
async fn a_failing_place_sends_its_requests_on_and_one_in_panic_keeps_them() {
    let mut fleet = Fleet::start(4, 1, |_, _| {}).await;
    for (number, instance) in fleet.instances.iter_mut().enumerate() {
        instance.locality.region = Some(if number < 2 { "eu" } else { "us" }.parse().unwrap());
        instance.locality.zone = Some("a".parse().unwrap());
    }
    let near = |panic_percent| {
        move |cluster: &mut Cluster, _: &mut Route| {
            cluster.near_first = Some(weft_ir::NearFirst { overprovisioning_percent: 100, panic_percent });
            cluster.health_check = Some(asking("/"));
        }
    };
    fleet.publish(0..4, near(0));
    eventually("the near ones answer", async || answered_by(&fleet, 8).await == ["0", "1"]).await;
    answer(&fleet, &[0, 1], 503);
    eventually("the far ones answer", async || answered_by(&fleet, 8).await == ["2", "3"]).await;
    answer(&fleet, &[2, 3], 503);
    fleet.says("all are unhealthy", |state| state.unhealthy.len() == 4).await;
    answer(&fleet, &[0, 1, 2], 200);
    fleet.says("one is unhealthy", |state| state.unhealthy.len() == 1).await;
    let EndpointAddress::Socket(out) = EndpointAddress::Socket(fleet.instances[3].side.inbound());
    assert_eq!(fleet.state().unhealthy[0].address, out.to_string());
    eventually("the near ones answer again", async || answered_by(&fleet, 8).await == ["0", "1"]).await;
    // Below the threshold, and all places together cannot take everything: both near ones are chosen although one fails.
    answer(&fleet, &[1, 2], 503);
    fleet.publish(0..4, near(100));
    fleet.says("three are unhealthy", |state| state.unhealthy.len() == 3).await;
    eventually("in panic", async || answered_by(&fleet, 30).await.contains(&"1".to_owned())).await;
    let in_panic = |record: &serde_json::Value| record["pickedBy"].as_str().is_some_and(|by| by.ends_with("in panic"));
    eventually("records tell it", async || fleet.web.log.all().iter().any(in_panic)).await;
}
