//! `weft delete`.
use clap::Args;

use crate::{
    api::{call, client},
    context::ContextArguments,
    failure::Failure,
    get::parse_kind,
    output,
};

/// What to delete.
#[derive(Args)]
#[command(after_help = "Example:\n  weft delete httproute reviews -n shop")]
pub(crate) struct Arguments {
    /// The object's kind.
    kind: String,
    /// The object's name.
    name: String,
    /// The object's namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    context: ContextArguments,
}

/// Deletes it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { kind, name, namespace, context } = arguments;
    let kind = parse_kind(kind)?
        .ok_or_else(|| Failure::new("`all` cannot be deleted at once").hint("name the kind and the object"))?;
    let deleted = call(client(context)?.delete(kind.as_str(), namespace, name))?;
    output::line(format!("{kind} {namespace}/{name} deleted"))?;
    output::line(format!("revision {}", deleted.revision))
}
