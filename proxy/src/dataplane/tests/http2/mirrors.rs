//! Copies of calls.
use ::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use weft_model::Protocol;

use super::peers::{App, Caller, answer, grpc, read, whole};
use crate::dataplane::tests::mirrors::{ALL, Mirrored};

#[tokio::test]
async fn a_call_over_http2_is_copied_with_its_body_and_trailers() {
    let mirrored = Mirrored::start(Protocol::Http2, ALL).await;
    let mut caller = Caller::connect(mirrored.mesh.web.outbound()).await;
    let (call, mut body) = caller.open(grpc("/shop.Reviews/Get"), false).await;
    let question = Bytes::from(vec![b'q'; 100_000]);
    for _ in 0..2 {
        body.reserve_capacity(question.len());
        body.send_data(question.clone(), false).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "17".parse().unwrap());
    body.send_trailers(trailers).unwrap();
    let mut app = App::accept(&mirrored.mesh.application).await;
    let mut copy = App::accept(&mirrored.mirror).await;
    for (app, mirror) in [(&mut app, false), (&mut copy, true)] {
        let (asked, respond) = app.asked().await;
        let (head, body) = asked.into_parts();
        assert_eq!((head.uri.path(), head.headers["te"].as_bytes()), ("/shop.Reviews/Get", &b"trailers"[..]));
        assert_eq!(head.headers.contains_key("x-weft-mirror"), mirror, "{:?}", head.headers);
        let (asked, trailers) = read(body).await.unwrap();
        assert_eq!((asked.len(), &trailers.unwrap()["x-checksum"]), (200_000, &HeaderValue::from_static("17")));
        answer(respond, if mirror { "nobody reads this" } else { "reply" });
    }
    assert_eq!(whole(call).await.unwrap().text(), "reply");
    let (requests, copies) = mirrored.records(2).await;
    assert_eq!((&requests[0]["outcome"], &copies[0]["outcome"]), (&"complete".into(), &"complete".into()));
}
