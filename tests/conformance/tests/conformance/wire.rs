//! Reading HTTP/1 as it comes: lenient, since it is the subject that is judged and not its peers.
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::text::{Fields, Message, bytes, text, values};

/// A socket, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync> Stream for S {}

/// The head of a message.
pub(crate) struct Head {
    pub(crate) first: String,
    pub(crate) fields: Fields,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Framing {
    /// What the fields say; `otherwise` where they say nothing.
    pub(crate) fn of(fields: &Fields, otherwise: Self) -> Self {
        let coding = values(fields, "transfer-encoding").join(",").to_ascii_lowercase();
        if coding.contains("chunked") {
            return Self::Chunked;
        }
        let length = values(fields, "content-length").first().and_then(|length| length.trim().parse().ok());
        length.map_or(otherwise, Self::Length)
    }
}

/// A socket's bytes and what was read of them beyond the last message.
pub(crate) struct Reader<S> {
    pub(crate) socket: S,
    pub(crate) rest: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self { socket, rest: Vec::new() }
    }

    /// Reads more; false at the end.
    pub(crate) async fn more(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16384];
        let read = self.socket.read(&mut buffer).await?;
        self.rest.extend_from_slice(&buffer[..read]);
        Ok(read > 0)
    }

    /// The next line without its end; nothing where the bytes end first.
    async fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                return Ok(Some(text(line.strip_suffix(b"\r").unwrap_or(line))));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// The next head; nothing where the connection ends before one.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        let Some(first) = self.line().await? else { return Ok(None) };
        let Some(fields) = self.fields().await? else { return Ok(None) };
        Ok(Some(Head { first, fields }))
    }

    /// The fields up to the next empty line; nothing where the bytes end first.
    pub(crate) async fn fields(&mut self) -> io::Result<Option<Fields>> {
        let mut fields = Fields::new();
        loop {
            match self.line().await? {
                None => return Ok(None),
                Some(line) if line.is_empty() => return Ok(Some(fields)),
                Some(line) => {
                    let (name, value) = line.split_once(':').unwrap_or((&line, ""));
                    fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
                }
            }
        }
    }

    /// Reads a body into `body`, and its trailers; whether it was whole.
    pub(crate) async fn body(&mut self, framing: Framing, body: &mut Vec<u8>) -> io::Result<(bool, Fields)> {
        match framing {
            Framing::Length(length) => Ok((self.exactly(length, body).await?, Fields::new())),
            Framing::UntilClose => {
                while self.more().await? {}
                body.append(&mut self.rest);
                Ok((true, Fields::new()))
            }
            Framing::Chunked => loop {
                let Some(size) = self.chunk(body).await? else { return Ok((false, Fields::new())) };
                if size == 0 {
                    let trailers = self.fields().await?;
                    return Ok((trailers.is_some(), trailers.unwrap_or_default()));
                }
            },
        }
    }

    /// One chunk; its size, 0 for the last, nothing where it is cut.
    pub(crate) async fn chunk(&mut self, body: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let Some(line) = self.line().await? else { return Ok(None) };
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|error| io::Error::other(format!("{line:?}: {error}")))?;
        if size > 0 && (!self.exactly(size, body).await? || self.line().await?.is_none()) {
            return Ok(None);
        }
        Ok(Some(size))
    }

    /// That many bytes, or those that come; whether all came.
    async fn exactly(&mut self, length: usize, body: &mut Vec<u8>) -> io::Result<bool> {
        let whole = body.len() + length;
        loop {
            let take = (whole - body.len()).min(self.rest.len());
            body.extend(self.rest.drain(..take));
            if body.len() == whole {
                return Ok(true);
            }
            if !self.more().await? {
                return Ok(false);
            }
        }
    }
}

/// The bytes of a message. A request has `HTTP/1.1` and a Host added where it does not say otherwise, an answer its reason;
/// both a length, or chunks before trailers.
pub(crate) fn encode(message: &Message, request: bool) -> Vec<u8> {
    let mut head = message.first.clone();
    if request {
        if head.matches(' ').count() == 1 {
            head.push_str(" HTTP/1.1");
        }
    } else {
        head = format!("HTTP/1.1 {head} Answer");
    }
    head.push_str("\r\n");
    if request && !message.names("host") && !message.absent.iter().any(|name| name == "host") {
        head.push_str("Host: shop.test\r\n");
    }
    for (name, value) in message.fields.iter().filter(|(name, _)| !name.starts_with('@')) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = message.body.as_deref().unwrap_or_default();
    let framed = message.names("content-length") || message.names("transfer-encoding") || message.names("@unframed");
    let bodiless = ["1", "204", "304"].iter().any(|status| !request && message.first.starts_with(status));
    if !message.trailers.is_empty() {
        head.push_str(&format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n", body.len()));
        for (name, value) in &message.trailers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        return bytes(&head);
    }
    if !framed && !bodiless && (!request || message.body.is_some()) {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    head.push_str(body);
    bytes(&head)
}
