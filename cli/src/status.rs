//! `weft status`: the control plane at a glance.
use clap::Args;

use crate::{
    api::{call, client},
    context::ContextArguments,
    failure::Failure,
    output::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  weft status
  weft status -o json
  weft status --context /var/lib/weft/context.json";

/// How to show it.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    context: ContextArguments,
}

/// Shows it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let status = call(client(&arguments.context)?.status())?;
    if arguments.output != Format::Table {
        return output::value(arguments.output, &status);
    }
    for warning in &status.warnings {
        eprintln!("{warning}");
    }
    output::line(format!(
        "revision       {}\ntrust domain   {}\nmesh domain    {}\ncluster        {}\nproxies        {} connected, {} in sync\n\
         started        {}\nversion        {}",
        status.revision,
        status.trust_domain,
        status.mesh_domain,
        status.cluster,
        status.proxies.connected,
        status.proxies.in_sync,
        status.started,
        status.version,
    ))
}
