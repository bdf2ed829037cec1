//! `weft proxy-config`: what a workload's proxy has in effect, asked of the proxy itself.
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::{
    api::{call, client},
    context::ContextArguments,
    failure::Failure,
    get::cell,
    output::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  weft proxy-config routes shop/catalog-0
  weft proxy-config all shop/web-0 -o json";

/// Which part of which proxy.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The part.
    #[arg(value_enum)]
    part: Part,
    /// The workload, `namespace/name`, as `weft get workloads` shows it.
    workload: String,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    context: ContextArguments,
}

#[derive(Clone, Copy, ValueEnum)]
enum Part {
    Listeners,
    Routes,
    Clusters,
    Endpoints,
    Secrets,
    All,
}

impl Part {
    /// The admin path, and the list in its answer.
    const fn path(self) -> (&'static str, &'static str) {
        match self {
            Self::Listeners => ("/config/listeners", "listeners"),
            Self::Routes => ("/config/routes", "routes"),
            Self::Clusters => ("/config/clusters", "clusters"),
            Self::Endpoints => ("/config/endpoints", "endpoints"),
            Self::Secrets => ("/config/secrets", "secrets"),
            Self::All => ("/config", ""),
        }
    }
}

/// Shows it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { part, workload, output, context } = arguments;
    let (namespace, name) = workload.split_once('/').ok_or_else(|| {
        Failure::new(format!("{workload:?} is not a workload: it must be namespace/name"))
            .hint("`weft get workloads` lists them")
    })?;
    let (path, list) = part.path();
    let answer = call(client(context)?.proxy(namespace, name, path))?;
    match (output, part) {
        (Format::Table, Part::Listeners | Part::Clusters | Part::Endpoints | Part::Routes) => {
            output::line(rows(&answer[list], &answer["live"]))
        }
        (Format::Table, Part::Secrets | Part::All) => output::value(Format::Yaml, &answer),
        (Format::Json | Format::Yaml, _) => output::value(*output, &answer),
    }
}

/// One line a resource: its name, its version, and what it holds.
fn rows(items: &Value, live: &Value) -> String {
    let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        return "nothing in effect".to_owned();
    }
    output::table(
        ["NAME", "VERSION", "HOLDS"],
        items.iter().map(|item| {
            let mut live = live.as_array().into_iter().flatten();
            let its = live.find(|state| state["cluster"] == item["name"]).unwrap_or(&Value::Null);
            [cell(&item["name"]), cell(&item["version"]), summary(&item["resource"], its)]
        }),
    )
}

/// What matters of a resource, in a line; `live` is what is so of it at this moment.
fn summary(resource: &Value, live: &Value) -> String {
    let list = |name: &str| resource[name].as_array().map(Vec::as_slice).unwrap_or_default();
    if !list("routes").is_empty() {
        return list("routes").iter().map(route).collect::<Vec<_>>().join("; ");
    }
    if resource["endpoints"].is_array() {
        let endpoints = list("endpoints").iter().map(|endpoint| {
            format!(
                "{} at {} ({}{})",
                instance(&endpoint["peer"]["Instance"]["workload"]),
                cell(&endpoint["address"]["Socket"]),
                unhealthy(live, &endpoint["address"]["Socket"])
                    .unwrap_or_else(|| cell(&endpoint["health"]).to_lowercase()),
                ejected(live, &endpoint["address"]["Socket"]),
            )
        });
        let endpoints: Vec<_> = endpoints.collect();
        return if endpoints.is_empty() { "no endpoint".to_owned() } else { endpoints.join(", ") };
    }
    if !resource["security"].is_null() {
        let (protocol, balance) = (cell(&resource["protocol"]), cell(&resource["balance"]));
        let secured = match &resource["security"]["Mesh"]["sni"] {
            Value::String(sni) => format!("server name {sni}"),
            _ => "no mesh TLS".to_owned(),
        };
        return format!("{protocol}, {balance}, {secured}{}", state(live));
    }
    match &resource["body"]["Inbound"]["chains"] {
        Value::Array(chains) => chains.iter().map(chain).collect::<Vec<_>>().join("; "),
        _ => origins(resource),
    }
}

/// The workload that an endpoint is; what is known by its address alone has no other name.
fn instance(workload: &Value) -> String {
    match workload.is_object() {
        true => format!("{}/{}", cell(&workload["namespace"]), cell(&workload["name"])),
        false => "what answers".to_owned(),
    }
}

/// `unhealthy (active): it answered 503, not 200-299`, of an endpoint that fails its health checks.
fn unhealthy(live: &Value, address: &Value) -> Option<String> {
    let mut unhealthy = live["unhealthy"].as_array().into_iter().flatten();
    unhealthy.find(|it| it["address"] == *address).map(|it| cell(&it["health"]))
}

/// `, ejected for 12.5 s more`, of an endpoint that is.
fn ejected(live: &Value, address: &Value) -> String {
    let mut ejected = live["ejected"].as_array().into_iter().flatten();
    let its = ejected.find(|it| it["address"] == *address);
    let left = its.and_then(|it| it["leftMs"].as_u64());
    left.map_or_else(String::new, |left| format!(", ejected for {}.{} s more", left / 1000, left % 1000 / 100))
}

/// `; requests 3 of 100; breaker closed; 1 ejected; 1 unhealthy`, as far as it has them.
fn state(live: &Value) -> String {
    let mut text = String::new();
    for limit in live["limits"].as_array().into_iter().flatten() {
        text.push_str(&format!("; {} {} of {}", cell(&limit["limit"]), cell(&limit["used"]), cell(&limit["most"])));
    }
    if live["breaker"].is_string() {
        text.push_str(&format!("; breaker {}", cell(&live["breaker"])));
    }
    match live["ejected"].as_array().map_or(0, Vec::len) {
        0 => {}
        count => text.push_str(&format!("; {count} ejected")),
    }
    if live["checks"].is_object() {
        text.push_str(&format!("; {} unhealthy by its checks", live["unhealthy"].as_array().map_or(0, Vec::len)));
    }
    text
}

/// `x-canary -> local/shop/reviews-v2:80`.
fn route(route: &Value) -> String {
    let matches = &route["matches"];
    let path = matches["path"].as_object().and_then(|path| path.iter().next());
    let mut text = path.map_or_else(String::new, |(kind, value)| format!("{} {}", kind.to_lowercase(), cell(value)));
    if matches["method"].is_string() {
        text = format!("{} {text}", cell(&matches["method"]));
    }
    for header in matches["headers"].as_array().into_iter().flatten() {
        let value = header["value"].as_object().and_then(|value| value.values().next().map(cell));
        text.push_str(&format!(" {}: {}", cell(&header["name"]), value.unwrap_or_default()));
    }
    let clusters = route["action"]["Forward"].as_array().map(Vec::as_slice).unwrap_or_default();
    let clusters: Vec<_> = match clusters {
        [] => vec![format!("refused: {}", cell(&route["action"]["Refuse"]["cause"]))],
        [one] => vec![cell(&one["cluster"])],
        many => many.iter().map(|it| format!("{} {}", cell(&it["weight"]), cell(&it["cluster"]))).collect(),
    };
    format!("{text} -> {}", clusters.join(" | "))
}

/// `local/shop/catalog:80 (http) to port 34567: AccessPolicy shop/catalog`.
fn chain(chain: &Value) -> String {
    let policies = chain["access"]["policies"].as_array().into_iter().flatten().map(object);
    let policies: Vec<_> = policies.collect();
    let policies = if policies.is_empty() { "no AccessPolicy: refuses all".to_owned() } else { policies.join(", ") };
    format!(
        "{} ({}) to port {}: {policies}",
        cell(&chain["service"]),
        cell(&chain["protocol"]),
        cell(&chain["application_port"])
    )
}

fn origins(resource: &Value) -> String {
    let origins: Vec<_> = resource["origins"].as_array().into_iter().flatten().map(object).collect();
    if origins.is_empty() { "-".to_owned() } else { format!("from {}", origins.join(", ")) }
}

fn object(reference: &Value) -> String {
    format!("{} {}/{}", cell(&reference["kind"]), cell(&reference["namespace"]), cell(&reference["name"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn clusters_and_endpoints_tell_what_is_so_at_this_moment() {
        let live = json!([{
            "cluster": "local/shop/reviews:80",
            "limits": [{"limit": "requests", "most": 100, "used": 3}],
            "breaker": "half-open",
            "ejected": [{"workload": "shop/r-0", "address": "10.0.0.1:80", "leftMs": 12_540}],
            "ejections": 2,
            "unhealthy": [{"workload": "shop/r-1", "address": "10.0.0.3:80", "health": "unhealthy (active): it answered 503"}],
            "checks": {"passed": 5, "failed": 3},
        }]);
        let cluster = json!({"security": {"Mesh": {"sni": "80.reviews"}}, "protocol": "Http", "balance": "RoundRobin"});
        let endpoint = |address: &str| json!({"peer": {"Instance": {"workload": {"namespace": "shop", "name": "r-0"}}}, "address": {"Socket": address}, "health": "Healthy"});
        let endpoints =
            json!({"endpoints": [endpoint("10.0.0.1:80"), endpoint("10.0.0.2:80"), endpoint("10.0.0.3:80")]});
        let item = |resource: &Value| json!([{"name": "local/shop/reviews:80", "version": "1", "resource": resource}]);
        let text = rows(&item(&cluster), &live);
        assert!(
            text.contains(
                "server name 80.reviews; requests 3 of 100; breaker half-open; 1 ejected; 1 unhealthy by its checks"
            ),
            "{text}"
        );
        let text = rows(&item(&endpoints), &live);
        assert!(text.contains("at 10.0.0.1:80 (healthy, ejected for 12.5 s more)"), "{text}");
        assert!(text.contains("at 10.0.0.2:80 (healthy)"), "{text}");
        assert!(text.contains("at 10.0.0.3:80 (unhealthy (active): it answered 503)"), "{text}");
        let text = rows(&item(&cluster), &Value::Null);
        assert!(text.trim_end().ends_with("server name 80.reviews"), "{text}");
    }
}
