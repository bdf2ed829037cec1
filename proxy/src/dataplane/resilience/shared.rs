//! What all workers of a proxy hold together of one service port.
use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use tokio::sync::Notify;
use weft_decide::{Budget, Circuit, LimitKind, Shares};
use weft_ir::{Limits, ServiceKey};

/// What is shared, by service port: of every cluster and of every host's own service.
pub(in crate::dataplane) type Table = HashMap<ServiceKey, Arc<Shared>>;

/// The proxy-wide state of one service port. It outlives changes of its policies.
#[derive(Debug, Default)]
pub(in crate::dataplane) struct Shared {
    /// The breaker's state.
    pub(in crate::dataplane) circuit: Arc<Circuit>,
    /// By [`LimitKind`], each made with its first limit.
    limits: [OnceLock<Arc<Shares>>; 3],
    /// Made by the first worker that sends a request.
    budget: OnceLock<Arc<Budget>>,
    /// How many wait for a connection.
    waiting: AtomicU32,
    /// Told when a connection ends and somebody waits.
    pub(super) freed: Notify,
    /// Told when somebody waits: unused connections make room.
    pub(super) wanted: Notify,
}

/// The limit on what, as a policy says it.
pub(super) fn most(limits: &Limits, kind: LimitKind) -> Option<NonZeroU32> {
    match kind {
        LimitKind::Connections => limits.max_connections,
        // Over HTTP/2 requests may wait without a limit on connections: for a peer that takes no more streams.
        LimitKind::Pending => {
            limits.max_pending.or_else(|| limits.max_connections.map(|_| Limits::DEFAULT_MAX_PENDING))
        }
        LimitKind::Requests => limits.max_requests,
    }
}

impl Shared {
    /// Takes a cluster's limits: for the control thread.
    pub(super) fn limit(&self, limits: &Limits, workers: usize) {
        for kind in [LimitKind::Connections, LimitKind::Pending, LimitKind::Requests] {
            if let (Some(most), Some(cell)) = (most(limits, kind), self.limits.get(kind as usize)) {
                let shares = cell.get_or_init(|| Arc::new(Shares::new(most.get(), workers)));
                if shares.limit() != most.get() {
                    shares.resize(most.get());
                }
            }
        }
    }

    /// What is left of a limit, if there ever was one.
    pub(super) fn shares(&self, kind: LimitKind) -> Option<&Arc<Shares>> {
        self.limits.get(kind as usize)?.get()
    }

    /// The budget of its requests' repetitions.
    pub(super) fn budget(&self, workers: usize) -> &Arc<Budget> {
        self.budget.get_or_init(|| Arc::new(Budget::new(workers)))
    }

    /// Whether anybody waits for a connection.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    /// Somebody waits for a connection until what is returned is dropped. To be called before the last look for one: who
    /// ends a connection looks for waiters afterwards.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, SeqCst);
        Waiting(self)
    }
}

/// One that waits for a connection.
pub(super) struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}
