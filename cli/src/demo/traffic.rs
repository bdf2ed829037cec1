//! Traffic for the demo: a steady trickle through the shop's front, and counted load for the scripted tour.
use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use tokio::{
    task::{JoinHandle, spawn_local},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    client::{Client, Reuse},
    mesh::Mesh,
    peer::Peer,
    service::{prices, stock},
};
use crate::failure::Failure;

/// Calls the shop's front at a steady rate until it is dropped.
pub(super) struct Trickle {
    task: JoinHandle<()>,
}

impl Trickle {
    /// Starts calling the application at `front`, `rate` times a second; every tenth call asks for the canary.
    pub(super) fn start(front: SocketAddr, rate: u32) -> Self {
        let task = spawn_local(async move {
            let client = Rc::new(Client::new(front));
            let mut ticks = interval(Duration::from_secs(1) / rate);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            for number in 0_u64.. {
                ticks.tick().await;
                let client = Rc::clone(&client);
                spawn_local(async move {
                    let canary: &[_] = if number % 10 == 9 { &[("x-canary", "always")] } else { &[] };
                    // A failed call shows in the sidecars' own counts.
                    let _counted = client.fetch("web", "/", canary, Reuse::Kept).await;
                });
            }
        });
        Self { task }
    }
}

impl Drop for Trickle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Load with scheduled sends: HTTP through one sidecar's outbound listener, a tenth of it on connections of its own; a
/// tenth HTTP at a peer's inbound port, each request on a TLS session of its own, which a sidecar's pool would save; a
/// tenth gRPC; and a tenth TCP, each on a connection and mesh TLS session of its own.
pub(super) struct Load {
    shared: Rc<Shared>,
    task: JoinHandle<()>,
}

/// Where load goes.
pub(super) struct Target {
    /// The sidecar's outbound listener.
    pub(super) outbound: SocketAddr,
    /// The HTTP service, in the namespace `shop`.
    pub(super) host: &'static str,
    /// Who calls the gRPC service through the sidecar.
    pub(super) prices: prices::Caller,
    /// The sidecar's listener for the TCP service.
    pub(super) stock: SocketAddr,
    /// Who calls without the sidecar.
    pub(super) peer: Peer,
    /// The inbound port of an instance of the HTTP service.
    pub(super) inbound: SocketAddr,
}

impl Target {
    /// What catalog calls: reviews over HTTP, prices over gRPC and stock over TCP.
    pub(super) fn of_catalog(mesh: &Mesh) -> Result<Self, Failure> {
        let missing = || Failure::new("a sidecar lacks a listener");
        let caller = mesh.instance("catalog-0")?;
        Ok(Self {
            outbound: caller.bound.outbound.ok_or_else(missing)?,
            host: "reviews",
            prices: mesh.prices("catalog-0")?,
            stock: caller.bound.tcp("shop/stock:9000").ok_or_else(missing)?,
            peer: Peer::like(mesh, "catalog-0"),
            inbound: mesh.instance("reviews-v1-0")?.bound.inbound.ok_or_else(missing)?,
        })
    }
}

#[derive(Default)]
struct Shared {
    sent: Cell<u64>,
    sessions: Cell<u64>,
    finished: Cell<u64>,
    failures: RefCell<Vec<String>>,
    stop: Cell<bool>,
}

/// What a [`Load`] came to.
pub(super) struct Outcome {
    pub(super) requests: u64,
    /// How many of them were HTTP on a TLS session begun for it.
    pub(super) sessions: u64,
    pub(super) failures: Vec<String>,
    pub(super) seconds: f64,
}

impl Load {
    /// Starts `rate` requests a second.
    pub(super) fn start(target: Target, rate: u32) -> Self {
        let shared = Rc::<Shared>::default();
        let client = Rc::new((Client::new(target.outbound), target));
        let task = spawn_local({
            let shared = Rc::clone(&shared);
            async move {
                let start = Instant::now();
                for number in 0_u32.. {
                    // Each send has its own moment, whatever became of the ones before it.
                    sleep_until(start + Duration::from_secs(1) * number / rate).await;
                    if shared.stop.get() {
                        break;
                    }
                    shared.sent.set(shared.sent.get() + 1);
                    let (shared, client) = (Rc::clone(&shared), Rc::clone(&client));
                    spawn_local(async move {
                        let outcome = one(&client.0, &client.1, number).await;
                        shared.sessions.set(shared.sessions.get() + u64::from(outcome == Ok(Session::Http)));
                        shared.failures.borrow_mut().extend(outcome.err());
                        shared.finished.set(shared.finished.get() + 1);
                    });
                }
            }
        });
        Self { shared, task }
    }

    /// Stops sending, waits for what is under way, and says what came of it. `seconds` is for how long it ran.
    pub(super) async fn finish(self, seconds: f64) -> Outcome {
        let Self { shared, task } = self;
        shared.stop.set(true);
        // The task only sends; it ends at its next moment.
        let _ended = task.await;
        super::until(Duration::from_secs(12), async || (shared.finished.get() == shared.sent.get()).then_some(()))
            .await;
        let lost = shared.sent.get() - shared.finished.get();
        let mut failures = shared.failures.take();
        failures.extend((0..lost).map(|_| "never ended".to_owned()));
        Outcome { requests: shared.sent.get(), sessions: shared.sessions.get(), failures, seconds }
    }
}

/// What a request began beside itself.
#[derive(PartialEq, Eq)]
enum Session {
    /// A TLS session for HTTP, counted here.
    Http,
    /// What its sidecar counts.
    Sidecars,
}

async fn one(client: &Client, target: &Target, number: u32) -> Result<Session, String> {
    let Target { host, prices, stock, peer, inbound, .. } = target;
    match number % 10 {
        0 => {
            let item = format!("item {number}");
            let answer =
                stock::ask(*stock, "echo", item.as_bytes()).await.map_err(|error| format!("stock: {error}"))?;
            let answer = String::from_utf8_lossy(&answer);
            if answer == item { Ok(Session::Sidecars) } else { Err(format!("stock answered {answer:?} to {item:?}")) }
        }
        3 => {
            let name = format!("80.{host}.shop.mesh.weft.local");
            let answer = peer.ask(*inbound, &name, host).await.map_err(|failure| failure.to_string())?;
            let line = answer.lines().next().unwrap_or_default();
            if line.starts_with("HTTP/1.1 200") { Ok(Session::Http) } else { Err(format!("{host} answered {line:?}")) }
        }
        7 => {
            let price = prices.quote("cup").await.map_err(|status| prices::refused(status).to_string())?;
            if price.cents == 750 { Ok(Session::Sidecars) } else { Err(format!("a cup costs {}", price.cents)) }
        }
        digit => {
            let reuse = if digit == 5 { Reuse::Fresh } else { Reuse::Kept };
            let reply = client.fetch(host, "/", &[], reuse).await.map_err(|failure| failure.to_string())?;
            if reply.status.is_success() {
                Ok(Session::Sidecars)
            } else {
                Err(format!("{host} answered {}: {}", reply.status, String::from_utf8_lossy(&reply.body)))
            }
        }
    }
}
