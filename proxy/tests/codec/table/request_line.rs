//! Request lines (RFC 9112 §3), and what may stand before them (§2.2).
use weft_proxy::dataplane::http::Malformed::{BareLineFeed, NoHost, StartLine, Truncated, Version};

use super::{Case, Expected, line, refused, request, taken};

const HOST: &str = "Host: a\r\n";

fn is(short: &'static str) -> Expected {
    taken(short, HOST, "", "")
}

pub(super) fn cases() -> Vec<Case> {
    [taken_lines(), refused_lines(), before()].into_iter().flatten().collect()
}

fn taken_lines() -> Vec<Case> {
    vec![
        line("RFC 9112 3", "the simplest", "GET / HTTP/1.1", is("GET / 1.1")),
        line("RFC 9110 9.1", "methods are case-sensitive", "get / HTTP/1.1", is("get / 1.1")),
        line("RFC 9110 9.1", "an unknown method", "BREW /pot HTTP/1.1", is("BREW /pot 1.1")),
        line("RFC 9110 9.1", "a method with a hyphen", "M-SEARCH / HTTP/1.1", is("M-SEARCH / 1.1")),
        line(
            "RFC 9110 5.6.2",
            "a method of odd token characters",
            "!#$%&'*+.^_`|~ / HTTP/1.1",
            is("!#$%&'*+.^_`|~ / 1.1"),
        ),
        line("RFC 9110 9.3.2", "HEAD", "HEAD / HTTP/1.1", is("HEAD / 1.1")),
        line("RFC 9110 9.3.8", "TRACE", "TRACE / HTTP/1.1", is("TRACE / 1.1")),
        line("RFC 9112 3.2.1", "path and query", "GET /a/b?c=d&e HTTP/1.1", is("GET /a/b?c=d&e 1.1")),
        line("RFC 9112 3.2.1", "an empty query", "GET /? HTTP/1.1", is("GET /? 1.1")),
        line("RFC 9112 3.2.1", "two slashes are kept for routing", "GET //a HTTP/1.1", is("GET //a 1.1")),
        line("RFC 9112 3.2.1", "dot segments are kept for routing", "GET /a/../b HTTP/1.1", is("GET /a/../b 1.1")),
        line("RFC 9112 3.2.1", "escapes are kept for routing", "GET /%2f%2E HTTP/1.1", is("GET /%2f%2E 1.1")),
        line("RFC 9112 3.2.2", "the absolute form", "GET http://b/c HTTP/1.1", is("GET http://b/c 1.1")),
        line("RFC 9112 3.2.2", "the absolute form without a path", "GET http://b HTTP/1.1", is("GET http://b 1.1")),
        line("RFC 9112 3.2.4", "the asterisk form", "OPTIONS * HTTP/1.1", is("OPTIONS * 1.1")),
        line(
            "CVE-2021-32779 (fragments)",
            "a fragment is kept for routing to refuse",
            "GET /a#b HTTP/1.1",
            is("GET /a#b 1.1"),
        ),
        line(
            "CVE-2021-29492 (backslashes)",
            "a backslash is kept for routing to judge",
            "GET /a\\b HTTP/1.1",
            is("GET /a\\b 1.1"),
        ),
        line(
            "CVE-2026-73551 (path parameters)",
            "a parameter is kept for routing",
            "GET /..;/a HTTP/1.1",
            is("GET /..;/a 1.1"),
        ),
    ]
}

fn refused_lines() -> Vec<Case> {
    vec![
        request("RFC 9112 2.2", "bare LF behind the line", "GET / HTTP/1.1\nHost: a\r\n\r\n", refused(BareLineFeed)),
        request("RFC 9112 2.2", "CR alone behind the line", "GET / HTTP/1.1\rHost: a\r\n\r\n", refused(StartLine)),
        request("RFC 9112 2.2", "two CR before the LF", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", refused(StartLine)),
        line("RFC 9112 3", "two spaces behind the method", "GET  / HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3", "two spaces behind the target", "GET /  HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3", "a space behind the version", "GET / HTTP/1.1 ", refused(StartLine)),
        line("RFC 9112 3", "three spaces behind the method", "GET   / HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3", "three spaces behind the target", "GET /   HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3", "a space in the target of another version", "GET /a b HTTP/2.0", refused(StartLine)),
        line("RFC 9112 3", "two versions", "GET / HTTP/1.1 HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3", "a space before the method", " GET / HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3", "a tab for the first space", "GET\t/ HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3", "a tab for the second space", "GET /\tHTTP/1.1", refused(StartLine)),
        line("RFC 9112 3", "a form feed for a space", "GET /\u{c}HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3", "a space in the target", "GET /a b HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3", "no target", "GET HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3", "an empty target", "GET  HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3", "no method", "/ HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3", "an empty method", " / HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3", "a status line", "HTTP/1.1 200 OK", refused(StartLine)),
        line("RFC 9112 3", "the method alone", "GET", refused(StartLine)),
        line("RFC 9110 5.6.2", "a bracket in the method", "G(T / HTTP/1.1", refused(StartLine)),
        line("RFC 9110 5.6.2", "a colon in the method", "GET: / HTTP/1.1", refused(StartLine)),
        line("RFC 9110 5.6.2", "NUL in the method", "G\0T / HTTP/1.1", refused(StartLine)),
        line("RFC 9110 5.6.2", "obs-text in the method", "G\u{e9}T / HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3.2", "NUL in the target", "GET /\0 HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3.2", "DEL in the target", "GET /\u{7f} HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3.2", "ESC in the target", "GET /\u{1b}[2J HTTP/1.1", refused(StartLine)),
        line("RFC 9112 3.2", "CR in the target", "GET /\rX HTTP/1.1", refused(StartLine)),
        request(
            "RFC 9112 3.2",
            "broken UTF-8 in the target",
            b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
            refused(StartLine),
        ),
        line("RFC 9112 2.3", "no version", "GET /", refused(StartLine)),
        line("RFC 9112 2.3", "a version of two digits", "GET / HTTP/1.10", refused(StartLine)),
        line("RFC 9112 2.3", "a version of two digits before the dot", "GET / HTTP/11.1", refused(StartLine)),
        line("RFC 9112 2.3", "a version without a dot", "GET / HTTP/1", refused(StartLine)),
        line("RFC 9112 2.3", "a comma for the dot", "GET / HTTP/1,1", refused(StartLine)),
        line("RFC 9112 2.3", "the name in lower case", "GET / http/1.1", refused(StartLine)),
        line("RFC 9112 2.3", "another protocol", "GET / ICAP/1.0", refused(StartLine)),
        line("RFC 9112 2.3", "no slash", "GET / HTTP1.1", refused(StartLine)),
        line("RFC 9110 2.5", "HTTP/0.9", "GET / HTTP/0.9", refused(Version)),
        line("RFC 9110 2.5", "HTTP/1.2", "GET / HTTP/1.2", refused(Version)),
        line("RFC 9110 2.5", "HTTP/2.0", "GET / HTTP/2.0", refused(Version)),
        line("RFC 9110 2.5", "HTTP/3.0", "GET / HTTP/3.0", refused(Version)),
        request("RFC 9113 3.4", "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refused(Version)),
        request("RFC 9112 3.2", "no Host", "GET / HTTP/1.1\r\nA: b\r\n\r\n", refused(NoHost)),
        request("RFC 9112 3.2", "no field at all", "GET / HTTP/1.1\r\n\r\n", refused(NoHost)),
        request("RFC 9112 3.2.2", "the absolute form without Host", "GET http://a/ HTTP/1.1\r\n\r\n", refused(NoHost)),
        request("RFC 9112 8", "a line that is cut", "GET / HTT", refused(Truncated)),
        request("RFC 9112 8", "a line alone", "GET / HTTP/1.1\r\n", refused(Truncated)),
        request("RFC 9112 2.2", "a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", refused(Truncated)),
        request("RFC 9112 2.2", "a TLS hello with a line feed", b"\x16\x03\x01\x00\x0a\x01\x00", refused(BareLineFeed)),
    ]
}

fn before() -> Vec<Case> {
    vec![
        request("RFC 9112 2.2", "one empty line before", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", is("GET / 1.1")),
        request(
            "RFC 9112 2.2",
            "two empty lines before",
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            refused(StartLine),
        ),
        request(
            "RFC 9112 2.2",
            "an empty line of LF before",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            refused(BareLineFeed),
        ),
        request("RFC 9112 2.2", "a CR alone before", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", refused(StartLine)),
        request("RFC 9112 2.2", "a space line before", " \r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", refused(StartLine)),
        request(
            "RFC 9112 2.2",
            "a byte order mark before",
            "\u{feff}GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            refused(StartLine),
        ),
        request("RFC 9112 2.2", "empty lines alone", "\r\n\r\n", refused(StartLine)),
    ]
}
