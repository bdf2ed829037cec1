//! Endpoints that one pick chooses among, made ready once for all picks.
use weft_ir::{Balance, Endpoint, EndpointAddress, Peer};

use crate::{
    maglev::Maglev,
    rendezvous::{Seed, choose, mix},
    smooth,
};

/// How often another endpoint is drawn for one that may not be picked, before the next one that may is taken.
const DRAWS: u64 = 8;

/// The endpoints of a cluster that take new work, or those of one place.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    candidates: Vec<Candidate>,
    /// By how much a step of the cursor moves over the sum of weights; coprime to it.
    stride: u64,
    /// Whose turn is when, for a round robin of different weights that is short enough to be written out.
    order: Option<Box<[u16]>>,
    /// For picks by key where the cluster is balanced so.
    maglev: Option<Maglev>,
}

/// An endpoint that takes new work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// The sum of the weights up to and with it, divided by what they have in common.
    upto: u64,
    /// Its part of the hash for picks by key.
    pub(crate) seed: Seed,
    /// Its place among all endpoints.
    index: u32,
    /// Its weight.
    pub(crate) weight: u32,
}

impl Candidate {
    /// Its place among all endpoints.
    pub(crate) const fn index(&self) -> usize {
        self.index as usize
    }
}

impl Group {
    /// Of endpoints with their places among all, each of a weight above zero.
    pub(super) fn new<'a>(balance: Balance, endpoints: impl Iterator<Item = (u32, &'a Endpoint)> + Clone) -> Self {
        let common = endpoints.clone().fold(0, |common, (_, endpoint)| gcd(common, u64::from(endpoint.weight))).max(1);
        let mut upto = 0;
        let candidates: Vec<_> = endpoints
            .map(|(index, endpoint)| {
                upto += u64::from(endpoint.weight) / common;
                Candidate { upto, seed: seed(endpoint), index, weight: endpoint.weight }
            })
            .collect();
        let weights = || candidates.iter().map(|it| u64::from(it.weight) / common);
        let order = if balance == Balance::RoundRobin { smooth::order(weights()) } else { None };
        let maglev = if balance == Balance::Maglev { Maglev::new(&seeds(&candidates)) } else { None };
        Self { candidates, stride: stride(upto), order, maglev }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.candidates.len()
    }

    /// The candidate whose turn `cursor` is; `None` if there is none.
    pub(crate) fn turn(&self, cursor: u64) -> Option<&Candidate> {
        let sum = self.candidates.last()?.upto;
        if let Some(order) = &self.order {
            let place = usize::try_from(cursor % sum).ok()?;
            return self.candidates.get(usize::from(*order.get(place)?));
        }
        let step = u128::from(cursor % sum) * u128::from(self.stride);
        // Below `sum`: nothing is cut off.
        self.candidates.get(self.place((step % u128::from(sum)) as u64))
    }

    /// The candidate that a key's hash chooses from those that may be picked, and whether the table did: where it leads to
    /// one that may not, the key is hashed again, a few times, so that the keys of who is left out spread over all others.
    pub(crate) fn of_key(&self, key: u64, may: impl Fn(&Candidate) -> bool) -> Option<(&Candidate, bool)> {
        let tabled = self.maglev.as_ref().and_then(|table| {
            (0..DRAWS)
                .filter_map(|again| self.candidates.get(table.choose(key.wrapping_add(again))))
                .find(|candidate| may(candidate))
        });
        if let Some(candidate) = tabled {
            return Some((candidate, true));
        }
        let candidates = self.candidates.iter().filter(|it| may(it));
        Some((choose(key, candidates.map(|it| (it, it.seed, it.weight)))?, self.maglev.is_some()))
    }

    /// A candidate drawn by weight from those that may be picked. Where few may not, or many of many, their shares go to
    /// the others by weight; so do those of whom `warm` turns away, which is asked anew for each draw.
    pub(crate) fn drawn(
        &self,
        draw: u64,
        may: impl Fn(&Candidate) -> bool,
        warm: impl Fn(&Candidate) -> bool,
    ) -> Option<&Candidate> {
        let sum = self.candidates.last()?.upto;
        let mut place = 0;
        for turn in 0..DRAWS {
            // Below `sum`: nothing is cut off.
            place = self.place(((u128::from(mix(draw.wrapping_add(turn))) * u128::from(sum)) >> 64) as u64);
            if let Some(drawn) = self.candidates.get(place).filter(|it| may(it) && warm(it)) {
                return Some(drawn);
            }
        }
        let (before, after) = self.candidates.split_at_checked(place)?;
        after.iter().chain(before).find(|it| may(it))
    }

    /// Whose part of the sum of weights a point is in.
    fn place(&self, point: u64) -> usize {
        self.candidates.partition_point(|it| it.upto <= point)
    }
}

fn seeds(candidates: &[Candidate]) -> Vec<(Seed, u32)> {
    candidates.iter().map(|it| (it.seed, it.weight)).collect()
}

/// By the workload where there is one, not its address: an instance that starts again keeps its keys.
fn seed(endpoint: &Endpoint) -> Seed {
    match (&endpoint.peer, endpoint.address) {
        (Peer::Instance(instance), _) => {
            let workload = &instance.workload;
            let parts = [instance.cluster.as_str(), workload.namespace.as_str(), workload.name.as_str()];
            Seed::new(b'e', &parts.map(str::as_bytes))
        }
        (Peer::Address, EndpointAddress::Socket(address)) => Seed::new(b'a', &[address.to_string().as_bytes()]),
    }
}

/// A step near the golden section of `sum` that is coprime to it: each point is visited once a round, and the visits of
/// a heavy endpoint are spread instead of following each other.
fn stride(sum: u64) -> u64 {
    let golden = ((u128::from(sum) * 0x9E37_79B9_7F4A_7C15) >> 64) as u64;
    (golden.max(1)..).find(|&step| gcd(step, sum.max(1)) == 1).unwrap_or(1)
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
