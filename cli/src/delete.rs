//! `weft delete`.
use clap::Args;

use crate::{
    api::{call, client},
    context::ContextArguments,
    failure::Failure,
    get::parse_kind,
    output::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  weft delete httproute reviews -n shop
  weft delete service reviews -n shop --dry-run";

/// What to delete.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The object's kind.
    kind: String,
    /// The object's name.
    name: String,
    /// The object's namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Says what still names the object, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    context: ContextArguments,
}

/// Deletes it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { kind, name, namespace, dry_run, output, context } = arguments;
    let kind = parse_kind(kind)?
        .ok_or_else(|| Failure::new("`all` cannot be deleted at once").hint("name the kind and the object"))?;
    let client = client(context)?;
    let deleted = if *dry_run {
        call(client.dry_delete(kind.as_str(), namespace, name))?
    } else {
        call(client.delete(kind.as_str(), namespace, name))?
    };
    if *output != Format::Table {
        return output::value(*output, &deleted);
    }
    for warning in &deleted.warnings {
        eprintln!("{warning}");
    }
    let would = if *dry_run { "would be " } else { "" };
    output::line(format!("{kind} {namespace}/{name} {would}deleted"))?;
    output::line(format!("revision {}", deleted.revision))
}
