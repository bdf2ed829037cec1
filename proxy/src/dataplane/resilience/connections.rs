//! The limit on a cluster's connections: who may make one, and who waits.
use std::{pin::pin, rc::Rc};

use tokio::{
    task::{AbortHandle, spawn_local},
    time::{Instant, timeout_at},
};
use weft_decide::{Held, LimitKind, Refusal};
use weft_ir::Cluster;

use super::{Local, shared};
use crate::dataplane::pool::Pool;

/// The right to one connection: kept as long as the connection, in use or in the pool.
#[derive(Debug)]
pub(in crate::dataplane) struct Connection {
    held: Option<Held>,
    local: Rc<Local>,
}

impl Connection {
    /// Whether it may rest in the pool: not where only other workers' requests wait for one.
    pub(in crate::dataplane) fn may_rest(&self) -> bool {
        self.local.waiting.get() > 0 || !self.local.shared.is_wanted()
    }

    /// Who is told when it rests.
    pub(in crate::dataplane) fn local(&self) -> &Rc<Local> {
        &self.local
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.held.take();
        // Read after the unit is back: who waits counts itself before it looks for one.
        if self.local.shared.is_wanted() {
            self.local.shared.freed.notify_one();
        }
    }
}

/// Where a request goes out.
#[derive(Debug)]
pub(in crate::dataplane) enum Room<T> {
    /// Over a connection that the pool had.
    Reused(T),
    /// Over one that is to be made; with the right to it where the cluster limits them.
    New(Option<Connection>),
}

/// A connection of the pool, or the right to make one. Where the limit is reached, an unused connection to another
/// endpoint of the cluster is closed; where there is none, the request waits, at most as long as connecting may take.
///
/// # Errors
/// The limit on connections, or the limit on those who wait.
pub(in crate::dataplane) async fn room<T>(
    local: &Rc<Local>,
    cluster: &Cluster,
    pool: &Rc<Pool>,
    mut pooled: impl FnMut() -> Option<T>,
) -> Result<Room<T>, Refusal> {
    if let Some(conn) = pooled() {
        return Ok(Room::Reused(conn));
    }
    if cluster.limits.max_connections.is_none() {
        return Ok(Room::New(None));
    }
    let sni = &*cluster.tls.sni;
    local.evictor.get_or_init(|| evictor(local, pool, sni));
    let take = || {
        let held = match local.take(cluster, LimitKind::Connections) {
            Err(_) if pool.evict(sni) => local.take(cluster, LimitKind::Connections)?,
            taken => taken?,
        };
        Ok(Connection { held, local: local.clone() })
    };
    let full = match take() {
        Ok(connection) => return Ok(Room::New(Some(connection))),
        Err(full) => full,
    };
    let _pending = local.take(cluster, LimitKind::Pending)?;
    let deadline = Instant::now() + cluster.connect_timeout;
    let _waiting = Waiting::begin(local);
    loop {
        let (mut freed, mut own) = (pin!(local.shared.freed.notified()), pin!(local.pooled.notified()));
        // From here on no end of a connection is missed.
        freed.as_mut().enable();
        own.as_mut().enable();
        local.shared.wanted.notify_waiters();
        if let Some(conn) = pooled() {
            return Ok(Room::Reused(conn));
        }
        if let Ok(connection) = take() {
            return Ok(Room::New(Some(connection)));
        }
        let woken = async {
            tokio::select! {
                () = freed => {}
                () = own => {}
            }
        };
        if timeout_at(deadline, woken).await.is_err() {
            return Err(full);
        }
    }
}

/// Closes an unused connection of this worker whenever somebody waits for one, at whatever worker.
fn evictor(local: &Local, pool: &Rc<Pool>, sni: &str) -> AbortHandle {
    let (shared, pool, sni) = (local.shared.clone(), pool.clone(), sni.to_owned());
    let evict = async move {
        loop {
            shared.wanted.notified().await;
            pool.evict(&sni);
        }
    };
    spawn_local(evict).abort_handle()
}

/// One that waits, as its own worker and the others see it.
struct Waiting<'a> {
    local: &'a Local,
    _shared: shared::Waiting<'a>,
}

impl<'a> Waiting<'a> {
    fn begin(local: &'a Local) -> Self {
        local.waiting.set(local.waiting.get() + 1);
        Self { local, _shared: local.shared.wait() }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.local.waiting.set(self.local.waiting.get() - 1);
    }
}
