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
    service::stock,
};

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

/// Load with scheduled sends: HTTP through one sidecar's outbound listener and, every tenth, TCP on a connection (and
/// mesh TLS session) of its own.
pub(super) struct Load {
    shared: Rc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    sent: Cell<u64>,
    finished: Cell<u64>,
    failures: RefCell<Vec<String>>,
    stop: Cell<bool>,
}

/// What a [`Load`] came to.
pub(super) struct Outcome {
    pub(super) requests: u64,
    pub(super) failures: Vec<String>,
    pub(super) seconds: f64,
}

impl Load {
    /// Starts `rate` requests a second to `http://<host>/` by `outbound`, a tenth of them to `stock` instead, and a
    /// tenth of the HTTP ones on connections of their own.
    pub(super) fn start(outbound: SocketAddr, host: &'static str, stock: SocketAddr, rate: u32) -> Self {
        let shared = Rc::<Shared>::default();
        let client = Rc::new(Client::new(outbound));
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
                        let failure = one(&client, host, stock, number).await.err();
                        shared.failures.borrow_mut().extend(failure);
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
        Outcome { requests: shared.sent.get(), failures, seconds }
    }
}

async fn one(client: &Client, host: &str, stock: SocketAddr, number: u32) -> Result<(), String> {
    if number.is_multiple_of(10) {
        let item = format!("item {number}");
        let answer = stock::ask(stock, "echo", item.as_bytes()).await.map_err(|error| format!("stock: {error}"))?;
        let answer = String::from_utf8_lossy(&answer);
        return if answer == item { Ok(()) } else { Err(format!("stock answered {answer:?} to {item:?}")) };
    }
    let reuse = if number % 10 == 5 { Reuse::Fresh } else { Reuse::Kept };
    let reply = client.fetch(host, "/", &[], reuse).await.map_err(|failure| failure.to_string())?;
    if reply.status.is_success() {
        Ok(())
    } else {
        Err(format!("{host} answered {}: {}", reply.status, String::from_utf8_lossy(&reply.body)))
    }
}
