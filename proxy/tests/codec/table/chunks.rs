//! The chunked coding (RFC 9112 §7.1) and its extensions (§7.1.1).
use weft_proxy::dataplane::http::Malformed::{ChunkEnd, ChunkExtension, ChunkSize, Truncated};

use super::{Case, chunked, passed, refused};

pub(super) fn cases() -> Vec<Case> {
    [coded(), sizes(), ends(), extensions()].into_iter().flatten().collect()
}

fn coded() -> Vec<Case> {
    vec![
        chunked("RFC 9112 7.1", "no data", "0\r\n\r\nd", passed("0\r\n\r\n", "d")),
        chunked("RFC 9112 7.1", "one chunk", "3\r\nabc\r\n0\r\n\r\n", passed("3\r\nabc\r\n0\r\n\r\n", "")),
        chunked(
            "RFC 9112 7.1",
            "two chunks",
            "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
            passed("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", ""),
        ),
        chunked(
            "RFC 9112 7.1",
            "sizes in both cases",
            "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
            passed("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", ""),
        ),
        chunked("RFC 9112 7.1", "a leading zero", "03\r\nabc\r\n0\r\n\r\n", passed("03\r\nabc\r\n0\r\n\r\n", "")),
        chunked(
            "RFC 9112 7.1",
            "fifteen digits",
            "000000000000003\r\nabc\r\n0\r\n\r\n",
            passed("000000000000003\r\nabc\r\n0\r\n\r\n", ""),
        ),
        chunked("RFC 9112 7.1", "a last chunk of zeros", "000\r\n\r\n", passed("000\r\n\r\n", "")),
        chunked(
            "RFC 9112 7.1",
            "data like an end",
            "5\r\n0\r\n\r\n\r\n0\r\n\r\n",
            passed("5\r\n0\r\n\r\n\r\n0\r\n\r\n", ""),
        ),
        chunked("RFC 9112 7.1", "NUL in the data", "1\r\n\0\r\n0\r\n\r\n", passed("1\r\n\0\r\n0\r\n\r\n", "")),
        chunked(
            "RFC 9112 7.1",
            "a request behind",
            "0\r\n\r\nGET / HTTP/1.1\r\n",
            passed("0\r\n\r\n", "GET / HTTP/1.1\r\n"),
        ),
    ]
}

fn sizes() -> Vec<Case> {
    let size =
        |what, size: &str| chunked("RFC 9112 7.1", what, &format!("{size}\r\nabc\r\n0\r\n\r\n"), refused(ChunkSize));
    vec![
        size("no size", ""),
        size("a prefix", "0x3"),
        size("a prefix in upper case", "0X3"),
        size("a letter behind", "3h"),
        size("a letter alone", "g"),
        size("a plus", "+3"),
        size("a minus", "-3"),
        size("a space before", " 3"),
        size("a tab before", "\t3"),
        size("a space behind", "3 "),
        size("a tab behind", "3\t"),
        size("an underscore", "0_3"),
        size("a fraction", "3.0"),
        size("quotes", "\"3\""),
        size("a comma", "3,3"),
        size("NUL behind", "3\0"),
        size("obs-text behind", "3\u{e9}"),
        size("sixteen digits", "0000000000000003"),
        size("2^64", "10000000000000000"),
        size("2^64 - 1", "ffffffffffffffff"),
        size("2^64 + 3, which wraps to 3", "10000000000000003"),
        size("two CR", "3\r"),
        chunked("RFC 9112 7.1", "the line ends in LF", "3\nabc\r\n0\r\n\r\n", refused(ChunkSize)),
        chunked("RFC 9112 7.1", "the line ends in CR", "3\rabc\r\n0\r\n\r\n", refused(ChunkSize)),
        chunked("RFC 9112 7.1", "the last line ends in LF", "0\n\r\n", refused(ChunkSize)),
        chunked("RFC 9112 7.1", "a minus before the last zero", "-0\r\n\r\n", refused(ChunkSize)),
        chunked("RFC 9112 7.1", "data without a size", "xyz\r\n0\r\n\r\n", refused(ChunkSize)),
        chunked("RFC 9112 8", "a size that is cut", "3", refused(Truncated)),
        chunked("RFC 9112 8", "the greatest size, cut", "fffffffffffffff\r\nabc", refused(Truncated)),
    ]
}

fn ends() -> Vec<Case> {
    vec![
        chunked("RFC 9112 7.1", "more data than its size", "3\r\nabcd\r\n0\r\n\r\n", refused(ChunkEnd)),
        chunked("RFC 9112 7.1", "less data than its size", "4\r\nabc\r\n0\r\n\r\n", refused(ChunkEnd)),
        chunked("RFC 9112 7.1", "LF behind the data", "3\r\nabc\n0\r\n\r\n", refused(ChunkEnd)),
        chunked("RFC 9112 7.1", "CR behind the data", "3\r\nabc\r0\r\n\r\n", refused(ChunkEnd)),
        chunked("RFC 9112 7.1", "two bytes skipped for CRLF", "3\r\nabcXX0\r\n\r\n", refused(ChunkEnd)),
        chunked("RFC 9112 7.1", "nothing behind the data", "3\r\nabc0\r\n\r\n", refused(ChunkEnd)),
        chunked("RFC 9112 7.1", "an empty line between chunks", "1\r\na\r\n\r\n0\r\n\r\n", refused(ChunkSize)),
        chunked("RFC 9112 8", "data that is cut", "3\r\nab", refused(Truncated)),
        chunked("RFC 9112 8", "an end that is cut", "3\r\nabc\r", refused(Truncated)),
        chunked("RFC 9112 8", "no last chunk", "3\r\nabc\r\n", refused(Truncated)),
        chunked("RFC 9112 8", "a last chunk that is cut", "0\r", refused(Truncated)),
        chunked("RFC 9112 8", "no body at all", "", refused(Truncated)),
    ]
}

fn extensions() -> Vec<Case> {
    let dropped = |what, extension: &str| {
        chunked("RFC 9112 7.1.1", what, &format!("1{extension}\r\na\r\n0\r\n\r\n"), passed("1\r\na\r\n0\r\n\r\n", ""))
    };
    vec![
        dropped("a name", ";x"),
        dropped("a name and a value", ";x=y"),
        dropped("a quoted value", ";x=\"y;z\""),
        dropped("two", ";x=y;z"),
        dropped("spaces within", "; x = y"),
        dropped("a tab within", ";\tx"),
        dropped("an empty one", ";"),
        dropped("obs-text", ";\u{e9}"),
        dropped("one like a size", ";2\u{a0}"),
        chunked("RFC 9112 7.1.1", "at the last chunk", "0;x=y\r\n\r\n", passed("0\r\n\r\n", "")),
        chunked("RFC 9112 7.1.1", "a space before the semicolon", "1 ;x\r\na\r\n0\r\n\r\n", refused(ChunkSize)),
        chunked("CVE-2025-22871 (LF in an extension)", "bare LF", "1;x\na\r\n0\r\n\r\n", refused(ChunkExtension)),
        chunked(
            "CVE-2025-22871 (LF in an extension)",
            "bare LF at the last chunk",
            "0;x\n\r\n",
            refused(ChunkExtension),
        ),
        chunked("RFC 9112 7.1.1", "bare CR", "1;x\rY\r\na\r\n0\r\n\r\n", refused(ChunkSize)),
        chunked("RFC 9112 7.1.1", "NUL", "1;\0\r\na\r\n0\r\n\r\n", refused(ChunkExtension)),
        chunked("RFC 9112 7.1.1", "DEL", "1;\u{7f}\r\na\r\n0\r\n\r\n", refused(ChunkExtension)),
        chunked(
            "RFC 9112 7.1.1",
            "a line end in quotes ends the line",
            "1;x=\"\r\n\"\r\n0\r\n\r\n",
            passed("1\r\n\"\r\n0\r\n\r\n", ""),
        ),
        chunked("RFC 9112 8", "one that is cut", "1;x", refused(Truncated)),
    ]
}
