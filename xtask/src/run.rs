//! Runs cargo and test executables, and reads what they say.
use std::{
    cell::OnceCell,
    env, fmt,
    io::{BufRead, BufReader, Write},
    ops::AddAssign,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

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
    executables: OnceCell<Vec<Executable>>,
}

/// One test executable.
pub(crate) struct Executable {
    /// The package's folder, in which it runs.
    folder: PathBuf,
    /// The package's name.
    pub(crate) package: String,
    /// The name of the test target: the library's, the binary's, or the integration test's.
    pub(crate) target: String,
    path: PathBuf,
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
        Ok(Self { root, target, executables: OnceCell::new() })
    }

    /// A file of the repository.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Every test executable of the workspace, built on first use: all at once, because building package by package
    /// resolves features differently and compiles dependencies again and again.
    fn executables(&self) -> Result<&[Executable]> {
        if let Some(executables) = self.executables.get() {
            return Ok(executables);
        }
        eprintln!("building every test");
        let mut executables = Vec::new();
        let arguments = ["test", "--locked", "--profile", "ci", "--workspace", "--no-run", "--message-format", "json"];
        let mut command = self.cargo(&arguments);
        let success = stream(command.stdin(Stdio::null()), |line| {
            executables.extend(built(line));
            Ok(())
        })?;
        if !success {
            bail!("the tests do not build");
        }
        executables.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
        Ok(self.executables.get_or_init(|| executables))
    }

    /// Runs the test executables that `chosen` chooses and adds up their closing lines. One that dies without such a
    /// line counts as one failure.
    pub(crate) fn tests(&self, chosen: impl Fn(&Executable) -> bool, environment: &[(&str, &str)]) -> Result<Counts> {
        let mut counts = Counts::default();
        for executable in self.executables()?.iter().filter(|executable| chosen(executable)) {
            say(&format!("---- {} {}", executable.package, executable.target))?;
            let mut command = Command::new(&executable.path);
            command
                .current_dir(&executable.folder)
                .envs(environment.iter().copied())
                .env("CARGO_TARGET_DIR", &self.target);
            counts += runner(&mut command)?;
        }
        Ok(counts)
    }

    /// Runs the doc tests.
    pub(crate) fn doc_tests(&self) -> Result<Counts> {
        runner(&mut self.cargo(&["test", "--locked", "--profile", "ci", "--workspace", "--doc", "--no-fail-fast"]))
    }

    /// Runs one cargo command as one test of the given name.
    pub(crate) fn step(&self, name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Counts> {
        let mut command = self.cargo(arguments);
        command.envs(environment.iter().copied());
        if stream(&mut command, say)? {
            Ok(Counts { passed: 1, failed: 0 })
        } else {
            eprintln!("{name} failed: cargo {}", arguments.join(" "));
            Ok(Counts { passed: 0, failed: 1 })
        }
    }

    /// The program of that name, which was built with the tests because its package has some that run it.
    pub(crate) fn binary(&self, name: &str) -> Result<PathBuf> {
        self.executables()?;
        Ok(self.target.join("ci").join(name))
    }

    /// Runs a program that closes with a line `N passed, M failed`.
    pub(crate) fn program(&self, program: &Path, arguments: &[&str]) -> Result<Counts> {
        let mut command = Command::new(program);
        runner(command.args(arguments).current_dir(&self.root))
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).env("CARGO_TARGET_DIR", &self.target).current_dir(&self.root);
        command
    }
}

/// Runs a test runner, shows what it prints, and adds up its closing lines.
fn runner(command: &mut Command) -> Result<Counts> {
    let mut counts = Counts::default();
    let success = stream(command, |line| {
        if let Some(closing) = closing_line(line) {
            counts += closing;
        }
        say(line)
    })?;
    if !success && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(counts)
}

/// Runs a command without input and hands each line of its standard output on; whether it succeeded.
fn stream(command: &mut Command, mut each: impl FnMut(&str) -> Result<()>) -> Result<bool> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let child = child.as_mut().map_err(|error| anyhow::anyhow!("cannot start {program}: {error}"))?;
    let output = child.stdout.take().context("the child's output is piped")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.with_context(|| format!("cannot read what {program} prints"))?;
        each(&String::from_utf8_lossy(&line))?;
    }
    Ok(child.wait().with_context(|| format!("cannot wait for {program}"))?.success())
}

/// Prints a line for people and programs.
pub(crate) fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("cannot print")
}

/// What cargo's JSON says of an artifact (`cargo test --message-format json`).
#[derive(Deserialize)]
struct Artifact {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<ArtifactTarget>,
    profile: Option<ArtifactProfile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct ArtifactTarget {
    name: String,
}

#[derive(Deserialize)]
struct ArtifactProfile {
    test: bool,
}

/// The test executable that a line of cargo's JSON announces, if it does.
fn built(line: &str) -> Option<Executable> {
    let artifact: Artifact = serde_json::from_str(line).ok()?;
    if artifact.reason != "compiler-artifact" || !artifact.profile?.test {
        return None;
    }
    let folder = artifact.manifest_path?.parent()?.to_owned();
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).ok()?;
    let package = manifest.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))?.to_owned();
    Some(Executable { folder, package, target: artifact.target?.name, path: artifact.executable? })
}

/// Where weft's development keeps what it builds and downloads: `${XDG_CACHE_HOME:-$HOME/.cache}/weft`.
pub(crate) fn cache() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Ok(cache.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")?.join("weft"))
}

/// What a runner's closing line says: libtest's `test result: ok. 3 passed; 0 failed; …`, or `3 passed, 0 failed`.
fn closing_line(line: &str) -> Option<Counts> {
    let line = line.trim();
    let (numbers, separator) = match line.strip_prefix("test result: ") {
        Some(rest) => (rest.split_once(". ")?.1, "; "),
        None => (line, ", "),
    };
    let number = |word: &str| {
        let part = numbers.split(separator).find_map(|part| part.strip_suffix(word))?;
        part.trim_end().parse::<u64>().ok()
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
        let counts = closing_line("16 passed, 2 failed").unwrap();
        assert_eq!((counts.passed, counts.failed), (16, 2));
        assert!(closing_line("test a::b ... ok").is_none());
        assert!(closing_line("it passed, nobody failed").is_none());
    }
}
