//! What commands have in common that ask the control plane one question and show its answer.
use clap::Args;
use serde::Serialize;
use weft_control_plane::client::{CallError, Client};

use crate::{
    api::{call, client},
    context::ContextArguments,
    failure::Failure,
    output::{self, Format},
};

/// Whom to ask, and how to show the answer.
#[derive(Args)]
pub(crate) struct Question {
    /// The form of what is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    context: ContextArguments,
}

impl Question {
    /// Asks, and prints the answer: in `words` to people, whole to programs.
    pub(crate) fn ask<T: Serialize>(
        &self,
        question: impl AsyncFnOnce(Client) -> Result<T, CallError>,
        words: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let Self { output, context } = self;
        let answer = call(question(client(context)?))?;
        match output {
            Format::Table => output::line(words(&answer)),
            Format::Json | Format::Yaml => output::value(*output, &answer),
        }
    }
}
