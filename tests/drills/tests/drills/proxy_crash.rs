//! Row 6: sidecars of a service are killed one after the other and started again at once, as a kubelet does.
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use weft_drills::{Drill, Load, Mesh, Verdict};

pub(crate) async fn run(drill: Drill) -> Result<Verdict> {
    let mut draws = StdRng::seed_from_u64(drill.seed);
    let mut mesh = Mesh::start(&drill.folder, 3, "1h").await?;
    let load = Load::new(mesh.web.outbound()?, "stock", drill.seed).start();
    let pause = drill.lasts(Duration::from_secs(4), Duration::from_secs(10));
    let end = Instant::now() + drill.lasts(Duration::from_secs(18), Duration::from_secs(180));
    let (mut crashes, mut slowest, mut plain) = (Vec::new(), Duration::ZERO, 0);
    while Instant::now() + pause < end {
        tokio::time::sleep(pause).await;
        let pod = draws.random_range(0..mesh.stock.len());
        let sidecar = &mut mesh.stock.get_mut(pod).context("a pod")?.sidecar;
        let inbound = sidecar.inbound()?;
        let asked = Instant::now();
        sidecar.kill().await?;
        let killed = Instant::now();
        sidecar.launch().await?;
        sidecar.ready(Duration::from_secs(20)).await?;
        slowest = slowest.max(killed.elapsed());
        crashes.push((asked, killed));
        plain += usize::from(answers_plaintext(inbound).await);
    }
    tokio::time::sleep(pause).await;
    let report = load.end().await;

    let mut verdict = Verdict::default();
    verdict.told("requests", report.sent.len());
    verdict.told("crashes", crashes.len());
    // Beside other drills a process starts as the machine lets it.
    let bound = drill.lasts(Duration::from_secs(2), Duration::from_millis(500));
    verdict.time("slowest to serve again", slowest, bound);
    // In flight: under way while the process was ended; its connections break before it is found to have gone.
    let meets = |due: Instant, ended: Instant| crashes.iter().any(|(asked, killed)| due <= *killed && ended >= *asked);
    let in_flight = |due: Instant, latency: Duration| meets(due, due + latency);
    let lost = report.lost();
    let others = lost.iter().filter(|it| !in_flight(it.due, it.latency)).count();
    verdict.none("lost that were not in flight at a crash", others);
    verdict.told("lost in flight", lost.len() - others);
    verdict.told("causes", report.causes());
    verdict.none("doubled POSTs", report.doubled(mesh.backends(), true));
    verdict.none("inbound ports that answer plaintext", plain);
    Ok(verdict)
}

/// Whether a mesh port says a word to a client that speaks plain HTTP.
async fn answers_plaintext(inbound: std::net::SocketAddr) -> bool {
    let exchange = async {
        let mut stream = TcpStream::connect(inbound).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: stock\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(!answer.is_empty())
    };
    // A reset, or silence, is what is wanted.
    matches!(timeout(Duration::from_secs(2), exchange).await, Ok(Ok(true)))
}
