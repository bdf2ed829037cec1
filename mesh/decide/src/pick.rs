//! From a cluster to one of its endpoints.
use std::sync::Arc;

use serde::Serialize;
use weft_ir::{Balance, Cluster, Endpoint, EndpointAddress, Endpoints};
use weft_model::SpiffeId;

use crate::{
    ClusterEntry, Ejected, Permitted, Refusal,
    rendezvous::{choose, mix},
    snapshot::Candidate,
};

/// An endpoint that a permitted request or connection goes to.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'s> {
    permitted: Permitted<'s>,
    endpoint: &'s Endpoint,
    index: usize,
    second: bool,
}

impl<'s> Picked<'s> {
    /// What it was picked for; a retry picks again from it.
    pub fn permitted(&self) -> Permitted<'s> {
        self.permitted
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &'s Endpoint {
        self.endpoint
    }

    /// The endpoint's place among [`Self::endpoints`].
    pub fn index(&self) -> usize {
        self.index
    }

    /// What this pick depended on beside snapshot and draws, for the record of what it was picked for.
    pub fn circumstances(&self, turn: &Turn<'_>) -> Circumstances {
        Circumstances { ejected: turn.ejected.clone(), avoided: turn.avoid, second: self.second }
    }

    /// All endpoints of the cluster.
    pub fn endpoints(&self) -> &'s Arc<Endpoints> {
        self.permitted.routed().cluster().endpoints()
    }

    /// The cluster.
    pub fn cluster(&self) -> &'s Arc<Cluster> {
        self.permitted.routed().cluster().cluster()
    }

    /// Where to connect.
    pub fn address(&self) -> EndpointAddress {
        self.endpoint.address
    }

    /// The identity that the endpoint's certificate must prove.
    pub fn identity(&self) -> &'s SpiffeId {
        &self.endpoint.identity
    }

    /// The server name for the TLS hello.
    pub fn sni(&self) -> &'s str {
        &self.cluster().tls.sni
    }
}

/// What a pick looks at beside the snapshot.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// For round robin the cursor, for all else a uniform draw.
    pub draw: u64,
    /// The endpoints that are left out.
    pub ejected: &'a Ejected,
    /// The endpoint of the last try, by its place in the same snapshot: picked only if there is no other.
    pub avoid: Option<usize>,
    /// How busy endpoints are.
    pub loads: Loads<'a>,
}

/// How busy the endpoints of a cluster are; asked of two of them where the balance is by least request.
#[derive(Clone, Copy)]
pub enum Loads<'a> {
    /// How many requests are on the endpoint of that place, as far as this worker knows without asking others: its own.
    By(&'a dyn Fn(usize) -> u32),
    /// Only what came of it: whether the second of the two was less busy. For replaying a record.
    Second(bool),
}

impl Turn<'static> {
    /// Nothing is ejected, nothing avoided, and all are equally busy.
    pub fn new(draw: u64) -> Self {
        Self { draw, ejected: Ejected::none(), avoid: None, loads: Loads::Second(false) }
    }
}

/// What a pick depended on beside snapshot and draws, for the record: with it and them, the pick can be repeated. Empty
/// for a first try while nothing is ejected, unless the balance is by least request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Circumstances {
    /// The addresses that were ejected.
    pub ejected: Ejected,
    /// The endpoint of the try before, by its place.
    pub avoided: Option<usize>,
    /// Whether the second of two endpoints was less busy.
    pub second: bool,
}

impl Circumstances {
    /// The same turn again.
    pub const fn turn(&self, draw: u64) -> Turn<'_> {
        Turn { draw, ejected: &self.ejected, avoid: self.avoided, loads: Loads::Second(self.second) }
    }
}

/// Picks the endpoint of turn `cursor` where nothing is ejected and nothing avoided: [`pick_with`] of [`Turn::new`].
///
/// # Errors
/// [`Refusal::NoHealthyEndpoint`].
pub fn pick(permitted: Permitted<'_>, cursor: u64) -> Result<Picked<'_>, Refusal> {
    pick_with(permitted, &Turn::new(cursor))
}

/// Picks an endpoint for what was permitted. The same snapshot and turn give the same pick.
///
/// - With an affinity, by its key, whatever the balance: each key has an order of endpoints of its own (weighted
///   rendezvous hashing), and goes to the first that may be picked.
/// - Round robin: each endpoint as many times as its weight within each run of as many cursors as the weights sum to,
///   evenly spread. Count a cursor for each cluster, from a random start for each worker: one that clusters share skips
///   endpoints in step. The turns of what is ejected go to the others at random by weight.
/// - Least request: of two drawn by weight (two different ones where there are), the one with fewer requests for its
///   weight (Mitzenmacher 2001).
/// - Ring hash without a key: at random by weight.
///
/// What is ejected or avoided is not picked while there is another. An avoided endpoint goes before an ejected one. Where
/// all are ejected, which happens only for a moment, while the snapshot is younger than the ejections, it is as if none
/// were.
///
/// # Errors
/// [`Refusal::NoHealthyEndpoint`].
pub fn pick_with<'s>(permitted: Permitted<'s>, turn: &Turn<'_>) -> Result<Picked<'s>, Refusal> {
    let entry = permitted.routed().cluster();
    let all = &entry.endpoints().endpoints;
    let ejected = |it: &Candidate| all.get(it.index()).is_some_and(|it| turn.ejected.contains(&it.address));
    let avoided = |it: &Candidate| turn.avoid == Some(it.index());
    let key = permitted.routed().key();
    let choice = choose_one(entry, key, turn, |it| !ejected(it) && !avoided(it))
        .or_else(|| choose_one(entry, key, turn, |it| !ejected(it)))
        .or_else(|| choose_one(entry, key, turn, |it| !avoided(it)))
        .or_else(|| choose_one(entry, key, turn, |_| true));
    let found = choice.and_then(|it| Some((all.get(it.candidate.index())?, it)));
    match found {
        Some((endpoint, Choice { candidate, second })) => {
            Ok(Picked { permitted, endpoint, index: candidate.index(), second })
        }
        None => Err(Refusal::NoHealthyEndpoint { cluster: entry.cluster().name.clone(), endpoints: all.len() }),
    }
}

struct Choice<'s> {
    candidate: &'s Candidate,
    second: bool,
}

fn choose_one<'s>(
    entry: &'s ClusterEntry,
    key: Option<u64>,
    turn: &Turn<'_>,
    may: impl Fn(&Candidate) -> bool,
) -> Option<Choice<'s>> {
    if let Some(key) = key {
        let candidates = entry.candidates().iter().filter(|it| may(it));
        let candidate = choose(key, candidates.map(|it| (it, it.seed, it.weight)))?;
        return Some(Choice { candidate, second: false });
    }
    let candidate = match entry.cluster().balance {
        Balance::RoundRobin => match entry.turn(turn.draw).filter(|it| may(it)) {
            None => entry.drawn(mix(turn.draw), may)?,
            Some(candidate) => candidate,
        },
        Balance::RingHash => entry.drawn(mix(turn.draw), may)?,
        Balance::LeastRequest => {
            let first = entry.drawn(mix(turn.draw), &may)?;
            let second = entry.drawn(mix(!turn.draw), |it| may(it) && it.index() != first.index());
            return Some(match second.filter(|second| is_less_busy(second, first, turn.loads)) {
                Some(candidate) => Choice { candidate, second: true },
                None => Choice { candidate: first, second: false },
            });
        }
    };
    Some(Choice { candidate, second: false })
}

/// Whether `one` has fewer requests than `other`, each for its weight and with the one to come.
fn is_less_busy(one: &Candidate, other: &Candidate, loads: Loads<'_>) -> bool {
    match loads {
        Loads::By(load) => {
            let busy = |it: &Candidate| u64::from(load(it.index())) + 1;
            u128::from(busy(one)) * u128::from(other.weight) < u128::from(busy(other)) * u128::from(one.weight)
        }
        Loads::Second(second) => second,
    }
}

#[cfg(test)]
mod tests;
