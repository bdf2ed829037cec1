//! Row 6: sidecars of a service are killed one after the other and started again at once, as a kubelet does. Every packet
//! is looked at meanwhile: what goes to or from a mesh port holds no word of HTTP.
use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use weft_drills::{Capture, Captured, Drill, Load, Mesh, Sent, Verdict};
use weft_harness::process::Sidecar;

/// What the load's requests and answers hold in clear, and nothing sealed does.
const WORDS: [&[u8]; 2] = [b"HTTP/1.1", b"twelve bytes"];

/// How long the word that a connection has ended may be on its way from one pod to another on a busy machine: what is sent
/// there meanwhile is in flight to a process that is no more.
const ON_ITS_WAY: Duration = Duration::from_millis(50);

/// A sidecar's end.
struct Crash {
    workload: String,
    asked: Instant,
    killed: Instant,
}

impl Crash {
    /// Whether a request was under way while the process was ended; its connections break before it is found to have gone.
    fn met(&self, request: &Sent) -> bool {
        request.due <= self.killed + ON_ITS_WAY && request.due + request.latency >= self.asked
    }
}

pub(crate) async fn run(drill: Drill) -> Result<Verdict> {
    let mut draws = StdRng::seed_from_u64(drill.seed);
    let mut mesh = Mesh::start(&drill.folder, 3, "1h").await?;
    let ports: Vec<_> = mesh.stock.iter().map(|pod| pod.sidecar.inbound()).collect::<Result<_>>()?;
    let sidecars = mesh.stock.iter().map(|pod| &pod.sidecar).chain([&mesh.web]);
    let captures: Vec<_> = sidecars.map(|it| Capture::start(it.place(), &ports, &WORDS)).collect::<Result<_>>()?;
    let load = Load::new(&mesh.web, "stock", drill.seed)?.start();
    let pause = drill.lasts(Duration::from_secs(4), Duration::from_secs(10));
    let end = Instant::now() + drill.lasts(Duration::from_secs(18), Duration::from_secs(180));
    let (mut crashes, mut slowest) = (Vec::new(), Duration::ZERO);
    while Instant::now() + pause < end {
        tokio::time::sleep(pause).await;
        let pod = draws.random_range(0..mesh.stock.len());
        let sidecar = &mut mesh.stock.get_mut(pod).context("a pod")?.sidecar;
        let asked = Instant::now();
        sidecar.kill().await?;
        let killed = Instant::now();
        sidecar.launch().await?;
        sidecar.ready(Duration::from_secs(20)).await?;
        slowest = slowest.max(killed.elapsed());
        crashes.push(Crash { workload: format!("shop/{}", sidecar.name), asked, killed });
    }
    tokio::time::sleep(pause).await;
    let report = load.end().await;
    let captured: Captured = captures.into_iter().map(Capture::end).sum::<Result<_>>()?;

    let mut verdict = Verdict::default();
    verdict.told("requests", report.sent.len());
    verdict.told("crashes", crashes.len());
    // Beside other drills a process starts as the machine lets it.
    let bound = drill.lasts(Duration::from_secs(2), Duration::from_millis(500));
    verdict.time("slowest to serve again", slowest, bound);
    let (lost, chosen) = (report.lost(), chosen(&mesh.web));
    let in_flight = |it: &Sent| crashes.iter().any(|crash| crash.met(it));
    let others = lost.iter().filter(|it| !in_flight(it)).count();
    verdict.none("lost that were not in flight at a crash", others);
    let of_the_pod = |it: &Sent| {
        let met = crashes.iter().filter(|crash| crash.met(it));
        met.map(|crash| &crash.workload).any(|workload| chosen.get(&it.id) == Some(workload))
    };
    let strangers = lost.iter().filter(|it| in_flight(it) && !of_the_pod(it)).count();
    verdict.none("lost in flight to another pod than the one that crashed", strangers);
    verdict.told("lost in flight", lost.len() - others);
    verdict.told("causes", report.causes());
    verdict.none("doubled POSTs", report.doubled(mesh.backends(), true));
    verdict.figure("segments at mesh ports", captured.mesh, "> 0", captured.mesh > 0);
    verdict.none("of them with a word in clear", captured.plain);
    verdict.figure("segments with a word in clear elsewhere", captured.elsewhere, "> 0", captured.elsewhere > 0);
    let mut plain = 0;
    for port in ports {
        plain += usize::from(answers_plaintext(port).await);
    }
    verdict.none("inbound ports that answer plaintext", plain);
    Ok(verdict)
}

/// The endpoint that each request was sent to in the end, by its id, as the caller's records tell.
fn chosen(web: &Sidecar) -> HashMap<String, String> {
    let lines = web.access_log();
    let records = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of = |record: Value| {
        let text = |field: &str| record[field].as_str().map(str::to_owned);
        Some((text("path")?.trim_start_matches('/').to_owned(), text("endpoint")?))
    };
    records.filter_map(of).collect()
}

/// Whether a mesh port says a word to a client that speaks plain HTTP.
async fn answers_plaintext(inbound: SocketAddr) -> bool {
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
