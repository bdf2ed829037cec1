//! Changes by `weft apply`: how soon they are in effect, and what a bad one does.
use std::{
    env,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt, process::Command};

use super::{Found, figure};
use crate::{
    demo::{
        mesh::{Mesh, SHOP},
        until,
    },
    failure::{Failure, While},
};

const WEIGHTS: [&str; 2] = ["port: 80, weight: 90", "port: 80, weight: 10"];

/// Applies weights 50/50 and waits until the caller's proxy says that it routes by them.
pub(super) async fn effect(mesh: &Mesh) -> Found {
    let text = SHOP.replace(WEIGHTS[0], "port: 80, weight: 50").replace(WEIGHTS[1], "port: 80, weight: 50");
    let output = apply(mesh, &text).await?;
    let applied = Instant::now();
    if !output.status.success() {
        return Err(Failure::new(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let api = mesh.api()?;
    let seen = until(Duration::from_secs(2), async || {
        let routes = api.proxy("shop", "catalog-0", "/config/routes").await.ok()?.to_string();
        (routes.contains("\"weight\":50") && !routes.contains("\"weight\":90")).then_some(())
    });
    let seen = seen.await;
    let milliseconds = applied.elapsed().as_secs_f64() * 1000.0;
    figure(seen.is_some(), format!("{milliseconds:.1} ms after `weft apply` returned, seen in catalog's proxy"))
}

/// Applies an object with a misspelt field and one with a backend that does not exist.
pub(super) async fn refused(mesh: &Mesh) -> Found {
    let before = mesh.api()?.status().await?.revision;
    let misspelt = SHOP.replace("backendRefs:\n", "backendRefz:\n");
    let dangling =
        SHOP.replace("{ name: reviews-v1, port: 80, weight: 90 }", "{ name: reviews-v9, port: 80, weight: 90 }");
    let mut told = Vec::new();
    for (text, field) in [(misspelt, "spec.rules[1].backendRefz"), (dangling, "spec.rules[1].backendRefs[0]")] {
        let output = apply(mesh, &text).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().find(|line| line.contains(field));
        let line = line.ok_or_else(|| Failure::new(format!("{field} is not named: {said}")))?;
        if output.status.code() != Some(1) {
            return Err(Failure::new(format!("the exit code is {:?}, not 1", output.status.code())));
        }
        told.push(line.trim().to_owned());
    }
    let after = mesh.api()?.status().await?.revision;
    figure(before == after, format!("revision {after} before and after; {}", told.join("; ")))
}

/// Runs `weft apply -f -` as a person would.
async fn apply(mesh: &Mesh, text: &str) -> Result<Output, Failure> {
    let running = "run weft apply";
    let mut child = Command::new(env::current_exe().while_(running)?)
        .args(["apply", "-f", "-", "--context"])
        .arg(mesh.context())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .while_(running)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(text.as_bytes()).await.while_(running)?;
    }
    child.wait_with_output().await.while_(running)
}
