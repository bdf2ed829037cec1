use proptest::prelude::*;

use super::*;

fn at(region: &str, zone: &str) -> Locality {
    let part = |name: &str| (!name.is_empty()).then(|| name.parse().unwrap());
    Locality { region: part(region), zone: part(zone), sub_zone: None }
}

#[test]
fn a_zone_is_one_of_its_region_and_what_nobody_knows_is_elsewhere() {
    let own = at("eu", "a");
    for (other, expected) in [
        (at("eu", "a"), Nearness::Zone),
        (at("eu", "b"), Nearness::Region),
        (at("eu", ""), Nearness::Region),
        (at("us", "a"), Nearness::Elsewhere),
        (at("", "a"), Nearness::Elsewhere),
        (at("", ""), Nearness::Elsewhere),
    ] {
        assert_eq!(Nearness::of(&own, &other), expected, "{other:?}");
    }
    assert_eq!(Nearness::of(&at("", "a"), &at("", "a")), Nearness::Zone, "who has no regions has zones");
    assert_eq!(Nearness::of(&at("eu", ""), &at("eu", "b")), Nearness::Region);
    assert_eq!(Nearness::of(&at("", ""), &at("", "")), Nearness::Elsewhere);
}

fn shares(levels: &[(usize, usize)]) -> Vec<(u32, bool)> {
    let levels = levels.iter().map(|(healthy, total)| Standing { healthy: *healthy, total: *total });
    spread(Some(&NearFirst::default()), levels).0.into_vec()
}

/// The tables of Envoy's documentation, "Priority levels" and "Panic threshold".
#[test]
fn requests_spread_as_envoys_documentation_has_it() {
    let plain = |levels: &[(usize, usize)]| shares(levels).iter().map(|(share, _)| *share).collect::<Vec<_>>();
    for (healthy, expected) in [
        ([100, 100], [100, 0]),
        ([72, 72], [100, 0]),
        ([71, 71], [99, 1]),
        ([50, 50], [70, 30]),
        ([25, 100], [35, 65]),
        ([25, 25], [50, 50]),
        ([0, 100], [0, 100]),
    ] {
        assert_eq!(plain(&healthy.map(|it| (it, 100))), expected, "{healthy:?}");
    }
    for (healthy, expected) in [
        ([100, 100, 100], [100, 0, 0]),
        ([72, 72, 100], [100, 0, 0]),
        ([71, 71, 100], [99, 1, 0]),
        ([50, 50, 100], [70, 30, 0]),
        ([25, 100, 100], [35, 65, 0]),
        ([25, 25, 100], [35, 35, 30]),
    ] {
        assert_eq!(plain(&healthy.map(|it| (it, 100))), expected, "{healthy:?}");
    }
    let panics = |levels: [usize; 2]| shares(&levels.map(|it| (it, 100))).iter().map(|it| it.1).collect::<Vec<_>>();
    for (healthy, expected) in [
        ([72, 72], [false, false]),
        ([71, 1], [false, false]),
        ([50, 60], [false, false]),
        ([5, 65], [true, false]),
        ([25, 25], [true, true]),
        ([0, 100], [false, false]),
    ] {
        assert_eq!(panics(healthy), expected, "{healthy:?}");
    }
}

#[test]
fn where_nobody_works_the_nearest_is_asked() {
    assert_eq!(shares(&[(0, 3), (0, 4)]), [(100, true), (0, true)]);
    assert_eq!(shares(&[(0, 3)]), [(100, true)]);
}

#[test]
fn draws_fall_to_levels_by_their_share() {
    let spread = Spread([(35, false), (35, false), (30, false)].into_iter().collect());
    let mut counts = [0u32; 3];
    for draw in 0..20_000 {
        counts[spread.choose(draw)] += 1;
    }
    for (count, share) in counts.iter().zip([0.35, 0.35, 0.3]) {
        // 4.9 standard deviations of a binomial distribution: a probability of 10⁻⁶.
        let margin = 4.9 * (20_000.0f64 * share * (1.0 - share)).sqrt();
        assert!((f64::from(*count) - 20_000.0 * share).abs() < margin, "{counts:?}");
    }
}

proptest! {
    #[test]
    fn shares_are_whole_and_nobody_gets_what_he_cannot_take_while_others_can(
        levels in prop::collection::vec((0usize..50, 1usize..50), 1..4),
        more in 100u32..1000,
        panic_percent in 0u8..=100,
    ) {
        let levels: Vec<_> = levels.into_iter().map(|(healthy, total)| (healthy.min(total), total)).collect();
        let policy = NearFirst { overprovisioning_percent: more, panic_percent };
        let standings = levels.iter().map(|(healthy, total)| Standing { healthy: *healthy, total: *total });
        let found = spread(Some(&policy), standings).0;
        prop_assert_eq!(found.iter().map(|(share, _)| *share).sum::<u32>(), 100);
        for ((share, _), (healthy, _)) in found.iter().zip(&levels).skip(1) {
            prop_assert!(*share == 0 || *healthy > 0);
        }
    }
}
