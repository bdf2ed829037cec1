//! A mesh of real processes: a control plane, and a sidecar beside each application.
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::Instant;
use weft_certs::join::{Context, JoinFile};
use weft_control_plane::{
    client::Client,
    wire::{ApplyRequest, Document, Status, TokenRequest},
};
use weft_harness::Connection;

use crate::{Backend, Process};

/// How long anything may take to come up on a busy machine.
const START: Duration = Duration::from_secs(30);

/// A control plane's process, and where it keeps things.
#[derive(Debug)]
pub struct ControlPlane {
    folder: PathBuf,
    leaf_ttl: String,
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
        fs::create_dir_all(folder)?;
        let (folder, leaf_ttl) = (folder.to_owned(), leaf_ttl.to_owned());
        let mut plane = Self { folder, leaf_ttl, grpc: None, process: None, client: None };
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
        let grpc = self.grpc.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string());
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
        let mut process = Process::start("the control plane", &arguments, &self.folder.join("control-plane.log"))?;
        let serves = async || {
            let client = Client::new(Context::load(&context).ok()?).ok()?;
            client.status().await.ok().map(|_| client)
        };
        self.client = Some(process.until("that it serves", START, serves).await?);
        self.process = Some(process);
        if self.grpc.is_none() {
            self.grpc = self.token("drills", "probe", &[]).await?.control_plane.parse().ok();
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
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        let document = Document { file: "drill.yaml".to_owned(), text: yaml.to_owned() };
        self.client()?.apply(&ApplyRequest { documents: vec![document], dry_run: false }).await?;
        Ok(())
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

    async fn token(&self, namespace: &str, account: &str, labels: &[(&str, &str)]) -> Result<JoinFile> {
        let request = TokenRequest {
            namespace: namespace.to_owned(),
            account: account.to_owned(),
            ttl_seconds: Some(600),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let made = self.client()?.token(&request).await?;
        Ok(JoinFile::parse(made.join_file.to_string().as_bytes(), "the join file")?)
    }
}

/// A sidecar's process.
#[derive(Debug)]
pub struct Sidecar {
    /// The workload's name, in the namespace `shop`.
    pub name: String,
    /// Where its state is kept.
    pub state: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    /// What it has bound; kept over its restarts, as a pod's address is.
    bound: Option<Value>,
    process: Option<Process>,
}

impl Sidecar {
    /// Makes one that does not run yet. The workload has the account and label `app` of `service`.
    ///
    /// # Errors
    /// Where the control plane makes no token.
    pub async fn plan(plane: &ControlPlane, name: &str, service: &str, application: Option<&Backend>) -> Result<Self> {
        let folder = plane.folder.join("sidecars");
        fs::create_dir_all(&folder)?;
        let (join, state) = (folder.join(format!("{name}.join")), folder.join(name));
        plane.token("shop", service, &[("app", service)]).await?.save(&join)?;
        let path = |path: &Path| path.display().to_string();
        let mut arguments: Vec<String> = ["proxy", "run", "--workload", name].map(str::to_owned).into();
        let mut add = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
        add("--join", path(&join));
        add("--state-dir", path(&state));
        add("--access-log", path(&folder.join(format!("{name}.access.log"))));
        add("--label", format!("app={service}"));
        if let Some(application) = application {
            add("--application", format!("http={}", application.address));
        }
        let log = folder.join(format!("{name}.log"));
        Ok(Self { name: name.to_owned(), state, arguments, log, bound: None, process: None })
    }

    /// Starts it, at the addresses that it had before if it ran, without waiting for it to be ready.
    ///
    /// # Errors
    /// What keeps it from binding.
    pub async fn launch(&mut self) -> Result<()> {
        let any = "127.0.0.1:0".to_owned();
        let at = |part: &str| self.address(part).map_or_else(|| any.clone(), |address| address.to_string());
        let mut arguments = self.arguments.clone();
        let mut listen = vec!["outbound", "status"];
        if self.arguments.iter().any(|argument| argument == "--application") {
            listen.push("inbound");
        }
        for part in listen {
            arguments.extend([format!("--{part}"), at(part)]);
        }
        let file = self.state.join("listeners.json");
        if file.exists() {
            fs::remove_file(&file)?;
        }
        let mut process = Process::start(&format!("the sidecar of {}", self.name), &arguments, &self.log)?;
        let read = async || serde_json::from_slice::<Value>(&fs::read(&file).ok()?).ok();
        self.bound = Some(process.until("that it listens", START, read).await?);
        self.process = Some(process);
        Ok(())
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// What keeps it from that.
    pub async fn start(&mut self) -> Result<()> {
        self.launch().await?;
        self.ready(START).await
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// That it is not within the time, and what it says.
    pub async fn ready(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let said = self.says("/ready").await.unwrap_or_default();
            if said.starts_with("ready") {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "{} is not ready within {within:?}: {said}", self.name);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// What its status interface answers.
    ///
    /// # Errors
    /// That it does not answer.
    pub async fn says(&self, path: &str) -> Result<String> {
        let status = self.address("status").context("it has no status interface")?;
        Ok(Connection::open(status).await?.get("sidecar", path, &[]).await?.text())
    }

    /// The value of one of its metrics, its series summed up; 0 where there is none.
    ///
    /// # Errors
    /// That it does not answer.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let text = self.says("/metrics").await?;
        let series = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        let of_it = series.filter(|line| line[name.len()..].starts_with([' ', '{']));
        Ok(of_it.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// What the system says.
    pub async fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Stops it where it stands: the kernel goes on taking connections for it, and nothing answers.
    ///
    /// # Errors
    /// That it does not run.
    pub fn pause(&self) -> Result<()> {
        self.process.as_ref().context("it does not run")?.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// That it does not run.
    pub fn resume(&self) -> Result<()> {
        self.process.as_ref().context("it does not run")?.signal(Signal::CONT)
    }

    /// Asks it to drain and waits until it has ended.
    ///
    /// # Errors
    /// That it does not within the time.
    pub async fn drain(&mut self, within: Duration) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.terminate();
        process.ended(within).await
    }

    /// Where the application sends HTTP.
    ///
    /// # Errors
    /// That it has no such listener.
    pub fn outbound(&self) -> Result<SocketAddr> {
        self.address("outbound").context("it has no outbound listener")
    }

    /// Where peers connect to.
    ///
    /// # Errors
    /// That it has no such listener.
    pub fn inbound(&self) -> Result<SocketAddr> {
        self.address("inbound").context("it has no inbound listener")
    }

    fn address(&self, part: &str) -> Option<SocketAddr> {
        self.bound.as_ref()?.get(part)?.as_str()?.parse().ok()
    }
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
        let backend = Backend::start(name).await?;
        let mut sidecar = Sidecar::plan(plane, name, service, Some(&backend)).await?;
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
    /// The service `stock`, and who may call it.
    pub const STOCK: &str = r#"
{ apiVersion: v1, kind: Service, metadata: { name: stock, namespace: shop },
  spec: { selector: { app: stock }, ports: [{ name: http, port: 80, targetPort: http }] } }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: stock, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: stock }]
  rules: [{ action: Allow, from: [{ namespace: shop, account: web }] }]
"#;

    /// Starts it with so many pods, and waits until a request goes through.
    ///
    /// # Errors
    /// What keeps it from that.
    pub async fn start(folder: &Path, pods: usize, leaf_ttl: &str) -> Result<Self> {
        let plane = ControlPlane::start(folder, leaf_ttl).await?;
        plane.apply(Self::STOCK).await?;
        let mut stock = Vec::new();
        for at in 0..pods {
            stock.push(Pod::start(&plane, &format!("stock-{at}"), "stock").await?);
        }
        let mut web = Sidecar::plan(&plane, "web-0", "web", None).await?;
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
