//! Where a request belongs: W3C Trace Context's `traceparent`, and `x-request-id`.
//!
//! Both are passed on and made where they are absent. Each hop is a span of its own: the next one sees it as its parent.
use std::fmt;

/// W3C Trace Context §3.2.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// W3C Trace Context §3.3: what vendors say of the trace; it goes with a `traceparent` that is valid.
pub(crate) const TRACESTATE: &str = "tracestate";

/// By which logs of many parties tell one request.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// How long a `traceparent` of version 00 is.
const LENGTH: usize = 55;

/// A trace and a span in it. Neither id is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: u128,
    /// The span that is the next one's parent.
    pub span: u64,
    /// The flags; 1 says that the trace is sampled.
    pub flags: u8,
}

impl TraceParent {
    /// Reads a field's value (§3.2.2): lower-case digits only. Of a later version than 00 the parts that are known
    /// (§4.3): what it may have behind them is left out.
    pub fn read(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(LENGTH)?;
        let parts = str::from_utf8(known).ok()?;
        let mut parts = parts.split('-');
        let (version, trace) = (digits(parts.next()?, 2)?, digits(parts.next()?, 32)?);
        let (span, flags) = (digits(parts.next()?, 16)?, digits(parts.next()?, 2)?);
        let ends = rest.is_empty() || version > 0 && rest.first() == Some(&b'-');
        if parts.next().is_some() || version == 0xff || trace == 0 || span == 0 || !ends {
            return None;
        }
        Some(Self { trace, span: u64::try_from(span).ok()?, flags: u8::try_from(flags).ok()? })
    }

    /// A trace that begins here, by three uniform draws. Not sampled: nobody has asked for it.
    pub fn begin(draws: [u64; 3]) -> Self {
        let [high, low, span] = draws;
        let trace = (u128::from(high) << 64 | u128::from(low)).max(1);
        Self { trace, span: span.max(1), flags: 0 }
    }

    /// The same trace with a span of this hop's own, by a uniform draw.
    #[must_use]
    pub fn next(self, draw: u64) -> Self {
        Self { span: draw.max(1), ..self }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(f, "00-{trace:032x}-{span:016x}-{flags:02x}")
    }
}

/// That many lower-case hexadecimal digits.
fn digits(text: &str, count: usize) -> Option<u128> {
    let all = text.len() == count && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if all { u128::from_str_radix(text, 16).ok() } else { None }
}

/// A request's id where it has none: a random UUID (RFC 9562 §5.4) by two uniform draws.
pub fn request_id([high, low]: [u64; 2]) -> String {
    let bits = u128::from(high) << 64 | u128::from(low);
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | 4 << 76 | 2 << 62;
    let hex = format!("{bits:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default().to_owned();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

/// What a request's fields say of where it belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Belonging<'a> {
    /// The trace that it is part of; none where the field is absent, repeated or not valid.
    pub(crate) parent: Option<TraceParent>,
    /// Whether there are fields of a trace that is not valid, which are not passed on (§3.3).
    pub(crate) broken: bool,
    /// Its id, if it has exactly one that is not empty.
    pub(crate) request_id: Option<&'a [u8]>,
    traced: bool,
    has_state: bool,
}

impl<'a> Belonging<'a> {
    /// Reads a field.
    pub(crate) fn take(&mut self, name: &[u8], value: &'a [u8]) {
        match name.len() {
            10 if name.eq_ignore_ascii_case(TRACESTATE.as_bytes()) => self.has_state = true,
            11 if name.eq_ignore_ascii_case(TRACEPARENT.as_bytes()) => {
                let again = std::mem::replace(&mut self.traced, true);
                self.parent = if again { None } else { TraceParent::read(value) };
            }
            12 if name.eq_ignore_ascii_case(REQUEST_ID.as_bytes()) && !value.is_empty() => {
                self.request_id.get_or_insert(value);
            }
            _ => return,
        }
        self.broken = self.parent.is_none() && (self.traced || self.has_state);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_a_valid_traceparent_is_taken() {
        let parent = TraceParent::read(VALID.as_bytes()).unwrap();
        assert_eq!((parent.trace, parent.flags), (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 1));
        assert_eq!(parent.to_string(), VALID);
        let later = format!("cc{}-what-comes-later", &VALID[2..]);
        assert_eq!(TraceParent::read(later.as_bytes()), Some(parent));
        for wrong in [
            "".to_owned(),
            VALID.to_uppercase(),
            VALID[..54].to_owned(),
            format!("{VALID}-more"),
            format!("{VALID}0"),
            format!("ff{}", &VALID[2..]),
            format!("cc{}.more", &VALID[2..]),
            VALID.replace("00f067aa0ba902b7", "0000000000000000"),
            VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
            VALID.replace("-01", "-0g"),
            VALID.replacen('-', "_", 1),
        ] {
            assert_eq!(TraceParent::read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_broken_or_repeated_trace_is_not_passed_on() {
        let read = |fields: &[(&'static str, &'static str)]| {
            let mut it = Belonging::default();
            fields.iter().for_each(|(name, value)| it.take(name.as_bytes(), value.as_bytes()));
            it
        };
        assert!(!read(&[]).broken && read(&[]).parent.is_none());
        let valid = read(&[("TraceParent", VALID), ("tracestate", "a=b"), ("X-Request-Id", "7")]);
        assert_eq!((valid.parent.is_some(), valid.broken, valid.request_id), (true, false, Some(&b"7"[..])));
        assert!(read(&[("traceparent", VALID), ("traceparent", VALID)]).broken);
        assert!(read(&[("tracestate", "a=b")]).broken);
        assert!(read(&[("traceparent", "00-0"), ("tracestate", "a=b")]).broken);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read_back(draws in any::<[u64; 3]>(), next in any::<u64>(), flags in any::<u8>()) {
            let begun = TraceParent { flags, ..TraceParent::begin(draws) };
            prop_assert_eq!(TraceParent::read(begun.to_string().as_bytes()), Some(begun));
            let hop = begun.next(next);
            prop_assert_eq!((hop.trace, hop.flags), (begun.trace, begun.flags));
            prop_assert_eq!(TraceParent::read(hop.to_string().as_bytes()), Some(hop));
        }

        #[test]
        fn a_made_up_request_id_is_a_random_uuid(draws in any::<[u64; 2]>()) {
            let id = request_id(draws);
            let parts: Vec<_> = id.split('-').map(str::len).collect();
            prop_assert_eq!(parts, [8, 4, 4, 4, 12]);
            prop_assert_eq!(&id[14..15], "4");
            prop_assert!("89ab".contains(&id[19..20]));
        }

        #[test]
        fn arbitrary_bytes_are_no_trace_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let read = TraceParent::read(&bytes);
            prop_assert!(read.is_none_or(|it| bytes.starts_with(b"00-") && it.to_string().as_bytes() == bytes));
        }
    }
}
