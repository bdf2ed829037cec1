//! Trailer sections (RFC 9112 §7.1.2, RFC 9110 §6.5).
use weft_proxy::dataplane::http::Malformed::{BareLineFeed, Trailers, Truncated};

use super::{Case, chunked, ok, passed, post, refused, taken};

pub(super) fn cases() -> Vec<Case> {
    [taken_sections(), forbidden(), broken()].into_iter().flatten().collect()
}

fn taken_sections() -> Vec<Case> {
    vec![
        chunked("RFC 9112 7.1.2", "one field", "0\r\nA: b\r\n\r\nd", passed("0\r\nA: b\r\n\r\n", "d")),
        chunked("RFC 9112 7.1.2", "two fields", "0\r\nA: b\r\nC: d\r\n\r\n", passed("0\r\nA: b\r\nC: d\r\n\r\n", "")),
        chunked("RFC 9110 5.3", "one name twice", "0\r\nA: b\r\na: c\r\n\r\n", passed("0\r\nA: b\r\na: c\r\n\r\n", "")),
        chunked("RFC 9112 5", "spaces around a value", "0\r\nA:b \t\r\n\r\n", passed("0\r\nA: b\r\n\r\n", "")),
        chunked("RFC 9110 5.5", "an empty value", "0\r\nA:\r\n\r\n", passed("0\r\nA: \r\n\r\n", "")),
        chunked("RFC 9110 5.5", "obs-text", "0\r\nA: \u{e9}\r\n\r\n", passed("0\r\nA: \u{e9}\r\n\r\n", "")),
        chunked(
            "RFC 9112 7.1.2",
            "behind data and an extension",
            "1;x\r\na\r\n0;y\r\nA: b\r\n\r\n",
            passed("1\r\na\r\n0\r\nA: b\r\n\r\n", ""),
        ),
        chunked(
            "RFC 9110 6.5",
            "grpc-status",
            "0\r\ngrpc-status: 0\r\n\r\n",
            passed("0\r\ngrpc-status: 0\r\n\r\n", ""),
        ),
        ok(
            "RFC 9112 7.1.2",
            "of an answer",
            "Transfer-Encoding: chunked\r\nTrailer: A\r\n",
            "0\r\nA: b\r\n\r\nd",
            taken("200 OK chunked", "Transfer-Encoding: chunked\r\nTrailer: A\r\n", "0\r\nA: b\r\n\r\n", "d"),
        ),
        post(
            "RFC 9112 6.3",
            "a body by length has none",
            "Content-Length: 1\r\nTrailer: A\r\n",
            "aA: b\r\n\r\n",
            taken("POST / 1.1 length=1", "Host: a\r\nContent-Length: 1\r\nTrailer: A\r\n", "a", "A: b\r\n\r\n"),
        ),
    ]
}

fn forbidden() -> Vec<Case> {
    let dropped = |what, line: &str| {
        chunked("RFC 9110 6.5.1", what, &format!("0\r\n{line}\r\nX: y\r\n\r\n"), passed("0\r\nX: y\r\n\r\n", ""))
    };
    vec![
        dropped("Content-Length", "Content-Length: 5"),
        dropped("Transfer-Encoding", "transfer-encoding: chunked"),
        dropped("Host", "Host: b"),
        dropped("Trailer", "Trailer: X"),
        dropped("Connection", "Connection: close"),
        dropped("Keep-Alive", "Keep-Alive: 1"),
        dropped("TE", "TE: trailers"),
        dropped("Upgrade", "Upgrade: websocket"),
        dropped("Proxy-Connection", "Proxy-Connection: close"),
        dropped("Expect", "Expect: 100-continue"),
        dropped("Max-Forwards", "Max-Forwards: 1"),
        dropped("Authorization", "AUTHORIZATION: x"),
        dropped("Proxy-Authorization", "Proxy-Authorization: x"),
        dropped("Cookie", "Cookie: a=b"),
        dropped("Set-Cookie", "Set-Cookie: a=b"),
        dropped("Content-Encoding", "Content-Encoding: gzip"),
        dropped("Content-Range", "Content-Range: bytes 0-1/2"),
        dropped("Content-Type", "Content-Type: text/html"),
        dropped("Cache-Control", "Cache-Control: no-store"),
        dropped("Forwarded", "Forwarded: for=a"),
        dropped("X-Forwarded-For", "X-Forwarded-For: 192.0.2.1"),
        dropped("our own", "X-Weft-Decision: a"),
        post(
            "RFC 9110 7.6.1",
            "what Connection names",
            "Connection: close, A\r\nTransfer-Encoding: chunked\r\n",
            "0\r\na: b\r\nX: y\r\nClose: 1\r\n\r\n",
            taken("POST / 1.1 chunked close", "Host: a\r\nTransfer-Encoding: chunked\r\n", "0\r\nX: y\r\n\r\n", ""),
        ),
        ok(
            "RFC 9110 7.6.1",
            "what Connection names in an answer",
            "Connection: A\r\nTransfer-Encoding: chunked\r\nConnection: B\r\n",
            "0\r\nB: 1\r\nA: 2\r\nC: 3\r\n\r\n",
            taken("200 OK chunked", "Transfer-Encoding: chunked\r\n", "0\r\nC: 3\r\n\r\n", ""),
        ),
        chunked("RFC 9110 6.5.1", "nothing is left", "0\r\nHost: b\r\n\r\n", passed("0\r\n\r\n", "")),
    ]
}

fn broken() -> Vec<Case> {
    let broken = |section, what, line: &str| chunked(section, what, &format!("0\r\n{line}\r\n\r\n"), refused(Trailers));
    vec![
        broken("RFC 9112 5", "no colon", "nonsense"),
        broken("RFC 9112 5.1", "a space before the colon", "A : b"),
        broken("RFC 9112 5.1", "an empty name", ": b"),
        broken("RFC 9112 5.2", "a fold", "A: b\r\n c"),
        broken("RFC 9112 5.2", "a space first", " A: b"),
        broken("RFC 9110 5.5", "NUL", "A: \0"),
        broken("RFC 9110 5.5", "DEL", "A: \u{7f}"),
        broken("RFC 9112 2.2", "bare CR", "A: b\rc"),
        broken("RFC 9112 2.2", "two CR", "A: b\r"),
        broken("RFC 9110 5.1", "obs-text in a name", "\u{e9}: b"),
        broken("RFC 9112 7.1.2", "a request in its place", "GET / HTTP/1.1\r\nHost: a"),
        chunked("RFC 9112 2.2", "bare LF behind a field", "0\r\nA: b\n\r\n", refused(BareLineFeed)),
        chunked("RFC 9112 2.2", "bare LF as the end", "0\r\n\n", refused(BareLineFeed)),
        chunked("RFC 9112 2.2", "bare LF as the end behind a field", "0\r\nA: b\r\n\n", refused(BareLineFeed)),
        chunked("RFC 9112 2.2", "a CR that ends nothing", "0\r\n\rX\r\n\r\n", refused(Trailers)),
        chunked("RFC 9112 8", "no end", "0\r\n", refused(Truncated)),
        chunked("RFC 9112 8", "an end that is cut", "0\r\n\r", refused(Truncated)),
        chunked("RFC 9112 8", "a section that is cut", "0\r\nA: b\r\n", refused(Truncated)),
    ]
}
