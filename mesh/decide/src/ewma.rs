//! How long an endpoint takes to answer, with an eye on the worst: what peak EWMA compares.
//!
//! An exponentially weighted moving average that takes a rise at once and forgets it slowly (Finagle's "Peak EWMA"), so
//! that one slow answer is enough to spare an endpoint, and time to try it again.
use std::time::Duration;

use crate::Verdict;

/// One worker's measure of one endpoint. Times count from any one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PeakEwma {
    /// Nanoseconds; zero where nothing was measured yet.
    nanos: f64,
    at: Duration,
}

impl PeakEwma {
    /// How long it takes until a measure counts for 1/e of what it did (Linkerd: 10 s).
    pub const DECAY: Duration = Duration::from_secs(10);

    /// What an endpoint is taken to need that is asked for the first time and has not answered yet, and one whose first
    /// try fails.
    pub const UNKNOWN: Duration = Duration::from_secs(1);

    /// Takes how long a try took until its answer's head, or its failure, and how it ended. An error never makes an
    /// endpoint look faster than it was: who fails at once would draw all requests.
    pub fn observe(&mut self, took: Duration, verdict: Verdict, now: Duration) {
        let took = (took.as_nanos() as f64).max(1.0);
        let took = match verdict {
            Verdict::Neither => return,
            Verdict::Good => took,
            Verdict::Error if self.is_known() => took.max(self.nanos),
            Verdict::Error => took.max(Self::UNKNOWN.as_nanos() as f64),
        };
        let (kept, before) = (self.kept(now), self.nanos_at(now));
        // A rise at once; what is below only for the time that has passed.
        let nanos = if took > before { took } else { before + took * (1.0 - kept) };
        *self = Self { nanos, at: self.at.max(now) };
    }

    /// How long a request more would take as things stand, in nanoseconds: the time of one, for each of the `requests`
    /// that are on the endpoint and for itself.
    pub fn cost(&self, requests: u32, now: Duration) -> u64 {
        let one = match (self.is_known(), requests) {
            (true, _) => self.nanos_at(now),
            // Somebody has to be the first.
            (false, 0) => 0.0,
            (false, _) => Self::UNKNOWN.as_nanos() as f64,
        };
        (one * (f64::from(requests) + 1.0)) as u64
    }

    fn is_known(&self) -> bool {
        self.nanos > 0.0
    }

    /// The measure, less what was forgotten of it since.
    fn nanos_at(&self, now: Duration) -> f64 {
        self.nanos * self.kept(now)
    }

    fn kept(&self, now: Duration) -> f64 {
        (-now.saturating_sub(self.at).as_secs_f64() / Self::DECAY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests;
