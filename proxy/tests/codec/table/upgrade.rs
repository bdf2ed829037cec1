//! Other protocols on the connection (RFC 9110 §7.8) and tunnels (§9.3.6). The codec tells that one is asked for, passes
//! the question on to nobody, and takes no byte behind the head for the other protocol's; the data plane answers 501.
use weft_proxy::dataplane::http::Malformed::{NoHost, Repeated};

use super::{Case, answer, get, line, ok, post, refused, request, requests, taken};

const HOST: &str = "Host: a\r\n";

pub(super) fn cases() -> Vec<Case> {
    [upgrades(), tunnels(), switched()].into_iter().flatten().collect()
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
        requests(
            "CVE-2025-64763 (early data of CONNECT)",
            "not even behind a length",
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 1\r\n\r\naGET / HTTP/1.1\r\nHost: b\r\n\r\n",
            &["CONNECT a:80 1.1 length=1 close \"a\""],
        ),
    ]
}

fn switched() -> Vec<Case> {
    vec![
        answer(
            "RFC 9110 15.2.2",
            "101 ends HTTP: it is no interim answer",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nabc",
            taken("101 Switching Protocols", "", "", "abc"),
        ),
        answer(
            "RFC 9110 8.6",
            "101 with a length",
            "HTTP/1.1 101 X\r\nContent-Length: 3\r\n\r\nabc",
            taken("101 X", "", "", "abc"),
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
