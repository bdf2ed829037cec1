use proptest::prelude::*;

use super::*;
use crate::rendezvous::hash;

const KEYS: usize = 20_000;

fn candidates(weights: &[u32]) -> Vec<(Seed, u32)> {
    let seed = |place: usize| Seed::new(b'e', &[format!("web-{place}").as_bytes()]);
    weights.iter().enumerate().filter(|(_, weight)| **weight > 0).map(|(at, weight)| (seed(at), *weight)).collect()
}

fn keys() -> impl Iterator<Item = u64> {
    (0..KEYS).map(|number| hash(format!("user-{number}").as_bytes()))
}

/// How many places of the table each has.
fn places(weights: &[u32]) -> Vec<usize> {
    let mut places = vec![0; weights.len()];
    for who in &*Maglev::new(&candidates(weights)).unwrap().0 {
        places[usize::from(*who)] += 1;
    }
    places
}

#[test]
fn each_candidate_has_its_share_of_the_table() {
    for weights in
        [vec![1, 1], vec![1; 10], vec![1, 2, 3], vec![90, 10], vec![1000, 1], vec![3; 997], vec![u32::MAX, 1, 1]]
    {
        let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        for (weight, places) in weights.iter().zip(places(&weights)) {
            let share = f64::from(SIZE) * f64::from(*weight) / sum as f64;
            // Whoever is late in the last round has a turn less.
            assert!((places as f64 - share).abs() <= 2.0, "{places} of {share} places");
        }
    }
}

#[test]
fn each_candidate_wins_its_share_of_keys() {
    for weights in [vec![1, 1], vec![1; 10], vec![1, 2, 3], vec![90, 10]] {
        let table = Maglev::new(&candidates(&weights)).unwrap();
        let mut wins = vec![0u32; weights.len()];
        keys().for_each(|key| wins[table.choose(key)] += 1);
        let sum = f64::from(weights.iter().sum::<u32>());
        for (weight, wins) in weights.iter().zip(&wins) {
            let share = f64::from(*weight) / sum;
            // 4.9 standard deviations of a binomial distribution: a probability of 10⁻⁶.
            let margin = 4.9 * (KEYS as f64 * share * (1.0 - share)).sqrt() + KEYS as f64 * 2.0 / f64::from(SIZE);
            assert!((f64::from(*wins) - KEYS as f64 * share).abs() <= margin, "{weights:?} won {wins:?}");
        }
    }
}

/// The paper's §5.3 loses one of a thousand backends and moves up to 2 % of the other keys with tables of this size.
#[test]
fn when_one_of_many_is_lost_few_keys_of_the_others_move() {
    for (count, most) in [(3, 0.02), (10, 0.02), (100, 0.03), (1000, 0.04)] {
        let all = vec![1; count];
        let mut without = all.clone();
        without[count / 2] = 0;
        let (before, after) = (Maglev::new(&candidates(&all)).unwrap(), Maglev::new(&candidates(&without)).unwrap());
        let number = |place: usize| if place < count / 2 { place } else { place + 1 };
        let moved = keys().filter(|key| {
            let was = before.choose(*key);
            was != count / 2 && was != number(after.choose(*key))
        });
        let share = moved.count() as f64 / KEYS as f64;
        assert!(share <= most, "of {count}: {share} moved");
    }
}

#[test]
fn where_there_is_nothing_to_choose_there_is_no_table() {
    assert!(Maglev::new(&[]).is_none() && Maglev::new(&candidates(&[7])).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_weights_give_a_full_table(weights in prop::collection::vec(prop_oneof![1u32..9, 1u32..], 2..40)) {
        let table = Maglev::new(&candidates(&weights)).unwrap();
        prop_assert_eq!(table.0.len(), SIZE as usize);
        prop_assert!(table.0.iter().all(|who| usize::from(*who) < weights.len()));
    }
}
