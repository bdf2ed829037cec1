//! Which endpoints succeed so much less often than the others that they are outliers (Envoy's "Success rate").
use std::time::Duration;

use weft_ir::SuccessRate;

use crate::{Report, Verdict};

/// A worker's count of what one endpoint did, told from time to time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: Counts,
    told: Duration,
}

/// How often an endpoint did well and how often not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counts {
    /// Successes.
    pub good: u32,
    /// Errors.
    pub errors: u32,
}

impl Counts {
    /// All of them.
    pub const fn sum(self) -> u32 {
        self.good.saturating_add(self.errors)
    }

    /// With others.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { good: self.good.saturating_add(other.good), errors: self.errors.saturating_add(other.errors) }
    }
}

impl Tally {
    /// Takes the end of one try, and says what the control thread is to be told: all counts since the last time, where
    /// that is a quarter of the policy's interval ago.
    pub fn take(&mut self, verdict: Verdict, policy: &SuccessRate, now: Duration) -> Option<Report> {
        self.counts = self.counts.and(match verdict {
            Verdict::Good => Counts { good: 1, errors: 0 },
            Verdict::Error => Counts { good: 0, errors: 1 },
            Verdict::Neither => return None,
        });
        if now.saturating_sub(self.told) < policy.interval / 4 {
            return None;
        }
        let counts = std::mem::take(&mut self.counts);
        self.told = now;
        Some(Report::Counted(counts))
    }
}

/// The places among `all` of those whose success rate is an outlier: below the mean by more than the policy's number of
/// standard deviations. Nobody is where too few have had enough requests to be judged.
pub(crate) fn outliers(policy: &SuccessRate, all: &[Counts]) -> Vec<usize> {
    let judged = || all.iter().enumerate().filter(|(_, counts)| counts.sum() >= policy.minimum_requests.max(1));
    let number = judged().count();
    if number < policy.minimum_endpoints.max(1) as usize {
        return Vec::new();
    }
    let rate = |counts: &Counts| f64::from(counts.good) / f64::from(counts.sum());
    let mean = judged().map(|(_, counts)| rate(counts)).sum::<f64>() / number as f64;
    let variance = judged().map(|(_, counts)| (rate(counts) - mean).powi(2)).sum::<f64>() / number as f64;
    let threshold = mean - variance.sqrt() * f64::from(policy.deviation_percent) / 100.0;
    judged().filter(|(_, counts)| rate(counts) < threshold).map(|(place, _)| place).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: SuccessRate = SuccessRate {
        interval: Duration::from_secs(10),
        minimum_endpoints: 5,
        minimum_requests: 100,
        deviation_percent: 190,
    };

    fn counts(rates: &[u32]) -> Vec<Counts> {
        rates.iter().map(|good| Counts { good: *good, errors: 100 - good }).collect()
    }

    #[test]
    fn who_fails_far_more_often_than_the_others_is_an_outlier() {
        assert_eq!(outliers(&POLICY, &counts(&[99, 98, 99, 97, 60])), [4]);
        assert_eq!(outliers(&POLICY, &counts(&[60, 60, 60, 60, 60])), [] as [usize; 0], "all alike");
        assert_eq!(outliers(&POLICY, &counts(&[99, 98, 99, 97, 96])), [] as [usize; 0]);
        // Mean 91, standard deviation about 15.6: with a factor of 1.9 the threshold is 61.3.
        assert_eq!(outliers(&POLICY, &counts(&[99, 99, 98, 99, 60])), [4]);
        let lenient = SuccessRate { deviation_percent: 300, ..POLICY };
        assert_eq!(outliers(&lenient, &counts(&[99, 99, 98, 99, 60])), [] as [usize; 0]);
    }

    #[test]
    fn nobody_is_judged_by_few_requests_or_among_few() {
        let mut some = counts(&[99, 98, 99, 97, 60]);
        some[4] = Counts { good: 0, errors: 99 };
        assert_eq!(outliers(&POLICY, &some), [] as [usize; 0], "99 requests are too few, and four endpoints are");
        assert_eq!(outliers(&POLICY, &counts(&[99, 98, 99, 0])), [] as [usize; 0]);
        let any = SuccessRate { minimum_endpoints: 2, minimum_requests: 1, deviation_percent: 50, ..POLICY };
        assert_eq!(outliers(&any, &counts(&[99, 0])), [1]);
        assert_eq!(outliers(&any, &[Counts::default(), Counts::default()]), [] as [usize; 0]);
    }

    #[test]
    fn counts_are_told_a_few_times_an_interval_and_none_is_told_twice() {
        let mut tally = Tally::default();
        let at = Duration::from_millis;
        assert_eq!(tally.take(Verdict::Good, &POLICY, at(100)), None);
        assert_eq!(tally.take(Verdict::Neither, &POLICY, at(2600)), None);
        assert_eq!(tally.take(Verdict::Error, &POLICY, at(2700)), Some(Report::Counted(Counts { good: 1, errors: 1 })));
        assert_eq!(tally.take(Verdict::Good, &POLICY, at(2800)), None);
        assert_eq!(tally.take(Verdict::Good, &POLICY, at(5200)), Some(Report::Counted(Counts { good: 2, errors: 0 })));
    }

    proptest! {
        #[test]
        fn an_outlier_is_worse_than_everybody_who_is_none(
            counts in prop::collection::vec((0u32..500, 0u32..500), 0..20),
            deviation_percent in 0u32..500,
        ) {
            let counts: Vec<_> = counts.into_iter().map(|(good, errors)| Counts { good, errors }).collect();
            let policy = SuccessRate { deviation_percent, ..POLICY };
            let out = outliers(&policy, &counts);
            let judged = |place: &usize| counts[*place].sum() >= 100;
            prop_assert!(out.iter().all(judged));
            let rate = |place: usize| f64::from(counts[place].good) / f64::from(counts[place].sum());
            for other in (0..counts.len()).filter(judged).filter(|place| !out.contains(place)) {
                prop_assert!(out.iter().all(|place| rate(*place) < rate(other)));
            }
            prop_assert!(out.is_empty() || out.len() < counts.len(), "never all");
        }
    }
}
