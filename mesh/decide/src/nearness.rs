//! Near endpoints first: which level an endpoint is in, and how requests spread over levels (Envoy's "Priority levels" and
//! "Panic threshold").
use std::fmt;

use serde::Serialize;
use smallvec::SmallVec;
use weft_ir::NearFirst;
use weft_model::Locality;

use crate::rendezvous::mix;

/// How near an endpoint is to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Nearness {
    /// In the same zone of the same region.
    Zone,
    /// In the same region.
    Region,
    /// Elsewhere, or nobody knows where.
    Elsewhere,
}

impl Nearness {
    /// Every level, the nearest first.
    pub const ALL: [Self; 3] = [Self::Zone, Self::Region, Self::Elsewhere];

    /// How near `other` is to `own`. A zone is one of its region: names of zones may come again in another.
    pub fn of(own: &Locality, other: &Locality) -> Self {
        let same =
            |part: fn(&Locality) -> Option<&weft_model::LocalityName>| part(own).is_some() && part(own) == part(other);
        match (own.region == other.region, same(|it| it.region.as_ref()), same(|it| it.zone.as_ref())) {
            (true, _, true) => Self::Zone,
            (_, true, false) => Self::Region,
            _ => Self::Elsewhere,
        }
    }
}

impl fmt::Display for Nearness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zone => "own zone",
            Self::Region => "own region",
            Self::Elsewhere => "elsewhere",
        })
    }
}

/// How the endpoints of a level do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Those that may be picked.
    pub(crate) healthy: usize,
    /// All but those that leave by themselves.
    pub(crate) total: usize,
}

/// Which percent of requests each level gets, and which are in panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spread(SmallVec<[(u32, bool); 3]>);

impl Spread {
    /// The level that a draw falls to.
    pub(crate) fn choose(&self, draw: u64) -> usize {
        // Below 100: nothing is cut off. Mixed apart from what chooses within the level.
        let mut point = ((u128::from(mix(draw ^ 0x6e65_6172)) * 100) >> 64) as u32;
        let level = self.0.iter().position(|(percent, _)| {
            let here = point < *percent;
            point = point.saturating_sub(*percent);
            here
        });
        level.unwrap_or(0)
    }

    pub(crate) fn is_in_panic(&self, level: usize) -> bool {
        self.0.get(level).is_some_and(|(_, panic)| *panic)
    }
}

/// How requests spread over levels, the nearest first.
///
/// A level can take its working part, times the overprovisioning, of all requests; what it cannot take goes to the next.
/// Where all together cannot take everything, each takes its proportion, and what has fewer working endpoints than the
/// panic threshold chooses among the ejected ones as well.
pub(crate) fn spread(policy: Option<&NearFirst>, levels: impl Iterator<Item = Standing> + Clone) -> Spread {
    let Some(policy) = policy else { return Spread(levels.map(|_| (100, false)).collect()) };
    let percent = |part: usize, whole: usize| part as u64 * 100 / whole.max(1) as u64;
    let can_take = |it: Standing| {
        let more = u64::from(policy.overprovisioning_percent);
        u32::try_from((it.healthy as u64 * more / it.total.max(1) as u64).min(100)).unwrap_or(100)
    };
    let all: u32 = levels.clone().map(can_take).sum::<u32>().min(100);
    let mut left = 100;
    let mut spread: SmallVec<[(u32, bool); 3]> = levels
        .map(|it| {
            let share = (can_take(it) * 100).checked_div(all).unwrap_or(0).min(left);
            left -= share;
            (share, all < 100 && percent(it.healthy, it.total) < u64::from(policy.panic_percent))
        })
        .collect();
    // What rounding leaves goes to the first that takes anything, and all of it to the nearest where none can.
    let rest = spread.iter().position(|(share, _)| *share > 0).unwrap_or(0);
    if let Some((share, _)) = spread.get_mut(rest) {
        *share += left;
    }
    Spread(spread)
}

#[cfg(test)]
mod tests;
