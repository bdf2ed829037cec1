//! `weft confirm-removals`: what proxies keep although the control plane does not have it, and the word that it may go.
use std::io::{self, IsTerminal, Write};

use clap::Args;
use weft_control_plane::wire::{ConfirmRequest, HeldRemoval, Removals};

use crate::{
    api::{call, client},
    context::ContextArguments,
    failure::{Failure, While},
    output::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  weft confirm-removals              lists what would go and from which proxies, then asks
  weft confirm-removals --yes        confirms without asking
  weft confirm-removals -o json      lists it for programs, and confirms nothing

A control plane that comes back empty, from an older copy of its store, or as another store takes nothing from
proxies that have seen more: they keep it until this command confirms that it may go. A confirmation is valid
for the store's epoch. To get the objects back instead, apply them again: what is known is not removed.";

/// How to confirm.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Confirms without asking.
    #[arg(short, long)]
    yes: bool,
    /// The form of the list; with json or yaml nothing is confirmed unless --yes is given.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    context: ContextArguments,
}

/// Lists, asks, confirms.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let client = client(&arguments.context)?;
    let removals = call(client.removals())?;
    if arguments.output != Format::Table {
        output::value(arguments.output, &removals)?;
        if !arguments.yes {
            return Ok(());
        }
    } else if removals.proxies.is_empty() {
        return output::line(format!(
            "no proxy holds to another history than {}: nothing is held back",
            removals.revision
        ));
    } else {
        show(&removals)?;
    }
    if !arguments.yes && !asked(&removals)? {
        return Err(Failure::new("nothing was confirmed").hint("proxies keep what they have; `--yes` confirms"));
    }
    let confirmed = call(client.confirm_removals(&ConfirmRequest { epoch: removals.epoch }))?;
    if arguments.output != Format::Table {
        return Ok(());
    }
    output::line(format!("confirmed for epoch {}; {} proxies were told", confirmed.epoch, confirmed.told))
}

fn show(removals: &Removals) -> Result<(), Failure> {
    output::line(format!("the store is at {}; these proxies hold to another history:", removals.revision))?;
    let proxies = removals.proxies.iter().map(|proxy| {
        let history = if proxy.other_epoch { "another epoch" } else { "a later state" };
        [proxy.workload.clone(), proxy.revision.clone(), history.to_owned(), proxy.held.to_string()]
    });
    output::line(output::table(["WORKLOAD", "HOLDS TO", "WHICH IS", "WOULD LOSE"], proxies))?;
    if removals.items.is_empty() {
        return output::line("\nnothing would go: the store has all that they hold");
    }
    output::line(format!("\n{} would go:", counted(removals.items.len(), "resource")))?;
    output::line(output::table(["TYPE", "NAME", "FROM"], removals.items.iter().map(row)))
}

fn row(item: &HeldRemoval) -> [String; 3] {
    let name = match item.part.as_str() {
        "" => item.name.clone(),
        part => format!("{} ({part})", item.name),
    };
    [item.resource_type.clone(), name, item.proxies.join(", ")]
}

fn asked(removals: &Removals) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new("nobody can be asked: standard input is not a terminal")
            .hint("look at the list, then confirm with `weft confirm-removals --yes`"));
    }
    let what = counted(removals.items.len(), "resource");
    eprint!("\nremove {what} from {}? [y/N] ", counted(removals.proxies.len(), "proxy"));
    io::stderr().flush().while_("ask")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).while_("read the answer")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn counted(count: usize, what: &str) -> String {
    match (count, what) {
        (1, what) => format!("1 {what}"),
        (count, "proxy") => format!("{count} proxies"),
        (count, what) => format!("{count} {what}s"),
    }
}
