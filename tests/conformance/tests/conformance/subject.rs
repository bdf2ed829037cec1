//! The proxy that is judged: a program, a file, a socket.
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::DEADLINE;

/// Which program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Weft,
    Envoy,
}

impl Kind {
    /// Its name, as in `SUBJECT`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Weft => "weft",
            Self::Envoy => "envoy",
        }
    }
}

/// A program that reads bootstrap files.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
}

/// How a start ended.
pub(crate) enum Start {
    Ready(Subject),
    /// It ended and said this.
    Refused(String),
}

/// A running subject; dropped, it is killed.
pub(crate) struct Subject {
    child: Child,
    log: PathBuf,
}

/// A port that nobody else takes until the subject has: bound but not listening, and shared (SO_REUSEPORT) with whoever
/// runs as the same user.
pub(crate) struct Port {
    _held: Socket,
    pub(crate) address: SocketAddr,
}

impl Port {
    /// Reserves one.
    pub(crate) fn reserve() -> Result<Self> {
        let held = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        held.set_reuse_port(true)?;
        held.set_reuse_address(true)?;
        held.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let address = held.local_addr()?.as_socket().context("an address of IPv4")?;
        Ok(Self { _held: held, address })
    }
}

impl Program {
    /// Starts it with `bootstrap.yaml` of that folder and waits until its admin socket says that it is ready.
    pub(crate) async fn start(&self, folder: &Path) -> Result<Start> {
        let (file, log) = (folder.join("bootstrap.yaml"), folder.join("log"));
        let mut command = Command::new(&self.path);
        match self.kind {
            Kind::Weft if self.path.file_name().is_some_and(|name| name == "weft-proxy") => {
                command.arg("--config").arg(&file)
            }
            Kind::Weft => command.args(["proxy", "run", "--config"]).arg(&file),
            Kind::Envoy => command.arg("--config-path").arg(&file).args([
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "warning",
            ]),
        };
        let output = std::fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).current_dir(folder).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.path.display()))?;
        let admin = folder.join("admin.sock");
        let deadline = Instant::now() + DEADLINE * 2;
        loop {
            if let Some(status) = child.try_wait()? {
                if status.success() {
                    bail!("it ended by itself: {}", said(&log));
                }
                return Ok(Start::Refused(said(&log)));
            }
            if ready(&admin).await {
                return Ok(Start::Ready(Subject { child, log }));
            }
            if Instant::now() > deadline {
                bail!("it does not become ready: {}", said(&log));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Subject {
    /// What it said, if it is not there any more.
    pub(crate) fn death(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("the subject ended with {status}: {}", said(&self.log)))
    }

    /// Ends it.
    pub(crate) async fn stop(mut self) {
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
    }
}

/// The last lines of a log.
fn said(log: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n    ")
}

/// Whether `/ready` on the admin socket is answered with 200.
async fn ready(admin: &Path) -> bool {
    let ask = async {
        let mut socket = UnixStream::connect(admin).await.ok()?;
        socket.write_all(b"GET /ready HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.ok()?;
        Some(answer.starts_with(b"HTTP/1.1 200"))
    };
    timeout(Duration::from_secs(1), ask).await.ok().flatten().unwrap_or(false)
}
