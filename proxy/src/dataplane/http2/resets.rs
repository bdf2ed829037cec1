//! Whether a client opens streams only to reset them (CVE-2023-44487): each costs us a decision and costs it nothing.
use std::time::Duration;

/// For how long resets are counted together.
const WINDOW: Duration = Duration::from_secs(30);

/// Who may reset how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// Whoever has not proven who it is: the application's side.
    Anybody,
    /// A mesh peer: its resets are those of many clients.
    Peer,
}

/// Counts one connection's streams, and those that were reset before an answer.
#[derive(Debug)]
pub(super) struct Resets {
    most: u32,
    since: Duration,
    opened: u32,
    reset: u32,
}

impl Resets {
    pub(super) fn of(client: Client) -> Self {
        let most = match client {
            Client::Anybody => 100,
            Client::Peer => 1000,
        };
        Self { most, since: Duration::ZERO, opened: 0, reset: 0 }
    }

    /// A stream was opened, so long after the connection was.
    pub(super) fn opened(&mut self, now: Duration) {
        if now.saturating_sub(self.since) >= WINDOW {
            *self = Self { most: self.most, since: now, opened: 0, reset: 0 };
        }
        self.opened = self.opened.saturating_add(1);
    }

    /// A stream was reset before it was answered; whether it is too much: more resets than allowed, and more than half of
    /// the streams of the window.
    pub(super) fn reset(&mut self) -> bool {
        self.reset = self.reset.saturating_add(1);
        self.reset > self.most && self.reset > self.opened / 2
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hundred_resets_are_borne_from_anybody_and_a_thousand_from_a_peer() {
        for (client, most) in [(Client::Anybody, 100), (Client::Peer, 1000)] {
            let mut resets = Resets::of(client);
            for _ in 0..most {
                resets.opened(Duration::ZERO);
                assert!(!resets.reset());
            }
            resets.opened(Duration::ZERO);
            assert!(resets.reset(), "{client:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whoever is answered more often than it resets is never ended.
        #[test]
        fn resets_among_as_many_answered_streams_are_no_flood(rounds in 1_usize..2_000, gap in 0_u64..100) {
            let mut resets = Resets::of(Client::Anybody);
            for round in 0..rounds {
                let now = Duration::from_millis(gap * round as u64);
                resets.opened(now);
                resets.opened(now);
                prop_assert!(!resets.reset());
            }
        }

        /// What lies more than a window back is forgotten.
        #[test]
        fn slow_resets_are_no_flood(rounds in 1_usize..500) {
            let mut resets = Resets::of(Client::Anybody);
            for round in 0..rounds {
                resets.opened(Duration::from_secs(round as u64));
                prop_assert!(!resets.reset());
            }
        }
    }
}
