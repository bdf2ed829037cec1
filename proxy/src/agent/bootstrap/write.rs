//! From [`Bootstrap`] to YAML.
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use weft_model::Locality;

use super::{
    Bootstrap, ControlPlaneAddress, TcpListener, health, http10,
    read::{EXTENSION, EXTENSION_TYPE},
};

/// The static cluster that serves ADS.
const CONTROL_PLANE: &str = "control-plane";

/// The file in the order in which a person reads it.
#[derive(Serialize)]
struct File<'a> {
    node: Value,
    admin: Value,
    dynamic_resources: Value,
    static_resources: Value,
    bootstrap_extensions: [Extension<'a>; 1],
}

#[derive(Serialize)]
struct Extension<'a> {
    name: &'a str,
    typed_config: Agent<'a>,
}

/// The extension `weft.v1.Agent`, field by field.
#[derive(Serialize)]
struct Agent<'a> {
    #[serde(rename = "@type")]
    type_url: &'a str,
    trust_domain: &'a str,
    mesh_domain: &'a str,
    namespace: &'a str,
    account: &'a str,
    workload: &'a str,
    network: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    applications: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inbound: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outbound: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tcp: Vec<Value>,
    status: String,
    state_directory: String,
    control_plane: String,
    ca_sha256: String,
    on_demand_timeout: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    http10: Option<Value>,
    workers: usize,
}

pub(super) fn to_yaml(bootstrap: &Bootstrap) -> String {
    let file = File {
        node: json!({
            "id": bootstrap.workload_ref().to_string(),
            "cluster": bootstrap.mesh.cluster.as_str(),
            "locality": locality(&bootstrap.locality),
        }),
        admin: json!({"address": {"pipe": {"path": bootstrap.admin.to_string_lossy(), "mode": 0o600}}}),
        dynamic_resources: json!({
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": CONTROL_PLANE}}],
            },
            "lds_config": {"resource_api_version": "V3", "ads": {}},
            "cds_config": {"resource_api_version": "V3", "ads": {}},
        }),
        static_resources: static_resources(&bootstrap.ads),
        bootstrap_extensions: [Extension { name: EXTENSION, typed_config: agent(bootstrap) }],
    };
    serde_saphyr::to_string(&file).unwrap_or_else(|error| format!("# this bootstrap cannot be written: {error}\n"))
}

fn locality(Locality { region, zone, sub_zone }: &Locality) -> Value {
    let parts = [("region", region), ("zone", zone), ("sub_zone", sub_zone)];
    let present = parts.into_iter().filter_map(|(key, part)| Some((key.to_owned(), json!(part.as_ref()?.as_str()))));
    Value::Object(present.collect())
}

fn static_resources(ads: &ControlPlaneAddress) -> Value {
    let numeric = ads.host().parse::<std::net::IpAddr>().is_ok();
    json!({"clusters": [{
        "name": CONTROL_PLANE,
        "type": if numeric { "STATIC" } else { "STRICT_DNS" },
        "load_assignment": {
            "cluster_name": CONTROL_PLANE,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                "address": ads.host(),
                "port_value": ads.port(),
            }}}}]}],
        },
    }]})
}

fn agent(bootstrap: &Bootstrap) -> Agent<'_> {
    Agent {
        type_url: EXTENSION_TYPE,
        trust_domain: bootstrap.mesh.trust_domain.as_str(),
        mesh_domain: bootstrap.mesh.mesh_domain.as_str(),
        namespace: bootstrap.namespace.as_str(),
        account: bootstrap.account.as_str(),
        workload: bootstrap.workload.as_str(),
        network: bootstrap.network.as_str(),
        labels: &bootstrap.labels,
        applications: bootstrap.applications.iter().map(|(name, at)| (name.as_str(), at.to_string())).collect(),
        health: health::to_json(&bootstrap.health),
        inbound: bootstrap.inbound.map(|address| address.to_string()),
        outbound: bootstrap.outbound.map(|address| address.to_string()),
        tcp: bootstrap.tcp.iter().map(tcp_listener).collect(),
        status: bootstrap.status.to_string(),
        state_directory: bootstrap.state_directory.to_string_lossy().into_owned(),
        control_plane: bootstrap.control_plane.to_string(),
        ca_sha256: bootstrap.ca_sha256.to_string(),
        on_demand_timeout: format!("{}s", bootstrap.on_demand_timeout.as_secs_f64()),
        http10: http10::to_json(&bootstrap.http10),
        workers: bootstrap.workers.get(),
    }
}

fn tcp_listener(TcpListener { service, bind }: &TcpListener) -> Value {
    let service = format!("{}/{}:{}", service.namespace, service.service, service.port);
    json!({"service": service, "bind": bind.to_string()})
}
