//! Row 10: the last of three services answers every request with 503, and every hop retries; budgets keep the attempts
//! near what was asked for, and nothing that is not safe to repeat is repeated.
use std::time::Duration;

use anyhow::{Context as _, Result};
use weft_drills::{Drill, Load, Mode, Pod, Scale, Verdict, alone, control_plane};
use weft_harness::{
    Plan,
    objects::{HTTP, allow, service},
    process::Sidecar,
};

/// A body above what is kept for a repetition.
const LARGE: usize = 70_000;

/// The services, each behind the last, and who may call whom.
const HOPS: [(&str, &str); 3] = [("alpha", "web"), ("beta", "alpha"), ("gamma", "beta")];

fn objects(name: &str, caller: &str) -> String {
    let retries = format!(
        r#"apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {{ name: {name}, namespace: shop }}
spec:
  targetRefs: [{{ group: "", kind: Service, name: {name} }}]
  retries:
    attempts: 3
    on: [connect-failure, reset, gateway-error]
    safe: methods
    backoff: {{ base: 1ms, max: 10ms }}
    budget: {{ percent: 20, minPerSecond: 3 }}
---
"#
    );
    service(name, name, &[HTTP]) + &allow(name, caller) + &retries
}

pub(crate) async fn run(drill: Drill) -> Result<Verdict> {
    let plane = control_plane(&drill.folder, "1h").await?;
    plane.apply(&HOPS.map(|(service, caller)| objects(service, caller)).concat()).await?;
    let mut pods = Vec::new();
    for (service, _) in HOPS {
        pods.push(Pod::start(&plane, &format!("{service}-0"), service).await?);
    }
    let [alpha, beta, gamma] = <[Pod; 3]>::try_from(pods).ok().context("three hops")?;
    alpha.backend.calls(alpha.sidecar.outbound()?, "beta");
    beta.backend.calls(beta.sidecar.outbound()?, "gamma");
    let mut web = alone(&plane, &Plan::new("web-0", "web")).await?;
    web.start().await?;
    let mut connection = web.client().await?;
    let began = std::time::Instant::now();
    while connection.get("alpha", "/probe", &[]).await?.status != 200 {
        anyhow::ensure!(began.elapsed() < Duration::from_secs(20), "the chain of three does not answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    gamma.backend.set(Mode::Status(503));
    let before = [&alpha, &beta, &gamma].map(|pod| pod.backend.requests());
    let rate = if drill.scale == Scale::Full { 500 } else { 150 };
    let load = Load { posts: 4, ..Load::new(&web, "alpha", drill.seed)?.rate(rate) }.start();
    tokio::time::sleep(drill.lasts(Duration::from_secs(12), Duration::from_secs(180))).await;
    let report = load.end().await;
    let seen: Vec<_> =
        [&alpha, &beta, &gamma].into_iter().zip(before).map(|(pod, before)| pod.backend.requests() - before).collect();

    let mut verdict = Verdict::default();
    verdict.told("requests", report.sent.len());
    let offered = std::iter::once(report.sent.len()).chain(seen.iter().copied());
    for ((service, _), (offered, attempts)) in HOPS.into_iter().zip(offered.zip(seen.iter().copied())) {
        let factor = attempts as f64 / offered.max(1) as f64;
        let name = format!("attempts at {service} for each request to it");
        verdict.figure(&name, format!("{factor:.3}"), "≤ 1.25", factor <= 1.25);
    }
    let retried = seen.last().copied().unwrap_or_default() > report.sent.len();
    verdict.figure("something was retried at all", retried, "true", retried);
    for pod in [&alpha, &beta, &gamma] {
        verdict.none(&format!("POSTs doubled at {}", pod.backend.name), report.doubled([&pod.backend], true));
    }
    let unanswered = report.lost().len();
    verdict.told("without an answer of an application", unanswered);
    verdict.told("causes", report.causes());

    large(&mut verdict, &web, drill.count(20, 200), [&alpha, &beta, &gamma]).await?;
    Ok(verdict)
}

/// Bodies that are too long to be kept: nobody repeats them, also where the method would allow it.
async fn large(verdict: &mut Verdict, web: &Sidecar, count: usize, hops: [&Pod; 3]) -> Result<()> {
    let body = "x".repeat(LARGE);
    for number in 0..count {
        let method = if number % 2 == 0 { "PUT" } else { "POST" };
        let head = format!("{method} /large-{number} HTTP/1.1\r\nhost: alpha\r\ncontent-length: {LARGE}\r\n\r\n{body}");
        let mut connection = web.client().await?;
        connection.send(head.as_bytes()).await?;
        connection.receive().await?;
    }
    for pod in hops {
        let seen = pod.backend.seen().into_iter().filter(|(id, _)| id.starts_with("large-"));
        let (came, doubled) =
            seen.fold((0, 0), |(came, doubled), (_, count)| (came + 1, doubled + usize::from(count > 1)));
        let name = &pod.backend.name;
        verdict.figure(&format!("bodies over 64 KiB that came to {name}"), came, &count.to_string(), came == count);
        verdict.none(&format!("bodies over 64 KiB doubled at {name}"), doubled);
    }
    Ok(())
}
