//! Paths: one text for each resource (RFC 3986 §6.2.2, and what servers disagree on is refused).
use std::borrow::Cow;

use super::BadRequest;

/// The canonical form of a path that starts with `/`, without query.
///
/// Dot segments are resolved, empty segments merged, encodings of unreserved characters decoded, other encodings in
/// upper case, and characters that RFC 3986 does not allow raw are encoded.
pub(super) fn normalize(path: &[u8]) -> Result<Cow<'_, str>, BadRequest> {
    if is_plain(path) {
        return str::from_utf8(path).map(Cow::Borrowed).map_err(|_| BadRequest::PathCharacter);
    }
    let decoded = decode(path)?;
    let resolved = resolve(&decoded)?;
    match str::from_utf8(path) {
        Ok(same) if same == resolved => Ok(Cow::Borrowed(same)),
        _ => Ok(Cow::Owned(resolved)),
    }
}

/// Whether nothing in the path can be subject to a change: no encoding, parameter, dot segment, empty segment.
fn is_plain(path: &[u8]) -> bool {
    let mut last = 0;
    path.iter().all(|&byte| {
        let plain = is_raw(byte) && byte != b';' && !(last == b'/' && matches!(byte, b'/' | b'.'));
        last = byte;
        plain
    })
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What may stand in a path as it is: RFC 3986 §3.3 `pchar` and `/`.
const fn is_raw(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'/' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
        )
}

/// Decodes what may stand raw, encodes what may not, and refuses what readers disagree on.
fn decode(path: &[u8]) -> Result<String, BadRequest> {
    // As bytes, so that encoded sequences can be checked to be UTF-8: an overlong `/` is one to a careless reader.
    str::from_utf8(path).map_err(|_| BadRequest::PathCharacter)?;
    let mut text = String::with_capacity(path.len());
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match *byte {
            b'\\' => return Err(BadRequest::PathSeparator),
            b'%' => {
                let [high, low, tail @ ..] = rest else { return Err(BadRequest::PathEncoding) };
                rest = tail;
                let byte = hex(*high)? << 4 | hex(*low)?;
                match byte {
                    b'/' | b'\\' => return Err(BadRequest::PathSeparator),
                    0..=0x1f | 0x7f => return Err(BadRequest::PathEncoding),
                    byte if is_unreserved(byte) => text.push(char::from(byte)),
                    byte => encode(&mut text, byte),
                }
                bytes.push(byte);
            }
            0..=b' ' | 0x7f => return Err(BadRequest::PathCharacter),
            byte if is_raw(byte) => {
                text.push(char::from(byte));
                bytes.push(byte);
            }
            byte => {
                encode(&mut text, byte);
                bytes.push(byte);
            }
        }
    }
    str::from_utf8(&bytes).map_err(|_| BadRequest::PathEncoding)?;
    Ok(text)
}

fn hex(digit: u8) -> Result<u8, BadRequest> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(BadRequest::PathEncoding),
    }
}

fn encode(text: &mut String, byte: u8) {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 0xf)]));
}

/// Resolves dot segments (RFC 3986 §5.2.4) and merges empty ones, over decoded text.
fn resolve(path: &str) -> Result<String, BadRequest> {
    let mut out = String::with_capacity(path.len());
    let mut open = true;
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        // `open`: what is in `out` ends with a directory, whose slash is written with the next segment or at the end.
        match segment {
            "" | "." => open = true,
            ".." => {
                out.truncate(out.rfind('/').unwrap_or(0));
                open = true;
            }
            segment if hides_a_dot(segment, segments.peek().is_none()) => return Err(BadRequest::PathParameter),
            segment => {
                out.push('/');
                out.push_str(segment);
                open = false;
            }
        }
    }
    if open {
        out.push('/');
    }
    Ok(out)
}

/// Whether the segment is nothing, `.` or `..` to a server that strips parameters (`;`, raw or encoded) before it
/// resolves dot segments. At the end of a path, parameters of nothing are harmless (`/;jsessionid=1`).
fn hides_a_dot(segment: &str, is_last: bool) -> bool {
    let end = segment.find(';').into_iter().chain(segment.find("%3B")).min();
    end.is_some_and(|end| match &segment[..end] {
        "" => !is_last,
        "." | ".." => true,
        _ => false,
    })
}
