//! Instances that leave.
use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use weft_control_plane::wire::WorkloadState;
use weft_harness::{Application, Plan, Sidecar, eventually};

use crate::shop::Shop;

/// From the draining's begin on, this long and no longer may connections still land on the instance that leaves.
const STILL_CHOSEN: Duration = Duration::from_secs(1);

async fn greeted(shop: &Shop) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(shop.web.tcp("shop/stock:9000").unwrap()).await.unwrap();
    let mut greeting = [0; 6];
    stream.read_exact(&mut greeting).await.unwrap();
    (stream, String::from_utf8_lossy(&greeting).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_new_connection_lands_on_an_instance_that_drains_and_the_open_ones_are_served() {
    let shop = Shop::open().await;
    let leaving = Application::echo("leave\n").await;
    let plan = Plan::new("stock-1", "stock").application("tcp", leaving.address);
    let sidecar = Sidecar::start(&shop.mesh, plan).await.unwrap();
    let (mut open, _) = eventually("a connection to the second instance", async || {
        Some(greeted(&shop).await).filter(|(_, greeting)| greeting == "leave\n")
    })
    .await;

    sidecar.proxy.drain();
    tokio::time::sleep(STILL_CHOSEN).await;
    for turn in 0..30 {
        let (_, greeting) = greeted(&shop).await;
        assert_eq!(greeting, "hello\n", "connection {turn} landed on the instance that leaves");
    }
    let items = shop.mesh.client().workloads().await.unwrap().items;
    let item = items.iter().find(|item| item.name == "stock-1").unwrap();
    assert_eq!(item.state, WorkloadState::Draining, "the open connection keeps it, and it says that it drains");

    open.write_all(b"still served").await.unwrap();
    open.shutdown().await.unwrap();
    let mut returned = Vec::new();
    open.read_to_end(&mut returned).await.unwrap();
    assert_eq!(returned, b"still served");
    eventually("the end of the drain", async || sidecar.proxy.is_stopped().then_some(())).await;
    let records = sidecar.access_log();
    assert!(records.len() == 1 && records[0].contains("\"outcome\":\"complete\""), "{records:#?}");
}
