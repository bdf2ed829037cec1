//! Trailers of either version.
use ::http::{HeaderMap, HeaderName, HeaderValue};

use crate::dataplane::http::{MAX_FIELDS, MAX_HEAD, Malformed, is_no_trailer, tells_identity};

/// How the names of our own fields start.
const OURS: &str = "x-weft-";

/// Passes none of our own fields on: they are stripped from whatever comes from outside of the mesh.
pub(super) fn remove_ours(fields: &mut HeaderMap) {
    remove(fields, |name| name.starts_with(OURS));
}

/// Passes nothing on that says who sent the request, which weft does not say and nobody else may.
pub(super) fn remove_identities(fields: &mut HeaderMap) {
    remove(fields, |name| tells_identity(name.as_bytes()));
}

fn remove(fields: &mut HeaderMap, unfit: impl Fn(&str) -> bool) {
    if fields.keys().any(|name| unfit(name.as_str())) {
        let names: Vec<HeaderName> = fields.keys().filter(|name| unfit(name.as_str())).cloned().collect();
        for name in names {
            fields.remove(name);
        }
    }
}

/// Leaves out what must not come as a trailer (RFC 9110 §6.5.1), whichever version brings it: a reader that merged it
/// would frame, route or judge the message anew. None of our own fields is a trailer either.
pub(super) fn judge(mut trailers: HeaderMap) -> HeaderMap {
    remove(&mut trailers, |name| is_no_trailer(name.as_bytes()));
    remove_ours(&mut trailers);
    remove_identities(&mut trailers);
    trailers
}

/// Whether a trailer section is as large as a head may be: decoded, however small it was on the wire.
///
/// # Errors
/// It is larger, or has too many fields.
pub(super) fn bounded(trailers: HeaderMap) -> Result<HeaderMap, Malformed> {
    let fits = trailers.len() <= MAX_FIELDS && size(&trailers) <= MAX_HEAD;
    if fits { Ok(trailers) } else { Err(Malformed::Trailers) }
}

/// How large fields are, decoded, as RFC 9113 §10.5.1 counts them: each with 32 bytes beside its name and value.
pub(super) fn size(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + EACH).sum()
}

/// What a field counts beside its name and value.
pub(super) const EACH: usize = 32;

/// Reads a trailer section, of which every line ends in CRLF and the last line is empty.
///
/// # Errors
/// It is no list of fields.
pub(super) fn read(section: &[u8]) -> Result<HeaderMap, Malformed> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let parsed = httparse::parse_headers(section, &mut lines).map_err(|_| Malformed::Trailers)?;
    let httparse::Status::Complete((_, lines)) = parsed else { return Err(Malformed::Trailers) };
    let mut trailers = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| Malformed::Trailers)?;
        trailers.append(name, HeaderValue::from_bytes(line.value).map_err(|_| Malformed::Trailers)?);
    }
    Ok(trailers)
}
