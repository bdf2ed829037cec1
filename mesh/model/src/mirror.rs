//! Copies of requests: the Gateway API's `RequestMirror` filter.
use std::num::NonZeroU32;

use serde::Serialize;

use crate::{Name, Namespace, Port};

/// `RequestMirror` (Gateway API `HTTPRequestMirrorFilter`): a share of a rule's requests goes to this Service port too. What
/// it answers is thrown away.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Mirror {
    /// The Service's namespace; the route's where the user wrote none.
    pub namespace: Namespace,
    /// The Service's name.
    pub name: Name,
    /// The Service's port.
    pub port: Port,
    /// Of how many requests it gets a copy; of all where the user wrote nothing.
    pub share: Share,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Share {
    /// So many; at most `of`.
    pub part: u32,
    /// Of so many.
    pub of: NonZeroU32,
}

impl Share {
    /// What percentages are parts of.
    pub const HUNDRED: NonZeroU32 = NonZeroU32::new(100).unwrap();
    /// Every one.
    pub const ALL: Self = Self { part: 100, of: Self::HUNDRED };

    /// The share as parts of a million, rounded; of what is above zero at least one.
    pub fn per_million(self) -> u32 {
        let Self { part, of } = self;
        let of = u64::from(of.get());
        let rounded = (u64::from(part) * 1_000_000 + of / 2) / of;
        let least = u64::from(part > 0);
        u32::try_from(rounded.clamp(least, 1_000_000)).unwrap_or(1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_to_millionths_and_one_that_is_written_never_to_nothing() {
        let share = |part, of| Share { part, of: NonZeroU32::new(of).unwrap() }.per_million();
        assert_eq!([share(0, 100), share(1, 100), share(100, 100)], [0, 10_000, 1_000_000]);
        assert_eq!([share(1, 3), share(2, 3), share(1, 7_000_000)], [333_333, 666_667, 1]);
        assert_eq!([share(u32::MAX, u32::MAX), share(u32::MAX - 1, u32::MAX)], [1_000_000; 2]);
        assert_eq!(Share::ALL.per_million(), 1_000_000);
    }
}
