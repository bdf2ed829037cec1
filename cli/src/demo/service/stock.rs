//! The stock protocol: raw TCP in which the server speaks first. The client reads the greeting, sends anything, and
//! closes its side; the server returns every byte, then closes its own.
use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// What the server says first.
pub(crate) const GREETING: &str = "stock ready\n";

/// The server's side of one connection.
pub(super) async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(GREETING.as_bytes()).await?;
    let (mut reader, mut writer) = stream.split();
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await
}

/// The client's side: sends `item`, closes its half, and reads to the end. The text that came back.
pub(crate) async fn ask(address: SocketAddr, item: &str) -> io::Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let mut greeting = String::new();
    stream.read_line(&mut greeting).await?;
    if greeting != GREETING {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("unexpected greeting {greeting:?}")));
    }
    stream.get_mut().write_all(item.as_bytes()).await?;
    stream.get_mut().shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
