//! A cluster with its endpoints, made ready once for all picks.
use std::sync::Arc;

use weft_ir::{Cluster, Endpoint, Endpoints, Health};

use crate::rendezvous::{Seed, mix};

/// How often another endpoint is drawn for one that may not be picked, before the next one that may is taken.
const DRAWS: u64 = 8;

/// A cluster with its endpoints, ready to pick from.
#[derive(Clone, Debug)]
pub struct ClusterEntry {
    cluster: Arc<Cluster>,
    endpoints: Arc<Endpoints>,
    candidates: Vec<Candidate>,
    /// By how much a step of the cursor moves over the sum of weights; coprime to it.
    stride: u64,
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

impl ClusterEntry {
    pub(super) fn new(cluster: Arc<Cluster>, endpoints: Arc<Endpoints>) -> Self {
        let healthy = || {
            let numbered = (0u32..).zip(&endpoints.endpoints);
            numbered.filter(|(_, endpoint)| endpoint.health == Health::Healthy && endpoint.weight > 0)
        };
        let common = healthy().fold(0, |common, (_, endpoint)| gcd(common, u64::from(endpoint.weight))).max(1);
        let mut upto = 0;
        let candidates: Vec<_> = healthy()
            .map(|(index, endpoint)| {
                upto += u64::from(endpoint.weight) / common;
                Candidate { upto, seed: seed(endpoint), index, weight: endpoint.weight }
            })
            .collect();
        Self { cluster, endpoints, candidates, stride: stride(upto) }
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
        self.candidates.len()
    }

    pub(crate) fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The candidate whose turn `cursor` is; `None` if there is none.
    pub(crate) fn turn(&self, cursor: u64) -> Option<&Candidate> {
        let sum = self.candidates.last()?.upto;
        let step = u128::from(cursor % sum) * u128::from(self.stride);
        // Below `sum`: nothing is cut off.
        self.candidates.get(self.place((step % u128::from(sum)) as u64))
    }

    /// A candidate drawn by weight from those that may be picked. Where few may not, or many of many, their shares go to
    /// the others by weight.
    pub(crate) fn drawn(&self, draw: u64, may: impl Fn(&Candidate) -> bool) -> Option<&Candidate> {
        let sum = self.candidates.last()?.upto;
        let mut place = 0;
        for turn in 0..DRAWS {
            // Below `sum`: nothing is cut off.
            place = self.place(((u128::from(mix(draw.wrapping_add(turn))) * u128::from(sum)) >> 64) as u64);
            if let Some(drawn) = self.candidates.get(place).filter(|it| may(it)) {
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

/// By the workload, not its address: an instance that starts again keeps its keys.
fn seed(endpoint: &Endpoint) -> Seed {
    let workload = &endpoint.workload;
    let parts = [endpoint.cluster.as_str(), workload.namespace.as_str(), workload.name.as_str()];
    Seed::new(b'e', &parts.map(str::as_bytes))
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
