//! Status lines (RFC 9112 §4) and where an answer's body ends (§6.3).
use weft_proxy::dataplane::http::Malformed::{
    BareLineFeed, Coding, CodingNotAllowed, Length, LengthAndCoding, Repeated, StartLine, Truncated, Version,
};

use super::{Case, Expected, answer, ok, refused, taken, to_head};

const EMPTY: &str = "Content-Length: 0\r\n";

pub(super) fn cases() -> Vec<Case> {
    [lines(), bodies(), without_body(), broken()].into_iter().flatten().collect()
}

fn status(section: &'static str, what: &'static str, line: &str, expected: Expected) -> Case {
    answer(section, what, format!("{line}\r\n{EMPTY}\r\n"), expected)
}

fn lines() -> Vec<Case> {
    let is = |short| taken(short, EMPTY, "", "");
    vec![
        status("RFC 9112 4", "the simplest", "HTTP/1.1 200 OK", is("200 OK")),
        status("RFC 9112 4", "no reason", "HTTP/1.1 200 ", is("200")),
        status("RFC 9112 4", "no reason and no space", "HTTP/1.1 200", is("200")),
        status("RFC 9112 4", "a reason of words", "HTTP/1.1 404 Not \t Found", is("404 Not \t Found")),
        status("RFC 9112 4", "obs-text in the reason is left out", "HTTP/1.1 500 \u{e9}", is("500")),
        status("RFC 9110 15", "an unknown status", "HTTP/1.1 799 What", is("799 What")),
        status("RFC 9110 15", "the greatest status", "HTTP/1.1 999 X", is("999 X")),
        status("RFC 9110 15", "a status below 100", "HTTP/1.1 099 X", refused(StartLine)),
        status("RFC 9110 15", "a status of zero", "HTTP/1.1 000 X", refused(StartLine)),
        status("RFC 9112 4", "a status of two digits", "HTTP/1.1 20 OK", refused(StartLine)),
        status("RFC 9112 4", "a status of four digits", "HTTP/1.1 2000 OK", refused(StartLine)),
        status("RFC 9112 4", "a status of letters", "HTTP/1.1 2xx OK", refused(StartLine)),
        status("RFC 9112 4", "a signed status", "HTTP/1.1 -20 OK", refused(StartLine)),
        status("RFC 9112 4", "no status", "HTTP/1.1 OK", refused(StartLine)),
        status("RFC 9112 4", "no space before the reason", "HTTP/1.1 200OK", refused(StartLine)),
        status("RFC 9112 4", "two spaces before the status", "HTTP/1.1  200 OK", refused(StartLine)),
        status("RFC 9112 4", "a tab before the status", "HTTP/1.1\t200 OK", refused(Version)),
        status("RFC 9112 4", "NUL in the reason", "HTTP/1.1 200 O\0K", refused(StartLine)),
        status("RFC 9112 4", "CR in the reason", "HTTP/1.1 200 O\rK", refused(StartLine)),
        status("RFC 9112 4", "ESC in the reason", "HTTP/1.1 200 \u{1b}[2J", refused(StartLine)),
        status("RFC 9112 2.3", "HTTP/1.2", "HTTP/1.2 200 OK", refused(Version)),
        status("RFC 9112 2.3", "HTTP/2.0", "HTTP/2.0 200 OK", refused(Version)),
        status("RFC 9112 2.3", "HTTP/2", "HTTP/2 200 OK", refused(Version)),
        status("RFC 9112 2.3", "a version in lower case", "http/1.1 200 OK", refused(StartLine)),
        status("RFC 9112 2.3", "another protocol", "ICY 200 OK", refused(StartLine)),
        status("RFC 9112 2.2", "an empty line before", "\r\nHTTP/1.1 200 OK", refused(StartLine)),
        status("RFC 9112 2.2", "a request", "GET / HTTP/1.1", refused(StartLine)),
        answer("RFC 9112 2.2", "bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", refused(BareLineFeed)),
        answer("RFC 9112 8", "HTTP/0.9", "<html></html>", refused(Truncated)),
        answer("RFC 9112 8", "a head that is cut", "HTTP/1.1 200 OK\r\nContent-Le", refused(Truncated)),
        answer("RFC 9112 8", "nothing", "", refused(Truncated)),
    ]
}

fn bodies() -> Vec<Case> {
    vec![
        ok(
            "RFC 9112 6.3",
            "by length",
            "Content-Length: 1\r\n",
            "ab",
            taken("200 OK length=1", "Content-Length: 1\r\n", "a", "b"),
        ),
        ok("RFC 9112 6.3", "a length of zero", EMPTY, "b", taken("200 OK", EMPTY, "", "b")),
        ok(
            "RFC 9112 6.3",
            "chunked",
            "Transfer-Encoding: chunked\r\n",
            "1\r\na\r\n0\r\n\r\nb",
            taken("200 OK chunked", "Transfer-Encoding: chunked\r\n", "1\r\na\r\n0\r\n\r\n", "b"),
        ),
        ok(
            "RFC 9112 6.3",
            "by the stream's end",
            "",
            "abc\r\n\r\n",
            taken("200 OK until-close", "", "abc\r\n\r\n", ""),
        ),
        ok(
            "RFC 9112 6.3",
            "by the stream's end at once",
            "X: y\r\n",
            "",
            taken("200 OK until-close", "X: y\r\n", "", ""),
        ),
        ok(
            "RFC 9112 9.6",
            "by length, then a close",
            "Content-Length: 1\r\nConnection: close\r\n",
            "a",
            taken("200 OK length=1 close", "Content-Length: 1\r\n", "a", ""),
        ),
        ok(
            "RFC 9112 9.3",
            "keep-alive does not make a body end",
            "Connection: keep-alive\r\n",
            "a",
            taken("200 OK until-close", "", "a", ""),
        ),
        answer(
            "RFC 9110 15.3.6",
            "205 is framed like any other",
            "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\nx",
            taken("205 Reset Content", EMPTY, "", "x"),
        ),
        answer(
            "RFC 9110 15.3.7",
            "206 by length",
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/9\r\nContent-Length: 1\r\n\r\nab",
            taken("206 Partial Content length=1", "Content-Range: bytes 0-0/9\r\nContent-Length: 1\r\n", "a", "b"),
        ),
    ]
}

fn without_body() -> Vec<Case> {
    vec![
        to_head(
            "RFC 9112 6.3",
            "HEAD by length",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
            taken("200 OK", "Content-Length: 9\r\n", "", "x"),
        ),
        to_head(
            "RFC 9112 6.3",
            "HEAD and a coding",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx",
            taken("200 OK", "", "", "x"),
        ),
        to_head("RFC 9112 6.3", "HEAD without framing", "HTTP/1.1 200 OK\r\n\r\nx", taken("200 OK", "", "", "x")),
        to_head(
            "RFC 9112 6.3",
            "an error to HEAD",
            "HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n",
            taken("404 No", "Content-Length: 9\r\n", "", ""),
        ),
        to_head(
            "RFC 9112 6.1",
            "HEAD, length and coding",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
            refused(LengthAndCoding),
        ),
        answer("RFC 9112 6.3", "204", "HTTP/1.1 204 No Content\r\n\r\nx", taken("204 No Content", "", "", "x")),
        answer(
            "RFC 9110 8.6",
            "204 with a length",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nA: b\r\n\r\nx",
            taken("204 No Content", "A: b\r\n", "", "x"),
        ),
        answer("RFC 9112 6.3", "304", "HTTP/1.1 304 Not Modified\r\n\r\nx", taken("304 Not Modified", "", "", "x")),
        answer(
            "RFC 9110 15.4.5",
            "304 with the length of what it is not",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nx",
            taken("304 Not Modified", "Content-Length: 5\r\n", "", "x"),
        ),
        answer(
            "RFC 9112 6.1",
            "304 with the coding of what it is not",
            "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\nx",
            taken("304 Not Modified", "", "", "x"),
        ),
        answer(
            "RFC 9112 6.1",
            "204 with a coding",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            refused(CodingNotAllowed),
        ),
        answer(
            "RFC 9112 6.1",
            "304 with length and coding",
            "HTTP/1.1 304 X\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            refused(LengthAndCoding),
        ),
    ]
}

fn broken() -> Vec<Case> {
    let length = |what, value: &str| {
        ok("RFC 9110 8.6", what, &format!("Content-Length: {value}\r\n"), "abcdefghijklm", refused(Length))
    };
    let coding = |what, value: &str| {
        ok("RFC 9112 6.1", what, &format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n", refused(Coding))
    };
    vec![
        length("an empty length", ""),
        length("a plus", "+1"),
        length("a minus", "-1"),
        length("hexadecimal", "0x1"),
        length("a list of the same", "1, 1"),
        length("2^63", "9223372036854775808"),
        coding("identity", "identity"),
        coding("gzip", "gzip"),
        coding("gzip, chunked", "gzip, chunked"),
        coding("chunked, identity", "chunked, identity"),
        coding("xchunked", "xchunked"),
        ok(
            "RFC 9112 6.3",
            "two lengths",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "ab",
            refused(Repeated("Content-Length")),
        ),
        ok(
            "RFC 9112 6.3",
            "the same length twice",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "a",
            refused(Repeated("Content-Length")),
        ),
        ok(
            "RFC 9112 6.1",
            "length and coding",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
            refused(LengthAndCoding),
        ),
        ok(
            "RFC 9112 6.1",
            "coding and length",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "0\r\n\r\n",
            refused(LengthAndCoding),
        ),
        ok("RFC 9112 8", "a body that is cut", "Content-Length: 3\r\n", "ab", refused(Truncated)),
        ok(
            "RFC 9112 8",
            "a chunked body that is cut",
            "Transfer-Encoding: chunked\r\n",
            "1\r\na\r\n",
            refused(Truncated),
        ),
    ]
}
