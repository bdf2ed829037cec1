//! Choosing by a key from a table: Maglev (Eisenbud et al. 2016, §3.4), with weights.
//!
//! Each candidate has an order of its own in which it wants the places of the table, and they take turns, as often as
//! their weights say, until all are taken. A pick is one look, whatever the number of candidates. What it costs against
//! rendezvous hashing: a table for each set of endpoints, and that a few keys move between others when one is lost.
use std::{cmp::Reverse, collections::BinaryHeap};

use crate::rendezvous::{Seed, mix};

/// Places of a table: a prime, so that every step leads through all of them. Envoy's default, and the paper's.
const SIZE: u32 = 65_537;

/// A place that nobody has taken yet.
const FREE: u16 = u16::MAX;

/// The table of one set of candidates.
#[derive(Clone, Debug)]
pub(crate) struct Maglev(Box<[u16]>);

impl Maglev {
    /// The table of candidates with their seeds and weights (above zero), in an order that every proxy has alike. `None`
    /// where there is nothing to choose, and of more candidates than a table could give a share.
    pub(crate) fn new(candidates: &[(Seed, u32)]) -> Option<Self> {
        if candidates.len() < 2 || candidates.len() >= usize::from(FREE) {
            return None;
        }
        let mut table = vec![FREE; SIZE as usize].into_boxed_slice();
        // The next place that each wants, and its step.
        let mut wants: Vec<_> = candidates.iter().map(|(seed, _)| order(*seed)).collect();
        // Turns by weight: the n-th of a candidate is at n / weight. Ties go to the first.
        let mut turns: BinaryHeap<_> =
            (0u16..).zip(candidates).map(|(who, (_, weight))| Reverse((interval(*weight), who))).collect();
        for _ in 0..SIZE {
            let Reverse((at, who)) = turns.pop()?;
            let (place, step) = wants.get_mut(usize::from(who))?;
            while *table.get(*place as usize)? != FREE {
                *place = (*place + *step) % SIZE;
            }
            *table.get_mut(*place as usize)? = who;
            let (_, weight) = candidates.get(usize::from(who))?;
            turns.push(Reverse((at + interval(*weight), who)));
        }
        Some(Self(table))
    }

    /// Which of the candidates, by its place among them, a key's hash chooses.
    pub(crate) fn choose(&self, key: u64) -> usize {
        // Below SIZE: nothing is cut off.
        let place = ((u128::from(mix(key)) * u128::from(SIZE)) >> 64) as usize;
        self.0.get(place).copied().map_or(0, usize::from)
    }
}

/// Between two turns of a candidate.
fn interval(weight: u32) -> u64 {
    // Times SIZE this stays far below 2^64.
    (1 << 40) / u64::from(weight.max(1))
}

/// Where a candidate begins, and by how much it goes on.
fn order(seed: Seed) -> (u32, u32) {
    // Below SIZE: nothing is cut off.
    let below = |salt: u64, bound: u32| ((u128::from(seed.with(salt)) * u128::from(bound)) >> 64) as u32;
    (below(1, SIZE), 1 + below(2, SIZE - 1))
}

#[cfg(test)]
mod tests;
