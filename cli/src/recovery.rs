//! `weft recovery`: workloads that come back by an expired certificate.
use clap::{Args, Subcommand};
use weft_control_plane::wire::RecoveryRevocation;

use crate::{
    api::{call, client},
    context::ContextArguments,
    failure::Failure,
    output::{self, Format},
};

/// What to do with recoveries.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show which expired certificates were used, and whose recovery was revoked.
    List(ListArguments),
    /// Refuse recovery by every certificate that an account was given so far: its workloads then join by a new token.
    Revoke(RevokeArguments),
}

const LIST_EXAMPLES: &str = "\
Examples:
  weft recovery list
  weft recovery list -o json";

const REVOKE_EXAMPLES: &str = "\
Examples:
  weft recovery revoke shop/web

A certificate that has not expired is renewed all the same: what is revoked is its use after its end.";

/// How to list.
#[derive(Args)]
#[command(after_help = LIST_EXAMPLES)]
pub(crate) struct ListArguments {
    /// The form of what is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    context: ContextArguments,
}

/// Whose recovery to revoke.
#[derive(Args)]
#[command(after_help = REVOKE_EXAMPLES)]
pub(crate) struct RevokeArguments {
    /// The account: NAMESPACE/ACCOUNT.
    #[arg(value_name = "NAMESPACE/ACCOUNT")]
    account: String,
    /// The form of what is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    context: ContextArguments,
}

/// Lists what is remembered.
pub(crate) fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let ListArguments { output, context } = arguments;
    let list = call(client(context)?.recovery())?;
    if *output != Format::Table {
        return output::value(*output, &list);
    }
    let used =
        list.used.iter().map(|used| ["used".to_owned(), used.identity.clone(), used.at.clone(), used.serial.clone()]);
    let revoked =
        list.revoked.iter().map(|it| ["revoked".to_owned(), it.identity.clone(), it.up_to.clone(), "-".to_owned()]);
    let rows: Vec<_> = revoked.chain(used).collect();
    if rows.is_empty() {
        return output::line("no certificate was recovered, and no recovery revoked");
    }
    output::line(output::table(["WHAT", "IDENTITY", "TIME", "CERTIFICATE"], rows))
}

/// Revokes the recovery of an account.
pub(crate) fn revoke(arguments: &RevokeArguments) -> Result<(), Failure> {
    let RevokeArguments { account, output, context } = arguments;
    let Some((namespace, account)) = account.split_once('/') else {
        return Err(Failure::new(format!("{account:?} is not NAMESPACE/ACCOUNT")).hint("for example shop/web"));
    };
    let request = RecoveryRevocation { namespace: namespace.to_owned(), account: account.to_owned() };
    let revoked = call(client(context)?.revoke_recovery(&request))?;
    if *output != Format::Table {
        return output::value(*output, &revoked);
    }
    output::line(format!(
        "no certificate that {} was given up to {} is good for recovery",
        revoked.identity, revoked.up_to
    ))
}
