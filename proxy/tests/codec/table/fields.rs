//! Field lines (RFC 9112 §5, RFC 9110 §5), those of one value, and the fields of one hop (§7.6.1).
use weft_proxy::dataplane::http::Malformed::{
    BareLineFeed, ConnectionOption, Expectation, FieldName, FieldValue, NoHost, Repeated, Truncated,
};

use super::{Case, Expected, get, ok, post, refused, request, taken};

fn is(fields: &'static str) -> Expected {
    taken("GET / 1.1", fields, "", "")
}

pub(super) fn cases() -> Vec<Case> {
    [syntax(), broken(), single(), hop_by_hop(), answers()].into_iter().flatten().collect()
}

fn syntax() -> Vec<Case> {
    vec![
        get("RFC 9110 5.1", "names keep their case", "X-aBC: d\r\n", is("Host: a\r\nX-aBC: d\r\n")),
        get("RFC 9112 5", "no space before the value", "X:y\r\n", is("Host: a\r\nX:y\r\n")),
        get("RFC 9112 5", "spaces around the value are kept", "X:  b  \r\n", is("Host: a\r\nX:  b  \r\n")),
        get("RFC 9112 5", "tabs around the value are kept", "X:\tb\t\r\n", is("Host: a\r\nX:\tb\t\r\n")),
        get("RFC 9110 5.5", "an empty value", "X:\r\n", is("Host: a\r\nX:\r\n")),
        get("RFC 9110 5.5", "a value of spaces", "X:   \r\n", is("Host: a\r\nX:   \r\n")),
        get("RFC 9110 5.5", "obs-text", "X: \u{e9}\r\n", is("Host: a\r\nX: \u{e9}\r\n")),
        request(
            "RFC 9110 5.5",
            "obs-text that is no UTF-8",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n",
            is("Host: a\r\nX: \u{fffd}\r\n"),
        ),
        get("RFC 9110 5.5", "a tab in a value", "X: a\tb\r\n", is("Host: a\r\nX: a\tb\r\n")),
        get("RFC 9110 5.5", "a colon in a value", "X: a:b\r\n", is("Host: a\r\nX: a:b\r\n")),
        get("RFC 9110 5.5", "a quoted comma", "X: \"a,b\"\r\n", is("Host: a\r\nX: \"a,b\"\r\n")),
        get(
            "RFC 9110 5.6.2",
            "a name of odd token characters",
            "!#$%&'*+-.^_`|~0A: b\r\n",
            is("Host: a\r\n!#$%&'*+-.^_`|~0A: b\r\n"),
        ),
        get("RFC 9110 5.1", "an underscore in a name", "X_Y: z\r\n", is("Host: a\r\nX_Y: z\r\n")),
        get(
            "RFC 9110 5.3",
            "lines of one name keep their order",
            "X: 1\r\nY: 2\r\nx: 3\r\n",
            is("Host: a\r\nX: 1\r\nY: 2\r\nx: 3\r\n"),
        ),
        get(
            "RFC 9110 5.3",
            "repeated cookies",
            "Cookie: a=b\r\nCookie: c=d\r\n",
            is("Host: a\r\nCookie: a=b\r\nCookie: c=d\r\n"),
        ),
        request(
            "RFC 9110 7.2",
            "Host need not be first",
            "GET / HTTP/1.1\r\nX: y\r\nhOsT:a\r\n\r\n",
            is("X: y\r\nhOsT:a\r\n"),
        ),
        request(
            "RFC 9110 7.2",
            "an empty Host is routing's to refuse",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            is("Host:\r\n"),
        ),
    ]
}

fn broken() -> Vec<Case> {
    vec![
        get("RFC 9112 2.2", "bare LF behind a line", "X: y\n", refused(BareLineFeed)),
        request("RFC 9112 2.2", "bare LF as the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", refused(BareLineFeed)),
        request("RFC 9112 2.2", "LF and CRLF as the end", "GET / HTTP/1.1\r\nHost: a\n\r\n", refused(BareLineFeed)),
        get("RFC 9112 2.2", "bare CR in a value", "X: a\rb\r\n", refused(FieldValue)),
        get("RFC 9112 2.2", "two CR behind a value", "X: a\r\r\n", refused(FieldValue)),
        get("RFC 9112 2.2", "bare CR in a name", "X\rY: a\r\n", refused(FieldName)),
        get("RFC 9112 5.1", "a space before the colon", "X : y\r\n", refused(FieldName)),
        get("RFC 9112 5.1", "a tab before the colon", "X\t: y\r\n", refused(FieldName)),
        get(
            "CVE-2019-16276 (space before colon)",
            "a hidden coding",
            "Transfer-Encoding : chunked\r\n",
            refused(FieldName),
        ),
        get("CVE-2019-16276 (space before colon)", "a hidden length", "Content-Length : 3\r\n", refused(FieldName)),
        get("RFC 9112 5.1", "an empty name", ": b\r\n", refused(FieldName)),
        get("RFC 9112 5.1", "no colon", "X\r\n", refused(FieldName)),
        get("RFC 9112 5.1", "a line of a space", " \r\n", refused(FieldName)),
        get("RFC 9110 5.1", "a bracket in a name", "X[]: y\r\n", refused(FieldName)),
        get("RFC 9110 5.1", "a slash in a name", "X/Y: y\r\n", refused(FieldName)),
        get("RFC 9110 5.1", "a quote in a name", "\"X\": y\r\n", refused(FieldName)),
        get("RFC 9110 5.1", "NUL in a name", "X\0: y\r\n", refused(FieldName)),
        get("RFC 9110 5.1", "obs-text in a name", "X\u{e9}: y\r\n", refused(FieldName)),
        get("RFC 9112 5.2", "a fold by a space", "X: b\r\n c\r\n", refused(FieldName)),
        get("RFC 9112 5.2", "a fold by a tab", "X: b\r\n\tc\r\n", refused(FieldName)),
        get("RFC 9112 5.2", "a folded coding", "Transfer-Encoding:\r\n chunked\r\n", refused(FieldName)),
        get("RFC 9112 5.2", "a folded length", "Content-Length:\r\n 3\r\n", refused(FieldName)),
        request(
            "RFC 9112 2.2",
            "a space before the first field",
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            refused(FieldName),
        ),
        get("CVE-2019-9900 (NUL in a value)", "NUL in a value", "X: a\0b\r\n", refused(FieldValue)),
        get("RFC 9110 5.5", "DEL in a value", "X: \u{7f}\r\n", refused(FieldValue)),
        get("RFC 9110 5.5", "ESC in a value", "X: \u{1b}[2J\r\n", refused(FieldValue)),
        get("RFC 9110 5.5", "a vertical tab in a value", "X: \u{b}\r\n", refused(FieldValue)),
        get("RFC 9110 5.5", "a backspace in a value", "X: a\u{8}\r\n", refused(FieldValue)),
        request("RFC 9112 8", "fields that are cut", "GET / HTTP/1.1\r\nHost: a\r\n", refused(Truncated)),
        request("RFC 9112 8", "an end that is cut", "GET / HTTP/1.1\r\nHost: a\r\n\r", refused(Truncated)),
    ]
}

fn single() -> Vec<Case> {
    vec![
        get("RFC 9112 3.2", "another Host", "Host: b\r\n", refused(Repeated("Host"))),
        get("RFC 9112 3.2", "the same Host in another case", "host: a\r\n", refused(Repeated("Host"))),
        get("RFC 9112 3.2", "an empty Host beside", "Host:\r\n", refused(Repeated("Host"))),
        request("RFC 9112 3.2", "a Host that is no name of it", "GET / HTTP/1.1\r\nHosts: a\r\n\r\n", refused(NoHost)),
        get(
            "RFC 9110 11.6.2",
            "two Authorizations",
            "Authorization: x\r\nauthorization: x\r\n",
            refused(Repeated("Authorization")),
        ),
        get("RFC 9110 11.6.2", "one Authorization", "Authorization: x\r\n", is("Host: a\r\nAuthorization: x\r\n")),
        get("RFC 9110 10.1.1", "another expectation", "Expect: 200-ok\r\n", refused(Expectation)),
        get("RFC 9110 10.1.1", "a second expectation", "Expect: 100-continue, x\r\n", refused(Expectation)),
        get("RFC 9110 10.1.1", "an empty expectation", "Expect:\r\n", refused(Expectation)),
        get(
            "RFC 9110 10.1.1",
            "an expectation in any case",
            "Expect: 100-Continue\r\n",
            taken("GET / 1.1 continue", "Host: a\r\nExpect: 100-Continue\r\n", "", ""),
        ),
        post(
            "RFC 9110 10.1.1",
            "a body after a 100",
            "Content-Length: 1\r\nExpect: 100-continue\r\n",
            "a",
            taken("POST / 1.1 length=1 continue", "Host: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n", "a", ""),
        ),
    ]
}

fn hop_by_hop() -> Vec<Case> {
    let closes = |fields| taken("GET / 1.1 close", fields, "", "");
    vec![
        get(
            "RFC 9110 7.6.1",
            "Connection: keep-alive",
            "Connection: keep-alive\r\nX: y\r\n",
            is("Host: a\r\nX: y\r\n"),
        ),
        get("RFC 9112 9.6", "Connection: close", "Connection: close\r\n", closes("Host: a\r\n")),
        get("RFC 9112 9.6", "close in any case, in a list", "Connection: te,CLOSE\r\n", closes("Host: a\r\n")),
        get("RFC 9112 9.6", "close and keep-alive", "Connection: keep-alive, close\r\n", closes("Host: a\r\n")),
        get("RFC 9112 9.6", "close in a second line", "Connection: te\r\nConnection: close\r\n", closes("Host: a\r\n")),
        get("RFC 9110 5.6.1", "empty elements", "Connection: , ,close,\r\n", closes("Host: a\r\n")),
        get("RFC 9110 7.6.1", "an empty Connection", "Connection:\r\n", is("Host: a\r\n")),
        get("RFC 9110 7.6.1", "closed is not close", "Connection: closed\r\n", is("Host: a\r\n")),
        get("RFC 9110 7.6.1", "what it names", "Connection: X\r\nX: 1\r\nY: 2\r\nx: 3\r\n", is("Host: a\r\nY: 2\r\n")),
        get("RFC 9110 7.6.1", "what it names before it", "X: 1\r\nY: 2\r\nConnection: y, x\r\n", is("Host: a\r\n")),
        get("RFC 9110 7.6.1", "what is not there", "Connection: x\r\nY: 2\r\n", is("Host: a\r\nY: 2\r\n")),
        get("RFC 9110 7.6.1", "Keep-Alive", "Keep-Alive: timeout=5\r\n", is("Host: a\r\n")),
        get("RFC 9110 7.6.1", "Proxy-Connection", "Proxy-Connection: keep-alive\r\n", is("Host: a\r\n")),
        get("RFC 9110 10.1.4", "TE", "TE: trailers\r\n", is("Host: a\r\n")),
        get("RFC 9110 6.6.2", "Trailer is passed on", "Trailer: X\r\n", is("Host: a\r\nTrailer: X\r\n")),
        get("RFC 9110 7.6.3", "Via is passed on", "Via: 1.1 x\r\n", is("Host: a\r\nVia: 1.1 x\r\n")),
        get("RFC 9110 7.6.2", "Max-Forwards is passed on", "Max-Forwards: 0\r\n", is("Host: a\r\nMax-Forwards: 0\r\n")),
        get("RFC 9110 7.6.1", "it names Host", "Connection: host\r\n", refused(ConnectionOption)),
        get("RFC 9110 7.6.1", "it names credentials", "Connection: Authorization\r\n", refused(ConnectionOption)),
        get("RFC 9110 7.6.1", "it names cookies", "Connection: close, cookie\r\n", refused(ConnectionOption)),
        get("RFC 9110 7.6.1", "it names the length", "Connection: Content-Length\r\n", refused(ConnectionOption)),
        get("RFC 9110 7.6.1", "it names the coding", "Connection: transfer-encoding\r\n", refused(ConnectionOption)),
        get("RFC 9110 7.6.1", "it names no text", "Connection: \u{e9}\r\n", is("Host: a\r\n")),
        request(
            "RFC 9110 7.6.1",
            "it names broken UTF-8",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: \xff\r\n\r\n",
            refused(ConnectionOption),
        ),
    ]
}

fn answers() -> Vec<Case> {
    let is = |fields| taken("200 OK", fields, "", "");
    let empty = "Content-Length: 0\r\n";
    let all = |fields: &str| format!("{fields}{empty}");
    vec![
        ok(
            "RFC 9110 5.3",
            "repeated Set-Cookie",
            &all("Set-Cookie: a\r\nSet-Cookie: b\r\n"),
            "",
            is("Set-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n"),
        ),
        ok("RFC 9110 7.6.1", "what Connection names", &all("Connection: X\r\nX: 1\r\n"), "", is(empty)),
        ok("RFC 9110 7.6.1", "Keep-Alive", &all("Keep-Alive: timeout=5\r\n"), "", is(empty)),
        ok("RFC 9110 7.8", "an offer to upgrade", &all("Connection: upgrade\r\nUpgrade: h2\r\n"), "", is(empty)),
        ok("RFC 9110 5.5", "obs-text", &all("X: \u{e9}\r\n"), "", is("X: \u{e9}\r\nContent-Length: 0\r\n")),
        ok(
            "RFC 9110 10.1.1",
            "Expect says nothing in an answer",
            &all("Expect: x\r\n"),
            "",
            is("Expect: x\r\nContent-Length: 0\r\n"),
        ),
        ok("RFC 9112 5.1", "a space before the colon", &all("X : y\r\n"), "", refused(FieldName)),
        ok("RFC 9112 5.2", "a fold", &all("X: a\r\n b\r\n"), "", refused(FieldName)),
        ok("CVE-2019-9900 (NUL in a value)", "NUL in a value", &all("X: a\0b\r\n"), "", refused(FieldValue)),
        ok("RFC 9112 2.2", "bare LF behind a line", &all("X: y\n"), "", refused(BareLineFeed)),
        ok("RFC 9112 2.2", "bare CR in a value", &all("X: a\rb\r\n"), "", refused(FieldValue)),
        ok("RFC 9112 5.1", "no colon", &all("X\r\n"), "", refused(FieldName)),
        ok(
            "RFC 9110 7.6.1",
            "Connection names the length",
            &all("Connection: content-length\r\n"),
            "",
            refused(ConnectionOption),
        ),
    ]
}
