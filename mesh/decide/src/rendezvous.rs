//! Choosing by a key so that similar requests keep going to the same place: weighted rendezvous hashing.
//!
//! For each key every candidate draws a time from an exponential distribution whose rate is its weight, and the earliest
//! wins (Thaler, Ravishankar 1998; weights by Schindelhauer, Schomaker 2005). So a candidate wins a share of keys that is
//! its share of weight; one that goes takes only its own keys along, to all others by weight; one that grows takes keys
//! from the others and moves none between them. No table is built, and what is left out for a moment costs nothing.
//!
//! All hashes have fixed keys and are written out here, so that every proxy of a mesh and every version of it agrees.

/// A candidate's own part of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u64);

impl Seed {
    /// The seed of a candidate that is named by `parts`, of a kind numbered `kind`: what chooses at one level says nothing
    /// about the next.
    pub(crate) fn new(kind: u8, parts: &[&[u8]]) -> Self {
        let whole = parts.iter().fold(fnv(FNV_OFFSET, &[kind]), |hash, part| fnv(fnv(hash, part), &[0xff]));
        Self(mix(whole))
    }

    /// A number of the candidate's own for each salt.
    pub(crate) const fn with(self, salt: u64) -> u64 {
        mix(self.0 ^ mix(salt))
    }
}

/// The hash of a key's text.
pub(crate) fn hash(text: &[u8]) -> u64 {
    mix(fnv(FNV_OFFSET, text))
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a (Fowler, Noll, Vo; RFC 9923).
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): each bit of the input changes each bit of the output with
/// probability one half.
pub(crate) const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Which of the candidates, each with its seed and its weight (above zero), a key's hash chooses.
pub(crate) fn choose<T>(key: u64, candidates: impl IntoIterator<Item = (T, Seed, u32)>) -> Option<T> {
    let mut best: Option<(T, u64, u32)> = None;
    for (candidate, Seed(seed), weight) in candidates {
        let draw = mix(key ^ seed);
        let wins = match &best {
            None => true,
            Some((_, its, same)) if *same == weight => draw > *its,
            Some((_, its, other)) => time(draw, weight) < time(*its, *other),
        };
        if wins {
            best = Some((candidate, draw, weight));
        }
    }
    best.map(|(candidate, ..)| candidate)
}

/// Among equal weights the greatest draw has the earliest time: only for others is a logarithm needed.
fn time(draw: u64, weight: u32) -> f64 {
    let uniform = (draw as f64 + 0.5) / 18_446_744_073_709_551_616.0;
    -uniform.ln() / f64::from(weight)
}

#[cfg(test)]
mod tests;
