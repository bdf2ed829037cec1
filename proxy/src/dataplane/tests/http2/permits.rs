//! Access by what a request asks for, over HTTP/2.
use weft_model::Protocol;

use super::peers::{App, Caller, answer, mesh, request, whole};
use crate::dataplane::tests::{mesh::snapshot, permits::readers};

#[tokio::test]
async fn a_stream_is_permitted_by_what_it_asks_for_and_its_refusal_leaves_the_connection_alone() {
    let mesh = mesh().await;
    mesh.server.dataplane.publish(snapshot([readers(&mesh, Protocol::Http2)]));
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, _) = caller.open(request("GET", "/books/./1").body(()).unwrap(), true).await;
    let mut app = App::accept(&mesh.application).await;
    let (asked, respond) = app.asked().await;
    assert_eq!(asked.uri().path(), "/books/1");
    answer(respond, "reply");
    assert_eq!(whole(call).await.unwrap().text(), "reply");
    let twice = request("GET", "/books").header("x-debug", "0").header("x-debug", "1");
    for (asked, rule) in [
        (request("POST", "/books"), None),
        (request("GET", "/keys"), None),
        (twice, Some("AccessPolicy shop/freeze rule 1")),
    ] {
        let told = caller.ask(asked.body(()).unwrap()).await;
        assert_eq!(told.head.status(), 403, "{}", told.text());
        let record = mesh.server.log.record(told.field("x-weft-decision")).await;
        assert_eq!((&record["outcome"], record["rule"].as_str()), (&"denied".into(), rule), "{record}");
    }
    let (call, _) = caller.open(request("GET", "/books").body(()).unwrap(), true).await;
    let (_asked, respond) = app.asked().await;
    answer(respond, "reply");
    assert_eq!(whole(call).await.unwrap().head.status(), 200);
}
