//! From a cluster to one of its endpoints.
use std::{cell::Cell, fmt, sync::Arc};

use serde::Serialize;
use weft_ir::{Balance, Cluster, Endpoint, EndpointAddress, Endpoints, Instance, Peer, Security};
use weft_model::{AffinityKey, SpiffeId};

use crate::{
    Ejected, Nearness, Permitted, Refusal,
    rendezvous::mix,
    snapshot::{Candidate, Group},
};

/// An endpoint that a permitted request or connection goes to.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'s> {
    permitted: Permitted<'s>,
    endpoint: &'s Endpoint,
    upstream: Upstream<'s>,
    index: usize,
    why: Why<'s>,
    second: bool,
    cold: u32,
}

/// Why it was this endpoint, in all; its text is for records and people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Why<'s> {
    /// What chose it among its like.
    pub by: PickedBy<'s>,
    /// How near it is, where near ones come first.
    pub nearness: Option<Nearness>,
    /// Whether so few work there that ejected ones are chosen too.
    pub panic: bool,
}

impl Why<'_> {
    /// What a record does not say: where nobody has asked for anything else.
    pub const DEFAULT: Self = Self { by: PickedBy::Balance(Balance::RoundRobin), nearness: None, panic: false };
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.by)?;
        if let Some(nearness) = self.nearness {
            write!(f, ", {nearness}")?;
        }
        if self.panic { f.write_str(", in panic") } else { Ok(()) }
    }
}

/// What chose an endpoint among its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PickedBy<'s> {
    /// As the cluster is balanced.
    Balance(Balance),
    /// By the hash of this key of the request.
    Key(&'s AffinityKey),
    /// The same from the cluster's table.
    Table(&'s AffinityKey),
}

impl fmt::Display for PickedBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Balance(Balance::RoundRobin) => f.write_str("round robin"),
            Self::Balance(Balance::LeastRequest) => f.write_str("the fewest requests of two"),
            Self::Balance(Balance::Random) => f.write_str("chance"),
            Self::Balance(Balance::PeakEwma) => f.write_str("the least peak EWMA of two"),
            Self::Balance(Balance::RingHash | Balance::Maglev) => f.write_str("chance: the request has no key"),
            Self::Key(key) => write!(f, "the hash of {key}"),
            Self::Table(key) => write!(f, "the hash of {key} (Maglev)"),
        }
    }
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

    /// Why it was this one.
    pub fn why(&self) -> Why<'s> {
        self.why
    }

    /// What this pick depended on beside snapshot and draws, for the record of what it was picked for.
    pub fn circumstances(&self, turn: &Turn<'_>) -> Circumstances {
        Circumstances { ejected: turn.ejected.clone(), avoided: turn.avoid, second: self.second, cold: self.cold }
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

    /// How the connection to it is secured.
    pub fn upstream(&self) -> Upstream<'s> {
        self.upstream
    }
}

/// How the connection to a picked endpoint is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream<'s> {
    /// By mesh TLS.
    Mesh {
        /// The identity that the endpoint's certificate must prove.
        identity: &'s SpiffeId,
        /// The server name for the TLS hello.
        sni: &'s str,
    },
    /// Not at all.
    Plain,
}

impl<'s> Upstream<'s> {
    /// `None` for an endpoint of the mesh that names no identity: it is not reached in any other way either.
    pub fn of(cluster: &'s Cluster, endpoint: &'s Endpoint) -> Option<Self> {
        match (&cluster.security, &endpoint.peer) {
            (Security::Mesh { sni }, Peer::Instance(Instance { identity, .. })) => Some(Self::Mesh { identity, sni }),
            (Security::Mesh { .. }, Peer::Address) => None,
            (Security::Plain, _) => Some(Self::Plain),
        }
    }

    /// Who is at the other end for certain; `None` where the connection proves nothing.
    pub const fn identity(&self) -> Option<&'s SpiffeId> {
        match self {
            Self::Mesh { identity, .. } => Some(identity),
            Self::Plain => None,
        }
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
    /// Which are turned away for being new.
    pub cold: Cold<'a>,
}

/// Which draws are turned away, for another, because the endpoint is new and has a part of its weight only.
#[derive(Clone, Copy)]
pub enum Cold<'a> {
    /// By which part of its weight the endpoint of that place has ([`Warming::part`](crate::Warming::part)): so often its
    /// draw stands.
    By(&'a dyn Fn(usize) -> f64),
    /// Only what came of it, for replaying a record: a bit for each draw in their order, set where it was turned away.
    Told(u32),
}

/// How busy the endpoints of a cluster are; asked of two of them where the balance is by least request or peak EWMA.
#[derive(Clone, Copy)]
pub enum Loads<'a> {
    /// Of the endpoint of that place, as far as this worker knows without asking others: for least request how many
    /// requests are on it, for peak EWMA [`PeakEwma::cost`](crate::PeakEwma::cost).
    By(&'a dyn Fn(usize) -> u64),
    /// Only what came of it: whether the second of the two was less busy. For replaying a record.
    Second(bool),
}

impl Turn<'static> {
    /// Nothing is ejected, nothing avoided, and all are equally busy.
    pub fn new(draw: u64) -> Self {
        Self { draw, ejected: Ejected::none(), avoid: None, loads: Loads::Second(false), cold: Cold::Told(0) }
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
    /// Which draws were turned away because the endpoint is new: a bit for each, in their order.
    pub cold: u32,
}

impl Circumstances {
    /// The same turn again.
    pub const fn turn(&self, draw: u64) -> Turn<'_> {
        let (loads, cold) = (Loads::Second(self.second), Cold::Told(self.cold));
        Turn { draw, ejected: &self.ejected, avoid: self.avoided, loads, cold }
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
/// - With an affinity, by its key, whatever the balance: from a Maglev table where the cluster is balanced so; else each
///   key has an order of endpoints of its own (weighted rendezvous hashing), and goes to the first that may be picked.
/// - Round robin: each endpoint as many times as its weight within each run of as many cursors as the weights sum to,
///   evenly spread (where their sum is at most 16,384, within less than one turn of its share at any time). Count a
///   cursor for each cluster, from a random start for each worker: one that clusters share skips endpoints in step. The
///   turns of what is ejected go to the others at random by weight.
/// - Least request: of two drawn by weight (two different ones where there are), the one with fewer requests for its
///   weight (Mitzenmacher 2001).
/// - Peak EWMA: of two drawn so, the one that costs less for its weight ([`PeakEwma`](crate::PeakEwma)).
/// - Random, and ring hash and Maglev without a key: at random by weight.
///
/// Where near endpoints come first, a draw (or the key) chooses the level by what each can take, and all of this happens
/// within it; the others stand in, by falling nearness, where nothing of it may be picked. What was ejected from a level
/// in panic is picked like all else; what says of itself that it takes no work never is.
///
/// A draw that falls to an endpoint that is new is turned away as often as [`Turn::cold`] says, and drawn again; not with a
/// key, nor where chance alone chooses.
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
    let routed = permitted.routed();
    let key = routed.affinity().zip(routed.key());
    let balance = entry.cluster().balance;
    let levels = entry.levels(key.map_or(turn.draw, |(_, hash)| hash), turn.ejected);
    let coins = Coins { turn, tossed: Cell::new(0), declined: Cell::new(0), accepted: Cell::new(None) };
    // From all levels what is neither ejected nor avoided; else what is not ejected, what is not avoided, anything.
    let choice =
        [(true, true), (true, false), (false, true), (false, false)].into_iter().find_map(|(shuns, avoids)| {
            levels.iter().find_map(|(level, panic)| {
                let may = |it: &Candidate| {
                    let left_out = (shuns && !panic && ejected(it)) || (avoids && avoided(it));
                    !left_out
                };
                let choice = choose_one((balance, &level.group), key, &coins, may)?;
                Some((choice, level.nearness, *panic))
            })
        });
    let found = choice.and_then(|(it, nearness, panic)| {
        let endpoint = all.get(it.candidate.index())?;
        let why = Why { by: it.by, nearness, panic };
        Some((endpoint, Upstream::of(entry.cluster(), endpoint)?, it, why))
    });
    match found {
        Some((endpoint, upstream, Choice { candidate, second, .. }, why)) => {
            let (index, cold) = (candidate.index(), coins.declined.get());
            Ok(Picked { permitted, endpoint, upstream, index, why, second, cold })
        }
        None => Err(Refusal::NoHealthyEndpoint { cluster: entry.cluster().name.clone(), endpoints: all.len() }),
    }
}

/// Whether draws stand that fall to new endpoints.
struct Coins<'t> {
    turn: &'t Turn<'t>,
    tossed: Cell<u32>,
    declined: Cell<u32>,
    /// Whose draw stood last.
    accepted: Cell<Option<usize>>,
}

impl Coins<'_> {
    fn stands(&self, candidate: &Candidate) -> bool {
        let number = self.tossed.get();
        self.tossed.set(number + 1);
        let stands = match self.turn.cold {
            Cold::Told(declined) => declined.checked_shr(number).is_none_or(|rest| rest & 1 == 0),
            Cold::By(part) => {
                let part = part(candidate.index());
                part >= 1.0 || mix(!self.turn.draw ^ mix(number.into())) < (part * 2f64.powi(64)) as u64
            }
        };
        if !stands {
            self.declined.set(self.declined.get() | 1u32.checked_shl(number).unwrap_or(0));
        }
        // What could not be told is not done.
        let stands = stands || number >= u32::BITS;
        if stands {
            self.accepted.set(Some(candidate.index()));
        }
        stands
    }
}

struct Choice<'s> {
    candidate: &'s Candidate,
    by: PickedBy<'s>,
    second: bool,
}

fn choose_one<'s>(
    (balance, group): (Balance, &'s Group),
    key: Option<(&'s AffinityKey, u64)>,
    coins: &Coins<'_>,
    may: impl Fn(&Candidate) -> bool,
) -> Option<Choice<'s>> {
    if let Some((key, hash)) = key {
        let (candidate, tabled) = group.of_key(hash, may)?;
        let by = if tabled { PickedBy::Table(key) } else { PickedBy::Key(key) };
        return Some(Choice { candidate, by, second: false });
    }
    let by = PickedBy::Balance(balance);
    let (turn, warm) = (coins.turn, |it: &Candidate| coins.stands(it));
    let candidate = match balance {
        Balance::RoundRobin => match group.turn(turn.draw).filter(|it| may(it) && warm(it)) {
            None => group.drawn(mix(turn.draw), may, warm)?,
            Some(candidate) => candidate,
        },
        Balance::Random | Balance::RingHash | Balance::Maglev => group.drawn(mix(turn.draw), may, |_| true)?,
        Balance::LeastRequest | Balance::PeakEwma => {
            let first = group.drawn(mix(turn.draw), &may, warm)?;
            let others = |it: &Candidate| may(it) && it.index() != first.index();
            let declined = coins.declined.get();
            let second = group.drawn(mix(!turn.draw), others, warm);
            // Where all draws were turned away it is one of those: new, and in no place to relieve another.
            let second =
                second.filter(|it| coins.declined.get() == declined || coins.accepted.get() == Some(it.index()));
            return Some(match second.filter(|second| is_less_busy(second, first, turn.loads)) {
                Some(candidate) => Choice { candidate, by, second: true },
                None => Choice { candidate: first, by, second: false },
            });
        }
    };
    Some(Choice { candidate, by, second: false })
}

/// Whether `one` has less on it than `other`, each for its weight and with one more to come.
fn is_less_busy(one: &Candidate, other: &Candidate, loads: Loads<'_>) -> bool {
    match loads {
        Loads::By(load) => {
            let busy = |it: &Candidate| u128::from(load(it.index())) + 1;
            busy(one) * u128::from(other.weight) < busy(other) * u128::from(one.weight)
        }
        Loads::Second(second) => second,
    }
}

#[cfg(test)]
mod tests;
