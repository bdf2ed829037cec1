//! What can be wrong with a message's bytes.
use std::fmt;

/// Why a message is refused. Anything that two readers could take in two ways is refused, never repaired: a repaired
/// message is what request smuggling is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// A line that ends in LF without CR (RFC 9112 §2.2 lets a reader take it; we do not).
    BareLineFeed,
    /// The start line is not one (RFC 9112 §3, §4).
    StartLine,
    /// A version other than 1.0 and 1.1 (RFC 9110 §2.5).
    Version,
    /// The target is longer than 8 KiB (RFC 9112 §3).
    TargetTooLong,
    /// A field name with a character that is no token's, or whitespace before its colon (RFC 9112 §5.1).
    FieldName,
    /// A field value with a control character, or continued on a next line (obs-fold, RFC 9112 §5.2).
    FieldValue,
    /// More than 100 fields.
    TooManyFields,
    /// A head of more than 60 KiB.
    HeadTooLarge,
    /// No Host (RFC 9112 §3.2).
    NoHost,
    /// A scheme other than http and https (RFC 9113 §8.3.1).
    Scheme,
    /// A field that may occur once occurs again: Host, Content-Length, Authorization.
    Repeated(&'static str),
    /// Content-Length and Transfer-Encoding together (RFC 9112 §6.1).
    LengthAndCoding,
    /// A Content-Length that is not a plain decimal number below 2^63 (RFC 9112 §6.3).
    Length,
    /// A Transfer-Encoding other than `chunked` once (RFC 9112 §6.1).
    Coding,
    /// Transfer-Encoding in an HTTP/1.0 message (RFC 9112 §6.1), or in an answer that has no body.
    CodingNotAllowed,
    /// A Connection field that names a field which is not its to remove: Host, framing or credentials (RFC 9110 §7.6.1).
    ConnectionOption,
    /// An Expect other than `100-continue` (RFC 9110 §10.1.1).
    Expectation,
    /// A chunk size that is not 1 to 15 hexadecimal digits (RFC 9112 §7.1).
    ChunkSize,
    /// A chunk extension with a control character, or more than 4 KiB of them in one body (RFC 9112 §7.1.1).
    ChunkExtension,
    /// A chunk's data is not followed by CRLF (RFC 9112 §7.1).
    ChunkEnd,
    /// A trailer section that is not fields, or larger than 8 KiB (RFC 9112 §7.1.2).
    Trailers,
    /// More than ten interim answers (1xx) to one request.
    TooManyInterim,
    /// A 101 that was not asked for, names another protocol, or came before the request was whole (RFC 9110 §7.8).
    UnaskedUpgrade,
    /// A good answer other than 101 to a request that was one for a tunnel to begin with (RFC 8441 §5): its client would take what
    /// follows for the tunnel's.
    NoUpgrade,
    /// A 101 whose Sec-WebSocket-Accept is not made of the key that was sent (RFC 6455 §4.1).
    NoAccept,
    /// A wish to speak WebSocket without one Sec-WebSocket-Key of 16 bytes (RFC 6455 §4.2.1).
    WebSocketKey,
    /// A gRPC-Web body in text that is not base64.
    Base64,
    /// A CONNECT with content (RFC 9110 §9.3.6): a reader that skips it and one that tunnels it would differ.
    TunnelContent,
    /// The stream ended inside a head or body (RFC 9112 §8).
    Truncated,
}

impl Malformed {
    /// The status that a client is told; an upstream's malformed answer is always 502.
    pub fn status(self) -> u16 {
        match self {
            Self::Version => 505,
            Self::TargetTooLong => 414,
            Self::TooManyFields | Self::HeadTooLarge => 431,
            Self::Expectation => 417,
            Self::BareLineFeed
            | Self::StartLine
            | Self::FieldName
            | Self::FieldValue
            | Self::NoHost
            | Self::Scheme
            | Self::Repeated(_)
            | Self::LengthAndCoding
            | Self::Length
            | Self::Coding
            | Self::CodingNotAllowed
            | Self::ConnectionOption
            | Self::ChunkSize
            | Self::ChunkExtension
            | Self::ChunkEnd
            | Self::Trailers
            | Self::TooManyInterim
            | Self::UnaskedUpgrade
            | Self::NoUpgrade
            | Self::NoAccept
            | Self::WebSocketKey
            | Self::Base64
            | Self::TunnelContent
            | Self::Truncated => 400,
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BareLineFeed => "a line ends in LF without CR",
            Self::StartLine => "the start line is malformed",
            Self::Version => "the HTTP version is not 1.0 or 1.1",
            Self::TargetTooLong => "the request target is longer than 8 KiB",
            Self::FieldName => "a field name is malformed",
            Self::FieldValue => "a field value is malformed",
            Self::TooManyFields => "there are more than 100 fields",
            Self::HeadTooLarge => "the head is larger than 60 KiB",
            Self::NoHost => "there is no Host",
            Self::Scheme => "the scheme is neither http nor https",
            Self::Repeated(name) => return write!(f, "{name} occurs more than once"),
            Self::LengthAndCoding => "Content-Length and Transfer-Encoding occur together",
            Self::Length => "Content-Length is not a number",
            Self::Coding => "Transfer-Encoding is not exactly chunked",
            Self::CodingNotAllowed => "Transfer-Encoding is not allowed here",
            Self::ConnectionOption => "Connection names a field that must not be removed",
            Self::Expectation => "the expectation is not 100-continue",
            Self::ChunkSize => "a chunk size is malformed",
            Self::ChunkExtension => "a chunk extension is malformed or too long",
            Self::ChunkEnd => "a chunk does not end where its size says",
            Self::Trailers => "the trailers are malformed or too large",
            Self::TooManyInterim => "there are more than ten interim answers",
            Self::UnaskedUpgrade => "the answer switches to a protocol that was not asked for, or too early",
            Self::NoUpgrade => "the answer takes the request for another protocol for an ordinary one",
            Self::NoAccept => "Sec-WebSocket-Accept does not fit the key that was sent",
            Self::WebSocketKey => "Sec-WebSocket-Key is not 16 bytes in base64",
            Self::Base64 => "the gRPC-Web text is not base64",
            Self::TunnelContent => "a CONNECT has content",
            Self::Truncated => "the stream ended inside a message",
        })
    }
}

impl std::error::Error for Malformed {}
