//! Calls that succeed.
use ::http::{HeaderMap, Response};
use bytes::Bytes;
use weft_model::Protocol;

use super::peers::{App, Caller, answer, grpc, mesh, next, read, request, whole};
use crate::dataplane::tests::mesh::{Mesh, Peer};

#[tokio::test]
async fn a_call_goes_through_both_sidecars_with_body_and_trailers_both_ways_and_one_record_each() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, mut body) = caller.open(grpc("/shop.Reviews/./Get?a=b"), false).await;
    body.send_data(Bytes::from_static(b"question"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "17".parse().unwrap());
    trailers.insert("x-weft-decision", "forged".parse().unwrap());
    trailers.insert("content-length", "1".parse().unwrap());
    body.send_trailers(trailers).unwrap();

    let mut app = App::accept(&mesh.application).await;
    let (asked, respond) = app.asked().await;
    let (head, body) = asked.into_parts();
    assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("POST", "http://reviews/shop.Reviews/Get?a=b"));
    assert_eq!(head.headers["te"], "trailers");
    assert_eq!(head.headers["content-type"], "application/grpc+proto");
    let (question, trailers) = read(body).await.unwrap();
    assert_eq!(question, b"question");
    let trailers = trailers.unwrap();
    assert_eq!((trailers.len(), &trailers["x-checksum"]), (1, &"17".parse::<::http::HeaderValue>().unwrap()));
    answer(respond, "reply");

    let reply = whole(call).await.unwrap();
    assert_eq!((reply.head.status().as_u16(), reply.text()), (200, "reply"));
    assert_eq!(reply.trailers.unwrap()["grpc-status"], "0");
    for (side, direction) in [(&mesh.web, "outbound"), (&mesh.server, "inbound")] {
        let record = &side.log.records(1).await[0];
        assert_eq!((&record["direction"], &record["outcome"]), (&direction.into(), &"complete".into()));
        assert_eq!((&record["status"], &record["grpcStatus"]), (&200.into(), &0.into()));
        assert_eq!(
            (&record["path"], &record["sent"], &record["received"]),
            (&"/shop.Reviews/Get".into(), &8.into(), &5.into())
        );
    }
}

#[tokio::test]
async fn both_sides_of_a_call_speak_at_once() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, mut up) = caller.open(grpc("/shop.Reviews/Chat"), false).await;
    let mut app = App::accept(&mesh.application).await;
    let (asked, mut respond) = app.asked().await;
    let mut heard = asked.into_body();
    let mut down = respond.send_response(Response::new(()), false).unwrap();
    let mut reply = call.await.unwrap().into_body();
    for turn in ["one", "two", "three"] {
        up.send_data(Bytes::from_static(turn.as_bytes()), false).unwrap();
        assert_eq!(next(&mut heard).await, turn);
        down.send_data(Bytes::from_static(turn.as_bytes()), false).unwrap();
        assert_eq!(next(&mut reply).await, turn);
    }
    up.send_data(Bytes::new(), true).unwrap();
    assert!(read(heard).await.unwrap().0.is_empty());
    down.send_data(Bytes::from_static(b"end"), true).unwrap();
    assert_eq!(read(reply).await.unwrap().0, b"end");
}

#[tokio::test]
async fn many_calls_at_once_share_one_connection_on_each_hop() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let mut calls = Vec::new();
    for _ in 0..50 {
        calls.push(caller.open(grpc("/shop.Reviews/Get"), true).await.0);
    }
    let mut app = App::accept(&mesh.application).await;
    let mut waiting = Vec::new();
    for _ in 0..50 {
        waiting.push(app.asked().await.1);
    }
    for respond in waiting {
        answer(respond, "reply");
    }
    for call in calls {
        assert_eq!(whole(call).await.unwrap().text(), "reply");
    }
    mesh.web.log.records(50).await;
    mesh.web.has_metric("weft_upstream_connections_total 1").await;
    mesh.web.has_metric("weft_upstream_reuses_total 49").await;
    mesh.server.has_metric("weft_upstream_connections_total 1").await;
}

#[tokio::test]
async fn interim_answers_come_before_the_final_one() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let post = request("POST", "/").header("expect", "100-continue").body(()).unwrap();
    let (mut call, mut body) = caller.open(post, false).await;
    let mut app = App::accept(&mesh.application).await;
    let (asked, mut respond) = app.asked().await;
    assert_eq!(asked.headers()["expect"], "100-continue");
    respond.send_informational(Response::builder().status(100).body(()).unwrap()).unwrap();
    let interim = std::future::poll_fn(|cx| call.poll_informational(cx)).await.unwrap().unwrap();
    assert_eq!(interim.status(), 100);
    body.send_data(Bytes::from_static(b"now"), true).unwrap();
    assert_eq!(read(asked.into_body()).await.unwrap().0, b"now");
    answer(respond, "reply");
    assert_eq!(whole(call).await.unwrap().text(), "reply");
}

/// An HTTP/1.1 client pays nothing for it: the preface is looked for in what would be its first head.
#[tokio::test]
async fn one_listener_serves_both_versions() {
    let mesh = Mesh::start(Protocol::Http, Some(&["web"]), None).await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, _) = caller.open(request("GET", "/two").body(()).unwrap(), true).await;
    let mut app = mesh.accept().await;
    assert!(app.until("\r\n\r\n").await.starts_with("GET /two HTTP/1.1\r\n"));
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh2").await;
    assert_eq!(whole(call).await.unwrap().text(), "h2");
    let mut client = Peer::connect(mesh.web.outbound()).await;
    client.send("GET /one HTTP/1.1\r\nHost: reviews\r\n\r\n").await;
    // The application's connection is kept whichever version the request came by.
    assert!(app.until("\r\n\r\n").await.starts_with("GET /one HTTP/1.1\r\n"));
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh1").await;
    assert_eq!(client.answer().await.1, "h1");
}

/// What is read of a body before anybody takes it is bounded by the windows of the hops, not by the body.
#[tokio::test]
async fn a_body_that_nobody_takes_stops_its_sender() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, mut up) = caller.open(grpc("/shop.Reviews/Upload"), false).await;
    let mut app = App::accept(&mesh.application).await;
    let (asked, respond) = app.asked().await;
    const WHOLE: usize = 8 * 1024 * 1024;
    let (mut sent, mut body) = (0, Some(asked.into_body()));
    let mut taken = None;
    while sent < WHOLE {
        up.reserve_capacity(16 * 1024);
        let room = std::future::poll_fn(|cx| up.poll_capacity(cx));
        match tokio::time::timeout(std::time::Duration::from_millis(300), room).await {
            Ok(room) => {
                let room = room.unwrap().unwrap().min(WHOLE - sent);
                up.send_data(Bytes::from(vec![7; room]), sent + room == WHOLE).unwrap();
                sent += room;
            }
            Err(_) => {
                let body = body.take().expect("the sender is stopped although all is read");
                // Three windows of 256 KiB at most (the default of the raw application is smaller), and what the buffers
                // in front of the sockets hold.
                assert!(sent <= 1024 * 1024, "{sent} bytes were taken from the client");
                taken = Some(tokio::spawn(read(body)));
            }
        }
    }
    let (bytes, _) = taken.expect("the sender was never stopped").await.unwrap().unwrap();
    assert_eq!(bytes.len(), WHOLE);
    answer(respond, "reply");
    assert_eq!(whole(call).await.unwrap().text(), "reply");
}
