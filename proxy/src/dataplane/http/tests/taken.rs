//! What is taken, and what of it is passed on.
use super::{
    super::{Framing, RequestHead, ResponseHead, Version},
    request, response,
};

#[test]
fn requests_are_taken_as_they_are_meant() {
    let cases: &[(&str, &str, &str)] = &[
        ("RFC 9112 2.2 one empty line before the request", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "Host: a\r\n||"),
        (
            "RFC 9110 5.1 names keep their case",
            "GET / HTTP/1.1\r\nhOsT: a\r\nX-ABC: d\r\n\r\n",
            "hOsT: a\r\nX-ABC: d\r\n||",
        ),
        (
            "RFC 9112 5 values keep their spaces around",
            "GET / HTTP/1.1\r\nHost:a\r\nX:  b  \r\n\r\n",
            "Host:a\r\nX:  b  \r\n||",
        ),
        (
            "RFC 9110 5.5 obs-text passes",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n",
            "Host: a\r\nX: \u{e9}\r\n||",
        ),
        ("RFC 9110 5.5 an empty value passes", "GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", "Host: a\r\nX:\r\n||"),
        ("RFC 9112 6.3 no body without framing", "POST / HTTP/1.1\r\nHost: a\r\n\r\nGET", "Host: a\r\n||GET"),
        (
            "RFC 9112 6.3 by length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 003\r\n\r\nabcd",
            "Host: a\r\nContent-Length: 003\r\n|abc|d",
        ),
        (
            "RFC 9112 6.3 a length of zero",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nd",
            "Host: a\r\nContent-Length: 0\r\n||d",
        ),
        (
            "RFC 9112 7.1 chunked in any case",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n1\r\na\r\n0\r\n\r\nd",
            "Host: a\r\nTransfer-Encoding: CHUNKED\r\n|1\r\na\r\n0\r\n\r\n|d",
        ),
        (
            "RFC 9112 7.1 sizes in both cases",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0A\r\n0123456789\r\na\r\n0123456789\r\n00\r\n\r\n",
            "Host: a\r\nTransfer-Encoding: chunked\r\n|0A\r\n0123456789\r\na\r\n0123456789\r\n00\r\n\r\n|",
        ),
        (
            "RFC 9112 7.1.1 extensions are dropped",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x=\"y\"\r\na\r\n0;z\r\n\r\n",
            "Host: a\r\nTransfer-Encoding: chunked\r\n|1\r\na\r\n0\r\n\r\n|",
        ),
        (
            "RFC 9110 6.5.1 trailers that frame are dropped",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\nX: y\r\nx-weft-decision: z\r\n\r\n",
            "Host: a\r\nTransfer-Encoding: chunked\r\n|0\r\nX: y\r\n\r\n|",
        ),
        (
            "RFC 9110 7.6.1 Connection and what it names",
            "GET / HTTP/1.1\r\nConnection: close, X, te\r\nX: 1\r\nHost: a\r\nx: 2\r\nY: 3\r\n\r\n",
            "Host: a\r\nY: 3\r\n||",
        ),
        (
            "RFC 9110 7.6.1 the well-known",
            "GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: 1\r\nTE: trailers\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nZ: 1\r\n\r\n",
            "Host: a\r\nZ: 1\r\n||",
        ),
        (
            "RFC 9113 3.1 h2c is not taken up",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
            "Host: a\r\n||",
        ),
    ];
    for (what, bytes, seen) in cases {
        assert_eq!(request(bytes.as_bytes()).as_deref(), Ok(*seen), "{what}");
    }
}

#[test]
fn answers_are_taken_as_they_are_meant() {
    let cases: &[(&str, bool, &str, &str)] = &[
        ("RFC 9112 4 no reason", false, "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "200 Content-Length: 0\r\n||"),
        (
            "RFC 9112 4 no reason and no space",
            false,
            "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
            "200 Content-Length: 0\r\n||",
        ),
        (
            "RFC 9112 6.3 by length",
            false,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            "200 Content-Length: 1\r\n|a|b",
        ),
        ("RFC 9112 6.3 by the stream's end", false, "HTTP/1.1 200 OK\r\n\r\nabc", "200 |abc|"),
        (
            "RFC 9112 6.3 HTTP/1.0 by length",
            false,
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
            "200 Content-Length: 1\r\n|a|",
        ),
        (
            "RFC 9112 6.3 HEAD has no body",
            true,
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
            "200 Content-Length: 9\r\n||x",
        ),
        ("RFC 9112 6.3 HEAD and a coding", true, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx", "200 ||x"),
        (
            "RFC 9112 6.3 204 has no body",
            false,
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nA: b\r\n\r\nx",
            "204 A: b\r\n||x",
        ),
        (
            "RFC 9112 6.3 304 has no body",
            false,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nx",
            "304 Content-Length: 5\r\n||x",
        ),
        ("RFC 9112 6.3 100 has no body", false, "HTTP/1.1 100 Continue\r\n\r\nx", "100 ||x"),
        (
            "RFC 9110 15 an unknown status",
            false,
            "HTTP/1.1 799 What\r\nContent-Length: 0\r\n\r\n",
            "799 Content-Length: 0\r\n||",
        ),
        (
            "RFC 9110 5.3 repeated Set-Cookie",
            false,
            "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
            "200 Set-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n||",
        ),
    ];
    for (what, to_head, bytes, seen) in cases {
        assert_eq!(response(bytes.as_bytes(), *to_head).as_deref(), Ok(*seen), "{what}");
    }
}

#[test]
fn persistence_follows_version_and_connection() {
    let request = |bytes: &str| RequestHead::parse(bytes.as_bytes()).unwrap();
    assert!(request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").keeps_alive);
    assert!(!request("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n").keeps_alive);
    // RFC 9112 §9.3: a proxy keeps no connection to an HTTP/1.0 client, whatever it asks for.
    let old = request("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!((old.keeps_alive, old.version, old.expects_continue), (false, Version::Http10, false));
    assert!(request("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket, h2c\r\n\r\n").upgrade);
    assert!(!request("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n").upgrade);
    let response = |bytes: &str| ResponseHead::parse(bytes.as_bytes(), false).unwrap();
    assert!(response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").keeps_alive);
    assert!(!response("HTTP/1.1 200 OK\r\n\r\n").keeps_alive);
    assert!(!response("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").keeps_alive);
    assert!(response("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n").keeps_alive);
    assert!(!response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").keeps_alive);
    assert_eq!(response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").framing, Framing::Chunked);
}
