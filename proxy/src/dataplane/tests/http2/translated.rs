//! A client of one version and an application of the other.
use ::http::{HeaderMap, Response};
use bytes::Bytes;
use h2::Reason;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use weft_model::Protocol;

use super::peers::{App, Caller, answer, code, mesh, next, read, request, whole};
use crate::dataplane::tests::mesh::{Mesh, PATIENCE, Peer};

async fn http1_application() -> (Mesh, Caller) {
    let mesh = Mesh::start(Protocol::Http, Some(&["web"]), None).await;
    let caller = Caller::connect(mesh.web.outbound()).await;
    (mesh, caller)
}

#[tokio::test]
async fn an_http2_request_reaches_an_http1_application_with_body_and_trailers_both_ways() {
    let (mesh, mut caller) = http1_application().await;
    let post = request("POST", "/a/../b?x=1").header("cookie", "a=1").header("cookie", "b=2").header("te", "trailers");
    let (call, mut up) = caller.open(post.body(()).unwrap(), false).await;
    let mut app = mesh.accept().await;
    let head = app.until("\r\n\r\n").await;
    assert_eq!(
        head,
        "POST /b?x=1 HTTP/1.1\r\nhost: reviews\r\ncookie: a=1; b=2\r\nte: trailers\r\nconnection: te\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    up.send_data(Bytes::from_static(b"question"), false).unwrap();
    app.until("8\r\nquestion\r\n").await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "17".parse().unwrap());
    up.send_trailers(trailers).unwrap();
    app.until("0\r\nx-checksum: 17\r\n\r\n").await;
    app.send(
        "HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\nX-Own: Yes\r\nConnection: keep-alive\r\n\r\n5\r\nreply\r\n",
    )
    .await;
    let mut reply = call.await.unwrap();
    assert_eq!(
        (reply.status().as_u16(), &reply.headers()["x-own"]),
        (201, &"Yes".parse::<::http::HeaderValue>().unwrap())
    );
    assert_eq!(reply.headers().len(), 1, "{:?}", reply.headers());
    assert_eq!(next(reply.body_mut()).await, "reply");
    app.send("0\r\nX-After: 1\r\nContent-Length: 7\r\n\r\n").await;
    let (rest, trailers) = read(reply.into_body()).await.unwrap();
    let trailers = trailers.unwrap();
    assert_eq!((rest.len(), trailers.len(), trailers["x-after"].as_bytes()), (0, 1, &b"1"[..]));
    // The application's connection is used again.
    let (call, _) = caller.open(request("HEAD", "/").body(()).unwrap(), true).await;
    assert_eq!(app.until("\r\n\r\n").await, "HEAD / HTTP/1.1\r\nhost: reviews\r\n\r\n");
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await;
    let reply = whole(call).await.unwrap();
    assert_eq!((reply.field("content-length"), reply.body.len()), ("9", 0));
}

#[tokio::test]
async fn a_length_is_passed_on_to_an_http1_application_and_a_lie_about_it_cuts_the_request() {
    let (mesh, mut caller) = http1_application().await;
    let post = request("POST", "/").header("content-length", "8").body(()).unwrap();
    let (call, mut up) = caller.open(post, false).await;
    up.send_data(Bytes::from_static(b"question"), true).unwrap();
    let mut app = mesh.accept().await;
    assert_eq!(app.until("question").await, "POST / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 8\r\n\r\nquestion");
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nreply").await;
    assert_eq!(whole(call).await.unwrap().text(), "reply");

    let post = request("POST", "/").header("content-length", "8").body(()).unwrap();
    let (call, mut up) = caller.open(post, false).await;
    up.send_data(Bytes::from_static(b"half"), true).unwrap();
    assert_eq!(code(&whole(call).await.unwrap_err()), Some(Reason::PROTOCOL_ERROR));
    // It was sent at most a part, on a connection that has ended since.
    let seen = String::from_utf8(app.rest().await).unwrap();
    assert!(
        !seen.contains("half\r\n")
            && seen.len() <= "POST / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 8\r\n\r\nhalf".len(),
        "{seen}"
    );
}

#[tokio::test]
async fn an_http1_answer_that_breaks_off_is_a_reset_to_an_http2_client() {
    let (mesh, mut caller) = http1_application().await;
    let (call, _) = caller.open(request("GET", "/").body(()).unwrap(), true).await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    let mut reply = call.await.unwrap().into_body();
    assert_eq!(next(&mut reply).await, "half");
    drop(app);
    let error = reply.data().await.unwrap().unwrap_err();
    assert_eq!(code(&error), Some(Reason::INTERNAL_ERROR), "{error:?}");
    let (call, _) = caller.open(request("GET", "/").body(()).unwrap(), true).await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 OK\r\n\r\n").await;
    let told = whole(call).await.unwrap();
    assert_eq!(
        (told.head.status().as_u16(), told.text()),
        (502, "the upstream's answer is malformed: the start line is malformed\n")
    );
}

#[tokio::test]
async fn an_http2_client_that_cancels_ends_the_http1_exchange() {
    let (mesh, mut caller) = http1_application().await;
    let (call, mut up) = caller.open(request("POST", "/").body(()).unwrap(), false).await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    up.send_reset(Reason::CANCEL);
    drop(call);
    assert_eq!(timeout(PATIENCE, app.rest()).await.expect("it goes on"), b"");
}

#[tokio::test]
async fn an_http1_request_reaches_an_http2_application_and_its_answer_comes_back() {
    let mesh = mesh().await;
    let mut client = mesh.client().await;
    client.send("GET /a/./b?x=1 HTTP/1.1\r\nHost: reviews\r\nX-Case: Kept\r\nTE: trailers, deflate\r\nConnection: TE\r\n\r\n").await;
    let mut app = App::accept(&mesh.application).await;
    let (asked, mut respond) = app.asked().await;
    assert_eq!((asked.method().as_str(), asked.uri().to_string().as_str()), ("GET", "http://reviews/a/b?x=1"));
    let fields = asked.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    // Each hop writes these two.
    let fields: Vec<_> = fields.filter(|(name, _)| !["traceparent", "x-request-id"].contains(name)).collect();
    assert_eq!(fields, [("x-case", &b"Kept"[..])], "TE is the hop's: between the sidecars it was not");
    assert!(asked.into_body().is_end_stream());
    let head = Response::builder().header("content-length", "5").header("x-own", "1").body(()).unwrap();
    respond.send_response(head, false).unwrap().send_data(Bytes::from_static(b"reply"), true).unwrap();
    let (head, body) = client.answer().await;
    assert_eq!((head.as_str(), body.as_str()), ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-own: 1\r\n\r\n", "reply"));
    // The next one on the same connections, without a length: in chunks, and its trailers behind them.
    client.send("POST /upload HTTP/1.1\r\nHost: reviews\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nfirst\r\n").await;
    let (asked, mut respond) = app.asked().await;
    let mut up = asked.into_body();
    assert_eq!(next(&mut up).await, "first");
    client.send("6\r\nsecond\r\n0\r\nX-Checksum: 17\r\nHost: forged\r\n\r\n").await;
    let (rest, trailers) = read(up).await.unwrap();
    let trailers = trailers.unwrap();
    assert_eq!((rest.as_slice(), trailers.len(), trailers["x-checksum"].as_bytes()), (&b"second"[..], 1, &b"17"[..]));
    let mut down = respond.send_response(Response::builder().status(201).body(()).unwrap(), false).unwrap();
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n");
    down.send_data(Bytes::from_static(b"reply"), false).unwrap();
    client.until("5\r\nreply\r\n").await;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    down.send_trailers(trailers).unwrap();
    client.until("0\r\ngrpc-status: 0\r\n\r\n").await;
    // And one whose answer has no body at all.
    client.send("DELETE /it HTTP/1.1\r\nHost: reviews\r\n\r\n").await;
    let (_, mut respond) = app.asked().await;
    respond.send_response(Response::builder().status(204).body(()).unwrap(), true).unwrap();
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 204 No Content\r\n\r\n");
}

#[tokio::test]
async fn an_http1_client_that_leaves_cancels_the_http2_stream() {
    let mesh = mesh().await;
    let mut client = mesh.client().await;
    client.send("GET / HTTP/1.1\r\nHost: reviews\r\n\r\n").await;
    let mut app = App::accept(&mesh.application).await;
    let (_asked, mut respond) = app.asked().await;
    drop(client);
    let reset = std::future::poll_fn(|cx| respond.poll_reset(cx));
    assert_eq!(timeout(PATIENCE, reset).await.expect("nobody cancels").unwrap(), Reason::CANCEL);
}

#[tokio::test]
async fn an_http2_applications_reset_cuts_an_http1_answer_or_is_told_as_502() {
    let mesh = mesh().await;
    let mut client = mesh.client().await;
    client.send("GET / HTTP/1.1\r\nHost: reviews\r\n\r\n").await;
    let mut app = App::accept(&mesh.application).await;
    let (_asked, mut respond) = app.asked().await;
    respond.send_reset(Reason::INTERNAL_ERROR);
    let (head, body) = client.answer().await;
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
    assert_eq!(body, "the upstream reset the stream (INTERNAL_ERROR)\n");
    client.send("GET / HTTP/1.1\r\nHost: reviews\r\n\r\n").await;
    let (_asked, mut respond) = app.asked().await;
    let mut down = respond.send_response(Response::new(()), false).unwrap();
    down.send_data(Bytes::from_static(b"half"), false).unwrap();
    client.until("half").await;
    down.send_reset(Reason::INTERNAL_ERROR);
    assert_eq!(client.failure().await, Some(std::io::ErrorKind::ConnectionReset));
}

/// An HTTP/1.0 client gets neither chunks nor an interim answer.
#[tokio::test]
async fn an_http10_client_gets_an_http2_answer_to_the_end_of_its_connection() {
    let mesh = mesh().await;
    let mut client = Peer::connect(mesh.web.outbound()).await;
    client.send("GET / HTTP/1.0\r\nHost: reviews\r\n\r\n").await;
    let mut app = App::accept(&mesh.application).await;
    let (_asked, mut respond) = app.asked().await;
    let mut down = respond.send_response(Response::new(()), false).unwrap();
    down.send_data(Bytes::from_static(b"reply"), true).unwrap();
    let answer = String::from_utf8(client.rest().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nreply"), "{answer}");
}

/// RFC 9113 §8.7: its application refuses the stream, or says by a GOAWAY that it lies above the last that it looked at.
#[tokio::test]
async fn an_http1_request_that_an_http2_application_has_not_taken_up_is_sent_again_with_its_body() {
    let mesh = mesh().await;
    let mut client = mesh.client().await;
    client.send("POST / HTTP/1.1\r\nHost: reviews\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nques\r\n").await;
    // By hand: h2's server would not leave a stream behind.
    let (mut leaving, _) = timeout(PATIENCE, mesh.application.accept()).await.expect("nobody connects").unwrap();
    let mut heard = Vec::new();
    while !heard.windows(9).any(|frame| frame[3] == 0 && frame[5..9] == [0, 0, 0, 1]) {
        assert!(timeout(PATIENCE, leaving.read_buf(&mut heard)).await.expect("no request").unwrap() > 0);
    }
    // SETTINGS, and GOAWAY: last stream 0, NO_ERROR.
    leaving.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
    let mut app = App::accept(&mesh.application).await;
    let (asked, mut respond) = app.asked().await;
    assert_eq!(next(&mut asked.into_body()).await, "ques");
    respond.send_reset(Reason::REFUSED_STREAM);
    client.send("4\r\ntion\r\n0\r\nX-After: 1\r\n\r\n").await;
    let (asked, respond) = app.asked().await;
    let (body, trailers) = read(asked.into_body()).await.unwrap();
    assert_eq!((&body[..], &trailers.unwrap()["x-after"]), (&b"question"[..], &"1".parse().unwrap()));
    answer(respond, "reply");
    assert!(client.until("5\r\nreply\r\n").await.starts_with("HTTP/1.1 200"));
    let record = &mesh.server.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["repeats"]), (&"complete".into(), &2.into()));
}
