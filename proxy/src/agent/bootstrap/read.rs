//! From text to [`Bootstrap`]: each function reads one message of Envoy's bootstrap or of the extension.
use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Spanned};
use weft_certs::CaPin;
use weft_decide::HealthCheck;
use weft_ir::{MeshNames, ServicePort};
use weft_model::{ClusterName, Host, Labels, Locality, NetworkName, PortName, TrustDomain};

use super::{
    Bootstrap, ControlPlaneAddress, DEFAULT_ON_DEMAND_TIMEOUT, FieldError, InvalidBootstrap, TcpListener, health,
    http10,
    tree::{Errors, Fields, Node, Value},
};
use crate::dataplane::Http10;

/// The name and type of weft's entry among `bootstrap_extensions`.
pub(super) const EXTENSION: &str = "weft.agent";
pub(super) const EXTENSION_TYPE: &str = "type.googleapis.com/weft.v1.Agent";

/// More worker threads than any machine weft runs on has cores.
const MAX_WORKERS: usize = 1024;

/// A request that waits longer has been given up by its client.
const MAX_ON_DEMAND_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn bootstrap(text: &str) -> Result<Bootstrap, InvalidBootstrap> {
    let root = Node::root(parse(text)?);
    let mut errors = Errors::default();
    let parts = Parts::read(root, &mut errors);
    let bootstrap = parts.build(&mut errors);
    let errors = errors.into_sorted();
    match bootstrap {
        Some(bootstrap) if errors.is_empty() => Ok(bootstrap),
        _ => Err(InvalidBootstrap(errors)),
    }
}

fn parse(text: &str) -> Result<Spanned<Value>, InvalidBootstrap> {
    let whole = |line, text| InvalidBootstrap(vec![FieldError { line, field: String::new(), text }]);
    if text.len() as u64 > super::MAX_FILE_BYTES {
        return Err(whole(0, format!("it is larger than {} bytes", super::MAX_FILE_BYTES)));
    }
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        whole(line, error.to_string())
    })
}

/// The bootstrap's messages, each read as far as it is right.
struct Parts {
    node: NodeIdentity,
    admin: Option<PathBuf>,
    /// The cluster that `ads_config` names, and its place.
    ads_cluster: Option<Node>,
    /// The static clusters by name.
    clusters: BTreeMap<String, ControlPlaneAddress>,
    extension: Option<Extension>,
}

impl Parts {
    fn read(root: Node, errors: &mut Errors) -> Self {
        let mut fields = root.fields(errors);
        let node = fields.require("node", errors).map(|node| NodeIdentity::read(node, errors)).unwrap_or_default();
        let admin = fields.require("admin", errors).and_then(|node| admin(node, errors));
        let ads_cluster = fields.require("dynamic_resources", errors).and_then(|node| dynamic_resources(node, errors));
        let clusters =
            fields.require("static_resources", errors).map(|node| static_clusters(node, errors)).unwrap_or_default();
        let extension = fields.require("bootstrap_extensions", errors).and_then(|node| extension(node, errors));
        fields.finish(errors);
        Self { node, admin, ads_cluster, clusters, extension }
    }

    fn build(self, errors: &mut Errors) -> Option<Bootstrap> {
        let Self { node, admin, ads_cluster, clusters, extension } = self;
        let ads = ads_cluster.and_then(|name| {
            let place = name.place.clone();
            let name = name.text(errors)?;
            let found = clusters.get(&name).cloned();
            if found.is_none() {
                errors.add(&place, format!("static_resources has no usable cluster {name:?}"));
            }
            found
        });
        let NodeIdentity { id, cluster, locality } = node;
        let Extension { mesh_domain, trust_domain, namespace, account, workload, rest } = extension?;
        let mesh = MeshNames { trust_domain: trust_domain?, mesh_domain: mesh_domain?, cluster: cluster? };
        let (namespace, workload) = (namespace?, workload?);
        if let Some(id) = id {
            let place = id.place.clone();
            let expected = format!("{namespace}/{workload}");
            if id.text(errors)? != expected {
                errors.add(&place, format!("it must be the workload's namespace and name, {expected:?}"));
            }
        }
        let tcp = rest.tcp.into_iter().map(|listener| listener.of_cluster(&mesh.cluster)).collect();
        Some(Bootstrap {
            namespace,
            account: account?,
            workload,
            mesh,
            labels: rest.labels,
            locality,
            network: rest.network,
            applications: rest.applications,
            health: rest.health,
            inbound: rest.inbound,
            outbound: rest.outbound,
            tcp,
            status: rest.status?,
            admin: admin?,
            state_directory: rest.state_directory?,
            ads: ads?,
            control_plane: rest.control_plane?,
            ca_sha256: rest.ca_sha256?,
            on_demand_timeout: rest.on_demand_timeout,
            http10: rest.http10,
            workers: rest.workers,
        })
    }
}

/// `node`: id, cluster and locality.
#[derive(Default)]
struct NodeIdentity {
    id: Option<Node>,
    cluster: Option<ClusterName>,
    locality: Locality,
}

impl NodeIdentity {
    fn read(node: Node, errors: &mut Errors) -> Self {
        let mut fields = node.fields(errors);
        let id = fields.take("id", errors);
        let cluster = match fields.take("cluster", errors) {
            Some(node) => node.parse(errors),
            None => Some(ClusterName::local()),
        };
        let locality = fields.take("locality", errors).map(|node| locality(node, errors)).unwrap_or_default();
        fields.finish(errors);
        Self { id, cluster, locality }
    }
}

fn locality(node: Node, errors: &mut Errors) -> Locality {
    let mut fields = node.fields(errors);
    let region = fields.take("region", errors).and_then(|node| node.parse(errors));
    let zone = fields.take("zone", errors).and_then(|node| node.parse(errors));
    let sub_zone = fields.take("sub_zone", errors).and_then(|node| node.parse(errors));
    fields.finish(errors);
    Locality { region, zone, sub_zone }
}

/// `admin`: a Unix socket, never a port.
fn admin(node: Node, errors: &mut Errors) -> Option<PathBuf> {
    let mut fields = node.fields(errors);
    let address = fields.require("address", errors);
    fields.finish(errors);
    let mut fields = address?.fields(errors);
    let pipe = fields.require("pipe", errors);
    fields.finish(errors);
    let mut fields = pipe?.fields(errors);
    let path = fields.require("path", errors).and_then(|node| node.text(errors));
    // 0600 in decimal, as protobuf's JSON writes an integer.
    fields.fixed("mode", "384", errors);
    fields.finish(errors);
    path.map(PathBuf::from)
}

/// `dynamic_resources`: the name of the cluster that serves delta ADS.
fn dynamic_resources(node: Node, errors: &mut Errors) -> Option<Node> {
    let mut fields = node.fields(errors);
    let ads = fields.require("ads_config", errors);
    for name in ["lds_config", "cds_config"] {
        if let Some(node) = fields.take(name, errors) {
            let mut source = node.fields(errors);
            source.require("ads", errors).into_iter().for_each(|ads| ads.fields(errors).finish(errors));
            source.fixed("resource_api_version", "V3", errors);
            source.finish(errors);
        }
    }
    fields.finish(errors);
    let mut fields = ads?.fields(errors);
    fields.fixed("api_type", "DELTA_GRPC", errors);
    fields.fixed("transport_api_version", "V3", errors);
    let services = fields.require("grpc_services", errors);
    fields.finish(errors);
    let service = single(services?, errors)?;
    let mut fields = service.fields(errors);
    let grpc = fields.require("envoy_grpc", errors);
    fields.finish(errors);
    let mut fields = grpc?.fields(errors);
    let name = fields.require("cluster_name", errors);
    fields.finish(errors);
    name
}

fn single(node: Node, errors: &mut Errors) -> Option<Node> {
    let place = node.place.clone();
    let mut items = node.list(errors);
    if items.len() == 1 {
        return items.pop();
    }
    errors.add(&place, format!("it must have exactly one entry, not {}", items.len()));
    None
}

/// `static_resources`: clusters of one address each.
fn static_clusters(node: Node, errors: &mut Errors) -> BTreeMap<String, ControlPlaneAddress> {
    let mut fields = node.fields(errors);
    let clusters = fields.take("clusters", errors);
    fields.finish(errors);
    let clusters = clusters.map(|node| node.list(errors)).unwrap_or_default();
    clusters.into_iter().filter_map(|node| static_cluster(node, errors)).collect()
}

fn static_cluster(node: Node, errors: &mut Errors) -> Option<(String, ControlPlaneAddress)> {
    let mut fields = node.fields(errors);
    let name = fields.require("name", errors).and_then(|node| node.text(errors));
    if let Some(kind) = fields.take("type", errors) {
        let place = kind.place.clone();
        let known = |kind: &String| matches!(kind.as_str(), "STATIC" | "STRICT_DNS" | "LOGICAL_DNS");
        if kind.text(errors).is_some_and(|kind| !known(&kind)) {
            errors.add(&place, "it must be STATIC, STRICT_DNS or LOGICAL_DNS");
        }
    }
    let assignment = fields.require("load_assignment", errors);
    fields.finish(errors);
    let mut fields = assignment?.fields(errors);
    if let Some(name) = &name {
        fields.fixed("cluster_name", name, errors);
    }
    let localities = fields.require("endpoints", errors);
    fields.finish(errors);
    let mut fields = single(localities?, errors)?.fields(errors);
    let endpoints = fields.require("lb_endpoints", errors);
    fields.finish(errors);
    let mut fields = single(endpoints?, errors)?.fields(errors);
    let endpoint = fields.require("endpoint", errors);
    fields.finish(errors);
    let mut fields = endpoint?.fields(errors);
    let address = fields.require("address", errors);
    fields.finish(errors);
    Some((name?, socket_address(address?, errors)?))
}

fn socket_address(node: Node, errors: &mut Errors) -> Option<ControlPlaneAddress> {
    let mut fields = node.fields(errors);
    let socket = fields.require("socket_address", errors);
    fields.finish(errors);
    let socket = socket?;
    let place = socket.place.clone();
    let mut fields = socket.fields(errors);
    let host = fields.require("address", errors).and_then(|node| node.text(errors));
    let port = fields.require("port_value", errors).and_then(|node| node.parse::<u16>(errors));
    fields.finish(errors);
    let (host, port) = (host?, port?);
    let text = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    text.parse().map_err(|error: super::InvalidAddress| errors.add(&place, error.to_string())).ok()
}

/// The extension `weft.v1.Agent`.
struct Extension {
    trust_domain: Option<TrustDomain>,
    mesh_domain: Option<Host>,
    namespace: Option<weft_model::Namespace>,
    account: Option<weft_model::AccountName>,
    workload: Option<weft_model::Name>,
    rest: Local,
}

/// What is local to this machine.
struct Local {
    labels: Labels,
    network: NetworkName,
    applications: BTreeMap<PortName, SocketAddr>,
    health: HealthCheck,
    inbound: Option<SocketAddr>,
    outbound: Option<SocketAddr>,
    tcp: Vec<LocalTcp>,
    status: Option<SocketAddr>,
    state_directory: Option<PathBuf>,
    control_plane: Option<ControlPlaneAddress>,
    ca_sha256: Option<CaPin>,
    on_demand_timeout: Duration,
    http10: Http10,
    workers: NonZeroUsize,
}

/// A TCP listener before its cluster is known.
struct LocalTcp {
    /// Of the cluster `local`.
    service: ServicePort,
    bind: SocketAddr,
}

impl LocalTcp {
    fn of_cluster(self, cluster: &ClusterName) -> TcpListener {
        TcpListener { service: ServicePort { cluster: cluster.clone(), ..self.service }, bind: self.bind }
    }
}

fn extension(node: Node, errors: &mut Errors) -> Option<Extension> {
    let mut fields = single(node, errors)?.fields(errors);
    fields.fixed("name", EXTENSION, errors);
    let config = fields.require("typed_config", errors);
    fields.finish(errors);
    let mut fields = config?.fields(errors);
    fields.fixed("@type", EXTENSION_TYPE, errors);
    let trust_domain = match fields.take("trust_domain", errors) {
        Some(node) => node.parse(errors),
        None => Some(TrustDomain::default_domain()),
    };
    let mesh_domain = match fields.take("mesh_domain", errors) {
        Some(node) => node.parse(errors),
        None => "cluster.local".parse().ok(),
    };
    let namespace = fields.require("namespace", errors).and_then(|node| node.parse(errors));
    let account = fields.require("account", errors).and_then(|node| node.parse(errors));
    let workload = fields.require("workload", errors).and_then(|node| node.parse(errors));
    let rest = Local::read(&mut fields, errors);
    fields.finish(errors);
    Some(Extension { trust_domain, mesh_domain, namespace, account, workload, rest })
}

impl Local {
    fn read(fields: &mut Fields, errors: &mut Errors) -> Self {
        let network = fields.take("network", errors).and_then(|node| node.parse(errors));
        let tcp = fields.take("tcp", errors).map(|node| node.list(errors)).unwrap_or_default();
        let timeout =
            fields.take("on_demand_timeout", errors).and_then(|node| duration(node, MAX_ON_DEMAND_TIMEOUT, errors));
        let directory = fields.require("state_directory", errors).and_then(|node| node.text(errors));
        Self {
            labels: labels(fields, errors),
            network: network.unwrap_or_else(NetworkName::default_network),
            applications: applications(fields, errors),
            health: health::read(fields, errors),
            inbound: fields.take("inbound", errors).and_then(|node| node.parse(errors)),
            outbound: fields.take("outbound", errors).and_then(|node| node.parse(errors)),
            tcp: tcp.into_iter().filter_map(|node| tcp_listener(node, errors)).collect(),
            status: fields.require("status", errors).and_then(|node| node.parse(errors)),
            state_directory: directory.map(PathBuf::from),
            control_plane: fields.require("control_plane", errors).and_then(|node| node.parse(errors)),
            ca_sha256: fields.require("ca_sha256", errors).and_then(|node| node.parse(errors)),
            on_demand_timeout: timeout.unwrap_or(DEFAULT_ON_DEMAND_TIMEOUT),
            http10: http10::read(fields, errors),
            workers: workers(fields, errors),
        }
    }
}

fn labels(fields: &mut Fields, errors: &mut Errors) -> Labels {
    let entries = fields.take("labels", errors).map(|node| node.entries(errors)).unwrap_or_default();
    entries.into_iter().filter_map(|(key, node)| Some((key, node.text(errors)?))).collect()
}

fn applications(fields: &mut Fields, errors: &mut Errors) -> BTreeMap<PortName, SocketAddr> {
    let entries = fields.take("applications", errors).map(|node| node.entries(errors)).unwrap_or_default();
    let mut applications = BTreeMap::new();
    for (key, node) in entries {
        match key.parse::<PortName>() {
            Ok(name) => applications.extend(node.parse(errors).map(|address| (name, address))),
            Err(error) => errors.add(&node.place, error.to_string()),
        }
    }
    applications
}

fn tcp_listener(node: Node, errors: &mut Errors) -> Option<LocalTcp> {
    let mut fields = node.fields(errors);
    let service = fields.require("service", errors).and_then(|node| {
        let place = node.place.clone();
        let service = service_port(&node.text(errors)?);
        if service.is_none() {
            errors.add(&place, "it is not <namespace>/<service>:<port>");
        }
        service
    });
    let bind = fields.require("bind", errors).and_then(|node| node.parse(errors));
    fields.finish(errors);
    Some(LocalTcp { service: service?, bind: bind? })
}

/// `<namespace>/<service>:<port>` of the cluster `local`.
fn service_port(text: &str) -> Option<ServicePort> {
    format!("{}/{text}", ClusterName::local()).parse().ok()
}

/// protobuf's JSON form of a duration, decimal seconds and `s`: from a millisecond to `longest`.
pub(super) fn duration(node: Node, longest: Duration, errors: &mut Errors) -> Option<Duration> {
    let place = node.place.clone();
    let text = node.text(errors)?;
    let seconds = text.strip_suffix('s').and_then(|seconds| seconds.parse::<f64>().ok());
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let fits = duration.filter(|duration| (Duration::from_millis(1)..=longest).contains(duration));
    if fits.is_none() {
        let longest = longest.as_secs();
        errors.add(&place, format!("it must be a duration from 0.001s to {longest}s, as in 1s or 0.5s"));
    }
    fits
}

fn workers(fields: &mut Fields, errors: &mut Errors) -> NonZeroUsize {
    let Some(node) = fields.take("workers", errors) else { return NonZeroUsize::MIN };
    let place = node.place.clone();
    let Some(workers) = node.parse::<usize>(errors) else { return NonZeroUsize::MIN };
    // protobuf cannot tell an absent number from zero: both are the default.
    match NonZeroUsize::new(workers) {
        Some(workers) if workers.get() > MAX_WORKERS => {
            errors.add(&place, format!("it must be at most {MAX_WORKERS}"));
            NonZeroUsize::MIN
        }
        Some(workers) => workers,
        None => NonZeroUsize::MIN,
    }
}
