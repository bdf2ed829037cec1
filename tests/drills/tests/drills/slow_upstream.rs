//! Row 9: of ten instances one is a black hole, one answers after 5 s, one resets its answers after 10 kB; they are
//! ejected and come back when they are well again. Then most of them fail, and half stay.
//!
//! To the black hole every packet of the caller is lost, as `iptables -j DROP` does. The delay and the reset
//! are the applications' own: behind TLS a proxy's peer cannot tell who is slow, and no kernel can delay without a program
//! that takes its packets.
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use weft_drills::{Backend, Drill, Load, Mesh, Mode, Report, Verdict, namespace::Losses, within};

const INSTANCES: usize = 10;

/// Ejection and retries for `stock`.
const POLICY: &str = r#"
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: stock, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: stock }]
  outlierEjection: { consecutiveErrors: 3, baseTime: 15s, maxTime: 30s, maxSharePercent: 50 }
  retries:
    attempts: 2
    on: [connect-failure, reset, gateway-error]
    safe: methods
    perTryTimeout: 400ms
    backoff: { base: 5ms, max: 50ms }
    budget: { percent: 30, minPerSecond: 30 }
  timeouts: { request: 2s }
"#;

/// After how long those that fail must be out.
const EJECTED: Duration = Duration::from_secs(5);
/// After how long those that are well again must be back.
const BACK: Duration = Duration::from_secs(30);

pub(crate) async fn run(drill: Drill) -> Result<Verdict> {
    let mesh = Mesh::start(&drill.folder, INSTANCES, "1h").await?;
    let losses = Losses::lay(mesh.web.place())?;
    mesh.plane.apply(POLICY).await?;
    mesh.plane
        .until("that every proxy has the policy", Duration::from_secs(20), |it| it.proxies.in_effect > INSTANCES as u64)
        .await?;
    let mut verdict = Verdict::default();
    // Which three fail is drawn by the seed.
    let first = usize::try_from(drill.seed % INSTANCES as u64)?;
    let at = |step: usize| (first + 3 * step) % INSTANCES;
    let load = Load { posts: 0, ..Load::new(&mesh.web, "stock", drill.seed)? }.start();
    tokio::time::sleep(Duration::from_secs(2)).await;

    let ill = Instant::now();
    let hole = mesh.stock.get(at(0)).context("an instance")?.sidecar.place().address();
    losses.lose(hole)?;
    backend(&mesh, at(1))?.set(Mode::Delay(Duration::from_secs(5)));
    backend(&mesh, at(2))?.set(Mode::ResetAfter(10_000));
    tokio::time::sleep(drill.lasts(Duration::from_secs(10), Duration::from_secs(150))).await;
    let slow = backend(&mesh, at(1))?.between(ill + EJECTED, ill + 2 * EJECTED);
    let resetting = backend(&mesh, at(2))?.between(ill + EJECTED, ill + 2 * EJECTED);
    verdict.none("requests to the slow one, 5 to 10 s after it fell ill", slow);
    verdict.none("requests to the resetting one in that time", resetting);

    let well = Instant::now();
    losses.deliver(hole)?;
    backend(&mesh, at(1))?.set(Mode::Serve);
    backend(&mesh, at(2))?.set(Mode::Serve);
    for step in 0..3 {
        let backend = backend(&mesh, at(step))?;
        // What was under way when it fell ill may arrive now: that is not a new choice.
        while backend.since(well + Duration::from_secs(1)) < 3 && well.elapsed() < 2 * BACK {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    verdict.time("all three back", well.elapsed(), BACK);
    let report = load.end().await;
    judge(&mut verdict, &report.between(ill + EJECTED, well));
    verdict.told("causes", report.causes());

    most_fail(&drill, &mesh, &mut verdict).await?;
    Ok(verdict)
}

/// What callers see once the three are ejected.
fn judge(verdict: &mut Verdict, report: &Report) {
    let (whole, sound) = (report.sent.len(), report.succeeded());
    verdict.told("requests from 5 s on", whole);
    let share = within(sound, whole);
    verdict.figure("answered well from 5 s on", format!("{share:.2} %"), "≥ 99.9 %", share >= 99.9);
    verdict.time("99 % of latencies from 5 s on", report.latency(990), Duration::from_secs(1));
}

/// Eight of ten answer 503: no more than half are ejected.
async fn most_fail(drill: &Drill, mesh: &Mesh, verdict: &mut Verdict) -> Result<()> {
    let load = Load { posts: 0, ..Load::new(&mesh.web, "stock", drill.seed ^ 1)? }.start();
    for backend in mesh.backends().skip(2) {
        backend.set(Mode::Status(503));
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let settled = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let chosen = mesh.backends().filter(|backend| backend.since(settled) > 0).count();
    let _report = load.end().await;
    verdict.figure("instances in use when eight of ten fail", chosen, "≥ 5", chosen * 2 >= INSTANCES);
    Ok(())
}

fn backend(mesh: &Mesh, at: usize) -> Result<&Backend> {
    Ok(&mesh.stock.get(at).context("an instance")?.backend)
}
