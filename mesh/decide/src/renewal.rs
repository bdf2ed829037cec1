//! When to renew a certificate.
use std::time::Duration;

use crate::{Backoff, backoff::portion};

/// The renewal of one certificate. Times are since the Unix epoch.
///
/// It is due in the tenth of the life before its half, so that a fleet that started together does not renew together.
/// After a failure it is tried again with growing waits, never longer than a quarter of what is left until expiry, so
/// that attempts come closer and closer; after expiry it goes on at a steady pace. It never gives up. (Istio renews at
/// half of the life, Linkerd at 70 %; both keep on trying.)
#[derive(Clone, Debug)]
pub struct Renewal {
    expiry: Duration,
    due: Duration,
    backoff: Backoff,
}

impl Renewal {
    /// The first wait after a failure is at most this much over the shortest.
    const BASE: Duration = Duration::from_secs(1);
    /// No wait after a failure is longer than this.
    const CAP: Duration = Duration::from_secs(300);
    /// No wait after a failure is shorter than this: at most two requests a second come from one proxy.
    const SHORTEST: Duration = Duration::from_millis(500);
    /// No wait after a failure is longer than this once the certificate has expired: nothing works until there is
    /// another, and whoever gives it out may be back at any time.
    const EXPIRED: Duration = Duration::from_secs(2);
    /// The shortest and the longest time that one attempt is given.
    const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

    /// The renewal of a certificate whose use began at `from` and that holds until `not_after`; `draw` is uniform.
    ///
    /// `from` is when it was obtained, not its NotBefore: that lies back by up to a minute for others' clocks, and a
    /// short life counted from there would be half over at once.
    pub fn new(from: Duration, not_after: Duration, draw: u64) -> Self {
        let life = not_after.saturating_sub(from);
        let due = from + life * 2 / 5 + portion(life / 10, draw);
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

    /// How long an attempt that begins at `now` may take: one that hangs leaves time for others.
    pub fn patience(&self, now: Duration) -> Duration {
        (self.expiry.saturating_sub(now) / 4).clamp(Self::PATIENCE.0, Self::PATIENCE.1)
    }

    /// Whether the certificate has expired.
    pub fn is_expired(&self, now: Duration) -> bool {
        now >= self.expiry
    }

    /// An attempt failed at `now`; `draw` is uniform.
    pub fn failed(&mut self, now: Duration, draw: u64) {
        let left = self.expiry.saturating_sub(now);
        let longest = if left.is_zero() { Self::EXPIRED } else { left / 4 };
        let wait = Self::SHORTEST + self.backoff.failed(draw);
        self.due = now + wait.min(longest.max(Self::SHORTEST));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(86_400);

    proptest! {
        #[test]
        fn it_is_due_in_the_tenth_of_life_before_its_half(start in 0u64..1 << 40, life in 1u64..1 << 30, draw: u64) {
            let (start, life) = (Duration::from_secs(start), Duration::from_secs(life));
            let due = Renewal::new(start, start + life, draw).due();
            prop_assert!(due >= start + life * 2 / 5 && due <= start + life / 2);
        }

        /// Attempts take as long as they may, and fail: there is another one for as long as the certificate holds.
        #[test]
        fn the_schedule_never_gives_up_before_expiry(
            life_ms in 5_000u64..100_000_000,
            draws in prop::collection::vec((any::<u64>(), 0.0f64..=1.0), 1..50),
        ) {
            let expiry = DAY + Duration::from_millis(life_ms);
            let mut renewal = Renewal::new(DAY, expiry, draws[0].0);
            let mut began = Vec::new();
            for (draw, share) in draws.iter().cycle() {
                let now = renewal.due();
                if renewal.is_expired(now) {
                    break;
                }
                began.push(now);
                let failed = now + renewal.patience(now).mul_f64(*share);
                renewal.failed(failed, *draw);
                prop_assert!(renewal.due() >= failed + Renewal::SHORTEST, "more than two attempts a second");
                prop_assert!(renewal.due() <= failed.max(expiry) + Renewal::EXPIRED);
                prop_assert!(began.len() < 100_000, "attempts pile up");
            }
            // A short life has room for two patient attempts, and each further doubling for one or more.
            prop_assert!(began.len() >= 2, "{began:?}");
            let last = *began.last().unwrap();
            prop_assert!(expiry - last <= SECOND + 2 * Renewal::SHORTEST, "the last attempt was {:?} before expiry", expiry - last);
        }

        #[test]
        fn after_expiry_attempts_go_on_every_few_seconds(late in 0u64..1 << 30, draws in prop::collection::vec(any::<u64>(), 20)) {
            let mut renewal = Renewal::new(Duration::ZERO, DAY, 0);
            let mut now = DAY + Duration::from_secs(late);
            for draw in draws {
                renewal.failed(now, draw);
                prop_assert!(renewal.is_expired(now));
                let wait = renewal.wait(now);
                prop_assert!((Renewal::SHORTEST..=Renewal::EXPIRED).contains(&wait), "{wait:?}");
                now += wait;
            }
        }
    }

    /// Whoever gives out certificates may be away for 25 s of a life of a minute, and nobody loses his.
    #[test]
    fn an_outage_of_25_seconds_in_a_life_of_a_minute_is_survived_whatever_the_draws() {
        for draw in [0, u64::MAX / 2, u64::MAX] {
            // A second is lost to whole seconds.
            let expiry = 59 * SECOND;
            let mut renewal = Renewal::new(Duration::ZERO, expiry, draw);
            let back = renewal.due() + 25 * SECOND;
            while renewal.due() < back {
                let failed = renewal.due() + Duration::from_millis(1);
                renewal.failed(failed, draw);
            }
            assert!(renewal.due() + SECOND < expiry, "{:?}", renewal.due());
        }
    }

    #[test]
    fn a_certificate_of_no_life_is_due_at_once() {
        let renewal = Renewal::new(DAY, DAY / 2, 7);
        assert_eq!(renewal.wait(DAY), Duration::ZERO);
    }
}
