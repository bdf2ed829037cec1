//! Refusing everything for a cluster that fails, and finding out when it works again.
//!
//! closed ─ so many errors in a row → open ─ its time is over → half open ─ so many successes → closed;
//! half open ─ one error → open, twice as long.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use weft_ir::Breaker;

use crate::Verdict;

/// The circuit of one cluster, for the whole proxy: one word that workers read for each request, and that is written by
/// errors, by the first success after one, and by probes only. While all is well nobody writes it.
///
/// The policy is an argument of each call, so that the circuit's state outlives a change of it.
#[derive(Debug, Default)]
pub struct Circuit(AtomicU64);

/// The answer to a request that wants to pass.
#[derive(Debug)]
#[must_use = "end it with Circuit::finish"]
pub enum Admission {
    /// The circuit is closed.
    Normal,
    /// The circuit is half open, and this request tries whether the cluster works.
    Probe(Probe),
}

/// The right to be one of the requests that pass while the circuit is half open. Dropping it gives it back without a
/// verdict.
#[derive(Debug)]
pub struct Probe {
    circuit: Arc<Circuit>,
    since: u64,
}

/// Why a request does not pass: the circuit is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tripped {
    /// How long ago it opened, to the millisecond.
    pub open_for: Duration,
    /// When it lets a probe through; zero where all probes that may be are under way.
    pub probes_in: Duration,
}

/// A circuit's state, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Everything passes.
    Closed,
    /// Nothing passes.
    Open,
    /// Probes pass.
    HalfOpen,
}

impl Circuit {
    /// The most probes at once that a policy's number is good for.
    pub const MAX_PROBES: u32 = 1023;

    /// Whether a request may pass. `now` is the time since the proxy's epoch, the same for all workers.
    ///
    /// # Errors
    /// The circuit is open, or half open with all its probes under way.
    pub fn admit(self: &Arc<Self>, policy: &Breaker, now: Duration) -> Result<Admission, Tripped> {
        let now = millis(now);
        let mut word = self.0.load(SeqCst);
        loop {
            let state = State::unpack(word);
            let (since, next) = match state.admit(policy, now) {
                Step::Pass => return Ok(Admission::Normal),
                Step::Refuse(tripped) => return Err(tripped),
                Step::Probe(since, next) => (since, next),
            };
            match self.0.compare_exchange(word, next.pack(), SeqCst, SeqCst) {
                Ok(_) => return Ok(Admission::Probe(Probe { circuit: Arc::clone(self), since })),
                Err(other) => word = other,
            }
        }
    }

    /// A request that was admitted has ended: what that says of the cluster.
    pub fn finish(&self, admission: Admission, verdict: Verdict, policy: &Breaker, now: Duration) {
        let now = millis(now);
        let probe = match &admission {
            Admission::Normal => None,
            Admission::Probe(probe) => Some(probe.since),
        };
        // Where nothing changes, nothing is written.
        let _ = self.0.fetch_update(SeqCst, SeqCst, |word| {
            let next = State::unpack(word).judge(probe, verdict, policy, now).pack();
            (next != word).then_some(next)
        });
        drop(admission);
    }

    /// The state at this time.
    pub fn state(&self, policy: &Breaker, now: Duration) -> CircuitState {
        let state = State::unpack(self.0.load(SeqCst));
        match state.phase {
            Phase::Closed { .. } => CircuitState::Closed,
            Phase::HalfOpen { .. } => CircuitState::HalfOpen,
            Phase::Open { since } if elapsed(since, millis(now)) < state.open_time(policy) => CircuitState::Open,
            Phase::Open { .. } => CircuitState::HalfOpen,
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.circuit.0.fetch_update(SeqCst, SeqCst, |word| {
            let state = State::unpack(word);
            Some(State { under_way: state.under_way.saturating_sub(1), ..state }.pack())
        });
    }
}

/// Milliseconds are kept modulo 2^36: an open time may be up to a year.
const TIME: u64 = (1 << 36) - 1;
const SMALL: u64 = (1 << 10) - 1;
const MAX_TRIPS: u64 = (1 << 6) - 1;

fn millis(now: Duration) -> u64 {
    now.as_millis() as u64 & TIME
}

/// Zero where another worker's clock, which was read a little later, was the one that opened it.
const fn elapsed(since: u64, now: u64) -> u64 {
    let elapsed = now.wrapping_sub(since) & TIME;
    if elapsed > TIME / 2 { 0 } else { elapsed }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed { failures: u32 },
    Open { since: u64 },
    HalfOpen { since: u64, successes: u64 },
}

/// From the lowest bit: 2 bits phase, 10 bits probes under way (of whatever phase they began in), 6 bits how often it has
/// opened since it was last closed, and the phase's own 46.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    phase: Phase,
    under_way: u64,
    trips: u64,
}

enum Step {
    Pass,
    Refuse(Tripped),
    Probe(u64, State),
}

impl State {
    const fn unpack(word: u64) -> Self {
        let own = word >> 18;
        let phase = match word & 3 {
            0 => Phase::Closed { failures: (own & 0xffff_ffff) as u32 },
            1 => Phase::Open { since: own & TIME },
            _ => Phase::HalfOpen { since: own & TIME, successes: own >> 36 },
        };
        Self { phase, under_way: (word >> 2) & SMALL, trips: (word >> 12) & MAX_TRIPS }
    }

    const fn pack(self) -> u64 {
        let (phase, own) = match self.phase {
            Phase::Closed { failures } => (0, failures as u64),
            Phase::Open { since } => (1, since),
            Phase::HalfOpen { since, successes } => (2, successes << 36 | since),
        };
        own << 18 | self.trips << 12 | self.under_way << 2 | phase
    }

    /// How long it stays open this time, in milliseconds: at least one, so that no two openings have one time.
    fn open_time(self, policy: &Breaker) -> u64 {
        let doubled = 1u32.checked_shl(self.trips.saturating_sub(1) as u32).unwrap_or(u32::MAX);
        let open_time = policy.open_time.saturating_mul(doubled).min(policy.max_open_time.max(policy.open_time));
        u64::try_from(open_time.as_millis()).unwrap_or(TIME).clamp(1, TIME / 2)
    }

    fn admit(self, policy: &Breaker, now: u64) -> Step {
        let refuse = |since, probes_in| {
            let open_for = Duration::from_millis(elapsed(since, now));
            Step::Refuse(Tripped { open_for, probes_in: Duration::from_millis(probes_in) })
        };
        let (since, successes) = match self.phase {
            Phase::Closed { .. } => return Step::Pass,
            Phase::Open { since } => match self.open_time(policy).saturating_sub(elapsed(since, now)) {
                0 => (since, 0),
                left => return refuse(since, left),
            },
            Phase::HalfOpen { since, successes } => (since, successes),
        };
        if self.under_way >= probes(policy) {
            return refuse(since, 0);
        }
        let phase = Phase::HalfOpen { since, successes };
        Step::Probe(since, Self { phase, under_way: self.under_way + 1, ..self })
    }

    /// After a request ended; `probe` is the opening that it was a probe of.
    fn judge(self, probe: Option<u64>, verdict: Verdict, policy: &Breaker, now: u64) -> Self {
        let open = |trips: u64| Self { phase: Phase::Open { since: now }, trips: (trips + 1).min(MAX_TRIPS), ..self };
        match (self.phase, probe, verdict) {
            (Phase::Closed { .. }, None, Verdict::Good) => Self { phase: Phase::Closed { failures: 0 }, ..self },
            (Phase::Closed { failures }, None, Verdict::Error) if failures + 1 < policy.consecutive_failures => {
                Self { phase: Phase::Closed { failures: failures + 1 }, ..self }
            }
            (Phase::Closed { .. }, None, Verdict::Error) => open(0),
            (Phase::HalfOpen { since, .. }, Some(its), Verdict::Error) if since == its => open(self.trips),
            (Phase::HalfOpen { since, successes }, Some(its), Verdict::Good) if since == its => {
                if successes + 1 >= probes(policy) {
                    Self { phase: Phase::Closed { failures: 0 }, trips: 0, ..self }
                } else {
                    Self { phase: Phase::HalfOpen { since, successes: successes + 1 }, ..self }
                }
            }
            // What began before the circuit opened or closed says nothing of what is now.
            _ => self,
        }
    }
}

fn probes(policy: &Breaker) -> u64 {
    u64::from(policy.probes.clamp(1, Circuit::MAX_PROBES))
}

#[cfg(test)]
mod tests;
