//! What has no body, comes before the answer or is asked for in vain, between the two versions.
use ::http::Response;
use weft_model::Protocol;

use super::peers::{App, Caller, mesh, request, whole};
use crate::dataplane::tests::mesh::Mesh;

/// To an HTTP/1.1 application: HEAD, and the statuses that have no body (RFC 9110 §6.4.1), whatever length they tell.
#[tokio::test]
async fn an_http1_answer_without_a_body_ends_its_stream_and_keeps_the_length_that_it_tells() {
    let mesh = Mesh::start(Protocol::Http, Some(&["web"]), None).await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let mut app = None;
    for (method, answer, status, length) in [
        ("HEAD", "200 OK\r\nContent-Length: 9", 200, "9"),
        ("GET", "304 Not Modified\r\nContent-Length: 9", 304, "9"),
        ("DELETE", "204 No Content", 204, ""),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked", 200, ""),
        ("GET", "200 OK\r\nContent-Length: 0", 200, "0"),
    ] {
        let (call, _) = caller.open(request(method, "/").body(()).unwrap(), true).await;
        if app.is_none() {
            app = Some(mesh.accept().await);
        }
        // One connection carries them all: none leaves anything behind.
        let app = app.as_mut().unwrap();
        assert!(app.until("\r\n\r\n").await.starts_with(method));
        app.send(format!("HTTP/1.1 {answer}\r\n\r\n")).await;
        let told = whole(call).await.unwrap();
        assert_eq!((told.head.status().as_u16(), told.field("content-length")), (status, length), "{method} {answer}");
        assert!(told.body.is_empty() && told.trailers.is_none());
    }
}

/// From an HTTP/2 application.
#[tokio::test]
async fn an_http2_answer_without_a_body_is_a_head_alone_and_the_next_request_is_answered() {
    let mesh = mesh().await;
    let mut client = mesh.client().await;
    let mut app = None;
    for (method, status, length, expected) in [
        ("HEAD", 200, Some("9"), "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
        ("HEAD", 200, None, "HTTP/1.1 200 OK\r\n\r\n"),
        ("GET", 304, Some("9"), "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"),
        ("DELETE", 204, None, "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", 200, Some("0"), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: reviews\r\n\r\n")).await;
        if app.is_none() {
            app = Some(App::accept(&mesh.application).await);
        }
        let (asked, mut respond) = app.as_mut().unwrap().asked().await;
        assert_eq!(asked.method(), method);
        let mut head = Response::builder().status(status);
        if let Some(length) = length {
            head = head.header("content-length", length);
        }
        respond.send_response(head.body(()).unwrap(), true).unwrap();
        let told = client.until("\r\n\r\n").await;
        let bare = told.replace("content-length: 0\r\n", "");
        assert!(told == expected || bare == expected, "{method} {status} {length:?}: {told}");
    }
}

#[tokio::test]
async fn interim_answers_pass_from_either_version_to_the_other() {
    let http1 = Mesh::start(Protocol::Http, Some(&["web"]), None).await;
    let mut caller = Caller::connect(http1.web.outbound()).await;
    let (mut call, _) = caller.open(request("GET", "/").body(()).unwrap(), true).await;
    let mut app = http1.accept().await;
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let interim = std::future::poll_fn(|cx| call.poll_informational(cx)).await.unwrap().unwrap();
    assert_eq!((interim.status().as_u16(), interim.headers()["link"].as_bytes()), (103, &b"</a.css>"[..]));
    assert_eq!(whole(call).await.unwrap().text(), "ok");

    let http2 = mesh().await;
    let mut client = http2.client().await;
    client.send("GET / HTTP/1.1\r\nHost: reviews\r\n\r\n").await;
    let mut app = App::accept(&http2.application).await;
    let (_asked, mut respond) = app.asked().await;
    let hints = Response::builder().status(103).header("link", "</a.css>").body(()).unwrap();
    respond.send_informational(hints).unwrap();
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
    let head = Response::builder().status(204).body(()).unwrap();
    respond.send_response(head, true).unwrap();
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 204 No Content\r\n\r\n");
}
