//! Where a request's body ends (RFC 9112 §6).
use weft_proxy::dataplane::http::Malformed::{
    Coding, FieldName, FieldValue, Length, LengthAndCoding, Repeated, Truncated,
};

use super::{Case, get, post, refused, taken};

pub(super) fn cases() -> Vec<Case> {
    [lengths(), broken_lengths(), codings(), both()].into_iter().flatten().collect()
}

fn lengths() -> Vec<Case> {
    vec![
        post("RFC 9112 6.3", "no framing, no body", "", "GET", taken("POST / 1.1", "Host: a\r\n", "", "GET")),
        post(
            "RFC 9112 6.3",
            "by length",
            "Content-Length: 3\r\n",
            "abcd",
            taken("POST / 1.1 length=3", "Host: a\r\nContent-Length: 3\r\n", "abc", "d"),
        ),
        post(
            "RFC 9110 8.6",
            "leading zeros",
            "Content-Length: 003\r\n",
            "abcd",
            taken("POST / 1.1 length=3", "Host: a\r\nContent-Length: 003\r\n", "abc", "d"),
        ),
        post(
            "RFC 9110 8.6",
            "a length of zero",
            "Content-Length: 0\r\n",
            "d",
            taken("POST / 1.1", "Host: a\r\nContent-Length: 0\r\n", "", "d"),
        ),
        post(
            "RFC 9112 5",
            "spaces around the length",
            "Content-Length: \t 1 \t\r\n",
            "ab",
            taken("POST / 1.1 length=1", "Host: a\r\nContent-Length: \t 1 \t\r\n", "a", "b"),
        ),
        get(
            "RFC 9110 9.3.1",
            "a GET with a length of zero",
            "content-length: 0\r\n",
            taken("GET / 1.1", "Host: a\r\ncontent-length: 0\r\n", "", ""),
        ),
        post(
            "RFC 9112 6.3",
            "CR, LF and NUL are data",
            "Content-Length: 5\r\n",
            "\r\n\0\n\r",
            taken("POST / 1.1 length=5", "Host: a\r\nContent-Length: 5\r\n", "\r\n\0\n\r", ""),
        ),
        post("RFC 9112 8", "a body that is cut", "Content-Length: 3\r\n", "ab", refused(Truncated)),
        post("RFC 9112 8", "a body that does not begin", "Content-Length: 3\r\n", "", refused(Truncated)),
        post(
            "RFC 9112 8",
            "the greatest length, cut",
            "Content-Length: 9223372036854775807\r\n",
            "a",
            refused(Truncated),
        ),
    ]
}

fn broken_lengths() -> Vec<Case> {
    let length = |section, what, value: &str| {
        post(section, what, &format!("Content-Length:{value}\r\n"), "abcdefghijklm", refused(Length))
    };
    let twice = |what, fields: &str| post("RFC 9112 6.3", what, fields, "ab", refused(Repeated("Content-Length")));
    vec![
        length("RFC 9110 8.6", "an empty length", ""),
        length("RFC 9110 8.6", "a length of spaces", "   "),
        length("RFC 9110 8.6", "a plus", " +1"),
        length("RFC 9110 8.6", "a minus", " -1"),
        length("RFC 9110 8.6", "hexadecimal", " 0x1"),
        length("RFC 9110 8.6", "letters", " a"),
        length("RFC 9110 8.6", "a fraction", " 1.0"),
        length("RFC 9110 8.6", "an exponent", " 1e1"),
        length("RFC 9110 8.6", "an underscore", " 1_0"),
        length("RFC 9110 8.6", "a space inside", " 1 0"),
        length("RFC 9110 8.6", "a quoted number", " \"1\""),
        length("RFC 9110 8.6", "a list", " 1, 2"),
        length("RFC 9110 8.6", "a list of the same", " 1, 1"),
        length("RFC 9110 8.6", "a list with an empty element", " 1,"),
        length("RFC 9110 8.6", "a semicolon behind", " 1;"),
        length("RFC 9110 8.6", "digits of another script", " \u{661}"),
        length("RFC 9110 8.6", "2^63", " 9223372036854775808"),
        length("RFC 9110 8.6", "2^64", " 18446744073709551616"),
        length("RFC 9110 8.6", "2^64 + 1", " 18446744073709551617"),
        length("RFC 9110 8.6", "twenty digits", " 00000000000000000001"),
        post("RFC 9110 8.6", "NUL behind", "Content-Length: 1\0\r\n", "a", refused(FieldValue)),
        post("RFC 9110 8.6", "a vertical tab before", "Content-Length: \u{b}1\r\n", "a", refused(FieldValue)),
        twice("two lengths", "Content-Length: 1\r\nContent-Length: 2\r\n"),
        twice("the same length twice", "Content-Length: 1\r\nContent-Length: 1\r\n"),
        twice("a length and zero", "Content-Length: 0\r\ncontent-length: 1\r\n"),
        twice("two lengths with a field between", "Content-Length: 1\r\nX: y\r\nContent-Length: 1\r\n"),
        post(
            "RFC 9112 5.1",
            "an underscore for the hyphen",
            "Content_Length: 1\r\n",
            "a",
            taken("POST / 1.1", "Host: a\r\nContent_Length: 1\r\n", "", "a"),
        ),
    ]
}

fn codings() -> Vec<Case> {
    let coding = |section, what, value: &str| {
        post(section, what, &format!("Transfer-Encoding:{value}\r\n"), "0\r\n\r\n", refused(Coding))
    };
    vec![
        post(
            "RFC 9112 7",
            "the coding's name in any case",
            "Transfer-Encoding: CHUNKED\r\n",
            "1\r\na\r\n0\r\n\r\nd",
            taken("POST / 1.1 chunked", "Host: a\r\nTransfer-Encoding: CHUNKED\r\n", "1\r\na\r\n0\r\n\r\n", "d"),
        ),
        post(
            "RFC 9112 5",
            "spaces around the coding",
            "Transfer-Encoding: \t chunked \r\n",
            "0\r\n\r\n",
            taken("POST / 1.1 chunked", "Host: a\r\nTransfer-Encoding: \t chunked \r\n", "0\r\n\r\n", ""),
        ),
        coding("RFC 9112 6.1", "identity", " identity"),
        coding("RFC 9112 6.1", "an empty coding", ""),
        coding("RFC 9112 6.1", "gzip alone", " gzip"),
        coding("RFC 9112 6.1", "gzip, chunked", " gzip, chunked"),
        coding("RFC 9112 6.1", "chunked, gzip", " chunked, gzip"),
        coding("RFC 9112 6.1", "chunked, identity", " chunked, identity"),
        coding("RFC 9112 6.1", "identity, chunked", " identity, chunked"),
        coding("RFC 9112 6.1", "chunked twice", " chunked, chunked"),
        coding("RFC 9112 6.1", "chunked and an empty element", " chunked,"),
        coding("RFC 9112 6.1", "an empty element and chunked", " , chunked"),
        coding("RFC 9112 6.1", "xchunked", " xchunked"),
        coding("RFC 9112 6.1", "chunkedx", " chunkedx"),
        coding("RFC 9112 6.1", "chunked with a parameter", " chunked;q=1"),
        coding("RFC 9112 6.1", "chunked with a space inside", " chu nked"),
        coding("RFC 9112 6.1", "chunked in quotes", " \"chunked\""),
        coding("RFC 9112 6.1", "chunked in single quotes", " 'chunked'"),
        coding("RFC 9112 6.1", "cow", " cow"),
        coding("RFC 9112 6.1", "a long s in place of none", " \u{17f}chunked"),
        coding("RFC 9112 6.1", "a no-break space before", " \u{a0}chunked"),
        post("RFC 9112 6.1", "a vertical tab before", "Transfer-Encoding: \u{b}chunked\r\n", "", refused(FieldValue)),
        post("RFC 9112 6.1", "NUL behind", "Transfer-Encoding: chunked\0\r\n", "", refused(FieldValue)),
        post(
            "RFC 9112 5.1",
            "a no-break space in the name",
            "Transfer-Encoding\u{a0}: chunked\r\n",
            "",
            refused(FieldName),
        ),
        post(
            "RFC 9112 6.1",
            "two lines",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "",
            refused(Coding),
        ),
        post(
            "RFC 9112 6.1",
            "identity in a second line",
            "Transfer-Encoding: chunked\r\ntransfer-encoding: identity\r\n",
            "",
            refused(Coding),
        ),
        post(
            "RFC 9112 6.1",
            "an empty first line",
            "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n",
            "",
            refused(Coding),
        ),
        post(
            "RFC 9112 5.1",
            "an underscore for the hyphen",
            "Transfer_Encoding: chunked\r\n",
            "0\r\n\r\n",
            taken("POST / 1.1", "Host: a\r\nTransfer_Encoding: chunked\r\n", "", "0\r\n\r\n"),
        ),
    ]
}

fn both() -> Vec<Case> {
    let both = |section, what, fields: &str| post(section, what, fields, "0\r\n\r\n", refused(LengthAndCoding));
    vec![
        both("RFC 9112 6.1", "length, then coding", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        both("RFC 9112 6.1", "coding, then length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        both("RFC 9112 6.1", "coding and a length of zero", "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
        both("RFC 9112 6.1", "with fields between", "content-length: 5\r\nX: y\r\ntransfer-encoding: chunked\r\n"),
        post(
            "RFC 9112 6.1",
            "length and an obscured coding",
            "Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n",
            "abcde",
            refused(Coding),
        ),
        post(
            "RFC 9112 6.1",
            "coding and an obscured length",
            "Transfer-Encoding: chunked\r\nContent-Length: +5\r\n",
            "0\r\n\r\n",
            refused(Length),
        ),
        post(
            "CVE-2022-31813 (Connection hides fields)",
            "the coding named away",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n",
            "0\r\n\r\n",
            refused(LengthAndCoding),
        ),
    ]
}
