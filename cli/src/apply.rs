//! `weft apply`: objects from files, folders or standard input.
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use weft_control_plane::wire::{ApplyRequest, ChangeKind, Document};

use crate::{
    api::{call, client},
    context::ContextArguments,
    failure::{Failure, While},
    output::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  weft apply -f shop.yaml
  weft apply -f objects/ --dry-run
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
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    context: ContextArguments,
}

/// Applies; all objects take effect together or none does.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { filename, dry_run, output, context } = arguments;
    let documents = documents(filename)?;
    let request = ApplyRequest { documents, dry_run: *dry_run };
    let answer = call(client(context)?.apply(&request))?;
    if *output != Format::Table {
        return output::value(*output, &answer);
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
    output::line(format!("revision {}", answer.revision))
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
