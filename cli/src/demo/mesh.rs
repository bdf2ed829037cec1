//! The demo's processes: one control plane, and a service and a sidecar for each instance of the shop.
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Signal;
use weft_certs::join::{Context, JoinFile};
use weft_control_plane::{
    client::Client as Api,
    wire::{ApplyRequest, Document, TokenRequest},
};

use super::{bound::Bound, client::Client, process::Process, service::prices, until};
use crate::failure::{Failure, While};

/// The shop's objects.
pub(crate) const SHOP: &str = include_str!("shop.yaml");

/// How long a sidecar's certificate lives.
pub(crate) const LEAVES: Duration = Duration::from_secs(3600);

/// How long anything may take to come up.
const START: Duration = Duration::from_secs(10);

/// One instance of the shop: what runs, and as whom.
pub(crate) struct Plan {
    pub(crate) instance: &'static str,
    pub(crate) account: &'static str,
    version: &'static str,
    /// The service's role; an instance without one only calls.
    role: Option<&'static str>,
    tcp: bool,
}

const fn instance(instance: &'static str, account: &'static str, version: &'static str, tcp: bool) -> Plan {
    Plan { instance, account, version, role: Some(account), tcp }
}

/// The shop.
pub(crate) const PLANS: [Plan; 7] = [
    instance("web-0", "web", "v1", false),
    instance("catalog-0", "catalog", "v1", true),
    instance("reviews-v1-0", "reviews", "v1", false),
    instance("reviews-v2-0", "reviews", "v2", false),
    instance("reviews-v2-1", "reviews", "v2", false),
    instance("prices-0", "prices", "v1", false),
    instance("stock-0", "stock", "v1", false),
];

/// A caller that no AccessPolicy knows; only the scripted tour starts it.
pub(crate) const INTRUDER: Plan =
    Plan { instance: "intruder-0", account: "intruder", version: "v1", role: None, tcp: true };

/// One running instance.
pub(crate) struct Instance {
    pub(crate) plan: &'static Plan,
    /// Where the application itself listens; none where it only calls.
    pub(crate) application: Option<SocketAddr>,
    /// What its sidecar has bound.
    pub(crate) bound: Bound,
    /// The sidecar's access log.
    pub(crate) access_log: PathBuf,
    /// The application, where there is one.
    service: Option<Process>,
    sidecar: Process,
    /// What the sidecar was started with.
    arguments: Vec<String>,
}

/// The demo's mesh.
pub(crate) struct Mesh {
    folder: PathBuf,
    control_plane: Option<Process>,
    api: Option<Api>,
    /// Where proxies reach the control plane: kept over its restart.
    grpc: Option<SocketAddr>,
    pub(crate) instances: Vec<Instance>,
}

impl Mesh {
    /// A mesh in a folder, with nothing started.
    pub(crate) const fn new(folder: PathBuf) -> Self {
        Self { folder, control_plane: None, api: None, grpc: None, instances: Vec::new() }
    }

    /// The context file of its control plane.
    pub(crate) fn context(&self) -> PathBuf {
        self.folder.join("context.json")
    }

    /// Where everything is kept.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of the control plane's store.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// The state directory of an instance's sidecar.
    pub(crate) fn state(&self, instance: &str) -> PathBuf {
        self.folder.join("sidecars").join(instance)
    }

    /// Where the control plane serves xDS and its admin API.
    pub(crate) fn control_plane(&self) -> Result<(SocketAddr, String), Failure> {
        let grpc = self.grpc.ok_or_else(|| Failure::new("the control plane does not run"))?;
        let context = Context::load(&self.context()).while_("read the context")?;
        Ok((grpc, context.address))
    }

    /// The admin API of its control plane.
    pub(crate) fn api(&self) -> Result<&Api, Failure> {
        self.api.as_ref().ok_or_else(|| Failure::new("the control plane does not run"))
    }

    /// The instance of that name.
    pub(crate) fn instance(&self, name: &str) -> Result<&Instance, Failure> {
        let found = self.instances.iter().find(|instance| instance.plan.instance == name);
        found.ok_or_else(|| Failure::new(format!("{name} does not run")))
    }

    /// A client of an instance's outbound listener.
    pub(crate) fn outbound(&self, name: &str) -> Result<Client, Failure> {
        let outbound = self.instance(name)?.bound.outbound;
        outbound.map(Client::new).ok_or_else(|| Failure::new(format!("{name} has no outbound listener")))
    }

    /// A caller of the prices service through an instance's outbound listener.
    pub(crate) fn prices(&self, name: &str) -> Result<prices::Caller, Failure> {
        let outbound = self.instance(name)?.bound.outbound;
        prices::Caller::new(outbound.ok_or_else(|| Failure::new(format!("{name} has no outbound listener")))?)
    }

    /// Starts everything, with certificates that live that long, and waits until every sidecar is ready. Objects are
    /// applied where the store is empty.
    pub(crate) async fn start(&mut self, leaves: Duration) -> Result<(), Failure> {
        for part in ["logs", "sidecars", "keys"] {
            fs::create_dir_all(self.folder.join(part)).while_("make the demo's folders")?;
        }
        self.start_control_plane(leaves).await?;
        let api = self.api()?.clone();
        if api.objects(None, None, None).await?.items.is_empty() {
            let shop = Document { file: "shop.yaml".to_owned(), text: SHOP.to_owned() };
            api.apply(&ApplyRequest { documents: vec![shop], dry_run: false }).await?;
        }
        for plan in &PLANS {
            self.start_instance(plan).await?;
        }
        self.ready().await
    }

    /// Starts the control plane, again at the same address if it ran before.
    pub(crate) async fn start_control_plane(&mut self, leaves: Duration) -> Result<(), Failure> {
        let path = |part: &str| self.folder.join(part).display().to_string();
        let context = self.context();
        if context.exists() {
            // What an earlier run left would be read as this one's address.
            fs::remove_file(&context).while_("remove the old context")?;
        }
        let grpc = self.grpc.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string());
        let arguments = [
            ["--dir", &self.store().display().to_string()],
            ["--sealing-key-file", &path("keys/sealing.key")],
            ["--context-file", &path("context.json")],
            ["--grpc", &grpc],
            ["--api", "127.0.0.1:0"],
            ["--leaf-ttl", &format!("{}s", leaves.as_secs())],
        ];
        let arguments = ["control-plane", "run"].into_iter().chain(arguments.into_iter().flatten());
        let arguments: Vec<_> = arguments.map(str::to_owned).collect();
        let log = self.folder.join("logs/control-plane.log");
        let (mut process, _) = Process::start("the control plane", &arguments, &log, false).await?;
        let found = until(START, async || {
            if process.ended().is_some() {
                return Some(Err(process.dead()));
            }
            let api = Api::new(Context::load(&context).ok()?).ok()?;
            api.status().await.ok()?;
            Some(Ok(api))
        });
        let api = found.await.ok_or_else(|| process.dead())??;
        self.api = Some(api);
        self.control_plane = Some(process);
        Ok(())
    }

    /// Stops the control plane in order.
    pub(crate) async fn stop_control_plane(&mut self) {
        self.api = None;
        if let Some(process) = self.control_plane.take() {
            process.terminate();
            process.leave().await;
        }
    }

    /// Kills the control plane as a crash would.
    pub(crate) async fn kill_control_plane(&mut self) -> Result<(), Failure> {
        self.api = None;
        match self.control_plane.take() {
            Some(mut process) => process.kill().await.while_("kill the control plane"),
            None => Ok(()),
        }
    }

    /// Starts one instance: its application, then its sidecar, which joins by a token made for it.
    pub(crate) async fn start_instance(&mut self, plan: &'static Plan) -> Result<(), Failure> {
        let state = self.state(plan.instance);
        // A sidecar starts anew with each demo: only the control plane's state is kept.
        if state.exists() {
            fs::remove_dir_all(&state).while_(format_args!("remove {}", state.display()))?;
        }
        let listeners = state.join("listeners.json");
        let (mut service, mut application) = (None, None);
        if let Some(role) = plan.role {
            let (process, address) = self.start_application(plan, role, &listeners).await?;
            (service, application) = (Some(process), Some(address));
        }
        let join = self.join_file(plan).await?;
        let access_log = self.folder.join("logs").join(format!("{}.access.log", plan.instance));
        let arguments = sidecar_arguments(plan, application, &state, &join, &access_log);
        let mut sidecar = self.start_sidecar(plan, &arguments).await?;
        let found = until(START, async || {
            if sidecar.ended().is_some() {
                return Some(Err(sidecar.dead()));
            }
            Bound::read(&listeners).ok().map(Ok)
        });
        let bound = found.await.ok_or_else(|| sidecar.dead())??;
        self.instances.push(Instance { plan, application, bound, access_log, service, sidecar, arguments });
        Ok(())
    }

    /// Kills an instance's sidecar as a crash would and starts it again from what it has kept. Returns at once: it serves
    /// when it is found where it was.
    pub(crate) async fn restart_sidecar(&mut self, name: &str) -> Result<(), Failure> {
        let instance = self.instances.iter_mut().find(|instance| instance.plan.instance == name);
        let instance = instance.ok_or_else(|| Failure::new(format!("{name} does not run")))?;
        instance.sidecar.kill().await.while_(format_args!("kill the sidecar of {name}"))?;
        let (plan, arguments) = (instance.plan, instance.arguments.clone());
        let sidecar = self.start_sidecar(plan, &arguments).await?;
        let instance = self.instances.iter_mut().find(|instance| instance.plan.instance == name);
        if let Some(instance) = instance {
            instance.sidecar = sidecar;
        }
        Ok(())
    }

    /// Makes an instance's service answer 503 from now on, or well again.
    pub(crate) fn toggle_failure(&self, name: &str) -> Result<(), Failure> {
        let service = self.instance(name)?.service.as_ref();
        let service = service.ok_or_else(|| Failure::new(format!("{name} has no service")))?;
        service.signal(Signal::USR1).while_(format_args!("signal {name}"))
    }

    async fn start_sidecar(&self, plan: &Plan, arguments: &[String]) -> Result<Process, Failure> {
        let log = self.folder.join("logs").join(format!("{}.sidecar.log", plan.instance));
        let name = format!("the sidecar of {}", plan.instance);
        Ok(Process::start(&name, arguments, &log, false).await?.0)
    }

    async fn start_application(
        &self,
        plan: &Plan,
        role: &str,
        listeners: &Path,
    ) -> Result<(Process, SocketAddr), Failure> {
        let Plan { instance, version, .. } = plan;
        let listeners = listeners.display().to_string();
        let arguments = ["demo-service", role, "--instance", instance, "--version", version, "--listeners", &listeners];
        let log = self.folder.join("logs").join(format!("{instance}.log"));
        let (process, line) = Process::start(instance, &arguments.map(str::to_owned), &log, true).await?;
        let address = line.parse().while_(format_args!("read the address of {instance} from {line:?}"))?;
        Ok((process, address))
    }

    async fn join_file(&mut self, plan: &Plan) -> Result<PathBuf, Failure> {
        let Plan { instance, account, version, .. } = plan;
        let labels = [("app", account), ("version", version)];
        let request = TokenRequest {
            namespace: "shop".to_owned(),
            account: (*account).to_owned(),
            ttl_seconds: Some(60),
            labels: labels.map(|(key, value)| (key.to_owned(), (*value).to_owned())).into(),
        };
        let made = self.api()?.token(&request).await?;
        let join =
            JoinFile::parse(made.join_file.to_string().as_bytes(), "the join file").while_("read a join file")?;
        self.grpc = join.control_plane.parse().ok();
        let path = self.folder.join("sidecars").join(format!("{instance}.join"));
        join.save(&path).while_("write a join file")?;
        Ok(path)
    }

    /// Waits until every sidecar says that its first configuration is in effect.
    pub(crate) async fn ready(&mut self) -> Result<(), Failure> {
        for instance in &mut self.instances {
            let client = Client::new(instance.bound.status);
            let mut said = String::new();
            let ready = until(START, async || {
                let reply = client.fetch("sidecar", "/ready", &[], super::client::Reuse::Kept).await.ok()?;
                String::from_utf8_lossy(&reply.body).trim().clone_into(&mut said);
                reply.status.is_success().then_some(())
            });
            if ready.await.is_none() {
                let name = instance.plan.instance;
                return Err(Failure::new(format!("the sidecar of {name} is not ready: {said}")));
            }
        }
        self.chosen().await
    }

    /// Waits until no instance is unhealthy any more: from then on peers choose it.
    async fn chosen(&self) -> Result<(), Failure> {
        let api = self.api()?;
        let mut said = String::new();
        let chosen = until(START, async || {
            let items = api.workloads().await.ok()?.items;
            let awaited = items.into_iter().find_map(|item| Some(format!("{}: {}", item.name, item.unhealthy?)));
            awaited.map_or(Some(()), |text| {
                said = text;
                None
            })
        });
        chosen.await.ok_or_else(|| Failure::new(format!("an instance stays unhealthy: {said}")))
    }

    /// Stops every process and waits for it: sidecars first, while their control plane is there to hear of it.
    pub(crate) async fn stop(self) {
        let processes = self.instances.into_iter().flat_map(|it| it.service.into_iter().chain([it.sidecar]));
        let processes: Vec<_> = processes.collect();
        processes.iter().for_each(Process::terminate);
        futures::future::join_all(processes.into_iter().map(Process::leave)).await;
        if let Some(control_plane) = self.control_plane {
            control_plane.terminate();
            control_plane.leave().await;
        }
    }
}

fn sidecar_arguments(
    plan: &Plan,
    application: Option<SocketAddr>,
    state: &Path,
    join: &Path,
    access_log: &Path,
) -> Vec<String> {
    let Plan { instance, account, version, tcp, .. } = plan;
    let mut arguments: Vec<String> = ["proxy", "run", "--workload", instance].map(str::to_owned).into();
    let mut add = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
    add("--join", join.display().to_string());
    add("--state-dir", state.display().to_string());
    add("--access-log", access_log.display().to_string());
    add("--label", format!("app={account}"));
    add("--label", format!("version={version}"));
    add("--outbound", "127.0.0.1:0".to_owned());
    add("--status", "127.0.0.1:0".to_owned());
    if let Some(application) = application {
        let port = match *account {
            "prices" => "grpc",
            "stock" => "tcp",
            _ => "http",
        };
        add("--application", format!("{port}={application}"));
        add("--inbound", "127.0.0.1:0".to_owned());
    }
    if *tcp {
        add("--tcp", "shop/stock:9000=127.0.0.1:0".to_owned());
    }
    arguments
}
