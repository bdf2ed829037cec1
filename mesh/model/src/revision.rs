//! Revision: which state of the objects something was made from.
use std::{cmp::Ordering, collections::BTreeMap, fmt, str::FromStr, sync::Arc};

/// An epoch and a number for each kind, which grow with every accepted change.
///
/// Written `<epoch>/<kind>=<number>,…` (`7f3a9c/all=12`), kinds in ascending order, as xDS `system_version_info`
/// carries it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision {
    epoch: Arc<str>,
    numbers: BTreeMap<Arc<str>, u64>,
}

/// Why a text is not a [`Revision`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRevision {
    /// Longer than [`Revision::MAX_BYTES`].
    #[error("a revision has at most {} bytes", Revision::MAX_BYTES)]
    TooLong,
    /// Not of the form `<epoch>/<kind>=<number>,…`.
    #[error("a revision reads <epoch>/<kind>=<number>[,<kind>=<number>…]")]
    Form,
    /// An epoch or kind that is empty, over 128 bytes, or has a character other than letters, digits, `.`, `_`, `-`.
    #[error("an epoch or kind of a revision has 1 to 128 letters, digits, '.', '_' or '-'")]
    Name,
    /// A number that is not plain decimal below 2⁶⁴.
    #[error("a revision's number is plain decimal and below 2^64")]
    Number,
    /// A kind that stands twice.
    #[error("a revision names each kind once")]
    Duplicate,
}

impl Revision {
    /// The most bytes that a revision's text may have.
    pub const MAX_BYTES: usize = 4096;

    /// The kind under which a store that counts all kinds together keeps its number.
    pub const ALL: &'static str = "all";

    /// The revision of a store that counts all kinds together: the embedded one.
    ///
    /// # Errors
    /// [`InvalidRevision::Name`] where `epoch` is not a valid name.
    pub fn of_store(epoch: &str, number: u64) -> Result<Self, InvalidRevision> {
        Self::new(epoch, [(Self::ALL, number)])
    }

    /// The revision of a source that counts each kind on its own.
    ///
    /// # Errors
    /// [`InvalidRevision`], as for its text form.
    pub fn new<'a>(epoch: &str, numbers: impl IntoIterator<Item = (&'a str, u64)>) -> Result<Self, InvalidRevision> {
        check_name(epoch)?;
        let mut revision = Self { epoch: epoch.into(), numbers: BTreeMap::new() };
        let mut bytes = epoch.len();
        for (kind, number) in numbers {
            check_name(kind)?;
            // A separator, the kind, `=`, and at most 20 digits.
            bytes += kind.len() + 22;
            if bytes > Self::MAX_BYTES {
                return Err(InvalidRevision::TooLong);
            }
            if revision.numbers.insert(kind.into(), number).is_some() {
                return Err(InvalidRevision::Duplicate);
            }
        }
        if revision.numbers.is_empty() { Err(InvalidRevision::Form) } else { Ok(revision) }
    }

    /// The store's id: new when a store is created or restored.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// The number of `kind`; `None` where this revision does not count it on its own.
    pub fn number(&self, kind: &str) -> Option<u64> {
        self.numbers.get(kind).copied()
    }

    /// Every kind with its number, in ascending order of kinds.
    pub fn numbers(&self) -> impl Iterator<Item = (&str, u64)> {
        self.numbers.iter().map(|(kind, number)| (&**kind, *number))
    }

    /// Whether this revision is smaller than `other` in any entry of the same epoch. An absent entry is smaller than a
    /// present one. Revisions of different epochs cannot be compared: neither is behind the other.
    pub fn is_behind(&self, other: &Self) -> bool {
        self.epoch == other.epoch && other.numbers.iter().any(|(kind, theirs)| self.numbers.get(kind) < Some(theirs))
    }
}

impl PartialOrd for Revision {
    /// The product order of the entries within one epoch; `None` across epochs and where each is behind the other.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        if self.epoch != other.epoch {
            return None;
        }
        match (self.is_behind(other), other.is_behind(self)) {
            (false, false) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Less),
            (false, true) => Some(Ordering::Greater),
            (true, true) => None,
        }
    }
}

fn check_name(text: &str) -> Result<(), InvalidRevision> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=128).contains(&text.len()) && text.bytes().all(allowed) { Ok(()) } else { Err(InvalidRevision::Name) }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.epoch)?;
        for (index, (kind, number)) in self.numbers.iter().enumerate() {
            let separator = if index == 0 { '/' } else { ',' };
            write!(f, "{separator}{kind}={number}")?;
        }
        Ok(())
    }
}

impl FromStr for Revision {
    type Err = InvalidRevision;

    fn from_str(text: &str) -> Result<Self, InvalidRevision> {
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidRevision::TooLong);
        }
        let (epoch, entries) = text.split_once('/').ok_or(InvalidRevision::Form)?;
        check_name(epoch)?;
        let mut numbers = Vec::new();
        for entry in entries.split(',') {
            let (kind, number) = entry.split_once('=').ok_or(InvalidRevision::Form)?;
            let plain = number == "0" || (number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0'));
            let number = if plain { number.parse().ok() } else { None };
            numbers.push((kind, number.ok_or(InvalidRevision::Number)?));
        }
        Self::new(epoch, numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(text: &str) -> Revision {
        text.parse().unwrap()
    }

    #[test]
    fn a_revision_is_read_back_from_its_text() {
        for text in ["7f3a9c/all=12", "e/HTTPRoute=0,Service=18446744073709551615"] {
            assert_eq!(revision(text).to_string(), text);
        }
        assert_eq!(Revision::of_store("e", 12).unwrap(), revision("e/all=12"));
    }

    #[test]
    fn a_revision_is_behind_another_that_is_larger_in_any_entry() {
        for (older, newer) in [("e/all=1", "e/all=2"), ("e/a=1,b=5", "e/a=2,b=4"), ("e/a=1", "e/a=1,b=0")] {
            assert!(revision(older).is_behind(&revision(newer)), "{older} {newer}");
        }
        for (one, other) in [("e/all=2", "e/all=2"), ("e/all=3", "e/all=2"), ("e/all=1", "f/all=2")] {
            assert!(!revision(one).is_behind(&revision(other)), "{one} {other}");
        }
    }

    #[test]
    fn revisions_are_partially_ordered() {
        assert_eq!(revision("e/a=1,b=5").partial_cmp(&revision("e/a=2,b=4")), None);
        assert_eq!(revision("e/a=1").partial_cmp(&revision("f/a=1")), None);
        assert!(revision("e/a=1,b=4") < revision("e/a=1,b=5"));
        assert!(revision("e/a=1,b=4") <= revision("e/a=1,b=4"));
    }

    #[test]
    fn texts_that_are_no_revision_are_refused() {
        for (text, reason) in [
            ("", InvalidRevision::Form),
            ("e", InvalidRevision::Form),
            ("/all=1", InvalidRevision::Name),
            ("e/", InvalidRevision::Form),
            ("e/all", InvalidRevision::Form),
            ("e/=1", InvalidRevision::Name),
            ("e/all=", InvalidRevision::Number),
            ("e/all=-1", InvalidRevision::Number),
            ("e/all=+1", InvalidRevision::Number),
            ("e/all=01", InvalidRevision::Number),
            ("e/all=18446744073709551616", InvalidRevision::Number),
            ("e/all=1,all=2", InvalidRevision::Duplicate),
            ("e e/all=1", InvalidRevision::Name),
            ("e/all=1,", InvalidRevision::Form),
        ] {
            assert_eq!(text.parse::<Revision>(), Err(reason), "{text:?}");
        }
        assert_eq!("e".repeat(5000).parse::<Revision>(), Err(InvalidRevision::TooLong));
    }
}
