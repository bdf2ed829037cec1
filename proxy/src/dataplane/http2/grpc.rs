//! What a gRPC client is told in gRPC's own words.
use std::fmt::Write;

/// Whether a content type is gRPC's over HTTP/2 (gRPC over HTTP2, "Requests": `application/grpc`, with a format behind a
/// `+` or parameters behind a `;`). gRPC-Web's is another.
pub(super) fn is_grpc(content_type: &[u8]) -> bool {
    let prefix = b"application/grpc";
    match content_type.split_at_checked(prefix.len()) {
        Some((start, rest)) => {
            start.eq_ignore_ascii_case(prefix) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
        }
        None => false,
    }
}

/// The gRPC status of an HTTP status of our own (gRPC, "HTTP to gRPC Status Code Mapping"; beyond it 504 is what a
/// deadline of the route's means, and heads that are too large exhaust a resource).
pub(super) const fn status(http: u16) -> u16 {
    match http {
        // INTERNAL
        400 | 417 | 500 | 505 => 13,
        // UNAUTHENTICATED
        401 => 16,
        // PERMISSION_DENIED
        403 => 7,
        // UNIMPLEMENTED
        404 | 501 => 12,
        // DEADLINE_EXCEEDED
        408 | 504 => 4,
        // RESOURCE_EXHAUSTED
        413 | 414 | 431 => 8,
        // UNAVAILABLE; a proxy that is not the right one is none that knows the method not to exist
        421 | 429 | 502 | 503 => 14,
        // UNKNOWN
        _ => 2,
    }
}

/// A text as a `grpc-message` (gRPC over HTTP2, "Status-Message"): percent-encoded but for the printable ASCII characters
/// other than `%`.
pub(super) fn message(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'$' | b'&'..=b'~' => out.push(char::from(byte)),
            // Writing to a String does not fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpcs_own_content_types_are_grpc() {
        for content_type in
            ["application/grpc", "application/grpc+proto", "Application/GRPC;x=y", "application/grpc ;a=b"]
        {
            assert!(is_grpc(content_type.as_bytes()), "{content_type}");
        }
        for content_type in
            ["", "application/grpc-web", "application/grpc-web+proto", "application/grpcx", "text/plain"]
        {
            assert!(!is_grpc(content_type.as_bytes()), "{content_type}");
        }
    }

    #[test]
    fn a_message_is_printable_ascii_whatever_the_text() {
        assert_eq!(message("no AccessPolicy selects shop/stock"), "no AccessPolicy selects shop/stock");
        assert_eq!(message("100 % ä\r\n\u{7f}~"), "100 %25 %C3%A4%0D%0A%7F~");
    }

    #[test]
    fn our_statuses_are_told_as_grpc_maps_them() {
        let table =
            [(400, 13), (403, 7), (404, 12), (408, 4), (421, 14), (431, 8), (500, 13), (502, 14), (503, 14), (504, 4)];
        for (http, grpc) in table {
            assert_eq!(status(http), grpc, "{http}");
        }
        assert_eq!(status(418), 2);
    }
}
