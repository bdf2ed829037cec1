//! The limit on a cluster's connections: who may make one, and who waits.
use std::{cell::Cell, future::pending, pin::pin, rc::Rc};

use tokio::{
    sync::Notify,
    task::{AbortHandle, spawn_local},
    time::{Instant, timeout_at},
};
use weft_decide::{Held, LimitKind, Refusal};
use weft_ir::Cluster;

use super::{Local, shared};
use crate::dataplane::{
    http2::Links,
    pool::{Belongs, Pool},
};

/// The right to one connection: kept as long as the connection, in use or in the pool.
#[derive(Debug)]
pub(in crate::dataplane) struct Connection {
    held: Option<Held>,
    local: Rc<Local>,
}

impl Connection {
    /// The worker's state of its cluster: who is told when it rests.
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
    /// Over a connection that was there.
    Reused(T),
    /// Over one that is to be made; with the right to it where the cluster limits them.
    New(Option<Connection>),
}

/// What a look for a connection that is there comes to.
#[derive(Debug)]
pub(in crate::dataplane) enum Look<T> {
    /// There is one, or a place on one.
    Found(T),
    /// There is none: one may be made.
    Nothing,
    /// There is none, and none is to be made: one is being made already, or as many are there as may be. It is worth
    /// another look when [`Places`] tells.
    Wait,
}

/// Tells those who wait for a place on the connections to one endpoint that there may be one.
#[derive(Debug, Default)]
pub(in crate::dataplane) struct Places {
    waiting: Cell<u32>,
    told: Notify,
}

impl Places {
    /// Whether anybody waits.
    pub(in crate::dataplane) fn are_wanted(&self) -> bool {
        self.waiting.get() > 0
    }

    /// One place may have come free.
    pub(in crate::dataplane) fn one(&self) {
        if self.are_wanted() {
            self.told.notify_one();
        }
    }

    /// There may be many, or none that is worth waiting for.
    pub(in crate::dataplane) fn all(&self) {
        self.told.notify_waiters();
    }

    /// Looks until a look says something else than [`Look::Wait`].
    pub(in crate::dataplane) async fn look<T>(&self, mut look: impl FnMut() -> Look<T>) -> Option<T> {
        loop {
            let mut told = pin!(self.told.notified());
            told.as_mut().enable();
            match look() {
                Look::Found(found) => return Some(found),
                Look::Nothing => return None,
                Look::Wait => {}
            }
            let _waiting = Counted::begin(&self.waiting);
            told.await;
        }
    }
}

/// A worker's unused connections of either version of HTTP.
#[derive(Clone)]
pub(in crate::dataplane) struct Unused {
    pub(in crate::dataplane) pool: Rc<Pool>,
    pub(in crate::dataplane) links: Rc<Links>,
}

impl Unused {
    /// Closes one of a cluster; whether there was one. What HTTP/2 used is closed in this worker's next turn: it
    /// takes leave of the other side first.
    fn evict(&self, cluster: &Belongs) -> bool {
        self.pool.evict(cluster) || self.links.evict(cluster)
    }
}

/// A connection that is there, or the right to make one. Where the limit is reached, an unused connection to another
/// endpoint of the cluster is closed; where there is none, or what is there has no place, the request waits, at most as
/// long as connecting may take. `places` tells of connections that many requests share.
///
/// # Errors
/// The limit on connections, or the limit on those who wait.
pub(in crate::dataplane) async fn room<T>(
    local: &Rc<Local>,
    cluster: &Cluster,
    unused: &Unused,
    places: Option<&Places>,
    mut look: impl FnMut() -> Look<T>,
) -> Result<Room<T>, Refusal> {
    let first = look();
    match first {
        Look::Found(conn) => return Ok(Room::Reused(conn)),
        Look::Nothing if cluster.limits.max_connections.is_none() => return Ok(Room::New(None)),
        Look::Nothing | Look::Wait => {}
    }
    let belongs = Belongs::to(cluster);
    let most = cluster.limits.max_connections;
    let is_limited = most.is_some();
    if is_limited {
        local.evictor.get_or_init(|| evictor(local, unused, cluster));
    }
    // `None`: neither is there.
    let settle = |found: Look<T>, may_evict: bool| match found {
        Look::Found(conn) => Some(Room::Reused(conn)),
        Look::Wait => None,
        Look::Nothing if !is_limited => Some(Room::New(None)),
        Look::Nothing => {
            let held = match local.take(cluster, LimitKind::Connections) {
                Err(_) if may_evict && unused.evict(&belongs) => local.take(cluster, LimitKind::Connections),
                taken => taken,
            };
            Some(Room::New(Some(Connection { held: held.ok()?, local: local.clone() })))
        }
    };
    // Whether it wants a connection of its own: who does not must not be told of one that came free, another would miss it.
    let mut wants = matches!(first, Look::Nothing);
    if let Some(room) = settle(first, true) {
        return Ok(room);
    }
    let _pending = local.take(cluster, LimitKind::Pending)?;
    let deadline = most.map(|most| (most, Instant::now() + cluster.connect_timeout));
    let _waiting = is_limited.then(|| Waiting::begin(local));
    let _place = places.map(|places| Counted::begin(&places.waiting));
    // What was evicted may be on its way out: it is waited for before another is.
    let (mut asks, mut may_evict) = (true, false);
    loop {
        let (mut freed, mut own) = (pin!(local.shared.freed.notified()), pin!(local.pooled.notified()));
        let mut told = pin!(places.map(|places| places.told.notified()));
        // From here on no end of a connection is missed.
        if wants {
            freed.as_mut().enable();
            own.as_mut().enable();
        }
        if let Some(told) = told.as_mut().as_pin_mut() {
            told.enable();
        }
        if is_limited && wants && asks {
            local.shared.wanted.notify_waiters();
        }
        let found = look();
        let wants_now = matches!(found, Look::Nothing);
        if !matches!(found, Look::Found(_)) && wants_now != wants {
            wants = wants_now;
            continue;
        }
        if let Some(room) = settle(found, may_evict) {
            if is_limited && matches!(room, Room::Reused(_)) {
                // What has woken it may have been a connection that came free.
                local.shared.freed.notify_one();
            }
            return Ok(room);
        }
        let told = async {
            match told.as_pin_mut() {
                Some(told) => told.await,
                None => pending().await,
            }
        };
        let woken = async {
            tokio::select! {
                () = freed, if wants => true,
                () = own, if wants => true,
                () = told => false,
            }
        };
        asks = match deadline {
            None => woken.await,
            Some((most, deadline)) => match timeout_at(deadline, woken).await {
                Ok(freed) => freed,
                Err(_) => return Err(local.reached(LimitKind::Connections, most)),
            },
        };
        may_evict = asks;
    }
}

/// Closes an unused connection of this worker whenever somebody waits for one, at whatever worker.
fn evictor(local: &Local, unused: &Unused, cluster: &Cluster) -> AbortHandle {
    let (shared, unused, belongs) = (local.shared.clone(), unused.clone(), Belongs::to(cluster));
    let evict = async move {
        loop {
            shared.wanted.notified().await;
            unused.evict(&belongs);
        }
    };
    spawn_local(evict).abort_handle()
}

/// Counts one more until it is dropped.
struct Counted<'a>(&'a Cell<u32>);

impl<'a> Counted<'a> {
    fn begin(count: &'a Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// One that waits, as its own worker and the others see it.
struct Waiting<'a> {
    _local: Counted<'a>,
    _shared: shared::Waiting<'a>,
}

impl<'a> Waiting<'a> {
    fn begin(local: &'a Local) -> Self {
        Self { _local: Counted::begin(&local.waiting), _shared: local.shared.wait() }
    }
}
