//! What keeps a failing or busy part from taking the rest along: ejection, limits, affinity.
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::task::spawn_local;

use super::{Found, canary, change, figure};
use crate::{
    demo::{
        client::{Client, Reply, Reuse},
        mesh::Mesh,
    },
    failure::{Failure, While},
};

/// Requests around a failing instance.
const REQUESTS: u32 = 3_000;
/// Connections that share them.
const CONNECTIONS: u32 = 10;
/// Errors in a row that eject.
const ERRORS: u32 = 5;
/// Users, each with a cookie of its own, and requests of each.
const USERS: usize = 30;
const VISITS: usize = 20;

/// A policy of the tour for a Service of the shop; one that is written again takes the place of the former.
fn policy(name: &str, service: &str, fields: &str) -> String {
    format!(
        "apiVersion: weft.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ name: {name}, namespace: shop }}\nspec:\n  \
         targetRefs: [{{ group: \"\", kind: Service, name: {service} }}]\n  {fields}\n"
    )
}

/// One of v2's two instances answers 503 from now on: it must be left out, and v2 keep its share by the other.
pub(super) async fn ejection(mesh: &Mesh) -> Found {
    let fields = format!("outlierEjection: {{ consecutiveErrors: {ERRORS}, baseTime: 60s, maxSharePercent: 50 }}");
    change::in_effect(mesh, &policy("tour-ejection", "reviews-v2", &fields)).await?;
    mesh.toggle_failure("reviews-v2-1")?;
    let told = Rc::new(mesh.outbound("catalog-0")?);
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let client = Rc::clone(&told);
            spawn_local(async move {
                let (mut failed, mut v2) = (0, 0);
                for _ in 0..REQUESTS / CONNECTIONS {
                    let (reply, body) = ask(&client, &[]).await?;
                    failed += u32::from(!reply.status.is_success());
                    v2 += u32::from(body["version"] == "v2");
                }
                Ok::<_, Failure>((failed, v2))
            })
        })
        .collect();
    let (mut failed, mut v2) = (0, 0);
    for task in tasks {
        let (more, of_v2) = task.await.while_("wait for the requests")??;
        (failed, v2) = (failed + more, v2 + of_v2);
    }
    let out = left_out(mesh).await?;
    mesh.toggle_failure("reviews-v2-1")?;
    let (held, share) = canary::holds(v2, REQUESTS, 0.5);
    let text = format!(
        "{failed} of {REQUESTS} requests met it before it was left out; {share}; catalog-0 says that it leaves out {out:?}"
    );
    // Those that were under way when the last error was counted may fail too.
    figure(held && out == ["shop/reviews-v2-1"] && (ERRORS..ERRORS + 2 * CONNECTIONS).contains(&failed), text)
}

/// The instances that catalog's sidecar leaves out now, by its own word.
async fn left_out(mesh: &Mesh) -> Result<Vec<String>, Failure> {
    let endpoints = mesh.api()?.proxy("shop", "catalog-0", "/config/endpoints").await?;
    let clusters = endpoints["live"].as_array().into_iter().flatten();
    let ejected = clusters.filter_map(|cluster| cluster["ejected"].as_array()).flatten();
    Ok(ejected.filter_map(|endpoint| endpoint["workload"].as_str()).map(str::to_owned).collect())
}

/// Over a limit of one request at once the answer is a refusal, immediately and with its reason.
pub(super) async fn limit(mesh: &Mesh) -> Found {
    change::in_effect(mesh, &policy("tour-limit", "reviews-v1", "limits: { maxRequests: 1 }")).await?;
    let client = Rc::new(mesh.outbound("catalog-0")?);
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let client = Rc::clone(&client);
            spawn_local(async move {
                let (mut refused, mut slowest) = (0_u32, Duration::ZERO);
                for _ in 0..100 {
                    let asked = Instant::now();
                    let reply = client.fetch("reviews", "/", &[], Reuse::Kept).await?;
                    if reply.status.is_success() {
                        continue;
                    }
                    let text = String::from_utf8_lossy(&reply.body).trim().to_owned();
                    let wanted = "limit of 1 requests to local/shop/reviews-v1:80 reached";
                    if reply.status != 503
                        || !text.starts_with(wanted)
                        || !text.contains("TrafficPolicy shop/tour-limit")
                    {
                        return Err(Failure::new(format!("{} {text:?}", reply.status)));
                    }
                    refused += 1;
                    slowest = slowest.max(asked.elapsed());
                }
                Ok((refused, slowest))
            })
        })
        .collect();
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    for task in tasks {
        let (more, slow) = task.await.while_("wait for the requests")??;
        (refused, slowest) = (refused + more, slowest.max(slow));
    }
    change::in_effect(mesh, &policy("tour-limit", "reviews-v1", "limits: { maxRequests: 1000 }")).await?;
    let text = format!(
        "{refused} of {} refused with the limit and the policy that sets it, the slowest after {:.1} ms",
        CONNECTIONS * 100,
        slowest.as_secs_f64() * 1000.0
    );
    figure(refused > 0 && slowest < Duration::from_secs(1), text)
}

/// Users with a cookie see one version and one instance while weights stand, and together all of them.
pub(super) async fn affinity(mesh: &Mesh) -> Found {
    change::in_effect(mesh, &policy("tour-affinity", "reviews", "affinity: { cookie: { name: tour-user } }")).await?;
    let client = mesh.outbound("catalog-0")?;
    let mut instances = BTreeMap::<String, usize>::new();
    for user in 0..USERS {
        let (reply, first) = ask(&client, &[]).await?;
        let cookie = reply.headers.get("set-cookie").and_then(|value| value.to_str().ok());
        let cookie = cookie.and_then(|value| value.split(';').next());
        let cookie = cookie.ok_or_else(|| Failure::new("the first answer sets no cookie"))?.to_owned();
        let mut seen = BTreeSet::from([first["instance"].to_string()]);
        for _ in 1..VISITS {
            let (_, body) = ask(&client, &[("cookie", &cookie)]).await?;
            seen.insert(body["instance"].to_string());
        }
        if seen.len() > 1 {
            return Err(Failure::new(format!("user {user} saw {seen:?}")));
        }
        *instances.entry(first["instance"].as_str().unwrap_or("?").to_owned()).or_default() += 1;
    }
    let text = format!("{USERS} users with {VISITS} requests each saw one instance each: {instances:?}");
    figure(instances.len() > 1, text)
}

async fn ask(client: &Client, headers: &[(&str, &str)]) -> Result<(Reply, Value), Failure> {
    let reply = client.fetch("reviews", "/", headers, Reuse::Kept).await?;
    let body = serde_json::from_slice(&reply.body).while_(format_args!(
        "read what reviews answered ({}): {}",
        reply.status,
        String::from_utf8_lossy(&reply.body)
    ))?;
    Ok((reply, body))
}
