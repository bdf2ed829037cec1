//! One request and its answer between two connections, in one task: no hand-off, no channel, one write a direction where
//! the head and the first of the body are together.
use std::{
    future::poll_fn,
    io::{self, IoSlice},
    task::{Context, Poll, ready},
    time::Duration,
};

use smallvec::SmallVec;
use tokio::time::Instant;
use weft_decide::{FieldEdits, Proof};
use weft_model::Host;

use super::{
    Decoder, Fields, Framing, Malformed, Pieces, Replay, RequestHead, ResponseHead, Version,
    conn::{Conn, HeadError, slices},
    flow::{Flow, FlowError},
    idle::{Idle, Mark, Party},
};
use crate::dataplane::{Http10, ServeHttp10, attempts::Sendable, mirror::Copies};

/// The most interim answers to one request.
pub(crate) const MAX_INTERIM: u8 = 10;

/// What has happened so far; kept outside of the exchange, so that it is known also of one that is dropped.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// The status of the answer whose head the client was sent.
    pub(crate) status: Option<u16>,
    /// The `grpc-status` of the answer, where it has one.
    pub(crate) grpc_status: Option<u16>,
    /// Body bytes towards the upstream.
    pub(crate) sent: u64,
    /// Body bytes towards the client.
    pub(crate) received: u64,
}

/// What becomes of the connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Whether the client may send its next request.
    pub(crate) client_lives: bool,
    /// Whether the upstream may be sent another.
    pub(crate) upstream_lives: bool,
    /// Whether the connections have left HTTP: what follows is a tunnel's, both ways.
    pub(crate) switched: bool,
}

/// Why an exchange failed.
#[derive(Debug)]
pub(crate) enum ExchangeError {
    /// The client went away.
    ClientGone,
    /// The client has reset its stream (HTTP/2), with this code.
    ClientReset(u32),
    /// The client's body is malformed, or ended early.
    ClientMalformed(Malformed),
    /// The upstream took not one byte of the request (invariant 7: it may be sent elsewhere).
    NothingWritten(io::Error),
    /// A peer ended its stream in order and authenticated, without one byte of an answer: a weft server that has read one
    /// byte of a request answers first, so it has not (invariant 7). Or it has refused the stream, or ended its
    /// connection with a GOAWAY whose last stream lies below (RFC 9113 §8.7). Which of these it was, the proof says.
    NotProcessed(Proof),
    /// The upstream went away.
    UpstreamGone(Option<io::Error>),
    /// The upstream has reset its stream (HTTP/2), with this code.
    UpstreamReset(u32),
    /// The upstream's answer is malformed.
    UpstreamMalformed(Malformed),
    /// A body stood still for too long, and this is who did not move it.
    Idle(Party),
}

/// A request as far as it was read when it was decided.
pub(crate) struct Incoming {
    /// Its head, and what was there of its body.
    bytes: Vec<u8>,
    /// The head.
    pub(crate) head: RequestHead,
    /// Which part of the body in `bytes` is passed on.
    pieces: Pieces,
}

impl Incoming {
    /// Takes a request whose head has `length` bytes out of the client's input, with the flow that its body goes on in;
    /// what lies behind it stays there. `from_outside`: our own fields are not passed on.
    pub(crate) fn take(
        client: &mut Conn,
        mut length: usize,
        from_outside: bool,
        http10: &Http10,
    ) -> Result<(Self, Flow), Malformed> {
        let mut bytes = client.take_input();
        let parsed = RequestHead::parse(bytes.get(..length).unwrap_or_default());
        let mut head = match (parsed, http10.default_host.as_ref().and_then(|host| without_host(&bytes, host))) {
            (Err(Malformed::NoHost), Some((at, line))) => {
                bytes.splice(at..at, line.bytes());
                length += line.len();
                RequestHead::parse(bytes.get(..length).unwrap_or_default())?
            }
            (parsed, _) => parsed?,
        };
        if http10.serve == ServeHttp10::KeepAlive {
            head.keeps_alive |= head.asks_to_stay;
        }
        if from_outside {
            head.fields.remove_ours(&bytes);
        }
        let mut body = Flow::new(head.decoder(&bytes));
        let mut pieces = Pieces::default();
        let used = body.first(bytes.get(length..).unwrap_or_default(), &mut pieces)?;
        let end = length + used;
        client.unread(bytes.get(end..).unwrap_or_default());
        bytes.truncate(end);
        Ok((Self { bytes, head, pieces }, body))
    }

    /// The bytes that the head names parts of.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was there of its body when it was decided, as it came.
    pub(crate) fn body(&self) -> &[u8] {
        self.bytes.get(self.head.length..).unwrap_or_default()
    }

    /// Copies what was there of it when it was decided, as [`Exchange::begin`] sends it.
    pub(crate) fn copy_to(&self, copies: &Copies, forward: &Forward<'_>) {
        let lines = lines(&forward.edits, copies.line.as_bytes());
        let mut out = SmallVec::new();
        self.slices(forward, &lines, &mut out);
        out.iter().for_each(|part| copies.taps.push(&[part]));
    }

    /// What is sent of it, with these lines behind those of its head that are passed on.
    fn slices<'a>(&'a self, forward: &Forward<'a>, lines: &'a [u8], out: &mut SmallVec<[IoSlice<'a>; 16]>) {
        let Self { bytes, head, pieces } = self;
        out.extend([head.method.bytes(bytes), b" ", forward.path.as_bytes()].map(IoSlice::new));
        if let Some(query) = forward.query {
            out.extend([b"?", query.as_bytes()].map(IoSlice::new));
        }
        out.push(IoSlice::new(b" HTTP/1.1\r\n"));
        if let Some(host) = forward.host {
            out.extend([&b"Host: "[..], host.as_bytes(), b"\r\n"].map(IoSlice::new));
            let edits = &forward.edits;
            let dropped = |name: &[u8], value| value == head.host || edits.drops(name);
            slices(bytes, &head.fields.runs_but(bytes, dropped), out);
        } else {
            edited(bytes, &head.fields, &forward.edits, out);
        }
        out.extend([lines, b"\r\n"].map(IoSlice::new));
        slices(bytes.get(head.length..).unwrap_or_default(), &pieces.ranges, out);
        out.push(IoSlice::new(&pieces.tail));
    }

    /// Whether the method is HEAD, whose answers have no body.
    pub(crate) fn is_head(&self) -> bool {
        self.head.method.bytes(&self.bytes) == b"HEAD"
    }
}

/// Where the Host of an HTTP/1.0 request goes that has none, and its line.
fn without_host(bytes: &[u8], host: &Host) -> Option<(usize, String)> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let rest = bytes.get(start..)?;
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    rest.get(..end)?.ends_with(b" HTTP/1.0").then(|| (start + end + 2, format!("Host: {host}\r\n")))
}

/// The end of an answer's head, by its client's version: HTTP/1.0 must be told that its connection goes on, any other that it does
/// not (RFC 9112 §9.3).
pub(crate) fn persistence(version: Version, lives: bool) -> &'static [u8] {
    match (version, lives) {
        (Version::Http11, true) => b"\r\n",
        (Version::Http10, true) => b"connection: keep-alive\r\n\r\n",
        (_, false) => b"connection: close\r\n\r\n",
    }
}

/// What an exchange is about, beside the request itself.
pub(crate) struct Forward<'a> {
    /// The path that is forwarded.
    pub(crate) path: &'a str,
    /// The query that is forwarded.
    pub(crate) query: Option<&'a str>,
    /// The Host that is forwarded in place of the one that was written; `None` where that is normal already, and goes out as it
    /// came.
    pub(crate) host: Option<&'a str>,
    /// Whether this is the client's last request, whatever it asks for. Asked when the answer begins: by then draining may
    /// have begun that had not when the request came.
    pub(crate) last: &'a dyn Fn() -> bool,
    /// Whether answers' own fields of ours are passed on: those of mesh peers are.
    pub(crate) trusts_answers: bool,
    /// How long both bodies may stand still.
    pub(crate) body_idle: Duration,
    /// Whether it also bounds the wait for an answer, and streams between two HTTP/2 ends: because a policy says so.
    pub(crate) bounds_all: bool,
    /// When a tunnel that it opens must be over.
    pub(crate) until: Option<Instant>,
    /// The value of a `set-cookie` field that the answer gets.
    pub(crate) set_cookie: Option<String>,
    /// What becomes of the request's other fields.
    pub(crate) edits: FieldEdits<'a>,
    /// What becomes of the answer's fields.
    pub(crate) answer_edits: FieldEdits<'a>,
}

/// An exchange under way.
pub(crate) struct Exchange<'a, 'r> {
    forward: &'a Forward<'a>,
    bytes: &'a [u8],
    head: &'a RequestHead,
    client: &'a mut Conn,
    upstream: &'a mut Conn,
    progress: &'a mut Progress,
    uplink: &'a mut Flow,
    replay: &'a mut Replay<'r>,
    to_head: bool,
    /// How many interim answers came.
    interim: u8,
    /// Whether the upstream takes no more of the request: it has closed its receiving side.
    deaf: bool,
    /// Made when a body first has to wait: the task of a connection stays small, and most bodies come with their heads.
    idle: Option<Box<Idle>>,
}

impl<'a, 'r> Exchange<'a, 'r> {
    /// Sends the request's head, with as much of its body as is there: on a repeat all that was sent before.
    pub(crate) async fn begin(
        incoming: &'a Incoming,
        forward: &'a Forward<'a>,
        (client, uplink): (&'a mut Conn, &'a mut Flow),
        upstream: &'a mut Conn,
        (progress, replay): (&'a mut Progress, &'a mut Replay<'r>),
    ) -> Result<Self, ExchangeError> {
        let Incoming { bytes, head, pieces: _ } = incoming;
        upstream.take_wrote();
        let switch = if head.upgrade { switch_lines(&head.fields, bytes) } else { Vec::new() };
        let sent = {
            let lines = lines(&forward.edits, &switch);
            let mut out: SmallVec<[IoSlice<'_>; 16]> = SmallVec::new();
            incoming.slices(forward, &lines, &mut out);
            if !replay.bytes().is_empty() {
                out.push(IoSlice::new(replay.bytes()));
            }
            poll_fn(|cx| Poll::Ready(upstream.queue(cx, &out))).await
        };
        if let Err(error) = sent {
            return Err(ExchangeError::NothingWritten(error));
        }
        progress.sent = uplink.bytes;
        let to_head = incoming.is_head();
        Ok(Self {
            forward,
            bytes,
            head,
            client,
            upstream,
            progress,
            uplink,
            replay,
            to_head,
            interim: 0,
            deaf: false,
            idle: None,
        })
    }

    /// Passes the final answer on until it is whole, or HTTP has ended on both connections.
    pub(crate) async fn finish(mut self, head: ResponseHead) -> Result<Outcome, ExchangeError> {
        // The answer is the client's: nothing is repeated any more.
        self.replay.drop_all();
        if head.status == 101 || self.head.connect && (200..300).contains(&head.status) {
            return self.switch(&head).await;
        }
        let keeps_alive = head.keeps_alive;
        let (mut downlink, client_lives) = self.answer(head).await?;
        let done = poll_fn(|cx| self.poll_bodies(cx, &mut downlink)).await;
        self.progress.received = downlink.bytes;
        done?;
        let whole = self.uplink.is_read() && !self.deaf;
        let upstream_lives = whole && keeps_alive && self.upstream.is_clean();
        Ok(Outcome { client_lives: client_lives && whole, upstream_lives, switched: false })
    }

    /// Sends the head that ends HTTP; what either side has sent behind its last head is still in its input.
    async fn switch(self, head: &ResponseHead) -> Result<Outcome, ExchangeError> {
        let bytes = self.upstream.input().get(..head.length).unwrap_or_default();
        let status = StatusLine::of(head);
        let switch = if head.status == 101 { switch_lines(&head.fields, bytes) } else { Vec::new() };
        let mut out = SmallVec::new();
        status.slices(bytes, head, &self.forward.answer_edits, &mut out);
        out.extend([&*switch, b"\r\n"].map(IoSlice::new));
        let client = &mut *self.client;
        poll_fn(|cx| Poll::Ready(client.queue(cx, &out))).await.map_err(|_| ExchangeError::ClientGone)?;
        self.progress.status = Some(head.status);
        drop(out);
        poll_fn(|cx| client.poll_drain(cx)).await.map_err(|_| ExchangeError::ClientGone)?;
        self.upstream.consume(head.length);
        Ok(Outcome { client_lives: false, upstream_lives: false, switched: true })
    }

    /// Whether a 101 is what was asked for (RFC 9110 §7.8): the whole request was sent, and it offered the protocol.
    fn may_switch(&self, head: &ResponseHead, bytes: &[u8]) -> bool {
        let offered = |protocol: &[u8]| {
            self.head.fields.protocols(self.bytes).any(|offered| offered.eq_ignore_ascii_case(protocol))
        };
        let sent = self.uplink.is_read() && !self.deaf && self.upstream.backlog() == 0;
        self.head.upgrade && sent && head.upgrade && head.fields.protocols(bytes).all(offered)
    }

    /// The final answer's head, after the interim ones were passed on. The client is sent nothing of it before
    /// [`finish`](Self::finish).
    pub(crate) async fn final_head(&mut self) -> Result<ResponseHead, ExchangeError> {
        loop {
            let length = poll_fn(|cx| self.poll_head(cx)).await?;
            let bytes = self.upstream.input().get(..length).unwrap_or_default();
            let mut head = ResponseHead::parse(bytes, self.to_head).map_err(ExchangeError::UpstreamMalformed)?;
            if !self.forward.trusts_answers {
                head.fields.remove_ours(bytes);
            }
            if head.status == 101 && !self.may_switch(&head, bytes) {
                return Err(ExchangeError::UpstreamMalformed(Malformed::UnaskedUpgrade));
            }
            if self.head.connect {
                head.to_connect(bytes);
            }
            if !head.is_interim() {
                return Ok(head);
            }
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(ExchangeError::UpstreamMalformed(Malformed::TooManyInterim));
            }
            // RFC 9110 §15.2: not to an HTTP/1.0 client.
            if self.head.version == Version::Http11 {
                let status = StatusLine::of(&head);
                let mut out = SmallVec::new();
                status.slices(bytes, &head, &FieldEdits::default(), &mut out);
                out.push(IoSlice::new(b"\r\n"));
                let client = &mut *self.client;
                poll_fn(|cx| Poll::Ready(client.queue(cx, &out))).await.map_err(|_| ExchangeError::ClientGone)?;
                poll_fn(|cx| client.poll_drain(cx)).await.map_err(|_| ExchangeError::ClientGone)?;
            }
            self.upstream.consume(length);
        }
    }

    /// The value of a field of the final answer's head, before it is passed on.
    pub(crate) fn field<'b>(&'b self, head: &'b ResponseHead, name: &[u8]) -> Option<&'b [u8]> {
        let mut fields = head.fields.kept(self.upstream.input());
        fields.find(|(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// What of the request can be sent once more.
    pub(crate) fn kept(&self, incoming: &Incoming) -> Sendable {
        self.replay.kept(incoming, self.uplink)
    }

    /// One turn of waiting for an answer's head while the request's body goes on.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, ExchangeError>> {
        let uplink = self.poll_uplink(cx)?;
        if uplink.is_ready() && self.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(ExchangeError::ClientGone));
        }
        let Poll::Ready(head) = self.upstream.poll_head(cx) else {
            // Where the whole request was sent, the wait is for an answer, and the route's to bound.
            if uplink.is_ready() && !self.forward.bounds_all {
                return Poll::Pending;
            }
            return self.poll_idle(cx).map(Err);
        };
        let ended = match head {
            Ok(Some(length)) => return Poll::Ready(Ok(length)),
            Ok(None) if self.upstream.is_secure() && self.interim == 0 => {
                ExchangeError::NotProcessed(Proof::CloseNotify)
            }
            Ok(None) => ExchangeError::UpstreamGone(None),
            Err(HeadError::Io(error)) if !self.upstream.take_wrote() => ExchangeError::NothingWritten(error),
            Err(HeadError::Io(error)) => ExchangeError::UpstreamGone(Some(error)),
            Err(HeadError::Malformed(Malformed::Truncated)) => ExchangeError::UpstreamGone(None),
            Err(HeadError::Malformed(malformed)) => ExchangeError::UpstreamMalformed(malformed),
        };
        Poll::Ready(Err(ended))
    }

    /// Sends the answer's head with as much of its body as is there; the rest of the body, and whether the client may go
    /// on after it.
    async fn answer(&mut self, mut head: ResponseHead) -> Result<(Flow, bool), ExchangeError> {
        // What a client has sent already for a protocol that it does not get is never read as its next request.
        let early = self.head.upgrade && self.client.has_more().await;
        let old = self.head.version == Version::Http10;
        let input = self.upstream.input();
        let (bytes, body) = input.split_at_checked(head.length).unwrap_or((input, &[]));
        let decoder = if old { Decoder::unchunked(head.framing) } else { head.decoder(bytes) };
        let mut downlink = Flow::new(decoder);
        if old && head.framing == Framing::Chunked {
            head.fields.remove_coding(bytes);
        }
        let mut pieces = Pieces::default();
        let used = downlink.first(body, &mut pieces).map_err(ExchangeError::UpstreamMalformed)?;
        // A client that is still sending must not send another request behind a body that nobody reads any more.
        let lives = self.head.keeps_alive
            && !(self.forward.last)()
            && head.framing != Framing::UntilClose
            && !(old && head.framing == Framing::Chunked)
            && self.uplink.is_read()
            && !early;
        let status = StatusLine::of(&head);
        let mut out = SmallVec::new();
        status.slices(bytes, &head, &self.forward.answer_edits, &mut out);
        if let Some(cookie) = &self.forward.set_cookie {
            out.extend([b"set-cookie: ", cookie.as_bytes(), b"\r\n"].map(IoSlice::new));
        }
        out.push(IoSlice::new(persistence(self.head.version, lives)));
        slices(body, &pieces.ranges, &mut out);
        out.push(IoSlice::new(&pieces.tail));
        let client = &mut *self.client;
        poll_fn(|cx| Poll::Ready(client.queue(cx, &out))).await.map_err(|_| ExchangeError::ClientGone)?;
        self.progress.status = Some(head.status);
        self.progress.received = downlink.bytes;
        drop(out);
        self.upstream.consume(head.length + used);
        Ok((downlink, lives))
    }

    /// One turn of passing both bodies on; ready when the answer's is whole.
    fn poll_bodies(&mut self, cx: &mut Context<'_>, downlink: &mut Flow) -> Poll<Result<(), ExchangeError>> {
        let uplink = self.poll_uplink(cx)?;
        if uplink.is_ready() && !downlink.is_read() && self.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(ExchangeError::ClientGone));
        }
        let moved = downlink.poll(cx, self.upstream, self.client, None);
        self.progress.received = downlink.bytes;
        let Poll::Ready(moved) = moved else { return self.poll_idle(cx).map(Err) };
        Poll::Ready(moved.map_err(|error| match error {
            FlowError::Write => ExchangeError::ClientGone,
            FlowError::Read(error) => ExchangeError::UpstreamGone(Some(error)),
            FlowError::Malformed(Malformed::Truncated) => ExchangeError::UpstreamGone(None),
            FlowError::Malformed(malformed) => ExchangeError::UpstreamMalformed(malformed),
        }))
    }

    /// Ready when nothing has moved for too long, with whose fault it is: who does not take what it is sent, or else who
    /// does not send what it has begun.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<ExchangeError> {
        let mark = Mark {
            sent: self.progress.sent,
            to_upstream: self.upstream.backlog(),
            received: self.progress.received,
            to_client: self.client.backlog(),
        };
        let bound = self.forward.body_idle;
        ready!(self.idle.get_or_insert_with(|| Box::new(Idle::new(bound))).poll(cx, mark));
        let party = match (self.progress.status, mark) {
            (None, _) if self.uplink.is_read() => Party::Upstream,
            (Some(_), Mark { to_client: 0, .. }) => Party::Upstream,
            (None, Mark { to_upstream: 0, .. }) | (Some(_), _) => Party::Client,
            (None, _) => Party::Upstream,
        };
        Poll::Ready(ExchangeError::Idle(party))
    }

    /// One turn of the request's body; ready when it is sent, or the upstream takes no more of it.
    fn poll_uplink(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, ExchangeError> {
        if self.deaf {
            return Ok(Poll::Ready(()));
        }
        let moved = self.uplink.poll(cx, self.client, self.upstream, Some(&mut *self.replay));
        self.progress.sent = self.uplink.bytes;
        match moved {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            // It may have answered before it stopped reading (a 413, say): the answer is still to be read.
            Poll::Ready(Err(FlowError::Write)) => {
                self.deaf = true;
                Ok(Poll::Ready(()))
            }
            Poll::Ready(Err(FlowError::Read(_) | FlowError::Malformed(Malformed::Truncated))) => {
                Err(ExchangeError::ClientGone)
            }
            Poll::Ready(Err(FlowError::Malformed(malformed))) => Err(ExchangeError::ClientMalformed(malformed)),
        }
    }
}

/// The lines by which this hop asks for, or answers with, the protocols that a head names (RFC 9110 §7.8).
fn switch_lines(fields: &Fields, head: &[u8]) -> Vec<u8> {
    let protocols: Vec<_> = fields.protocols(head).collect();
    [b"connection: upgrade\r\nupgrade: ", &*protocols.join(&b", "[..]), b"\r\n"].concat()
}

/// The start line of an answer, up to its reason phrase.
struct StatusLine([u8; 13]);

impl StatusLine {
    fn of(head: &ResponseHead) -> Self {
        let mut line = *b"HTTP/1.1 000 ";
        let digit = |place: u16| b'0' + u8::try_from(head.status / place % 10).unwrap_or(0);
        [line[9], line[10], line[11]] = [digit(100), digit(10), digit(1)];
        Self(line)
    }

    /// The start line and the fields that are passed on, changed as `edits` says.
    fn slices<'a>(
        &'a self,
        bytes: &'a [u8],
        head: &ResponseHead,
        edits: &FieldEdits<'a>,
        out: &mut SmallVec<[IoSlice<'a>; 16]>,
    ) {
        out.extend([&self.0[..], head.reason.bytes(bytes), b"\r\n"].map(IoSlice::new));
        edited(bytes, &head.fields, edits, out);
        add(edits, out);
    }
}

/// The lines that are passed on as they came.
fn edited<'a>(bytes: &'a [u8], fields: &Fields, edits: &FieldEdits<'_>, out: &mut SmallVec<[IoSlice<'a>; 16]>) {
    let runs = match edits.dropped().next().is_none() {
        true => fields.runs(),
        false => fields.runs_but(bytes, |name, _| edits.drops(name)),
    };
    slices(bytes, &runs, out);
}

/// The lines that are written behind them in one piece, with more: what is sent in one call has few pieces, and the usual
/// ones need no allocation.
fn lines(edits: &FieldEdits<'_>, more: &[u8]) -> SmallVec<[u8; 256]> {
    let mut lines = SmallVec::new();
    for (name, value) in edits.added() {
        for part in [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            lines.extend_from_slice(part);
        }
    }
    lines.extend_from_slice(more);
    lines
}

/// The lines that are written behind them.
fn add<'a>(edits: &FieldEdits<'a>, out: &mut SmallVec<[IoSlice<'a>; 16]>) {
    for (name, value) in edits.added() {
        out.extend([name.as_bytes(), b": ", value.as_bytes(), b"\r\n"].map(IoSlice::new));
    }
}
