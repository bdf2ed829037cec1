//! Row 3: the control plane comes back from an older copy of its store, then without any object, while many proxies
//! reconnect; nothing is taken from them before it is confirmed.
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::try_join_all;
use weft_drills::{Drill, Load, Mesh, Verdict, alone};
use weft_harness::{
    Plan,
    objects::{HTTP, open_service},
    process::{Sidecar, command},
    store,
};

/// How long all proxies may take to be back on a busy machine.
const BACK: Duration = Duration::from_secs(60);

pub(crate) async fn run(drill: Drill) -> Result<Verdict> {
    let mut mesh = Mesh::start(&drill.folder, 3, "1h").await?;
    let callers = callers(&mesh, drill.count(8, 96)).await?;
    let proxies = callers.len() + 1 + mesh.stock.len();
    let copy = drill.folder.join("copy");
    mesh.plane.kill().await?;
    store::replace(&copy, &mesh.plane.store())?;
    mesh.plane.start_again().await?;
    // What the older copy does not know.
    mesh.plane.apply(&open_service("later", "stock", &[HTTP])).await?;
    mesh.answers("later", Duration::from_secs(20)).await?;
    for caller in &callers {
        ask(caller, "stock").await?;
        ask(caller, "later").await?;
    }
    let known = Load::new(&mesh.web, "stock", drill.seed)?.start();
    let unknown = Load::new(&mesh.web, "later", drill.seed ^ 1)?.rate(100).start();
    let mut verdict = Verdict::default();
    verdict.told("proxies", proxies);

    tokio::time::sleep(drill.lasts(Duration::from_secs(1), Duration::from_secs(45))).await;
    mesh.plane.kill().await?;
    store::replace(&mesh.plane.store(), &copy)?;
    mesh.plane.start_again().await?;
    let older = back(&mesh, proxies).await?;
    verdict.time("all reconnected to the older copy", older, BACK);
    let named = elsewhere(&mesh, false).await?;
    verdict.figure("named as having seen a later state", named, &proxies.to_string(), named == proxies);
    tokio::time::sleep(drill.lasts(Duration::from_secs(3), Duration::from_secs(60))).await;

    mesh.plane.kill().await?;
    store::empty(&mesh.plane.store()).await?;
    mesh.plane.start_again().await?;
    let empty = back(&mesh, proxies).await?;
    verdict.time("all reconnected to the empty store", empty, BACK);
    let named = elsewhere(&mesh, true).await?;
    verdict.figure("named as having seen another epoch", named, &proxies.to_string(), named == proxies);
    // Beyond the lease after the start, when endpoints are no longer only added.
    tokio::time::sleep(drill.lasts(Duration::from_secs(12), Duration::from_secs(75))).await;
    let lost_to: usize = {
        let mut lost = 0;
        for caller in &callers {
            lost += usize::from(ask(caller, "later").await? != 200) + usize::from(ask(caller, "stock").await? != 200);
        }
        lost
    };
    verdict.none("callers that lost a service", lost_to);
    let (known, unknown) = (known.end().await, unknown.end().await);
    verdict.told("requests", known.sent.len() + unknown.sent.len());
    verdict.none("lost", known.lost().len() + unknown.lost().len());
    let doubled = known.doubled(mesh.backends(), true) + unknown.doubled(mesh.backends(), true);
    verdict.none("doubled POSTs", doubled);
    verdict.told("causes", format!("{} {}", known.causes(), unknown.causes()));

    let removals = mesh.plane.client()?.removals().await?;
    verdict.told("resources held back", removals.items.len());
    let context = mesh.plane.context().display().to_string();
    let unasked = command(&["confirm-removals", "--context", &context]).await;
    verdict.figure("without a terminal nobody is asked", unasked.is_err(), "true", unasked.is_err());
    let said = command(&["confirm-removals", "--yes", "--context", &context]).await?;
    let lists = said.contains("outbound/later.shop.svc.cluster.local") && said.contains("confirmed for epoch");
    verdict.figure("`weft confirm-removals` lists and confirms", lists, "true", lists);
    let began = Instant::now();
    mesh.plane.until("that nothing is held back", BACK, |status| status.elsewhere.is_empty()).await?;
    while ask(&mesh.web, "later").await? == 200 {
        anyhow::ensure!(began.elapsed() < BACK, "what was confirmed is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    verdict.time("what was confirmed is gone after", began.elapsed(), BACK);
    Ok(verdict)
}

/// Further sidecars that only call.
async fn callers(mesh: &Mesh, count: usize) -> Result<Vec<Sidecar>> {
    let mut callers = Vec::new();
    for at in 1..=count {
        callers.push(alone(&mesh.plane, &Plan::new(&format!("web-{at}"), "web")).await?);
    }
    // A few at a time: each is a process that makes a key and joins.
    for some in callers.chunks_mut(8) {
        try_join_all(some.iter_mut().map(Sidecar::start)).await?;
    }
    Ok(callers)
}

/// The status of one request.
async fn ask(caller: &Sidecar, host: &str) -> Result<u16> {
    Ok(caller.client().await?.get(host, "/ask", &[]).await?.status)
}

/// Waits until every proxy has a stream and has been told all there is for it.
async fn back(mesh: &Mesh, proxies: usize) -> Result<Duration> {
    let began = Instant::now();
    let all = proxies as u64;
    mesh.plane
        .until("that every proxy is back", BACK, |it| it.proxies.connected >= all && it.proxies.acknowledged >= all)
        .await?;
    Ok(began.elapsed())
}

/// How many proxies are named as standing in another history, of the kind that is meant.
async fn elsewhere(mesh: &Mesh, other_epoch: bool) -> Result<usize> {
    let status = mesh.plane.client()?.status().await?;
    Ok(status.elsewhere.iter().filter(|proxy| proxy.other_epoch == other_epoch).count())
}
