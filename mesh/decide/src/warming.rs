//! Endpoints that are new begin with a part of their weight (Envoy's "Slow start mode").
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use weft_ir::{EndpointAddress, Endpoints, Health, SlowStart};

/// The endpoints of a cluster that are new, and since when, as workers get them. Named by address, because a worker's
/// snapshot may be a little older or younger than the control thread's. Those whose time is over may be among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warming(Vec<(EndpointAddress, Duration)>);

impl Warming {
    /// Whether none is.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Which part of its weight the endpoint of that address has at a time: above zero, at most 1.
    pub fn part(&self, policy: &SlowStart, address: &EndpointAddress, now: Duration) -> f64 {
        let found = self.0.binary_search_by_key(address, |(its, _)| *its).ok().and_then(|at| self.0.get(at));
        let Some((_, since)) = found else { return 1.0 };
        let time = now.saturating_sub(*since).as_secs_f64() / policy.window.as_secs_f64().max(f64::MIN_POSITIVE);
        let part = time.powf(100.0 / f64::from(policy.aggression_percent.max(1)));
        part.max(f64::from(policy.min_weight_percent) / 100.0).min(1.0)
    }

    /// The addresses, ordered, with the times since when.
    pub fn since(&self) -> &[(EndpointAddress, Duration)] {
        &self.0
    }
}

/// Notices which endpoints of one cluster are new. For the control thread.
///
/// New is what comes to a cluster that is known already, and what works again after it did not by its own word. The
/// endpoints with which a cluster begins are not: among them no part of a weight would make a difference.
#[derive(Clone, Debug, Default)]
pub struct Newcomers {
    /// Of all that work: since when, where that is not over. `None` before anything is known.
    known: Option<BTreeMap<EndpointAddress, Option<Duration>>>,
    published: Arc<Warming>,
}

impl Newcomers {
    /// Takes the cluster's endpoints, at first and whenever they or the policy change. `Some` if others are new now.
    pub fn endpoints(&mut self, policy: &SlowStart, endpoints: &Endpoints, now: Duration) -> Option<Arc<Warming>> {
        let healthy = endpoints.endpoints.iter().filter(|it| it.health == Health::Healthy).map(|it| it.address);
        let known = match self.known.take() {
            None => healthy.map(|address| (address, None)).collect(),
            Some(before) => healthy
                .map(|address| {
                    let since = before.get(&address).copied().unwrap_or(Some(now));
                    (address, since.filter(|since| now.saturating_sub(*since) < policy.window))
                })
                .collect::<BTreeMap<_, _>>(),
        };
        let warming = Warming(known.iter().filter_map(|(address, since)| Some((*address, (*since)?))).collect());
        self.known = Some(known);
        if warming == *self.published {
            return None;
        }
        self.published = Arc::new(warming);
        Some(Arc::clone(&self.published))
    }

    /// The endpoints that are new now, some perhaps no longer.
    pub const fn warming(&self) -> &Arc<Warming> {
        &self.published
    }
}

#[cfg(test)]
mod tests;
