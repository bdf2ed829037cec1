//! Trailers of either version.
use ::http::{HeaderMap, HeaderName, HeaderValue};

use crate::dataplane::http::{MAX_FIELDS, Malformed, is_no_trailer};

/// How the names of our own fields start.
const OURS: &str = "x-weft-";

/// Passes none of our own fields on: they are stripped from whatever comes from outside of the mesh.
pub(super) fn remove_ours(fields: &mut HeaderMap) {
    if fields.keys().any(|name| name.as_str().starts_with(OURS)) {
        let ours: Vec<HeaderName> = fields.keys().filter(|name| name.as_str().starts_with(OURS)).cloned().collect();
        for name in ours {
            fields.remove(name);
        }
    }
}

/// Leaves out what must not come as a trailer (RFC 9110 §6.5.1), whichever version brings it: a reader that merged it
/// would frame, route or judge the message anew. None of our own fields is a trailer either.
pub(super) fn judge(mut trailers: HeaderMap) -> HeaderMap {
    let unfit = |name: &HeaderName| is_no_trailer(name.as_str().as_bytes());
    if trailers.keys().any(unfit) {
        let names: Vec<HeaderName> = trailers.keys().filter(|name| unfit(name)).cloned().collect();
        for name in names {
            trailers.remove(name);
        }
    }
    remove_ours(&mut trailers);
    trailers
}

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
