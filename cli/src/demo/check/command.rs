//! `weft` against the demo's mesh, as a person would type it.
use std::{
    env,
    process::{Output, Stdio},
};

use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    demo::mesh::Mesh,
    failure::{Failure, While},
};

/// Runs `weft` with these arguments and what it reads from standard input.
pub(super) async fn weft(mesh: &Mesh, arguments: &[&str], input: &str) -> Result<Output, Failure> {
    let running = format!("run weft {}", arguments.join(" "));
    let mut child = Command::new(env::current_exe().while_(&running)?)
        .args(arguments)
        .arg("--context")
        .arg(mesh.context())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .while_(&running)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await.while_(&running)?;
    }
    child.wait_with_output().await.while_(running)
}

/// As [`weft`], of a command that must succeed: what it printed.
pub(super) async fn printed(mesh: &Mesh, arguments: &[&str], input: &str) -> Result<String, Failure> {
    let output = weft(mesh, arguments, input).await?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Failure::new(String::from_utf8_lossy(&output.stderr).into_owned()))
}
