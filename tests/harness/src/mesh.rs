//! The control plane's side of a test mesh.
use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use weft_certs::join::{Context, JoinFile};
use weft_control_plane::{
    Config, ControlPlane, Running, SealingKeySource,
    client::{CallError, Client},
    wire::{ApplyRequest, ApplyResponse, Document, TokenRequest},
};

use crate::{Plan, process, store};

/// A mesh's control plane in a temporary folder, which goes when it is dropped.
#[derive(Debug)]
pub struct Mesh {
    folder: TempDir,
    config: Config,
    running: Option<Running>,
    client: Client,
}

impl Mesh {
    /// Starts a control plane with an empty store.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn start() -> Result<Self> {
        Self::start_with(|_| {}).await
    }

    /// Starts a control plane with an empty store and a changed configuration.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("weft-test-").tempdir()?;
        let key = SealingKeySource::File(folder.path().join("sealing.key"));
        let mut config = Config::on_loopback(folder.path().join("store"), key);
        config.context_file = Some(folder.path().join("context.json"));
        change(&mut config);
        let (running, client) = launch(&mut config).await?;
        Ok(Self { folder, config, running: Some(running), client })
    }

    /// A client of its admin API.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// A folder for the test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Applies YAML.
    ///
    /// # Errors
    /// What the control plane refuses.
    pub async fn apply(&self, yaml: &str) -> Result<ApplyResponse, CallError> {
        let document = Document { file: "test.yaml".to_owned(), text: yaml.to_owned() };
        self.client.apply(&ApplyRequest { documents: vec![document], dry_run: false }).await
    }

    /// Makes a join file for a sidecar's identity and labels and says where it is.
    ///
    /// # Errors
    /// What the control plane refuses.
    pub async fn join_file(&self, plan: &Plan) -> Result<PathBuf> {
        let Plan { namespace, account, workload, labels, .. } = plan;
        let request = TokenRequest {
            namespace: namespace.clone(),
            account: account.clone(),
            ttl_seconds: Some(60),
            labels: labels.iter().cloned().collect(),
        };
        let made = self.client.token(&request).await?;
        let file = JoinFile::parse(made.join_file.to_string().as_bytes(), "the join file")?;
        let path = self.folder.path().join(format!("{namespace}.{workload}.join"));
        file.save(&path)?;
        Ok(path)
    }

    /// A sidecar in a process of its own that has a token and does not run yet.
    ///
    /// # Errors
    /// What the control plane refuses.
    pub async fn process(&self, plan: &Plan) -> Result<process::Sidecar> {
        let folder = self.folder.path().join("processes");
        fs::create_dir_all(&folder)?;
        process::Sidecar::new(&folder, &self.join_file(plan).await?, plan)
    }

    /// The same, started and ready.
    ///
    /// # Errors
    /// What keeps it from that.
    pub async fn start_process(&self, plan: &Plan) -> Result<process::Sidecar> {
        let mut sidecar = self.process(plan).await?;
        sidecar.start().await?;
        Ok(sidecar)
    }

    /// Stops the control plane; proxies go on with what they have.
    pub async fn stop_control_plane(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().await;
        }
    }

    /// Starts the control plane again from its store, at the same address.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn start_control_plane(&mut self) -> Result<()> {
        let (running, client) = launch(&mut self.config).await?;
        self.running = Some(running);
        self.client = client;
        Ok(())
    }

    /// Copies the store of a control plane that is stopped, and returns where the copy is.
    ///
    /// # Errors
    /// What the system says.
    pub fn copy_store(&self) -> Result<PathBuf> {
        let copy = tempfile::Builder::new().prefix("copy-").tempdir_in(self.folder.path())?.keep();
        store::replace(&copy, &self.config.dir)?;
        Ok(copy)
    }

    /// Puts a copy back in the place of the store, whose control plane is stopped.
    ///
    /// # Errors
    /// What the system says.
    pub fn put_store_back(&self, copy: &Path) -> Result<()> {
        Ok(store::replace(&self.config.dir, copy)?)
    }

    /// Makes the store of a stopped control plane another one without objects, of the same mesh: see [`store::empty`].
    ///
    /// # Errors
    /// What the store says.
    pub async fn empty_store(&self) -> Result<()> {
        store::empty(&self.config.dir).await
    }

    /// Removes the store of a stopped control plane altogether: what starts in its place is another mesh.
    ///
    /// # Errors
    /// What the system says.
    pub fn lose_store(&mut self) -> Result<()> {
        fs::remove_dir_all(&self.config.dir)?;
        self.config.context_file = Some(self.folder.path().join("other-context.json"));
        Ok(())
    }
}

async fn launch(config: &mut Config) -> Result<(Running, Client)> {
    let running = ControlPlane::start(config.clone()).await?;
    // Proxies look for it where it was.
    config.grpc = running.grpc;
    let context = config.context_file.as_deref().context("a context file is configured")?;
    let client = Client::new(Context::load(context)?)?;
    Ok((running, client))
}
