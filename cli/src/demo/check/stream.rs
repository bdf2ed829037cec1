//! TCP through the mesh.
use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::TcpStream,
};

use super::{Found, figure};
use crate::{
    demo::{mesh::Mesh, service::stock::GREETING},
    failure::{Failure, While},
};

const BYTES: usize = 1 << 20;

/// Sends a mebibyte through the mesh, the client closing first, and compares what comes back; then the same with a
/// client that has nothing to say.
pub(super) async fn both_ways(mesh: &Mesh) -> Found {
    let stock = mesh.instance("catalog-0")?.bound.tcp("shop/stock:9000");
    let stock = stock.ok_or_else(|| Failure::new("catalog's sidecar has no listener for stock"))?;
    let sent: Vec<u8> = {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = || {
            // Marsaglia's xorshift: bytes that do not compress or repeat.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        };
        std::iter::repeat_with(next).take(BYTES).collect()
    };
    let returned = exchange(stock, &sent).await.while_("talk to stock")?;
    let same = returned.strip_prefix(GREETING.as_bytes()) == Some(sent.as_slice());
    let nothing = exchange(stock, &[]).await.while_("talk to stock")?;
    let quiet = nothing == GREETING.as_bytes();
    figure(
        same && quiet,
        format!(
            "{} of {BYTES} bytes came back as sent after the client's half-close",
            returned.len() - GREETING.len().min(returned.len())
        ),
    )
}

/// Writes everything, closes that half, and reads the other to its end.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let (mut reader, mut writer) = stream.split();
    let mut returned = Vec::new();
    let send = async {
        writer.write_all(bytes).await?;
        writer.shutdown().await
    };
    tokio::try_join!(send, reader.read_to_end(&mut returned))?;
    // The server has closed its half too: nothing more comes.
    copy(&mut reader, &mut sink()).await?;
    Ok(returned)
}
