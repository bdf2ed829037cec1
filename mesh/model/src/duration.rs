//! Durations as the Gateway API writes them (GEP-2257).
use std::time::Duration;

/// The longest duration that GEP-2257's own output form can hold in five digits of hours.
const LONGEST: Duration = Duration::from_millis(99_999 * 3_600_000 + 59 * 60_000 + 59_999);

/// Reads `([0-9]{1,5}(h|m|s|ms)){1,4}`; `None` for any other text and for what is over 99999h59m59s999ms.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let (number, unit) = rest.split_at_checked(digits)?;
        let (milliseconds, after) = unit
            .strip_prefix("ms")
            .map(|after| (1, after))
            .or_else(|| unit.strip_prefix('h').map(|after| (3_600_000, after)))
            .or_else(|| unit.strip_prefix('m').map(|after| (60_000, after)))
            .or_else(|| unit.strip_prefix('s').map(|after| (1000, after)))?;
        total += Duration::from_millis(number.parse::<u64>().ok()? * milliseconds);
        if after.is_empty() {
            return (total <= LONGEST).then_some(total);
        }
        rest = after;
    }
    None
}

/// Writes a duration, cut to milliseconds, the way GEP-2257 demands: largest unit first, no zero parts, zero as `0s`.
pub fn format(duration: Duration) -> String {
    let milliseconds = duration.min(LONGEST).as_millis();
    let parts = [
        (milliseconds / 3_600_000, "h"),
        (milliseconds / 60_000 % 60, "m"),
        (milliseconds / 1000 % 60, "s"),
        (milliseconds % 1000, "ms"),
    ];
    let text: String =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_gep_2257_says() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("10s30m1h", 5_410_000),
            ("90s", 90_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "1", "s", "-1s", "+1s", "1.5s", "100000s", "1d", "1us", " 1s", "1s ", "1h1m1s1ms1s", "1S"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_duration_too_long_to_write_back_is_refused() {
        assert_eq!(format(LONGEST), "99999h59m59s999ms");
        assert_eq!(parse("99999h59m59s999ms"), Some(LONGEST));
        assert_eq!(parse("99999h60m"), None);
    }

    #[test]
    fn durations_are_written_in_the_shortest_form() {
        for (milliseconds, text) in [(0, "0s"), (90_000, "1m30s"), (1500, "1s500ms"), (3_600_000, "1h")] {
            assert_eq!(format(Duration::from_millis(milliseconds)), text);
        }
    }
}
