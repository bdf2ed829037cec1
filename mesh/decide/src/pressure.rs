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

    proptest! {
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
