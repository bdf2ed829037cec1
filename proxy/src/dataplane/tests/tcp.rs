//! TCP through both sidecars.
use tokio::io::AsyncWriteExt;
use weft_model::Protocol;

use super::mesh::{Mesh, Peer};

#[tokio::test]
async fn bytes_pass_unchanged_and_each_half_close_by_itself() {
    let mesh = Mesh::start(Protocol::Tcp, Some(&["web"]), None).await;
    let mut client = Peer::connect(mesh.web.stock()).await;
    client.send("order 66").await;
    let mut app = mesh.accept().await;
    app.until("order 66").await;
    client.stream.shutdown().await.unwrap();
    assert!(app.rest().await.is_empty());
    let goods: Vec<u8> = (0..1_000_000u32).map(|n| (n / 3) as u8).collect();
    let (_, got) = tokio::join!(
        async {
            app.send(&goods).await;
            app.stream.shutdown().await.unwrap();
        },
        client.rest()
    );
    assert!(got == goods, "the bytes differ");
    let record = &mesh.web.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["protocol"]), (&"complete".into(), &"tcp".into()));
    assert_eq!((&record["sent"], &record["received"]), (&8.into(), &1_000_000.into()));
    let record = &mesh.server.log.records(1).await[0];
    assert_eq!(record["caller"], "spiffe://weft.local/ns/shop/sa/web");
    assert_eq!(record["outcome"], "complete");
}

#[tokio::test]
async fn the_server_may_speak_and_end_first() {
    let mesh = Mesh::start(Protocol::Tcp, Some(&["web"]), None).await;
    let mut client = Peer::connect(mesh.web.stock()).await;
    let mut app = mesh.accept().await;
    app.send("220 stock ready\n").await;
    client.until("220 stock ready\n").await;
    app.stream.shutdown().await.unwrap();
    assert!(client.rest().await.is_empty());
    client.send("bye").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(app.rest().await, b"bye");
}

#[tokio::test]
async fn who_may_not_call_is_reset_and_the_record_says_why() {
    let mesh = Mesh::start(Protocol::Tcp, None, None).await;
    let mut client = Peer::connect(mesh.web.stock()).await;
    assert_eq!(client.failure().await, Some(std::io::ErrorKind::ConnectionReset));
    let record = &mesh.server.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["stage"]), (&"denied".into(), &"permit".into()));
    assert_eq!(record["detail"], "no AccessPolicy selects shop/stock");
}

#[tokio::test]
async fn a_reset_is_passed_on_as_a_reset() {
    let mesh = Mesh::start(Protocol::Tcp, Some(&["web"]), None).await;
    let mut client = Peer::connect(mesh.web.stock()).await;
    client.send("x").await;
    let mut app = mesh.accept().await;
    app.until("x").await;
    weft_net::reset_on_close(&app.stream).unwrap();
    drop(app);
    assert_eq!(client.failure().await, Some(std::io::ErrorKind::ConnectionReset));
    assert_eq!(mesh.server.log.records(1).await[0]["outcome"], "upstream-gone");
}
