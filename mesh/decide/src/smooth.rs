//! The order of turns by weight.
use smallvec::SmallVec;

/// The longest order that is written out, in turns.
const MAX_TURNS: u64 = 16_384;

/// The most steps that writing one may take: a few milliseconds of the control thread.
const MAX_STEPS: u64 = 1 << 21;

/// Turns by weight, written out once for all rounds: a smooth weighted round robin. After any number of turns each
/// candidate has had those of its share but for less than one, so in any window of turns but for less than two.
///
/// A turn is for whoever has had less than its share up to and with it and whose next turn is due first: earliest
/// eligible virtual deadline first (Stoica, Abdel-Wahab 1995). `None` where the order would be too long to be written
/// out, and where all weights are one: then it is the candidates' own.
pub(crate) fn order(weights: impl IntoIterator<Item = u64>) -> Option<Box<[u16]>> {
    // Each with the turns that it has had.
    let mut all: SmallVec<[(u64, u64); 32]> = weights.into_iter().map(|weight| (weight, 0)).collect();
    let sum = all.iter().map(|(weight, _)| *weight).sum::<u64>();
    let count = u64::try_from(all.len()).ok()?;
    if sum == count || sum > MAX_TURNS || sum.saturating_mul(count) > MAX_STEPS {
        return None;
    }
    let mut order = Vec::new();
    for turn in 1..=sum {
        let eligible = all.iter_mut().enumerate().filter(|(_, (weight, had))| *had * sum < turn * *weight);
        // (had + 1) / weight, compared without a division; of equals the first.
        let first =
            eligible.min_by(|(_, (weight, had)), (_, (other, its))| ((*had + 1) * *other).cmp(&((*its + 1) * *weight)));
        let (place, (_, had)) = first?;
        *had += 1;
        order.push(u16::try_from(place).ok()?);
    }
    Some(order.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_heavy_candidate_is_interleaved_with_light_ones() {
        assert_eq!(&*order([5, 1, 1]).unwrap(), [0, 0, 0, 1, 0, 0, 2]);
        assert_eq!(order([1, 1, 1]), None);
        assert_eq!(order([]), None);
        assert_eq!(order([1, 20_000]), None, "it is too long to be written out");
        assert_eq!(order(vec![2; 3_000]), None, "it would take too many steps");
    }

    proptest! {
        #[test]
        fn after_any_turn_each_has_had_its_share_but_for_less_than_one(weights in prop::collection::vec(1u64..30, 2..9)) {
            let Some(order) = order(weights.iter().copied()) else { return Ok(()) };
            let sum = weights.iter().sum::<u64>();
            prop_assert_eq!(order.len() as u64, sum);
            for (place, weight) in weights.iter().enumerate() {
                let mut had = 0;
                for (turn, who) in (1u64..).zip(&order) {
                    had += u64::from(usize::from(*who) == place);
                    prop_assert!((had * sum).abs_diff(turn * weight) < sum, "{weights:?}: {place} at {turn}");
                }
                prop_assert_eq!(had, *weight, "a round is whole");
            }
        }
    }
}
