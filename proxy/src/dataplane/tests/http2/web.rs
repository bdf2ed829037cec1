//! gRPC-Web before an application that speaks gRPC: by HTTP/1.1 and HTTP/2, in binary and in text.
use ::http::{HeaderMap, Response};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;

use super::peers::{App, Asked, Caller, mesh, read, request, whole};
use crate::dataplane::tests::mesh::Mesh;

/// A message of gRPC's: not compressed, four bytes.
const ASKED: &[u8] = b"\0\0\0\0\x04ping";
const SAID: &[u8] = b"\0\0\0\0\x05reply";
/// The frame of the trailers that [`answer`] ends with.
const TRAILERS: &[u8] = b"\x80\0\0\0\x24grpc-status: 0\r\ngrpc-message: fine\r\n";

async fn asked(app: &mut App) -> Asked {
    let (asked, respond) = app.asked().await;
    let (head, body) = asked.into_parts();
    assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/shop.Stock/Get"));
    assert_eq!(head.headers["content-type"], "application/grpc+proto");
    assert_eq!(head.headers["te"], "trailers");
    assert!(!head.headers.contains_key("x-grpc-web") && !head.headers.contains_key("content-length"), "{head:?}");
    (::http::Request::from_parts(head, body), respond)
}

/// Hears the question out, and answers it in two parts.
async fn answer((asked, mut respond): Asked) {
    assert_eq!(read(asked.into_body()).await.unwrap().0, ASKED);
    let head = Response::builder().header("content-type", "application/grpc+proto").body(()).unwrap();
    let mut send = respond.send_response(head, false).unwrap();
    let (first, second) = SAID.split_at(7);
    send.send_data(Bytes::from_static(first), false).unwrap();
    send.send_data(Bytes::from_static(second), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers.insert("grpc-message", "fine".parse().unwrap());
    send.send_trailers(trailers).unwrap();
}

fn post(content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /shop.Stock/Get HTTP/1.1\r\nHost: reviews\r\nContent-Type: {content_type}\r\nX-Grpc-Web: 1\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The chunks of an answer's body.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
}

/// Asks by HTTP/1.1: the answer's head and body.
async fn by_http1(mesh: &Mesh, content_type: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut client = mesh.client().await;
    client.send(post(content_type, body)).await;
    let mut app = App::accept(&mesh.application).await;
    answer(asked(&mut app).await).await;
    let head = client.until("\r\n\r\n").await;
    let mut raw = Vec::new();
    while !raw.ends_with(b"\r\n0\r\n\r\n") {
        raw.extend(client.until_any().await);
    }
    (head, unchunked(&raw))
}

#[tokio::test]
async fn an_http1_call_in_binary_gets_its_trailers_as_the_last_frame() {
    let mesh = mesh().await;
    let (head, body) = by_http1(&mesh, "application/grpc-web+proto", ASKED).await;
    assert_eq!(
        head,
        "HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web+proto\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    assert_eq!(body, [SAID, TRAILERS].concat());
    let record = &mesh.server.log.records(1).await[0];
    assert_eq!((&record["translated"], &record["grpcStatus"]), (&"grpc-web".into(), &0.into()), "{record}");
    mesh.server.has_metric("weft_grpc_web_calls_total 1").await;
}

#[tokio::test]
async fn an_http1_call_in_text_is_base64_both_ways() {
    let mesh = mesh().await;
    let text = BASE64_STANDARD.encode(ASKED);
    let (head, body) = by_http1(&mesh, "application/grpc-web-text+proto", text.as_bytes()).await;
    assert!(head.contains("content-type: application/grpc-web-text+proto\r\n"), "{head}");
    assert_eq!(BASE64_STANDARD.decode(body).unwrap(), [SAID, TRAILERS].concat());
}

#[tokio::test]
async fn an_http2_call_is_translated_as_well_and_one_of_grpcs_own_is_not() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let text = BASE64_STANDARD.encode(ASKED);
    let mut app = None;
    for (content_type, question) in
        [("application/grpc-web+proto", ASKED.to_vec()), ("application/grpc-web-text+proto", text.into_bytes())]
    {
        let post = request("POST", "/shop.Stock/Get").header("content-type", content_type);
        let (call, mut up) = caller.open(post.body(()).unwrap(), false).await;
        // In parts that are no group of four.
        let (first, second) = question.split_at(5);
        up.send_data(Bytes::copy_from_slice(first), false).unwrap();
        up.send_data(Bytes::copy_from_slice(second), true).unwrap();
        if app.is_none() {
            app = Some(App::accept(&mesh.application).await);
        }
        answer(asked(app.as_mut().unwrap()).await).await;
        let reply = whole(call).await.unwrap();
        assert_eq!((reply.field("content-type"), reply.trailers.is_none()), (content_type, true));
        let body =
            if content_type.contains("text") { BASE64_STANDARD.decode(&reply.body).unwrap() } else { reply.body };
        assert_eq!(body, [SAID, TRAILERS].concat());
    }
    let (call, mut up) = caller.open(super::peers::grpc("/shop.Stock/Get"), false).await;
    up.send_data(Bytes::from_static(ASKED), true).unwrap();
    answer(asked(app.as_mut().unwrap()).await).await;
    let reply = whole(call).await.unwrap();
    assert_eq!((reply.field("content-type"), &reply.body[..]), ("application/grpc+proto", SAID));
    assert_eq!(reply.trailers.unwrap()["grpc-status"], "0");
}

/// A status in the head alone is read there; what is not gRPC's is not made so.
#[tokio::test]
async fn an_answer_without_messages_and_one_that_is_not_grpcs_stay_as_they_are() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let mut app = None;
    for (content_type, told) in [("application/grpc", "application/grpc-web-text"), ("text/plain", "text/plain")] {
        let post = request("POST", "/shop.Stock/Get").header("content-type", "application/grpc-web-text");
        let (call, _) = caller.open(post.body(()).unwrap(), true).await;
        if app.is_none() {
            app = Some(App::accept(&mesh.application).await);
        }
        let (_asked, mut respond) = app.as_mut().unwrap().asked().await;
        let head = Response::builder().status(if told == content_type { 404 } else { 200 });
        let head = head.header("content-type", content_type).header("grpc-status", "5").body(()).unwrap();
        let mut send = respond.send_response(head, told != content_type).unwrap();
        if told == content_type {
            send.send_data(Bytes::from_static(b"nothing here"), true).unwrap();
        }
        let reply = whole(call).await.unwrap();
        assert_eq!((reply.field("content-type"), reply.field("grpc-status")), (told, "5"));
        assert_eq!(reply.text(), if told == content_type { "nothing here" } else { "" });
    }
}

#[tokio::test]
async fn text_that_is_not_base64_is_400() {
    let mesh = mesh().await;
    let mut client = mesh.client().await;
    let (head, body) = client.ask(&String::from_utf8(post("application/grpc-web-text", b"$$$$")).unwrap()).await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert_eq!(body, "the gRPC-Web text is not base64\n");
}
