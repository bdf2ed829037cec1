//! One clone of a compiled regular expression for each worker.
//!
//! A `regex::Regex` is an immutable program and a pool of scratch memory that matching writes to. The first thread that
//! matches owns a place of the pool, which it takes and gives back by storing to an atomic; every other thread takes
//! scratch memory from one of a few stacks behind mutexes. One expression for all workers would thus be a lock, and a
//! cache line that all of them write for each request (invariant 4). A clone shares the program and has a pool of its own.
use std::{array, sync::OnceLock};

/// How many clones a block holds: it is made when the first of its lanes is used.
const BLOCK: usize = 8;

/// How many blocks there may be. Workers beyond `BLOCK * BLOCKS` share clones, which is right but no longer free.
const BLOCKS: usize = 16;

/// The clones of one expression. A lane's is made when it is first used, by the one worker whose lane it is.
#[derive(Clone, Debug)]
pub(crate) struct Lanes<R> {
    /// What the others are cloned from: lane 0's own.
    first: R,
    others: [OnceLock<Box<[OnceLock<R>; BLOCK]>>; BLOCKS],
}

impl<R: Clone> Lanes<R> {
    pub(super) fn new(first: R) -> Self {
        Self { first, others: array::from_fn(|_| OnceLock::new()) }
    }

    /// The clone of one lane.
    pub(crate) fn of(&self, lane: usize) -> &R {
        let Some(other) = lane.checked_sub(1) else { return &self.first };
        let Some(block) = self.others.get(other / BLOCK % BLOCKS) else { return &self.first };
        let block = block.get_or_init(|| Box::new(array::from_fn(|_| OnceLock::new())));
        block.get(other % BLOCK).map_or(&self.first, |clone| clone.get_or_init(|| self.first.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_lane_has_a_clone_of_its_own_and_keeps_it() {
        let lanes = Lanes::new(regex::Regex::new("a+").unwrap());
        let place = |lane| std::ptr::from_ref(lanes.of(lane));
        let places: BTreeSet<_> = (0..=BLOCK * BLOCKS).map(place).collect();
        assert_eq!(places.len(), 1 + BLOCK * BLOCKS);
        assert!((0..=BLOCK * BLOCKS).all(|lane| places.contains(&place(lane)) && lanes.of(lane).is_match("aa")));
        assert!(places.contains(&place(usize::MAX)));
    }
}
