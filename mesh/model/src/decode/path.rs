//! Paths of matches: only those that a normalized request path can equal.
use super::fields::{Context, Field, shorten};
use crate::Code;

/// The most bytes of a path, as in the Gateway API.
const MAX_BYTES: usize = 1024;

/// A path as requests carry it after normalization: RFC 3986 §3.3 characters, no empty, `.` or `..` segment, escapes
/// only where a character needs one and in upper case.
pub(super) fn decode(cx: &mut Context, field: &Field<'_>) -> Option<String> {
    normal(cx, field, "matches no request")
}

/// A path that is put in a request's place: in the same form, so that what is forwarded is what normalization would make
/// of it.
pub(super) fn replacement(cx: &mut Context, field: &Field<'_>) -> Option<String> {
    normal(cx, field, "is no path in normal form")
}

fn normal(cx: &mut Context, field: &Field<'_>, otherwise: &str) -> Option<String> {
    let text = field.text(cx)?;
    if text.len() > MAX_BYTES {
        field.report(cx, Code::TooLarge, format!("the path has more than {MAX_BYTES} bytes"), None);
        return None;
    }
    match fault(text) {
        None => Some(text.to_owned()),
        Some((reason, hint)) => {
            field.invalid(cx, format!("{:?} {otherwise}: {reason}", shorten(text)), hint);
            None
        }
    }
}

fn fault(path: &str) -> Option<(&'static str, &'static str)> {
    let Some(rest) = path.strip_prefix('/') else {
        return Some(("it does not start with '/'", "write a path such as /products"));
    };
    // A trailing slash leaves one empty segment at the end, which is no fault.
    let segments = rest.strip_suffix('/').unwrap_or(rest);
    if rest.starts_with('/') || rest.ends_with("//") || segments.contains("//") {
        return Some(("it has an empty segment", "write single slashes"));
    }
    if rest.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Some(("it has a '.' or '..' segment", "write the path that it leads to"));
    }
    if rest.contains(['?', '#']) {
        return Some(("it has a query or fragment", "write the path alone"));
    }
    let (directories, _) = rest.rsplit_once('/').unwrap_or(("", rest));
    let hidden = directories.split('/').any(|segment| before_parameter(segment).is_some_and(str::is_empty));
    if hidden || rest.split('/').any(|segment| matches!(before_parameter(segment), Some("." | ".."))) {
        let hint = "such requests are refused: leave the match out";
        return Some(("a segment is empty, '.' or '..' but for its parameter", hint));
    }
    escapes(rest)
}

/// What a server reads of a segment that strips parameters, also encoded ones, before it resolves the path.
fn before_parameter(segment: &str) -> Option<&str> {
    let end = segment.find(';').into_iter().chain(segment.find("%3B")).min()?;
    segment.get(..end)
}

fn escapes(path: &str) -> Option<(&'static str, &'static str)> {
    let mut bytes = path.bytes();
    let mut decoded = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if is_path_character(byte) {
                decoded.push(byte);
                continue;
            }
            return Some(("it has a character that a path must escape", "write it as % and two upper-case hex digits"));
        }
        let digits = (bytes.next().and_then(hex), bytes.next().and_then(hex));
        let (Some(high), Some(low)) = digits else {
            return Some(("'%' is not followed by two upper-case hex digits", "write the escape as in %20"));
        };
        let escaped = high * 16 + low;
        if is_unreserved(escaped) {
            return Some(("it escapes a character that needs no escape", "write the character itself"));
        }
        if matches!(escaped, b'/' | b'\\') || escaped.is_ascii_control() {
            let hint = "such requests are refused: leave the match out";
            return Some(("it escapes a slash, a backslash or a control character", hint));
        }
        decoded.push(escaped);
    }
    if str::from_utf8(&decoded).is_err() {
        return Some(("its escapes are not UTF-8", "such requests are refused: leave the match out"));
    }
    None
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 §3.3 `pchar`, and the slash.
fn is_path_character(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,;=:@/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalized_paths_are_taken() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a/b.c",
            "/a..b",
            "/...",
            "/%20",
            "/a:b@c",
            "/~x",
            "/a/.well-known",
            "/%C3%A4",
            "/a;x",
            "/;x",
        ] {
            assert_eq!(fault(path), None, "{path}");
        }
    }

    #[test]
    fn paths_that_no_normalized_request_has_are_refused() {
        for path in [
            "",
            "a",
            "//",
            "/a//b",
            "/a//",
            "/.",
            "/a/./b",
            "/a/..",
            "/../a",
            "/a?b",
            "/a#b",
            "/a b",
            "/%",
            "/%2",
            "/%2g",
            "/%2f",
            "/%2F",
            "/%5C",
            "/%00",
            "/%41",
            "/%e4",
            "/ä",
            "/a\\b",
            "/a[b]",
            "/\"",
            "/%01",
            "/%7F",
            "/%FF",
            "/%C3",
            "/;a/",
            "/a/..;x=1/b",
            "/.%3Bx",
        ] {
            assert!(fault(path).is_some(), "{path:?} was taken");
        }
    }
}
