//! Seeded chance: the same seed gives the same configurations and requests.
use std::{fmt, str::FromStr};

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// A source of choices.
pub(crate) struct Dice(StdRng);

impl Dice {
    /// The choices of one configuration: they depend on the seed and its number only.
    pub(crate) fn new(seed: u64, configuration: u64) -> Self {
        Self(StdRng::seed_from_u64(seed ^ configuration.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound)
    }

    /// Whether something that happens in `percent` of all cases happens.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, several: &'a [T]) -> &'a T {
        &several[self.below(several.len())]
    }
}

/// A value of which the generator knows that it is valid.
pub(crate) fn valid<T: FromStr<Err: fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("the generator made {text:?}: {error:?}"))
}
