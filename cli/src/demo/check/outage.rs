//! The control plane's death and return, under load.
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use weft_control_plane::wire::{ProxyCount, WorkloadItem};

use super::{Found, figure};
use crate::{
    demo::{
        client::{Client, Reuse},
        mesh::{LEAVES, Mesh},
        traffic::{Load, Target},
        until,
    },
    failure::Failure,
};

/// Requests a second.
const RATE: u32 = 250;
/// How long the control plane stays away.
const AWAY: Duration = Duration::from_secs(3);

/// What was seen.
pub(super) struct Seen {
    pub(super) load: Found,
    pub(super) back: Found,
}

/// Kills the control plane under load, starts it again, and waits until all sidecars have everything in effect.
pub(super) async fn survive(mesh: &mut Mesh) -> Result<Seen, Failure> {
    let caller = mesh.instance("catalog-0")?;
    let proxies = mesh.instances.len() as u64;
    let start = Instant::now();
    let status = caller.bound.status;
    let sessions_before = sessions(status).await?;
    let load = Load::start(Target::of_catalog(mesh)?, RATE);
    tokio::time::sleep(Duration::from_secs(1)).await;
    mesh.kill_control_plane().await?;
    tokio::time::sleep(AWAY).await;
    mesh.start_control_plane(LEAVES).await?;
    let in_effect = in_effect(mesh).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let outcome = load.finish(start.elapsed().as_secs_f64()).await;
    let sessions = sessions(status).await? - sessions_before;
    let status = mesh.api()?.status().await?;
    let workloads = mesh.api()?.workloads().await?.items;
    let resent = status.resources_resent;
    let back = match in_effect {
        Some(after) => figure(
            resent == 0,
            format!(
                "{proxies} of {proxies} after {:.0} ms, {} resources sent, {resent} of them unchanged",
                after.as_secs_f64() * 1000.0,
                status.resources_sent
            ),
        ),
        None => Err(Failure::new(format!(
            "{} of {proxies} with everything in effect after 10 s: {}",
            status.proxies.in_effect,
            behind(&workloads)
        ))),
    };
    let rate = outcome.requests as f64 / outcome.seconds;
    let text = format!(
        "{} of {} failed at {rate:.0}/s, with {sessions} new TLS sessions for TCP and {} for HTTP",
        outcome.failures.len(),
        outcome.requests,
        outcome.sessions
    );
    let load = match outcome.failures.first() {
        None => figure(rate >= 200.0 && sessions.min(outcome.sessions) * 10 >= outcome.requests - 10, text),
        Some(first) => Err(Failure::new(format!("{text}; the first: {first}"))),
    };
    Ok(Seen { load, back })
}

/// Waits until every sidecar has everything in effect of a control plane that has just returned, and registered with it:
/// how long it took, if it came about.
pub(super) async fn in_effect(mesh: &Mesh) -> Option<Duration> {
    returned(mesh, |now| now.in_effect).await
}

/// The same where removals are held, so that not everything can be in effect: until every sidecar has acknowledged what
/// there is for it.
pub(super) async fn acknowledged(mesh: &Mesh) -> Option<Duration> {
    returned(mesh, |now| now.acknowledged).await
}

async fn returned(mesh: &Mesh, done: impl Fn(&ProxyCount) -> u64) -> Option<Duration> {
    let (proxies, returned) = (mesh.instances.len() as u64, Instant::now());
    let all = until(Duration::from_secs(10), async || {
        let now = mesh.api().ok()?.status().await.ok()?.proxies;
        let workloads = mesh.api().ok()?.workloads().await.ok()?.items;
        let registered = workloads.iter().filter(|item| item.connected).count() as u64;
        let all = [now.connected, done(&now), registered].iter().all(|count| *count == proxies);
        all.then_some(returned.elapsed())
    });
    all.await
}

/// How many TLS sessions a sidecar has begun with its peers, by its own count.
async fn sessions(status: SocketAddr) -> Result<u64, Failure> {
    let metrics = Client::new(status).fetch("sidecar", "/metrics", &[], Reuse::Fresh).await?;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("weft_upstream_connections_total "));
    line.and_then(|count| count.trim().parse().ok()).ok_or_else(|| Failure::new("the sidecar counts no TLS sessions"))
}

/// The workloads that do not have everything in effect, by name.
fn behind(workloads: &[WorkloadItem]) -> String {
    let behind = workloads.iter().filter(|item| !item.in_effect);
    behind.map(|item| item.name.as_str()).collect::<Vec<_>>().join(", ")
}
