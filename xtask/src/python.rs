//! Python programs that tests talk to: a virtual environment of their own, in the cache folder.
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::run::cache;

/// What a Python must be.
const NEEDED: &str = "import sys, venv, ensurepip; assert sys.version_info >= (3, 10); print(sys.version)";

/// A Python that has exactly what a `requirements.txt` with hashes lists. It is made once for each such file and Python,
/// below the cache folder; nothing of the system's is changed.
///
/// # Errors
/// There is no Python that can make one, or what is listed cannot be had.
pub(crate) fn with(requirements: &Path) -> Result<PathBuf> {
    environment(requirements, &["--only-binary", ":all:"])
}

/// The same where what is listed is published as sources only, in part.
///
/// # Errors
/// As [`with`].
pub(crate) fn with_sources(requirements: &Path) -> Result<PathBuf> {
    environment(requirements, &[])
}

fn environment(requirements: &Path, binaries: &[&str]) -> Result<PathBuf> {
    let listed = fs::read(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let version = version()?;
    let mut hasher = DefaultHasher::new();
    (&listed, &version).hash(&mut hasher);
    let folder = cache()?.join("python").join(format!("{:016x}", hasher.finish()));
    let (python, done) = (folder.join("bin/python"), folder.join("complete"));
    if done.exists() {
        return Ok(python);
    }
    eprintln!("making a Python environment in {} with {}", folder.display(), requirements.display());
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let install = ["-m", "pip", "install", "--quiet", "--require-hashes"];
    run(Command::new(&python).args(install).args(binaries).arg("--requirement").arg(requirements))
        .context("what the tests' peers need cannot be installed; pip reads its usual configuration and environment")?;
    fs::write(&done, version).with_context(|| format!("cannot write {}", done.display()))?;
    Ok(python)
}

/// A file of a package that a Python has.
///
/// # Errors
/// It does not have the package.
pub(crate) fn file(python: &Path, package: &str, path: &str) -> Result<PathBuf> {
    let script =
        format!("import importlib.util as util; print(util.find_spec({package:?}).submodule_search_locations[0])");
    let output = Command::new(python).args(["-c", &script]).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start {}", python.display()))?;
    if !output.status.success() {
        bail!("{} has no package {package}: {}", python.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(Path::new(String::from_utf8_lossy(&output.stdout).trim()).join(path))
}

/// What the system's Python says of itself.
fn version() -> Result<String> {
    let output = Command::new("python3").args(["-c", NEEDED]).stdin(Stdio::null()).output();
    let advice = "this suite needs `python3`, 3.10 or newer, with its modules venv and ensurepip";
    let output = output.with_context(|| format!("{advice}; it does not start"))?;
    if !output.status.success() {
        bail!("{advice}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{name} ended with {status}");
    }
    Ok(())
}
