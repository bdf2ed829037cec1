//! What a client may make us bear.
use ::http::{HeaderValue, header::CONTENT_TYPE};
use h2::Reason;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    frames::{PREFACE, Wire, block, frame},
    peers::{App, Caller, answer, grpc, mesh, request, whole},
};
use crate::dataplane::tests::mesh::PATIENCE;

/// The head of `GET /` to `reviews`.
fn get() -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "reviews")])
}

/// Writes and reads until the connection is ended.
async fn until_ended(mut wire: Wire, mut next: impl FnMut(usize) -> Vec<u8>) {
    let (mut reader, mut writer) = wire.stream.split();
    let write = async {
        for turn in 0.. {
            if writer.write_all(&next(turn)).await.is_err() {
                return;
            }
        }
    };
    let mut heard = Vec::new();
    let read = async { drop(reader.read_to_end(&mut heard).await) };
    let ended = async {
        tokio::select! {
            () = read => {}
            () = write => {}
        }
    };
    timeout(PATIENCE, ended).await.expect("it is borne for ever");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_431_and_the_connection_goes_on() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let mut head = request("GET", "/").body(()).unwrap();
    for number in 0..20 {
        head.headers_mut().append(
            ::http::HeaderName::from_bytes(format!("x-large-{number}").as_bytes()).unwrap(),
            HeaderValue::from_bytes(&[b'x'; 4000]).unwrap(),
        );
    }
    let mut call = head.clone();
    call.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    for (head, status, grpc_status) in [(head, 431, ""), (call, 200, "8")] {
        let (call, _) = caller.open(head, true).await;
        let refused = whole(call).await.unwrap();
        assert_eq!((refused.head.status().as_u16(), refused.field("grpc-status")), (status, grpc_status));
        let record = mesh.web.log.record(refused.field("x-weft-decision")).await;
        assert_eq!((&record["status"], &record["outcome"]), (&status.into(), &"malformed".into()), "{record}");
    }
    let (call, _) = caller.open(request("GET", "/").body(()).unwrap(), true).await;
    answer(App::accept(&mesh.application).await.asked().await.1, "reply");
    assert_eq!(whole(call).await.unwrap().text(), "reply");
}

#[tokio::test]
async fn a_client_may_have_a_hundred_streams_and_no_more() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, _) = caller.open(request("GET", "/").body(()).unwrap(), true).await;
    let mut app = App::accept(&mesh.application).await;
    answer(app.asked().await.1, "reply");
    whole(call).await.unwrap();
    assert_eq!(caller.send.current_max_send_streams(), 100);
    let mut raw = Wire::connect(&mesh).await;
    for number in 0..101_u32 {
        raw.stream.write_all(&frame(1, 0x4, number * 2 + 1, &get())).await.unwrap();
    }
    let mut heard = Vec::new();
    // RST_STREAM on the 101st: REFUSED_STREAM.
    let refused = frame(3, 0, 201, &[0, 0, 0, 7]);
    while !heard.windows(refused.len()).any(|window| window == refused) {
        assert!(timeout(PATIENCE, raw.stream.read_buf(&mut heard)).await.expect("nothing is refused").unwrap() > 0);
    }
}

/// CVE-2023-44487, CVE-2024-27316 and their like: each ends the connection and nothing else.
#[tokio::test]
async fn floods_end_their_connection() {
    let mesh = mesh().await;
    let head = get();
    // Heads and resets: of those that were looked at, and of those that were not.
    let resets = |turn: usize| {
        let stream = u32::try_from(turn).unwrap() * 2 + 1;
        [frame(1, 0x5, stream, &get()), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    };
    until_ended(Wire::connect(&mesh).await, resets).await;
    // CONTINUATION frames without end, some with bytes and some without.
    let continuation = |turn: usize| match turn {
        0 => frame(1, 0, 1, &get()),
        _ => frame(9, 0, 1, &[]),
    };
    until_ended(Wire::connect(&mesh).await, continuation).await;
    // DATA frames without data.
    let empty = |turn: usize| if turn == 0 { frame(1, 0x4, 1, &head) } else { frame(0, 0, 1, &[]) };
    until_ended(Wire::connect(&mesh).await, empty).await;
    let told = async {
        loop {
            let records = mesh.web.log.all();
            let broken = records.iter().filter(|record| record["outcome"] == "broke-http2");
            let details: Vec<_> = broken.map(|record| record["detail"].as_str().unwrap().to_owned()).collect();
            if details.len() >= 3 {
                break details;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let details = timeout(PATIENCE, told).await.expect("the floods are not recorded");
    assert_eq!(details.len(), 3, "{details:?}");
    // h2's words for ENHANCE_YOUR_CALM; the resets may be counted by us first.
    let is_flood = |detail: &String| detail.contains("excessive load") || detail.contains("resets too many");
    assert!(details.iter().all(is_flood), "{details:?}");
    // Somebody else is served as ever.
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, _) = caller.open(grpc("/shop.Reviews/Get"), true).await;
    let mut app = App::accept(&mesh.application).await;
    loop {
        let (asked, respond) = app.asked().await;
        // What is left of the floods was cancelled: nothing can be answered there.
        if asked.method() == "POST" {
            answer(respond, "reply");
            break;
        }
    }
    assert_eq!(whole(call).await.unwrap().text(), "reply");
}

/// Many streams that are cut in front of an answer are a flood also where each was waited for.
#[tokio::test]
async fn resets_one_by_one_are_a_flood_too() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let mut app: Option<App> = None;
    for turn in 0..200 {
        let Ok(ready) = timeout(PATIENCE, caller.send.clone().ready()).await.unwrap() else {
            assert!(turn >= 100, "{turn}");
            return;
        };
        caller.send = ready;
        let Ok((call, mut up)) = caller.send.send_request(grpc("/shop.Reviews/Get"), false) else {
            assert!(turn >= 100, "{turn}");
            return;
        };
        if app.is_none() {
            app = Some(App::accept(&mesh.application).await);
        }
        let asked = async {
            tokio::select! {
                asked = app.as_mut().unwrap().next() => asked,
                // The connection was ended under it.
                _ended = call => None,
            }
        };
        let asked = timeout(PATIENCE, asked).await.unwrap();
        up.send_reset(Reason::CANCEL);
        let Some((_, mut respond)) = asked else { continue };
        let _ = timeout(PATIENCE, std::future::poll_fn(|cx| respond.poll_reset(cx))).await.expect("nobody cancels");
    }
    panic!("two hundred resets are borne");
}

#[tokio::test]
async fn an_http2_preface_on_an_http1_mesh_connection_is_no_request() {
    use super::ends::http1_of_a_peer;
    let (mesh, mut peer) = http1_of_a_peer().await;
    peer.write_all(PREFACE).await.unwrap();
    let mut told = Vec::new();
    timeout(PATIENCE, peer.read_to_end(&mut told)).await.expect("it waits for more").unwrap();
    assert!(told.starts_with(b"HTTP/1.1 505"), "{}", String::from_utf8_lossy(&told));
    drop(mesh);
}
