//! Durations by powers of two, each cut in four: one cell a bucket, written by one worker and read by the control thread.
use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets an octave.
const STEPS: u32 = 4;

/// Octaves: up to 2^26 µs, 67 s; what is longer counts into the last bucket.
const OCTAVES: u32 = 26;

/// How many buckets there are.
pub(super) const BUCKETS: usize = (OCTAVES * STEPS) as usize;

/// One worker's buckets.
#[derive(Debug)]
pub(super) struct Histogram {
    cells: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { cells: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one duration.
    pub(super) fn record(&self, micros: u64) {
        if let Some(cell) = self.cells.get(bucket(micros)) {
            add(cell, 1);
        }
        add(&self.sum, micros);
    }

    /// Adds these counts to `counts`.
    pub(super) fn add_to(&self, counts: &mut Counts) {
        for (count, cell) in counts.buckets.iter_mut().zip(&self.cells) {
            *count += cell.load(Ordering::Relaxed);
        }
        counts.sum += self.sum.load(Ordering::Relaxed);
    }
}

/// Adds to a cell that only the calling worker writes: no read-modify-write instruction, so no locked cache line.
pub(super) fn add(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// The sums over workers.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) buckets: [u64; BUCKETS],
    /// Of all durations, in microseconds.
    pub(super) sum: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum: 0 }
    }
}

impl Counts {
    /// What came since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.clone();
        for (count, before) in counts.buckets.iter_mut().zip(&earlier.buckets) {
            *count = count.saturating_sub(*before);
        }
        counts.sum = counts.sum.saturating_sub(earlier.sum);
        counts
    }

    /// How many durations.
    pub(super) fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The duration in microseconds that `share` (in 1/100) of them do not exceed, to the bucket's upper bound.
    pub(super) fn quantile(&self, percent: u64) -> u64 {
        let wanted = (self.total() * percent).div_ceil(100);
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted && seen > 0
        });
        found.map_or(0, upper_bound)
    }

    /// How many durations lie below 2^`octave` µs.
    pub(super) fn below_octave(&self, octave: u32) -> u64 {
        self.buckets.iter().take((octave * STEPS) as usize).sum()
    }
}

/// The bucket of a duration: the octave of its highest bit, cut by the two bits behind it.
fn bucket(micros: u64) -> usize {
    let micros = micros.max(1);
    let octave = micros.ilog2();
    let step = if octave >= 2 { micros >> (octave - 2) & 3 } else { (micros << (2 - octave)) & 3 };
    let index = octave * STEPS + step as u32;
    (index as usize).min(BUCKETS - 1)
}

/// The largest duration of a bucket.
fn upper_bound(index: usize) -> u64 {
    let (octave, step) = (index as u32 / STEPS, index as u64 % u64::from(STEPS));
    ((u64::from(STEPS) + step + 1) << octave).div_ceil(u64::from(STEPS)).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_at_most_a_quarter_octave_above_the_duration() {
        for micros in [1, 2, 3, 5, 7, 8, 100, 999, 12_345, 1_000_000, 60_000_000] {
            let histogram = Histogram::default();
            histogram.record(micros);
            let mut counts = Counts::default();
            histogram.add_to(&mut counts);
            let told = counts.quantile(50);
            assert!(told >= micros && told <= micros + micros / 4 + 1, "{micros} was told as {told}");
        }
    }

    #[test]
    fn quantiles_split_the_durations_where_they_should() {
        let histogram = Histogram::default();
        (0..90).for_each(|_| histogram.record(100));
        (0..10).for_each(|_| histogram.record(10_000));
        let mut counts = Counts::default();
        histogram.add_to(&mut counts);
        assert_eq!(counts.total(), 100);
        assert!(counts.quantile(50) < 130);
        assert!(counts.quantile(99) >= 10_000);
        assert_eq!(counts.below_octave(7), 90);
        assert_eq!(counts.since(&counts.clone()).total(), 0);
        assert_eq!(Counts::default().quantile(99), 0);
    }
}
