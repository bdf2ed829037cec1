//! The long runs' place in `tests/RESULTS.md`.
use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

/// Appends a finished run: what ran, what came of it, when, at which commit, how to repeat it.
///
/// # Errors
/// What the system says.
pub fn record(suite: &str, result: &str, command: &str) -> Result<()> {
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    // What is not committed is part of what ran; this file itself is not.
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ":!tests/RESULTS.md"]);
    let changed = if changed.is_some_and(|changes| !changes.is_empty()) { " with changes" } else { "" };
    let date = jiff::Zoned::now().date();
    let result = result.replace('|', "/");
    let line = format!("| {suite} | {result} | {date} | {commit}{changed} | `{command}` |\n");
    let file = root().join("tests/RESULTS.md");
    let mut file = OpenOptions::new().append(true).open(&file).with_context(|| file.display().to_string())?;
    Ok(file.write_all(line.as_bytes())?)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(root()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The repository that this program was built from.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
