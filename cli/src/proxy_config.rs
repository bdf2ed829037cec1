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

/// One line a resource: its name, its version, and what it was made from or holds.
fn rows(items: &Value) -> String {
    let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        return "nothing in effect".to_owned();
    }
    output::table(
        ["NAME", "VERSION", "HOLDS"],
        items.iter().map(|item| [cell(&item["name"]), cell(&item["version"]), cell(&item["summary"])]),
    )
}
