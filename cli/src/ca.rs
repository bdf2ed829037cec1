//! `weft ca`: the certificate authority.
use clap::{Args, Subcommand};

use crate::{failure::Failure, question::Question};

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
    #[command(flatten)]
    question: Question,
}

/// Rotates the intermediate.
pub(crate) fn rotate(Arguments { question }: &Arguments) -> Result<(), Failure> {
    question.ask(
        async |client| client.rotate_ca().await,
        |rotated| {
            format!(
                "the intermediate {} signs from now on, until {}; certificates of the former one ({}) stay good",
                rotated.intermediate_sha256, rotated.not_after, rotated.former_sha256
            )
        },
    )
}
