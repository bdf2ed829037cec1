//! Row 11: crowds that mean ill come at both sides of a mesh: connections that never finish their TLS handshake, heads that
//! come a byte at a time, and HTTP/2 frames that cost their reader more than their sender. Whoever means well is served
//! throughout, and what the crowds took is given back.
use std::{
    fs, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::sleep,
};
use weft_drills::{Drill, Load, Mesh, Scale, Verdict, namespace};
use weft_harness::process::{Place, Sidecar};

/// How long a head may take, and how much later its connection may be found open on a busy machine.
const HEAD: Duration = Duration::from_secs(10);
const LATE: Duration = Duration::from_secs(2);
/// The most that a sidecar may use.
const MEMORY: u64 = 256 << 20;
/// After how long what the crowds took must be given back, and how much of it may be kept for each byte used before.
const BACK: Duration = Duration::from_secs(60);
const KEPT: f64 = 0.1;

pub(crate) async fn run(drill: Drill) -> Result<Verdict> {
    let mesh = Mesh::start(&drill.folder, 2, "1h").await?;
    let load = Load::new(&mesh.web, "stock", drill.seed)?.start();
    sleep(drill.lasts(Duration::from_secs(4), Duration::from_secs(45))).await;
    let (calm, base) = (Instant::now(), memory(&mesh)?);
    let lasts = drill.lasts(Duration::from_secs(14), Duration::from_secs(120));
    let half_open = drill.count(2_000, 20_000);

    let mut crowds = JoinSet::new();
    let strangers = Crowd::new(namespace::pod()?, calm + lasts);
    for pod in &mesh.stock {
        crowds.spawn(strangers.clone().half_open(pod.sidecar.inbound()?, half_open / mesh.stock.len(), lasts));
    }
    // The caller's outbound listener is on its loopback interface: these come from beside it.
    let outbound = mesh.web.outbound()?;
    let (slow, floods) =
        (Crowd::new(mesh.web.place().clone(), calm + lasts), Crowd::new(mesh.web.place().clone(), calm + lasts));
    for _ in 0..drill.count(200, 1_000) {
        crowds.spawn(slow.clone().slow_head(outbound));
    }
    for frames in Frames::ALL {
        crowds.spawn(floods.clone().flood(outbound, frames));
    }
    let mut most = base;
    while calm.elapsed() < lasts {
        most = most.max(memory(&mesh)?);
        sleep(Duration::from_millis(200)).await;
    }
    crowds.shutdown().await;
    let over = Instant::now();
    let bound = (base as f64 * (1.0 + KEPT)) as u64;
    while memory(&mesh)? > bound && over.elapsed() < BACK {
        sleep(Duration::from_millis(100)).await;
    }
    let (back, left) = (over.elapsed(), memory(&mesh)?);
    let started = load.started;
    let report = load.end().await;

    let mut verdict = Verdict::default();
    verdict.told("requests", report.sent.len());
    verdict.none("lost", report.lost().len());
    verdict.told("causes", report.causes());
    for (name, crowd, least) in
        [("half-open handshakes", &strangers, half_open), ("slow heads", &slow, 1), ("floods of frames", &floods, 1)]
    {
        let (came, ended) = (crowd.came.load(Ordering::Relaxed), crowd.ended.load(Ordering::Relaxed));
        verdict.figure(&format!("{name}: connections"), came, &format!("≥ {least}"), came >= least);
        verdict.figure(&format!("{name}: ended by the sidecar"), ended, "> 0", ended > 0);
    }
    verdict.none("slow heads open after 12 s", slow.late.load(Ordering::Relaxed));
    let p99 = |from, to| report.between(from, to).latency(990);
    let (before, during) = (p99(started, calm), p99(calm, calm + lasts));
    let (bound, shown) = (3 * before + Duration::from_millis(2), format!("{during:.1?} against {before:.1?} before"));
    // Beside other rows the machine is busy by turns: the share is judged where the row runs alone.
    let judged = drill.scale == Scale::Short || during <= bound;
    verdict.figure("99 % of latencies meanwhile", shown, "≤ 3 × + 2 ms (full form)", judged);
    verdict.figure("most memory of a sidecar", mebibytes(most), "≤ 256 MiB", most <= MEMORY);
    verdict.told("memory before", mebibytes(base));
    verdict.time(&format!("memory given back but a tenth ({})", mebibytes(left)), back, BACK);
    Ok(verdict)
}

/// The resident memory of the sidecar that has the most.
fn memory(mesh: &Mesh) -> Result<u64> {
    let of = |sidecar: &Sidecar| {
        let status = fs::read_to_string(format!("/proc/{}/status", sidecar.id()?))?;
        let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
        anyhow::Ok(kibibytes.context("no VmRSS")?.trim().parse::<u64>()? << 10)
    };
    let sidecars = mesh.stock.iter().map(|pod| &pod.sidecar).chain([&mesh.web]);
    let all = sidecars.map(of).collect::<Result<Vec<_>>>()?;
    all.into_iter().max().context("no sidecar")
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// What HTTP/2 is flooded with.
#[derive(Clone, Copy, Debug)]
enum Frames {
    /// Requests that are reset at once (CVE-2023-44487).
    Resets,
    /// Pings that want answers (CVE-2019-9512).
    Pings,
    /// Settings that want answers (CVE-2019-9515).
    Settings,
    /// A head without an end (CVE-2024-27316).
    Continuations,
    /// Data without a byte (CVE-2019-9518).
    Empty,
}

/// `GET http://stock/` (RFC 7541 §C.3).
const HEADERS: &[u8] = b"\x82\x86\x84\x41\x05stock";

impl Frames {
    const ALL: [Self; 5] = [Self::Resets, Self::Pings, Self::Settings, Self::Continuations, Self::Empty];

    /// Frames on a connection's stream (RFC 9113 §6): the first ones where `at` is 0.
    fn next(self, at: u32) -> Vec<u8> {
        let opens = |flags| frame(1, flags, 1, HEADERS);
        match self {
            Self::Resets => {
                let stream = 2 * at + 1;
                [frame(1, 0x5, stream, HEADERS), frame(3, 0, stream, &8_u32.to_be_bytes())].concat()
            }
            Self::Pings => frame(6, 0, 0, &[7; 8]),
            Self::Settings => frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]),
            Self::Continuations if at == 0 => opens(0),
            // A literal field that is not indexed: `x: y`.
            Self::Continuations => frame(9, 0, 1, b"\x00\x01x\x01y"),
            Self::Empty if at == 0 => opens(0x4),
            Self::Empty => frame(0, 0, 1, b""),
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Connections of one kind.
#[derive(Clone)]
struct Crowd {
    place: Place,
    until: Instant,
    came: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    late: Arc<AtomicUsize>,
}

impl Crowd {
    fn new(place: Place, until: Instant) -> Self {
        Self { place, until, came: Arc::default(), ended: Arc::default(), late: Arc::default() }
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = self.place.connect(address).await?;
        self.came.fetch_add(1, Ordering::Relaxed);
        Ok(stream)
    }

    /// So many connections over most of the time that say that a TLS record comes, and say no more.
    async fn half_open(self, address: SocketAddr, count: usize, over: Duration) {
        let (began, mut open) = (Instant::now(), JoinSet::new());
        for number in 0..count {
            let due = over.mul_f64(0.8 * number as f64 / count as f64);
            sleep(due.saturating_sub(began.elapsed())).await;
            let crowd = self.clone();
            open.spawn(async move {
                let Ok(mut stream) = crowd.connect(address).await else { return };
                // A handshake record of 512 bytes (RFC 8446 §5.1), of which nothing follows.
                if stream.write_all(&[0x16, 3, 1, 2, 0]).await.is_ok() {
                    crowd.wait_for_end(&mut stream).await;
                }
            });
            while open.try_join_next().is_some() {}
        }
        while open.join_next().await.is_some() {}
    }

    async fn wait_for_end(&self, stream: &mut TcpStream) {
        let mut some = [0; 256];
        while stream.read(&mut some).await.is_ok_and(|length| length > 0) {}
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// A head of which a byte comes each half second, again and again.
    async fn slow_head(self, address: SocketAddr) {
        while Instant::now() < self.until {
            let Ok(stream) = self.connect(address).await else {
                sleep(Duration::from_secs(1)).await;
                continue;
            };
            let (mut reading, mut writing) = stream.into_split();
            let drips = async {
                for byte in b"GET / HTTP/1.1\r\nhost: stock\r\nx-slow: ".iter().chain([b'x'; 200].iter()) {
                    if writing.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                    sleep(Duration::from_millis(500)).await;
                }
            };
            let mut answer = Vec::new();
            let began = Instant::now();
            tokio::select! {
                _ = reading.read_to_end(&mut answer) => {
                    self.ended.fetch_add(1, Ordering::Relaxed);
                }
                () = drips => {}
                () = sleep(HEAD + LATE) => {
                    self.late.fetch_add(1, Ordering::Relaxed);
                }
            }
            sleep(Duration::from_secs(1).saturating_sub(began.elapsed())).await;
        }
    }

    /// Frames as fast as a sender may who has other connections to see to, on one connection after the other.
    async fn flood(self, address: SocketAddr, frames: Frames) {
        while Instant::now() < self.until {
            let Ok(mut stream) = self.connect(address).await else {
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            let mut at = 0;
            let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, b"")].concat();
            let mut sent = stream.write_all(&preface).await;
            while sent.is_ok() && Instant::now() < self.until {
                let some: Vec<u8> = (at..at + 20).flat_map(|at| frames.next(at)).collect();
                at += 20;
                sent = stream.write_all(&some).await;
                // What it answers is read as far as it is there.
                let _none = stream.try_read(&mut [0; 4096]);
                sleep(Duration::from_millis(10)).await;
            }
            if sent.is_err() {
                self.ended.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
