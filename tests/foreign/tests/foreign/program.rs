//! The programs of others.
use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, timeout},
};

/// The program whose path a variable holds.
///
/// # Errors
/// That the variable is not set, and what sets it.
pub(crate) fn named(variable: &str) -> Result<PathBuf> {
    let path = env::var_os(variable).filter(|path| !path.is_empty());
    path.map(PathBuf::from).with_context(|| {
        format!("{variable} names no program: `cargo xtask test --suite foreign` installs it and runs this with it")
    })
}

/// A command whose standard output and error go to a file.
///
/// # Errors
/// That the file cannot be made.
pub(crate) fn command(program: impl AsRef<OsStr>, log: &Path) -> Result<Command> {
    let file = fs::File::create(log).with_context(|| log.display().to_string())?;
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
    // What it talks to is the sidecar, whatever the surroundings say.
    command.env("no_proxy", "*").env_remove("http_proxy").env_remove("https_proxy").env_remove("all_proxy");
    Ok(command)
}

/// Runs a command to its end; whether it ended well. One that hangs is a failure.
///
/// # Errors
/// What the system says, or that it has not ended within the time.
pub(crate) async fn ends(command: &mut Command, within: Duration) -> Result<bool> {
    let shown = format!("{:?}", command.as_std());
    let mut child = command.spawn().with_context(|| format!("cannot start {shown}"))?;
    match timeout(within, child.wait()).await {
        Ok(status) => Ok(status?.success()),
        Err(_) => bail!("{shown} has not ended within {within:?}"),
    }
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    _child: Child,
}

impl Server {
    /// Starts one that listens on a port of loopback, and waits until it does.
    ///
    /// # Errors
    /// That it does not come to it; with what it said.
    pub(crate) async fn start(command: &mut Command, port: u16, log: &Path) -> Result<Self> {
        let shown = format!("{:?}", command.as_std());
        let mut child = command.spawn().with_context(|| format!("cannot start {shown}"))?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("{shown} does not listen: {}", fs::read_to_string(log).unwrap_or_default().trim());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { _child: child })
    }
}

/// A port that is free now: for servers that cannot choose one by themselves.
///
/// # Errors
/// What the system says.
pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
