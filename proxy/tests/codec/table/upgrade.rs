//! Other protocols on the connection (RFC 9110 §7.8) and tunnels (§9.3.6). The codec tells that one is asked for or begun,
//! and takes no byte behind the head; what goes on the wire is in the data plane's own tests.
use weft_proxy::dataplane::http::Malformed::{Coding, LengthAndCoding, NoHost, Repeated, TunnelContent};

use super::{Case, answer, get, line, ok, post, refused, request, requests, taken, to_connect};

const HOST: &str = "Host: a\r\n";

pub(super) fn cases() -> Vec<Case> {
    [upgrades(), tunnels(), switched(), tunnelled()].into_iter().flatten().collect()
}

fn upgrades() -> Vec<Case> {
    let asked = |rest| taken("GET / 1.1 upgrade", HOST, "", rest);
    let unasked = || taken("GET / 1.1", HOST, "", "");
    vec![
        get("RFC 9110 7.8", "websocket", "Connection: Upgrade\r\nUpgrade: websocket\r\n", asked("")),
        get("RFC 9110 7.8", "with a version", "Connection: upgrade\r\nUpgrade: foo/2\r\n", asked("")),
        get("RFC 9110 7.8", "one of several", "Connection: upgrade\r\nUpgrade: h2c, websocket\r\n", asked("")),
        get("RFC 9110 7.8", "in two lines", "Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: x\r\n", asked("")),
        get(
            "RFC 9110 7.8",
            "the other protocol's own fields pass",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            taken("GET / 1.1 upgrade", "Host: a\r\nSec-WebSocket-Version: 13\r\n", "", ""),
        ),
        get("RFC 9113 3.1", "h2c is not taken up", "Connection: Upgrade\r\nUpgrade: h2c\r\n", unasked()),
        get("RFC 9113 3.1", "h2c in any case", "Connection: Upgrade\r\nUpgrade: H2C\r\n", unasked()),
        get(
            "RFC 9113 3.1",
            "h2c with its settings",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            unasked(),
        ),
        get("RFC 9110 7.8", "an empty Upgrade", "Connection: upgrade\r\nUpgrade:\r\n", unasked()),
        get("RFC 9110 7.8", "the option alone", "Connection: upgrade\r\n", unasked()),
        get("RFC 9110 7.8", "Upgrade without the option is ignored", "Upgrade: websocket\r\n", unasked()),
        get(
            "RFC 9110 7.8",
            "another option is not this one",
            "Connection: keep-alive\r\nUpgrade: websocket\r\n",
            unasked(),
        ),
        get(
            "RFC 9110 7.8",
            "the option before",
            "Connection: upgrade, keep-alive\r\nUpgrade: websocket\r\n",
            asked(""),
        ),
        get(
            "RFC 9110 7.8",
            "the option behind",
            "Upgrade: websocket\r\nConnection: keep-alive, UPGRADE\r\n",
            asked(""),
        ),
        get(
            "RFC 9110 7.8",
            "the option in a second line",
            "Connection: keep-alive\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
            asked(""),
        ),
        get(
            "RFC 9110 7.8",
            "the last request of its connection",
            "Connection: Upgrade, close\r\nUpgrade: websocket\r\n",
            taken("GET / 1.1 close upgrade", HOST, "", ""),
        ),
        request(
            "RFC 9110 7.8",
            "HTTP/1.0 asks in vain",
            "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            taken("GET / 1.0 close", HOST, "", ""),
        ),
        request(
            "CVE-2026-73548 (bytes before 101)",
            "early data is left where it is",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello",
            asked("\u{fffd}\x05hello"),
        ),
        post(
            "CVE-2026-73548 (bytes before 101)",
            "a body ends before the other protocol begins",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
            "abc",
            taken("POST / 1.1 length=1 upgrade", "Host: a\r\nContent-Length: 1\r\n", "a", "bc"),
        ),
    ]
}

fn tunnels() -> Vec<Case> {
    vec![
        line("RFC 9110 9.3.6", "CONNECT", "CONNECT a:80 HTTP/1.1", taken("CONNECT a:80 1.1 close", HOST, "", "")),
        line(
            "RFC 9112 3.2.3",
            "CONNECT to an address",
            "CONNECT [::1]:80 HTTP/1.1",
            taken("CONNECT [::1]:80 1.1 close", HOST, "", ""),
        ),
        line(
            "RFC 9110 9.3.6",
            "connect in lower case is another method",
            "connect a:80 HTTP/1.1",
            taken("connect a:80 1.1", HOST, "", ""),
        ),
        request("RFC 9112 3.2", "CONNECT without Host", "CONNECT a:80 HTTP/1.1\r\n\r\n", refused(NoHost)),
        request(
            "RFC 9112 3.2",
            "CONNECT with two",
            "CONNECT a:80 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            refused(Repeated("Host")),
        ),
        requests(
            "CVE-2025-64763 (early data of CONNECT)",
            "what follows a CONNECT is never a request",
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\nGET /inside HTTP/1.1\r\nHost: b\r\n\r\n",
            &["CONNECT a:80 1.1 close"],
        ),
        request(
            "RFC 9110 9.3.6",
            "a CONNECT with a length",
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 1\r\n\r\naGET / HTTP/1.1\r\nHost: b\r\n\r\n",
            refused(TunnelContent),
        ),
        request(
            "RFC 9110 9.3.6",
            "a CONNECT with chunks",
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            refused(TunnelContent),
        ),
        request(
            "RFC 9110 9.3.6",
            "a CONNECT that says that it has no content",
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 0\r\n\r\n",
            taken("CONNECT a:80 1.1 close", "Host: a:80\r\nContent-Length: 0\r\n", "", ""),
        ),
        request(
            "RFC 9110 7.8",
            "a CONNECT that asks for another protocol too",
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            taken("CONNECT a:80 1.1 close", "Host: a:80\r\n", "", ""),
        ),
        request(
            "CVE-2025-64763 (early data of CONNECT)",
            "early data is left where it is",
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\nearly",
            taken("CONNECT a:80 1.1 close", "Host: a:80\r\n", "", "early"),
        ),
    ]
}

fn switched() -> Vec<Case> {
    vec![
        answer(
            "RFC 9110 15.2.2",
            "101 ends HTTP: it is no interim answer",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nabc",
            taken("101 Switching Protocols switches", "", "", "abc"),
        ),
        answer(
            "RFC 9110 8.6",
            "101 with a length",
            "HTTP/1.1 101 X\r\nContent-Length: 3\r\n\r\nabc",
            taken("101 X", "", "", "abc"),
        ),
        answer(
            "RFC 9110 7.8",
            "101 without the option",
            "HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n",
            taken("101 X", "", "", ""),
        ),
        answer(
            "RFC 9110 15.2.2",
            "101 that names no protocol",
            "HTTP/1.1 101 X\r\nConnection: Upgrade\r\n\r\n",
            taken("101 X", "", "", ""),
        ),
        answer(
            "RFC 9113 3.1",
            "101 to h2c, which nobody asked for",
            "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
            taken("101 X", "", "", ""),
        ),
        ok(
            "RFC 9110 7.8",
            "an answer that does not switch",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
            "a",
            taken("200 OK length=1", "Content-Length: 1\r\n", "a", ""),
        ),
        answer(
            "RFC 9110 15.5.22",
            "426 names what is wanted, for one hop",
            "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: foo\r\nContent-Length: 0\r\n\r\n",
            taken("426 Upgrade Required", "Content-Length: 0\r\n", "", ""),
        ),
    ]
}

fn tunnelled() -> Vec<Case> {
    vec![
        to_connect(
            "RFC 9110 9.3.6",
            "what follows a 200 is the tunnel's",
            "HTTP/1.1 200 OK\r\nServer: x\r\n\r\nabc",
            taken("200 OK close", "Server: x\r\n", "", "abc"),
        ),
        to_connect(
            "RFC 9110 9.3.6",
            "a length is ignored and not passed on",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nServer: x\r\n\r\nabc",
            taken("200 OK close", "Server: x\r\n", "", "abc"),
        ),
        to_connect(
            "RFC 9110 9.3.6",
            "so are chunks",
            "HTTP/1.1 299 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            taken("299 X close", "", "", "0\r\n\r\n"),
        ),
        to_connect(
            "RFC 9112 6.1",
            "both together are refused all the same",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            refused(LengthAndCoding),
        ),
        to_connect(
            "RFC 9112 6.1",
            "and so is another coding",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            refused(Coding),
        ),
        to_connect(
            "RFC 9110 9.3.6",
            "a refusal has content like any answer",
            "HTTP/1.1 407 X\r\nContent-Length: 3\r\n\r\nabcd",
            taken("407 X length=3", "Content-Length: 3\r\n", "abc", "d"),
        ),
        to_connect(
            "RFC 9110 9.3.6",
            "a redirection is a refusal",
            "HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n",
            taken("302 X", "Content-Length: 0\r\n", "", ""),
        ),
        to_connect(
            "RFC 9110 15.2",
            "an interim answer opens nothing",
            "HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            taken("103 X interim", "", "", "HTTP/1.1 200 OK\r\n\r\n"),
        ),
    ]
}
