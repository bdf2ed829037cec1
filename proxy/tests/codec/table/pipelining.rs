//! Requests behind each other on a connection (RFC 9112 §9.3.2), and where a wrong one ends them (§9.6).
use super::{Case, requests};

pub(super) fn cases() -> Vec<Case> {
    let follow = |what, bytes: &str, all| requests("RFC 9112 9.3.2", what, bytes, all);
    vec![
        follow(
            "two",
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            &["GET /1 1.1", "GET /2 1.1"],
        ),
        follow(
            "three with bodies",
            "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na\
             POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
            &["POST /1 1.1 length=1 \"a\"", "POST /2 1.1 chunked \"1\\r\\nb\\r\\n0\\r\\n\\r\\n\"", "GET /3 1.1"],
        ),
        requests(
            "RFC 9112 2.2",
            "an empty line between",
            "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            &["POST /1 1.1 length=1 \"a\"", "GET /2 1.1"],
        ),
        requests(
            "RFC 9112 9.6",
            "nothing behind a close",
            "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            &["GET /1 1.1 close"],
        ),
        requests(
            "RFC 9112 9.3",
            "nothing behind HTTP/1.0",
            "GET /1 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            &["GET /1 1.0 close"],
        ),
        requests(
            "RFC 9112 6.3",
            "a body without framing is the next request",
            "POST /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            &["POST /1 1.1", "GET /2 1.1"],
        ),
        requests(
            "RFC 9112 6.3",
            "a body too long for its length",
            "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nabGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            &["POST /1 1.1 length=1 \"a\"", "bGET /2 1.1"],
        ),
        requests(
            "RFC 9112 6.1",
            "nothing behind length and coding",
            "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
             GET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            &["LengthAndCoding"],
        ),
        requests(
            "RFC 9112 7.1",
            "nothing behind a broken chunk",
            "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n\
             GET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            &["ChunkEnd"],
        ),
        requests(
            "RFC 9112 2.2",
            "two, the second broken",
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\nHost: a\r\n\r\n",
            &["GET /1 1.1", "BareLineFeed"],
        ),
        requests(
            "RFC 9112 8",
            "two, the second cut",
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost",
            &["GET /1 1.1", "Truncated"],
        ),
        requests(
            "RFC 9110 9.3.2",
            "HEAD and GET",
            "HEAD /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            &["HEAD /1 1.1", "GET /2 1.1"],
        ),
        requests(
            "RFC 9110 10.1.1",
            "a body that was not waited with",
            "PUT /1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\naGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            &["PUT /1 1.1 length=1 continue \"a\"", "GET /2 1.1"],
        ),
        requests(
            "RFC 9112 7.1.2",
            "trailers that name another length",
            "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 40\r\n\r\n\
             GET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            &["POST /1 1.1 chunked \"0\\r\\n\\r\\n\"", "GET /2 1.1"],
        ),
    ]
}
