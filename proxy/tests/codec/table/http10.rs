//! HTTP/1.0 (RFC 9112 §2.3, §9.3 and appendix C).
use weft_proxy::dataplane::http::Malformed::{CodingNotAllowed, LengthAndCoding, NoHost};

use super::{Case, answer, line, refused, request, taken, to_head};

pub(super) fn cases() -> Vec<Case> {
    vec![
        line("RFC 9112 2.3", "a request", "GET / HTTP/1.0", taken("GET / 1.0 close", "Host: a\r\n", "", "")),
        request("RFC 9112 3.2", "without Host there is nowhere to go", "GET / HTTP/1.0\r\n\r\n", refused(NoHost)),
        request(
            "RFC 9112 9.3",
            "a proxy keeps no connection to it",
            "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            taken("GET / 1.0 close", "Host: a\r\n", "", ""),
        ),
        request(
            "RFC 9112 6.3",
            "a body by length",
            "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\n\r\nab",
            taken("POST / 1.0 length=1 close", "Host: a\r\nContent-Length: 1\r\n", "a", "b"),
        ),
        request(
            "RFC 9112 6.3",
            "no body by the stream's end",
            "POST / HTTP/1.0\r\nHost: a\r\n\r\nab",
            taken("POST / 1.0 close", "Host: a\r\n", "", "ab"),
        ),
        request(
            "RFC 9112 6.1",
            "a coding",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            refused(CodingNotAllowed),
        ),
        request(
            "RFC 9112 6.1",
            "length and coding",
            "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            refused(LengthAndCoding),
        ),
        request(
            "RFC 9110 10.1.1",
            "an expectation is not heeded",
            "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
            taken("POST / 1.0 length=1 close", "Host: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n", "a", ""),
        ),
        answer(
            "RFC 9112 9.3",
            "an answer by length closes",
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
            taken("200 OK length=1 close", "Content-Length: 1\r\n", "a", ""),
        ),
        answer(
            "RFC 9112 9.3",
            "unless it says otherwise",
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\na",
            taken("200 OK length=1", "Content-Length: 1\r\n", "a", ""),
        ),
        answer(
            "RFC 9112 9.3",
            "and does not say so again",
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive, close\r\n\r\n",
            taken("200 OK close", "Content-Length: 0\r\n", "", ""),
        ),
        answer(
            "RFC 9112 6.3",
            "an answer by the stream's end",
            "HTTP/1.0 200 OK\r\n\r\nabc",
            taken("200 OK until-close", "", "abc", ""),
        ),
        answer(
            "RFC 9112 6.1",
            "an answer with a coding",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            refused(CodingNotAllowed),
        ),
        answer(
            "RFC 9112 9.3",
            "204 closes",
            "HTTP/1.0 204 No Content\r\n\r\n",
            taken("204 No Content close", "", "", ""),
        ),
        to_head(
            "RFC 9112 9.3",
            "an answer to HEAD closes",
            "HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n",
            taken("200 OK close", "Content-Length: 9\r\n", "", ""),
        ),
    ]
}
