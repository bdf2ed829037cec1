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

use tokio::time::timeout;
use weft_control_plane::wire::WorkloadState;
use weft_harness::{
    Application, Connection, Mesh, Plan, Pool, echoed, eventually,
    objects::{HTTP, TCP, open_service},
    open_loop,
    process::Sidecar,
};

/// Requests a second over HTTP, and connections a second over TCP.
const REQUESTS: u32 = 950;
const CONNECTIONS: u32 = 50;
/// What has not been answered by then is lost.
const LATE: Duration = Duration::from_secs(10);

/// How long the load lasts: 120 s in the full form (`WEFT_ROLLING_SECONDS=120`).
fn duration() -> Duration {
    let seconds = env::var("WEFT_ROLLING_SECONDS").map_or(20, |text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds)
}

/// A sidecar that is asked to leave has that long.
const LEAVE: Duration = Duration::from_secs(30);

/// Where the load goes, and what has come of it.
struct Load {
    /// The outbound and the TCP listener of the caller's sidecar of the moment.
    target: Mutex<(SocketAddr, SocketAddr)>,
    pool: Pool,
    done: AtomicU64,
    lost: Mutex<Vec<String>>,
}

impl Load {
    fn new(web: &Sidecar) -> Arc<Self> {
        let (target, lost) = (Mutex::new(listeners(web)), Mutex::default());
        Arc::new(Self { target, pool: Pool::default(), done: AtomicU64::new(0), lost })
    }

    fn target(&self) -> (SocketAddr, SocketAddr) {
        *self.target.lock().unwrap()
    }

    /// One request, every fifth a POST, which nobody may send twice.
    async fn request(&self, number: u64) -> io::Result<()> {
        let (mut address, _) = self.target();
        let mut connection = match self.pool.take(address).await {
            Ok(connection) => connection,
            // The sidecar was replaced between the look and the call: nothing was sent.
            Err(_) if self.target().0 != address => {
                address = self.target().0;
                Connection::open(address).await?
            }
            Err(error) => return Err(error),
        };
        let method = if number.is_multiple_of(5) { "POST" } else { "GET" };
        let head = format!("{method} /{number} HTTP/1.1\r\nHost: reviews\r\nContent-Length: 0\r\n\r\n");
        connection.send(head.as_bytes()).await?;
        let reply = connection.receive().await?;
        if reply.status != 200 {
            return Err(io::Error::other(format!("{method} was answered {}: {}", reply.status, reply.text())));
        }
        if reply.header("connection") != Some("close") {
            self.pool.keep(address, connection);
        }
        Ok(())
    }

    /// One connection: the server's greeting, and our bytes back.
    async fn connection(&self) -> io::Result<()> {
        let (_, address) = self.target();
        let answer = match echoed(address, b"ping").await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && self.target().1 != address => {
                echoed(self.target().1, b"ping").await?
            }
            answer => answer?,
        };
        if answer == b"hello\nping" { Ok(()) } else { Err(io::Error::other(format!("{answer:?} came back"))) }
    }

    async fn one(self: Arc<Self>, number: u64) {
        let tcp = number.is_multiple_of(u64::from((REQUESTS + CONNECTIONS) / CONNECTIONS));
        let exchange = async { if tcp { self.connection().await } else { self.request(number).await } };
        match timeout(LATE, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => drop(self.done.fetch_add(1, Ordering::Relaxed)),
            Err(error) => {
                let what = if tcp { "TCP" } else { "HTTP" };
                self.lost.lock().unwrap().push(format!("{what} {number}: {error}"));
            }
        }
    }
}

fn listeners(web: &Sidecar) -> (SocketAddr, SocketAddr) {
    (web.outbound().unwrap(), web.tcp("shop/stock:9000").unwrap())
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
    let sidecar = mesh.start_process(&plan).await.unwrap();
    eventually("its registration", async || {
        let items = mesh.client().workloads().await.unwrap().items;
        items.iter().any(|item| item.name == name && item.state == WorkloadState::Registered).then_some(())
    })
    .await;
    Instance { sidecar, application }
}

async fn caller(mesh: &Mesh, number: usize) -> Sidecar {
    mesh.start_process(&Plan::new(&format!("web-{number}"), "web").calls("shop/stock:9000")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn replacing_every_instance_and_every_sidecar_under_load_loses_nothing() {
    let mesh = Mesh::start().await.unwrap();
    mesh.apply(&(open_service("reviews", "reviews", &[HTTP]) + &open_service("stock", "stock", &[TCP]))).await.unwrap();
    let mut instances = Vec::new();
    for account in ["reviews", "reviews", "reviews", "stock", "stock"] {
        instances.push((account, instance(&mesh, account, instances.len()).await));
    }
    let mut web = caller(&mesh, 0).await;
    let load = Load::new(&web);
    let (begun, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let each = Arc::clone(&load);
    let running = tokio::spawn(open_loop(REQUESTS + CONNECTIONS, Arc::clone(&over), move |number, _| {
        Arc::clone(&each).one(number)
    }));
    let (mut number, mut rounds) = (instances.len(), 0);
    while rounds == 0 || begun.elapsed() < duration() {
        for (account, slot) in &mut instances {
            // The next one first, then the old one's sidecar drains; its application goes last.
            let next = instance(&mesh, account, number).await;
            number += 1;
            let Instance { mut sidecar, application } = std::mem::replace(slot, next);
            sidecar.drain(LEAVE).await.unwrap();
            drop(application);
        }
        let next = caller(&mesh, number).await;
        number += 1;
        *load.target.lock().unwrap() = listeners(&next);
        std::mem::replace(&mut web, next).drain(LEAVE).await.unwrap();
        rounds += 1;
    }
    over.store(true, Ordering::Relaxed);
    let sent = running.await.unwrap();
    let (done, lost) = (load.done.load(Ordering::Relaxed), load.lost.lock().unwrap());
    let seconds = begun.elapsed().as_secs();
    println!("{sent} sent in {seconds} s, {done} answered, {} lost, {number} sidecars in {rounds} rounds", lost.len());
    assert!(lost.is_empty() && done == sent, "{} of {sent} lost:\n{}", lost.len(), lost.join("\n"));
    // The machine may be slow, but it was a load.
    assert!(sent >= u64::from(REQUESTS + CONNECTIONS) * seconds / 2, "only {sent} in {seconds} s");
}
