//! What `GET /v1/status` costs at size: 10,000 Services, 1,000 connected proxies that use 20 of them each. The proxies are
//! played in this process: each has its ADS and its Agent stream over TLS, asks for what it uses and says that it is in
//! effect. Prints CPU time (of the whole process, from `/proc/self/task/*/schedstat`) and bytes for each call.
//!
//! Run it: `cargo bench -p weft-control-plane --bench status [-- <services> <proxies>]`.
#[path = "../tests/control_plane/support.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod support;

use std::{
    fs,
    io::{self, Write},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use weft_proto::weft::{Receipt, Receipts, agent_message::Message};

use support::{Ads, Agent, CLUSTER, ENDPOINTS, Member, Plane, VIRTUAL_HOST, registration};

/// How many Services each proxy uses.
const USED: usize = 20;
/// How often each call is made.
const CALLS: u32 = 50;

#[tokio::main]
async fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let [services, proxies] = *numbers.as_slice() else { return run(10_000, 1_000).await };
    run(services, proxies).await;
}

async fn run(services: usize, proxies: usize) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();

    let plane = Plane::with(|config| config.lease = Duration::from_secs(3600)).await;
    for from in (0..services).step_by(1_000) {
        let text: String = (from..services.min(from + 1_000)).map(service).collect();
        plane.apply(&text).await.unwrap();
    }
    let member = plane.join("web").await;
    let (before, began) = (memory(), Instant::now());
    let connected: Vec<_> =
        stream::iter(0..proxies).map(|at| connect(&plane, &member, at, services)).buffer_unordered(16).collect().await;
    say(&format!("{services} services, {} proxies, connected in {:?}", connected.len(), began.elapsed()));
    let grown = (memory() - before) / proxies.max(1) as u64;
    say(&format!("memory: {} KiB for each proxy, both ends of its two connections together", grown >> 10));

    let client = plane.client();
    let status = client.status().await.unwrap();
    say(&format!("{:?}, objects {:?}", status.proxies, status.objects));
    let bytes = |value: &serde_json::Value| value.to_string().len();
    say(&format!("status: {} bytes", bytes(&serde_json::to_value(&status).unwrap())));
    let calls = cost(CALLS, async || drop(client.status().await.unwrap())).await;
    say(&format!("status, nothing changed: {calls:?} CPU a call"));
    let mut port = 9_000;
    let changes = cost(CALLS, async || {
        port += 1;
        plane.apply(&service(0).replace("targetPort: http", &format!("targetPort: {port}"))).await.unwrap();
    });
    let changes = changes.await;
    say(&format!("apply of a Service: {changes:?} CPU"));
    let both = cost(CALLS, async || {
        port += 1;
        plane.apply(&service(0).replace("targetPort: http", &format!("targetPort: {port}"))).await.unwrap();
        drop(client.status().await.unwrap());
    });
    say(&format!("apply of a Service and status: {:?} CPU", both.await));
    let all = cost(5, async || _ = plane.json(hyper::Method::GET, "/v1/statuses", b"").await).await;
    say(&format!("every object's status (as each status was computed from before): {all:?} CPU a call"));
    drop(connected);
}

fn service(at: usize) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{at}, namespace: shop}}\nspec:\n  selector: {{app: s{at}}}\n  \
         ports: [{{name: http, port: 80, targetPort: http}}]\n"
    )
}

/// A proxy that has all it asked for in effect.
async fn connect(plane: &Plane, member: &Member, at: usize, services: usize) -> (Ads, Agent) {
    let name = format!("web-{at}");
    let mut agent = plane.agent(member, registration(&name, "web", "")).await;
    agent.next().await;
    let mut ads = plane.ads(member, &name).await;
    let used: Vec<_> = (0..USED).map(|more| (at * 7 + more) % services).collect();
    let clusters: Vec<_> = used.iter().map(|at| format!("local/shop/s{at}:80")).collect();
    let hosts: Vec<_> = used.iter().map(|at| format!("outbound/s{at}.shop.svc.cluster.local")).collect();
    for (type_url, names) in [(CLUSTER, &clusters), (ENDPOINTS, &clusters), (VIRTUAL_HOST, &hosts)] {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        ads.subscribe(type_url, &names).await;
    }
    ads.until(|ads| ads.held.len() == 3 * USED).await;
    let receipts = ads.held.iter().map(|((type_url, name), version)| Receipt {
        type_url: type_url.clone(),
        name: name.clone(),
        version: version.clone(),
        rejected: String::new(),
    });
    agent.say(Message::Receipts(Receipts { receipts: receipts.collect(), revision: String::new() })).await;
    (ads, agent)
}

/// The CPU time of one call.
async fn cost(calls: u32, mut call: impl AsyncFnMut()) -> Duration {
    call().await;
    let before = cpu();
    for _ in 0..calls {
        call().await;
    }
    (cpu() - before) / calls
}

/// What all threads have run.
fn cpu() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let nanos = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// Resident memory, in bytes.
fn memory() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4_096
}

fn say(line: &str) {
    let mut out = io::stdout();
    writeln!(out, "{line}").unwrap();
}
