//! The codec byte for byte: what each reader makes of a message, with the section that says so (or leaves it open, where
//! we refuse). One file a theme.
mod chunks;
mod fields;
mod http10;
mod interim;
mod limits;
mod pipelining;
mod request_framing;
mod request_line;
mod response_framing;
mod run;
mod trailers;
mod upgrade;

use weft_proxy::dataplane::http::Malformed;

/// Some bytes and what is to be made of them.
pub(crate) struct Case {
    /// The section of an RFC, or the class of a CVE.
    section: &'static str,
    /// What is special about the bytes.
    what: &'static str,
    bytes: Vec<u8>,
    reader: Reader,
    expected: Expected,
}

/// Who reads.
#[derive(Clone, Copy)]
enum Reader {
    Request,
    /// All requests of a connection.
    Requests,
    Answer,
    AnswerToHead,
    AnswerToConnect,
}

/// What is to come of it.
enum Expected {
    Refused(Malformed),
    /// The message in short (see [`run`]), the fields that are passed on, what is passed on of the body, what is left.
    Taken([&'static str; 4]),
    /// The messages in short, then how it ends.
    All(&'static [&'static str]),
    /// Taken, whatever it is made of: it is as long as it may be.
    Fits,
}

fn refused(malformed: Malformed) -> Expected {
    Expected::Refused(malformed)
}

fn taken(short: &'static str, fields: &'static str, body: &'static str, rest: &'static str) -> Expected {
    Expected::Taken([short, fields, body, rest])
}

/// A request, byte for byte.
fn request(section: &'static str, what: &'static str, bytes: impl Into<Vec<u8>>, expected: Expected) -> Case {
    Case { section, what, bytes: bytes.into(), reader: Reader::Request, expected }
}

/// A request of that start line with `Host: a`.
fn line(section: &'static str, what: &'static str, line: &str, expected: Expected) -> Case {
    request(section, what, format!("{line}\r\nHost: a\r\n\r\n"), expected)
}

/// `GET / HTTP/1.1` with `Host: a` and these field lines.
fn get(section: &'static str, what: &'static str, fields: &str, expected: Expected) -> Case {
    request(section, what, format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), expected)
}

/// `POST / HTTP/1.1` with `Host: a`, these field lines, and what follows the head.
fn post(section: &'static str, what: &'static str, fields: &str, body: &str, expected: Expected) -> Case {
    request(section, what, format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}"), expected)
}

/// What follows the head of a chunked `POST / HTTP/1.1`; where it is taken, only body and rest are told.
fn chunked(section: &'static str, what: &'static str, body: &str, expected: Expected) -> Case {
    post(section, what, "Transfer-Encoding: chunked\r\n", body, expected)
}

fn passed(body: &'static str, rest: &'static str) -> Expected {
    taken("POST / 1.1 chunked", "Host: a\r\nTransfer-Encoding: chunked\r\n", body, rest)
}

/// An answer, byte for byte.
fn answer(section: &'static str, what: &'static str, bytes: impl Into<Vec<u8>>, expected: Expected) -> Case {
    Case { section, what, bytes: bytes.into(), reader: Reader::Answer, expected }
}

/// `HTTP/1.1 200 OK` with these field lines and what follows the head.
fn ok(section: &'static str, what: &'static str, fields: &str, body: &str, expected: Expected) -> Case {
    answer(section, what, format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}"), expected)
}

/// An answer to HEAD, byte for byte.
fn to_head(section: &'static str, what: &'static str, bytes: &str, expected: Expected) -> Case {
    Case { section, what, bytes: bytes.into(), reader: Reader::AnswerToHead, expected }
}

/// An answer to CONNECT, byte for byte.
fn to_connect(section: &'static str, what: &'static str, bytes: &str, expected: Expected) -> Case {
    Case { section, what, bytes: bytes.into(), reader: Reader::AnswerToConnect, expected }
}

/// All requests of a connection, byte for byte.
fn requests(section: &'static str, what: &'static str, bytes: &str, all: &'static [&'static str]) -> Case {
    Case { section, what, bytes: bytes.into(), reader: Reader::Requests, expected: Expected::All(all) }
}

fn cases() -> Vec<Case> {
    [
        request_line::cases(),
        fields::cases(),
        request_framing::cases(),
        response_framing::cases(),
        chunks::cases(),
        trailers::cases(),
        interim::cases(),
        limits::cases(),
        upgrade::cases(),
        pipelining::cases(),
        http10::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
