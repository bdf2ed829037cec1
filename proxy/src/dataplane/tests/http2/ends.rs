//! Calls that end early, and connections that do.
use std::time::Duration;

use ::http::Response;
use bytes::Bytes;
use h2::{Reason, server};
use tokio::{net::TcpListener, time::timeout};
use tokio_rustls::TlsConnector;
use weft_certs::{TrustBundles, tls::Connector};
use weft_model::Protocol;

use super::{
    peers::{App, Caller, answer, code, grpc, mesh, next, request, whole},
    raw::Raw,
};
use crate::dataplane::tests::mesh::{Mesh, PATIENCE, Side, authority, identity, outbound, snapshot};

#[tokio::test]
async fn a_call_that_its_client_cancels_is_cancelled_upstream() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, mut up) = caller.open(grpc("/shop.Reviews/Watch"), false).await;
    let mut app = App::accept(&mesh.application).await;
    let (_asked, mut respond) = app.asked().await;
    up.send_reset(Reason::CANCEL);
    let reason = timeout(PATIENCE, std::future::poll_fn(|cx| respond.poll_reset(cx))).await.expect("nobody cancels");
    assert_eq!(reason.unwrap(), Reason::CANCEL);
    drop(call);
    for side in [&mesh.web, &mesh.server] {
        let record = &side.log.records(1).await[0];
        assert_eq!((&record["outcome"], &record["blame"]), (&"client-gone".into(), &"downstream".into()));
    }
}

#[tokio::test]
async fn a_call_cancelled_in_the_middle_of_its_answer_is_cancelled_upstream() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, mut up) = caller.open(grpc("/shop.Reviews/Watch"), false).await;
    let mut app = App::accept(&mesh.application).await;
    let (_asked, mut respond) = app.asked().await;
    let mut down = respond.send_response(Response::new(()), false).unwrap();
    down.send_data(Bytes::from_static(b"first"), false).unwrap();
    let mut reply = call.await.unwrap().into_body();
    assert_eq!(next(&mut reply).await, "first");
    up.send_reset(Reason::CANCEL);
    let reason = timeout(PATIENCE, std::future::poll_fn(|cx| down.poll_reset(cx))).await.expect("nobody cancels");
    assert_eq!(reason.unwrap(), Reason::CANCEL);
}

#[tokio::test]
async fn a_connection_that_breaks_cancels_its_calls_upstream() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, up) = caller.open(grpc("/shop.Reviews/Watch"), false).await;
    let mut app = App::accept(&mesh.application).await;
    let (_asked, mut respond) = app.asked().await;
    caller.over.abort();
    drop((call, up, caller));
    timeout(PATIENCE, std::future::poll_fn(|cx| respond.poll_reset(cx))).await.expect("nobody cancels").unwrap();
}

#[tokio::test]
async fn what_the_application_resets_reaches_the_client_with_its_code() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let mut app = None;
    for begun in [false, true] {
        let (call, _up) = caller.open(grpc("/shop.Reviews/Get"), false).await;
        if app.is_none() {
            app = Some(App::accept(&mesh.application).await);
        }
        let (_asked, mut respond) = app.as_mut().unwrap().asked().await;
        let error = if begun {
            let mut down = respond.send_response(Response::new(()), false).unwrap();
            let mut reply = timeout(PATIENCE, call).await.unwrap().unwrap().into_body();
            down.send_reset(Reason::ENHANCE_YOUR_CALM);
            timeout(PATIENCE, reply.data()).await.unwrap().unwrap().unwrap_err()
        } else {
            respond.send_reset(Reason::ENHANCE_YOUR_CALM);
            timeout(PATIENCE, call).await.unwrap().unwrap_err()
        };
        assert_eq!(code(&error), Some(Reason::ENHANCE_YOUR_CALM), "{error:?}");
    }
    for side in [&mesh.web, &mesh.server] {
        for record in side.log.records(2).await {
            assert_eq!((&record["outcome"], &record["blame"]), (&"upstream-reset".into(), &"upstream".into()));
        }
    }
}

/// RFC 9113 §8.1: an answer that is whole may come with the request that it does not want.
#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_whole() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, mut up) = caller.open(grpc("/shop.Reviews/Upload"), false).await;
    let mut app = App::accept(&mesh.application).await;
    let (asked, respond) = app.asked().await;
    answer(respond, "enough");
    drop(asked);
    let reply = whole(call).await.unwrap();
    assert_eq!((reply.text(), reply.trailers.is_some()), ("enough", true));
    let reset = timeout(PATIENCE, std::future::poll_fn(|cx| up.poll_reset(cx))).await.expect("nobody says stop");
    assert_eq!(reset.unwrap(), Reason::NO_ERROR);
}

#[tokio::test]
async fn an_application_that_refuses_a_stream_or_leaves_is_asked_again() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, mut up) = caller.open(grpc("/shop.Reviews/Get"), false).await;
    up.send_data(Bytes::from_static(b"question"), true).unwrap();
    let mut app = App::accept(&mesh.application).await;
    let (asked, mut respond) = app.asked().await;
    assert_eq!(super::peers::read(asked.into_body()).await.unwrap().0, b"question");
    respond.send_reset(Reason::REFUSED_STREAM);
    let (asked, respond) = app.asked().await;
    assert_eq!(super::peers::read(asked.into_body()).await.unwrap().0, b"question");
    answer(respond, "reply");
    assert_eq!(whole(call).await.unwrap().text(), "reply");
    app.leave();
    timeout(PATIENCE, app.over).await.expect("the connection stays").unwrap();
    let (call, _) = caller.open(grpc("/shop.Reviews/Get"), true).await;
    let mut app = App::accept(&mesh.application).await;
    answer(app.asked().await.1, "elsewhere");
    assert_eq!(whole(call).await.unwrap().text(), "elsewhere");
}

#[tokio::test]
async fn a_stream_that_a_peer_refuses_is_sent_again_with_its_body() {
    let raw = Raw::start(1, |_| {}).await;
    let mut caller = Caller::connect(raw.web.outbound()).await;
    let (call, mut up) = caller.open(grpc("/shop.Reviews/Get"), false).await;
    up.send_data(Bytes::from_static(b"question"), true).unwrap();
    let mut peer = App::over(server::Builder::new(), raw.accept(0).await).await;
    let (asked, mut respond) = peer.asked().await;
    drop(super::peers::read(asked.into_body()).await.unwrap());
    respond.send_reset(Reason::REFUSED_STREAM);
    let (asked, respond) = peer.asked().await;
    assert_eq!(super::peers::read(asked.into_body()).await.unwrap().0, b"question");
    answer(respond, "reply");
    assert_eq!(whole(call).await.unwrap().text(), "reply");
    let record = &raw.web.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["repeats"]), (&"complete".into(), &1.into()));
}

/// RFC 9113 §6.8. The frames are written by hand: h2's server would not leave a stream behind.
#[tokio::test]
async fn a_stream_above_a_goaways_last_is_sent_again_and_one_below_is_not() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let raw = Raw::start(1, |_| {}).await;
    let mut caller = Caller::connect(raw.web.outbound()).await;
    let (below, _up) = caller.open(grpc("/shop.Reviews/Below"), false).await;
    let mut peer = raw.accept(0).await;
    // An empty SETTINGS first; then its client has sent its preface, SETTINGS, and two heads, on the streams 1 and 3.
    peer.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    peer.flush().await.unwrap();
    let (above, mut up) = caller.open(grpc("/shop.Reviews/Above"), false).await;
    up.send_data(Bytes::from_static(b"question"), true).unwrap();
    let mut heard = Vec::new();
    while !heard.windows(9).any(|frame| frame[3] == 1 && frame[5..9] == [0, 0, 0, 3]) {
        assert!(timeout(PATIENCE, peer.read_buf(&mut heard)).await.expect("no second stream").unwrap() > 0);
    }
    // GOAWAY: last stream 1, NO_ERROR.
    peer.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]).await.unwrap();
    peer.flush().await.unwrap();
    let mut again = App::over(server::Builder::new(), raw.accept(0).await).await;
    let (asked, respond) = again.asked().await;
    assert_eq!(asked.uri().path(), "/shop.Reviews/Above");
    assert_eq!(super::peers::read(asked.into_body()).await.unwrap().0, b"question");
    answer(respond, "reply");
    assert_eq!(whole(above).await.unwrap().text(), "reply");
    // The one below may have been processed: its connection's end is told to the client.
    drop(peer);
    let told = whole(below).await.unwrap();
    assert_eq!((told.head.status().as_u16(), told.field("grpc-status")), (200, "14"));
    let records = raw.web.log.records(2).await;
    assert_eq!((&records[1]["outcome"], &records[1]["repeats"]), (&"upstream-gone".into(), &serde_json::Value::Null));
}

/// A mesh, and a connection to its server sidecar by a peer that offers HTTP/1.1 alone.
pub(super) async fn http1_of_a_peer() -> (Mesh, tokio_rustls::client::TlsStream<tokio::net::TcpStream>) {
    let mesh = Mesh::start(Protocol::Http2, Some(&["web"]), None).await;
    let svid = mesh.authority.issue(&identity("web"), Duration::from_secs(600), std::time::SystemTime::now()).unwrap();
    let bundles = TrustBundles::from(mesh.authority.bundle().unwrap());
    let connector = Connector::new(&svid, &bundles, &[b"http/1.1"]).unwrap();
    let connector = TlsConnector::from(connector.for_identity(&identity("reviews")));
    let tcp = tokio::net::TcpStream::connect(mesh.server.inbound()).await.unwrap();
    let name = "80.reviews.shop.mesh.weft.local".try_into().unwrap();
    let peer = connector.connect(name, tcp).await.unwrap();
    (mesh, peer)
}

/// Drain, both sides: the first sidecar of two goes while calls come one after the other, and while one is open.
#[tokio::test]
async fn a_server_that_drains_finishes_its_calls_and_loses_none() {
    let authority = authority();
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = application.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let mut app = App::accept(&application).await;
            tokio::spawn(async move {
                loop {
                    let (asked, respond) = app.asked().await;
                    tokio::spawn(async move {
                        // The whole question first: a long one is open for as long.
                        super::peers::read(asked.into_body()).await.unwrap();
                        answer(respond, "reply");
                    });
                }
            });
        }
    });
    let mut servers = Vec::new();
    for name in ["server-0", "server-1"] {
        let server = Side::start(name, |_| {}).with_identity(&authority, "reviews");
        let chain = crate::dataplane::tests::mesh::inbound("reviews:80", Protocol::Http2, at, Some(&["web"]));
        server.dataplane.publish(snapshot([chain]));
        servers.push(server);
    }
    let web = Side::start("web", |_| {}).with_identity(&authority, "web");
    let endpoints: Vec<_> = servers.iter().map(|server| (server.inbound(), identity("reviews"))).collect();
    web.dataplane.publish(snapshot(outbound("reviews:80", Protocol::Http2, None, &endpoints)));
    let mut caller = Caller::connect(web.outbound()).await;
    // Two that are open all the time, one on each.
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(caller.open(grpc("/shop.Reviews/Long"), false).await);
    }
    for turn in 0..200 {
        if turn == 50 {
            servers[0].dataplane.drain();
        }
        let (call, mut up) = caller.open(grpc("/shop.Reviews/Get"), false).await;
        up.send_data(Bytes::from_static(b"question"), true).unwrap();
        let reply = whole(call).await.unwrap();
        assert_eq!((reply.head.status().as_u16(), reply.text()), (200, "reply"), "{turn}: {:?}", reply.head);
    }
    for (call, mut up) in open {
        up.send_data(Bytes::from_static(b"end"), true).unwrap();
        assert_eq!(whole(call).await.unwrap().text(), "reply");
    }
    timeout(PATIENCE, servers.remove(0).dataplane.stopped()).await.expect("it does not end");
    // The client's own sidecar goes too: its client is told, and what is open is finished.
    let (call, mut up) = caller.open(grpc("/shop.Reviews/Long"), false).await;
    up.send_data(Bytes::from_static(b"begin"), false).unwrap();
    web.dataplane.drain();
    let gone = async {
        while std::future::poll_fn(|cx| caller.send.poll_ready(cx)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("no GOAWAY");
    up.send_data(Bytes::from_static(b"end"), true).unwrap();
    assert_eq!(whole(call).await.unwrap().text(), "reply");
    drop(up);
    timeout(PATIENCE, caller.over).await.expect("the connection stays").unwrap().unwrap();
    timeout(PATIENCE, web.dataplane.stopped()).await.expect("it does not end");
}

#[tokio::test]
async fn a_refusal_is_told_to_grpc_in_its_own_words_and_to_others_in_https() {
    let mesh = Mesh::start(Protocol::Http2, Some(&["somebody"]), None).await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let refused = caller.ask(grpc("/shop.Reviews/Get")).await;
    assert_eq!((refused.head.status().as_u16(), refused.field("grpc-status")), (200, "7"));
    assert_eq!(refused.field("content-type"), "application/grpc");
    assert!(refused.field("grpc-message").contains("AccessPolicy shop/callers"), "{:?}", refused.head);
    assert_eq!(refused.field("x-weft-decision"), "server.abcde.0.2", "the connection's record has the number before");
    assert!(refused.body.is_empty() && refused.trailers.is_none());
    let refused = caller.ask(request("GET", "/").body(()).unwrap()).await;
    assert_eq!((refused.head.status().as_u16(), refused.field("content-type")), (403, "text/plain; charset=utf-8"));
    assert!(refused.text().contains("AccessPolicy shop/callers"), "{refused:?}");
    let refused = caller.ask(request("HEAD", "/").body(()).unwrap()).await;
    assert_eq!((refused.head.status().as_u16(), refused.body.len()), (403, 0));
    let record = &mesh.server.log.records(3).await[0];
    assert_eq!((&record["outcome"], &record["grpcStatus"]), (&"denied".into(), &7.into()));
    let record = &mesh.web.log.records(3).await[0];
    assert_eq!((&record["outcome"], &record["grpcStatus"]), (&"complete".into(), &7.into()));
}

#[tokio::test]
async fn a_routes_time_that_is_over_is_a_deadline_to_grpc_and_cancels_upstream() {
    let mesh = Mesh::start(Protocol::Http2, Some(&["web"]), Some(Duration::from_millis(200))).await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, _up) = caller.open(grpc("/shop.Reviews/Get"), false).await;
    let mut app = App::accept(&mesh.application).await;
    let (_asked, mut respond) = app.asked().await;
    let told = whole(call).await.unwrap();
    assert_eq!((told.head.status().as_u16(), told.field("grpc-status")), (200, "4"));
    let reason = timeout(PATIENCE, std::future::poll_fn(|cx| respond.poll_reset(cx))).await.expect("nobody cancels");
    assert_eq!(reason.unwrap(), Reason::CANCEL);
    let record = &mesh.web.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["grpcStatus"]), (&"timeout".into(), &4.into()));
}
