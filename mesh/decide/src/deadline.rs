//! How long a request may take, carried from hop to hop: gRPC's `grpc-timeout`, and `x-weft-deadline` between sidecars.
//!
//! Each hop passes on what is left, never more; what is enforced is the shortest that anybody said.
use std::time::Duration;

/// gRPC's header (gRPC over HTTP2, "Timeout").
pub(crate) const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Ours: milliseconds left, as decimal digits. Stripped from what comes from outside of the mesh.
pub(crate) const DEADLINE: &str = "x-weft-deadline";

/// The most digits that either may have.
const MAX_DIGITS: usize = 8;

/// What a request's fields say of its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// `grpc-timeout`, where it is one. What is none bounds nothing and is passed on as it came: its receiver judges it.
    pub grpc: Option<Duration>,
    /// `x-weft-deadline`, where it is one.
    pub deadline: Option<Duration>,
}

impl Time {
    /// Reads a field; whether it was one of these.
    pub(crate) fn take(&mut self, name: &[u8], value: &[u8]) -> bool {
        match name.len() {
            12 if name.eq_ignore_ascii_case(GRPC_TIMEOUT.as_bytes()) => self.grpc = read_grpc_timeout(value),
            15 if name.eq_ignore_ascii_case(DEADLINE.as_bytes()) => self.deadline = read_deadline(value),
            _ => return false,
        }
        true
    }

    /// How long the request may take, where its route says `route`.
    pub fn bound(&self, route: Option<Duration>) -> Option<Duration> {
        [self.grpc, self.deadline, route].into_iter().flatten().min()
    }
}

/// A `grpc-timeout`: one to eight digits and a unit.
pub fn read_grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let number = digits_of(digits)?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The `grpc-timeout` of what is left: as exact as eight digits allow, and never longer.
pub fn write_grpc_timeout(left: Duration) -> String {
    const MOST: u128 = 99_999_999;
    let units = [(left.as_nanos(), 'n'), (left.as_micros(), 'u'), (left.as_millis(), 'm')];
    let seconds = u128::from(left.as_secs());
    let longer = [(seconds, 'S'), (seconds / 60, 'M'), (seconds / 3600, 'H')];
    let fitting = units.into_iter().chain(longer).find(|(number, _)| *number <= MOST);
    let (number, unit) = fitting.unwrap_or((MOST, 'H'));
    format!("{number}{unit}")
}

/// An `x-weft-deadline`: one to eight digits, more than a day.
pub fn read_deadline(value: &[u8]) -> Option<Duration> {
    digits_of(value).map(Duration::from_millis)
}

/// The `x-weft-deadline` of what is left, in whole milliseconds, rounded down.
pub fn write_deadline(left: Duration) -> String {
    left.as_millis().min(99_999_999).to_string()
}

fn digits_of(digits: &[u8]) -> Option<u64> {
    if !(1..=MAX_DIGITS).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_grpc_timeout_is_one_to_eight_digits_and_a_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("30S", Some(Duration::from_secs(30))),
            ("100m", Some(Duration::from_millis(100))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("0m", Some(Duration::ZERO)),
            ("123456789n", None),
            ("m", None),
            ("", None),
            ("1", None),
            ("1 m", None),
            ("+1m", None),
            ("1s", None),
            ("1.5S", None),
        ] {
            assert_eq!(read_grpc_timeout(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn the_shortest_time_that_anybody_said_counts() {
        let time = |grpc, deadline| Time {
            grpc: Option::map(grpc, Duration::from_secs),
            deadline: Option::map(deadline, Duration::from_secs),
        };
        let bound = |time: Time, route: Option<u64>| time.bound(route.map(Duration::from_secs)).map(|it| it.as_secs());
        assert_eq!(bound(time(None, None), None), None);
        assert_eq!(bound(time(Some(3), None), None), Some(3));
        assert_eq!(bound(time(Some(3), Some(2)), Some(4)), Some(2));
        assert_eq!(bound(time(Some(3), None), Some(1)), Some(1));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_passed_on_is_never_longer_and_hardly_shorter(nanos in any::<u64>(), shift in 0..60_u32) {
            let left = Duration::from_nanos(nanos >> shift);
            let grpc = read_grpc_timeout(write_grpc_timeout(left).as_bytes()).unwrap();
            prop_assert!(grpc <= left && left - grpc <= left / 10_000 + Duration::from_nanos(1), "{left:?} {grpc:?}");
            let deadline = read_deadline(write_deadline(left).as_bytes()).unwrap();
            prop_assert!(deadline <= left);
            let most = Duration::from_millis(99_999_999);
            prop_assert!(left.min(most) - deadline < Duration::from_millis(1), "{left:?} {deadline:?}");
        }

        #[test]
        fn arbitrary_bytes_are_read_or_not_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let _ = (read_grpc_timeout(&bytes), read_deadline(&bytes));
        }
    }
}
