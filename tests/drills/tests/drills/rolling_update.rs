//! Row 8: every instance of a service is replaced, one after the other: a new one starts, an old one drains and goes.
use std::time::{Duration, Instant};

use anyhow::Result;
use weft_drills::{Drill, Load, Mesh, Pod, Scale, Verdict};

/// How long a leaving instance may take to be done.
const LEAVE: Duration = Duration::from_secs(30);

pub(crate) async fn run(drill: Drill) -> Result<Verdict> {
    let instances = drill.count(4, 10);
    let mut mesh = Mesh::start(&drill.folder, instances, "1h").await?;
    let rate = if drill.scale == Scale::Full { 500 } else { 200 };
    let load = Load::new(&mesh.web, "stock", drill.seed)?.rate(rate).start();
    let rounds = drill.count(1, 2);
    let ends = Instant::now() + drill.lasts(Duration::from_secs(16), Duration::from_secs(180));
    let mut gone = Vec::new();
    for at in instances..instances * (rounds + 1) {
        let left = (instances * (rounds + 1) - at) as u32;
        let turn = ends.saturating_duration_since(Instant::now()) / left;
        let began = Instant::now();
        mesh.stock.push(Pod::start(&mesh.plane, &format!("stock-{at}"), "stock").await?);
        let mut old = mesh.stock.remove(0);
        let leaves = Instant::now();
        old.sidecar.drain(LEAVE).await?;
        gone.push((old.backend, leaves));
        tokio::time::sleep(turn.saturating_sub(began.elapsed())).await;
    }
    let report = load.end().await;
    let mut verdict = Verdict::default();
    verdict.told("requests", report.sent.len());
    verdict.told("instances replaced", gone.len());
    verdict.none("lost", report.lost().len());
    verdict.told("causes", report.causes());
    let late = gone.iter().map(|(backend, leaves)| backend.since(*leaves + Duration::from_secs(1))).sum();
    verdict.none("requests to an instance later than 1 s after it left", late);
    verdict.none("doubled POSTs", report.doubled(mesh.backends().chain(gone.iter().map(|(backend, _)| backend)), true));
    Ok(verdict)
}
