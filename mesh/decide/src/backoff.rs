//! When to try again.
use std::time::Duration;

/// Exponential back-off with full jitter: each wait is uniform between zero and a ceiling that doubles up to a cap, so
/// that clients of a server that comes back do not come back all at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// The first ceiling is `base`, the last is `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0 }
    }

    /// The same after so many failures.
    #[must_use]
    pub const fn after(self, failures: u32) -> Self {
        Self { failures, ..self }
    }

    /// How long to wait after one more failure; `draw` is uniform.
    pub fn failed(&mut self, draw: u64) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        portion(ceiling, draw)
    }

    /// The longest that the next wait may be.
    pub fn ceiling(&self) -> Duration {
        let factor = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// How many failures there were since the last success.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// It worked: the next wait starts from the base again.
    pub const fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// The part of `whole` that `draw` is of its own range.
pub(crate) fn portion(whole: Duration, draw: u64) -> Duration {
    let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    // At most `nanos`: nothing is cut off.
    Duration::from_nanos(((u128::from(nanos) * u128::from(draw)) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_stay_under_a_ceiling_that_doubles_up_to_the_cap(draws in prop::collection::vec(any::<u64>(), 1..100)) {
            let (base, cap) = (Duration::from_millis(100), Duration::from_secs(30));
            let mut backoff = Backoff::new(base, cap);
            let mut ceiling = base;
            for draw in draws {
                prop_assert_eq!(backoff.ceiling(), ceiling);
                prop_assert!(backoff.failed(draw) <= ceiling);
                ceiling = (ceiling * 2).min(cap);
            }
        }
    }

    #[test]
    fn waits_use_the_whole_range_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        assert_eq!(backoff.failed(0), Duration::ZERO);
        assert_eq!(backoff.failed(1 << 63), Duration::from_secs(1));
        assert!(backoff.failed(u64::MAX) > Duration::from_millis(3999));
        backoff.succeeded();
        assert_eq!(backoff.ceiling(), Duration::from_secs(1));
    }
}
