//! A refusal's id leads to its record, and from there to the object and line that caused it.
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use weft_control_plane::client::CallError;
use weft_harness::{Plan, Sidecar, eventually};

use crate::shop::{OBJECTS, Shop};

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_a_403_finds_the_record_that_names_the_policy_and_the_policy_has_its_file_and_line() {
    let shop = Shop::open().await;
    let intruder = Sidecar::start(&shop.mesh, Plan::new("intruder-0", "intruder")).await.unwrap();
    let reply = intruder.connect().await.unwrap().get("reviews", "/books?page=2", &[]).await.unwrap();
    assert_eq!(reply.status, 403);
    let id = reply.header("x-weft-decision").unwrap().to_owned();
    assert!(id.starts_with("reviews-v1-0."), "{id}");

    let client = shop.mesh.client();
    let answer = client.proxy("shop", "reviews-v1-0", &format!("/records/{id}")).await.unwrap();
    let record = &answer["record"];
    for (field, expected) in [
        ("id", &*id),
        ("outcome", "denied"),
        ("stage", "permit"),
        ("direction", "inbound"),
        ("caller", "spiffe://weft.local/ns/shop/sa/intruder"),
        ("method", "GET"),
        ("path", "/books"),
    ] {
        assert_eq!(record[field], expected, "{field} of {record}");
    }
    assert!(record["detail"].as_str().unwrap().contains("AccessPolicy shop/reviews"), "{record}");
    assert!(record["revision"].is_string(), "{record}");

    let found = client.objects(Some("AccessPolicy"), Some("shop"), Some("reviews")).await.unwrap();
    let source = found.items[0].source.clone().unwrap();
    assert_eq!(&*source.file, "test.yaml");
    let line = OBJECTS.lines().nth(usize::try_from(source.line).unwrap() - 1).unwrap();
    assert!(line.contains("weft.dev/v1alpha1"), "line {} is {line:?}", source.line);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_another_start_or_one_that_is_not_kept_is_gone() {
    let shop = Shop::open().await;
    let client = shop.mesh.client();
    let state = client.proxy("shop", "web-0", "/state").await.unwrap();
    let start = state["start"].as_str().unwrap();
    for id in ["web-0.other.0.1".to_owned(), format!("web-0.{start}.0.999999")] {
        match client.proxy("shop", "web-0", &format!("/records/{id}")).await {
            Err(CallError::Refused(refused)) => assert!(refused.error.starts_with("record gone"), "{refused:?}"),
            other => panic!("{id}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_refused_is_listed_with_its_id_and_cause() {
    let shop = Shop::open().await;
    let mut stream = TcpStream::connect(shop.stock.bound.inbound.unwrap()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: reviews.shop\r\n\r\n").await.unwrap();
    // A reset is as good an end as a close.
    let _end = stream.read_to_end(&mut Vec::new()).await;
    let refused: Value = eventually("the refusal's record", async || {
        let answer = shop.mesh.client().proxy("shop", "stock-0", "/refusals").await.unwrap();
        answer["refusals"].as_array().unwrap().iter().find(|it| it["outcome"] == "plaintext").cloned()
    })
    .await;
    assert!(refused["id"].as_str().unwrap().starts_with("stock-0."), "{refused}");
    assert_eq!(refused["protocol"], "tcp");
}
