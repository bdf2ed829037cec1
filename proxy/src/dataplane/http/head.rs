//! Request and response heads: parsed by httparse, then judged more strictly than it does.
use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};

use super::{
    Decoder, Malformed,
    field::{Facts, Fields, MAX_FIELDS, Span},
};

/// The longest request target.
const MAX_TARGET: usize = 8 * 1024;

/// The HTTP versions that are read; ours is always 1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// How a body's end is told (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// By Content-Length.
    Length(u64),
    /// By the chunked coding.
    Chunked,
    /// By the end of the stream; answers only.
    UntilClose,
}

impl Framing {
    /// A decoder for a body of this framing.
    pub fn decoder(self) -> Decoder {
        Decoder::new(self)
    }
}

/// A request's head. It names parts of the bytes that it was parsed from and holds none of them.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// How many bytes it takes, its last CRLF included.
    pub length: usize,
    /// The client's version.
    pub version: Version,
    /// The method.
    pub method: Span,
    /// The target as received.
    pub target: Span,
    /// The value of Host.
    pub host: Span,
    /// The fields.
    pub fields: Fields,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the client lets the connection be used again after the answer.
    pub keeps_alive: bool,
    /// Whether an HTTP/1.0 client asks for that (RFC 9112 §9.3): it is not heeded unless a setting says so.
    pub asks_to_stay: bool,
    /// Whether the client waits for a 100 before it sends the body (RFC 9110 §10.1.1).
    pub expects_continue: bool,
    /// Whether the client asks for another protocol (RFC 9110 §7.8), `h2c` apart.
    pub upgrade: bool,
    /// Whether the client asks for a tunnel (RFC 9110 §9.3.6).
    pub connect: bool,
}

impl RequestHead {
    /// Reads the head that `head` holds from its first byte to its last (see [`HeadScan`](super::HeadScan)).
    ///
    /// # Errors
    /// Whatever could be read in two ways.
    pub fn parse(head: &[u8]) -> Result<Self, Malformed> {
        let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        let parsed = ParserConfig::default().parse_request_with_uninit_headers(&mut request, head, &mut headers);
        let length = match parsed {
            Ok(Status::Complete(length)) if length == head.len() => length,
            Ok(Status::Complete(_) | Status::Partial) => return Err(Malformed::StartLine),
            Err(httparse::Error::Version) if !names_version(head) => return Err(Malformed::StartLine),
            Err(error) => return Err(syntax(error)),
        };
        let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
        if target.len() > MAX_TARGET {
            return Err(Malformed::TargetTooLong);
        }
        let version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
        let (fields, facts) = Fields::read(head, request.headers)?;
        let connect = method == "CONNECT";
        if connect && (facts.chunked || facts.length.is_some_and(|length| length > 0)) {
            return Err(Malformed::TunnelContent);
        }
        if facts.expects_other {
            return Err(Malformed::Expectation);
        }
        if facts.chunked && version == Version::Http10 {
            return Err(Malformed::CodingNotAllowed);
        }
        Ok(Self {
            length,
            version,
            method: Span::of(method.as_bytes(), head),
            target: Span::of(target.as_bytes(), head),
            host: facts.host.ok_or(Malformed::NoHost)?,
            fields,
            framing: match facts {
                Facts { chunked: true, .. } => Framing::Chunked,
                Facts { length: None | Some(0), .. } => Framing::Empty,
                Facts { length: Some(length), .. } => Framing::Length(length),
            },
            // RFC 9112 §9.3: a proxy keeps no connection to an HTTP/1.0 client.
            // Behind a CONNECT comes what its client wants tunnelled, perhaps before it knows whether there is a tunnel:
            // to read it as a request would be to let whoever is inside speak for the client.
            keeps_alive: version == Version::Http11 && !facts.close && !connect,
            asks_to_stay: version == Version::Http10 && facts.keep_alive && !facts.close && !connect,
            expects_continue: facts.expects_continue && version == Version::Http11,
            // RFC 9110 §7.8: to be ignored in HTTP/1.0.
            upgrade: facts.upgrades() && version == Version::Http11 && !connect,
            connect,
        })
    }

    /// A decoder for the body behind this head, of whose bytes `head` is the start.
    pub fn decoder(&self, head: &[u8]) -> Decoder {
        Decoder::new(self.framing).without_nominated(&self.fields, head)
    }

    /// The protocols that the client asks for, of whose bytes `head` is the start; `h2c` apart.
    pub(crate) fn protocols<'a>(&'a self, head: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.fields.protocols(head)
    }
}

/// A response's head. It names parts of the bytes that it was parsed from and holds none of them.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// How many bytes it takes, its last CRLF included.
    pub length: usize,
    /// The status code, 100 to 999.
    pub status: u16,
    /// The reason phrase.
    pub reason: Span,
    /// The fields.
    pub fields: Fields,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the upstream lets the connection be used again after the body.
    pub keeps_alive: bool,
    /// Whether the fields say that the connection goes on in another protocol; it does with status 101 only.
    pub upgrade: bool,
}

impl ResponseHead {
    /// Reads the head that `head` holds from its first byte to its last; `to_head` tells that the request's method was
    /// HEAD, whose answer has no body whatever its fields say.
    ///
    /// # Errors
    /// Whatever could be read in two ways.
    pub fn parse(head: &[u8], to_head: bool) -> Result<Self, Malformed> {
        // httparse skips empty lines here too, which RFC 9112 §2.2 allows before requests only.
        if head.first() != Some(&b'H') {
            return Err(Malformed::StartLine);
        }
        let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, head, &mut headers);
        let length = match parsed {
            Ok(Status::Complete(length)) if length == head.len() => length,
            Ok(Status::Complete(_) | Status::Partial) => return Err(Malformed::StartLine),
            Err(error) => return Err(syntax(error)),
        };
        let status = response.code.filter(|code| (100..=999).contains(code)).ok_or(Malformed::StartLine)?;
        let http11 = response.version == Some(1);
        let (mut fields, facts) = Fields::read(head, response.headers)?;
        if facts.chunked && (!http11 || status < 200 || status == 204) {
            return Err(Malformed::CodingNotAllowed);
        }
        if status < 200 || status == 204 {
            // RFC 9110 §8.6: not to be sent there; a reader that believes it would wait for a body.
            fields.remove(head, "content-length");
        }
        let framing = if to_head || status < 200 || status == 204 || status == 304 {
            // What the fields say of a body that does not come is only passed on as a length.
            fields.remove(head, "transfer-encoding");
            Framing::Empty
        } else {
            match facts {
                Facts { chunked: true, .. } => Framing::Chunked,
                Facts { length: Some(0), .. } => Framing::Empty,
                Facts { length: Some(length), .. } => Framing::Length(length),
                Facts { length: None, .. } => Framing::UntilClose,
            }
        };
        let keeps_alive = !facts.close && (http11 || facts.keep_alive) && framing != Framing::UntilClose;
        let reason = Span::of(response.reason.unwrap_or_default().as_bytes(), head);
        Ok(Self { length, status, reason, fields, framing, keeps_alive, upgrade: facts.upgrades() })
    }

    /// A decoder for the body behind this head, of whose bytes `head` is the start.
    pub fn decoder(&self, head: &[u8]) -> Decoder {
        Decoder::new(self.framing).without_nominated(&self.fields, head)
    }

    /// Takes a successful answer for one to CONNECT: what follows the head is the tunnel's, whatever the fields say of
    /// content, and those are not passed on (RFC 9110 §9.3.6).
    pub fn to_connect(&mut self, head: &[u8]) {
        if (200..300).contains(&self.status) {
            self.fields.remove_framing(head);
            self.framing = Framing::Empty;
            self.keeps_alive = false;
        }
    }

    /// The protocols that the upstream switches to, of whose bytes `head` is the start.
    pub(crate) fn protocols<'a>(&'a self, head: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.fields.protocols(head)
    }

    /// Whether more heads follow (RFC 9110 §15.2): any 1xx but 101, which ends HTTP on the connection.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}

/// Whether the start line ends in a version of HTTP's form (RFC 9112 §2.3): another number is a version that is not spoken,
/// anything else is no start line, one with a third space above all.
fn names_version(head: &[u8]) -> bool {
    let line = head.trim_ascii_start().split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ').skip(2);
    match (words.next(), words.next()) {
        (Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None) => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    }
}

fn syntax(error: httparse::Error) -> Malformed {
    match error {
        httparse::Error::HeaderName => Malformed::FieldName,
        httparse::Error::HeaderValue => Malformed::FieldValue,
        httparse::Error::TooManyHeaders => Malformed::TooManyFields,
        httparse::Error::Version => Malformed::Version,
        httparse::Error::NewLine | httparse::Error::Status | httparse::Error::Token => Malformed::StartLine,
    }
}
