//! From a case's fragment to a whole bootstrap file, which both subjects read.
//!
//! The skeleton is one listener with one HTTP connection manager, one virtual host for every name, and a cluster of one
//! endpoint for each upstream. A fragment's parts go where they say, in Envoy's own fields; texts name what is known only
//! when the scene runs: `{dir}` its folder, `{a}` and `{a.port}` where upstream a listens, `{hcm}` the connection manager.
use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    case::{UpstreamPlan, merge},
    text::expand,
};

const HCM: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const TCP_PROXY: &str = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const HTTP_OPTIONS: &str = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// What a scene gives beyond the skeleton.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Given {
    pub(crate) upstreams: BTreeMap<String, UpstreamPlan>,
    /// The routes of the one virtual host; all to the first upstream where there are none.
    routes: Option<Vec<Value>>,
    /// Virtual hosts instead of the one.
    virtual_hosts: Option<Vec<Value>>,
    /// Fields of the one virtual host.
    #[serde(default)]
    virtual_host: Value,
    /// Fields of the route configuration.
    #[serde(default)]
    route_config: Value,
    /// Fields of the connection manager.
    #[serde(default)]
    hcm: Value,
    /// Filters before the router, by what their typed configuration is.
    #[serde(default)]
    http_filters: Vec<Value>,
    /// Fields of the listener.
    #[serde(default)]
    listener: Value,
    /// Fields of clusters by name; `of` lists the upstreams behind it.
    #[serde(default)]
    clusters: BTreeMap<String, Value>,
    /// Fields of the whole file.
    #[serde(default)]
    bootstrap: Value,
    /// The listener passes bytes to this cluster instead: whatever there is of HTTP is switched off.
    tcp: Option<String>,
}

/// Where things are while a scene runs.
pub(crate) struct Places<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) upstreams: &'a BTreeMap<String, SocketAddr>,
    pub(crate) listener: SocketAddr,
}

/// The bootstrap as YAML.
pub(crate) fn write(given: &Given, places: &Places<'_>) -> Result<String> {
    let filter = match &given.tcp {
        Some(cluster) => {
            typed("envoy.filters.network.tcp_proxy", TCP_PROXY, &json!({"stat_prefix": "main", "cluster": cluster}))
        }
        None => connection_manager(given)?,
    };
    let mut listener = json!({
        "name": "main",
        "address": socket(places.listener),
        "filter_chains": [{"filters": [filter]}],
    });
    patch(&mut listener, &given.listener);
    let mut clusters = Vec::new();
    for (name, plan) in &given.upstreams {
        if !given.clusters.contains_key(name) {
            clusters.push(cluster(name, &json!({"of": [name]}), given, places)?);
        }
        ensure!(plan.speaks.len() <= 3, "{name} speaks {}", plan.speaks);
    }
    for (name, fields) in &given.clusters {
        let mut fields = fields.clone();
        if given.upstreams.contains_key(name) && fields.get("of").is_none() && fields.get("load_assignment").is_none() {
            merge(&mut fields, &json!({"of": [name]}));
        }
        clusters.push(cluster(name, &fields, given, places)?);
    }
    let mut bootstrap = json!({
        "admin": {"address": {"pipe": {"path": "{dir}/admin.sock"}}},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    });
    patch(&mut bootstrap, &given.bootstrap);
    let mut manager = Value::Null;
    if given.tcp.is_none() {
        manager = connection_manager(given)?;
    }
    fill(&mut bootstrap, &manager, places);
    serde_saphyr::to_string(&bootstrap).context("YAML")
}

/// A merge patch that may be nothing.
pub(crate) fn patch(target: &mut Value, fields: &Value) {
    if !fields.is_null() {
        merge(target, fields);
    }
}

fn typed(name: &str, kind: &str, fields: &Value) -> Value {
    let mut config = json!({"@type": kind});
    patch(&mut config, fields);
    json!({"name": name, "typed_config": config})
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn connection_manager(given: &Given) -> Result<Value> {
    let first = given.upstreams.keys().next().context("a scene needs an upstream")?;
    let routes =
        given.routes.clone().unwrap_or_else(|| vec![json!({"match": {"prefix": "/"}, "route": {"cluster": first}})]);
    let mut host = json!({"name": "all", "domains": ["*"], "routes": routes});
    patch(&mut host, &given.virtual_host);
    let hosts = given.virtual_hosts.clone().unwrap_or_else(|| vec![host]);
    let mut filters = Vec::new();
    for (number, filter) in given.http_filters.iter().enumerate() {
        let kind = filter["@type"].as_str().context("a filter of HTTP is written as its typed configuration")?;
        filters.push(typed(&filter_name(kind, number), kind, filter));
    }
    filters.push(typed("envoy.filters.http.router", ROUTER, &Value::Null));
    let mut manager = json!({
        "stat_prefix": "main",
        "route_config": {"name": "main", "virtual_hosts": hosts},
        "http_filters": filters,
    });
    patch(&mut manager["route_config"], &given.route_config);
    patch(&mut manager, &given.hcm);
    Ok(typed("envoy.filters.network.http_connection_manager", HCM, &manager))
}

/// The name by which Envoy's documentation calls a filter of that type, so that routes can configure it.
fn filter_name(kind: &str, number: usize) -> String {
    let path = kind.rsplit_once('/').map_or(kind, |(_, path)| path);
    match path.strip_prefix("envoy.extensions.filters.http.").and_then(|rest| rest.split('.').next()) {
        Some(name) => format!("envoy.filters.http.{name}"),
        None => format!("filter-{number}"),
    }
}

fn cluster(name: &str, fields: &Value, given: &Given, places: &Places<'_>) -> Result<Value> {
    let mut fields = fields.clone();
    let members = fields.as_object_mut().and_then(|fields| fields.remove("of"));
    let mut cluster = json!({"name": name, "type": "STATIC", "connect_timeout": "2s"});
    if let Some(members) = members {
        let members = members.as_array().context("`of` lists upstreams")?.clone();
        let first = members.first().map(upstream_of).unwrap_or_default();
        if given.upstreams.get(&first).is_some_and(|plan| plan.speaks == "h2") {
            cluster["typed_extension_protocol_options"] = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": HTTP_OPTIONS,
                "explicit_http_config": {"http2_protocol_options": {}},
            }});
        }
        cluster["load_assignment"] = json!({"cluster_name": name, "endpoints": localities(&members, places)?});
    }
    patch(&mut cluster, &fields);
    Ok(cluster)
}

/// The upstream that a member of a cluster names.
fn upstream_of(member: &Value) -> String {
    member.as_str().or_else(|| member["upstream"].as_str()).unwrap_or_default().to_owned()
}

/// Endpoints by priority and zone.
fn localities(members: &[Value], places: &Places<'_>) -> Result<Vec<Value>> {
    let mut groups: BTreeMap<(u64, String), Vec<Value>> = BTreeMap::new();
    for member in members {
        let name = upstream_of(member);
        let address = places.upstreams.get(&name).with_context(|| format!("there is no upstream {name:?}"))?;
        let mut endpoint = json!({"endpoint": {"address": socket(*address)}});
        if let Some(fields) = member.get("fields") {
            merge(&mut endpoint, fields);
        }
        let priority = member["priority"].as_u64().unwrap_or(0);
        let zone = member["zone"].as_str().unwrap_or_default().to_owned();
        groups.entry((priority, zone)).or_default().push(endpoint);
    }
    let locality = |((priority, zone), endpoints): ((u64, String), Vec<Value>)| {
        let mut locality = Map::new();
        if !zone.is_empty() {
            locality.insert("locality".to_owned(), json!({"zone": zone}));
        }
        if priority > 0 {
            locality.insert("priority".to_owned(), json!(priority));
        }
        locality.insert("lb_endpoints".to_owned(), Value::Array(endpoints));
        Value::Object(locality)
    };
    Ok(groups.into_iter().map(locality).collect())
}

/// Puts in what is known only when the scene runs.
fn fill(value: &mut Value, manager: &Value, places: &Places<'_>) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| fill(value, manager, places)),
        Value::Object(fields) => fields.values_mut().for_each(|value| fill(value, manager, places)),
        Value::String(text) if text == "{hcm}" => {
            *value = manager.clone();
            fill(value, &Value::Null, places);
        }
        Value::String(text) if text == "@nested100" => {
            *value = (0..100).fold(json!("deep"), |inner, _| json!({"in": inner}));
        }
        Value::String(text) => {
            *text = expand(text);
            for (name, address) in places.upstreams {
                if *text == format!("{{{name}.port}}") {
                    *value = json!(address.port());
                    return;
                }
                *text = text.replace(&format!("{{{name}}}"), &address.to_string());
                *text = text.replace(&format!("{{{name}.port}}"), &address.port().to_string());
            }
            if *text == "{main.port}" {
                *value = json!(places.listener.port());
                return;
            }
            *text = text.replace("{dir}", &places.folder.display().to_string());
            *text = text.replace("{main.port}", &places.listener.port().to_string());
        }
        _ => {}
    }
}
