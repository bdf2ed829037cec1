//! A mesh of real processes: a control plane, and a sidecar beside each application, each pod in a network namespace.
use std::{path::Path, time::Duration};

use anyhow::Result;
use tokio::time::Instant;
use weft_harness::{
    Plan,
    objects::{HTTP, open_service},
    process::{ControlPlane, Sidecar},
};

use crate::{Backend, MemoryGroup, namespace};

/// How long anything may take to come up on a busy machine.
const START: Duration = Duration::from_secs(30);

/// Starts a control plane that pods can reach.
///
/// # Errors
/// What keeps it from starting.
pub async fn control_plane(folder: &Path, leaf_ttl: &str) -> Result<ControlPlane> {
    ControlPlane::start_at(namespace::node()?, folder, leaf_ttl).await
}

/// A sidecar in a pod of its own that has a token and does not run yet.
///
/// # Errors
/// Where there can be no such pod, or no token.
pub async fn alone(plane: &ControlPlane, plan: &Plan) -> Result<Sidecar> {
    Ok(plane.sidecar(plan).await?.at(&namespace::pod()?))
}

/// The same in a control group.
///
/// # Errors
/// The same.
pub async fn alone_in(group: &MemoryGroup, plane: &ControlPlane, plan: &Plan) -> Result<Sidecar> {
    Ok(plane.sidecar(plan).await?.at(&namespace::pod()?.grouped(group.members())))
}

/// An application and its sidecar.
#[derive(Debug)]
pub struct Pod {
    /// The application.
    pub backend: Backend,
    /// The sidecar.
    pub sidecar: Sidecar,
}

impl Pod {
    /// Starts both.
    ///
    /// # Errors
    /// What keeps them from it.
    pub async fn start(plane: &ControlPlane, name: &str, service: &str) -> Result<Self> {
        let place = namespace::pod()?;
        let backend = Backend::start(&place, name)?;
        let plan = Plan::new(name, service).application("http", backend.address);
        let mut sidecar = plane.sidecar(&plan).await?.at(&place);
        sidecar.start().await?;
        Ok(Self { backend, sidecar })
    }
}

/// A control plane, a caller `web-0`, and the pods of a service `stock` that `web` may call.
#[derive(Debug)]
pub struct Mesh {
    /// The control plane.
    pub plane: ControlPlane,
    /// The caller.
    pub web: Sidecar,
    /// Who stands behind `stock`.
    pub stock: Vec<Pod>,
}

impl Mesh {
    /// Starts it with so many pods, and waits until a request goes through.
    ///
    /// # Errors
    /// What keeps it from that.
    pub async fn start(folder: &Path, pods: usize, leaf_ttl: &str) -> Result<Self> {
        let plane = control_plane(folder, leaf_ttl).await?;
        plane.apply(&open_service("stock", "stock", &[HTTP])).await?;
        let mut stock = Vec::new();
        for at in 0..pods {
            stock.push(Pod::start(&plane, &format!("stock-{at}"), "stock").await?);
        }
        let mut web = alone(&plane, &Plan::new("web-0", "web")).await?;
        web.start().await?;
        let mesh = Self { plane, web, stock };
        mesh.answers("stock", START).await?;
        Ok(mesh)
    }

    /// Waits until `host` answers 200 to `web`.
    ///
    /// # Errors
    /// That it does not within the time, and what came instead.
    pub async fn answers(&self, host: &str, within: Duration) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let reply = async { anyhow::Ok(self.web.client().await?.get(host, "/probe", &[]).await?) }.await;
            match reply {
                Ok(reply) if reply.status == 200 => return Ok(began.elapsed()),
                other => {
                    let said = other.map(|reply| reply.text());
                    anyhow::ensure!(began.elapsed() < within, "{host} does not answer: {said:?}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }

    /// The applications of `stock`.
    pub fn backends(&self) -> impl Iterator<Item = &Backend> {
        self.stock.iter().map(|pod| &pod.backend)
    }
}
