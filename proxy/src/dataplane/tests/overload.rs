//! What is shed when memory or descriptors run short, and what goes on all the same.
use std::{io::ErrorKind, time::Duration};

use h2::Reason;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use weft_decide::{Growth, Pressure, Resource};
use weft_ir::{Cluster, Route};
use weft_model::Protocol;

use super::{
    fleet::{Fleet, GET, HOLD},
    http2::{Caller, request},
    mesh::{Mesh, PATIENCE, Peer, Side, authority, snapshot},
};

const SAYS: &str = "this proxy takes no new request: 90 % or more of its memory is in use\n";

fn plain(_: &mut Cluster, _: &mut Route) {}

#[tokio::test]
async fn new_requests_are_shed_with_their_reason_and_one_under_way_is_finished() {
    let mesh = Mesh::http().await;
    let (mut client, mut other) = (mesh.client().await, mesh.client().await);
    client.send(GET).await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    mesh.web.dataplane.shed(Pressure::Requests, Resource::Memory);
    let (head, body) = other.ask(GET).await;
    assert_eq!(body, SAYS);
    assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
    let record = mesh.web.refused(&head, 503).await;
    assert_eq!((&record["outcome"], &record["blame"]), (&"overloaded".into(), &"ourselves".into()));
    mesh.web.has_metric("weft_refusals_total{direction=\"outbound\",cause=\"overloaded\"} 1").await;
    assert_eq!(other.rest().await, b"", "its connection goes");
    app.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let (head, body) = client.answer().await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("\r\nconnection: close\r\n"), "{head}");
    assert_eq!(body, "ok");
    mesh.web.dataplane.shed(Pressure::None, Resource::Memory);
    let mut client = mesh.client().await;
    client.send(GET).await;
    // The connection to the application was kept.
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert!(client.answer().await.0.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_crowd_that_comes_between_two_looks_is_let_in_as_far_as_there_is_memory_for_it() {
    let mesh = Mesh::http().await;
    let room = 2 * Growth::PRICE;
    mesh.web.dataplane.room(room);
    let (mut first, mut second, mut third) = (mesh.client().await, mesh.client().await, mesh.client().await);
    let mut under_way = Vec::new();
    for client in [&mut first, &mut second] {
        client.send(GET).await;
        let mut app = mesh.accept().await;
        app.until("\r\n\r\n").await;
        under_way.push(app);
    }
    let (head, body) = third.ask(GET).await;
    mesh.web.refused(&head, 503).await;
    let says = "this proxy takes no new request until it is known how much memory those take that came just now\n";
    assert_eq!(body, says);
    // The use has shown by now what the first two take.
    for _ in 0..=Growth::LOOKS {
        mesh.web.dataplane.room(room);
    }
    third.send(GET).await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    under_way.push(app);
    for app in &mut under_way {
        app.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    }
    for client in [&mut first, &mut second, &mut third] {
        assert!(client.answer().await.0.starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn over_http2_the_answer_is_503_and_the_connection_is_let_go() {
    let fleet = Fleet::speaking(Protocol::Http2, 1, 1, plain).await;
    let mut caller = Caller::connect(fleet.web.outbound()).await;
    let mut idle = Caller::connect(fleet.web.outbound()).await;
    for caller in [&mut caller, &mut idle] {
        assert_eq!(caller.ask(request("GET", "/").body(()).unwrap()).await.head.status(), 200);
    }
    fleet.web.dataplane.shed(Pressure::Requests, Resource::Descriptors);
    // Nothing was under way on it: it goes by a GOAWAY without an error.
    let over = timeout(PATIENCE, idle.over).await.expect("no GOAWAY comes").unwrap();
    assert!(over.is_ok() || over.is_err_and(|error| error.reason() == Some(Reason::NO_ERROR)));
    let mut late = Caller::connect(fleet.web.outbound()).await;
    let answer = late.ask(request("GET", "/").body(()).unwrap()).await;
    assert_eq!(answer.head.status(), 503);
    assert_eq!(answer.text(), SAYS.replace("memory", "descriptors"));
    assert!(!answer.field("x-weft-decision").is_empty());
}

/// How much of one stream's body the proxy is ready to take at once.
async fn window(caller: &mut Caller) -> usize {
    let head = request("POST", "/").body(()).unwrap();
    let (_answer, mut up) = caller.open(head, false).await;
    up.reserve_capacity(1 << 20);
    let room = timeout(PATIENCE, std::future::poll_fn(|cx| up.poll_capacity(cx))).await.expect("no window");
    let room = room.unwrap().unwrap();
    up.send_reset(Reason::CANCEL);
    room
}

#[tokio::test]
async fn streams_may_hold_a_sixteenth_while_something_is_short() {
    let fleet = Fleet::speaking(Protocol::Http2, 1, 1, plain).await;
    let mut caller = Caller::connect(fleet.web.outbound()).await;
    assert_eq!(caller.ask(request("GET", "/").body(()).unwrap()).await.head.status(), 200);
    let windows = [(Pressure::None, 256 << 10), (Pressure::Idle, 16 << 10), (Pressure::None, 256 << 10)];
    for (pressure, expected) in windows {
        fleet.web.dataplane.shed(pressure, Resource::Memory);
        let until = Instant::now() + PATIENCE;
        while window(&mut caller).await != expected {
            assert!(Instant::now() < until, "{pressure:?} comes to no {expected} bytes");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(caller.ask(request("GET", "/").body(()).unwrap()).await.head.status(), 200, "{pressure:?}");
    }
}

/// The peer that sheds has proven not to have looked at the request: whatever the method, it goes to another.
#[tokio::test]
async fn what_a_peer_sheds_goes_to_another_and_nothing_is_held_against_the_peer() {
    const POST: &str = "POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 4\r\n\r\nbody";
    let fleet = Fleet::start(2, 1, plain).await;
    fleet.instances[0].side.dataplane.shed(Pressure::Requests, Resource::Memory);
    for _ in 0..6 {
        assert_eq!(fleet.ask(POST).await.0, 200);
    }
    assert_eq!((fleet.instances[0].hits(), fleet.instances[1].hits()), (0, 6));
    let records = fleet.web.log.records(6).await;
    assert!(records.iter().any(|record| record["repeats"] == 1), "round robin begins with each: {records:?}");
    fleet.instances[0].side.dataplane.shed(Pressure::None, Resource::Memory);
    fleet.ask(POST).await;
    fleet.ask(POST).await;
    assert_eq!(fleet.instances[0].hits(), 1);
}

#[tokio::test]
async fn what_rests_rests_a_quarter_of_its_time() {
    let side = Side::start("web", |settings| settings.timeouts.client_idle = Duration::from_secs(8));
    let side = side.with_identity(&authority(), "web");
    side.dataplane.publish(snapshot([]));
    let mut client = Peer::connect(side.outbound()).await;
    assert!(client.ask(GET).await.0.starts_with("HTTP/1.1 404"));
    let since = Instant::now();
    side.dataplane.shed(Pressure::Idle, Resource::Memory);
    assert_eq!(client.rest().await, b"");
    let rested = since.elapsed();
    assert!(rested < Duration::from_secs(6), "it was closed after {rested:?}, as if nothing was short");
    let mut client = Peer::connect(side.outbound()).await;
    assert!(client.ask(GET).await.0.starts_with("HTTP/1.1 404"), "new requests are served still");
}

/// Connects and waits until it is reset, which may come before the connection is known to be there.
async fn is_reset(side: &Side) {
    let failure = match TcpStream::connect(side.outbound()).await {
        Ok(stream) => Peer::over(stream).failure().await,
        Err(error) => Some(error.kind()),
    };
    assert_eq!(failure, Some(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn new_connections_are_turned_away_at_last_and_open_ones_stay() {
    let side = Side::start("web", |_| {}).with_identity(&authority(), "web");
    side.dataplane.publish(snapshot([]));
    let mut client = Peer::connect(side.outbound()).await;
    assert!(client.ask(GET).await.0.starts_with("HTTP/1.1 404"));
    side.dataplane.shed(Pressure::Connections, Resource::Descriptors);
    is_reset(&side).await;
    side.has_metric("weft_connections_refused_total{limit=\"pressure\"} 1").await;
    assert!(client.ask(GET).await.0.starts_with("HTTP/1.1 503"), "who is there is told");
}

#[tokio::test]
async fn each_side_has_half_of_the_descriptors() {
    let fleet = Fleet::start(1, 1, plain).await;
    fleet.web.dataplane.descriptors(4);
    fleet.instances[0].mode.store(HOLD, std::sync::atomic::Ordering::SeqCst);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = Peer::connect(fleet.web.outbound()).await;
        client.send(GET).await;
        held.push(client);
    }
    fleet.instances[0].has_hits(2).await;
    is_reset(&fleet.web).await;
    fleet.web.has_metric("weft_connections_refused_total{limit=\"connections\"} 1").await;
    // Two connections of clients, and two to the upstream that are both in use: there is none for a third request.
    fleet.web.dataplane.descriptors(6);
    let mut third = Peer::connect(fleet.web.outbound()).await;
    fleet.web.has_metric("weft_connections_active{direction=\"outbound\"} 3").await;
    fleet.web.dataplane.descriptors(4);
    let (head, body) = third.ask(GET).await;
    assert_eq!(body, "no descriptor is left for another connection\n");
    assert_eq!(fleet.web.refused(&head, 503).await["outcome"], "overloaded");
    fleet.instances[0].release();
    fleet.instances[0].release();
    for client in &mut held {
        assert!(client.answer().await.0.starts_with("HTTP/1.1 200 "));
    }
}
