//! What may differ between the two readers, and why.
use std::{collections::BTreeMap, fmt};

use http::Uri;
use weft_proxy::dataplane::http::Malformed;

use super::{
    Message,
    ours::{self, End},
    theirs,
};

/// What was seen.
#[derive(Default)]
pub(crate) struct Tally {
    /// Messages that both took, and alike.
    pub(crate) agreed: u64,
    /// Inputs that neither took to their end.
    pub(crate) refused_by_both: u64,
    /// Messages that only hyper took, by our kind of refusal.
    stricter: BTreeMap<String, u64>,
    /// Messages that only we took, by the reason.
    looser: BTreeMap<&'static str, u64>,
    inputs: u64,
}

impl Tally {
    pub(crate) fn inputs(&self) -> u64 {
        self.inputs
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { agreed, refused_by_both, stricter, looser, .. } = self;
        write!(f, "{agreed} messages read alike, {refused_by_both} inputs refused by both, ")?;
        write!(f, "refused by us alone {stricter:?}, by hyper alone {looser:?}")
    }
}

/// Judges the requests of one connection.
pub(crate) fn request(bytes: &[u8], tally: &mut Tally) -> Result<(), String> {
    tally.inputs += 1;
    let ((ours, end), theirs) = (ours::requests(bytes), theirs::requests(bytes));
    let told = |what: &str| format!("{what}\n{}\nours: {ours:#?} {end:?}\nhyper: {theirs:#?}", bytes.escape_ascii());
    for (index, mine) in ours.iter().enumerate() {
        match theirs.get(index) {
            Some(other) if same_request(mine, other) => tally.agreed += 1,
            Some(_) => return Err(told("a request is read in two ways")),
            None => {
                let reason = loose_request(mine).ok_or_else(|| told("hyper refuses what we take"))?;
                *tally.looser.entry(reason).or_default() += 1;
                return Ok(());
            }
        }
    }
    if theirs.len() == ours.len() {
        tally.refused_by_both += u64::from(end != End::Open && end != End::Closed);
        return Ok(());
    }
    match end {
        // Ours answers the last one and closes: what follows is not read.
        End::Closed => Ok(()),
        End::Refused(kind) if strict_request(kind).is_some() => {
            *tally.stricter.entry(format!("{kind:?}")).or_default() += 1;
            Ok(())
        }
        End::Refused(_) => Err(told("a refusal that is no named strictness")),
        End::Open | End::Incomplete => Err(told("hyper sees a request where we see none")),
    }
}

/// Judges the first final answer.
pub(crate) fn answer(bytes: &[u8], to_head: bool, tally: &mut Tally) -> Result<(), String> {
    tally.inputs += 1;
    let (ours, theirs) = (ours::answer(bytes, to_head), theirs::answer(bytes, to_head));
    let told = |what: &str| {
        format!("{what}, to HEAD: {to_head}\n{}\nours: {ours:#?}\nhyper: {theirs:#?}", bytes.escape_ascii())
    };
    match (&ours, &theirs) {
        (Ok(mine), Some(other)) if mine == other => tally.agreed += 1,
        (Ok(_), Some(_)) => return Err(told("an answer is read in two ways")),
        (Ok(_), None) => return Err(told("hyper refuses what we take")),
        (Err(_), None) => tally.refused_by_both += 1,
        (Err(kind), Some(_)) if strict_answer(*kind).is_some() => {
            *tally.stricter.entry(format!("{kind:?}")).or_default() += 1;
        }
        (Err(_), Some(_)) => return Err(told("a refusal that is no named strictness")),
    }
    Ok(())
}

/// Targets are compared as hyper's type for them reads them: it drops fragments and completes an empty path.
fn same_request(mine: &Message, other: &Message) -> bool {
    let target = |message: &Message| message.start.1.parse::<Uri>().ok();
    mine.start.0 == other.start.0
        && target(mine).is_some_and(|mine| Some(mine) == target(other))
        && (&mine.fields, &mine.body, &mine.trailers) == (&other.fields, &other.body, &other.trailers)
}

/// Why we may take a request that hyper refuses.
fn loose_request(mine: &Message) -> Option<&'static str> {
    // RFC 9112 §3.2 is routing's to judge: the codec hands the target on as it came, and what is forwarded is built from
    // what routing made of it. hyper parses it into a type of its own first.
    mine.start.1.parse::<Uri>().is_err().then_some("a target that is no URI")
}

/// Why we refuse a request that hyper takes: each a latitude that an RFC gives to readers and that we do not use, since two
/// readers that use it apart disagree.
fn strict_request(kind: Malformed) -> Option<&'static str> {
    match kind {
        Malformed::BareLineFeed => Some("RFC 9112 §2.2: a reader may take LF for CRLF"),
        Malformed::StartLine => Some("RFC 9112 §2.2: a server should skip at least one empty line; we skip one"),
        Malformed::NoHost => Some("RFC 9112 §3.2: a server must refuse it in HTTP/1.1; hyper leaves it to its user"),
        Malformed::Repeated(_) => Some("RFC 9112 §3.2, §6.3: to be refused, or for equal lengths may be"),
        Malformed::LengthAndCoding => Some("RFC 9112 §6.1: a server may refuse both together"),
        Malformed::Coding => Some("RFC 9112 §6.1: a server should answer what it does not know with 501"),
        Malformed::Length => Some("RFC 9110 §8.6: leading zeros without end, and 2^63 and more"),
        Malformed::ConnectionOption => Some("RFC 9110 §7.6.1: what must not be hop-by-hop"),
        Malformed::Expectation => Some("RFC 9110 §10.1.1: may be answered with 417"),
        Malformed::ChunkSize => Some("RFC 9112 §7.1: whitespace behind a size, leading zeros without end"),
        Malformed::ChunkExtension => Some("RFC 9112 §7.1.1: control characters; hyper checks for line feeds only"),
        Malformed::TunnelContent => Some("RFC 9110 §9.3.6: a CONNECT has no content"),
        Malformed::Version
        | Malformed::TargetTooLong
        | Malformed::FieldName
        | Malformed::FieldValue
        | Malformed::TooManyFields
        | Malformed::HeadTooLarge
        | Malformed::CodingNotAllowed
        | Malformed::ChunkEnd
        | Malformed::Trailers
        | Malformed::TooManyInterim
        | Malformed::UnaskedUpgrade
        | Malformed::NoUpgrade
        | Malformed::NoAccept
        | Malformed::WebSocketKey
        | Malformed::Base64
        | Malformed::Scheme
        | Malformed::Truncated => None,
    }
}

/// Why we refuse an answer that hyper takes.
fn strict_answer(kind: Malformed) -> Option<&'static str> {
    match kind {
        Malformed::StartLine => Some("RFC 9112 §2.2: empty lines are skipped before requests only"),
        Malformed::Length => {
            Some("RFC 9112 §6.3: the same, and hyper does not look at the length of an answer that has no body")
        }
        Malformed::CodingNotAllowed => Some("RFC 9112 §6.1: never in 1xx, 204 or HTTP/1.0; hyper lets some pass"),
        kind => strict_request(kind),
    }
}
