//! One record for each connection and each request: made when it begins, ended once, written as one JSON line. Metrics
//! and the access log both come from it; no stage logs by itself.
use std::{fmt, fmt::Write, ops::Range, rc::Rc, sync::Arc};

use tokio::time::Instant;
use weft_decide::{Draws, Hop, TraceParent, is_grpc_failure};
use weft_ir::ServiceKey;
use weft_net::PeerAddr;

use super::{
    ledger::Ledger,
    metrics::{Direction, Sample, Series},
    respond::Ending,
};

/// How far it got: the stages of DESIGN §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Accept,
    Detect,
    Secure,
    Normalize,
    Route,
    Permit,
    Pick,
    Connect,
    Stream,
}

impl Stage {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Detect => "detect",
            Self::Secure => "secure",
            Self::Normalize => "normalize",
            Self::Route => "route",
            Self::Permit => "permit",
            Self::Pick => "pick",
            Self::Connect => "connect",
            Self::Stream => "stream",
        }
    }
}

/// A text that a record keeps, by its place in the record's one buffer.
#[derive(Clone, Copy, Debug, Default)]
struct Note {
    start: u32,
    end: u32,
}

/// Which texts a record may keep; `caller` and `server` are the identities that the peer has proven, `rewritten` the host and path
/// that are forwarded where they differ, `mirrorOf` the record of the request that this one copies, `tunnel` what is
/// spoken in place of HTTP, `translated` what was translated for the application, `pickedBy` why it is this endpoint where that is not its turn, `circumstances` what the pick depended
/// on beside the draws, and `notRepeated` why a failed request was not sent again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key {
    Caller,
    Server,
    Authority,
    Method,
    Path,
    Route,
    Rule,
    Endpoint,
    PickedBy,
    Service,
    Destination,
    Rewritten,
    MirrorOf,
    Tunnel,
    Translated,
    Trace,
    Span,
    ParentSpan,
    RequestId,
    Circumstances,
    NotRepeated,
    Detail,
}

const KEYS: [(Key, &str); 22] = [
    (Key::Caller, "caller"),
    (Key::Server, "server"),
    (Key::Authority, "authority"),
    (Key::Method, "method"),
    (Key::Path, "path"),
    (Key::Route, "route"),
    (Key::Rule, "rule"),
    (Key::Endpoint, "endpoint"),
    (Key::PickedBy, "pickedBy"),
    (Key::Service, "service"),
    (Key::Destination, "destination"),
    (Key::Rewritten, "rewritten"),
    (Key::MirrorOf, "mirrorOf"),
    (Key::Tunnel, "tunnel"),
    (Key::Translated, "translated"),
    (Key::Trace, "traceId"),
    (Key::Span, "spanId"),
    (Key::ParentSpan, "parentSpanId"),
    (Key::RequestId, "requestId"),
    (Key::Circumstances, "circumstances"),
    (Key::NotRepeated, "notRepeated"),
    (Key::Detail, "detail"),
];

/// What is known of one connection or request. Dropped before it was ended, it says `abandoned`.
pub(super) struct Record {
    ledger: Rc<Ledger>,
    sequence: u64,
    started: Instant,
    direction: Direction,
    tcp: bool,
    peer: PeerAddr,
    stage: Stage,
    series: Option<Arc<Series>>,
    /// All texts, one after the other. Kept also where no log is written: the record may end as a refusal.
    texts: String,
    notes: [Note; KEYS.len()],
    revision: Option<Rc<str>>,
    draws: Option<Draws>,
    /// The status that the client was told.
    pub(super) status: Option<u16>,
    /// The `grpc-status` that the client was told.
    pub(super) grpc_status: Option<u16>,
    /// Body bytes towards the upstream.
    pub(super) sent: u64,
    /// Body bytes towards the client.
    pub(super) received: u64,
    /// How often it was sent again.
    pub(super) repeats: u8,
    /// How many copies were made of it, or would have been within their budget.
    mirrors: u8,
    /// Whether it is of such a copy, that nobody waits for.
    is_mirror: bool,
    ending: Option<Ending>,
    forgotten: bool,
}

impl Record {
    /// Begins a record.
    pub(super) fn begin(ledger: &Rc<Ledger>, direction: Direction, tcp: bool, peer: PeerAddr) -> Self {
        Self {
            sequence: ledger.begin(),
            ledger: ledger.clone(),
            started: Instant::now(),
            direction,
            tcp,
            peer,
            stage: Stage::Accept,
            series: None,
            texts: String::new(),
            notes: [Note::default(); KEYS.len()],
            revision: None,
            draws: None,
            status: None,
            grpc_status: None,
            sent: 0,
            received: 0,
            repeats: 0,
            mirrors: 0,
            is_mirror: false,
            ending: None,
            forgotten: false,
        }
    }

    /// Begins the record of a copy of this one's request, on its way to a mirror.
    pub(super) fn mirrored(&mut self, (service, mirror): (&ServiceKey, &ServiceKey)) -> Self {
        self.mirrors = self.mirrors.saturating_add(1);
        let mut record = Self::begin(&self.ledger, self.direction, self.tcp, self.peer);
        record.is_mirror = true;
        (record.revision, record.draws) = (self.revision.clone(), self.draws);
        for key in [Key::Authority, Key::Method, Key::Path, Key::Route, Key::Rewritten, Key::Trace, Key::RequestId] {
            let note = self.notes.get(key as usize).copied().unwrap_or_default();
            if note.start < note.end {
                record.note(key, self.texts.get(range(note)).unwrap_or_default());
            }
        }
        record.note(Key::MirrorOf, self.id());
        record.note(Key::Service, service);
        record.note(Key::Destination, mirror);
        record
    }

    /// It has come as far as `stage`.
    pub(super) fn at(&mut self, stage: Stage) {
        self.stage = stage;
    }

    /// Which way it goes.
    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    /// Where its connection comes from.
    pub(super) fn peer(&self) -> PeerAddr {
        self.peer
    }

    /// Since when it runs.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// The edge that it belongs to: what is counted, and what the log names. Where metrics have no more series for
    /// another edge, the log names it all the same.
    pub(super) fn on(&mut self, service: &ServiceKey, destination: &ServiceKey) {
        let series = self.ledger.metrics().series(self.direction, self.tcp, service, destination);
        if series.texts.is_none() {
            self.note(Key::Service, service);
            self.note(Key::Destination, destination);
        }
        self.series = Some(series);
    }

    /// What it was decided by: the snapshot's revision and the draws.
    pub(super) fn decided_by(&mut self, revision: &Rc<str>, draws: Draws) {
        self.revision = Some(revision.clone());
        self.draws = Some(draws);
    }

    /// The draw of its pick.
    pub(super) fn picked_by(&mut self, pick: u64) {
        self.draws = Some(Draws { pick, ..self.draws.unwrap_or_default() });
    }

    /// Keeps a text.
    pub(super) fn note(&mut self, key: Key, text: impl fmt::Display) {
        let start = self.texts.len();
        if self.texts.capacity() == 0 {
            self.texts = self.ledger.buffer();
        }
        // Writing to a String does not fail.
        let _ = write!(self.texts, "{text}");
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        if let Some(note) = self.notes.get_mut(key as usize) {
            *note = Note { start: place(start), end: place(self.texts.len()) };
        }
    }

    /// Keeps where its request belongs.
    pub(super) fn belongs(&mut self, hop: &Hop<'_>) {
        let TraceParent { trace, span, flags: _ } = hop.own();
        self.note(Key::Trace, format_args!("{trace:032x}"));
        self.note(Key::Span, format_args!("{span:016x}"));
        if let Some(parent) = hop.parent() {
            self.note(Key::ParentSpan, format_args!("{parent:016x}"));
        }
        self.note(Key::RequestId, hop.request_id());
    }

    /// The id by which a refusal's answer names this record.
    pub(super) fn id(&self) -> impl fmt::Display + '_ {
        DecisionId { ledger: &self.ledger, sequence: self.sequence }
    }

    /// Ends it in order.
    pub(super) fn complete(&mut self) {
        self.ending = Some(Ending::Complete);
    }

    /// Ends it with a cause.
    pub(super) fn fail(&mut self, ending: Ending, detail: impl fmt::Display) {
        self.note(Key::Detail, detail);
        self.ending = Some(ending);
    }

    /// It is a connection whose requests have records of their own: nothing is written of it.
    pub(super) fn forget(mut self) {
        self.forgotten = true;
    }

    fn write(&self, ending: Ending, micros: u64, out: &mut Vec<u8>) {
        let mut line = Line { out, first: true };
        line.raw("time", format_args!("\"{}\"", self.ledger.time()));
        line.raw("id", format_args!("\"{}\"", self.id()));
        line.raw("instance", format_args!("\"{}\"", self.ledger.instance()));
        line.raw("direction", format_args!("\"{}\"", self.direction.as_str()));
        line.raw("protocol", if self.tcp { "\"tcp\"" } else { "\"http\"" });
        line.raw("outcome", format_args!("\"{}\"", ending.code()));
        line.raw("stage", format_args!("\"{}\"", self.stage.as_str()));
        if let Some(blame) = ending.blame() {
            line.raw("blame", format_args!("\"{}\"", blame.as_str()));
        }
        line.raw("peer", format_args!("\"{}\"", self.peer));
        for (note, (_, name)) in self.notes.iter().zip(KEYS) {
            let text = self.texts.get(range(*note)).unwrap_or_default();
            if !text.is_empty() {
                line.text(name, text);
            }
        }
        if let Some((service, destination)) = self.series.as_ref().and_then(|series| series.texts.as_ref()) {
            line.text("service", service);
            line.text("destination", destination);
        }
        if let Some(status) = self.status {
            line.raw("status", status);
        }
        if let Some(status) = self.grpc_status {
            line.raw("grpcStatus", status);
        }
        line.raw("sent", self.sent);
        line.raw("received", self.received);
        line.raw("durationUs", micros);
        if self.repeats > 0 {
            line.raw("repeats", self.repeats);
        }
        if self.mirrors > 0 {
            line.raw("mirrors", self.mirrors);
        }
        if let Some(revision) = &self.revision {
            line.text("revision", revision);
        }
        if let Some(Draws { split, pick }) = self.draws {
            // As text: JSON readers keep numbers to 2^53 only.
            line.raw("split", format_args!("\"{split}\""));
            line.raw("pick", format_args!("\"{pick}\""));
        }
        out.extend_from_slice(b"}\n");
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.forgotten {
            self.end();
        }
        self.ledger.end(std::mem::take(&mut self.texts));
    }
}

impl Record {
    fn end(&mut self) {
        let ending = self.ending.unwrap_or(Ending::Abandoned);
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let ledger = self.ledger.clone();
        if self.is_mirror {
            let answered = ending == Ending::Complete && self.status.is_some_and(|status| status < 500);
            ledger.metrics().totals.mirrors.count(answered);
            // Nobody was told its id.
            return ledger.write(false, |out| self.write(ending, micros, out));
        }
        let series = self.series.take().unwrap_or_else(|| ledger.metrics().nameless(self.direction, self.tcp));
        let in_order = matches!(ending, Ending::Complete | Ending::Answered(_));
        let failed = !in_order
            || self.status.is_some_and(|status| status >= 500)
            || self.grpc_status.is_some_and(|status| is_grpc_failure(status.into()));
        let (sent, received) = (self.sent, self.received);
        series.count(Sample { status: self.status, failed, sent, received, micros });
        self.series = Some(series);
        if !in_order {
            ledger.metrics().cause(self.direction, ending.code());
        }
        // Who went away by itself was told no id to ask about.
        let kept = !in_order && !matches!(ending, Ending::Abandoned | Ending::ClientGone);
        ledger.write(kept, |out| self.write(ending, micros, out));
    }
}

struct DecisionId<'a> {
    ledger: &'a Ledger,
    sequence: u64,
}

impl fmt::Display for DecisionId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ledger, sequence } = self;
        write!(f, "{}.{}.{}.{sequence}", ledger.instance(), ledger.start(), ledger.worker())
    }
}

fn range(note: Note) -> Range<usize> {
    note.start as usize..note.end as usize
}

/// Writes one JSON object, field by field.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Line<'_> {
    fn name(&mut self, name: &str) {
        self.out.push(if std::mem::take(&mut self.first) { b'{' } else { b',' });
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A value that is JSON already.
    fn raw(&mut self, name: &str, value: impl fmt::Display) {
        self.name(name);
        // Writing to a Vec does not fail.
        let _ = std::io::Write::write_fmt(self.out, format_args!("{value}"));
    }

    /// A text from outside: escaped, control characters included, so that no reader's terminal or parser is misled.
    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.out.push(b'"');
        for character in text.chars() {
            match character {
                '"' => self.out.extend_from_slice(b"\\\""),
                '\\' => self.out.extend_from_slice(b"\\\\"),
                '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => {
                    let _ = std::io::Write::write_fmt(self.out, format_args!("\\u{:04x}", u32::from(character)));
                }
                plain => self.out.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        self.out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, sync_channel};

    use super::*;
    use crate::dataplane::{
        metrics::{MAX_SERIES, Metrics, Totals},
        refusals::Refusals,
    };

    fn service(number: usize) -> ServiceKey {
        format!("local/shop/service-{number}:80").parse().unwrap()
    }

    /// As a request of the outbound side is recorded.
    fn ordinary(ledger: &Rc<Ledger>, service: &ServiceKey) {
        let peer = PeerAddr("127.0.0.1:1".parse().unwrap());
        let mut record = Record::begin(ledger, Direction::Outbound, false, peer);
        record.note(Key::Method, "GET");
        record.note(Key::Authority, "reviews.shop.svc.cluster.local");
        record.note(Key::Path, "/reviews/12345?with=stars");
        record.note(Key::Route, "HTTPRoute shop/reviews, rule 1 (shop.yaml:12)");
        record.on(service, service);
        record.note(Key::Endpoint, "shop/reviews-v1-0");
        record.note(Key::Server, "spiffe://weft.local/ns/shop/sa/reviews");
        record.at(Stage::Stream);
        record.status = Some(200);
        record.complete();
    }

    /// The texts of each record grew from nothing, in seven steps.
    #[test]
    fn a_record_of_an_ordinary_request_allocates_nothing_where_there_is_no_log() {
        let (registry, _series) = channel();
        let metrics = Metrics::new(Arc::<Totals>::default(), registry);
        let names = ("proxy".to_owned(), "abcde".to_owned());
        let ledger = Rc::new(Ledger::new(names, 0, metrics, None, Arc::<Refusals>::default()));
        let service = service(1);
        ordinary(&ledger, &service);
        let cost = allocation_counter::measure(|| (0..100).for_each(|_| ordinary(&ledger, &service)));
        assert_eq!((cost.count_total, cost.bytes_total), (0, 0));
    }

    /// The service's name came from the metric series alone: past the bound on series, records named no service.
    #[test]
    fn a_record_names_its_service_also_past_the_bound_on_series() {
        let (registry, _series) = channel();
        let (batches, lines) = sync_channel(8);
        let metrics = Metrics::new(Arc::<Totals>::default(), registry);
        let names = ("proxy".to_owned(), "abcde".to_owned());
        let ledger = Rc::new(Ledger::new(names, 0, metrics, Some(batches), Arc::<Refusals>::default()));
        let peer = PeerAddr("127.0.0.1:1".parse().unwrap());
        for number in 0..=MAX_SERIES {
            let mut record = Record::begin(&ledger, Direction::Outbound, false, peer);
            record.on(&service(number), &service(number));
            if number < MAX_SERIES {
                record.forget();
            } else {
                record.complete();
            }
        }
        ledger.flush();
        let line: serde_json::Value = serde_json::from_slice(&lines.recv().unwrap()).unwrap();
        let name = service(MAX_SERIES).to_string();
        assert_eq!((&line["service"], &line["destination"]), (&name.as_str().into(), &name.as_str().into()));
    }
}
