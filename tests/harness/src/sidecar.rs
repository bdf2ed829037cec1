//! Sidecars of a test mesh.
use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use weft_decide::HealthCheck;
use weft_model::{Labels, Locality};
use weft_proxy::agent::{
    AccessLog, Bound, Options, Proxy,
    join::{LocalChoices, TcpChoice, join},
};

use crate::{Connection, DEADLINE, Mesh, eventually};

/// Who a sidecar is, and what stands beside it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The workload's name; unique in the namespace.
    pub workload: String,
    /// Its namespace.
    pub namespace: String,
    /// Its account.
    pub account: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// In which region and zone it runs.
    pub locality: Locality,
    /// The application's ports by name.
    pub applications: Vec<(String, SocketAddr)>,
    /// How the application's ports are checked.
    pub health: HealthCheck,
    /// TCP services that it calls, as `namespace/service:port`, with `=ip:port` where it listens at a fixed address.
    pub tcp: Vec<String>,
    /// Worker threads.
    pub workers: usize,
}

impl Plan {
    /// An instance of `account` in the namespace `shop`, labelled `app: <account>`, with no application.
    pub fn new(workload: &str, account: &str) -> Self {
        Self {
            workload: workload.to_owned(),
            namespace: "shop".to_owned(),
            account: account.to_owned(),
            labels: vec![("app".to_owned(), account.to_owned())],
            locality: Locality::default(),
            applications: Vec::new(),
            health: HealthCheck::default(),
            tcp: Vec::new(),
            workers: 1,
        }
    }

    /// With a further label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// In that zone of a region; names that are none leave it unknown.
    #[must_use]
    pub fn at(mut self, region: &str, zone: &str) -> Self {
        self.locality = Locality { region: region.parse().ok(), zone: zone.parse().ok(), sub_zone: None };
        self
    }

    /// With an application's port.
    #[must_use]
    pub fn application(mut self, port: &str, address: SocketAddr) -> Self {
        self.applications.push((port.to_owned(), address));
        self
    }

    /// With its application checked that often, whether it is healthy or not.
    #[must_use]
    pub const fn checked_every(mut self, interval: Duration) -> Self {
        self.health.interval = interval;
        self.health.unhealthy_interval = interval;
        self
    }

    /// With a TCP service that it calls, as `namespace/service:port`; `=ip:port` behind it fixes the local address.
    #[must_use]
    pub fn calls(mut self, service: &str) -> Self {
        self.tcp.push(service.to_owned());
        self
    }

    /// With so many worker threads.
    #[must_use]
    pub const fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }
}

/// A running sidecar; dropping it stops it at once.
#[derive(Debug)]
pub struct Sidecar {
    /// The proxy itself.
    pub proxy: Proxy,
    /// What it has bound.
    pub bound: Bound,
    /// Its state directory.
    pub state: PathBuf,
    access_log: PathBuf,
}

impl Sidecar {
    /// Joins the mesh with a token made for it and waits until the first configuration is in effect and the control plane
    /// knows that: from then on peers are told to choose it, unless its application takes no connections.
    ///
    /// # Errors
    /// What keeps it from joining or from becoming ready.
    pub async fn start(mesh: &Mesh, plan: Plan) -> Result<Self> {
        let join_file = mesh.join_file(&plan).await?;
        let state = mesh.folder().join("sidecars").join(&plan.namespace).join(&plan.workload);
        let name = plan.workload.clone();
        let sidecar = Self::from_join_file(&join_file, state, plan).await?;
        eventually("the first verdict on its application", async || {
            let items = mesh.client().workloads().await.ok()?.items;
            let item = items.into_iter().find(|item| item.name == name)?;
            item.unhealthy.is_none_or(|reason| reason.starts_with("port ")).then_some(())
        })
        .await;
        Ok(sidecar)
    }

    /// Starts with a given join file and state directory, as a restart does.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub async fn from_join_file(join_file: &Path, state: PathBuf, plan: Plan) -> Result<Self> {
        let join_file = join_file.to_owned();
        let started = tokio::task::spawn_blocking(move || {
            let sidecar = Self::launch(&join_file, state, &plan)?;
            sidecar.proxy.wait_ready(DEADLINE)?;
            anyhow::Ok(sidecar)
        });
        started.await?
    }

    /// Starts without waiting for it to become ready.
    ///
    /// # Errors
    /// What keeps it from binding its listeners.
    pub fn launch(join_file: &Path, state: PathBuf, plan: &Plan) -> Result<Self> {
        let joined = join(join_file, choices(&state, plan)?)?;
        let access_log = state.join("access.log");
        let options =
            Options { access_log: AccessLog::File(access_log.clone()), token: joined.token, ..Options::default() };
        let proxy = Proxy::start(joined.bootstrap, options)?;
        let bound = proxy.bound().clone();
        Ok(Self { proxy, bound, state, access_log })
    }

    /// Where the application sends HTTP.
    ///
    /// # Panics
    /// Never for a sidecar of this harness: each has an outbound listener.
    pub fn outbound(&self) -> SocketAddr {
        self.bound.outbound.expect("every test sidecar has an outbound listener")
    }

    /// A new connection to the outbound listener.
    ///
    /// # Errors
    /// What the system says.
    pub async fn connect(&self) -> std::io::Result<Connection> {
        Connection::open(self.outbound()).await
    }

    /// Where the application connects for a TCP service, `namespace/service:port`.
    pub fn tcp(&self, service: &str) -> Option<SocketAddr> {
        self.bound.tcp.iter().find(|(name, _)| name.to_string().ends_with(service)).map(|(_, address)| *address)
    }

    /// The access log's lines so far.
    pub fn access_log(&self) -> Vec<String> {
        fs::read_to_string(&self.access_log).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

fn choices(state: &Path, plan: &Plan) -> Result<LocalChoices> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut applications = BTreeMap::new();
    for (port, address) in &plan.applications {
        applications.insert(port.parse()?, *address);
    }
    let tcp = plan.tcp.iter().map(|service| match service.contains('=') {
        true => service.parse::<TcpChoice>(),
        false => format!("{service}={any}").parse(),
    });
    Ok(LocalChoices {
        http10: Default::default(),
        state_directory: state.to_owned(),
        workload: Some(plan.workload.parse()?),
        labels: plan.labels.iter().cloned().collect::<Labels>(),
        locality: plan.locality.clone(),
        health: plan.health,
        inbound: (!applications.is_empty()).then_some(any),
        applications,
        outbound: Some(any),
        tcp: tcp.collect::<Result<_, _>>()?,
        status: any,
        workers: NonZeroUsize::new(plan.workers).unwrap_or(NonZeroUsize::MIN),
    })
}
