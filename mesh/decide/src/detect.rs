//! What a connection speaks, told from its first bytes.

use crate::normalize::is_token;

/// How many bytes a detection looks at, at most: a TLS record of the largest size (RFC 8446 §5.1) with its header.
pub const MAX_PREFIX: usize = 16 * 1024 + 5;

/// The connection preface of HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The longest method that is taken for one.
const MAX_METHOD: usize = 32;

/// What the first bytes of a connection are. All but [`Detection::More`] are final: more bytes do not change them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detection {
    /// Too few to say.
    More,
    /// A TLS hello.
    Tls(Hello),
    /// A request line of HTTP/1.
    Http1,
    /// The preface of HTTP/2.
    Http2,
    /// Nothing of these.
    Opaque,
}

/// What a TLS hello says of where it wants to go. It is not authenticated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The server name (RFC 6066 §3), if it names one.
    pub sni: Option<String>,
    /// The protocols that it offers (RFC 7301), in its order.
    pub alpn: Vec<Vec<u8>>,
}

/// Detects what a connection speaks. Looks at [`MAX_PREFIX`] bytes at most; never panics.
pub fn detect(prefix: &[u8]) -> Detection {
    let full = prefix.len() >= MAX_PREFIX;
    let prefix = &prefix[..prefix.len().min(MAX_PREFIX)];
    let detection = match prefix {
        [] => Detection::More,
        [0x16, ..] => tls(prefix),
        _ if PREFACE.starts_with(prefix) && prefix.len() < PREFACE.len() => Detection::More,
        _ if prefix.starts_with(PREFACE) => Detection::Http2,
        _ => http1(prefix),
    };
    if full && detection == Detection::More { Detection::Opaque } else { detection }
}

/// `method SP request-target SP HTTP/1.DIGIT` (RFC 9112 §3).
fn http1(prefix: &[u8]) -> Detection {
    let (method, rest) = match prefix.iter().position(|&byte| !is_token(byte)) {
        None if prefix.len() <= MAX_METHOD => return Detection::More,
        Some(at @ 1..=MAX_METHOD) => prefix.split_at(at),
        _ => return Detection::Opaque,
    };
    let Some(rest) = rest.strip_prefix(b" ") else { return Detection::Opaque };
    // Methods of letters in upper case and `-`: RFC 9110 §16.1 registers no other, and text protocols differ here.
    if !method.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-') {
        return Detection::Opaque;
    }
    let (target, rest) = match rest.iter().position(|&byte| byte <= b' ' || byte == 0x7f) {
        None => return Detection::More,
        Some(at) => rest.split_at(at),
    };
    let Some(version) = rest.strip_prefix(b" ") else { return Detection::Opaque };
    if target.is_empty() {
        return Detection::Opaque;
    }
    match version.split_at_checked(7) {
        None if b"HTTP/1.".starts_with(version) => Detection::More,
        Some((b"HTTP/1.", [])) => Detection::More,
        Some((b"HTTP/1.", [digit, ..])) if digit.is_ascii_digit() => Detection::Http1,
        _ => Detection::Opaque,
    }
}

/// Whether enough was there to read, and if so what.
enum Parsed<T> {
    More,
    Broken,
    Done(T),
}

fn tls(prefix: &[u8]) -> Detection {
    match handshake(prefix) {
        Parsed::More => Detection::More,
        Parsed::Broken => Detection::Opaque,
        Parsed::Done(body) => hello(&body).map_or(Detection::Opaque, Detection::Tls),
    }
}

/// The body of the first handshake message, a ClientHello, out of as many records as it takes.
fn handshake(mut records: &[u8]) -> Parsed<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let (header, rest) = match records {
            [0x16, 0x03, minor, high, low, rest @ ..] if *minor <= 4 => ([*high, *low], rest),
            [] | [0x16] | [0x16, 0x03] => return Parsed::More,
            [0x16, 0x03, minor, _] | [0x16, 0x03, minor] if *minor <= 4 => return Parsed::More,
            _ => return Parsed::Broken,
        };
        let length = usize::from(u16::from_be_bytes(header));
        if length == 0 || length > 16 * 1024 {
            return Parsed::Broken;
        }
        message.extend_from_slice(&rest[..rest.len().min(length)]);
        match message.as_slice() {
            [] => {}
            [1, high, middle, low, body @ ..] => {
                let size = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
                if size > MAX_PREFIX {
                    return Parsed::Broken;
                }
                if let Some(body) = body.get(..size) {
                    return Parsed::Done(body.to_vec());
                }
            }
            [1, ..] => {}
            _ => return Parsed::Broken,
        }
        match rest.get(length..) {
            Some(rest) => records = rest,
            None => return Parsed::More,
        }
    }
}

/// A reader over length-prefixed fields; every read is checked.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    /// A big-endian number of one or two bytes.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// A field that its length, a number of `bytes` bytes, stands before.
    fn field(&mut self, bytes: usize) -> Option<Self> {
        let count = self.number(bytes)?;
        self.take(count).map(Self)
    }
}

/// RFC 8446 §4.1.2.
fn hello(body: &[u8]) -> Option<Hello> {
    let mut fields = Fields(body);
    fields.take(2 + 32)?;
    fields.field(1)?;
    fields.field(2)?;
    fields.field(1)?;
    let mut hello = Hello::default();
    if fields.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = fields.field(2)?;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let mut data = extensions.field(2)?;
        match kind {
            0 => hello.sni = server_name(data.field(2)?)?,
            16 => {
                let mut names = data.field(2)?;
                while !names.0.is_empty() {
                    hello.alpn.push(names.field(1)?.0.to_vec());
                }
            }
            _ => {}
        }
    }
    Some(hello)
}

/// The first name of type `host_name`: `Some(None)` if there is none, `None` if the list is broken.
fn server_name(mut names: Fields<'_>) -> Option<Option<String>> {
    while !names.0.is_empty() {
        let kind = names.number(1)?;
        let name = names.field(2)?;
        if kind == 0 {
            let text = str::from_utf8(name.0).ok()?;
            let printable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
            return printable.then(|| Some(text.to_owned()));
        }
    }
    Some(None)
}

#[cfg(test)]
mod tests;
