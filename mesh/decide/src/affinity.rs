//! What makes requests belong together: a cookie, a header, a query parameter, where they come from.
use std::{fmt, net::IpAddr};

use smallvec::SmallVec;
use weft_ir::Affinity;
use weft_model::AffinityKey;

use crate::{Normal, rendezvous::hash};

/// A request's affinity: the hash of its key, and the cookie that its answer sets where it had none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sticky<'s> {
    pub(crate) key: u64,
    pub(crate) cookie: Option<SetCookie<'s>>,
}

/// A cookie that makes a client's further requests go where this one went: the value of a `set-cookie` field (RFC 6265
/// §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetCookie<'s> {
    name: &'s str,
    path: &'s str,
    /// Seconds.
    max_age: Option<u64>,
    value: u64,
}

impl fmt::Display for SetCookie<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, path, max_age, value } = self;
        write!(f, "{name}={value:016x}; Path={path}")?;
        if let Some(seconds) = max_age {
            write!(f, "; Max-Age={seconds}")?;
        }
        f.write_str("; HttpOnly")
    }
}

/// The affinity of a request. One that lacks its cookie gets one whose value is `draw`, and goes where that leads already
/// now; one that lacks its header or parameter, or of which nobody knows where it comes from, has none.
pub(crate) fn sticky<'s>(affinity: &'s Affinity, request: &Normal<'_>, draw: u64) -> Option<Sticky<'s>> {
    let headers = request.headers;
    let key = |text: &[u8]| Sticky { key: hash(text), cookie: None };
    match &affinity.key {
        AffinityKey::Cookie { name, path, ttl } => Some(match cookie(headers, name.as_bytes()) {
            Some(value) => key(value),
            None => {
                let cookie = SetCookie { name, path, max_age: ttl.map(|ttl| ttl.as_secs()), value: draw };
                Sticky { key: hash(format!("{draw:016x}").as_bytes()), cookie: Some(cookie) }
            }
        }),
        AffinityKey::Header { name } => {
            let mut values = headers.iter().filter(|(its, _)| its.eq_ignore_ascii_case(name.as_bytes()));
            let mut joined: SmallVec<[u8; 256]> = SmallVec::from_slice(values.next()?.1);
            // Joined as for a match (RFC 9110 §5.3).
            for (_, value) in values {
                joined.push(b',');
                joined.extend_from_slice(value);
            }
            (!joined.is_empty()).then(|| key(&joined))
        }
        AffinityKey::Query { name } => {
            let value = request.target.parameter(name).filter(|value| !value.is_empty())?;
            Some(key(value.as_bytes()))
        }
        // An IPv4 address is one also where a socket of IPv6 shows it.
        AffinityKey::SourceAddress => Some(match request.source?.to_canonical() {
            IpAddr::V4(address) => key(&address.octets()),
            IpAddr::V6(address) => key(&address.octets()),
        }),
    }
}

/// The value of the first cookie of that name which has one, without its quotes.
///
/// Read as servers are told to (RFC 6265 §4.2.2, §5.4): pairs between semicolons with white space around them, names with
/// case; HTTP/2 may send several fields (RFC 9113 §8.2.3). What is not a pair is passed over.
pub fn cookie<'h>(headers: &[(&[u8], &'h [u8])], name: &[u8]) -> Option<&'h [u8]> {
    let fields = headers.iter().filter(|(its, _)| its.eq_ignore_ascii_case(b"cookie"));
    fields.flat_map(|(_, field)| field.split(|byte| *byte == b';')).find_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (its, value) = pair.split_at_checked(equals)?;
        if its.trim_ascii() != name {
            return None;
        }
        let value = value.strip_prefix(b"=")?.trim_ascii();
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        (!value.is_empty()).then_some(value)
    })
}

#[cfg(test)]
mod tests;
