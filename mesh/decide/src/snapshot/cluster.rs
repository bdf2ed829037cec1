//! A cluster with its endpoints, made ready once for all picks.
use std::sync::Arc;

use smallvec::SmallVec;
use weft_ir::{Cluster, EndpointAddress, Endpoints, Health};
use weft_model::Locality;

use super::group::Group;
use crate::{
    Ejected,
    nearness::{Nearness, Spread, Standing, spread},
};

/// A cluster with its endpoints, ready to pick from.
#[derive(Clone, Debug)]
pub struct ClusterEntry {
    cluster: Arc<Cluster>,
    endpoints: Arc<Endpoints>,
    /// By falling nearness; one where places make no difference.
    levels: SmallVec<[Level; 1]>,
    /// How requests spread over levels while nothing is ejected.
    spread: Spread,
    /// In which level each address is, ordered by address; empty where there is one level that cannot panic.
    places: Vec<(EndpointAddress, u8)>,
}

/// The endpoints of one place.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    /// How near it is, where that makes a difference.
    pub(crate) nearness: Option<Nearness>,
    pub(crate) group: Group,
    standing: Standing,
}

impl ClusterEntry {
    /// As a proxy at `own` place sees it.
    pub(super) fn new(cluster: Arc<Cluster>, endpoints: Arc<Endpoints>, own: &Locality) -> Self {
        let near = |locality: &Locality| cluster.near_first.map(|_| Nearness::of(own, locality));
        let numbered = || (0u32..).zip(&endpoints.endpoints);
        let level = |nearness: Option<Nearness>| {
            let of_level = move |(_, it): &(u32, &weft_ir::Endpoint)| near(&it.locality) == nearness && it.weight > 0;
            let healthy = numbered().filter(of_level).filter(|(_, it)| it.health == Health::Healthy);
            let group = Group::new(cluster.balance, healthy);
            // Who leaves is not missed: it says so itself.
            let total = numbered().filter(of_level).filter(|(_, it)| it.health != Health::Draining).count();
            Level { nearness, standing: Standing { healthy: group.len(), total }, group }
        };
        let levels: SmallVec<[Level; 1]> = match cluster.near_first {
            None => [level(None)].into_iter().collect(),
            Some(_) => {
                let levels = Nearness::ALL.map(|nearness| level(Some(nearness)));
                levels.into_iter().filter(|level| level.standing.total > 0).collect()
            }
        };
        let spread = spread(cluster.near_first.as_ref(), levels.iter().map(|level| level.standing));
        let mut places = Vec::new();
        if cluster.near_first.is_some() {
            let healthy = endpoints.endpoints.iter().filter(|it| it.health == Health::Healthy && it.weight > 0);
            places.extend(healthy.filter_map(|it| {
                let place = levels.iter().position(|level| level.nearness == near(&it.locality))?;
                Some((it.address, u8::try_from(place).ok()?))
            }));
            places.sort_unstable();
        }
        Self { cluster, endpoints, levels, spread, places }
    }

    /// The cluster.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Its endpoints, those included that take no new work.
    pub fn endpoints(&self) -> &Arc<Endpoints> {
        &self.endpoints
    }

    /// How many endpoints take new work.
    pub fn healthy(&self) -> usize {
        self.levels.iter().map(|level| level.group.len()).sum()
    }

    /// The levels in the order in which one pick tries them, each with whether it is in panic: the one that `draw` falls
    /// to, then the others by falling nearness.
    pub(crate) fn levels(&self, draw: u64, ejected: &Ejected) -> SmallVec<[(&Level, bool); 3]> {
        let anew = (!ejected.is_empty() && !self.places.is_empty()).then(|| self.without(ejected));
        let spread = anew.as_ref().unwrap_or(&self.spread);
        let chosen = spread.choose(draw);
        let rest = (0..self.levels.len()).filter(|place| *place != chosen);
        let order = std::iter::once(chosen).chain(rest);
        order.filter_map(|place| Some((self.levels.get(place)?, spread.is_in_panic(place)))).collect()
    }

    /// How requests spread while some are ejected.
    fn without(&self, ejected: &Ejected) -> Spread {
        let mut standings: SmallVec<[Standing; 3]> = self.levels.iter().map(|level| level.standing).collect();
        for address in ejected.addresses() {
            let found = self.places.binary_search_by_key(address, |(its, _)| *its).ok();
            let level = found.and_then(|at| self.places.get(at)).map(|(_, level)| usize::from(*level));
            if let Some(standing) = level.and_then(|level| standings.get_mut(level)) {
                standing.healthy = standing.healthy.saturating_sub(1);
            }
        }
        spread(self.cluster.near_first.as_ref(), standings.into_iter())
    }
}
