//! When to renew a certificate.
use std::time::Duration;

use crate::{Backoff, backoff::portion};

/// The renewal of one certificate. Times are since the Unix epoch.
///
/// It is due at half of its life, give or take a tenth of the life, so that a fleet that started together does not
/// renew together. After a failure it is tried again with growing waits, never longer than a quarter of what is left until
/// expiry (but for the last seconds), and goes on after expiry: it never gives up.
#[derive(Clone, Debug)]
pub struct Renewal {
    expiry: Duration,
    due: Duration,
    backoff: Backoff,
}

impl Renewal {
    /// The first wait after a failure is at most this long.
    const BASE: Duration = Duration::from_secs(1);
    /// No wait after a failure is longer than this.
    const CAP: Duration = Duration::from_secs(300);

    /// The renewal of a certificate that holds from `not_before` until `not_after`; `draw` is uniform.
    pub fn new(not_before: Duration, not_after: Duration, draw: u64) -> Self {
        let life = not_after.saturating_sub(not_before);
        let due = not_before + life * 2 / 5 + portion(life / 5, draw);
        Self { expiry: not_after, due, backoff: Backoff::new(Self::BASE, Self::CAP) }
    }

    /// When to try next.
    pub const fn due(&self) -> Duration {
        self.due
    }

    /// How long to wait from `now` until the next attempt; zero if it is due.
    pub fn wait(&self, now: Duration) -> Duration {
        self.due.saturating_sub(now)
    }

    /// Whether the certificate has expired.
    pub fn is_expired(&self, now: Duration) -> bool {
        now >= self.expiry
    }

    /// An attempt failed at `now`; `draw` is uniform.
    pub fn failed(&mut self, now: Duration, draw: u64) {
        let wait = self.backoff.failed(draw);
        let left = self.expiry.saturating_sub(now);
        self.due = now + if left.is_zero() { wait } else { wait.min((left / 4).max(Self::BASE)) };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    proptest! {
        #[test]
        fn it_is_due_at_half_of_life_give_or_take_a_tenth(start in 0u64..1 << 40, life in 1u64..1 << 30, draw: u64) {
            let (start, life) = (Duration::from_secs(start), Duration::from_secs(life));
            let due = Renewal::new(start, start + life, draw).due();
            prop_assert!(due >= start + life * 2 / 5 && due <= start + life * 3 / 5);
        }

        #[test]
        fn a_hundred_attempts_fail_before_the_certificate_expires(draws in prop::collection::vec(any::<u64>(), 1..50)) {
            let attempt = Duration::from_secs(1);
            let mut renewal = Renewal::new(Duration::ZERO, DAY, draws[0]);
            for draw in draws.iter().cycle().take(100) {
                let now = renewal.due() + attempt;
                prop_assert!(!renewal.is_expired(now));
                renewal.failed(now, *draw);
                prop_assert!(renewal.due() >= now);
            }
        }
    }

    #[test]
    fn attempts_go_on_after_expiry() {
        let mut renewal = Renewal::new(Duration::ZERO, DAY, 0);
        renewal.failed(DAY * 2, u64::MAX);
        assert!(renewal.is_expired(DAY * 2));
        assert!(renewal.due() > DAY * 2 && renewal.due() <= DAY * 2 + Duration::from_secs(1));
    }

    #[test]
    fn a_certificate_of_no_life_is_due_at_once() {
        let renewal = Renewal::new(DAY, DAY / 2, 7);
        assert_eq!(renewal.wait(DAY), Duration::ZERO);
    }
}
