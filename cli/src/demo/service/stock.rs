//! The stock protocol: raw TCP in which the server speaks first.
//!
//! After the greeting the client says in a line what it wants, and then sends what it likes until it closes its half:
//! `echo` returns every byte and closes after the client has; `drain` closes the server's half at once and takes in all
//! that still comes; `drained` tells how many bytes the last `drain` took in.
use std::{cell::Cell, io, net::SocketAddr};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_buf, sink},
    net::TcpStream,
};

/// What the server says first.
pub(crate) const GREETING: &str = "stock ready\n";
/// The longest line that is read.
const MAX_LINE: u64 = 64;

/// The server's side of one connection; `drained` is what the last `drain` took in.
pub(super) async fn serve(mut stream: TcpStream, drained: &Cell<u64>) -> io::Result<()> {
    stream.write_all(GREETING.as_bytes()).await?;
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    (&mut reader).take(MAX_LINE).read_line(&mut line).await?;
    match line.trim_end() {
        "echo" => {
            copy_buf(&mut reader, &mut writer).await?;
        }
        "drain" => {
            writer.shutdown().await?;
            drained.set(copy_buf(&mut reader, &mut sink()).await?);
            return Ok(());
        }
        "drained" => writer.write_all(drained.get().to_string().as_bytes()).await?,
        unknown => writer.write_all(format!("unknown: {unknown}").as_bytes()).await?,
    }
    writer.shutdown().await
}

/// The client's side of one short exchange: a line, what follows it, and all that comes back.
pub(crate) async fn ask(address: SocketAddr, line: &str, then: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    let mut greeting = String::new();
    (&mut reader).take(MAX_LINE).read_line(&mut greeting).await?;
    if greeting != GREETING {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("unexpected greeting {greeting:?}")));
    }
    let send = async {
        writer.write_all(format!("{line}\n").as_bytes()).await?;
        writer.write_all(then).await?;
        writer.shutdown().await
    };
    let mut answer = Vec::new();
    tokio::try_join!(send, reader.read_to_end(&mut answer))?;
    Ok(answer)
}

/// As [`ask`] with `drain`, but sends only once the server has closed its half: what the mesh must carry then goes one
/// way alone.
pub(crate) async fn drain(address: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"drain\n").await?;
    let mut greeting = Vec::new();
    stream.read_to_end(&mut greeting).await?;
    if greeting != GREETING.as_bytes() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the server said more than its greeting"));
    }
    stream.write_all(bytes).await?;
    stream.shutdown().await
}
