//! Every instance and every sidecar is replaced, one after the other, under load: nothing is lost.
//!
//! *Lost* is whatever was not answered as it should be, for every method between sidecars, and for requests that are safe
//! to repeat towards an application that closes connections without notice. A POST that such an application cuts cannot
//! be sent again by anybody: it is answered 502, and counted apart as *upstream closed*.
use std::{env, fs, path::Path, sync::Arc, sync::atomic::AtomicBool, sync::atomic::Ordering, time::Duration};

use tokio::time::Instant;
use weft_control_plane::wire::WorkloadState;
use weft_harness::{
    Application, Mesh, Plan, eventually,
    grpc::Reviews,
    objects::{GRPC, HTTP, TCP, open_service},
    open_loop,
    process::Sidecar,
    record,
};

use crate::load::{CHANGES, Load, RATE, Target};

/// The careless application answers so many requests on a connection before it closes it.
const UNTIL_CLOSED: usize = 20;
/// A sidecar that is asked to leave has that long.
const LEAVE: Duration = Duration::from_secs(30);
/// From then on a run is recorded.
const FULL: Duration = Duration::from_secs(120);

const RETRIES: &str = r#"
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: careless, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: careless }]
  retries: { attempts: 2, on: [gateway-error, reset], safe: methods, budget: { percent: 100, minPerSecond: 10 } }
"#;

/// How long the load lasts: 120 s in the full form (`WEFT_ROLLING_SECONDS=120`).
fn duration() -> Duration {
    let seconds = env::var("WEFT_ROLLING_SECONDS").map_or(20, |text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds)
}

/// What stands behind a sidecar.
enum Served {
    Http(Application),
    Grpc(Reviews),
}

/// One instance: its application and its sidecar.
struct Instance {
    sidecar: Sidecar,
    served: Served,
}

impl Instance {
    async fn start(mesh: &Mesh, account: &str, number: usize) -> Self {
        let (served, port) = match account {
            "stock" => (Served::Http(Application::echo("hello\n").await), "tcp"),
            "ratings" => (Served::Grpc(Reviews::start().await.unwrap()), "calls"),
            "careless" => (Served::Http(Application::careless("careless", UNTIL_CLOSED).await), "http"),
            _ => (Served::Http(Application::http("reviews").await), "http"),
        };
        let address = match &served {
            Served::Http(application) => application.address,
            Served::Grpc(application) => application.address,
        };
        let name = format!("{account}-{number}");
        let plan = Plan::new(&name, account).application(port, address);
        let sidecar = mesh.start_process(&plan).await.unwrap();
        eventually("its registration", async || {
            let items = mesh.client().workloads().await.unwrap().items;
            items.iter().any(|item| item.name == name && item.state == WorkloadState::Registered).then_some(())
        })
        .await;
        Self { sidecar, served }
    }

    /// Its sidecar drains; its application goes last. Adds the changes that it has seen.
    async fn leave(mut self, changes: &mut Vec<String>) {
        self.sidecar.drain(LEAVE).await.unwrap();
        self.changes(changes);
    }

    fn changes(&self, changes: &mut Vec<String>) {
        if let Served::Http(application) = &self.served {
            let is_change = |line: &String| CHANGES.iter().any(|method| line.starts_with(method));
            changes.extend(application.seen().into_iter().map(|it| it.line).filter(is_change));
        }
    }
}

async fn caller(mesh: &Mesh, number: usize) -> Sidecar {
    mesh.start_process(&Plan::new(&format!("web-{number}"), "web").calls("shop/stock:9000")).await.unwrap()
}

/// Requests whose record at the inbound side says that the application closed the connection.
fn cut(processes: &Path, method: &str) -> usize {
    let logs = fs::read_dir(processes).unwrap().map(|entry| entry.unwrap().path());
    let of_careless = logs.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("careless-") && name.ends_with(".access.log")
    });
    let gone = |line: &&str| {
        line.contains("\"outcome\":\"upstream-gone\"") && line.contains(&format!("\"method\":\"{method}\""))
    };
    of_careless.map(|log| fs::read_to_string(log).unwrap().lines().filter(gone).count()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn replacing_every_instance_and_every_sidecar_under_load_loses_nothing() {
    let mesh = Mesh::start().await.unwrap();
    for (service, port) in [("reviews", HTTP), ("careless", HTTP), ("ratings", GRPC), ("stock", TCP)] {
        mesh.apply(&open_service(service, service, &[port])).await.unwrap();
    }
    mesh.apply(RETRIES).await.unwrap();
    let mut instances = Vec::new();
    for account in ["reviews", "reviews", "reviews", "ratings", "ratings", "careless", "careless", "stock", "stock"] {
        instances.push((account, Instance::start(&mesh, account, instances.len()).await));
    }
    let mut web = caller(&mesh, 0).await;
    let load = Load::new(Target::at(&web).await);
    let (begun, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let each = Arc::clone(&load);
    let running = tokio::spawn(open_loop(RATE, Arc::clone(&over), move |number, _| Arc::clone(&each).one(number)));
    let (mut number, mut rounds, mut changes) = (instances.len(), 0, Vec::new());
    while rounds == 0 || begun.elapsed() < duration() {
        for (account, slot) in &mut instances {
            let next = Instance::start(&mesh, account, number).await;
            number += 1;
            std::mem::replace(slot, next).leave(&mut changes).await;
        }
        let next = caller(&mesh, number).await;
        number += 1;
        load.aim(Target::at(&next).await);
        std::mem::replace(&mut web, next).drain(LEAVE).await.unwrap();
        rounds += 1;
    }
    over.store(true, Ordering::Relaxed);
    let sent = running.await.unwrap();
    let seconds = begun.elapsed().as_secs();
    for (_, instance) in &instances {
        instance.changes(&mut changes);
    }
    let seen = changes.len();
    changes.sort_unstable();
    changes.dedup();

    let outcome = load.outcome();
    let processes = mesh.folder().join("processes");
    let (cut_posts, cut_gets) = (cut(&processes, "POST"), cut(&processes, "GET"));
    let summary = format!(
        "{sent} sent in {seconds} s ({}) while {number} sidecar processes and their instances were replaced one after the \
         other in {rounds} rounds: {} lost, {} of {seen} POST, PUT, PATCH and DELETE seen twice; {} POSTs answered 502 as upstream closed \
         (records: {cut_posts}), {cut_gets} GETs cut in the same way and repeated",
        outcome.kinds,
        outcome.lost.len(),
        seen - changes.len(),
        outcome.upstream_closed,
    );
    println!("{summary}");
    let passed = outcome.lost.is_empty() && seen == changes.len();
    if duration() >= FULL {
        let passed = if passed { "passed" } else { "**failed**" };
        let command = "cargo xtask test --suite hold --full";
        record("rolling replacement under load", &format!("{passed}: {summary}"), command).unwrap();
    }
    assert!(passed, "{summary}\n{}", outcome.lost.join("\n"));
    // Without them the careless application would show nothing, and without records nobody could count them.
    assert!(cut_gets > 0 && outcome.upstream_closed > 0 && cut_posts == outcome.upstream_closed, "{summary}");
    // The machine may be slow, but it was a load; a run that is recorded was the whole load.
    let share = if duration() >= FULL { 95 } else { 50 };
    assert!(sent * 100 >= u64::from(RATE) * seconds * share, "only {sent} in {seconds} s");
}
