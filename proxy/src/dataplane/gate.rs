//! How much a data plane holds at most, over all of its workers, and what it sheds where that is not enough.
use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use weft_decide::{Pressure, Resource};

use super::settings::Limits;

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Accepted connections that are open.
    Connections,
    /// Inbound connections whose client has not yet proven who it is.
    Handshakes,
    /// Connections to upstreams and to the application.
    Upstreams,
    /// No number: new connections are shed ([`Pressure::Connections`]).
    Pressure,
}

impl Limit {
    /// Those that turn connections away, in the order of their counts.
    pub(super) const TURN_AWAY: [Self; 3] = [Self::Connections, Self::Handshakes, Self::Pressure];

    /// Its name in metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Handshakes => "handshakes",
            Self::Upstreams => "upstreams",
            Self::Pressure => "pressure",
        }
    }
}

/// The bounds and what is held against them. All workers write what is held, when a connection begins and ends and never
/// for a request: a share for each worker would refuse on one what another has room for.
#[derive(Debug)]
pub(super) struct Gate {
    told: Told,
    limits: Limits,
    held: Held,
}

/// What the control thread has told: every request reads it, so that it shares no cache line with what connections write.
#[derive(Debug)]
#[repr(align(128))]
struct Told {
    /// What is shed, and sixteen times the number of what is short.
    pressure: AtomicU8,
    /// How many descriptors there are for connections, of both sides together.
    descriptors: AtomicUsize,
    /// How many bytes of memory were free for each worker's new requests at the last look.
    room: AtomicU64,
    /// The number of that look.
    look: AtomicU32,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Held {
    connections: AtomicUsize,
    handshakes: AtomicUsize,
    upstreams: AtomicUsize,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        let told = Told {
            pressure: AtomicU8::new(Pressure::None as u8),
            descriptors: AtomicUsize::new(usize::MAX),
            room: AtomicU64::new(u64::MAX),
            look: AtomicU32::new(0),
        };
        Arc::new(Self { told, limits, held: Held::default() })
    }

    /// What is shed from now on, for lack of what.
    pub(super) fn shed(&self, pressure: Pressure, short: Resource) {
        self.told.pressure.store(pressure as u8 | ((short as u8) << 4), Ordering::Relaxed);
    }

    /// How many descriptors there are for connections, of both sides together.
    pub(super) fn descriptors(&self, count: usize) {
        self.told.descriptors.store(count, Ordering::Relaxed);
    }

    /// How many bytes of memory are free for each worker's new requests, from a look at them now.
    pub(super) fn room(&self, bytes: u64) {
        self.told.room.store(bytes, Ordering::Relaxed);
        self.told.look.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of the last look, and how many bytes were free at it.
    pub(super) fn looked(&self) -> (u32, u64) {
        (self.told.look.load(Ordering::Relaxed), self.told.room.load(Ordering::Relaxed))
    }

    /// What is shed.
    pub(super) fn pressure(&self) -> Pressure {
        (self.told.pressure.load(Ordering::Relaxed) & 0xf).into()
    }

    /// What there is too little of, where anything is shed.
    pub(super) fn short(&self) -> Resource {
        let number = self.told.pressure.load(Ordering::Relaxed) >> 4;
        Resource::ALL.get(usize::from(number)).copied().unwrap_or(Resource::Memory)
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

    /// A place for a connection that we make; `None` where there is no descriptor for it.
    pub(super) fn outgoing(self: &Arc<Self>) -> Option<Outgoing> {
        self.enter(Limit::Upstreams).then(|| Outgoing(self.clone()))
    }

    fn of(&self, limit: Limit) -> (&AtomicUsize, usize) {
        let Self { told, limits, held } = self;
        // An accepted connection may need another one: each side has half.
        let half = told.descriptors.load(Ordering::Relaxed) / 2;
        match limit {
            Limit::Connections | Limit::Pressure => (&held.connections, limits.connections.min(half)),
            Limit::Handshakes => (&held.handshakes, limits.handshakes),
            Limit::Upstreams => (&held.upstreams, half),
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

/// The place of a connection that we made, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Outgoing(Arc<Gate>);

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.0.leave(Limit::Upstreams);
    }
}
