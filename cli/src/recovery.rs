//! `weft recovery`: workloads that come back by an expired certificate.
use clap::{Args, Subcommand};
use weft_control_plane::wire::{RecoveryList, RecoveryRevocation};

use crate::{failure::Failure, output, question::Question};

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
    #[command(flatten)]
    question: Question,
}

/// Whose recovery to revoke.
#[derive(Args)]
#[command(after_help = REVOKE_EXAMPLES)]
pub(crate) struct RevokeArguments {
    /// The account: NAMESPACE/ACCOUNT.
    #[arg(value_name = "NAMESPACE/ACCOUNT")]
    account: String,
    #[command(flatten)]
    question: Question,
}

/// Lists what is remembered.
pub(crate) fn list(ListArguments { question }: &ListArguments) -> Result<(), Failure> {
    question.ask(async |client| client.recovery().await, remembered)
}

fn remembered(list: &RecoveryList) -> String {
    let used =
        list.used.iter().map(|used| ["used".to_owned(), used.identity.clone(), used.at.clone(), used.serial.clone()]);
    let revoked =
        list.revoked.iter().map(|it| ["revoked".to_owned(), it.identity.clone(), it.up_to.clone(), "-".to_owned()]);
    let rows: Vec<_> = revoked.chain(used).collect();
    if rows.is_empty() {
        return "no certificate was recovered, and no recovery revoked".to_owned();
    }
    output::table(["WHAT", "IDENTITY", "TIME", "CERTIFICATE"], rows)
}

/// Revokes the recovery of an account.
pub(crate) fn revoke(arguments: &RevokeArguments) -> Result<(), Failure> {
    let RevokeArguments { account, question } = arguments;
    let Some((namespace, account)) = account.split_once('/') else {
        return Err(Failure::new(format!("{account:?} is not NAMESPACE/ACCOUNT")).hint("for example shop/web"));
    };
    let request = RecoveryRevocation { namespace: namespace.to_owned(), account: account.to_owned() };
    question.ask(
        async |client| client.revoke_recovery(&request).await,
        |revoked| {
            format!("no certificate that {} was given up to {} is good for recovery", revoked.identity, revoked.up_to)
        },
    )
}
