//! Runs cargo and reads what its test runners say.
use std::{
    env, fmt,
    io::{BufRead, BufReader, Write},
    ops::AddAssign,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// This repository, and where it builds.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The repository that this command was built from. Builds go to the cache folder, outside the checkout, so that a
    /// fresh clone starts warm; `CARGO_TARGET_DIR` names another place.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies below the root")?.to_owned();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(target) => target.into(),
            None => cache()?.join("target"),
        };
        Ok(Self { root, target })
    }

    /// Runs `cargo test` in the profile `ci` and adds up the runners' closing lines. A runner that dies without one
    /// counts as one failure.
    pub(crate) fn tests(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Counts> {
        let mut all = vec!["test", "--locked", "--profile", "ci", "--no-fail-fast"];
        all.extend(arguments);
        let mut counts = Counts::default();
        let success = self.cargo(&all, environment, |line| {
            if let Some(closing) = closing_line(line) {
                counts += closing;
            }
        })?;
        if !success && counts.failed == 0 {
            counts.failed = 1;
        }
        Ok(counts)
    }

    /// Runs one cargo command as one test of the given name.
    pub(crate) fn step(&self, name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Counts> {
        let success = self.cargo(arguments, environment, |_| {})?;
        if success {
            Ok(Counts { passed: 1, failed: 0 })
        } else {
            eprintln!("{name} failed: cargo {}", arguments.join(" "));
            Ok(Counts { passed: 0, failed: 1 })
        }
    }

    fn cargo(&self, arguments: &[&str], environment: &[(&str, &str)], mut line: impl FnMut(&str)) -> Result<bool> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut child = Command::new(cargo)
            .args(arguments)
            .envs(environment.iter().copied())
            .env("CARGO_TARGET_DIR", &self.target)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start cargo")?;
        let output = child.stdout.take().context("the child's output is piped")?;
        let mut terminal = std::io::stdout().lock();
        for read in BufReader::new(output).split(b'\n') {
            let read = read.context("cannot read what cargo prints")?;
            let text = String::from_utf8_lossy(&read);
            writeln!(terminal, "{text}").context("cannot print")?;
            line(&text);
        }
        Ok(child.wait().context("cannot wait for cargo")?.success())
    }
}

/// Where weft's development keeps what it builds and downloads: `${XDG_CACHE_HOME:-$HOME/.cache}/weft`.
fn cache() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Ok(cache.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")?.join("weft"))
}

/// What libtest's closing line says: `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
fn closing_line(line: &str) -> Option<Counts> {
    let rest = line.trim().strip_prefix("test result: ")?;
    let (_, numbers) = rest.split_once(". ")?;
    let number = |word: &str| {
        let part = numbers.split("; ").find(|part| part.ends_with(word))?;
        part.split(' ').next()?.parse::<u64>().ok()
    };
    Some(Counts { passed: number("passed")?, failed: number("failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runners_closing_line_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.10s";
        let counts = closing_line(line).unwrap();
        assert_eq!((counts.passed, counts.failed), (12, 3));
        assert!(closing_line("test a::b ... ok").is_none());
    }
}
