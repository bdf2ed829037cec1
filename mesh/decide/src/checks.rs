//! Which endpoints of a cluster pass their active checks.
//!
//! Who carries the checks out asks [`Checks::due`] whom to check now and tells what came of it; what fails is left out as
//! [`Ejected`] endpoints are, with the same ways back in: panic, and nobody else being left.
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use weft_ir::{Endpoint, EndpointAddress, Endpoints, Health as Told, HealthCheck as Policy, Peer};

use crate::{Ejected, Health, HealthCheck, backoff::portion};

/// The longest wait for an endpoint's first check, and for another after one that could not be carried out.
const SOON: Duration = Duration::from_secs(1);

/// The longest text that is kept of a failure, in bytes.
const MAX_FAILURE_BYTES: usize = 256;

/// One check that is to be carried out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which endpoint.
    pub address: EndpointAddress,
    /// Its place among the cluster's endpoints.
    pub place: usize,
    /// Tells it from checks of whoever had the address before.
    number: u64,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It passed.
    Passed,
    /// It failed, and this is why.
    Failed(String),
    /// It could not be carried out, or what it found says nothing of the endpoint.
    Unknown,
}

/// The checks of one cluster's endpoints. For whoever carries them out, in one place.
///
/// An endpoint counts as working until its first check has failed: a sidecar learns of a Service with its first request,
/// which does not wait for checks. That first one decides by itself; from then on it takes as many in a row as the policy
/// says. Nobody is checked twice at once, and nobody who says of itself that it takes no work.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    entries: BTreeMap<EndpointAddress, Entry>,
    /// Those that wait for their next check.
    queue: BTreeSet<(Duration, EndpointAddress)>,
    policy: Option<Policy>,
    numbers: u64,
    published: Arc<Ejected>,
}

#[derive(Clone, Debug)]
struct Entry {
    peer: Peer,
    place: usize,
    health: Health,
    /// Why its last check failed.
    failure: Option<Box<str>>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Waits(Duration),
    /// The check of this number is under way.
    Checked(u64),
}

impl Checks {
    /// Takes the cluster's endpoints and policy, at first and whenever they change. `draw` is uniform. `Some` if others are
    /// left out now.
    pub fn endpoints(
        &mut self,
        policy: &Policy,
        endpoints: &Endpoints,
        now: Duration,
        mut draw: impl FnMut() -> u64,
    ) -> Option<Arc<Ejected>> {
        let anew = self.policy.as_ref() != Some(policy);
        if anew {
            self.policy = Some(policy.clone());
        }
        let check = by(policy);
        let mut former = std::mem::take(&mut self.entries);
        self.queue.clear();
        let working = endpoints.endpoints.iter().enumerate().filter(|(_, it)| it.health == Told::Healthy);
        for (place, endpoint) in working {
            let soon = |draw| now.saturating_add(portion(policy.interval.min(SOON), draw));
            let known = former.remove(&endpoint.address).filter(|it| it.peer == endpoint.peer);
            let mut entry = known.unwrap_or_else(|| Entry::new(endpoint, check, soon(draw())));
            (entry.place, entry.health) = (place, entry.health.by(check));
            if let State::Waits(due) = &mut entry.state {
                if anew {
                    *due = soon(draw()).min(*due);
                }
                self.queue.insert((*due, endpoint.address));
            }
            self.entries.insert(endpoint.address, entry);
        }
        self.publish()
    }

    /// Whom to check now; each is under way from here on, until [`Self::checked`] says what came of it.
    pub fn due(&mut self, now: Duration) -> Vec<Due> {
        let mut found = Vec::new();
        while let Some((due, address)) = self.queue.first().copied().filter(|(due, _)| *due <= now) {
            self.queue.remove(&(due, address));
            if let Some(entry) = self.entries.get_mut(&address) {
                self.numbers += 1;
                entry.state = State::Checked(self.numbers);
                found.push(Due { address, place: entry.place, number: self.numbers });
            }
        }
        found
    }

    /// When [`Self::due`] has somebody.
    pub fn next(&self) -> Option<Duration> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// Takes what came of a check. `draw` is uniform. `Some` if others are left out now.
    pub fn checked(&mut self, due: &Due, result: Checked, now: Duration, draw: u64) -> Option<Arc<Ejected>> {
        let entry = self.entries.get_mut(&due.address)?;
        if !matches!(entry.state, State::Checked(number) if number == due.number) {
            return None;
        }
        let wait = match result {
            Checked::Unknown => {
                let longest = self.policy.as_ref().map_or(SOON, |policy| policy.interval.min(SOON));
                longest - portion(longest / 4, draw)
            }
            Checked::Passed => {
                entry.failure = None;
                entry.health.checked(true);
                entry.health.wait(draw)
            }
            Checked::Failed(why) => {
                let end = why.floor_char_boundary(MAX_FAILURE_BYTES);
                entry.failure = Some(why.get(..end).unwrap_or_default().into());
                entry.health.checked(false);
                entry.health.wait(draw)
            }
        };
        let at = now.saturating_add(wait);
        entry.state = State::Waits(at);
        self.queue.insert((at, due.address));
        self.publish()
    }

    /// Who is left out.
    pub const fn unhealthy(&self) -> &Arc<Ejected> {
        &self.published
    }

    /// Who is left out, where, and why its last check failed; where the last one passed, nothing is said. Ordered by
    /// address.
    pub fn failing(&self) -> impl Iterator<Item = (&Peer, EndpointAddress, Option<&str>)> {
        let out = self.entries.iter().filter(|(_, it)| it.health.is_healthy() == Some(false));
        out.map(|(address, it)| (&it.peer, *address, it.failure.as_deref()))
    }

    fn publish(&mut self) -> Option<Arc<Ejected>> {
        let out = || self.failing().map(|(_, address, _)| address);
        if out().eq(self.published.addresses().iter().copied()) {
            return None;
        }
        self.published = Arc::new(out().collect());
        Some(Arc::clone(&self.published))
    }
}

impl Entry {
    fn new(endpoint: &Endpoint, check: HealthCheck, due: Duration) -> Self {
        let peer = endpoint.peer.clone();
        Self { peer, place: 0, health: Health::new(check), failure: None, state: State::Waits(due) }
    }
}

/// The same interval whatever the verdict is.
fn by(policy: &Policy) -> HealthCheck {
    let threshold = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
    HealthCheck {
        interval: policy.interval,
        unhealthy_interval: policy.interval,
        timeout: policy.timeout,
        healthy_threshold: threshold(policy.healthy_threshold),
        unhealthy_threshold: threshold(policy.unhealthy_threshold),
    }
}

#[cfg(test)]
mod tests;
