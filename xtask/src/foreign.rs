//! The suites of others: each program is installed once into the cache folder, at a version and by hashes that stand in
//! `tests/foreign`; nothing of the system's is changed.
use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    python,
    run::{Workspace, cache},
};

/// What is in the environment of the tests: the variable, and the program's path.
pub(crate) type Programs = Vec<(&'static str, String)>;

/// Everything that `tests/foreign` calls.
///
/// # Errors
/// What cannot be had, and why.
pub(crate) fn programs(workspace: &Workspace) -> Result<Programs> {
    let folder = workspace.file("tests/foreign");
    let go = go_programs(&folder)?;
    let (python2, autobahn) = autobahn(&folder)?;
    let sslyze = python::with_sources(&folder.join("python3/requirements.txt"))?;
    let text = |path: PathBuf| path.into_os_string().into_string().ok().context("the cache folder's path is no text");
    Ok(vec![
        ("WEFT_FOREIGN_H2SPEC", text(go.join("h2spec"))?),
        ("WEFT_FOREIGN_GRPC_CLIENT", text(go.join("client"))?),
        ("WEFT_FOREIGN_GRPC_SERVER", text(go.join("server"))?),
        ("WEFT_FOREIGN_PYTHON2", text(python2)?),
        ("WEFT_FOREIGN_AUTOBAHN", text(autobahn)?),
        ("WEFT_FOREIGN_SSLYZE_PYTHON", text(sslyze)?),
        ("WEFT_FOREIGN_SLOWHTTPTEST", text(slowhttptest()?)?),
    ])
}

/// h2spec and gRPC's two: the folder that they are in.
fn go_programs(folder: &Path) -> Result<PathBuf> {
    let module = folder.join("go");
    let mut hasher = DefaultHasher::new();
    for file in ["go.mod", "go.sum", "h2spec/main.go"] {
        fs::read(module.join(file)).with_context(|| format!("cannot read {file}"))?.hash(&mut hasher);
    }
    let cache = cache()?;
    let programs = cache.join("go").join(format!("{:016x}", hasher.finish()));
    installed(&programs, "Go's programs", || {
        let go = go(folder)?;
        // A toolchain that is asked for is the one that is taken; modules are checked against go.sum.
        let mut build = Command::new(go);
        build.current_dir(&module).env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=readonly").env("CGO_ENABLED", "0");
        build.env("GOCACHE", cache.join("go/build")).env("GOMODCACHE", cache.join("go/modules"));
        let packages = ["./h2spec", "google.golang.org/grpc/interop/client", "google.golang.org/grpc/interop/server"];
        run(build.arg("build").arg("-o").arg(format!("{}/", programs.display())).args(packages))
    })?;
    Ok(programs)
}

/// A Go that can build them: the system's, else one that is published as wheels.
fn go(folder: &Path) -> Result<PathBuf> {
    let told = Command::new("go").args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").stdin(Stdio::null()).output();
    let told = told.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if is_new_enough(&told) {
        return Ok("go".into());
    }
    let python = python::with(&folder.join("go-toolchain/requirements.txt"))?;
    let go = python.with_file_name("go");
    if go.exists() { Ok(go) } else { bail!("there is no Go 1.26 or newer, and {} is missing", go.display()) }
}

/// Whether `go1.26.8` is 1.26 or newer.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.trim_start_matches("go").split(['.', '-', ' ', 'r']).map(|part| part.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(Some(1)), Some(Some(minor))) if minor >= 26)
}

/// A Python 2.7, and the folder with Autobahn's test suite for it.
fn autobahn(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let python = python2()?;
    let requirements = folder.join("python2/requirements.txt");
    let mut hasher = DefaultHasher::new();
    (fs::read(&requirements)?, &python).hash(&mut hasher);
    let modules = cache()?.join("autobahn").join(format!("{:016x}", hasher.finish()));
    installed(&modules, "Autobahn's test suite", || {
        let mut install = Command::new(&python);
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--require-hashes",
        ]);
        run(install.arg("--target").arg(&modules).arg("--requirement").arg(&requirements))
    })?;
    Ok((python, modules))
}

/// A Python 2.7 of the system's, or of pyenv's.
fn python2() -> Result<PathBuf> {
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let pyenv = env::var_os("PYENV_ROOT").map_or_else(|| home.join(".pyenv"), PathBuf::from).join("versions");
    let versions = fs::read_dir(pyenv).into_iter().flatten().flatten();
    let of_pyenv = versions.map(|version| version.path().join("bin/python2.7"));
    let found = [PathBuf::from("python2.7"), "/usr/bin/python2.7".into()].into_iter().chain(of_pyenv).find(|python| {
        let asked = Command::new(python).args(["-m", "pip", "--version"]).stdin(Stdio::null()).output();
        asked.is_ok_and(|output| output.status.success())
    });
    found.context("Autobahn's test suite needs a Python 2.7 with pip (`python2.7`, or one of pyenv's versions)")
}

/// slowhttptest, out of Debian's package.
fn slowhttptest() -> Result<PathBuf> {
    let folder = cache()?.join("slowhttptest");
    installed(&folder, "slowhttptest", || {
        run(Command::new("apt-get").args(["download", "--quiet", "slowhttptest"]).current_dir(&folder))
            .context("slowhttptest is taken from Debian's package (`apt-get update` first, where its lists are old)")?;
        let files = fs::read_dir(&folder)?.flatten().map(|file| file.path());
        let package = files.into_iter().find(|path| path.extension().is_some_and(|it| it == "deb"));
        run(Command::new("dpkg").arg("-x").arg(package.context("no package came")?).arg(&folder))
    })?;
    Ok(folder.join("usr/bin/slowhttptest"))
}

/// Has a folder made once by `install`: what was begun and not finished is begun anew.
fn installed(folder: &Path, what: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let done = folder.join(".complete");
    if done.exists() {
        return Ok(());
    }
    eprintln!("installing {what} in {}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    install().with_context(|| format!("{what} cannot be installed"))?;
    fs::write(&done, "").with_context(|| format!("cannot write {}", done.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{name} ended with {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_is_taken_from_the_minor_version_that_the_module_names() {
        for (version, taken) in
            [("go1.26.8", true), ("go1.27rc1", true), ("go1.25.9", false), ("", false), ("go2", false)]
        {
            assert_eq!(is_new_enough(version), taken, "{version:?}");
        }
    }
}
