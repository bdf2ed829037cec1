//! `weft ca`: the certificate authority.
use clap::{Args, Subcommand};

use crate::{
    api::{call, client},
    context::ContextArguments,
    failure::Failure,
    output::{self, Format},
};

/// What to do with the certificate authority.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a new intermediate with a new key, from the same root. What the former one signed stays good.
    Rotate(Arguments),
}

const EXAMPLES: &str = "\
Examples:
  weft ca rotate
  weft ca rotate -o json

The control plane does so by itself before half of the intermediate's year is over.";

/// How to rotate.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The form of what is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    context: ContextArguments,
}

/// Rotates the intermediate.
pub(crate) fn rotate(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { output, context } = arguments;
    let rotated = call(client(context)?.rotate_ca())?;
    if *output != Format::Table {
        return output::value(*output, &rotated);
    }
    output::line(format!(
        "the intermediate {} signs from now on, until {}; certificates of the former one ({}) stay good",
        rotated.intermediate_sha256, rotated.not_after, rotated.former_sha256
    ))
}
