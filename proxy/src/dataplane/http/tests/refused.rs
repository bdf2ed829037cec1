//! What is refused, each with the section that it breaks or that leaves it open.
use super::{super::Malformed, request, response};

#[test]
fn requests_that_could_be_read_in_two_ways_are_refused() {
    let cases: &[(&str, &str, Malformed)] = &[
        ("RFC 9112 2.2 bare LF in the start line", "GET / HTTP/1.1\nHost: a\r\n\r\n", Malformed::BareLineFeed),
        ("RFC 9112 2.2 bare LF behind a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", Malformed::BareLineFeed),
        ("RFC 9112 2.2 bare LF as the head's end", "GET / HTTP/1.1\r\nHost: a\r\n\n", Malformed::BareLineFeed),
        ("RFC 9112 2.2 bare CR in a value", "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", Malformed::FieldValue),
        (
            "RFC 9112 2.2 two empty lines before the request",
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            Malformed::StartLine,
        ),
        ("RFC 9112 2.2 whitespace before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", Malformed::FieldName),
        ("RFC 9112 2.3 a version of two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", Malformed::StartLine),
        ("RFC 9112 2.3 HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", Malformed::Version),
        ("RFC 9112 2.3 a version in lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", Malformed::Version),
        ("RFC 9112 2.3 no version", "GET /\r\nHost: a\r\n\r\n", Malformed::StartLine),
        ("RFC 9112 3 two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::StartLine),
        ("RFC 9112 3 a space behind the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Malformed::StartLine),
        ("RFC 9112 3 a tab for a space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::StartLine),
        ("RFC 9112 3 a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Version),
        ("RFC 9112 3 an empty method", " / HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::StartLine),
        ("RFC 9110 9.1 a method that is no token", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::StartLine),
        ("RFC 9112 3 NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::StartLine),
        ("RFC 9112 3.2 no Host", "GET / HTTP/1.1\r\nA: b\r\n\r\n", Malformed::NoHost),
        ("RFC 9112 3.2 no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", Malformed::NoHost),
        ("RFC 9112 3.2 two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Malformed::Repeated("Host")),
        (
            "RFC 9112 3.2 the same Host twice",
            "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
            Malformed::Repeated("Host"),
        ),
        ("RFC 9112 5.1 a space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", Malformed::FieldName),
        ("RFC 9112 5.1 an empty name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", Malformed::FieldName),
        ("RFC 9112 5.1 no colon", "GET / HTTP/1.1\r\nHost: a\r\nA\r\n\r\n", Malformed::FieldName),
        ("RFC 9110 5.1 a name with a bracket", "GET / HTTP/1.1\r\nHost: a\r\nA[]: b\r\n\r\n", Malformed::FieldName),
        ("RFC 9112 5.2 obs-fold by a space", "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", Malformed::FieldName),
        ("RFC 9112 5.2 obs-fold by a tab", "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\tc\r\n\r\n", Malformed::FieldName),
        ("RFC 9110 5.5 NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nA: \0\r\n\r\n", Malformed::FieldValue),
        ("RFC 9110 5.5 DEL in a value", "GET / HTTP/1.1\r\nHost: a\r\nA: \u{7f}\r\n\r\n", Malformed::FieldValue),
        (
            "RFC 9112 6.1 length and coding",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Malformed::LengthAndCoding,
        ),
        (
            "RFC 9112 6.1 coding and length",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
            Malformed::LengthAndCoding,
        ),
        (
            "RFC 9112 6.1 identity",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
            Malformed::Coding,
        ),
        (
            "RFC 9112 6.1 gzip, chunked",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            Malformed::Coding,
        ),
        (
            "RFC 9112 6.1 chunked, identity",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
            Malformed::Coding,
        ),
        (
            "RFC 9112 6.1 chunked twice in a value",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            Malformed::Coding,
        ),
        (
            "RFC 9112 6.1 chunked twice in lines",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Malformed::Coding,
        ),
        (
            "RFC 9112 6.1 xchunked",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
            Malformed::Coding,
        ),
        (
            "RFC 9112 6.1 chunked with a parameter",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n",
            Malformed::Coding,
        ),
        (
            "RFC 9112 6.1 chunked behind a vertical tab",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n",
            Malformed::FieldValue,
        ),
        ("RFC 9112 6.1 an empty coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", Malformed::Coding),
        (
            "RFC 9112 6.1 a coding in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Malformed::CodingNotAllowed,
        ),
        (
            "RFC 9112 6.3 two lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            Malformed::Repeated("Content-Length"),
        ),
        (
            "RFC 9112 6.3 the same length twice",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            Malformed::Repeated("Content-Length"),
        ),
        (
            "RFC 9110 8.6 a list of lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na",
            Malformed::Length,
        ),
        (
            "RFC 9110 8.6 a signed length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
            Malformed::Length,
        ),
        (
            "RFC 9110 8.6 a negative length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            Malformed::Length,
        ),
        (
            "RFC 9110 8.6 a hexadecimal length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na",
            Malformed::Length,
        ),
        ("RFC 9110 8.6 an empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Malformed::Length),
        (
            "RFC 9110 8.6 a length past 2^63",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n",
            Malformed::Length,
        ),
        (
            "RFC 9110 8.6 a length of 20 digits",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 00000000000000000001\r\n\r\na",
            Malformed::Length,
        ),
        (
            "RFC 9112 8 a body that is cut",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab",
            Malformed::Truncated,
        ),
        ("RFC 9112 8 a head that is cut", "GET / HTTP/1.1\r\nHost: a\r\n", Malformed::Truncated),
        (
            "RFC 9110 7.6.1 Connection names Host",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n",
            Malformed::ConnectionOption,
        ),
        (
            "RFC 9110 7.6.1 Connection names framing",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close, Content-Length\r\n\r\na",
            Malformed::ConnectionOption,
        ),
        (
            "RFC 9110 7.6.1 Connection names credentials",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: authorization\r\n\r\n",
            Malformed::ConnectionOption,
        ),
        (
            "RFC 9110 10.1.1 another expectation",
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n",
            Malformed::Expectation,
        ),
        (
            "RFC 9110 11.6.2 two Authorizations",
            "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nAuthorization: y\r\n\r\n",
            Malformed::Repeated("Authorization"),
        ),
    ];
    for (what, bytes, malformed) in cases {
        let got = request(bytes.as_bytes());
        assert!(got.is_err(), "{what}: {bytes:?} was taken as {got:?}");
        // The position where httparse stumbles is its own; that framing is named right is ours.
        let named = !matches!(
            malformed,
            Malformed::StartLine | Malformed::FieldName | Malformed::FieldValue | Malformed::Version
        );
        assert!(!named || got == Err(*malformed), "{what}: {got:?}, not {malformed:?}");
    }
}

#[test]
fn chunked_bodies_that_could_be_read_in_two_ways_are_refused() {
    let cases: &[(&str, &str, Malformed)] = &[
        ("RFC 9112 7.1 no size", "\r\n\r\n", Malformed::ChunkSize),
        ("RFC 9112 7.1 a size with a prefix", "0x3\r\nabc\r\n0\r\n\r\n", Malformed::ChunkSize),
        ("RFC 9112 7.1 a signed size", "+3\r\nabc\r\n0\r\n\r\n", Malformed::ChunkSize),
        ("RFC 9112 7.1 a space before the size", " 3\r\nabc\r\n0\r\n\r\n", Malformed::ChunkSize),
        ("RFC 9112 7.1 a space behind the size", "3 \r\nabc\r\n0\r\n\r\n", Malformed::ChunkSize),
        ("RFC 9112 7.1 an underscore", "1_0\r\n", Malformed::ChunkSize),
        ("RFC 9112 7.1 a size of 16 digits", "0000000000000003\r\nabc\r\n0\r\n\r\n", Malformed::ChunkSize),
        ("RFC 9112 7.1 a size line with bare LF", "3\nabc\r\n0\r\n\r\n", Malformed::ChunkSize),
        ("RFC 9112 7.1 a size line with CR alone", "3\rabc\r\n0\r\n\r\n", Malformed::ChunkSize),
        ("RFC 9112 7.1 data longer than its size", "3\r\nabcd\r\n0\r\n\r\n", Malformed::ChunkEnd),
        ("RFC 9112 7.1 data followed by LF", "3\r\nabc\n0\r\n\r\n", Malformed::ChunkEnd),
        ("RFC 9112 7.1 data followed by CR alone", "3\r\nabc\r0\r\n\r\n", Malformed::ChunkEnd),
        ("RFC 9112 7.1.1 bare LF in an extension", "3;a\nabc\r\n0\r\n\r\n", Malformed::ChunkExtension),
        ("RFC 9112 7.1.1 NUL in an extension", "3;\0\r\nabc\r\n0\r\n\r\n", Malformed::ChunkExtension),
        ("RFC 9112 7.1.2 bare LF in the trailers", "0\r\nA: b\n\r\n", Malformed::BareLineFeed),
        ("RFC 9112 7.1.2 bare LF as the trailers' end", "0\r\n\n", Malformed::BareLineFeed),
        ("RFC 9112 7.1.2 a trailer that is no field", "0\r\nnonsense\r\n\r\n", Malformed::Trailers),
        ("RFC 9112 7.1.2 a folded trailer", "0\r\nA: b\r\n c\r\n\r\n", Malformed::Trailers),
        ("RFC 9112 8 no last chunk", "3\r\nabc\r\n", Malformed::Truncated),
        ("RFC 9112 8 no end of trailers", "0\r\n", Malformed::Truncated),
    ];
    for (what, body, malformed) in cases {
        let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert_eq!(request(bytes.as_bytes()), Err(*malformed), "{what}");
    }
}

#[test]
fn answers_that_could_be_read_in_two_ways_are_refused() {
    let cases: &[(&str, &str)] = &[
        ("RFC 9112 2.2 an empty line before the status line", "\r\nHTTP/1.1 200 OK\r\n\r\n"),
        ("RFC 9112 2.2 bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"),
        ("RFC 9112 4 no status", "HTTP/1.1 OK\r\n\r\n"),
        ("RFC 9112 4 a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"),
        ("RFC 9112 4 a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"),
        ("RFC 9110 15 a status below 100", "HTTP/1.1 099 No\r\n\r\n"),
        ("RFC 9112 2.3 HTTP/2", "HTTP/2 200 OK\r\n\r\n"),
        ("RFC 9112 4 another protocol", "ICY 200 OK\r\n\r\n"),
        ("RFC 9112 5.1 a space before the colon", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n"),
        ("RFC 9112 5.2 obs-fold", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"),
        (
            "RFC 9112 6.1 length and coding",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("RFC 9112 6.1 a coding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("RFC 9112 6.1 a coding in 204", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("RFC 9112 6.1 a coding in 103", "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("RFC 9112 6.1 gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"),
        ("RFC 9112 6.3 two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ("RFC 9112 8 a body that is cut", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"),
    ];
    for (what, bytes) in cases {
        let got = response(bytes.as_bytes(), false);
        assert!(got.is_err(), "{what}: {bytes:?} was taken as {got:?}");
    }
}

#[test]
fn what_is_too_large_is_refused_however_it_is_cut() {
    let long = |count: usize| "a".repeat(count);
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(8 * 1024));
    assert_eq!(request(target.as_bytes()), Err(Malformed::TargetTooLong));
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", long(60 * 1024));
    assert_eq!(request(head.as_bytes()), Err(Malformed::HeadTooLarge));
    let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}", long(60 * 1024));
    assert_eq!(request(endless.as_bytes()), Err(Malformed::HeadTooLarge));
    let fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(100));
    assert_eq!(request(fields.as_bytes()), Err(Malformed::TooManyFields));
    let fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(99));
    assert!(request(fields.as_bytes()).is_ok());
    let chunked = |body: &str| {
        request(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}").as_bytes())
    };
    let extension = format!("1;{}\r\na\r\n0\r\n\r\n", long(4096));
    assert_eq!(chunked(&extension), Err(Malformed::ChunkExtension));
    let many = format!("{}0\r\n\r\n", "1;ab\r\na\r\n".repeat(2000));
    assert_eq!(chunked(&many), Err(Malformed::ChunkExtension));
    let trailers = format!("0\r\nA: {}", long(9000));
    assert_eq!(chunked(&trailers), Err(Malformed::Trailers));
}
