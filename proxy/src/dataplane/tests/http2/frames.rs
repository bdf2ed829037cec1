//! Frames by hand at our server: what breaks the rules of HTTP/2 (RFC 9113) ends the stream or the connection that it
//! came on, with the code that the rule names, and nothing else.
use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::peers::{App, Caller, answer, mesh, request, whole};
use crate::dataplane::tests::mesh::{Mesh, PATIENCE};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Types (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

// Flags.
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

// Codes (RFC 9113 §7).
const PROTOCOL_ERROR: u32 = 0x1;
const FLOW_CONTROL_ERROR: u32 = 0x3;
const STREAM_CLOSED: u32 = 0x5;
const FRAME_SIZE_ERROR: u32 = 0x6;
const COMPRESSION_ERROR: u32 = 0x9;

/// A frame (RFC 9113 §4.1).
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields in HPACK, literal and without Huffman coding (RFC 7541 §6.2.2).
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            out.push(u8::try_from(text.len()).unwrap());
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "reviews")];
const POST: [(&str, &str); 4] = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "reviews")];

/// A HEADERS frame that is a whole head.
fn head(stream: u32, ended: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | u8::from(ended), stream, &block(fields))
}

/// `GET /` with more fields.
fn get(more: &[(&str, &str)]) -> Vec<u8> {
    head(1, true, &[&GET[..], more].concat())
}

/// What the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// RST_STREAM on the first stream.
    Stream(u32),
    /// GOAWAY, and the end.
    Connection(u32),
    /// An answer with that status.
    Answer(u16),
}

use Reaction::{Answer, Connection, Stream};

/// A client that writes frames by hand.
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    heard: Vec<u8>,
}

impl Wire {
    /// Connects, with the preface and empty SETTINGS.
    pub(super) async fn connect(mesh: &Mesh) -> Self {
        let mut stream = TcpStream::connect(mesh.web.outbound()).await.unwrap();
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])[..]].concat()).await.unwrap();
        Self { stream, heard: Vec::new() }
    }

    /// The next frame: type, flags, stream, payload. `None` at the connection's end.
    async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        loop {
            if let Some((head, rest)) = self.heard.split_first_chunk::<9>() {
                let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                if rest.len() >= length {
                    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                    let found = (head[3], head[4], stream, rest[..length].to_vec());
                    self.heard.drain(..9 + length);
                    return Some(found);
                }
            }
            match timeout(PATIENCE, self.stream.read_buf(&mut self.heard)).await.expect("no reaction") {
                Ok(count) if count > 0 => {}
                Ok(_) | Err(_) => return None,
            }
        }
    }

    /// The first thing that the server does about stream 1 or the connection.
    pub(super) async fn reaction(&mut self) -> Option<Reaction> {
        let code = |payload: &[u8]| u32::from_be_bytes(payload.try_into().unwrap());
        loop {
            match self.next().await? {
                (RST_STREAM, _, 1, payload) => return Some(Stream(code(&payload))),
                (GOAWAY, _, 0, payload) => return Some(Connection(code(&payload[4..8]))),
                // `:status` from the static table, or literal with its name from there (RFC 7541, appendix A).
                (HEADERS, _, 1, payload) => {
                    let known = [200, 204, 206, 304, 400, 404, 500];
                    let status = match payload[0] {
                        index @ 0x88..=0x8e => known[usize::from(index - 0x88)],
                        _ => 0,
                    };
                    return Some(Answer(status));
                }
                _ => {}
            }
        }
    }
}

/// Far beyond what any takes.
const REACTION: Duration = Duration::from_secs(5);

/// What breaks which rule, and how that ends.
fn cases() -> Vec<(&'static str, &'static str, Vec<u8>, Reaction)> {
    let long = |length: usize| vec![0; length];
    let setting = |id: u8, value: u32| frame(SETTINGS, 0, 0, &[&[0, id][..], &value.to_be_bytes()].concat());
    let open = head(1, false, &POST);
    let then = |more: Vec<u8>| [open.clone(), more].concat();
    let sized = |length: &str| head(1, false, &[&POST[..], &[("content-length", length)]].concat());
    let without = |name: &str| {
        let fields: Vec<_> = GET.into_iter().filter(|(its, _)| *its != name).collect();
        head(1, true, &fields)
    };
    vec![
        // Heads.
        ("8.2.2", "connection", get(&[("connection", "close")]), Stream(PROTOCOL_ERROR)),
        ("8.2.2", "proxy-connection", get(&[("proxy-connection", "close")]), Stream(PROTOCOL_ERROR)),
        ("8.2.2", "keep-alive", get(&[("keep-alive", "timeout=5")]), Stream(PROTOCOL_ERROR)),
        ("8.2.2", "transfer-encoding", get(&[("transfer-encoding", "chunked")]), Stream(PROTOCOL_ERROR)),
        ("8.2.2", "upgrade", get(&[("upgrade", "websocket")]), Stream(PROTOCOL_ERROR)),
        ("8.2.2", "te: gzip", get(&[("te", "gzip")]), Stream(PROTOCOL_ERROR)),
        ("8.2.1", "a name in upper case", get(&[("X-Name", "1")]), Connection(PROTOCOL_ERROR)),
        ("8.2.1", "a name with a space", get(&[("x name", "1")]), Connection(PROTOCOL_ERROR)),
        ("8.2.1", "a name with a colon", get(&[("x:name", "1")]), Connection(PROTOCOL_ERROR)),
        ("8.2.1", "an empty name", get(&[("", "1")]), Connection(PROTOCOL_ERROR)),
        ("8.2.1", "CR LF in a value", get(&[("x-name", "1\r\nx-other: 2")]), Connection(PROTOCOL_ERROR)),
        ("8.2.1", "NUL in a value", get(&[("x-name", "1\0")]), Connection(PROTOCOL_ERROR)),
        ("8.3.1", "no :method", without(":method"), Stream(PROTOCOL_ERROR)),
        ("8.3.1", "no :scheme", without(":scheme"), Stream(PROTOCOL_ERROR)),
        ("8.3.1", "no :path", without(":path"), Stream(PROTOCOL_ERROR)),
        ("8.3.1", "neither :authority nor host", without(":authority"), Answer(400)),
        ("8.3", ":path twice", get(&[(":path", "/b")]), Stream(PROTOCOL_ERROR)),
        ("8.3", ":method twice", get(&[(":method", "GET")]), Stream(PROTOCOL_ERROR)),
        ("8.3", ":authority twice", get(&[(":authority", "stock")]), Stream(PROTOCOL_ERROR)),
        ("8.3", "a pseudo-field behind a field", get(&[("x-name", "1"), (":path", "/b")]), Stream(PROTOCOL_ERROR)),
        ("8.3", "a pseudo-field that nobody knows", get(&[(":secret", "1")]), Connection(PROTOCOL_ERROR)),
        ("8.3.1", "an empty :path", head(1, true, &[GET[0], GET[1], (":path", ""), GET[3]]), Stream(PROTOCOL_ERROR)),
        ("8.3.1", "two hosts", get(&[("host", "stock")]), Answer(400)),
        (
            "8.6 of RFC 9110",
            "content-length twice",
            get(&[("content-length", "0"), ("content-length", "0")]),
            Answer(400),
        ),
        ("8.6 of RFC 9110", "a content-length that is none", get(&[("content-length", "+1")]), Stream(PROTOCOL_ERROR)),
        // Bodies of another length than they say.
        (
            "8.1.1",
            "no body of a length",
            head(1, true, &[&POST[..], &[("content-length", "4")]].concat()),
            Stream(PROTOCOL_ERROR),
        ),
        ("8.1.1", "too short", [sized("4"), frame(DATA, END_STREAM, 1, b"abc")].concat(), Stream(PROTOCOL_ERROR)),
        ("8.1.1", "too long", [sized("4"), frame(DATA, 0, 1, b"abcde")].concat(), Stream(PROTOCOL_ERROR)),
        ("8.1", "trailers that end nothing", then(head(1, false, &[("x-name", "1")])), Stream(PROTOCOL_ERROR)),
        // Frames.
        ("4.2", "a frame over the limit", then(frame(DATA, 0, 1, &long(16_385))), Connection(FRAME_SIZE_ERROR)),
        (
            "4.3",
            "a head that HPACK cannot read",
            frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff]),
            Connection(COMPRESSION_ERROR),
        ),
        ("4.3", "an index that is not there", frame(HEADERS, END_HEADERS, 1, &[0xc0]), Connection(COMPRESSION_ERROR)),
        ("5.1", "DATA on a stream that is not open", frame(DATA, 0, 1, b"a"), Connection(PROTOCOL_ERROR)),
        (
            "5.1",
            "RST_STREAM on a stream that is not open",
            frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "5.1",
            "WINDOW_UPDATE on a stream that is not open",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            Connection(PROTOCOL_ERROR),
        ),
        ("5.1", "DATA behind the end", [head(1, true, &POST), frame(DATA, 0, 1, b"a")].concat(), Stream(STREAM_CLOSED)),
        ("5.1.1", "an even stream", head(2, true, &GET), Connection(PROTOCOL_ERROR)),
        (
            "5.1.1",
            "a stream below one that was",
            [head(3, true, &GET), head(1, true, &GET)].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        ("6.1", "DATA on the connection", frame(DATA, 0, 0, b"a"), Connection(PROTOCOL_ERROR)),
        ("6.1", "padding longer than the frame", then(frame(DATA, PADDED, 1, &[9, 0])), Connection(PROTOCOL_ERROR)),
        ("6.2", "HEADERS on the connection", head(0, true, &GET), Connection(PROTOCOL_ERROR)),
        ("6.3", "PRIORITY of another size", then(frame(PRIORITY, 0, 1, &[0; 4])), Connection(FRAME_SIZE_ERROR)),
        ("6.4", "RST_STREAM of another size", then(frame(RST_STREAM, 0, 1, &[0; 3])), Connection(FRAME_SIZE_ERROR)),
        ("6.4", "RST_STREAM on the connection", frame(RST_STREAM, 0, 0, &[0; 4]), Connection(PROTOCOL_ERROR)),
        ("6.5", "SETTINGS of another size", frame(SETTINGS, 0, 0, &[0; 5]), Connection(FRAME_SIZE_ERROR)),
        ("6.5", "SETTINGS on a stream", then(frame(SETTINGS, 0, 1, &[])), Connection(PROTOCOL_ERROR)),
        ("6.5", "an acknowledgement with settings", frame(SETTINGS, 1, 0, &[0; 6]), Connection(FRAME_SIZE_ERROR)),
        ("6.5.2", "ENABLE_PUSH of 2", setting(2, 2), Connection(PROTOCOL_ERROR)),
        ("6.5.2", "INITIAL_WINDOW_SIZE over 2^31 - 1", setting(4, 1 << 31), Connection(FLOW_CONTROL_ERROR)),
        ("6.5.2", "MAX_FRAME_SIZE below 2^14", setting(5, 16_383), Connection(PROTOCOL_ERROR)),
        ("6.5.2", "MAX_FRAME_SIZE over 2^24 - 1", setting(5, 1 << 24), Connection(PROTOCOL_ERROR)),
        (
            "6.6",
            "PUSH_PROMISE of a client",
            then(frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
            Connection(PROTOCOL_ERROR),
        ),
        ("6.7", "PING of another size", frame(PING, 0, 0, &[0; 7]), Connection(FRAME_SIZE_ERROR)),
        ("6.7", "PING on a stream", then(frame(PING, 0, 1, &[0; 8])), Connection(PROTOCOL_ERROR)),
        ("6.8", "GOAWAY on a stream", then(frame(GOAWAY, 0, 1, &[0; 8])), Connection(PROTOCOL_ERROR)),
        ("6.9", "WINDOW_UPDATE of another size", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), Connection(FRAME_SIZE_ERROR)),
        ("6.9", "WINDOW_UPDATE by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), Connection(PROTOCOL_ERROR)),
        (
            "6.9.1",
            "a window over 2^31 - 1",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            Connection(FLOW_CONTROL_ERROR),
        ),
        (
            "6.9.1",
            "a stream's window over 2^31 - 1",
            then(frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff])),
            Stream(FLOW_CONTROL_ERROR),
        ),
        (
            "6.10",
            "CONTINUATION of nothing",
            frame(CONTINUATION, END_HEADERS, 1, &block(&GET)),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "6.10",
            "another frame inside of a head",
            [frame(HEADERS, 0, 1, &block(&GET)), frame(PING, 0, 0, &[0; 8])].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "6.10",
            "CONTINUATION of another stream",
            [frame(HEADERS, 0, 1, &block(&GET)), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
            Connection(PROTOCOL_ERROR),
        ),
    ]
}

#[tokio::test]
async fn what_breaks_a_rule_ends_its_stream_or_its_connection_with_the_rules_code() {
    let mesh = mesh().await;
    let mut wrong = Vec::new();
    for (section, what, bytes, expected) in cases() {
        let mut wire = Wire::connect(&mesh).await;
        wire.stream.write_all(&bytes).await.unwrap();
        let reaction = timeout(REACTION, wire.reaction()).await.ok().flatten();
        // h2 says PROTOCOL_ERROR also where the RFC has a code that says more, and ends the connection where a stream would do
        // (RFC 9113 §5.4.2).
        let is_blunt =
            reaction == Some(Connection(PROTOCOL_ERROR)) && matches!(expected, Connection(_) | Stream(STREAM_CLOSED));
        if reaction != Some(expected) && !is_blunt {
            wrong.push(format!("RFC 9113 §{section}, {what}: {reaction:?}, not {expected:?}"));
        }
        if let Some(Connection(_)) = reaction {
            while wire.next().await.is_some() {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // None of it has reached the application but what was open before it broke a rule, and others are served as ever.
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, _) = caller.open(request("PUT", "/last").body(()).unwrap(), true).await;
    let mut app = App::accept(&mesh.application).await;
    loop {
        let (asked, respond) = app.asked().await;
        if asked.method() == "PUT" {
            answer(respond, "reply");
            break;
        }
    }
    assert_eq!(whole(call).await.unwrap().text(), "reply");
}

#[tokio::test]
async fn what_nobody_knows_is_left_aside() {
    let mesh = mesh().await;
    let mut wire = Wire::connect(&mesh).await;
    // RFC 9113 §5.5: types and settings of extensions; §5.3.2: priorities; §6.7: a PING that nobody waits for.
    let odd = [
        frame(0xbe, 0xff, 0, b"whatever"),
        frame(SETTINGS, 0, 0, &[0xbe, 0xef, 0, 0, 0, 1]),
        frame(PRIORITY, 0, 5, &[0, 0, 0, 0, 1]),
        frame(PING, 1, 0, &[1; 8]),
        get(&[]),
    ];
    wire.stream.write_all(&odd.concat()).await.unwrap();
    answer(App::accept(&mesh.application).await.asked().await.1, "reply");
    assert_eq!(wire.reaction().await, Some(Answer(200)));
}

#[tokio::test]
async fn server_and_client_say_their_windows_before_anything_else() {
    let mesh = mesh().await;
    let mut server = Wire::connect(&mesh).await;
    server.stream.write_all(&get(&[])).await.unwrap();
    let (mut stream, _) = mesh.application.accept().await.unwrap();
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await.unwrap();
    assert_eq!(preface, PREFACE);
    let mut client = Wire { stream, heard: Vec::new() };
    for wire in [&mut server, &mut client] {
        let (kind, flags, stream, settings) = wire.next().await.unwrap();
        assert_eq!((kind, flags, stream), (SETTINGS, 0, 0));
        // RFC 9113 §6.5.2: SETTINGS_INITIAL_WINDOW_SIZE is 4.
        let window = settings.chunks(6).find(|setting| setting[..2] == [0, 4]).expect("the stream's window");
        assert_eq!(window[2..], (256 * 1024_u32).to_be_bytes());
        let raised = loop {
            match wire.next().await.unwrap() {
                (WINDOW_UPDATE, _, 0, by) => break by,
                (HEADERS | DATA, ..) => panic!("the connection's window comes late"),
                _ => {}
            }
        };
        assert_eq!(raised, (1024 * 1024 - 65_535_u32).to_be_bytes());
    }
}

/// CVE-2019-9512 and CVE-2019-9515: each is to be acknowledged. Who does not read the acknowledgements is not read from
/// any more, so that they take up no memory; who does gets them all.
#[tokio::test]
async fn a_flood_of_pings_or_settings_is_read_no_faster_than_its_sender_reads() {
    let mesh = mesh().await;
    for (kind, one) in [(PING, frame(PING, 0, 0, &[7; 8])), (SETTINGS, frame(SETTINGS, 0, 0, &[]))] {
        let mut wire = Wire::connect(&mesh).await;
        let batch = one.repeat(4096);
        let mut sent = 0;
        // The sockets' buffers are a few MiB at most.
        let stalls = Duration::from_millis(500);
        while let Ok(written) = timeout(stalls, wire.stream.write_all(&batch)).await {
            written.unwrap();
            sent += 4096;
            assert!(sent * one.len() < 64 << 20, "it is read without end");
        }
        let mut caller = Caller::connect(mesh.web.outbound()).await;
        assert_eq!(caller.ask(request("GET", "/").uri("http://nowhere/").body(()).unwrap()).await.head.status(), 404);
        for _ in 0..sent {
            while !matches!(wire.next().await.expect("it is ended"), (its, 1, 0, _) if its == kind) {}
        }
    }
}
