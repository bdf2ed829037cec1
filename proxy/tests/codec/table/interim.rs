//! Interim answers (RFC 9110 §15.2): heads without bodies, of which more follow.
use weft_proxy::dataplane::http::Malformed::{CodingNotAllowed, FieldName, Truncated};

use super::{Case, answer, refused, taken, to_head};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

pub(super) fn cases() -> Vec<Case> {
    let then = |head: &str| format!("{head}\r\n\r\n{OK}");
    vec![
        answer("RFC 9110 15.2.1", "100", then("HTTP/1.1 100 Continue"), taken("100 Continue interim", "", "", OK)),
        answer("RFC 9110 15.2.1", "100 without a reason", then("HTTP/1.1 100"), taken("100 interim", "", "", OK)),
        answer("RFC 9110 15.2", "102", then("HTTP/1.1 102 Processing"), taken("102 Processing interim", "", "", OK)),
        answer(
            "RFC 9110 15.2",
            "103 with its fields",
            then("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>"),
            taken("103 Early Hints interim", "Link: </a>\r\nLink: </b>\r\n", "", OK),
        ),
        answer("RFC 9110 15.2", "an unknown one", then("HTTP/1.1 199 X"), taken("199 X interim", "", "", OK)),
        answer(
            "RFC 9110 8.6",
            "100 with a length, which is not believed",
            then("HTTP/1.1 100 Continue\r\nContent-Length: 5"),
            taken("100 Continue interim", "", "", OK),
        ),
        answer(
            "RFC 9112 6.1",
            "100 with a coding",
            then("HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked"),
            refused(CodingNotAllowed),
        ),
        answer(
            "RFC 9112 6.1",
            "103 with a coding",
            then("HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked"),
            refused(CodingNotAllowed),
        ),
        answer(
            "RFC 9110 7.6.1",
            "what Connection names",
            then("HTTP/1.1 103 X\r\nConnection: Y\r\nY: 1\r\nZ: 2"),
            taken("103 X interim", "Z: 2\r\n", "", OK),
        ),
        answer(
            "RFC 9112 9.6",
            "Connection: close in one",
            then("HTTP/1.1 103 X\r\nConnection: close"),
            taken("103 X interim close", "", "", OK),
        ),
        to_head(
            "RFC 9110 15.2",
            "100 to HEAD",
            &then("HTTP/1.1 100 Continue"),
            taken("100 Continue interim", "", "", OK),
        ),
        answer("RFC 9112 8", "one that is cut", "HTTP/1.1 100 Continue\r\n", refused(Truncated)),
        answer("RFC 9112 5.1", "one with a broken field", then("HTTP/1.1 103 X\r\nA : b"), refused(FieldName)),
        answer(
            "RFC 9110 15.2",
            "bytes behind are the next head, never a body",
            "HTTP/1.1 100 Continue\r\n\r\nabc",
            taken("100 Continue interim", "", "", "abc"),
        ),
    ]
}
