//! How near a proxy is to the end of what it may use, and what it sheds for that.
use std::time::Duration;

use serde::Serialize;

/// How much of a bounded resource is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What is in use.
    pub used: u64,
    /// What may be; above zero.
    pub limit: u64,
}

impl Usage {
    /// The part in use, in thousandths, rounded up; a resource of which nothing may be used is used up.
    pub const fn per_mille(self) -> u64 {
        let Self { used, limit } = self;
        if limit == 0 {
            return 1000;
        }
        let share = (used as u128 * 1000).div_ceil(limit as u128);
        if share > u64::MAX as u128 { u64::MAX } else { share as u64 }
    }
}

/// What is shed. Each level sheds what those below it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Pressure {
    /// Nothing.
    #[default]
    None,
    /// From 80 % on: connections that nobody uses, after a quarter of the time that they may rest otherwise.
    Idle,
    /// From 90 % on: new requests, by 503 and the end of their connection.
    Requests,
    /// From 95 % on: new connections.
    Connections,
}

impl Pressure {
    /// Every level, rising.
    pub const ALL: [Self; 4] = [Self::None, Self::Idle, Self::Requests, Self::Connections];

    /// By how much, in thousandths, use must fall below where a level begins before that level ends: what is shed must not
    /// flutter.
    pub const RELIEF: u64 = 50;

    /// From which use on, in thousandths, it sheds. Envoy's guide for edges begins at 92 % and 95 %; a sidecar has less
    /// room for what comes between two looks.
    pub const fn begins(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Idle => 800,
            Self::Requests => 900,
            Self::Connections => 950,
        }
    }

    /// How many bytes may be used more before this level begins.
    #[must_use]
    pub fn room(self, usage: Usage) -> u64 {
        let begins = u128::from(usage.limit) * u128::from(self.begins()) / 1000;
        u64::try_from(begins).unwrap_or(u64::MAX).saturating_sub(usage.used)
    }

    /// The level at this use, where this was the level before.
    #[must_use]
    pub fn after(self, usage: Usage) -> Self {
        let share = usage.per_mille();
        let reached = |level: &Self| match *level > self {
            true => share >= level.begins(),
            false => share + Self::RELIEF > level.begins(),
        };
        Self::ALL.into_iter().filter(reached).max().unwrap_or_default()
    }

    /// How long what is unused may rest, where it may for `time` otherwise.
    #[must_use]
    pub fn idle(self, time: Duration) -> Duration {
        if self >= Self::Idle { time / 4 } else { time }
    }

    /// Its name in metrics, records and logs: what it sheds.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Idle => "idle",
            Self::Requests => "requests",
            Self::Connections => "connections",
        }
    }
}

/// How many more requests may be under way before it is known what those that came lately have taken.
///
/// Use is looked at now and then, and a request fills its buffers a while after it was let in: a crowd that comes between
/// two looks would find the memory free that it uses up together. So each request that came during the last looks is taken
/// to cost [`PRICE`](Self::PRICE), until the use itself shows what it costs. A steady number under way grows by nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    look: u32,
    /// How many were under way at the look.
    base: u32,
    /// By how many it grew from each of the looks before to the next, the latest first.
    lately: [u32; Self::LOOKS],
}

impl Growth {
    /// What a request is taken to cost, in bytes: one whose answer nobody reads was measured at 26 KiB over HTTP/1.1, its
    /// connections on both sides included.
    pub const PRICE: u64 = 32 << 10;

    /// After how many looks the use shows what a request costs.
    pub const LOOKS: usize = 5;

    /// Whether one more may begin. `look`: the number of the last look; `room`: how many bytes were free at it; `under_way`:
    /// how many requests are.
    pub fn admits(&mut self, look: u32, room: u64, under_way: u32) -> bool {
        let grown = under_way.saturating_sub(self.base);
        let passed = look.wrapping_sub(self.look);
        if passed == 0 {
            return self.affords(grown, room);
        }
        let passed = usize::try_from(passed).unwrap_or(usize::MAX);
        let kept = self.lately.into_iter().take(Self::LOOKS.saturating_sub(passed));
        let mut lately = [0; Self::LOOKS];
        lately.iter_mut().skip(passed).zip(kept).for_each(|(place, before)| *place = before);
        // Nothing was let in since: all of it came before the next look after the one that was known.
        if let Some(then) = lately.get_mut(passed - 1) {
            *then = grown;
        }
        *self = Self { look, base: under_way, lately };
        self.affords(0, room)
    }

    fn affords(&self, grown: u32, room: u64) -> bool {
        let lately: u64 = self.lately.iter().copied().map(u64::from).sum();
        (lately + u64::from(grown) + 1).saturating_mul(Self::PRICE) <= room
    }
}

/// What a proxy is short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Resource {
    /// Memory.
    Memory,
    /// Descriptors: sockets and files.
    Descriptors,
}

impl Resource {
    /// Every resource.
    pub const ALL: [Self; 2] = [Self::Memory, Self::Descriptors];

    /// Its name in metrics, records and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Descriptors => "descriptors",
        }
    }
}

impl From<u8> for Pressure {
    /// The level of that number; the highest for a number that is none's.
    fn from(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Connections)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(used: u64) -> Usage {
        Usage { used, limit: 1000 }
    }

    #[test]
    fn each_level_begins_where_it_says_and_ends_a_twentieth_below() {
        for level in Pressure::ALL.into_iter().skip(1) {
            let begins = level.begins();
            assert!(Pressure::None.after(at(begins - 1)) < level, "{level:?}");
            assert_eq!(Pressure::None.after(at(begins)), level);
            assert_eq!(level.after(at(begins - 49)), level);
            assert!(level.after(at(begins - 50)) < level, "{level:?}");
        }
        assert_eq!(Pressure::None.after(Usage { used: 1, limit: 0 }), Pressure::Connections);
        assert_eq!(Pressure::from(Pressure::Requests as u8), Pressure::Requests);
        assert_eq!(Pressure::Idle.idle(Duration::from_secs(60)), Duration::from_secs(15));
    }

    #[test]
    fn a_steady_number_of_requests_is_let_in_with_room_for_one() {
        let mut growth = Growth::default();
        for look in 1..20 {
            // It takes some looks until they are taken for what has been there.
            let admitted = growth.admits(look, Growth::PRICE, 10_000);
            assert_eq!(admitted, look as usize > Growth::LOOKS, "look {look}");
        }
        assert!(!growth.admits(20, Growth::PRICE - 1, 10_000));
        assert_eq!(Pressure::Requests.room(at(400)), 500);
        assert_eq!(Pressure::Requests.room(at(950)), 0);
    }

    proptest! {
        #[test]
        fn what_comes_within_the_last_looks_never_costs_more_than_there_was_room_for(
            ends in proptest::collection::vec((0..400_u32, 0..400_u32, 0..100_u64), 1..60),
        ) {
            let (mut growth, mut under_way, mut admitted) = (Growth::default(), 0_u32, Vec::new());
            for (look, (ended, come, room)) in (1..).zip(ends) {
                under_way = under_way.saturating_sub(ended);
                let mut now = 0;
                for _ in 0..come {
                    if growth.admits(look, room * Growth::PRICE, under_way) {
                        under_way += 1;
                        now += 1;
                    }
                }
                prop_assert!(now <= room, "{now} came at look {look}, with room for {room}");
                admitted.push(now);
                if ended == 0 && come > 0 {
                    // Nobody left: all that came lately is still there.
                    prop_assert!(now == 0 || growth.lately.iter().map(|it| u64::from(*it)).sum::<u64>() + now <= room);
                }
            }
        }

        #[test]
        fn whatever_was_before_enough_is_shed_and_what_is_shed_without_need_ends(
            start in 0_u8..4, uses in proptest::collection::vec(0..1200_u64, 1..50),
        ) {
            let mut level = Pressure::from(start);
            for used in uses {
                let before = level;
                level = level.after(at(used));
                prop_assert!(level >= Pressure::None.after(at(used)), "less is shed than the use asks for");
                prop_assert!(level <= before.max(Pressure::None.after(at(used))), "more is shed than ever was asked for");
                prop_assert_eq!(level.after(at(used)), level, "the same use changes nothing more");
                if used + Pressure::RELIEF <= Pressure::Idle.begins() {
                    prop_assert_eq!(level, Pressure::None);
                }
            }
        }
    }
}
