//! Whether an application takes connections, judged from checks of it.
use std::{num::NonZeroU32, time::Duration};

use crate::backoff::portion;

/// How an application is checked. Peers' defaults stand beside ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The longest time between two checks of a healthy application whose last check passed (Kubernetes: 10 s).
    pub interval: Duration,
    /// The longest time between two checks otherwise: of one that is unhealthy, or whose last check failed.
    pub unhealthy_interval: Duration,
    /// How long one check may take (Kubernetes: 1 s).
    pub timeout: Duration,
    /// How many checks in a row must pass before an unhealthy application is healthy (Kubernetes: 1).
    pub healthy_threshold: NonZeroU32,
    /// How many checks in a row must fail before a healthy application is unhealthy (Kubernetes: 3).
    pub unhealthy_threshold: NonZeroU32,
}

impl HealthCheck {
    /// The longest time from an application's failure to the verdict on it.
    pub fn notices_within(&self) -> Duration {
        let checks = self.unhealthy_threshold.get();
        self.interval + self.unhealthy_interval * (checks - 1) + self.timeout * checks
    }

    /// The longest time from an application's return to the verdict on it.
    pub fn readmits_within(&self) -> Duration {
        let checks = self.healthy_threshold.get();
        // A check that began before the return may still be waiting.
        self.unhealthy_interval * checks + self.timeout * (checks + 1)
    }
}

impl Default for HealthCheck {
    fn default() -> Self {
        const TWO: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);
        Self {
            interval: Duration::from_secs(5),
            unhealthy_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy_threshold: TWO,
            unhealthy_threshold: TWO,
        }
    }
}

/// The verdict on one application. The first check decides by itself; from then on it takes several in a row.
#[derive(Clone, Debug)]
pub struct Health {
    check: HealthCheck,
    /// `None` before the first check.
    healthy: Option<bool>,
    /// How many checks in a row have contradicted the verdict.
    contrary: u32,
}

impl Health {
    /// Of an application that was not checked yet.
    pub const fn new(check: HealthCheck) -> Self {
        Self { check, healthy: None, contrary: 0 }
    }

    /// The same verdict, from now on by other thresholds and times.
    #[must_use]
    pub const fn by(self, check: HealthCheck) -> Self {
        Self { check, ..self }
    }

    /// Whether it is healthy; `None` before the first check.
    pub const fn is_healthy(&self) -> Option<bool> {
        self.healthy
    }

    /// A check has ended; whether the verdict has changed by it.
    pub fn checked(&mut self, passed: bool) -> bool {
        let threshold = match self.healthy {
            None => 1,
            Some(healthy) if healthy == passed => {
                self.contrary = 0;
                return false;
            }
            Some(true) => self.check.unhealthy_threshold.get(),
            Some(false) => self.check.healthy_threshold.get(),
        };
        self.contrary += 1;
        if self.contrary < threshold {
            return false;
        }
        self.healthy = Some(passed);
        self.contrary = 0;
        true
    }

    /// How long to wait before the next check: up to a quarter less than the interval, so that the checks of many do not
    /// fall together; `draw` is uniform.
    pub fn wait(&self, draw: u64) -> Duration {
        let calm = self.healthy == Some(true) && self.contrary == 0;
        let interval = if calm { self.check.interval } else { self.check.unhealthy_interval };
        interval - portion(interval / 4, draw)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(healthy: u32, unhealthy: u32) -> HealthCheck {
        let threshold = |count| NonZeroU32::new(count).unwrap();
        HealthCheck {
            healthy_threshold: threshold(healthy),
            unhealthy_threshold: threshold(unhealthy),
            ..HealthCheck::default()
        }
    }

    proptest! {
        #[test]
        fn the_verdict_turns_when_as_many_checks_as_its_threshold_agree_against_it(
            thresholds in (1u32..6, 1u32..6),
            outcomes in prop::collection::vec(any::<bool>(), 1..200),
        ) {
            let mut health = Health::new(check(thresholds.0, thresholds.1));
            for (at, passed) in outcomes.iter().enumerate() {
                let before = health.is_healthy();
                let changed = health.checked(*passed);
                let threshold = if *passed { thresholds.0 } else { thresholds.1 } as usize;
                let seen = &outcomes[..=at];
                let run = seen.iter().rev().take_while(|outcome| *outcome == passed).count();
                let turns = before.is_none_or(|before| before != *passed && run >= threshold);
                prop_assert_eq!(changed, turns);
                prop_assert_eq!(health.is_healthy(), if turns { Some(*passed) } else { before });
            }
        }

        #[test]
        fn a_failure_and_a_return_are_judged_within_the_bounds_that_are_told(
            thresholds in (1u32..6, 1u32..6),
            draws in prop::collection::vec(any::<u64>(), 16),
            offset in 0u64..5_000,
        ) {
            let check = check(thresholds.0, thresholds.1);
            for (from, bound) in [(true, check.notices_within()), (false, check.readmits_within())] {
                let mut health = Health::new(check);
                health.checked(from);
                // The turn happens somewhere within the first wait, and each check takes all of its time.
                let mut now = health.wait(draws[0]);
                let turn = Duration::from_millis(offset).min(now);
                for draw in &draws {
                    now += check.timeout;
                    if health.checked(!from) {
                        break;
                    }
                    now += health.wait(*draw);
                }
                prop_assert_eq!(health.is_healthy(), Some(!from));
                prop_assert!(now - turn <= bound, "{:?} > {:?}", now - turn, bound);
            }
        }

        #[test]
        fn a_wait_is_at_most_its_interval_and_at_least_three_quarters_of_it(passed: bool, draw: u64) {
            let check = check(2, 2);
            let mut health = Health::new(check);
            health.checked(passed);
            let interval = if passed { check.interval } else { check.unhealthy_interval };
            let wait = health.wait(draw);
            prop_assert!(wait <= interval && wait >= interval * 3 / 4, "{wait:?}");
        }
    }

    #[test]
    fn a_healthy_application_is_checked_soon_again_after_one_failure() {
        let mut health = Health::new(HealthCheck::default());
        health.checked(true);
        assert_eq!(health.wait(0), Duration::from_secs(5));
        health.checked(false);
        assert_eq!((health.is_healthy(), health.wait(0)), (Some(true), Duration::from_secs(1)));
        health.checked(true);
        assert_eq!(health.wait(0), Duration::from_secs(5));
    }
}
