//! What is too long or too many, at the last byte that is taken and at the first that is not.
use weft_proxy::dataplane::http::Malformed::{
    ChunkExtension, HeadTooLarge, TargetTooLong, TooManyFields, Trailers, Truncated,
};

use super::{Case, Expected, answer, chunked, refused, request};

/// The head of a request with as many fields.
fn fields(count: usize) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(count - 1))
}

/// A request's head of as many bytes.
fn head(length: usize) -> String {
    let around = "GET / HTTP/1.1\r\nHost: a\r\nA: \r\n\r\n".len();
    format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "b".repeat(length - around))
}

/// An answer's head of as many bytes.
fn answer_head(length: usize) -> String {
    let around = "HTTP/1.1 204 X\r\nA: \r\n\r\n".len();
    format!("HTTP/1.1 204 X\r\nA: {}\r\n\r\n", "b".repeat(length - around))
}

/// A request whose target has as many bytes.
fn target(length: usize) -> String {
    format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "b".repeat(length - 1))
}

/// Taken, whatever it is made of.
fn fits() -> Expected {
    Expected::Fits
}

pub(super) fn cases() -> Vec<Case> {
    let long = |count: usize| "a".repeat(count);
    let extended = |count: usize| format!("1;{}\r\na\r\n0\r\n\r\n", long(count - 1));
    let trailers = |count: usize| format!("0\r\nA:{}\r\n\r\n", long(count - "A:\r\n\r\n".len()));
    let many_trailers = |count: usize| format!("0\r\n{}\r\n", "A: b\r\n".repeat(count));
    vec![
        request("RFC 9112 3", "a target of 8 KiB", target(8 * 1024), fits()),
        request("RFC 9112 3", "a target of 8 KiB and a byte", target(8 * 1024 + 1), refused(TargetTooLong)),
        request("RFC 9110 5.4", "a hundred fields", fields(100), fits()),
        request("RFC 9110 5.4", "a hundred and one fields", fields(101), refused(TooManyFields)),
        request("RFC 9110 5.4", "a head of 60 KiB", head(60 * 1024), fits()),
        request("RFC 9110 5.4", "a head of 60 KiB and a byte", head(60 * 1024 + 1), refused(HeadTooLarge)),
        request(
            "RFC 9110 5.4",
            "a head without end",
            format!("GET / HTTP/1.1\r\nA: {}", long(60 * 1024)),
            refused(HeadTooLarge),
        ),
        request(
            "RFC 9110 5.4",
            "a name without end",
            format!("GET / HTTP/1.1\r\n{}", long(70 * 1024)),
            refused(HeadTooLarge),
        ),
        request("RFC 9110 9.1", "a method without end", long(61 * 1024), refused(HeadTooLarge)),
        request(
            "RFC 9110 5.1",
            "a name of 16 KiB",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}: b\r\n\r\n", long(16_384)),
            fits(),
        ),
        request(
            "RFC 9110 5.4",
            "a hundred and one cookies",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "Cookie: a=b\r\n".repeat(100)),
            refused(TooManyFields),
        ),
        request(
            "RFC 9112 8",
            "a head below the limit that is cut",
            format!("GET / HTTP/1.1\r\nA: {}", long(1024)),
            refused(Truncated),
        ),
        answer("RFC 9110 5.4", "an answer's head of 60 KiB", answer_head(60 * 1024), fits()),
        answer(
            "RFC 9110 5.4",
            "an answer's head of 60 KiB and a byte",
            answer_head(60 * 1024 + 1),
            refused(HeadTooLarge),
        ),
        answer(
            "RFC 9110 5.4",
            "an answer of a hundred and one fields",
            format!("HTTP/1.1 204 X\r\n{}\r\n", "A: b\r\n".repeat(101)),
            refused(TooManyFields),
        ),
        answer(
            "RFC 9112 4",
            "a reason without end",
            format!("HTTP/1.1 200 {}", long(61 * 1024)),
            refused(HeadTooLarge),
        ),
        chunked("RFC 9112 7.1.1", "extensions of 4 KiB", &extended(4 * 1024), fits()),
        chunked("RFC 9112 7.1.1", "extensions of 4 KiB and a byte", &extended(4 * 1024 + 1), refused(ChunkExtension)),
        chunked(
            "CVE-2023-39326 (extensions)",
            "an extension a byte",
            &format!("{}0\r\n\r\n", "1;ab\r\na\r\n".repeat(2000)),
            refused(ChunkExtension),
        ),
        chunked("RFC 9112 7.1.2", "trailers of 8 KiB", &trailers(8 * 1024), fits()),
        chunked("RFC 9112 7.1.2", "trailers of 8 KiB and a byte", &trailers(8 * 1024 + 1), refused(Trailers)),
        chunked("RFC 9112 7.1.2", "trailers without end", &format!("0\r\nA: {}", long(9000)), refused(Trailers)),
        chunked("RFC 9110 5.4", "64 trailers", &many_trailers(64), fits()),
        chunked("RFC 9110 5.4", "65 trailers", &many_trailers(65), refused(Trailers)),
        chunked(
            "RFC 9112 7.1",
            "a thousand chunks of a byte",
            &format!("{}0\r\n\r\n", "1\r\na\r\n".repeat(1000)),
            fits(),
        ),
    ]
}
