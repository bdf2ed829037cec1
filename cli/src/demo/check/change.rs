//! Changes by `weft apply`: how soon they are in effect, and what a bad one does.
use std::{
    process::Output,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Found, command, figure};
use crate::{
    demo::{
        mesh::{Mesh, SHOP},
        until,
    },
    failure::Failure,
};

const WEIGHTS: [&str; 2] = ["port: 80, weight: 90", "port: 80, weight: 10"];

/// Applies weights as a person would and waits until the caller's proxy says that it routes by them.
pub(super) async fn effect(mesh: &Mesh, [v1, v2]: [u32; 2]) -> Found {
    let text = SHOP
        .replace(WEIGHTS[0], &format!("port: 80, weight: {v1}"))
        .replace(WEIGHTS[1], &format!("port: 80, weight: {v2}"));
    let wanted = [("reviews-v1", v1), ("reviews-v2", v2)]
        .map(|(name, weight)| json!({ "cluster": format!("local/shop/{name}:80"), "weight": weight }));
    // The proxy holds the route once a request has asked for its host.
    super::canary::version(&mesh.outbound("catalog-0")?, &[]).await?;
    let api = mesh.api()?;
    let started = Instant::now();
    let output = apply(mesh, &text).await?;
    let applied = Instant::now();
    if !output.status.success() {
        return Err(Failure::new(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let seen = until(Duration::from_secs(2), async || {
        let routes = api.proxy("shop", "catalog-0", "/config/routes").await.ok()?;
        holds(&routes, &wanted).then_some(())
    });
    let seen = seen.await;
    let milliseconds = |since: Instant| since.elapsed().as_secs_f64() * 1000.0;
    let text = format!(
        "{:.1} ms after `weft apply` returned, {:.1} ms after it was started, seen in the caller's proxy",
        milliseconds(applied),
        milliseconds(started)
    );
    figure(seen.is_some() && started.elapsed() <= Duration::from_secs(2), text)
}

/// Whether for each of the wanted objects there is one somewhere in `value` that has all of its fields.
fn holds(value: &Value, wanted: &[Value]) -> bool {
    fn has_all(value: &Value, wanted: &Value) -> bool {
        wanted.as_object().is_some_and(|wanted| wanted.iter().all(|(name, wanted)| value.get(name) == Some(wanted)))
    }
    fn contains(value: &Value, wanted: &Value) -> bool {
        has_all(value, wanted)
            || match value {
                Value::Array(items) => items.iter().any(|item| contains(item, wanted)),
                Value::Object(fields) => fields.values().any(|field| contains(field, wanted)),
                _ => false,
            }
    }
    wanted.iter().all(|wanted| contains(value, wanted))
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

/// Applies a text and waits until every proxy that it concerns says that it is in effect.
pub(super) async fn in_effect(mesh: &Mesh, text: &str) -> Result<(), Failure> {
    command::printed(mesh, &["apply", "-f", "-", "--wait=10s"], text).await.map(|_| ())
}

async fn apply(mesh: &Mesh, text: &str) -> Result<Output, Failure> {
    command::weft(mesh, &["apply", "-f", "-"], text).await
}
