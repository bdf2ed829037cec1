//! Certificates that are renewed under load.
use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use weft_certs::rfc3339_of;

use super::{Found, figure, outage};
use crate::{
    demo::{
        mesh::{LEAVES, Mesh},
        traffic::{Load, Target},
        until,
    },
    failure::Failure,
};

/// Requests a second.
const RATE: u32 = 100;
/// What is left of a certificate of the demo's life for long after it was made.
const LONG: Duration = Duration::from_secs(50 * 60);
/// How long two renewals of every sidecar may take: certificates live 20 s and are renewed at about half of that.
const BOUND: Duration = Duration::from_secs(30);

/// Keeps load running until every sidecar has shown three certificates, one after the other.
pub(super) async fn twice(mesh: &Mesh) -> Found {
    let start = Instant::now();
    let load = Load::start(Target::of_catalog(mesh)?, RATE);
    let mut shown = BTreeMap::<&str, Vec<String>>::new();
    let rotated = until(BOUND, async || {
        for instance in &mesh.instances {
            let name = instance.plan.instance;
            let Some(leaf) = leaf(mesh, name).await else { continue };
            let of_it = shown.entry(name).or_default();
            if !of_it.contains(&leaf) {
                of_it.push(leaf);
            }
        }
        (shown.len() == mesh.instances.len() && shown.values().all(|leaves| leaves.len() > 2)).then_some(())
    });
    let rotated = rotated.await.is_some();
    let seconds = start.elapsed().as_secs_f64();
    let outcome = load.finish(seconds).await;
    let fewest = shown.values().map(|leaves| leaves.len().saturating_sub(1)).min().unwrap_or_default();
    let text = format!(
        "each of {} sidecars at least {fewest} times in {seconds:.1} s; {} of {} requests failed, {} of them on TLS \
         sessions of their own",
        shown.len(),
        outcome.failures.len(),
        outcome.requests,
        outcome.sessions
    );
    match outcome.failures.first() {
        None => figure(rotated, text),
        Some(first) => Err(Failure::new(format!("{text}; the first: {first}"))),
    }
}

/// From here on certificates live as long as the demo's: by a restart of the control plane, and one more renewal.
pub(super) async fn settle(mesh: &mut Mesh) -> Result<(), Failure> {
    mesh.stop_control_plane().await;
    mesh.start_control_plane(LEAVES).await?;
    match outage::in_effect(mesh).await {
        Some(_) => Ok(()),
        None => Err(Failure::new("the sidecars did not have everything in effect after the control plane's restart")),
    }
}

/// Every sidecar must have made that renewal, about half of a short life after the restart.
pub(super) async fn settled(mesh: &Mesh) -> Found {
    let until_when = rfc3339_of(SystemTime::now() + LONG);
    let renewed = until(BOUND, async || {
        let mut shortest: Option<String> = None;
        for instance in &mesh.instances {
            let secrets = mesh.api().ok()?.proxy("shop", instance.plan.instance, "/config/secrets").await.ok()?;
            let until = secrets["secrets"][0]["notAfter"].as_str()?.to_owned();
            shortest = shortest.into_iter().chain([until]).min();
        }
        // Both in UTC and of one form.
        shortest.filter(|shortest| *shortest > until_when)
    });
    let proxies = mesh.instances.len();
    let shortest = renewed.await.ok_or_else(|| Failure::new(format!("not each of {proxies} is until {until_when}")))?;
    Ok(format!("{proxies} of {proxies}, the shortest until {shortest}"))
}

/// The hash of the certificate that a sidecar shows now.
async fn leaf(mesh: &Mesh, instance: &str) -> Option<String> {
    let secrets = mesh.api().ok()?.proxy("shop", instance, "/config/secrets").await.ok()?;
    Some(secrets.get("secrets")?.get(0)?.get("leafSha256")?.as_str()?.to_owned())
}
