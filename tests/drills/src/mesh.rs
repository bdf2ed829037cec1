//! A mesh of real processes: a control plane, and a sidecar beside each application.
use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::Duration,
};

use anyhow::Result;
use tokio::time::Instant;
use weft_harness::{
    Connection, Plan,
    objects::{HTTP, open_service},
    process::{ControlPlane, Sidecar},
};

use crate::Backend;

/// How long anything may take to come up on a busy machine.
const START: Duration = Duration::from_secs(30);

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
        Self::start_at(plane, name, service, Ipv4Addr::LOCALHOST.into()).await
    }

    /// Starts both, the sidecar where peers reach it by this address.
    ///
    /// # Errors
    /// What keeps them from it.
    pub async fn start_at(plane: &ControlPlane, name: &str, service: &str, address: IpAddr) -> Result<Self> {
        let backend = Backend::start(name).await?;
        let mut sidecar =
            plane.sidecar(&Plan::new(name, service).application("http", backend.address)).await?.at(address);
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
        Self::start_at(folder, leaf_ttl, &vec![Ipv4Addr::LOCALHOST.into(); pods]).await
    }

    /// The same with a pod at each of these addresses.
    ///
    /// # Errors
    /// What keeps it from that.
    pub async fn start_at(folder: &Path, leaf_ttl: &str, pods: &[IpAddr]) -> Result<Self> {
        let plane = ControlPlane::start(folder, leaf_ttl).await?;
        plane.apply(&open_service("stock", "stock", &[HTTP])).await?;
        let mut stock = Vec::new();
        for (at, address) in pods.iter().enumerate() {
            stock.push(Pod::start_at(&plane, &format!("stock-{at}"), "stock", *address).await?);
        }
        let mut web = plane.sidecar(&Plan::new("web-0", "web")).await?;
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
        let (outbound, began) = (self.web.outbound()?, Instant::now());
        loop {
            let reply = async { Connection::open(outbound).await?.get(host, "/probe", &[]).await }.await;
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
