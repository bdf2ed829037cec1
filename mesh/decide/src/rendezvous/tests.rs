use proptest::prelude::*;

use super::*;

fn seeds(count: usize) -> Vec<Seed> {
    (0..count).map(|place| Seed::new(b'e', &[format!("web-{place}").as_bytes()])).collect()
}

fn chosen(key: u64, weights: &[u32]) -> usize {
    let candidates = seeds(weights.len()).into_iter().zip(weights).enumerate();
    choose(
        key,
        candidates.filter(|(_, (_, weight))| **weight > 0).map(|(place, (seed, weight))| (place, seed, *weight)),
    )
    .unwrap()
}

fn keys() -> impl Iterator<Item = u64> {
    (0..KEYS).map(|number| hash(format!("user-{number}").as_bytes()))
}

const KEYS: usize = 20_000;

/// How far a count of `KEYS` trials may be off with a probability of 10⁻⁶: 4.9 standard deviations of a binomial one.
fn margin(share: f64) -> f64 {
    4.9 * (KEYS as f64 * share * (1.0 - share)).sqrt()
}

#[test]
fn each_candidate_wins_its_share_of_keys() {
    for weights in [vec![1, 1], vec![1; 10], vec![1, 2, 3], vec![90, 10], vec![1000, 1], vec![7, 7, 7, 7, 100]] {
        let mut wins = vec![0u32; weights.len()];
        keys().for_each(|key| wins[chosen(key, &weights)] += 1);
        let sum = f64::from(weights.iter().sum::<u32>());
        for (weight, wins) in weights.iter().zip(&wins) {
            let share = f64::from(*weight) / sum;
            let off = (f64::from(*wins) - KEYS as f64 * share).abs();
            assert!(off <= margin(share), "{weights:?} won {wins:?}");
        }
    }
}

#[test]
fn a_hash_is_the_same_in_every_version() {
    // FNV-1a's own test vectors (RFC 9923), and SplitMix64's first number from 0.
    assert_eq!(fnv(FNV_OFFSET, b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv(FNV_OFFSET, b"foobar"), 0x8594_4171_f739_67e8);
    assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    // And our own, computed apart from this code.
    assert_eq!(hash(b"user-1"), 0xf16d_8d44_0fbb_25d5);
    assert_eq!(Seed::new(b'e', &[b"local", b"shop", b"web-0"]), Seed(0xeb4f_efc7_376e_1dae));
}

#[test]
fn the_parts_of_a_name_do_not_run_together() {
    assert_ne!(Seed::new(b'e', &[b"ab", b"c"]), Seed::new(b'e', &[b"a", b"bc"]));
    assert_ne!(Seed::new(b'e', &[b"a"]), Seed::new(b'c', &[b"a"]));
    assert_eq!(choose(1, std::iter::empty::<(u8, Seed, u32)>()), None);
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![1u32..4, 1u32..1000, Just(u32::MAX)], 2..8)
}

proptest! {
    #[test]
    fn when_a_candidate_goes_only_its_keys_move(weights in weights(), gone in any::<prop::sample::Index>(), keys: [u64; 32]) {
        let gone = gone.index(weights.len());
        let mut without = weights.clone();
        without[gone] = 0;
        for key in keys {
            let (before, after) = (chosen(key, &weights), chosen(key, &without));
            prop_assert!(before == after || before == gone);
        }
    }

    #[test]
    fn when_a_candidate_grows_keys_move_to_it_only(
        weights in weights(),
        grown in any::<prop::sample::Index>(),
        more in 1u32..1000,
        keys: [u64; 32],
    ) {
        let grown = grown.index(weights.len());
        let mut after = weights.clone();
        after[grown] = after[grown].saturating_add(more);
        for key in keys {
            let (before, after) = (chosen(key, &weights), chosen(key, &after));
            prop_assert!(before == after || after == grown);
        }
    }

    #[test]
    fn only_the_proportion_of_weights_counts(weights in prop::collection::vec(1u32..1000, 2..8), keys: [u64; 32]) {
        let scaled: Vec<_> = weights.iter().map(|weight| weight * 64).collect();
        for key in keys {
            prop_assert_eq!(chosen(key, &weights), chosen(key, &scaled));
        }
    }
}
