//! `weft token create`: a join file for one workload identity.
use std::{collections::BTreeMap, fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use weft_control_plane::wire::TokenRequest;

use crate::{
    api::{call, client},
    context::ContextArguments,
    failure::{Failure, While},
    output::{self, Format},
};

/// What to do with tokens.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a join file: address, trust domain, the CA's hash, and a token that works once.
    Create(CreateArguments),
}

const EXAMPLES: &str = "\
Examples:
  weft token create -n shop --account web --label app=web --out web.join
  weft token create -n shop --account reviews --label app=reviews --label version=v2 --ttl 60

A Service chooses its workloads by labels: allow those that this workload should have, and no other.";

/// Whom the token lets in.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CreateArguments {
    /// The workload's namespace.
    #[arg(short, long)]
    namespace: String,
    /// The account whose identity the workload gets: spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT.
    #[arg(long)]
    account: String,
    /// A label that the workload may carry, KEY=VALUE; may be repeated. It registers with no other.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// How many seconds the token may wait for its use.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=600))]
    ttl: u64,
    /// The file to write (mode 0600, must not exist); standard output where none is named.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The form of what is printed. Without --out it is the join file itself, as JSON where nothing is said.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    context: ContextArguments,
}

/// Makes the join file.
pub(crate) fn create(arguments: &CreateArguments) -> Result<(), Failure> {
    let CreateArguments { namespace, account, labels, ttl, out, output, context } = arguments;
    let mut allowed = BTreeMap::new();
    for (key, value) in labels {
        if allowed.insert(key.clone(), value.clone()).is_some_and(|other| other != *value) {
            let failure = Failure::new(format!("--label {key} is given with two values"));
            return Err(failure.hint("a workload carries one of them: make a token for each"));
        }
    }
    let request = TokenRequest {
        namespace: namespace.clone(),
        account: account.clone(),
        ttl_seconds: Some(*ttl),
        labels: allowed,
    };
    let made = call(client(context)?.token(&request))?;
    let join = format!("{:#}", made.join_file);
    let Some(path) = out else {
        return if *output == Format::Table { output::line(join) } else { output::value(*output, &made.join_file) };
    };
    let writing = format!("write {}", path.display());
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = written.and_then(|mut file| writeln!(file, "{join}"));
    written.while_(&writing).map_err(|failure| {
        failure.hint("--out takes a new file in a directory that this user may write: a join file is never overwritten")
    })?;
    if *output != Format::Table {
        let TokenRequest { namespace, account, ttl_seconds, labels } = request;
        let file = path.display().to_string();
        return output::value(*output, &Written { file, namespace, account, labels, ttl_seconds });
    }
    output::line(format!("{} lets {namespace}/{account} join once within {ttl} s", path.display()))
}

/// A join file that was written, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    file: String,
    namespace: String,
    account: String,
    labels: BTreeMap<String, String>,
    ttl_seconds: Option<u64>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
