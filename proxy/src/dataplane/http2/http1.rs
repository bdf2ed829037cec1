//! The ends of an exchange that speak HTTP/1.1 while the other speaks HTTP/2.
use std::{
    io::IoSlice,
    task::{Context, Poll, ready},
};

use ::http::{HeaderMap, Response, header::CONTENT_LENGTH};
use bytes::Bytes;
use h2::Reason;

use super::{
    head::{answer_from_http1, answer_to_http1, opened_from_http1, switch_to_http1, write_fields},
    kept::Kept,
    side::{self, Answer, Broken, Piece, Side},
    trailers, websocket,
};
use crate::dataplane::http::{
    Conn, Content, Decoder, Flow, FlowError, Framing, HeadError, Malformed, ResponseHead, Version, persistence,
};

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// In chunks, with trailers behind the last.
    Chunked,
    /// As it is: its length was told, or the connection ends it.
    Plain,
}

/// What is written, and waits to be written together with what follows.
struct Writing {
    coding: Coding,
    /// A head of which nothing was written.
    head: Vec<u8>,
}

impl Writing {
    fn data(&mut self, conn: &mut Conn, cx: &mut Context<'_>, data: &[u8], last: bool) -> Result<(), Broken> {
        let size = format!("{:x}\r\n", data.len());
        let end: &[u8] = if last { b"\r\n0\r\n\r\n" } else { b"\r\n" };
        let parts = match self.coding {
            Coding::Chunked => [&self.head[..], size.as_bytes(), data, end],
            Coding::Plain => [&self.head[..], b"", data, b""],
        };
        let queued = conn.queue(cx, &parts.map(IoSlice::new)).map_err(|error| Broken::Gone(Some(error)));
        self.head = Vec::new();
        queued
    }

    fn end(&mut self, conn: &mut Conn, cx: &mut Context<'_>, trailers: Option<HeaderMap>) -> Result<(), Broken> {
        if self.coding == Coding::Chunked {
            self.head.extend_from_slice(b"0\r\n");
            write_fields(&trailers.unwrap_or_default(), &mut self.head);
            self.head.extend_from_slice(b"\r\n");
        }
        self.queue(conn, cx)
    }

    fn queue(&mut self, conn: &mut Conn, cx: &mut Context<'_>) -> Result<(), Broken> {
        if self.head.is_empty() {
            return Ok(());
        }
        let head = std::mem::take(&mut self.head);
        conn.queue(cx, &[IoSlice::new(&head)]).map_err(|error| Broken::Gone(Some(error)))
    }

    fn poll_flush(&mut self, conn: &mut Conn, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.queue(conn, cx)?;
        conn.poll_drain(cx).map_err(|error| Broken::Gone(Some(error)))
    }
}

fn poll_content(body: &mut Flow, cx: &mut Context<'_>, conn: &mut Conn) -> Poll<Result<Piece, Broken>> {
    let read = ready!(body.poll_content(cx, conn)).map_err(|error| match error {
        FlowError::Read(error) => Broken::Gone(Some(error)),
        FlowError::Malformed(malformed) => Broken::Malformed(malformed),
        FlowError::Write => Broken::Gone(None),
    })?;
    Poll::Ready(match read {
        Content::Data(data) => Ok(Piece::Data(data, false)),
        Content::End(section) if section.is_empty() => Ok(Piece::End),
        Content::End(section) => trailers::read(&section).map(Piece::Trailers).map_err(Broken::Malformed),
    })
}

/// A client that speaks HTTP/1.1.
pub(super) struct Client<'a> {
    pub(super) conn: &'a mut Conn,
    /// Its body, read without its framing.
    pub(super) body: &'a mut Flow,
    /// Its version.
    version: Version,
    /// Whether the request's method is HEAD.
    to_head: bool,
    /// Whether it asks to send another request.
    keeps_alive: bool,
    /// Whether we let it send no other.
    last: &'a dyn Fn() -> bool,
    writing: Writing,
    kept: Kept,
    /// The Sec-WebSocket-Accept that it waits for, where it wishes to leave HTTP.
    accept: Option<String>,
    /// Whether it was told that it may.
    pub(super) lives: bool,
}

impl<'a> Client<'a> {
    pub(super) fn new(
        (conn, body): (&'a mut Conn, &'a mut Flow),
        version: Version,
        to_head: bool,
        (keeps_alive, last): (bool, &'a dyn Fn() -> bool),
    ) -> Self {
        let writing = Writing { coding: Coding::Plain, head: Vec::new() };
        let kept = Kept::default();
        Self { conn, body, version, to_head, keeps_alive, last, writing, kept, accept: None, lives: false }
    }

    /// The same, which wishes to speak WebSocket.
    pub(super) fn accepting(self, accept: String) -> Self {
        Self { accept: Some(accept), ..self }
    }

    /// Lets it send no other request where it has sent something already: it is not one, but what it wished to say in a
    /// tunnel that it does not get.
    pub(super) async fn mistrust_early(&mut self) {
        self.keeps_alive &= !self.conn.has_more().await;
    }

    /// The same, whose body begins with `first`.
    pub(super) fn beginning_with(self, first: Bytes) -> Self {
        Self { kept: Kept::beginning_with(first), ..self }
    }

    /// What was read of its body.
    pub(super) fn kept(&mut self) -> &mut Kept {
        &mut self.kept
    }
}

impl Side for Client<'_> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        if let Some(piece) = self.kept.next() {
            return Poll::Ready(Ok(piece));
        }
        let piece = ready!(poll_content(self.body, cx, self.conn))?;
        self.kept.keep(&piece);
        Poll::Ready(Ok(piece))
    }

    fn release(&mut self, _: usize) {}

    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, Broken>> {
        ready!(self.conn.poll_drain(cx)).map_err(|error| Broken::Gone(Some(error)))?;
        Poll::Ready(Ok(wanted))
    }

    fn write(&mut self, cx: &mut Context<'_>, data: Bytes, last: bool) -> Result<(), Broken> {
        self.writing.data(self.conn, cx, &data, last)
    }

    fn end(&mut self, cx: &mut Context<'_>, trailers: Option<HeaderMap>) -> Result<(), Broken> {
        self.writing.end(self.conn, cx, trailers)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.writing.poll_flush(self.conn, cx)
    }
}

impl side::Client for Client<'_> {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        if self.body.is_read() { self.conn.poll_gone(cx).map(|()| Broken::Gone(None)) } else { Poll::Pending }
    }

    fn interim(&mut self, cx: &mut Context<'_>, answer: Response<()>) -> Result<(), Broken> {
        // RFC 9110 §15.2: not to an HTTP/1.0 client.
        if self.version == Version::Http10 {
            return Ok(());
        }
        self.writing.head = answer_to_http1(&answer);
        self.writing.head.extend_from_slice(b"\r\n");
        self.writing.queue(self.conn, cx)
    }

    fn answer(&mut self, cx: &mut Context<'_>, answer: Response<()>, ended: bool) -> Result<(), Broken> {
        self.kept.forget();
        let status = answer.status();
        if let Some(accept) = self.accept.take().filter(|_| status.is_success()) {
            self.writing.head = switch_to_http1(&answer, &accept);
            return Ok(());
        }
        let bodiless = self.to_head || status == 204 || status == 304;
        let told = answer.headers().contains_key(CONTENT_LENGTH);
        let mut head = answer_to_http1(&answer);
        let mut until_close = false;
        match (told || bodiless, ended) {
            (true, _) => {}
            (false, true) => head.extend_from_slice(b"content-length: 0\r\n"),
            (false, false) if self.version == Version::Http11 => {
                head.extend_from_slice(b"transfer-encoding: chunked\r\n");
                self.writing.coding = Coding::Chunked;
            }
            (false, false) => until_close = true,
        }
        // A client that is still sending must not send another request behind a body that nobody reads any more.
        self.lives = self.keeps_alive && !(self.last)() && !until_close && self.body.is_read();
        head.extend_from_slice(persistence(self.version, self.lives));
        self.writing.head = head;
        if ended { self.writing.queue(self.conn, cx) } else { Ok(()) }
    }
}

/// An application that speaks HTTP/1.1.
pub(super) struct Upstream {
    conn: Conn,
    writing: Writing,
    to_head: bool,
    /// The answer's body, once its head has come.
    body: Option<Flow>,
    keeps_alive: bool,
    /// The Sec-WebSocket-Accept that it must answer with, where it was asked to leave HTTP.
    accept: Option<String>,
}

impl Upstream {
    /// Sends a request by its head.
    pub(super) fn begin(conn: Conn, head: Vec<u8>, coding: Coding, to_head: bool) -> Self {
        Self { conn, writing: Writing { coding, head }, to_head, body: None, keeps_alive: false, accept: None }
    }

    /// Asks it by a head to leave HTTP.
    pub(super) fn asking(conn: Conn, head: Vec<u8>, accept: String) -> Self {
        Self { accept: Some(accept), ..Self::begin(conn, head, Coding::Plain, false) }
    }

    /// The connection, once it has left HTTP.
    pub(super) fn into_tunnel(self) -> Conn {
        self.conn
    }

    /// The connection, if it may be sent another request. To be asked once the answer is whole.
    pub(super) fn into_conn(self) -> Option<Conn> {
        (self.keeps_alive && self.conn.is_clean()).then_some(self.conn)
    }
}

impl Side for Upstream {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        match &mut self.body {
            Some(body) => poll_content(body, cx, &mut self.conn),
            None => Poll::Ready(Ok(Piece::End)),
        }
    }

    fn release(&mut self, _: usize) {}

    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, Broken>> {
        ready!(self.conn.poll_drain(cx)).map_err(|error| Broken::Gone(Some(error)))?;
        Poll::Ready(Ok(wanted))
    }

    fn write(&mut self, cx: &mut Context<'_>, data: Bytes, last: bool) -> Result<(), Broken> {
        self.writing.data(&mut self.conn, cx, &data, last)
    }

    fn end(&mut self, cx: &mut Context<'_>, trailers: Option<HeaderMap>) -> Result<(), Broken> {
        self.writing.end(&mut self.conn, cx, trailers)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.writing.poll_flush(&mut self.conn, cx)
    }
}

impl side::Upstream for Upstream {
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Broken>> {
        let length = match ready!(self.conn.poll_head(cx)) {
            Ok(Some(length)) => length,
            Ok(None) => return Poll::Ready(Err(Broken::Gone(None))),
            Err(HeadError::Io(error)) => return Poll::Ready(Err(Broken::Gone(Some(error)))),
            Err(HeadError::Malformed(malformed)) => return Poll::Ready(Err(Broken::Malformed(malformed))),
        };
        let bytes = self.conn.input().get(..length).unwrap_or_default();
        let head = ResponseHead::parse(bytes, self.to_head).map_err(Broken::Malformed)?;
        let answer = match &self.accept {
            Some(accept) if head.status == 101 => {
                let asked = head.upgrade && head.protocols(bytes).all(websocket::is_protocol);
                let opened = opened_from_http1(&head, bytes, accept);
                let opened = if asked { opened } else { Err(Malformed::UnaskedUpgrade) }.map_err(Broken::Malformed)?;
                self.conn.consume(length);
                return Poll::Ready(Ok(Answer::Final(opened, false)));
            }
            Some(_) if (200..300).contains(&head.status) => {
                return Poll::Ready(Err(Broken::Malformed(Malformed::NoUpgrade)));
            }
            None if head.status == 101 => return Poll::Ready(Err(Broken::Malformed(Malformed::UnaskedUpgrade))),
            Some(_) | None => answer_from_http1(&head, bytes),
        };
        let answer = answer.map_err(Broken::Malformed)?;
        let decoder = Decoder::unchunked(head.framing).without_nominated(&head.fields, bytes);
        self.conn.consume(length);
        if head.is_interim() {
            return Poll::Ready(Ok(Answer::Interim(answer)));
        }
        self.keeps_alive = head.keeps_alive;
        self.body = Some(Flow::new(decoder));
        Poll::Ready(Ok(Answer::Final(answer, head.framing == Framing::Empty)))
    }

    fn cancel(&mut self, _: Reason) {
        // What it was not asked to finish, it learns from its connection's end.
        self.keeps_alive = false;
    }
}
