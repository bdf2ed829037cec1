//! A sidecar's process.
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::Instant;
use weft_decide::HealthCheck;

use super::{Place, Process, START};
use crate::{Connection, Plan};

/// A sidecar's process; dropped, it is killed.
#[derive(Debug)]
pub struct Sidecar {
    /// The workload's name.
    pub name: String,
    /// Where its state is kept.
    pub state: PathBuf,
    plan: Plan,
    arguments: Vec<String>,
    folder: PathBuf,
    place: Place,
    /// What it has bound; kept over its restarts, as a pod's address is.
    bound: Option<Value>,
    process: Option<Process>,
}

impl Sidecar {
    /// Makes one that does not run yet, its state and its logs in a folder, with a join file that fits the plan.
    ///
    /// # Errors
    /// Where the plan asks for what the command line has no words for.
    pub fn new(folder: &Path, join: &Path, plan: &Plan) -> Result<Self> {
        ensure!(plan.health == HealthCheck::default(), "a process has no say in how its application is checked");
        let name = plan.workload.clone();
        let state = folder.join(&name);
        let mut arguments: Vec<String> = ["proxy", "run"].map(str::to_owned).into();
        let mut add = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
        add("--workload", name.clone());
        add("--join", join.display().to_string());
        add("--state-dir", state.display().to_string());
        add("--access-log", folder.join(format!("{name}.access.log")).display().to_string());
        add("--workers", plan.workers.to_string());
        for (key, value) in &plan.labels {
            add("--label", format!("{key}={value}"));
        }
        for (port, address) in &plan.applications {
            add("--application", format!("{port}={address}"));
        }
        Ok(Self {
            name,
            state,
            plan: plan.clone(),
            arguments,
            folder: folder.to_owned(),
            place: Place::default(),
            bound: None,
            process: None,
        })
    }

    /// At a place, by whose address peers reach it.
    #[must_use]
    pub fn at(mut self, place: &Place) -> Self {
        self.place = place.clone();
        self
    }

    /// Where it is: who connects to its outbound listeners does so from there.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// A client of its outbound HTTP listener, beside it.
    ///
    /// # Errors
    /// That it has no such listener, or what the system says.
    pub async fn client(&self) -> Result<Connection> {
        Ok(Connection::open_from(&self.place, self.outbound()?).await?)
    }

    /// Starts it, at the addresses that it had before if it ran, without waiting for it to be ready.
    ///
    /// # Errors
    /// What keeps it from binding.
    pub async fn launch(&mut self) -> Result<()> {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut arguments = self.arguments.clone();
        let mut listen = vec![("outbound", local), ("status", local)];
        if !self.plan.applications.is_empty() {
            listen.push(("inbound", SocketAddr::new(self.place.address(), 0)));
        }
        for (part, first) in listen {
            arguments.extend([format!("--{part}"), self.address(part).unwrap_or(first).to_string()]);
        }
        for service in &self.plan.tcp {
            let choice = match service.contains('=') {
                true => service.clone(),
                false => format!("{service}={}", self.tcp(service).unwrap_or(local)),
            };
            arguments.extend(["--tcp".to_owned(), choice]);
        }
        let file = self.state.join("listeners.json");
        if file.exists() {
            fs::remove_file(&file)?;
        }
        let log = self.folder.join(format!("{}.log", self.name));
        let mut process = Process::start(&self.place, &format!("the sidecar of {}", self.name), &arguments, &log)?;
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
            ensure!(Instant::now() < deadline, "{} is not ready within {within:?}: {said}", self.name);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// What its status interface answers.
    ///
    /// # Errors
    /// That it does not answer.
    pub async fn says(&self, path: &str) -> Result<String> {
        let mut status = Connection::open_from(&self.place, self.status()?).await?;
        Ok(status.get("sidecar", path, &[]).await?.text())
    }

    /// The value of one of its metrics, its series summed up; 0 where there is none.
    ///
    /// # Errors
    /// That it does not answer.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        self.metric_where(name, "").await
    }

    /// The same of those series only whose labels have this part (`outcome="complete"`).
    ///
    /// # Errors
    /// That it does not answer.
    pub async fn metric_where(&self, name: &str, labels: &str) -> Result<f64> {
        let text = self.says("/metrics").await?;
        let series = text.lines().filter(|line| line.starts_with(name) && line.contains(labels));
        let of_it = series.filter(|line| line[name.len()..].starts_with([' ', '{']));
        Ok(of_it.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// The access log's lines so far, over all its starts.
    pub fn access_log(&self) -> Vec<String> {
        let log = self.folder.join(format!("{}.access.log", self.name));
        fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect()
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

    /// Asks it to drain and waits until it has left in order.
    ///
    /// # Errors
    /// That it does not within the time, or how else it ended.
    pub async fn drain(&mut self, within: Duration) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.terminate();
        let status = process.ended(within).await?;
        ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }

    /// Its process id.
    ///
    /// # Errors
    /// That it does not run.
    pub fn id(&self) -> Result<u32> {
        self.process.as_ref().and_then(Process::id).context("it does not run")
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

    /// Where `/ready`, `/live` and `/metrics` are served.
    ///
    /// # Errors
    /// That it has not run.
    pub fn status(&self) -> Result<SocketAddr> {
        self.address("status").context("it has no status interface")
    }

    /// Where the application connects for a TCP service, `namespace/service:port`.
    ///
    /// # Errors
    /// That it has no such listener.
    pub fn tcp(&self, service: &str) -> Result<SocketAddr> {
        let listeners = self.bound.as_ref().and_then(|bound| bound.get("tcp")?.as_array());
        let of_it = |listener: &&Value| listener["service"].as_str().is_some_and(|name| name.ends_with(service));
        let found = listeners.and_then(|all| all.iter().find(of_it));
        let address = found.and_then(|listener| listener["address"].as_str()?.parse().ok());
        address.with_context(|| format!("it has no listener for {service}"))
    }

    fn address(&self, part: &str) -> Option<SocketAddr> {
        self.bound.as_ref()?.get(part)?.as_str()?.parse().ok()
    }
}
