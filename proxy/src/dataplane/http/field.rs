//! The fields of a head: where they stand in its bytes, what they say about the message, which are passed on.
use std::ops::Range;

use smallvec::SmallVec;

use super::Malformed;

/// The most fields of a head (Envoy's default).
pub const MAX_FIELDS: usize = 100;

/// How the names of our own fields start.
const OURS: &[u8] = b"x-weft-";

/// Whether a field says who sent a request, in the words of another proxy (Envoy's, Linkerd's): applications believe it of
/// their sidecar, so nobody else may say it to them. Weft says it in the record alone.
pub(crate) fn tells_identity(name: &[u8]) -> bool {
    const LINKERDS: &[u8] = b"l5d-";
    name.eq_ignore_ascii_case(b"x-forwarded-client-cert")
        || name.get(..LINKERDS.len()).is_some_and(|start| start.eq_ignore_ascii_case(LINKERDS))
}

/// A part of a head's bytes. Heads are below 64 KiB, so two 16-bit numbers hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u16,
    end: u16,
}

impl Span {
    /// Where `part` stands in `whole`, of which it must be a slice.
    pub(super) fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
        Self::new(start, start + part.len())
    }

    /// The span of `range`; past 64 KiB it is empty, which no head reaches.
    fn new(start: usize, end: usize) -> Self {
        match (u16::try_from(start), u16::try_from(end)) {
            (Ok(start), Ok(end)) => Self { start, end },
            _ => Self::default(),
        }
    }

    /// The bytes of `whole` that this span names.
    pub fn bytes(self, whole: &[u8]) -> &[u8] {
        whole.get(self.range()).unwrap_or_default()
    }

    /// As a range.
    pub fn range(self) -> Range<usize> {
        usize::from(self.start)..usize::from(self.end)
    }
}

/// One field line.
#[derive(Clone, Copy, Debug)]
struct Field {
    name: Span,
    value: Span,
    /// Whether it is passed on.
    kept: bool,
}

/// The field lines of one head, in order.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    lines: SmallVec<[Field; 16]>,
    /// Where the last line ends, its CRLF included.
    end: usize,
}

/// What the fields say about the message itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) host: Option<Span>,
    pub(super) authorized: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    /// Connection names `upgrade`.
    switches: bool,
    /// Connection names an option that is not one of the well-known.
    nominates: bool,
    pub(super) expects_continue: bool,
    /// Expect asks for something else; in an answer that says nothing.
    pub(super) expects_other: bool,
    /// Upgrade names something else than `h2c`, which a reader may ignore (RFC 9113 §3.1).
    names_protocol: bool,
}

impl Fields {
    /// Reads the fields that httparse found in `head`, marks the hop-by-hop ones (RFC 9110 §7.6.1), and tells what they
    /// say about the message.
    pub(super) fn read(head: &[u8], parsed: &[httparse::Header<'_>]) -> Result<(Self, Facts), Malformed> {
        let mut fields = Self { lines: SmallVec::with_capacity(parsed.len()), end: head.len().saturating_sub(2) };
        let mut facts = Facts::default();
        for header in parsed {
            let kept = facts.take(header.name.as_bytes(), header.value, head)?;
            let name = Span::of(header.name.as_bytes(), head);
            fields.lines.push(Field { name, value: Span::of(header.value, head), kept });
        }
        if facts.length.is_some() && facts.chunked {
            return Err(Malformed::LengthAndCoding);
        }
        if facts.nominates {
            fields.drop_nominated(head)?;
        }
        Ok((fields, facts))
    }

    /// The values of the fields of that name (in any case), in order; kept or not.
    pub fn values<'a>(&'a self, head: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        let named = move |field: &&Field| field.name.bytes(head).eq_ignore_ascii_case(name.as_bytes());
        self.lines.iter().filter(named).map(|field| field.value.bytes(head))
    }

    /// All fields as name and value, in order; kept or not.
    pub fn iter<'a>(&'a self, head: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + 'a {
        self.lines.iter().map(|field| (field.name.bytes(head), field.value.bytes(head)))
    }

    /// The fields that are passed on as name and value, in order.
    pub fn kept<'a>(&'a self, head: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + 'a {
        let kept = self.lines.iter().filter(|field| field.kept);
        kept.map(|field| (field.name.bytes(head), field.value.bytes(head)))
    }

    /// Passes no field of that name on.
    pub(super) fn remove(&mut self, head: &[u8], name: &str) {
        for field in &mut self.lines {
            if field.name.bytes(head).eq_ignore_ascii_case(name.as_bytes()) {
                field.kept = false;
            }
        }
    }

    /// Passes none of our own fields on: they are stripped from whatever comes from outside of the mesh (DESIGN §6).
    pub(crate) fn remove_ours(&mut self, head: &[u8]) {
        for field in &mut self.lines {
            let start = field.name.bytes(head).get(..OURS.len());
            if start.is_some_and(|start| start.eq_ignore_ascii_case(OURS)) {
                field.kept = false;
            }
        }
    }

    /// Passes Transfer-Encoding not on: the receiver gets the body without it.
    pub(super) fn remove_coding(&mut self, head: &[u8]) {
        self.remove(head, "transfer-encoding");
    }

    /// The lines that are passed on, joined to the longest runs, each with its last CRLF.
    pub fn runs(&self) -> SmallVec<[Range<usize>; 4]> {
        self.runs_of(|field| field.kept)
    }

    fn runs_of(&self, kept: impl Fn(&Field) -> bool) -> SmallVec<[Range<usize>; 4]> {
        let mut runs: SmallVec<[Range<usize>; 4]> = SmallVec::new();
        for (index, field) in self.lines.iter().enumerate() {
            let start = usize::from(field.name.start);
            let end = self.lines.get(index + 1).map_or(self.end, |next| usize::from(next.name.start));
            match runs.last_mut() {
                _ if !kept(field) => {}
                Some(run) if run.end == start => run.end = end,
                Some(_) | None => runs.push(start..end),
            }
        }
        runs
    }

    /// The same without the lines that `dropped` names, by their name and value.
    pub(super) fn runs_but(&self, head: &[u8], dropped: impl Fn(&[u8], Span) -> bool) -> SmallVec<[Range<usize>; 4]> {
        self.runs_of(|field| field.kept && !dropped(field.name.bytes(head), field.value))
    }

    /// The protocols that Upgrade names, `h2c` apart.
    pub(super) fn protocols<'a>(&'a self, head: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.values(head, "upgrade").flat_map(list).filter(|protocol| is_taken_up(protocol))
    }

    /// Passes no field on that tells of content.
    pub(super) fn remove_framing(&mut self, head: &[u8]) {
        self.remove(head, "content-length");
        self.remove_coding(head);
    }

    /// What Connection names: its options, the well-known included.
    pub(super) fn nominated<'a>(&'a self, head: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.values(head, "connection").flat_map(list)
    }

    /// Drops the fields that Connection names.
    #[cold]
    fn drop_nominated(&mut self, head: &[u8]) -> Result<(), Malformed> {
        let is_connection = |field: &&Field| field.name.bytes(head).eq_ignore_ascii_case(b"connection");
        let values: SmallVec<[Span; 4]> = self.lines.iter().filter(is_connection).map(|field| field.value).collect();
        let options = values.iter().flat_map(|value| list(value.bytes(head)));
        for option in options {
            if NOT_TO_BE_NAMED.iter().any(|name| option.eq_ignore_ascii_case(name.as_bytes())) {
                return Err(Malformed::ConnectionOption);
            }
            let Ok(option) = str::from_utf8(option) else { return Err(Malformed::ConnectionOption) };
            self.remove(head, option);
        }
        Ok(())
    }
}

/// What a Connection field must not remove: whoever could would change how the next hop frames or judges the message.
const NOT_TO_BE_NAMED: [&str; 5] = ["host", "content-length", "transfer-encoding", "authorization", "cookie"];

impl Facts {
    /// Whether the message is about another protocol on its connection: Upgrade names one, and Connection names Upgrade,
    /// without which the field is to be ignored (RFC 9110 §7.8).
    pub(super) const fn upgrades(&self) -> bool {
        self.switches && self.names_protocol
    }

    /// Takes one field in; whether it is passed on.
    fn take(&mut self, name: &[u8], value: &[u8], head: &[u8]) -> Result<bool, Malformed> {
        // By length first: most fields are none of these.
        match name.len() {
            2 if name.eq_ignore_ascii_case(b"te") => Ok(false),
            4 if name.eq_ignore_ascii_case(b"host") => {
                once(self.host.replace(Span::of(value, head)).is_some(), "Host").map(|()| true)
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                let is_known = value.eq_ignore_ascii_case(b"100-continue");
                self.expects_continue |= is_known;
                self.expects_other |= !is_known;
                Ok(true)
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.names_protocol |= list(value).any(is_taken_up);
                Ok(false)
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                list(value).for_each(|option| self.option(option));
                Ok(false)
            }
            10 if name.eq_ignore_ascii_case(b"keep-alive") => Ok(false),
            13 if name.eq_ignore_ascii_case(b"authorization") => {
                once(std::mem::replace(&mut self.authorized, true), "Authorization").map(|()| true)
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                once(self.length.replace(length(value)?).is_some(), "Content-Length").map(|()| true)
            }
            16 if name.eq_ignore_ascii_case(b"proxy-connection") => Ok(false),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let again = std::mem::replace(&mut self.chunked, true);
                if again || !value.eq_ignore_ascii_case(b"chunked") { Err(Malformed::Coding) } else { Ok(true) }
            }
            _ => Ok(!tells_identity(name)),
        }
    }

    fn option(&mut self, option: &[u8]) {
        if option.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            self.switches = true;
        } else if !option.eq_ignore_ascii_case(b"te") {
            self.nominates = true;
        }
    }
}

/// Whether a protocol may be switched to: `h2c` is done without (RFC 9113 §3.1).
fn is_taken_up(protocol: &[u8]) -> bool {
    !protocol.eq_ignore_ascii_case(b"h2c")
}

fn once(again: bool, name: &'static str) -> Result<(), Malformed> {
    if again { Err(Malformed::Repeated(name)) } else { Ok(()) }
}

/// RFC 9110 §8.6: decimal digits only. Below 2^63, so that no later sum overflows.
fn length(value: &[u8]) -> Result<u64, Malformed> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::Length);
    }
    let number = str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
    number.filter(|number| i64::try_from(*number).is_ok()).ok_or(Malformed::Length)
}

/// The elements of a comma-separated list (RFC 9110 §5.6.1), empty ones left out.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}
