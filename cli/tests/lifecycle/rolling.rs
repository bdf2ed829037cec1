//! Every instance and every sidecar is replaced, one after the other, under load: nothing is lost.
use std::{
    env, io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use weft_control_plane::wire::WorkloadState;
use weft_harness::{Application, Connection, Mesh, Plan, eventually};

use crate::sidecar::Sidecar;

pub(crate) const OBJECTS: &str = r#"
{ apiVersion: v1, kind: Service, metadata: { name: reviews, namespace: shop },
  spec: { selector: { app: reviews }, ports: [{ name: http, port: 80, targetPort: http }] } }
---
{ apiVersion: v1, kind: Service, metadata: { name: stock, namespace: shop },
  spec: { selector: { app: stock }, ports: [{ name: tcp, port: 9000, targetPort: tcp }] } }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: open, namespace: shop }
spec:
  targetRefs:
    - { group: "", kind: Service, name: reviews }
    - { group: "", kind: Service, name: stock }
  rules: [{ action: Allow, from: [{ namespace: shop, account: web }] }]
"#;

/// Requests a second over HTTP, and connections a second over TCP.
const HTTP: u32 = 950;
const TCP: u32 = 50;
/// What has not been answered by then is lost.
const LATE: Duration = Duration::from_secs(10);

/// How long the load lasts: 120 s in the full form (`WEFT_ROLLING_SECONDS=120`).
fn duration() -> Duration {
    let seconds = env::var("WEFT_ROLLING_SECONDS").map_or(20, |text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds)
}

/// Where the load goes, and what has come of it.
struct Load {
    /// The outbound and the TCP listener of the caller's sidecar of the moment.
    target: Mutex<(SocketAddr, SocketAddr)>,
    /// Connections that have nothing under way, and where they lead.
    idle: Mutex<Vec<(SocketAddr, Connection)>>,
    done: AtomicU64,
    lost: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Load {
    fn new(web: &Sidecar) -> Arc<Self> {
        let target = Mutex::new((web.outbound(), web.tcp()));
        let (idle, lost) = (Mutex::default(), Mutex::default());
        Arc::new(Self { target, idle, done: AtomicU64::new(0), lost, over: AtomicBool::new(false) })
    }

    fn target(&self) -> (SocketAddr, SocketAddr) {
        *self.target.lock().unwrap()
    }

    /// One request, every fifth a POST, which nobody may send twice.
    async fn request(&self, number: u64) -> io::Result<()> {
        let (address, _) = self.target();
        let kept = {
            let mut idle = self.idle.lock().unwrap();
            idle.retain(|(leads, _)| *leads == address);
            idle.pop()
        };
        let mut connection = match kept {
            Some((_, connection)) => connection,
            None => match Connection::open(address).await {
                Ok(connection) => connection,
                // The sidecar was replaced between the look and the call: nothing was sent.
                Err(_) if self.target().0 != address => Connection::open(self.target().0).await?,
                Err(error) => return Err(error),
            },
        };
        let method = if number.is_multiple_of(5) { "POST" } else { "GET" };
        let head = format!("{method} /{number} HTTP/1.1\r\nHost: reviews\r\nContent-Length: 0\r\n\r\n");
        connection.send(head.as_bytes()).await?;
        let reply = connection.receive().await?;
        if reply.status != 200 {
            return Err(io::Error::other(format!("{method} was answered {}: {}", reply.status, reply.text())));
        }
        if reply.header("connection") != Some("close") {
            self.idle.lock().unwrap().push((address, connection));
        }
        Ok(())
    }

    /// One connection: the server's greeting, and our bytes back.
    async fn connection(&self) -> io::Result<()> {
        let (_, address) = self.target();
        let mut stream = match TcpStream::connect(address).await {
            Err(_) if self.target().1 != address => TcpStream::connect(self.target().1).await?,
            connected => connected?,
        };
        stream.write_all(b"ping").await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        if answer == b"hello\nping" { Ok(()) } else { Err(io::Error::other(format!("{answer:?} came back"))) }
    }

    async fn one(self: Arc<Self>, number: u64, tcp: bool) {
        let outcome =
            match timeout(LATE, async { if tcp { self.connection().await } else { self.request(number).await } }).await
            {
                Ok(outcome) => outcome,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
        match outcome {
            Ok(()) => drop(self.done.fetch_add(1, Ordering::Relaxed)),
            Err(error) => {
                let what = if tcp { "TCP" } else { "HTTP" };
                self.lost.lock().unwrap().push(format!("{what} {number}: {error}"));
            }
        }
    }

    /// Sends by the clock, whatever has become of what was sent before.
    async fn run(self: Arc<Self>) -> u64 {
        let (begun, mut sent) = (Instant::now(), 0);
        let mut under_way = tokio::task::JoinSet::new();
        while !self.over.load(Ordering::Relaxed) {
            let due = (begun.elapsed().as_secs_f64() * f64::from(HTTP + TCP)) as u64;
            while sent < due {
                let tcp = sent.is_multiple_of(u64::from((HTTP + TCP) / TCP));
                under_way.spawn(Arc::clone(&self).one(sent, tcp));
                sent += 1;
            }
            while under_way.try_join_next().is_some() {}
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        while under_way.join_next().await.is_some() {}
        sent
    }
}

/// One instance: its application and its sidecar.
struct Instance {
    sidecar: Sidecar,
    application: Application,
}

async fn instance(mesh: &Mesh, account: &str, number: usize) -> Instance {
    let (application, port) = match account {
        "stock" => (Application::echo("hello\n").await, "tcp"),
        _ => (Application::http("reviews").await, "http"),
    };
    let name = format!("{account}-{number}");
    let plan = Plan::new(&name, account).application(port, application.address);
    let sidecar = Sidecar::start(mesh, &plan).await;
    eventually("its registration", async || {
        let items = mesh.client().workloads().await.unwrap().items;
        items.iter().any(|item| item.name == name && item.state == WorkloadState::Registered).then_some(())
    })
    .await;
    Instance { sidecar, application }
}

async fn caller(mesh: &Mesh, number: usize) -> Sidecar {
    Sidecar::start(mesh, &Plan::new(&format!("web-{number}"), "web").calls("shop/stock:9000")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn replacing_every_instance_and_every_sidecar_under_load_loses_nothing() {
    let mesh = Mesh::start().await.unwrap();
    mesh.apply(OBJECTS).await.unwrap();
    let mut instances = Vec::new();
    for account in ["reviews", "reviews", "reviews", "stock", "stock"] {
        instances.push((account, instance(&mesh, account, instances.len()).await));
    }
    let mut web = caller(&mesh, 0).await;
    let load = Load::new(&web);
    let (begun, running) = (Instant::now(), tokio::spawn(Arc::clone(&load).run()));
    let (mut number, mut rounds) = (instances.len(), 0);
    while rounds == 0 || begun.elapsed() < duration() {
        for (account, slot) in &mut instances {
            // The next one first, then the old one's sidecar drains; its application goes last.
            let next = instance(&mesh, account, number).await;
            number += 1;
            let Instance { sidecar, application } = std::mem::replace(slot, next);
            sidecar.leave().await;
            drop(application);
        }
        let next = caller(&mesh, number).await;
        number += 1;
        *load.target.lock().unwrap() = (next.outbound(), next.tcp());
        std::mem::replace(&mut web, next).leave().await;
        rounds += 1;
    }
    load.over.store(true, Ordering::Relaxed);
    let sent = running.await.unwrap();
    let (done, lost) = (load.done.load(Ordering::Relaxed), load.lost.lock().unwrap());
    let seconds = begun.elapsed().as_secs();
    println!("{sent} sent in {seconds} s, {done} answered, {} lost, {number} sidecars in {rounds} rounds", lost.len());
    assert!(lost.is_empty() && done == sent, "{} of {sent} lost:\n{}", lost.len(), lost.join("\n"));
    // The machine may be slow, but it was a load.
    assert!(sent >= u64::from(HTTP + TCP) * seconds / 2, "only {sent} in {seconds} s");
}
