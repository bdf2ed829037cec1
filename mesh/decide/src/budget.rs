//! How many repetitions are affordable.
use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use weft_ir::RetryBudget;

use crate::lease::Cells;

/// The budget of one authority's repetitions, for the whole proxy: a bucket of tokens that requests fill by the policy's
/// percentage, and a steady trickle of as many a second as the policy has at least.
///
/// Over any time, whatever the number of workers, there are at most as many repetitions as: `percent` of the requests,
/// plus `min_per_second` for each second, plus what had been saved up before, which is at most [`Self::SAVED`] tokens of
/// requests (and a started one for each worker) and [`Self::SAVED_TIME`] of the trickle. (Finagle's `RetryBudget` saves
/// 10 s of both; a bound of its own keeps a busy service from saving up a storm.)
#[derive(Debug)]
pub struct Budget {
    /// Whole tokens that requests have earned.
    earned: Cells,
    /// Until when the trickle is used up, in nanoseconds: a generic cell rate algorithm (ITU-T I.371).
    trickle: AtomicU64,
}

impl Budget {
    /// The most tokens that requests save up.
    pub const SAVED: u32 = 100;

    /// For how long the trickle is saved up.
    pub const SAVED_TIME: Duration = Duration::from_secs(10);

    /// A budget for as many workers, numbered from 0. It starts with a full trickle and nothing earned.
    pub fn new(workers: usize) -> Self {
        Self { earned: Cells::new(0, workers), trickle: AtomicU64::new(0) }
    }

    fn earn(&self, worker: usize) {
        self.earned.put(worker, self.earned.part(Self::SAVED, worker));
    }

    fn spend(&self, policy: &RetryBudget, worker: usize, now: Duration) -> bool {
        self.earned.take(worker) || self.drip(policy, now)
    }

    fn drip(&self, policy: &RetryBudget, now: Duration) -> bool {
        let Some(interval) = 1_000_000_000u64.checked_div(u64::from(policy.min_per_second)) else { return false };
        // The trickle's clock starts one saving before the epoch, so that it is full there.
        let full = nanos(now).saturating_add(nanos(Self::SAVED_TIME));
        let used = |until: u64| {
            let next = until.max(nanos(now)).saturating_add(interval.max(1));
            (next <= full).then_some(next)
        };
        self.trickle.fetch_update(SeqCst, SeqCst, used).is_ok()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A worker's end of a [`Budget`].
#[derive(Debug)]
pub struct Purse {
    budget: Arc<Budget>,
    worker: usize,
    /// What requests have earned of the next token, in hundredths.
    hundredths: Cell<u32>,
}

impl Purse {
    /// The end of the worker with this number.
    pub const fn new(budget: Arc<Budget>, worker: usize) -> Self {
        Self { budget, worker, hundredths: Cell::new(0) }
    }

    /// What it is an end of.
    pub const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// A request begins: its first try. Touches nothing but this worker's own memory.
    pub fn request(&self, policy: &RetryBudget) {
        let earned = self.hundredths.get() + u32::from(policy.percent.min(100));
        self.hundredths.set(earned % 100);
        if earned >= 100 {
            self.budget.earn(self.worker);
        }
    }

    /// Whether a repetition is affordable; it is paid then. `now` is the time since the proxy's epoch.
    pub fn repeat(&self, policy: &RetryBudget, now: Duration) -> bool {
        self.budget.spend(policy, self.worker, now)
    }
}

#[cfg(test)]
mod tests;
