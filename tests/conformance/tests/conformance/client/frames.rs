//! A client of HTTP/2 that sends whatever frames it is told to (RFC 9113 §6), with fields as literals (RFC 7541 §6.2.2).
//!
//! A frame is written `headers 1 end | :method: GET | x-a: b`, `continuation 1 last | …`, `data 1 end | text`,
//! `rst 1 CANCEL`, `ping`, `settings 4=100`, `window 1 1000`, `priority 1` or `bytes …`; `get /path` stands for the
//! pseudo-fields of a GET, `post /path` for those of a POST. A stream `+` is the next one, `=` that one again. `x100 a && b`
//! repeats. Headers end their head unless they say `more`.
use std::{io, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout_at},
};

use crate::{
    DEADLINE,
    text::{bytes, text},
    upstream::reason,
    wire::{Reader, Stream},
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// One connection.
pub(crate) struct Client {
    reader: Reader<Box<dyn Stream>>,
    last: u32,
    /// What happened, oldest first: `status 1 200`, `data 1 text`, `end 1`, `reset 1 CODE`, `goaway CODE`, `closed`.
    events: Vec<String>,
}

impl Client {
    pub(super) async fn connect(stream: Box<dyn Stream>) -> Result<Self> {
        let mut client = Self { reader: Reader::new(stream), last: u32::MAX, events: Vec::new() };
        let mut opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // Without a dynamic table each status stands in its own answer (SETTINGS_HEADER_TABLE_SIZE = 0).
        opening.extend(frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]));
        client.write(&opening).await;
        Ok(client)
    }

    async fn write(&mut self, sent: &[u8]) {
        let _ = self.reader.socket.write_all(sent).await;
        let _ = self.reader.socket.flush().await;
    }

    /// Sends what a case writes.
    pub(crate) async fn send(&mut self, written: &str) -> Result<()> {
        let (times, frames) = match written.strip_prefix('x').and_then(|rest| rest.split_once(' ')) {
            Some((times, frames)) if times.parse::<usize>().is_ok() => (times.parse()?, frames),
            _ => (1, written),
        };
        for _ in 0..times {
            let mut sent = Vec::new();
            for one in frames.split(" && ") {
                sent.extend(self.encode(one).with_context(|| one.to_owned())?);
            }
            self.write(&sent).await;
        }
        Ok(())
    }

    fn stream(&mut self, word: Option<&&str>) -> Result<u32> {
        match word.copied().unwrap_or("0") {
            "+" => {
                self.last = if self.last == u32::MAX { 1 } else { self.last + 2 };
                Ok(self.last)
            }
            "=" => Ok(self.last),
            number => number.parse().context("a stream's number"),
        }
    }

    fn encode(&mut self, written: &str) -> Result<Vec<u8>> {
        let (head, payload) = written.split_once(" | ").unwrap_or((written, ""));
        let words: Vec<_> = head.split(' ').collect();
        let kind = words.first().copied().unwrap_or_default();
        let says = |word: &str| words.contains(&word);
        if kind == "bytes" {
            return Ok(bytes(&written[6..]));
        }
        let stream = if ["ping", "settings"].contains(&kind) { 0 } else { self.stream(words.get(1))? };
        let end = u8::from(says("end"));
        Ok(match kind {
            "headers" => frame(HEADERS, end | if says("more") { 0 } else { 4 }, stream, &block(payload)?),
            "continuation" => frame(CONTINUATION, if says("last") { 4 } else { 0 }, stream, &block(payload)?),
            "data" => frame(DATA, end, stream, &bytes(payload)),
            "rst" => {
                let code = u32::from(reason(words.get(2).copied().unwrap_or("CANCEL")));
                frame(RST_STREAM, 0, stream, &code.to_be_bytes())
            }
            "ping" => frame(PING, 0, 0, b"conforms"),
            "window" => frame(WINDOW_UPDATE, 0, stream, &words.get(2).context("a size")?.parse::<u32>()?.to_be_bytes()),
            "priority" => frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 15]),
            "settings" => {
                let mut settings = Vec::new();
                for setting in &words[1..] {
                    let (id, value) = setting.split_once('=').context("a setting like 4=100")?;
                    settings.extend(id.parse::<u16>()?.to_be_bytes());
                    settings.extend(value.parse::<u32>()?.to_be_bytes());
                }
                frame(SETTINGS, 0, 0, &settings)
            }
            other => bail!("there is no frame {other:?}"),
        })
    }

    /// Waits for one of the events between ` | `; one may end with `*`.
    pub(crate) async fn answer(&mut self, expected: &str) -> Result<()> {
        let either: Vec<_> = expected.split(" | ").collect();
        let fits = |event: &String| {
            either.iter().any(|one| match one.strip_suffix('*') {
                Some(start) => event.starts_with(start),
                None => event == one,
            })
        };
        // An answer to a stream that is waited for, but not the one that is, decides.
        let answers = |one: &&str| ["status", "reset", "goaway", "closed"].iter().any(|kind| one.starts_with(kind));
        let for_answer = either.iter().all(answers);
        let decides = |event: &String| {
            let mut words = event.split(' ');
            let (kind, stream) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let about =
                |one: &&str| one.split(' ').nth(1) == Some(stream) || one.starts_with("goaway") || **one == *"closed";
            kind == "closed" || for_answer && ["status", "reset"].contains(&kind) && either.iter().all(about)
        };
        let deadline = Instant::now() + DEADLINE;
        let mut looked = 0;
        loop {
            while let Some(event) = self.events.get(looked) {
                if fits(event) {
                    self.events.drain(..=looked);
                    return Ok(());
                }
                ensure!(!decides(event), "expected {expected:?}, but there was {:?}", self.events);
                looked += 1;
            }
            let read = timeout_at(deadline, self.frame()).await;
            ensure!(read.is_ok(), "expected {expected:?}, but there was {:?}", self.events);
            match read? {
                Ok(true) => {}
                Ok(false) | Err(_) => self.events.push("closed".to_owned()),
            }
        }
    }

    /// Reads one frame; false at the end.
    async fn frame(&mut self) -> io::Result<bool> {
        while self.reader.rest.len() < 9 {
            if !self.reader.more().await? {
                return Ok(false);
            }
        }
        let head: Vec<u8> = self.reader.rest.drain(..9).collect();
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        while self.reader.rest.len() < length {
            if !self.reader.more().await? {
                return Ok(false);
            }
        }
        let payload: Vec<u8> = self.reader.rest.drain(..length).collect();
        let (kind, flags) = (head[3], head[4]);
        let stream = number(&head[5..9]) & 0x7fff_ffff;
        let code = |bytes: &[u8]| format!("{:?}", h2::Reason::from(number(bytes)));
        match kind {
            DATA => self.events.push(format!("data {stream} {}", text(&payload))),
            HEADERS => match status(&payload) {
                Some(status) => self.events.push(format!("status {stream} {status}")),
                None => self.events.push(format!("trailers {stream}")),
            },
            RST_STREAM if length >= 4 => self.events.push(format!("reset {stream} {}", code(&payload[..4]))),
            GOAWAY if length >= 8 => self.events.push(format!("goaway {}", code(&payload[4..8]))),
            SETTINGS if flags & 1 == 0 => self.write(&frame(SETTINGS, 1, 0, &[])).await,
            PING if flags & 1 == 0 => self.write(&frame(PING, 1, 0, &payload)).await,
            PING => self.events.push("pong".to_owned()),
            _ => {}
        }
        if [DATA, HEADERS].contains(&kind) && flags & 1 == 1 {
            self.events.push(format!("end {stream}"));
        }
        Ok(true)
    }

    /// Reads whatever comes until nothing does; how many bytes of bodies came.
    pub(crate) async fn drain(&mut self) -> Result<usize> {
        let mut quiet = Instant::now() + Duration::from_millis(500);
        while let Ok(Ok(true)) = timeout_at(quiet, self.frame()).await {
            quiet = Instant::now() + Duration::from_millis(500);
        }
        let bodies = self.events.iter().filter(|event| event.starts_with("data "));
        Ok(bodies.map(|event| event.splitn(3, ' ').nth(2).map_or(0, |data| data.chars().count())).sum())
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A field block of literals that are not indexed.
fn block(written: &str) -> Result<Vec<u8>> {
    let mut block = Vec::new();
    let mut field = |name: &str, value: &str| {
        block.push(0);
        for text in [bytes(name), bytes(value)] {
            length(text.len(), &mut block);
            block.extend(text);
        }
    };
    for one in written.split(" | ").filter(|one| !one.is_empty()) {
        if let Some((method, path)) = one.split_once(' ').filter(|(method, _)| ["get", "post"].contains(method)) {
            field(":method", &method.to_uppercase());
            field(":scheme", "http");
            field(":authority", "shop.test");
            field(":path", path);
            continue;
        }
        let colon =
            one.char_indices().skip(1).find(|(_, character)| *character == ':').context("a field has a colon")?.0;
        let value = &one[colon + 1..];
        let value = value.strip_prefix(' ').unwrap_or(value);
        // `name: *300` is a value of that many bytes.
        match value.strip_prefix('*').and_then(|length| length.parse::<usize>().ok()) {
            Some(length) => field(&one[..colon], &"v".repeat(length)),
            None => field(&one[..colon], value),
        }
    }
    Ok(block)
}

/// A length with a prefix of seven bits (RFC 7541 §5.1).
fn length(length: usize, block: &mut Vec<u8>) {
    if length < 127 {
        block.push(u8::try_from(length).unwrap_or_default());
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap_or_default() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap_or_default());
}

/// The status that a head begins with (RFC 7541: static table, or a literal named by it).
fn status(block: &[u8]) -> Option<String> {
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20)?;
    let block = &block[start..];
    let known = ["200", "204", "206", "304", "400", "404", "500"];
    let first = *block.first()?;
    if (0x88..=0x8e).contains(&first) {
        return known.get(usize::from(first - 0x88)).map(|status| (*status).to_owned());
    }
    if ![0x48, 0x08, 0x18].contains(&first) {
        return None;
    }
    let length = *block.get(1)?;
    let value = block.get(2..2 + usize::from(length & 0x7f))?;
    if length & 0x80 == 0 { Some(text(value)) } else { Some(digits(value)) }
}

/// Digits in Huffman's code (RFC 7541 appendix B): 0 to 2 have five bits, 3 to 9 six.
fn digits(value: &[u8]) -> String {
    let bits: Vec<u8> = value.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0_u8, |number, bit| number << 1 | bit);
    let (mut digits, mut rest) = (String::new(), bits.as_slice());
    while digits.len() < 3 && rest.len() >= 5 {
        let (five, six) = (number(&rest[..5]), rest.get(..6).map_or(0, number));
        let (digit, length) = if five < 3 { (five, 5) } else { (six.wrapping_sub(0b01_1001) + 3, 6) };
        digits.push(char::from(b'0' + digit % 10));
        rest = rest.get(length..).unwrap_or_default();
    }
    digits
}
