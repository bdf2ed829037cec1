//! The chunked coding (RFC 9112 §7.1), byte for byte.
use httparse::Status;

use super::{Malformed, Pieces};

/// The most bytes of chunk extensions in one body: nobody uses them but to make a reader work.
const MAX_EXTENSIONS: usize = 4 * 1024;

/// The most bytes of a trailer section.
const MAX_TRAILERS: usize = 8 * 1024;

/// The most fields of a trailer section.
const MAX_TRAILER_FIELDS: usize = 64;

/// Follows a chunked body.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// Whether only the data is passed on; the trailers are kept then.
    bare: bool,
    kept: Vec<u8>,
    /// Bytes of extensions so far.
    extensions: usize,
    /// The trailer section as far as it has come, where it is not empty.
    trailers: Vec<u8>,
    /// Names of trailers that are not passed on, beside those that never are.
    left_out: Vec<Box<[u8]>>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// In a size, of which so many digits have come.
    Size {
        digits: u8,
        size: u64,
    },
    /// In an extension, which is not passed on.
    Extension {
        size: u64,
    },
    /// Before the LF of a size's line.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// Before the CR behind the data, and before the LF.
    DataCr,
    DataLf,
    Trailers,
    Done,
}

impl Chunks {
    pub(super) fn new(bare: bool) -> Self {
        Self {
            state: State::Size { digits: 0, size: 0 },
            bare,
            kept: Vec::new(),
            extensions: 0,
            trailers: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// Passes no trailer of these names on.
    pub(super) fn leave_out(&mut self, names: Vec<Box<[u8]>>) {
        self.left_out = names;
    }

    /// The trailer section that bare data was followed by; empty if there was none.
    pub(super) fn take_trailers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.kept)
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// See [`Decoder::decode`](super::Decoder::decode).
    pub(super) fn decode(&mut self, input: &[u8], pieces: &mut Pieces) -> Result<usize, Malformed> {
        let mut at = 0;
        while let Some(byte) = input.get(at).copied() {
            match self.state {
                State::Done => break,
                State::Data { left } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                    pieces.push(at..at + here);
                    at += here;
                    let left = left - here as u64;
                    self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                    continue;
                }
                State::Trailers => {
                    at += self.trailer(input.get(at..).unwrap_or_default(), at, pieces)?;
                    continue;
                }
                State::Size { .. }
                | State::Extension { .. }
                | State::SizeEnd { .. }
                | State::DataCr
                | State::DataLf => {}
            }
            if self.framing(byte)? && !self.bare {
                pieces.push(at..at + 1);
            }
            at += 1;
        }
        Ok(at)
    }

    /// Takes one byte of a size's line, or of the CRLF behind data; whether it is passed on.
    fn framing(&mut self, byte: u8) -> Result<bool, Malformed> {
        let next = match (self.state, byte) {
            (State::Size { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                // 15 digits hold 2^60 - 1 bytes; more would only test a reader's arithmetic.
                if digits == 15 {
                    return Err(Malformed::ChunkSize);
                }
                State::Size { digits: digits + 1, size: size << 4 | digit }
            }
            (State::Size { digits: 1.., size }, b'\r') => State::SizeEnd { size },
            (State::Size { digits: 1.., size }, b';') => {
                self.state = State::Extension { size };
                return self.extension().map(|()| false);
            }
            (State::Size { .. }, _) => return Err(Malformed::ChunkSize),
            (State::Extension { size }, b'\r') => State::SizeEnd { size },
            (State::Extension { .. }, b'\t' | b' '..=b'~' | 0x80..) => return self.extension().map(|()| false),
            (State::Extension { .. }, _) => return Err(Malformed::ChunkExtension),
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailers,
            (State::SizeEnd { size }, b'\n') => State::Data { left: size },
            (State::SizeEnd { .. }, _) => return Err(Malformed::ChunkSize),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0, size: 0 },
            (State::DataCr | State::DataLf, _) => return Err(Malformed::ChunkEnd),
            // Not framing: the caller handles them.
            (State::Data { .. } | State::Trailers | State::Done, _) => self.state,
        };
        self.state = next;
        Ok(true)
    }

    fn extension(&mut self) -> Result<(), Malformed> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS { Err(Malformed::ChunkExtension) } else { Ok(()) }
    }

    /// Takes bytes of the trailer section, which starts behind the last chunk's line and ends with an empty line.
    fn trailer(&mut self, input: &[u8], at: usize, pieces: &mut Pieces) -> Result<usize, Malformed> {
        if self.trailers.is_empty() && input.starts_with(b"\r\n") {
            if !self.bare {
                pieces.push(at..at + 2);
            }
            self.state = State::Done;
            return Ok(2);
        }
        let mut taken = 0;
        for byte in input {
            taken += 1;
            if self.trailers.len() == MAX_TRAILERS {
                return Err(Malformed::Trailers);
            }
            self.trailers.push(*byte);
            if *byte != b'\n' {
                continue;
            }
            if !self.trailers.ends_with(b"\r\n") {
                return Err(Malformed::BareLineFeed);
            }
            if self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n") {
                let kept = kept_trailers(&self.trailers, &self.left_out)?;
                // Whoever reads, the same bytes are refused; only what is passed on differs.
                if self.bare {
                    self.kept = kept;
                } else {
                    pieces.tail.extend_from_slice(&kept);
                }
                self.trailers = Vec::new();
                self.state = State::Done;
                return Ok(taken);
            }
        }
        Ok(taken)
    }
}

/// Fields that must not come as trailers (RFC 9110 §6.5.1): a reader that merged them would frame, route or judge the
/// message anew.
const NOT_TRAILERS: [&str; 26] = [
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Whether a field of that name must not come as a trailer.
pub(crate) fn is_no_trailer(name: &[u8]) -> bool {
    NOT_TRAILERS.iter().any(|its| name.eq_ignore_ascii_case(its.as_bytes()))
}

/// The section without what must not come as a trailer, and without these names.
fn kept_trailers(section: &[u8], left_out: &[Box<[u8]>]) -> Result<Vec<u8>, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let fields = match httparse::parse_headers(section, &mut fields) {
        Ok(Status::Complete((length, fields))) if length == section.len() => fields,
        Ok(Status::Complete(_) | Status::Partial) | Err(_) => return Err(Malformed::Trailers),
    };
    let mut out = Vec::with_capacity(section.len());
    for field in fields {
        let forbidden = is_no_trailer(field.name.as_bytes())
            || left_out.iter().any(|name| field.name.as_bytes().eq_ignore_ascii_case(name));
        if !forbidden && !field.name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("x-weft-")) {
            out.extend_from_slice(field.name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(field.value);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(out)
}
