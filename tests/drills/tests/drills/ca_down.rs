//! Row 4: the certificate authority is away while certificates are to be renewed: for less than what is left of them,
//! which costs nothing, and for longer, when everything closes and comes back by itself.
use std::time::{Duration, Instant};

use anyhow::Result;
use weft_drills::{Drill, Load, Mesh, Mode, Scale, Verdict};

pub(crate) async fn run(drill: Drill) -> Result<Verdict> {
    let (ttl, short, long) = match drill.scale {
        Scale::Short => (15, Duration::from_secs(5), Duration::from_secs(20)),
        Scale::Full => (60, Duration::from_secs(25), Duration::from_secs(90)),
    };
    let mut mesh = Mesh::start(&drill.folder, 2, &format!("{ttl}s")).await?;
    let mut verdict = Verdict::default();
    verdict.told("lifetime of a certificate", format!("{ttl} s"));

    let load = Load::new(&mesh.web, "stock", drill.seed)?.start();
    let obtained = mesh.web.metric("weft_certificates_total").await?;
    // The seed decides where in a certificate's life the authority goes.
    let phase = drill.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1000;
    tokio::time::sleep(Duration::from_millis(ttl * phase / 2)).await;
    mesh.plane.kill().await?;
    tokio::time::sleep(short).await;
    mesh.plane.start_again().await?;
    tokio::time::sleep(Duration::from_secs(ttl)).await;
    let report = load.end().await;
    verdict.told("requests around the short absence", report.sent.len());
    verdict.none("lost around the short absence", report.lost().len());
    verdict.told("causes", report.causes());
    let renewed = mesh.web.metric("weft_certificates_total").await? - obtained;
    verdict.figure("certificates that web obtained meanwhile", renewed, "≥ 1", renewed >= 1.0);

    mesh.plane.kill().await?;
    let (killed, mut busiest) = (Instant::now(), 0.0);
    // Whole seconds, and a clock that is behind by one.
    let load = Load::new(&mesh.web, "stock", drill.seed ^ 1)?.start();
    busiest = watch(&mesh, Duration::from_secs(ttl + 2), busiest).await?;
    let ending = load.end().await;
    verdict.told(
        "requests while certificates end, and refused of them",
        format!("{} {}", ending.sent.len(), ending.lost().len()),
    );
    // Every certificate has ended. Slow answers make the connections from before too few: more must be made, and cannot.
    mesh.backends().for_each(|backend| backend.set(Mode::Delay(Duration::from_millis(300))));
    let before = mesh.web.metric("weft_upstream_connections_total").await?;
    let load = Load::new(&mesh.web, "stock", drill.seed ^ 2)?.start();
    busiest = watch(&mesh, long.saturating_sub(killed.elapsed()), busiest).await?;
    let closed = load.end().await;
    let made = mesh.web.metric("weft_upstream_connections_total").await? - before;
    verdict.figure("connections made on expired certificates", made, "0", made == 0.0);
    let refused = closed.lost().len();
    verdict.figure("refused meanwhile", format!("{refused} of {}", closed.sent.len()), "> 0", refused > 0);
    verdict.told("answered on connections from before", closed.succeeded());
    mesh.backends().for_each(|backend| backend.set(Mode::Serve));
    mesh.plane.start_again().await?;
    let back = Instant::now();
    mesh.answers("stock", Duration::from_secs(30)).await?;
    verdict.time("open again after the return", back.elapsed(), Duration::from_secs(5));
    busiest = watch(&mesh, Duration::from_secs(3), busiest).await?;
    verdict.figure("most signing requests of one sidecar in a second", busiest, "≤ 2", busiest <= 2.0);
    Ok(verdict)
}

/// Looks for so long at how many signing requests each sidecar makes in a second; the most of them, or what there was.
async fn watch(mesh: &Mesh, time: Duration, mut most: f64) -> Result<f64> {
    let (until, mut before) = (Instant::now() + time, signing_requests(mesh).await?);
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_secs(1).min(until.saturating_duration_since(Instant::now()))).await;
        let now = signing_requests(mesh).await?;
        most = now.iter().zip(&before).map(|(now, before)| now - before).fold(most, f64::max);
        before = now;
    }
    Ok(most)
}

async fn signing_requests(mesh: &Mesh) -> Result<Vec<f64>> {
    let mut asked = Vec::new();
    for sidecar in mesh.stock.iter().map(|pod| &pod.sidecar).chain([&mesh.web]) {
        asked.push(sidecar.metric("weft_certificate_requests_total").await?);
    }
    Ok(asked)
}
