//! Child processes of the demo: this same binary under other subcommands. They die with their parent.
use std::{
    env,
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::failure::{Failure, While};

/// Tells a child whose child it is; see [`die_with_parent`].
const PARENT: &str = "WEFT_DEMO_PARENT";
/// How long a child may take to leave after SIGTERM.
const LEAVE: Duration = Duration::from_secs(4);

/// In a child of the demo: asks the kernel to kill this process when the demo ends, however it ends.
pub(crate) fn die_with_parent() {
    let Some(parent) = env::var(PARENT).ok().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw) else { return };
    let asked = set_parent_process_death_signal(Some(Signal::KILL));
    // The parent may have gone before the kernel was asked.
    if asked.is_err() || getppid() != Some(parent) {
        std::process::exit(1);
    }
}

/// One child.
pub(crate) struct Process {
    /// What it is, for messages: `sidecar of catalog-0`.
    pub(crate) name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts this binary with `arguments`, its output appended to `log`. With `announced`, waits for the first line
    /// that it prints and returns it.
    pub(crate) async fn start(
        name: &str,
        arguments: &[String],
        log: &Path,
        announced: bool,
    ) -> Result<(Self, String), Failure> {
        let starting = format!("start {name}");
        let file = OpenOptions::new().create(true).append(true).open(log).while_(&starting)?;
        let output = if announced { Stdio::piped() } else { Stdio::from(file.try_clone().while_(&starting)?) };
        let mut command = Command::new(env::current_exe().while_(&starting)?);
        // The demo is the same wherever it runs: only the log's filter is the user's.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("WEFT_") && name != "WEFT_LOG" {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(arguments)
            .env(PARENT, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .while_(&starting)?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            let mut output = BufReader::new(output);
            match timeout(Duration::from_secs(10), output.read_line(&mut line)).await {
                Ok(Ok(read)) if read > 0 => {}
                _ => return Err(Self { name: name.to_owned(), child, log: log.to_owned() }.dead()),
            }
        }
        Ok((Self { name: name.to_owned(), child, log: log.to_owned() }, line.trim().to_owned()))
    }

    /// The process id, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// A failure that shows the end of its log.
    pub(crate) fn dead(&self) -> Failure {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        let tail: Vec<_> = lines.into_iter().rev().map(|line| format!("\n  | {line}")).collect();
        Failure::new(format!("{} did not start; the end of its log:{}", self.name, tail.concat()))
    }

    /// Kills it at once, as a crash would.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Asks it to leave.
    pub(crate) fn terminate(&self) {
        // It may have gone already, which is as well.
        let _gone = self.signal(Signal::TERM);
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).ok_or(io::ErrorKind::NotFound)?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits until it has left after [`terminate`](Self::terminate); kills it when it takes too long.
    pub(crate) async fn leave(mut self) {
        if timeout(LEAVE, self.child.wait()).await.is_err() {
            let _gone = self.child.kill().await;
        }
    }
}
