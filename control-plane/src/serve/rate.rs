//! How often something may be asked for: token buckets.
use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// How many clients are told apart; a bucket that is full again needs no entry.
const MAX_CLIENTS: usize = 16_384;

/// A rate, and how many may come at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// So many a second.
    pub(crate) per_second: f64,
    /// So many at once.
    pub(crate) burst: f64,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    tokens: f64,
    at: Instant,
}

impl Level {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { tokens: rate.burst, at: now }
    }

    fn at(self, rate: Rate, now: Instant) -> Self {
        let refilled = now.saturating_duration_since(self.at).as_secs_f64() * rate.per_second;
        Self { tokens: (self.tokens + refilled).min(rate.burst), at: now }
    }

    fn take(&mut self) -> bool {
        let within = self.tokens >= 1.0;
        if within {
            self.tokens -= 1.0;
        }
        within
    }
}

/// A bucket for all clients together, and a smaller one for each: no client uses up what the others need.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    all: Rate,
    each: Rate,
    levels: Mutex<Levels<K>>,
}

#[derive(Debug)]
struct Levels<K> {
    all: Option<Level>,
    each: HashMap<K, Level>,
}

impl<K: Hash + Eq> Buckets<K> {
    /// Full buckets.
    pub(crate) fn new(all: Rate, each: Rate) -> Self {
        Self { all, each, levels: Mutex::new(Levels { all: None, each: HashMap::new() }) }
    }

    /// Whether one more of this client is within the rates. What its own bucket refuses takes nothing from the others'.
    pub(crate) fn take(&self, client: K, now: Instant) -> bool {
        // A level is whole between statements, so a panic elsewhere does not spoil it.
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        if levels.each.len() >= MAX_CLIENTS && !levels.each.contains_key(&client) {
            levels.each.retain(|_, level| level.at(self.each, now).tokens < self.each.burst);
        }
        // With more clients than are told apart, the bucket of all still holds.
        if levels.each.len() < MAX_CLIENTS || levels.each.contains_key(&client) {
            let level = levels.each.entry(client).or_insert_with(|| Level::full(self.each, now));
            *level = level.at(self.each, now);
            if !level.take() {
                return false;
            }
        }
        let mut all = levels.all.unwrap_or_else(|| Level::full(self.all, now)).at(self.all, now);
        let within = all.take();
        levels.all = Some(all);
        within
    }
}

/// Who an address stands for: itself, and in IPv6 its /64, which is what one host has at least (RFC 7421 §1).
pub(crate) fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ALL: Rate = Rate { per_second: 200.0, burst: 1_000.0 };
    const EACH: Rate = Rate { per_second: 5.0, burst: 100.0 };

    #[test]
    fn a_burst_is_taken_and_then_the_rate() {
        let (buckets, start) = (Buckets::new(ALL, ALL), Instant::now());
        assert_eq!((0..2_000).filter(|_| buckets.take("web", start)).count(), 1_000);
        let later = start + Duration::from_millis(500);
        assert_eq!((0..2_000).filter(|_| buckets.take("web", later)).count(), 100);
    }

    #[test]
    fn a_greedy_client_takes_nothing_from_the_others() {
        let (buckets, start) = (Buckets::new(ALL, EACH), Instant::now());
        assert_eq!((0..5_000).filter(|_| buckets.take("greedy", start)).count(), 100);
        assert_eq!((0..5_000).filter(|_| buckets.take("modest", start)).count(), 100);
        let later = start + Duration::from_secs(2);
        assert_eq!((0..5_000).filter(|_| buckets.take("greedy", later)).count(), 10);
    }

    #[test]
    fn the_clients_that_are_told_apart_are_bounded() {
        let (all, start) = (Rate { per_second: 0.0, burst: 1e9 }, Instant::now());
        let buckets = Buckets::new(all, EACH);
        assert!((0..2 * MAX_CLIENTS).all(|client| buckets.take(client, start)));
        assert_eq!(buckets.levels.lock().unwrap().each.len(), MAX_CLIENTS);
        assert!(buckets.take(usize::MAX, start + Duration::from_secs(60)));
        assert_eq!(buckets.levels.lock().unwrap().each.len(), 1);
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_client() {
        let of = |text: &str| host(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
