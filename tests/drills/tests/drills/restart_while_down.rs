//! Row 2: sidecars start while the control plane is away: one that was there before serves from its state, a new one
//! waits and says so, one whose cache was damaged refuses it.
use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use weft_drills::{Drill, Load, Mesh, Sent, Verdict, alone};
use weft_harness::Plan;

/// Where the last good configuration is kept in the state directory.
const LAST_GOOD: &str = "last-good.kept";

pub(crate) async fn run(drill: Drill) -> Result<Verdict> {
    let mut draws = StdRng::seed_from_u64(drill.seed);
    let mut mesh = Mesh::start(&drill.folder, 2, "1h").await?;
    let mut new = alone(&mesh.plane, &Plan::new("web-1", "web")).await?;
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
    let (mut slowest, mut unmarked, mut absences) = (Duration::ZERO, 0, Vec::new());
    let load = Load::new(&mesh.web, "stock", drill.seed)?.start();
    let rounds = drill.count(4, 50) as u32;
    let end = Instant::now() + drill.lasts(Duration::from_secs(8), Duration::from_secs(180));
    for round in 0..rounds {
        let turn = end.saturating_duration_since(Instant::now()) / (rounds - round);
        // The seed decides how long everything is well in between.
        tokio::time::sleep(turn.mul_f64(draws.random_range(0.3..0.7))).await;
        let began = Instant::now();
        mesh.web.kill().await?;
        let which = draws.random_range(0..mesh.stock.len());
        let pod = mesh.stock.get_mut(which).context("a pod")?;
        pod.sidecar.kill().await?;
        let killed = Instant::now();
        tokio::try_join!(mesh.web.launch(), pod.sidecar.launch())?;
        mesh.answers("stock", Duration::from_secs(20)).await?;
        slowest = slowest.max(killed.elapsed());
        mesh.stock.get(which).context("a pod")?.sidecar.ready(Duration::from_secs(10)).await?;
        mesh.web.ready(Duration::from_secs(10)).await?;
        absences.push(began..Instant::now());
        let marked = mesh.web.metric_where("weft_config_source", "last-good").await? == 1.0;
        unmarked += usize::from(!marked || !mesh.web.says("/ready").await?.contains("last good"));
        tokio::time::sleep(turn.saturating_sub(began.elapsed()).mul_f64(0.5)).await;
    }
    let report = load.end().await;
    // What is under way when its own sidecar is killed is lost with it.
    let met = |it: &Sent| absences.iter().any(|away| it.due < away.end && it.due + it.latency >= away.start);
    let lost: Vec<_> = report.lost().into_iter().filter(|it| !met(it)).collect();
    verdict.told("restarts", rounds);
    verdict.time("slowest to serve again", slowest, Duration::from_secs(2));
    verdict.told("requests", report.sent.len());
    verdict.none("lost while sidecars were there", lost.len());
    let causes = lost.iter().take(5).map(|it| format!("{:?}", it.outcome));
    verdict.told("causes", causes.collect::<Vec<_>>().join(", "));
    verdict.told("lost while they were not", report.lost().len() - lost.len());
    verdict.none("doubled POSTs", report.doubled(mesh.backends(), true));
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
