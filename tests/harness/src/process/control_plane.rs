//! A control plane's process.
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::time::Instant;
use weft_certs::join::{Context, JoinFile};
use weft_control_plane::{
    client::Client,
    wire::{ApplyRequest, ApplyResponse, Document, Status, TokenRequest},
};

use super::{Place, Process, START, Sidecar};
use crate::Plan;

/// A control plane's process, and where it keeps things.
#[derive(Debug)]
pub struct ControlPlane {
    folder: PathBuf,
    leaf_ttl: String,
    /// Where proxies reach it.
    address: IpAddr,
    grpc: Option<SocketAddr>,
    process: Option<Process>,
    client: Option<Client>,
}

impl ControlPlane {
    /// Starts one in a folder, its certificates valid for so long (`1h`, `20s`).
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn start(folder: &Path, leaf_ttl: &str) -> Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), folder, leaf_ttl).await
    }

    /// The same, reached by proxies at an address of this program's own namespace.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn start_at(address: IpAddr, folder: &Path, leaf_ttl: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let (folder, leaf_ttl) = (folder.to_owned(), leaf_ttl.to_owned());
        let mut plane = Self { folder, leaf_ttl, address, grpc: None, process: None, client: None };
        plane.start_again().await?;
        Ok(plane)
    }

    /// Starts it again where it was.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn start_again(&mut self) -> Result<()> {
        let path = |part: &str| self.folder.join(part).display().to_string();
        let context = self.folder.join("context.json");
        if context.exists() {
            fs::remove_file(&context)?;
        }
        let grpc = self.grpc.unwrap_or_else(|| SocketAddr::new(self.address, 0)).to_string();
        let arguments = [
            ["control-plane", "run"],
            ["--dir", &path("store")],
            ["--sealing-key-file", &path("sealing.key")],
            ["--context-file", &path("context.json")],
            ["--grpc", &grpc],
            ["--api", "127.0.0.1:0"],
            ["--leaf-ttl", &self.leaf_ttl],
        ];
        let arguments: Vec<_> = arguments.into_iter().flatten().map(str::to_owned).collect();
        let log = self.folder.join("control-plane.log");
        let mut process = Process::start(&Place::default(), "the control plane", &arguments, &log)?;
        let serves = async || {
            let client = Client::new(Context::load(&context).ok()?).ok()?;
            client.status().await.ok().map(|_| client)
        };
        self.client = Some(process.until("that it serves", START, serves).await?);
        self.process = Some(process);
        if self.grpc.is_none() {
            // Proxies look for it where it was.
            self.grpc = self.token(&Plan::new("probe", "probe")).await?.control_plane.parse().ok();
        }
        Ok(())
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// What the system says.
    pub async fn kill(&mut self) -> Result<()> {
        self.client = None;
        match self.process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Where its store is.
    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// The file by which `weft` finds its admin API.
    pub fn context(&self) -> PathBuf {
        self.folder.join("context.json")
    }

    /// Its admin API.
    ///
    /// # Errors
    /// That it does not run.
    pub fn client(&self) -> Result<&Client> {
        self.client.as_ref().context("the control plane does not run")
    }

    /// Applies YAML.
    ///
    /// # Errors
    /// What it refuses.
    pub async fn apply(&self, yaml: &str) -> Result<ApplyResponse> {
        let document = Document { file: "test.yaml".to_owned(), text: yaml.to_owned() };
        Ok(self.client()?.apply(&ApplyRequest { documents: vec![document], dry_run: false }).await?)
    }

    /// Waits until its status is as wanted.
    ///
    /// # Errors
    /// That it did not become so.
    pub async fn until(&self, what: &str, within: Duration, holds: impl Fn(&Status) -> bool) -> Result<Status> {
        let deadline = Instant::now() + within;
        loop {
            let status = self.client()?.status().await;
            match status {
                Ok(status) if holds(&status) => return Ok(status),
                outcome => {
                    anyhow::ensure!(Instant::now() < deadline, "{what} did not come about; last: {outcome:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// A sidecar that has a token and does not run yet.
    ///
    /// # Errors
    /// Where no token is made.
    pub async fn sidecar(&self, plan: &Plan) -> Result<Sidecar> {
        let folder = self.folder.join("sidecars");
        fs::create_dir_all(&folder)?;
        let join = folder.join(format!("{}.join", plan.workload));
        self.token(plan).await?.save(&join)?;
        Sidecar::new(&folder, &join, plan)
    }

    async fn token(&self, plan: &Plan) -> Result<JoinFile> {
        let Plan { namespace, account, labels, .. } = plan;
        let request = TokenRequest {
            namespace: namespace.clone(),
            account: account.clone(),
            ttl_seconds: Some(600),
            labels: labels.iter().cloned().collect(),
        };
        let made = self.client()?.token(&request).await?;
        Ok(JoinFile::parse(made.join_file.to_string().as_bytes(), "the join file")?)
    }
}
