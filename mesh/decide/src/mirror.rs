//! Which requests are copied to whom.
use weft_ir::{Mirror, ServiceKey};

use crate::rendezvous::mix;

/// What tells the draws of a request's mirrors from the draw that they are made of: it chooses among the route's clusters.
const MIRRORS: u64 = 0x6d69_7272_6f72_7331;

/// The mirrors whose share of the draws holds their own, each of which is made of `split`.
pub(crate) fn drawn(mirrors: &[Mirror], split: u64) -> impl Iterator<Item = &ServiceKey> {
    let draws = std::iter::successors(Some(mix(split ^ MIRRORS)), |draw| Some(mix(*draw)));
    // Multiply-shift: a share is off by at most a millionth of 2^-44.
    let point = |draw: u64| (u128::from(draw) * 1_000_000) >> 64;
    let chosen = mirrors.iter().zip(draws).filter(move |(mirror, draw)| point(*draw) < u128::from(mirror.per_million));
    chosen.map(|(mirror, _)| &mirror.cluster)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mirror(name: &str, per_million: u32) -> Mirror {
        Mirror { cluster: format!("local/shop/{name}:80").parse().unwrap(), per_million }
    }

    /// Uniform draws.
    fn splits(seed: u64) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(mix(seed)), |draw| Some(mix(*draw))).take(20_000)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn each_mirror_gets_its_share_whatever_the_others_and_the_weights_get(
            seed in any::<u64>(),
            one in 0..=1_000_000_u32,
            other in 0..=1_000_000_u32,
        ) {
            let mirrors = [mirror("a", one), mirror("b", other)];
            // Of all requests, of those that one half of a split takes, and of those that the first mirror gets.
            let (mut all, mut half, mut first) = ([0_u32; 3], [0_u32; 3], [0_u32; 2]);
            for split in splits(seed) {
                let chosen: Vec<_> = drawn(&mirrors, split).collect();
                let [a, b] = [0, 1].map(|at| u32::from(chosen.contains(&&mirrors[at].cluster)));
                let below = u32::from(split < u64::MAX / 2);
                for (count, taken) in [(&mut all, 1), (&mut half, below)] {
                    *count = [count[0] + taken, count[1] + taken * a, count[2] + taken * b];
                }
                first = [first[0] + a, first[1] + a * b];
            }
            // Six standard deviations: one case in 500 million is further off.
            let near = |count: u32, of: u32, per_million: u32| {
                let (of, share) = (f64::from(of), f64::from(per_million) / 1e6);
                (f64::from(count) - of * share).abs() <= 6.0 * (of * share * (1.0 - share)).sqrt() + 1.0
            };
            prop_assert!(near(all[1], all[0], one) && near(all[2], all[0], other), "{:?}", all);
            prop_assert!(near(half[1], half[0], one) && near(half[2], half[0], other), "{:?}", half);
            prop_assert!(near(first[1], first[0], other), "{:?}", first);
        }

        #[test]
        fn a_larger_share_holds_the_smaller_and_the_same_draw_is_answered_alike(
            split in any::<u64>(),
            small in 0..=1_000_000_u32,
            more in 0..=1_000_000_u32,
        ) {
            let takes = |share| drawn(&[mirror("a", share)], split).count() == 1;
            prop_assert!(!takes(small) || takes(small.saturating_add(more)));
            prop_assert_eq!(takes(small), takes(small));
            prop_assert!(takes(1_000_000) && !takes(0));
        }
    }
}
