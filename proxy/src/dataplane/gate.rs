//! How many connections a data plane holds at most, over all of its workers.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::settings::Limits;

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Accepted connections that are open.
    Connections,
    /// Inbound connections whose client has not yet proven who it is.
    Handshakes,
}

/// The bounds and what is held against them. All workers write it, when a connection begins and ends and never for a
/// request: a share for each worker would refuse on one what another has room for.
#[derive(Debug)]
pub(super) struct Gate {
    limits: Limits,
    held: [AtomicUsize; 2],
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, held: Default::default() })
    }

    /// Takes a place below the limit; whether there was one.
    pub(super) fn enter(&self, limit: Limit) -> bool {
        let (held, most) = self.of(limit);
        let room = held.fetch_add(1, Ordering::Relaxed) < most;
        if !room {
            held.fetch_sub(1, Ordering::Relaxed);
        }
        room
    }

    /// Gives a place back.
    pub(super) fn leave(&self, limit: Limit) {
        self.of(limit).0.fetch_sub(1, Ordering::Relaxed);
    }

    /// A place below the limit on handshakes; `None` where all are taken.
    pub(super) fn stranger(self: &Arc<Self>) -> Option<Stranger> {
        self.enter(Limit::Handshakes).then(|| Stranger(self.clone()))
    }

    fn of(&self, limit: Limit) -> (&AtomicUsize, usize) {
        let Self { limits, held: [connections, handshakes] } = self;
        match limit {
            Limit::Connections => (connections, limits.connections),
            Limit::Handshakes => (handshakes, limits.handshakes),
        }
    }
}

/// The place of a client that has not yet proven who it is, held until this is dropped.
#[derive(Debug)]
pub(super) struct Stranger(Arc<Gate>);

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.leave(Limit::Handshakes);
    }
}
