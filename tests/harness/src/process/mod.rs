//! The same mesh of real processes: the control plane, and a sidecar beside each application, as `weft` starts them. They
//! mix with what runs inside the test's own process: a sidecar's process may belong to a control plane in here.
mod control_plane;
mod place;
mod sidecar;

use std::{
    env,
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

pub use control_plane::ControlPlane;
pub use place::Place;
pub use sidecar::Sidecar;

/// How long anything may take to come up on a busy machine.
const START: Duration = Duration::from_secs(30);

/// By this variable a `weft` process knows whose child it is, and dies with it.
const PARENT: &str = "WEFT_DEMO_PARENT";

/// A `weft` process; dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    /// What it is, for messages.
    pub name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `weft` at a place with these arguments, its output appended to `log`.
    ///
    /// # Errors
    /// What the system says, or that there is no `weft` beside this program.
    pub fn start(place: &Place, name: &str, arguments: &[String], log: &Path) -> Result<Self> {
        let weft = weft()?;
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = place.program(&weft);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("WEFT_") && name != "WEFT_LOG" {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .env(PARENT, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true);
        let child = place.spawn(command).with_context(|| format!("cannot start {} as {name}", weft.display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it at once, as a crash would.
    ///
    /// # Errors
    /// What the system says.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        // It may have gone already, which is as well.
        let _gone = self.signal(Signal::TERM);
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// That it has ended, or what the system says.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(kill_process(pid.with_context(|| format!("{} has ended", self.name))?, signal)?)
    }

    /// Its process id while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it has ended, and how.
    ///
    /// # Errors
    /// That it has not within the time.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let ended = timeout(within, self.child.wait()).await;
        Ok(ended.with_context(|| format!("{} did not end within {within:?}", self.name))??)
    }

    /// Waits until `holds` gives something, as long as the process runs.
    ///
    /// # Errors
    /// That it ended, or that nothing came of it within the time: with the end of its log.
    pub async fn until<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut holds: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(found) = holds().await {
                return Ok(found);
            }
            if !self.runs() || Instant::now() > deadline {
                bail!("{}: {what} did not come about; the end of its log:{}", self.name, self.tail());
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(8).collect();
        lines.into_iter().rev().map(|line| format!("\n  | {line}")).collect()
    }
}

/// Runs a `weft` command to its end and returns what it prints.
///
/// # Errors
/// What the system says, or what the command says on its standard error where it fails.
pub async fn command(arguments: &[&str]) -> Result<String> {
    let output = weft_command()?.args(arguments).stdin(Stdio::null()).output().await?;
    if !output.status.success() {
        bail!("weft {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The program `weft`, to be run with arguments and an environment of the test's choice.
///
/// # Errors
/// That there is no `weft` beside this program.
pub fn weft_command() -> Result<Command> {
    Ok(Command::new(weft()?))
}

/// The program: built with the tests, beside the folder of this one.
fn weft() -> Result<PathBuf> {
    let own = env::current_exe()?;
    let weft = own.parent().and_then(Path::parent).context("this program lies in no folder")?.join("weft");
    if !weft.exists() {
        bail!("there is no {}: build it with `cargo test --profile ci --workspace --no-run`", weft.display());
    }
    Ok(weft)
}
