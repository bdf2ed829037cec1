//! Row 1: the control plane is killed under load and stays away; it comes back, and a change takes effect.
//!
//! A twentieth of a latency of 1 ms is less than what a scheduler's slice makes of it: the bound on the 99th percentile has
//! 1 ms beside its share.
use std::time::{Duration, Instant};

use anyhow::Result;
use weft_drills::{Drill, Load, Mesh, Scale, Verdict};
use weft_harness::objects::{HTTP, open_service};

pub(crate) async fn run(drill: Drill) -> Result<Verdict> {
    let mut mesh = Mesh::start(&drill.folder, 3, "1h").await?;
    let rate = if drill.scale == Scale::Full { 500 } else { 200 };
    let load = Load::new(&mesh.web, "stock", drill.seed)?.rate(rate).start();
    let calm = drill.lasts(Duration::from_secs(4), Duration::from_secs(60));
    tokio::time::sleep(calm).await;
    mesh.plane.kill().await?;
    let killed = Instant::now();
    tokio::time::sleep(drill.lasts(Duration::from_secs(10), Duration::from_secs(600))).await;
    let back = Instant::now();
    mesh.plane.start_again().await?;
    let returned = back.elapsed();
    // It answers as `stock` does, under another name.
    mesh.plane.apply(&open_service("fresh", "stock", &[HTTP])).await?;
    mesh.answers("fresh", Duration::from_secs(20)).await?;
    let live = back.elapsed();
    tokio::time::sleep(calm).await;
    let end = Instant::now();
    let started = load.started;
    let report = load.end().await;

    let mut verdict = Verdict::default();
    verdict.told("requests", report.sent.len());
    verdict.none("lost", report.lost().len());
    verdict.none("doubled POSTs", report.doubled(mesh.backends(), true));
    verdict.told("causes", report.causes());
    verdict.told("control plane serves again after", format!("{returned:.1?}"));
    verdict.time("new configuration live after the return", live, Duration::from_secs(5));
    let before = report.between(started, killed).latency(990);
    let after = report.between(back + live, end).latency(990);
    let (down, up) = (report.between(killed, back).latency(990), before.max(after));
    let bound = up.mul_f64(1.05) + Duration::from_millis(1);
    // Beside other rows the machine is busy by turns: the share is judged where the row runs alone.
    let judged = drill.scale == Scale::Short || down <= bound;
    let shown = format!("{down:.1?} against {before:.1?} before, {after:.1?} after");
    verdict.figure("99 % of latencies while it is away", shown, "≤ 1.05 × + 1 ms (full form)", judged);
    Ok(verdict)
}
