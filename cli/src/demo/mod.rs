//! `weft demo`: a whole mesh of real processes on this machine.
use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use futures::future::select_all;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};

use crate::{
    api::block_on,
    failure::{Failure, While},
};

mod bound;
mod check;
mod client;
mod edges;
mod live;
mod mesh;
mod peer;
mod process;
pub(crate) mod service;
mod traffic;

use mesh::Mesh;
pub(crate) use process::die_with_parent;

const EXAMPLES: &str = "\
Examples:
  weft demo                     until Ctrl-C; leaves nothing behind
  weft demo --dir /tmp/shop     keeps the store there; the next start continues from it
  weft demo --check             a scripted tour: one line for each claim, exit code 0 if all hold";

/// How to run the demo.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Keep state in this folder instead of a temporary one.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Run the scripted tour instead of the live table: one line for each claim with the measured figure; exit code 0
    /// only if all hold.
    #[arg(long)]
    check: bool,
}

/// Runs the demo to its end.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let Arguments { dir, check } = arguments;
    block_on(LocalSet::new().run_until(async move {
        // Before there is anything that a signal must not leave behind.
        let mut stop = Vec::new();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()] {
            stop.push(signal(kind).while_("wait for signals")?);
        }
        let folder = Folder::open(dir)?;
        let stopped = select_all(stop.iter_mut().map(|signal| Box::pin(signal.recv())));
        let mut mesh = Mesh::new(folder.path());
        let work = async {
            mesh.start(if check { check::LEAVES } else { mesh::LEAVES }).await?;
            if check { check::run(&mut mesh, started).await } else { live::run(&mut mesh, started).await }
        };
        let outcome = tokio::select! {
            outcome = work => outcome,
            _ = stopped => {
                eprintln!("\nstopping");
                // A tour that was cut short has shown nothing.
                Ok(!check)
            }
        };
        mesh.stop().await;
        folder.close()?;
        outcome.map(|held| if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }))
}

/// Where the demo's state is.
enum Folder {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn open(dir: Option<PathBuf>) -> Result<Self, Failure> {
        match dir {
            None => {
                let folder = tempfile::Builder::new().prefix("weft-demo-").tempdir();
                Ok(Self::Temporary(folder.while_("make a temporary folder")?))
            }
            Some(dir) => {
                let making = format!("use the folder {}", dir.display());
                std::fs::create_dir_all(&dir).while_(&making)?;
                Ok(Self::Kept(dir.canonicalize().while_(&making)?))
            }
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Temporary(folder) => folder.path().to_owned(),
            Self::Kept(path) => path.clone(),
        }
    }

    fn close(self) -> Result<(), Failure> {
        match self {
            Self::Temporary(folder) => folder.close().while_("remove the temporary folder"),
            Self::Kept(_) => Ok(()),
        }
    }
}

/// Tries `attempt` every few milliseconds until it gives something or `limit` has passed.
async fn until<T>(limit: Duration, mut attempt: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = attempt().await {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
