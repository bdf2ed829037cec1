//! Weighted and header-based routing, counted from outside.
use std::rc::Rc;

use serde_json::Value;
use tokio::task::spawn_local;

use super::{Found, figure};
use crate::{
    demo::{
        client::{Client, Reuse},
        mesh::Mesh,
    },
    failure::{Failure, While},
};

/// Requests for a share.
const REQUESTS: u32 = 5_000;
/// Requests with the canary's header.
const CANARY: u32 = 500;
/// Connections that share them.
const CONNECTIONS: u32 = 10;
/// The two-sided normal quantile of an interval of 1 - 10^-6.
const QUANTILE: f64 = 4.892;

/// Whether the share of v2 among 5,000 requests lies within the interval of 1 - 10^-6 around its weight.
pub(super) async fn share(mesh: &Mesh, [v1, v2]: [u32; 2]) -> Found {
    let seen = count(mesh, REQUESTS, &[]).await?;
    let (held, text) = holds(seen, REQUESTS, f64::from(v2) / f64::from(v1 + v2));
    figure(held, text)
}

/// Whether that many of so many lie within the interval of 1 - 10^-6 around an expected share, in words.
pub(super) fn holds(seen: u32, requests: u32, expected: f64) -> (bool, String) {
    let (of, requests) = (requests, f64::from(requests));
    let (share, half) = (f64::from(seen) / requests, QUANTILE * (expected * (1.0 - expected) / requests).sqrt());
    let text = format!(
        "v2 got {:.2} % of {of}, within {:.2} to {:.2} %",
        share * 100.0,
        (expected - half) * 100.0,
        (expected + half) * 100.0
    );
    ((share - expected).abs() <= half, text)
}

/// Whether the header always chooses v2.
pub(super) async fn header(mesh: &Mesh) -> Found {
    let seen = count(mesh, CANARY, &[("x-canary", "always")]).await?;
    figure(seen == CANARY, format!("{seen} of {CANARY}"))
}

/// How many of so many requests to reviews were answered by v2.
async fn count(mesh: &Mesh, requests: u32, headers: &'static [(&'static str, &'static str)]) -> Result<u32, Failure> {
    let client = Rc::new(mesh.outbound("catalog-0")?);
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let client = Rc::clone(&client);
            spawn_local(async move {
                let mut seen = 0;
                for _ in 0..requests / CONNECTIONS {
                    seen += u32::from(version(&client, headers).await? == "v2");
                }
                Ok::<_, Failure>(seen)
            })
        })
        .collect();
    let mut seen = 0;
    for task in tasks {
        seen += task.await.while_("wait for the requests")??;
    }
    Ok(seen)
}

/// Which version of reviews answers.
pub(super) async fn version(client: &Client, headers: &[(&str, &str)]) -> Result<String, Failure> {
    let reply = client.fetch("reviews", "/", headers, Reuse::Kept).await?;
    let body: Value = serde_json::from_slice(&reply.body).while_(format_args!(
        "read what reviews answered ({}): {}",
        reply.status,
        String::from_utf8_lossy(&reply.body)
    ))?;
    Ok(body["version"].as_str().unwrap_or("?").to_owned())
}
