//! Row 2: sidecars start while the control plane is away: one that was there before serves from its state, a new one
//! waits and says so, one whose cache was damaged refuses it.
use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use weft_drills::{Drill, Mesh, Verdict};
use weft_harness::{Connection, Plan};

/// Where the last good configuration is kept in the state directory.
const LAST_GOOD: &str = "last-good.kept";

pub(crate) async fn run(drill: Drill) -> Result<Verdict> {
    let mut draws = StdRng::seed_from_u64(drill.seed);
    let mut mesh = Mesh::start(&drill.folder, 2, "1h").await?;
    let mut new = mesh.plane.sidecar(&Plan::new("web-1", "web")).await?;
    // The cache is written shortly after a change.
    let cache = mesh.web.state.join(LAST_GOOD);
    let kept = |cache: &std::path::Path| fs::read(cache).is_ok_and(|bytes| contains(&bytes, b"stock.shop"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !kept(&cache) {
        anyhow::ensure!(Instant::now() < deadline, "{} does not hold what web calls", cache.display());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    mesh.plane.kill().await?;

    let mut verdict = Verdict::default();
    let (mut slowest, mut lost, mut unmarked) = (Duration::ZERO, Vec::new(), 0);
    let rounds = drill.count(5, 50);
    for round in 0..rounds {
        mesh.web.kill().await?;
        let pod = draws.random_range(0..mesh.stock.len());
        let pod = mesh.stock.get_mut(pod).context("a pod")?;
        pod.sidecar.kill().await?;
        let began = Instant::now();
        tokio::try_join!(mesh.web.launch(), pod.sidecar.launch())?;
        mesh.answers("stock", Duration::from_secs(20)).await?;
        slowest = slowest.max(began.elapsed());
        mesh.web.ready(Duration::from_secs(10)).await?;
        let mut connection = Connection::open(mesh.web.outbound()?).await?;
        for _ in 0..20 {
            let reply = connection.get("stock", "/again", &[]).await?;
            if reply.status != 200 {
                lost.push(format!("round {round}: {} {}", reply.status, reply.text().trim()));
            }
        }
        let marked = mesh.web.metric_where("weft_config_source", "last-good").await? == 1.0;
        unmarked += usize::from(!marked || !mesh.web.says("/ready").await?.contains("last good"));
    }
    verdict.told("restarts", rounds);
    verdict.time("slowest to serve again", slowest, Duration::from_secs(2));
    verdict.none("lost after a restart", lost.len());
    verdict.told("causes", lost.join(", "));
    verdict.none("restarts that do not tell of the cache, by text and metric", unmarked);

    new.launch().await?;
    let said = new.says("/ready").await?;
    verdict.said("a new sidecar waits and says so", &said, said.starts_with("not ready: waiting for a certificate"));

    let good = fs::read(&cache)?;
    for how in [Damage::Cut, Damage::Changed] {
        mesh.web.kill().await?;
        fs::write(&cache, how.done_to(&mut draws, good.clone()))?;
        mesh.web.launch().await?;
        let said = mesh.web.says("/ready").await?;
        let refused = said.starts_with("not ready") && said.contains("the last good configuration is not used");
        verdict.said(&format!("a cache that was {how:?} is refused with the reason").to_lowercase(), &said, refused);
    }

    mesh.plane.start_again().await?;
    let back = Instant::now();
    new.ready(Duration::from_secs(20)).await?;
    let joined = back.elapsed();
    verdict.time("the new one joins after the return", joined, Duration::from_secs(1));
    mesh.web.ready(Duration::from_secs(20)).await?;
    mesh.answers("stock", Duration::from_secs(20)).await?;
    Ok(verdict)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// What happened to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Cut,
    Changed,
}

impl Damage {
    /// The bytes cut short, or with one of them changed, at a place that is drawn.
    fn done_to(self, draws: &mut StdRng, mut bytes: Vec<u8>) -> Vec<u8> {
        let at = draws.random_range(0..bytes.len().max(1));
        match self {
            Self::Cut => bytes.truncate(at),
            Self::Changed => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 0x55),
        }
        bytes
    }
}
