//! Messages by grammar, then spoilt: mostly well formed, with the places where readers disagree put in often.
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

const METHODS: [&str; 12] =
    ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH", "get", "M-SEARCH", "G(T", ""];
const TARGETS: [&str; 20] = [
    "/",
    "/a",
    "/a/b?c=d",
    "*",
    "http://a/",
    "http://a",
    "a:80",
    "/%2f",
    "/a#b",
    "//a",
    "/\u{e9}",
    "",
    "/ b",
    "/\t",
    "https://u@a:1/x?y",
    "/a\\b",
    "/<>",
    "/..;/a",
    "?x",
    "/{a}|^`\"",
];
const VERSIONS: [&str; 16] = [
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/1.0",
    "HTTP/1.2",
    "HTTP/2.0",
    "http/1.1",
    "HTTP/1.10",
    "HTTP/1",
];
const LINES: [&str; 22] = [
    "X: y",
    "X:y",
    "x:  y  ",
    "X:",
    "Accept: */*",
    "Cookie: a=b",
    "Cookie: c=d",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: X, close",
    "Upgrade: h2c",
    "Upgrade: websocket",
    "Expect: 100-continue",
    "Expect: x",
    "TE: trailers",
    "Trailer: A",
    "Authorization: a",
    "Set-Cookie: a",
    "X: \u{e9}",
    "X_y: z",
    "Date: x",
    "Keep-Alive: 1",
];
const ODD_LINES: [&str; 18] = [
    " X: y",
    "X : y",
    "X",
    ": y",
    "X: a\r\n b",
    "X: a\rb",
    "X: \0",
    "X: \u{7f}",
    "X[]: y",
    "\tX: y",
    "X\t: y",
    "X: y\n",
    "Connection: host",
    "Connection: content-length",
    "X: a\r\n\tb",
    "Transfer-Encoding : chunked",
    "Host: b",
    "X:\u{b}y",
];
const CODINGS: [&str; 14] = [
    "chunked",
    "Chunked",
    "chunked",
    "gzip",
    "gzip, chunked",
    "chunked, gzip",
    "identity",
    "chunked, chunked",
    "xchunked",
    "chunked;q=1",
    "",
    " chunked ",
    "\tchunked",
    "\"chunked\"",
];
const LENGTHS: [&str; 14] = [
    "+3",
    "-1",
    "3, 3",
    "3,3",
    "0x3",
    "3 3",
    "",
    "03",
    "3\t",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "3.0",
    "00000000000000000003",
];
const SIZES: [&str; 12] = [
    "3 ",
    "3;a",
    "3 ;a=b",
    "3;a=\"b\"",
    "03",
    "0x3",
    "+3",
    "3\t",
    "000000000000003",
    "0000000000000003",
    "3;\0",
    "3;\u{e9}",
];
const TRAILERS: [&str; 10] = [
    "A: b",
    "X: y",
    "Host: c",
    "Content-Length: 9",
    " folded",
    "A",
    "A : b",
    "A: \0",
    "a:b",
    "Transfer-Encoding: chunked",
];
const STATUSES: [&str; 18] = [
    "200 OK",
    "200 OK",
    "200 OK",
    "200 OK",
    "200",
    "200 ",
    "204 No Content",
    "304 Not Modified",
    "404 Not Found",
    "100 Continue",
    "103 Early Hints",
    "101 Switching",
    "999 X",
    "099 X",
    "20 OK",
    "2000 OK",
    "200OK",
    "500 \u{e9}",
];
const STRAY: [&str; 14] =
    ["\r\n", "\n", "\r", " ", "\t", "\0", ":", ",", ";", "0\r\n\r\n", "\r\n\r\n", "\u{e9}", "chunked", "3"];

/// A message under way.
struct Writer {
    random: StdRng,
    out: Vec<u8>,
}

impl Writer {
    fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), out: Vec::with_capacity(256) }
    }

    /// One time in `n`.
    fn seldom(&mut self, n: u32) -> bool {
        self.random.random_range(0..n) == 0
    }

    fn one_of(&mut self, choices: &[&str]) {
        let text = choices.choose(&mut self.random).copied().unwrap_or_default();
        self.put(text);
    }

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn end_line(&mut self) {
        let end = if self.seldom(300) { "\n" } else { "\r\n" };
        self.put(end);
    }

    /// Fields that say nothing of the framing.
    fn lines(&mut self) {
        let count = if self.seldom(2_000) { 110 } else { self.random.random_range(0..4) };
        for _ in 0..count {
            let odd = self.seldom(40);
            self.one_of(if odd { &ODD_LINES } else { &LINES });
            self.end_line();
        }
    }

    fn name(&mut self, name: &str) {
        if self.seldom(6) {
            self.put(&name.to_ascii_lowercase())
        } else {
            self.put(name)
        }
        self.put(": ");
    }

    /// The fields that frame, the end of the head, and a body that fits them more or less.
    fn framed_body(&mut self, framed: u32) {
        let (mut length, mut chunked) = (None, false);
        for _ in 0..if self.seldom(25) { 2 } else { 1 } {
            match self.random.random_range(0..framed) {
                0 | 1 => {
                    let size = self.random.random_range(0..20);
                    length = Some(size);
                    self.name("Content-Length");
                    if self.seldom(12) {
                        self.one_of(&LENGTHS)
                    } else {
                        self.put(&size.to_string())
                    }
                    self.end_line();
                }
                2 | 3 => {
                    chunked = true;
                    self.name("Transfer-Encoding");
                    if self.seldom(8) {
                        self.one_of(&CODINGS)
                    } else {
                        self.put("chunked")
                    }
                    self.end_line();
                }
                _ => {}
            }
        }
        self.lines();
        self.end_line();
        if chunked {
            self.chunks();
        } else if let Some(length) = length {
            let length = if self.seldom(12) { self.random.random_range(0..24) } else { length };
            self.data(length);
        }
    }

    fn data(&mut self, length: usize) {
        for _ in 0..length {
            let byte = if self.seldom(4) { self.random.random() } else { b'a' };
            self.out.push(byte);
        }
    }

    fn chunks(&mut self) {
        for _ in 0..self.random.random_range(0..4) {
            let length = self.random.random_range(1..20);
            if self.seldom(12) {
                self.one_of(&SIZES);
                self.put("\r\nabc");
            } else {
                let size = if self.seldom(2) { format!("{length:x}") } else { format!("{length:X}") };
                self.put(&size);
                if self.seldom(10) {
                    self.put(";x=y");
                }
                self.end_line();
                self.data(length);
            }
            self.end_line();
        }
        let last = if self.seldom(20) { "00" } else { "0" };
        self.put(last);
        self.end_line();
        while self.seldom(5) {
            self.one_of(&TRAILERS);
            self.end_line();
        }
        self.end_line();
    }

    /// Changes some bytes of what is there, most often none.
    fn spoil(&mut self) {
        if !self.seldom(3) {
            return;
        }
        for _ in 0..self.random.random_range(1..3) {
            let at = self.random.random_range(0..=self.out.len());
            match self.random.random_range(0..6) {
                0 if at < self.out.len() => self.out[at] ^= 1 << self.random.random_range(0..8),
                1 if at < self.out.len() => {
                    self.out.remove(at);
                }
                2 => self.out.insert(at, self.random.random()),
                3 => self.out.truncate(at),
                4 => {
                    let end = (at + self.random.random_range(1..24)).min(self.out.len());
                    let again = self.out[at..end].to_vec();
                    self.out.splice(at..at, again);
                }
                _ => {
                    let stray = STRAY.choose(&mut self.random).copied().unwrap_or_default();
                    self.out.splice(at..at, stray.bytes());
                }
            }
        }
    }
}

/// The bytes of a connection's client: one request, or some behind each other.
pub(crate) fn requests(seed: u64) -> Vec<u8> {
    let mut writer = Writer::new(seed);
    let count = if writer.seldom(3) { 3 } else { 1 };
    for _ in 0..count {
        if writer.seldom(40) {
            writer.put("\r\n");
        }
        if writer.seldom(4) {
            writer.one_of(&METHODS)
        } else {
            writer.put("POST")
        }
        writer.put(" ");
        if writer.seldom(4) {
            writer.one_of(&TARGETS)
        } else {
            writer.put("/a")
        }
        writer.put(" ");
        if writer.seldom(3) {
            writer.one_of(&VERSIONS)
        } else {
            writer.put("HTTP/1.1")
        }
        writer.end_line();
        if !writer.seldom(30) {
            writer.name("Host");
            writer.put("a");
            writer.end_line();
        }
        writer.lines();
        writer.framed_body(6);
    }
    writer.spoil();
    writer.out
}

/// The bytes of an upstream, and whether they answer a HEAD.
pub(crate) fn answer(seed: u64) -> (Vec<u8>, bool) {
    let mut writer = Writer::new(seed);
    let to_head = writer.seldom(8);
    while writer.seldom(6) {
        writer.put("HTTP/1.1 ");
        writer.one_of(&["100 Continue", "103 Early Hints", "102 Processing"]);
        writer.end_line();
        writer.lines();
        writer.end_line();
    }
    if writer.seldom(4) {
        writer.one_of(&VERSIONS)
    } else {
        writer.put("HTTP/1.1")
    }
    writer.put(" ");
    if writer.seldom(2) {
        writer.one_of(&STATUSES)
    } else {
        writer.put("200 OK")
    }
    writer.end_line();
    writer.lines();
    writer.framed_body(5);
    if writer.seldom(5) {
        let length = writer.random.random_range(0..30);
        writer.data(length);
    }
    writer.spoil();
    (writer.out, to_head)
}
