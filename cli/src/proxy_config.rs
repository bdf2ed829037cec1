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
            output::line(rows(&answer[list]))
        }
        (Format::Table, Part::Secrets | Part::All) => output::value(Format::Yaml, &answer),
        (Format::Json | Format::Yaml, _) => output::value(*output, &answer),
    }
}

/// One line a resource: its name, its version, and what it holds.
fn rows(items: &Value) -> String {
    let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        return "nothing in effect".to_owned();
    }
    output::table(
        ["NAME", "VERSION", "HOLDS"],
        items.iter().map(|item| [cell(&item["name"]), cell(&item["version"]), summary(&item["resource"])]),
    )
}

/// What matters of a resource, in a line.
fn summary(resource: &Value) -> String {
    let list = |name: &str| resource[name].as_array().map(Vec::as_slice).unwrap_or_default();
    if !list("routes").is_empty() {
        return list("routes").iter().map(route).collect::<Vec<_>>().join("; ");
    }
    if resource["endpoints"].is_array() {
        let endpoints = list("endpoints").iter().map(|endpoint| {
            format!(
                "{}/{} at {} ({})",
                cell(&endpoint["workload"]["namespace"]),
                cell(&endpoint["workload"]["name"]),
                cell(&endpoint["address"]["Socket"]),
                cell(&endpoint["health"]).to_lowercase()
            )
        });
        let endpoints: Vec<_> = endpoints.collect();
        return if endpoints.is_empty() { "no endpoint".to_owned() } else { endpoints.join(", ") };
    }
    if resource["tls"].is_object() {
        let (protocol, balance) = (cell(&resource["protocol"]), cell(&resource["balance"]));
        return format!("{protocol}, {balance}, server name {}", cell(&resource["tls"]["sni"]));
    }
    match &resource["body"]["Inbound"]["chains"] {
        Value::Array(chains) => chains.iter().map(chain).collect::<Vec<_>>().join("; "),
        _ => origins(resource),
    }
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
