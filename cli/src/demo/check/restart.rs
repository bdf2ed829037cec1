//! A sidecar's own death while there is no control plane to ask.
use std::time::{Duration, Instant};

use super::{Found, access, figure, outage};
use crate::{
    demo::{
        client::{Client, Reuse},
        mesh::{LEAVES, Mesh},
        until,
    },
    failure::Failure,
};

/// How soon a restarted sidecar serves.
const BOUND: Duration = Duration::from_secs(2);

/// Kills the control plane and then catalog's sidecar, which every request of the shop passes twice; it comes back from
/// its state directory, at the ports that its peers and its application know.
pub(super) async fn alone(mesh: &mut Mesh) -> Found {
    mesh.kill_control_plane().await?;
    let killed = Instant::now();
    mesh.restart_sidecar("catalog-0").await?;
    let served = until(Duration::from_secs(10), async || access::shop(mesh).await.ok().map(|_| killed.elapsed()));
    let served = served.await;
    let status = Client::new(mesh.instance("catalog-0")?.bound.status);
    let said = status.fetch("sidecar", "/ready", &[], Reuse::Fresh).await;
    mesh.start_control_plane(LEAVES).await?;
    let back = outage::in_effect(mesh).await;
    let said = said.map(|reply| String::from_utf8_lossy(&reply.body).trim().to_owned())?;
    let served = served.ok_or_else(|| Failure::new("no request passed within 10 s"))?;
    let back =
        back.ok_or_else(|| Failure::new("it did not have everything in effect after the control plane's return"))?;
    if !said.contains("last good") {
        return Err(Failure::new(format!(
            "its /ready does not say that it serves the last good configuration: {said:?}"
        )));
    }
    let text = format!(
        "a request went through all services {:.0} ms after the kill; /ready said {said:?}; everything in effect {:.0} ms after the \
         control plane's return",
        served.as_secs_f64() * 1000.0,
        back.as_secs_f64() * 1000.0
    );
    figure(served <= BOUND, text)
}
