//! `weft apply`: objects from files, folders or standard input.
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::Serialize;
use weft_control_plane::{
    client::Client,
    wire::{ApplyRequest, ApplyResponse, ChangeKind, Document, EffectState, ObjectStatus, WaitRequest, WaitResponse},
};

use crate::{
    api::{call, client},
    context::ContextArguments,
    effect,
    failure::{Failure, While},
    output::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  weft apply -f shop.yaml
  weft apply -f objects/ --dry-run
  weft apply -f shop.yaml --wait         until every proxy that uses them decides by them
  weft apply -f shop.yaml --wait=2m
  cat route.yaml | weft apply -f -";

/// What to apply.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A file, a folder (its *.yaml, *.yml and *.json, sorted, not deeper), or - for standard input; may be repeated.
    #[arg(short, long = "filename", value_name = "PATH", required = true)]
    filename: Vec<PathBuf>,
    /// Checks everything that a real apply checks, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Waits until each object is in effect at every proxy that uses it, 30s where no TIMEOUT (as in 500ms, 2m) is
    /// given; then names who lacks it, and exits with 1. What is applied stays applied.
    #[arg(long, value_name = "TIMEOUT", num_args = 0..=1, require_equals = true, default_missing_value = "30s",
          value_parser = time, conflicts_with = "dry_run")]
    wait: Option<Duration>,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    context: ContextArguments,
}

/// Applies; all objects take effect together or none does.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { filename, dry_run, wait, output, context } = arguments;
    let documents = documents(filename)?;
    let request = ApplyRequest { documents, dry_run: *dry_run };
    let client = client(context)?;
    let answer = call(client.apply(&request))?;
    if *output != Format::Table {
        let waited = wait.map(|limit| until_in_effect(&client, &answer, limit)).transpose()?;
        output::value(*output, &Outcome { answer: &answer, waited: waited.as_ref() })?;
        return waited.map_or(Ok(()), |waited| judge(&waited, *wait));
    }
    for warning in &answer.warnings {
        eprintln!("{warning}");
    }
    for change in &answer.changes {
        let what = match change.change {
            ChangeKind::Created => "created",
            ChangeKind::Updated => "updated",
            ChangeKind::Unchanged => "unchanged",
        };
        let would = if *dry_run { "would be " } else { "" };
        output::line(format!("{} {would}{what}", change.object))?;
    }
    output::line(format!("revision {}", answer.revision))?;
    let Some(limit) = wait else { return Ok(()) };
    let waited = until_in_effect(&client, &answer, *limit)?;
    judge(&waited, *wait)?;
    for ObjectStatus { object, effect, .. } in &waited.items {
        output::line(match effect.state {
            EffectState::Unused => format!("{object}: no proxy uses it yet"),
            _ => format!("{object} in effect on {} of {} proxies", effect.effective, effect.proxies),
        })?;
    }
    Ok(())
}

/// What an apply did, and what came of it where that was waited for.
#[derive(Serialize)]
struct Outcome<'a> {
    #[serde(flatten)]
    answer: &'a ApplyResponse,
    #[serde(flatten)]
    waited: Option<&'a WaitResponse>,
}

fn until_in_effect(client: &Client, answer: &ApplyResponse, limit: Duration) -> Result<WaitResponse, Failure> {
    let objects = answer.changes.iter().map(|change| change.object.clone()).collect();
    let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    call(client.wait(&WaitRequest { objects, timeout_ms }))
}

/// An error that names who does not have what was applied.
fn judge(waited: &WaitResponse, limit: Option<Duration>) -> Result<(), Failure> {
    if waited.in_effect {
        return Ok(());
    }
    let limit = limit.map(weft_model::duration::format).unwrap_or_default();
    let mut text = format!("applied, and not in effect everywhere after {limit}:");
    let late: Vec<_> = waited.items.iter().filter(|status| !status.effect.is_done()).collect();
    for status in &late {
        text.push_str(&format!("\n  {}: {}", status.object, effect::cell(&status.effect)));
        for line in effect::waiting(&status.effect) {
            text.push_str(&format!("\n    {line}"));
        }
    }
    let hint = match late.first() {
        Some(status) => {
            format!("what is applied stays, and comes into effect where it can: `weft status {}`", status.object)
        }
        None => "an object was deleted meanwhile: `weft get all` lists what there is".to_owned(),
    };
    Err(Failure::new(text).hint(hint))
}

fn time(text: &str) -> Result<Duration, String> {
    weft_model::duration::parse(text).ok_or_else(|| "it must be a time such as 500ms, 30s or 2m".to_owned())
}

/// The texts that the arguments name, as the API takes them.
fn documents(paths: &[PathBuf]) -> Result<Vec<Document>, Failure> {
    let mut documents = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            let read = io::stdin().read_to_string(&mut text).while_("read standard input");
            read.map_err(|failure| failure.hint("-f - takes YAML or JSON as UTF-8 text"))?;
            documents.push(Document { file: "-".to_owned(), text });
        } else if path.is_dir() {
            for file in folder(path)? {
                documents.push(document(&file)?);
            }
        } else {
            documents.push(document(path)?);
        }
    }
    Ok(documents)
}

fn document(file: &Path) -> Result<Document, Failure> {
    let text = fs::read_to_string(file).while_(format_args!("read {}", file.display())).map_err(|failure| {
        failure.hint("-f takes a file of YAML or JSON text, a folder of such files, or - for standard input")
    })?;
    Ok(Document { file: file.display().to_string(), text })
}

fn folder(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let reading = format!("read the folder {}", path.display());
    let mut files = Vec::new();
    let unreadable = |failure: Failure| failure.hint("the user who runs `weft` must be able to read it");
    for entry in fs::read_dir(path).while_(&reading).map_err(unreadable)? {
        let file = entry.while_(&reading).map_err(unreadable)?.path();
        let extension = file.extension().and_then(|it| it.to_str());
        if file.is_file() && matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(file);
        }
    }
    if files.is_empty() {
        let failure = Failure::new(format!("there is no *.yaml, *.yml or *.json in {}", path.display()));
        return Err(failure.hint("folders below it are not searched: name each with its own -f"));
    }
    files.sort();
    Ok(files)
}
