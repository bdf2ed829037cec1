//! The limits of HTTP/2 one by one: what lies within is served, what lies beyond is not.
use ::http::{HeaderMap, HeaderName, HeaderValue, Response};
use bytes::Bytes;
use h2::Reason;
use tokio::{io::AsyncWriteExt, time::timeout};

use super::{
    frames::{Reaction, Wire, block, frame},
    peers::{App, Caller, answer, grpc, mesh, request, whole},
};
use crate::dataplane::tests::mesh::PATIENCE;

const POST: [(&str, &str); 4] = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "reviews")];
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// Heads that differ by a byte or a field, and what their answers' status is: 200 where the application answers.
#[tokio::test]
async fn a_head_within_its_limits_is_served_and_one_beyond_is_refused_by_us() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let mut app = None;
    let path = |length: usize| request("GET", &format!("/{}", "a".repeat(length - 1)));
    let fields = |count: usize| (0..count).fold(request("GET", "/"), |head, _| head.header("x-many", "a"));
    // Decoded: HPACK writes a crumb that it has seen as one byte.
    let crumbs = |count: usize| (0..count).fold(request("GET", "/"), |head, _| head.header("cookie", "c".repeat(700)));
    let large = |length: usize| request("GET", "/").header("x-large", "a".repeat(length));
    for (what, head, status) in [
        ("a target of 8 KiB", path(8192), 200),
        ("a target of more", path(8193), 414),
        // Each sidecar adds some of its own, which count at the next.
        ("ninety fields", fields(90), 200),
        ("a hundred and one fields", fields(101), 431),
        ("cookies of 58 KiB", crumbs(80), 200),
        ("cookies of 66 KiB", crumbs(90), 431),
        ("a field of 60,000 bytes", large(60_000), 200),
        ("a field of 62,000 bytes", large(62_000), 431),
    ] {
        let (call, _) = caller.open(head.body(()).unwrap(), true).await;
        if status == 200 {
            if app.is_none() {
                app = Some(App::accept(&mesh.application).await);
            }
            answer(app.as_mut().unwrap().asked().await.1, "reply");
        }
        let told = whole(call).await.unwrap();
        assert_eq!(told.head.status(), status, "{what}: {}", told.text());
        assert_eq!(told.field("x-weft-decision").is_empty(), status == 200, "{what}");
    }
}

/// Trailers count as a head does, whoever sends them.
#[tokio::test]
async fn trailers_beyond_a_heads_size_end_their_stream_on_both_sides() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let trailers = |count: usize| {
        let field = |number: usize| {
            let name = HeaderName::from_bytes(format!("x-large-{number}").as_bytes()).unwrap();
            (name, HeaderValue::from_bytes(&[b'x'; 4000]).unwrap())
        };
        (0..count).map(field).collect::<HeaderMap>()
    };
    let mut app = None;
    for (of_request, of_answer) in [(10, 10), (20, 0), (0, 20)] {
        let (call, mut up) = caller.open(grpc("/shop.Reviews/Get"), false).await;
        if app.is_none() {
            app = Some(App::accept(&mesh.application).await);
        }
        let (_asked, mut respond) = app.as_mut().unwrap().asked().await;
        up.send_trailers(trailers(of_request)).unwrap();
        if of_request == 20 {
            let told = whole(call).await.unwrap();
            let message = "the trailers are malformed or too large";
            assert_eq!((told.field("grpc-status"), told.field("grpc-message")), ("13", message));
            timeout(PATIENCE, std::future::poll_fn(|cx| respond.poll_reset(cx))).await.unwrap().unwrap();
            continue;
        }
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        send.send_data(Bytes::from_static(b"reply"), false).unwrap();
        send.send_trailers(trailers(of_answer)).unwrap();
        match whole(call).await {
            Ok(told) => assert_eq!((of_answer, told.trailers.unwrap().len()), (10, 10)),
            Err(error) => assert!(of_answer == 20 && error.is_reset(), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn ten_interim_answers_are_passed_on_and_eleven_are_502() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let mut app = None;
    for (count, status) in [(10, 200), (11, 502)] {
        let (call, _) = caller.open(request("GET", "/").body(()).unwrap(), true).await;
        if app.is_none() {
            app = Some(App::accept(&mesh.application).await);
        }
        let (_asked, mut respond) = app.as_mut().unwrap().asked().await;
        for _ in 0..count {
            // The last ones may find the stream ended already.
            let _ = respond.send_informational(Response::builder().status(103).body(()).unwrap());
        }
        let _ = respond.send_response(Response::new(()), true);
        assert_eq!(whole(call).await.unwrap().head.status(), status, "{count}");
    }
}

#[tokio::test]
async fn a_head_in_few_continuations_is_served_and_one_in_more_than_ten_ends_its_connection() {
    let mesh = mesh().await;
    let mut app = None;
    for (count, is_borne) in [(5, true), (11, false)] {
        let mut wire = Wire::connect(&mesh).await;
        let mut bytes = frame(1, 0x1, 1, &block(&[POST[0], POST[1], POST[2], POST[3]]));
        for number in 0..count {
            let last = if number + 1 == count { 0x4 } else { 0 };
            bytes.extend(frame(9, last, 1, &block(&[("x-name", "a")])));
        }
        wire.stream.write_all(&bytes).await.unwrap();
        if is_borne {
            let taken = App::accept(&mesh.application).await;
            answer(app.insert(taken).asked().await.1, "reply");
        }
        let expected = if is_borne { Reaction::Answer(200) } else { Reaction::Connection(ENHANCE_YOUR_CALM) };
        assert_eq!(wire.reaction().await, Some(expected), "{count}");
    }
}

#[tokio::test]
async fn a_hundred_empty_data_frames_are_borne_and_one_more_ends_its_connection() {
    let mesh = mesh().await;
    let mut app = None;
    for (count, is_borne) in [(100, true), (101, false)] {
        let mut wire = Wire::connect(&mesh).await;
        let mut bytes = frame(1, 0x4, 1, &block(&POST));
        bytes.extend(frame(0, 0, 1, &[]).repeat(count));
        bytes.extend(frame(0, 0x1, 1, b"end"));
        wire.stream.write_all(&bytes).await.unwrap();
        if is_borne {
            let taken = App::accept(&mesh.application).await;
            let (asked, respond) = app.insert(taken).asked().await;
            assert_eq!(super::peers::read(asked.into_body()).await.unwrap().0, b"end");
            answer(respond, "reply");
        }
        let expected = if is_borne { Reaction::Answer(200) } else { Reaction::Connection(ENHANCE_YOUR_CALM) };
        assert_eq!(wire.reaction().await, Some(expected), "{count}");
    }
}

/// A mesh peer's resets are those of many clients: each of these stays within its own bound, all of them share the peer's
/// connection, which goes on.
#[tokio::test]
async fn a_peer_may_reset_more_streams_than_a_stranger() {
    let mesh = mesh().await;
    let mut app: Option<App> = None;
    for _ in 0..3 {
        let mut caller = Caller::connect(mesh.web.outbound()).await;
        for _ in 0..90 {
            let (call, mut up) = caller.open(grpc("/shop.Reviews/Get"), false).await;
            if app.is_none() {
                app = Some(App::accept(&mesh.application).await);
            }
            let (_asked, mut respond) = app.as_mut().unwrap().asked().await;
            up.send_reset(Reason::CANCEL);
            timeout(PATIENCE, std::future::poll_fn(|cx| respond.poll_reset(cx))).await.unwrap().unwrap();
            drop(call);
        }
    }
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, _) = caller.open(request("GET", "/").body(()).unwrap(), true).await;
    // On the connection of all the others.
    answer(app.unwrap().asked().await.1, "reply");
    assert_eq!(whole(call).await.unwrap().text(), "reply");
}
