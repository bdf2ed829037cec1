//! A peer that vanishes without a word: its packets are dropped.
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use ::http::Response;
use bytes::Bytes;
use h2::Reason;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, timeout},
};
use weft_model::Protocol;

use super::peers::{App, Caller, answer, grpc, mesh, next, read, request, whole};
use crate::dataplane::{
    settings::{Settings, Timeouts},
    tests::mesh::{Mesh, PATIENCE, Side, identity, inbound, outbound, snapshot},
};

/// A relay that can stop forwarding both ways, of all connections that it has, without closing any.
struct Relay {
    address: SocketAddr,
    stop: watch::Sender<usize>,
    connections: Arc<AtomicUsize>,
}

impl Relay {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(0);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut far = TcpStream::connect(target).await.unwrap();
                let (number, mut stopped) = (count.fetch_add(1, SeqCst), stopped.clone());
                tokio::spawn(async move {
                    let is_stopped = async { drop(stopped.wait_for(|below| number < *below).await) };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => return,
                        () = is_stopped => {}
                    }
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { address, stop, connections }
    }

    /// What is there now forwards nothing any more.
    fn stop(&self) {
        self.stop.send_replace(self.connections.load(SeqCst));
    }
}

fn often(every: Duration) -> impl Fn(&mut Settings) {
    move |settings| (settings.timeouts.ping_every, settings.timeouts.pong_within) = (every, every)
}

#[tokio::test]
async fn a_peer_that_vanishes_is_noticed_in_time_its_calls_end_and_others_go_on_elsewhere() {
    let every = Duration::from_millis(400);
    let mesh = Mesh::start(Protocol::Http2, Some(&["web"]), None).await;
    let relay = Relay::to(mesh.server.inbound()).await;
    let web = Side::start("web", often(every)).with_identity(&mesh.authority, "web");
    web.dataplane.publish(snapshot(outbound(
        "reviews:80",
        Protocol::Http2,
        None,
        &[(relay.address, identity("reviews"))],
    )));
    let mut caller = Caller::connect(web.outbound()).await;
    // One that has begun its answer, one that waits for its own, and one that is not gRPC's.
    let (watch, _up) = caller.open(grpc("/shop.Reviews/Watch"), true).await;
    let mut app = App::accept(&mesh.application).await;
    let (_, mut respond) = app.asked().await;
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut down = respond.send_response(head, false).unwrap();
    down.send_data(Bytes::from_static(b"first"), false).unwrap();
    let mut watched = timeout(PATIENCE, watch).await.unwrap().unwrap().into_body();
    assert_eq!(next(&mut watched).await, "first");
    let (waits, _) = caller.open(grpc("/shop.Reviews/Get"), true).await;
    let _waits = app.asked().await;
    let (plain, _) = caller.open(request("GET", "/").body(()).unwrap(), true).await;
    let _plain = app.asked().await;

    // It is asked again and again, and answers.
    tokio::time::sleep(every * 3).await;
    assert_eq!(relay.connections.load(SeqCst), 1);
    let begin = Instant::now();
    relay.stop();
    let told = whole(waits).await.unwrap();
    let took = begin.elapsed();
    assert!(took < every * 2 + Duration::from_secs(5), "noticed after {took:?}");
    assert_eq!((told.head.status().as_u16(), told.field("grpc-status")), (200, "14"), "{:?}", told.head);
    let (rest, trailers) = read(watched).await.unwrap();
    assert!(rest.is_empty());
    assert_eq!(trailers.unwrap()["grpc-status"], "14", "an answer that was begun ends by a status too");
    assert_eq!(whole(plain).await.unwrap().head.status(), 502);
    let records = web.log.records(3).await;
    assert!(records.iter().all(|record| record["outcome"] == "upstream-gone"), "{records:?}");

    let (call, _) = caller.open(grpc("/shop.Reviews/Get"), true).await;
    let (_, respond) = app.asked().await;
    answer(respond, "reply");
    assert_eq!(whole(call).await.unwrap().text(), "reply");
    assert_eq!(relay.connections.load(SeqCst), 2);
}

/// A call that is open for as long as its client likes, and whose server says nothing for hours.
#[tokio::test]
async fn what_a_caller_that_vanishes_has_asked_for_is_cancelled_in_time() {
    let every = Duration::from_millis(300);
    let Mesh { web, server: _, application, authority } = mesh().await;
    let server = Side::start("server", often(every)).with_identity(&authority, "reviews");
    let at = application.local_addr().unwrap();
    server.dataplane.publish(snapshot([inbound("reviews:80", Protocol::Http2, at, Some(&["web"]))]));
    let relay = Relay::to(server.inbound()).await;
    let endpoints = [(relay.address, identity("reviews"))];
    web.dataplane.publish(snapshot(outbound("reviews:80", Protocol::Http2, None, &endpoints)));
    let mut caller = Caller::connect(web.outbound()).await;
    let (_watch, _up) = caller.open(grpc("/shop.Reviews/Watch"), false).await;
    let mut app = App::accept(&application).await;
    let (_asked, mut respond) = app.asked().await;
    relay.stop();
    let reason = timeout(PATIENCE, std::future::poll_fn(|cx| respond.poll_reset(cx))).await.expect("nobody cancels");
    assert_eq!(reason.unwrap(), Reason::CANCEL);
    assert_eq!(server.log.records(1).await[0]["outcome"], "client-gone");
}

#[test]
fn a_peer_that_vanished_is_noticed_within_thirteen_seconds() {
    let Timeouts { ping_every, pong_within, .. } = Timeouts::default();
    assert_eq!(ping_every + pong_within, Duration::from_secs(13));
}
