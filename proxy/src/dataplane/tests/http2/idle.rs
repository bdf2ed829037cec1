//! Streams on which nothing moves.
use std::time::Duration;

use ::http::Response;
use bytes::Bytes;
use tokio::time::{sleep, timeout};
use weft_model::Protocol;

use super::peers::{App, Caller, grpc, next};
use crate::dataplane::tests::{idle::bounded, mesh::PATIENCE};

#[tokio::test]
async fn a_policy_bounds_a_stream_on_which_nobody_says_anything_and_no_other() {
    let bound = Duration::from_secs(1);
    let mesh = bounded(Protocol::Http2, |route| route.idle_timeout = Some(bound)).await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, mut up) = caller.open(grpc("/shop.Reviews/Watch"), false).await;
    let mut app = App::accept(&mesh.application).await;
    let (asked, mut respond) = app.asked().await;
    let mut heard = asked.into_body();
    let mut down = respond.send_response(Response::new(()), false).unwrap();
    let mut reply = call.await.unwrap().into_body();
    // In turns, and for longer in all than either may be silent.
    for turn in 0..12 {
        sleep(bound / 10).await;
        match turn % 2 {
            0 => down.send_data(Bytes::from_static(b"down"), false).unwrap(),
            _ => up.send_data(Bytes::from_static(b"up"), false).unwrap(),
        }
        match turn % 2 {
            0 => assert_eq!(next(&mut reply).await, "down"),
            _ => assert_eq!(next(&mut heard).await, "up"),
        }
    }
    let ended = timeout(PATIENCE, reply.data()).await.expect("it stands still for ever");
    assert!(ended.is_some_and(|data| data.is_err()));
    let record = &mesh.web.log.records(1).await[0];
    assert_eq!(record["outcome"], "body-idle");
}
