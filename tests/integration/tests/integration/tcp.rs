//! TCP through the mesh.
use std::io::ErrorKind;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use weft_harness::{Plan, Sidecar};

use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn the_server_speaks_first_and_each_half_close_is_kept() {
    let shop = Shop::open().await;
    let mut stream = TcpStream::connect(shop.web.tcp("shop/stock:9000").unwrap()).await.unwrap();
    let mut greeting = [0; 6];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello\n");
    let sent: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    let (mut reader, mut writer) = stream.split();
    let mut returned = Vec::new();
    let send = async {
        writer.write_all(&sent).await?;
        writer.shutdown().await
    };
    // The echo ends only after our half-close has reached it: reading to the end shows both.
    tokio::try_join!(send, reader.read_to_end(&mut returned)).unwrap();
    assert!(returned == sent, "{} bytes came back", returned.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_permission_is_cut_before_a_byte_comes() {
    let shop = Shop::open().await;
    let plan = Plan::new("intruder-0", "intruder").calls("shop/stock:9000");
    let intruder = Sidecar::start(&shop.mesh, plan).await.unwrap();
    let mut answer = Vec::new();
    match TcpStream::connect(intruder.tcp("shop/stock:9000").unwrap()).await {
        Ok(mut stream) => drop(stream.read_to_end(&mut answer).await),
        // The cut may come before the connect has been looked at.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert!(answer.is_empty(), "{answer:?}");
}
