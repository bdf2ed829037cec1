//! Row 22: long streams of bytes in both directions, ended by either side first, and by a reset. What arrives is what was
//! sent, byte for byte; nothing is cut early; and once all is over no connection is left at any sidecar.
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aws_lc_rs::digest::{Context, SHA256};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};
use weft_drills::{Drill, Verdict, alone, control_plane, namespace};
use weft_harness::{
    Plan,
    objects::{TCP, open_service},
    process::Place,
};

/// How long one stream may take: a gibibyte in each direction on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long connections may be left once all streams have ended.
const QUIET: Duration = Duration::from_secs(60);

/// Who ends the stream, and how.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// The client closes its half first; the server answers to the end then.
    Client,
    /// The server closes its half first; the client sends to the end then.
    Server,
    /// Both send at the same time, and close when they have sent.
    Both,
    /// The server resets the stream in the middle.
    Reset,
}

impl Ends {
    const ALL: [Self; 4] = [Self::Client, Self::Server, Self::Both, Self::Reset];
}

/// A length and a SHA-256.
type Sum = (u64, Vec<u8>);

pub(crate) async fn run(drill: Drill) -> Result<Verdict> {
    let bytes = drill.count(8 << 20, 1 << 30) as u64;
    let plane = control_plane(&drill.folder, "1h").await?;
    plane.apply(&open_service("stock", "stock", &[TCP])).await?;
    let place = namespace::pod()?;
    let server = place.listen((Ipv4Addr::LOCALHOST, 0).into())?;
    let plan = Plan::new("stock-0", "stock").application("tcp", server.local_addr()?);
    let mut stock = plane.sidecar(&plan).await?.at(&place);
    stock.start().await?;
    let mut web = alone(&plane, &Plan::new("web-0", "web").calls("shop/stock:9000")).await?;
    web.start().await?;
    let address = web.tcp("shop/stock:9000")?;

    let mut verdict = Verdict::default();
    verdict.told("bytes of a stream in each direction", bytes);
    for (turn, ends) in (0..).zip(Ends::ALL) {
        let seeds = (drill.seed.wrapping_mul(31) + turn, drill.seed.wrapping_mul(37) + turn);
        let began = Instant::now();
        let both =
            async { tokio::join!(serve(&server, ends, seeds, bytes), call(web.place(), address, ends, seeds, bytes)) };
        let (served, called) = timeout(PATIENCE, both).await.with_context(|| format!("{ends:?} does not end"))?;
        verdict.told(&format!("{ends:?} took"), format!("{:.1} s", began.elapsed().as_secs_f64()));
        if let Ends::Reset = ends {
            let reset = called.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset);
            verdict.figure("a reset arrives as one", format!("{reset}"), "true", reset);
            continue;
        }
        let ((up, sent_down), (down, sent_up)) = (served?, called?);
        verdict.figure(
            &format!("{ends:?}: what the server got is what was sent"),
            up == sent_up,
            "true",
            up == sent_up,
        );
        let same = down == sent_down;
        verdict.figure(&format!("{ends:?}: what the client got is what was sent"), same, "true", same);
        verdict.figure(
            &format!("{ends:?}: bytes that came"),
            up.0 + down.0,
            &(2 * bytes).to_string(),
            up.0 + down.0 == 2 * bytes,
        );
    }

    let over = Instant::now();
    let mut left = f64::INFINITY;
    while left > 0.0 && over.elapsed() < QUIET {
        left = 0.0;
        for sidecar in [&web, &stock] {
            left += sidecar.metric("weft_connections_active").await?;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    verdict.figure("connections left at the sidecars", left, "0", left == 0.0);
    verdict.time("they have gone after", over.elapsed(), QUIET);
    Ok(verdict)
}

/// The server's side of one stream: what it got, and what it sent.
async fn serve(server: &TcpListener, ends: Ends, (up, down): (u64, u64), bytes: u64) -> io::Result<(Sum, Sum)> {
    // A sidecar looks now and then whether its application takes connections: those end without a word.
    let mut stream = loop {
        let (mut stream, _) = server.accept().await?;
        if stream.read_u8().await.is_ok() {
            break stream;
        }
    };
    match ends {
        Ends::Client => {
            let (mut read, write) = stream.into_split();
            let got = receive(&mut read).await?;
            Ok((got, send(write, down, bytes).await?))
        }
        Ends::Server => {
            let (mut read, write) = stream.into_split();
            let sent = send(write, down, bytes).await?;
            Ok((receive(&mut read).await?, sent))
        }
        Ends::Both => {
            let (mut read, write) = stream.into_split();
            tokio::try_join!(receive(&mut read), send(write, down, bytes))
        }
        Ends::Reset => {
            let mut some = vec![0; 64 << 10];
            stream.read_exact(&mut some).await?;
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            drop(stream);
            Ok(((up, Vec::new()), (down, Vec::new())))
        }
    }
}

/// The client's side of one stream: what it got, and what it sent.
async fn call(
    place: &Place,
    address: SocketAddr,
    ends: Ends,
    (up, _): (u64, u64),
    bytes: u64,
) -> io::Result<(Sum, Sum)> {
    let mut stream = place.connect(address).await?;
    stream.write_u8(b'!').await?;
    let (mut read, write) = stream.into_split();
    match ends {
        Ends::Client => {
            let sent = send(write, up, bytes).await?;
            Ok((receive(&mut read).await?, sent))
        }
        Ends::Server => {
            let got = receive(&mut read).await?;
            Ok((got, send(write, up, bytes).await?))
        }
        Ends::Both => tokio::try_join!(receive(&mut read), send(write, up, bytes)),
        Ends::Reset => {
            // Whichever of the two sees it first.
            let sent = send(write, up, bytes).await;
            let got = receive(&mut read).await;
            Ok((got?, sent?))
        }
    }
}

/// Sends so many bytes that are drawn from a seed, and closes that half.
async fn send(mut write: OwnedWriteHalf, seed: u64, bytes: u64) -> io::Result<Sum> {
    let (mut draws, mut sum, mut chunk) = (StdRng::seed_from_u64(seed), Context::new(&SHA256), vec![0; 256 << 10]);
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        let part = chunk.get_mut(..length).unwrap_or_default();
        draws.fill_bytes(part);
        sum.update(part);
        write.write_all(part).await?;
        left -= length as u64;
    }
    write.shutdown().await?;
    Ok((bytes, sum.finish().as_ref().to_vec()))
}

/// Reads to the end.
async fn receive(read: &mut OwnedReadHalf) -> io::Result<Sum> {
    let (mut sum, mut length, mut chunk) = (Context::new(&SHA256), 0, vec![0; 256 << 10]);
    loop {
        let count = read.read(&mut chunk).await?;
        if count == 0 {
            return Ok((length, sum.finish().as_ref().to_vec()));
        }
        length += count as u64;
        sum.update(chunk.get(..count).unwrap_or_default());
    }
}
