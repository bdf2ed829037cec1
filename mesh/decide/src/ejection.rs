//! Leaving endpoints out that err again and again.
//!
//! Workers count by [`Streak`], which costs a working endpoint nothing, and report errors; an [`Ejector`] on the control
//! thread decides for all of them and publishes [`Ejected`].
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;
use weft_ir::{Ejection, Endpoint, EndpointAddress, Endpoints, Health, Peer};

use crate::{Counts, Verdict, success_rate::outliers};

/// A worker's count of one endpoint's errors in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    errors: bool,
}

/// What a worker tells the control thread of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Report {
    /// The first error after a success, or at all.
    FirstError,
    /// A further error.
    Error,
    /// A success after an error.
    Recovered,
    /// What it has done since the last time, for a policy by success rate.
    Counted(Counts),
}

impl Streak {
    /// Takes the end of one try, and says what the control thread is to be told. A success after a success changes
    /// nothing and tells nothing. Where a report cannot be sent (a full channel), say so by [`Self::lost`].
    pub const fn take(&mut self, verdict: Verdict) -> Option<Report> {
        match (verdict, self.errors) {
            (Verdict::Good, false) | (Verdict::Neither, _) => None,
            (Verdict::Good, true) => {
                self.errors = false;
                Some(Report::Recovered)
            }
            (Verdict::Error, false) => {
                self.errors = true;
                Some(Report::FirstError)
            }
            (Verdict::Error, true) => Some(Report::Error),
        }
    }

    /// A report did not get through: the next one stands for it. That delays an ejection, and never causes one.
    pub const fn lost(&mut self, report: Report) {
        // What was counted is gone: others have been, too.
        if !matches!(report, Report::Counted(_)) {
            self.errors = matches!(report, Report::Recovered | Report::Error);
        }
    }
}

/// The endpoints of a cluster that are left out, as workers get them. They are named by address, because a worker's
/// snapshot may be a little older or younger than the control thread's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Ejected(Vec<EndpointAddress>);

impl Ejected {
    /// None.
    pub fn none() -> &'static Self {
        static NONE: Ejected = Ejected(Vec::new());
        &NONE
    }

    /// Whether none is.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the endpoint of that address is.
    pub fn contains(&self, address: &EndpointAddress) -> bool {
        !self.0.is_empty() && self.0.binary_search(address).is_ok()
    }

    /// These and those.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        self.0.iter().chain(&others.0).copied().collect()
    }

    /// The addresses, ordered.
    pub fn addresses(&self) -> &[EndpointAddress] {
        &self.0
    }
}

impl FromIterator<EndpointAddress> for Ejected {
    fn from_iter<I: IntoIterator<Item = EndpointAddress>>(addresses: I) -> Self {
        let mut addresses: Vec<_> = addresses.into_iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        Self(addresses)
    }
}

/// What is known of one endpoint.
#[derive(Clone, Debug)]
struct Entry {
    peer: Peer,
    /// Whether the cluster has it now. What has left is remembered for a while, so that going away and coming back is no
    /// way out.
    present: bool,
    /// Errors in a row, of all workers.
    errors: u32,
    /// How often it was ejected, less what has been forgiven.
    times: u32,
    /// Until when it is out; when it came back, once that has passed.
    until: Duration,
    out: bool,
    /// What it has done in this interval, where the policy looks at success rates.
    counts: Counts,
}

/// Decides which endpoints of one cluster are left out. For the control thread.
///
/// An endpoint is ejected after `consecutive_errors` errors in a row as the control thread hears of them. What ends a row
/// is a success after an error at any worker, and an error at a worker that had none before: it may have had any number of
/// successes, of which it tells nothing. So an endpoint is never ejected that works for anyone between its errors, and a
/// dead one is after at most `consecutive_errors` - 1 errors of each worker and one more.
///
/// The n-th ejection lasts n times `base_time`, at most `max_time`; each `base_time` without one takes one off n. Never
/// more than the policy's share is out, and an endpoint that should go while there is no room goes with its next error
/// once there is.
#[derive(Clone, Debug, Default)]
pub struct Ejector {
    entries: BTreeMap<EndpointAddress, Entry>,
    /// How many of them are present.
    present: usize,
    /// When success rates are looked at next: an interval after the first of its counts.
    due: Option<Duration>,
    published: Arc<Ejected>,
}

impl Ejector {
    /// How many endpoints that have left are remembered.
    const REMEMBERED: usize = 256;

    /// Takes the cluster's endpoints, at first and whenever they or the policy change. `Some` if another set is out now.
    pub fn endpoints(&mut self, policy: &Ejection, endpoints: &Endpoints, now: Duration) -> Option<Arc<Ejected>> {
        for entry in self.entries.values_mut() {
            entry.present = false;
        }
        for endpoint in endpoints.endpoints.iter().filter(|it| it.health == Health::Healthy) {
            let entry = self.entries.entry(endpoint.address).or_insert_with(|| Entry::new(endpoint));
            if entry.peer != endpoint.peer {
                *entry = Entry::new(endpoint);
            }
            entry.present = true;
        }
        self.present = self.entries.values().filter(|it| it.present).count();
        self.forget(policy, now);
        self.tick(policy, now)
    }

    /// Takes a worker's report. `Some` if another set is out now.
    pub fn report(
        &mut self,
        policy: &Ejection,
        address: &EndpointAddress,
        report: Report,
        now: Duration,
    ) -> Option<Arc<Ejected>> {
        let entry = self.entries.get_mut(address).filter(|it| it.present && !it.out)?;
        entry.errors = match report {
            Report::Recovered => 0,
            Report::FirstError => 1,
            Report::Error => entry.errors.saturating_add(1),
            Report::Counted(counts) => {
                entry.counts = entry.counts.and(counts);
                let interval = policy.success_rate.map(|it| it.interval);
                self.due = self.due.or_else(|| Some(now.saturating_add(interval?)));
                return None;
            }
        };
        if entry.errors < policy.consecutive_errors.max(1) || self.published.addresses().len() >= self.most(policy) {
            return None;
        }
        self.entries.get_mut(address)?.eject(policy, now);
        self.publish()
    }

    /// Lets those back whose time is over, and ejects those who succeed far less often than the others, once an interval.
    /// `Some` if another set is out now.
    pub fn tick(&mut self, policy: &Ejection, now: Duration) -> Option<Arc<Ejected>> {
        for entry in self.entries.values_mut().filter(|it| it.out && it.until <= now) {
            entry.out = false;
        }
        if self.due.is_some_and(|due| due <= now) {
            self.judge_rates(policy, now);
        }
        let most = self.most(policy);
        let mut out: Vec<_> = self.entries.values_mut().filter(|it| it.present && it.out).collect();
        // Fewer endpoints, or a smaller share: those that would be back first are.
        if let Some(excess) = out.len().checked_sub(most) {
            out.sort_by_key(|it| it.until);
            for entry in out.into_iter().take(excess) {
                (entry.out, entry.until) = (false, now);
            }
        }
        self.publish()
    }

    /// When [`Self::tick`] has something to do.
    pub fn next(&self) -> Option<Duration> {
        self.entries.values().filter(|it| it.out).map(|it| it.until).chain(self.due).min()
    }

    /// Who is out now, where, and until when; ordered by address.
    pub fn out_until(&self) -> impl Iterator<Item = (&Peer, EndpointAddress, Duration)> {
        let out = self.entries.iter().filter(|(_, it)| it.present && it.out);
        out.map(|(address, it)| (&it.peer, *address, it.until))
    }

    /// What is out now.
    pub const fn ejected(&self) -> &Arc<Ejected> {
        &self.published
    }

    /// Ejects the outliers among the success rates of the interval that is over, while there is room.
    fn judge_rates(&mut self, policy: &Ejection, now: Duration) {
        self.due = None;
        let most = self.most(policy);
        let mut room = most.saturating_sub(self.entries.values().filter(|it| it.present && it.out).count());
        let mut judged: Vec<_> = self.entries.values_mut().filter(|it| it.present && !it.out).collect();
        let counts: Vec<_> = judged.iter_mut().map(|it| std::mem::take(&mut it.counts)).collect();
        let outliers = policy.success_rate.map(|policy| outliers(&policy, &counts)).unwrap_or_default();
        for place in outliers {
            if let (Some(entry), true) = (judged.get_mut(place), room > 0) {
                entry.eject(policy, now);
                room -= 1;
            }
        }
    }

    /// How many endpoints may be out.
    fn most(&self, policy: &Ejection) -> usize {
        let share = self.present.saturating_mul(usize::from(policy.max_share_percent.min(100))) / 100;
        share.max(1).min(self.present.saturating_sub(1))
    }

    /// Forgets what has left, once nothing could be held against it any more; the ones longest back first where they are
    /// too many.
    fn forget(&mut self, policy: &Ejection, now: Duration) {
        self.entries.retain(|_, it| it.present || it.remembered(policy, now) > 0);
        let mut gone: Vec<_> =
            self.entries.iter().filter(|(_, it)| !it.present).map(|(at, it)| (it.until, *at)).collect();
        if let Some(excess) = gone.len().checked_sub(Self::REMEMBERED) {
            gone.sort_unstable();
            for (_, address) in gone.drain(..excess) {
                self.entries.remove(&address);
            }
        }
    }

    fn publish(&mut self) -> Option<Arc<Ejected>> {
        let out = self.entries.iter().filter(|(_, it)| it.present && it.out).map(|(address, _)| *address);
        if out.clone().eq(self.published.addresses().iter().copied()) {
            return None;
        }
        self.published = Arc::new(out.collect());
        Some(Arc::clone(&self.published))
    }
}

impl Entry {
    fn new(endpoint: &Endpoint) -> Self {
        let peer = endpoint.peer.clone();
        let (until, counts) = (Duration::ZERO, Counts::default());
        Self { peer, present: true, errors: 0, times: 0, until, out: false, counts }
    }

    fn eject(&mut self, policy: &Ejection, now: Duration) {
        self.times = self.remembered(policy, now).saturating_add(1);
        let time = policy.base_time.saturating_mul(self.times).min(policy.max_time.max(policy.base_time));
        // Growing further would only take longer to be forgiven.
        if time == policy.max_time {
            let most = policy.max_time.as_nanos().div_ceil(policy.base_time.as_nanos().max(1));
            self.times = self.times.min(u32::try_from(most).unwrap_or(u32::MAX));
        }
        (self.until, self.out, self.errors) = (now.saturating_add(time), true, 0);
        self.counts = Counts::default();
    }

    /// How many of its ejections still count.
    fn remembered(&self, policy: &Ejection, now: Duration) -> u32 {
        let good = now.saturating_sub(self.until).as_nanos();
        let forgiven = good / policy.base_time.as_nanos().max(1);
        self.times.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests;
