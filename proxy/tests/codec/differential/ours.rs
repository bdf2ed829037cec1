//! What our codec makes of bytes.
use weft_proxy::dataplane::http::{Decoder, Fields, Framing, HeadScan, Malformed, Pieces, RequestHead, ResponseHead};

use super::Message;

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All bytes were taken, and another message may follow.
    Open,
    /// The last message is the connection's last.
    Closed,
    /// The bytes end inside a message.
    Incomplete,
    /// What follows is refused.
    Refused(Malformed),
}

/// The requests at the start of the bytes of a connection.
pub(crate) fn requests(bytes: &[u8]) -> (Vec<Message>, End) {
    let (mut messages, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        match request(rest) {
            Ok((message, used, keeps_alive)) => {
                messages.push(message);
                rest = rest.get(used..).unwrap_or_default();
                if !keeps_alive {
                    return (messages, End::Closed);
                }
            }
            Err(Malformed::Truncated) => return (messages, End::Incomplete),
            Err(malformed) => return (messages, End::Refused(malformed)),
        }
    }
    (messages, End::Open)
}

fn request(bytes: &[u8]) -> Result<(Message, usize, bool), Malformed> {
    let length = HeadScan::default().find(bytes)?.ok_or(Malformed::Truncated)?;
    let head = RequestHead::parse(&bytes[..length])?;
    as_a_plain_reader_splits_them(&head.fields, &bytes[..length]);
    let Body { content, trailers, used } = body(head.framing, &bytes[length..])?;
    let text = |span: &[u8]| String::from_utf8_lossy(span).into_owned();
    let start = (text(head.method.bytes(bytes)), text(head.target.bytes(bytes)));
    let message = Message::new(start, lines(&head.fields, bytes), content).with_trailers(trailers.into_iter());
    Ok((message, length + used, head.keeps_alive))
}

/// The final answer at the start of the bytes, interim ones left out.
pub(crate) fn answer(bytes: &[u8], to_head: bool) -> Result<Message, Malformed> {
    let mut rest = bytes;
    loop {
        let length = HeadScan::default().find(rest)?.ok_or(Malformed::Truncated)?;
        let head = ResponseHead::parse(&rest[..length], to_head)?;
        if head.is_interim() {
            rest = &rest[length..];
            continue;
        }
        as_a_plain_reader_splits_them(&head.fields, &rest[..length]);
        let Body { content, trailers, .. } = body(head.framing, &rest[length..])?;
        let message = Message::new((head.status.to_string(), String::new()), lines(&head.fields, rest), content);
        return Ok(message.with_trailers(trailers.into_iter()));
    }
}

fn lines<'a>(fields: &'a Fields, bytes: &'a [u8]) -> impl Iterator<Item = (String, Vec<u8>)> + 'a {
    fields.iter(bytes).map(|(name, value)| (String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()))
}

/// hyper and we share the parser of lines, so what it found is held against the simplest reader: a line a CRLF, a name up
/// to the first colon, which is a token, and a value without the spaces around it.
fn as_a_plain_reader_splits_them(fields: &Fields, head: &[u8]) {
    let text: Vec<_> = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    let blank = usize::from(text.first().is_some_and(|line| line.is_empty()));
    let lines = text.get(1 + blank..text.len().saturating_sub(2)).unwrap_or_default();
    let plain = lines.iter().map(|line| {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or_default();
        (&line[..colon], line.get(colon + 1..).unwrap_or_default().trim_ascii())
    });
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let visible = |byte: &u8| *byte >= b' ' && *byte != 0x7f || *byte == b'\t';
    let mut found = fields.iter(head);
    for (name, value) in plain {
        assert!(!name.is_empty() && name.iter().all(token) && value.iter().all(visible), "{}", head.escape_ascii());
        assert_eq!(found.next(), Some((name, value)), "{}", head.escape_ascii());
    }
    assert_eq!(found.next(), None, "{}", head.escape_ascii());
}

/// A body as it was read.
struct Body {
    content: Vec<u8>,
    /// Those that are passed on.
    trailers: Vec<(String, Vec<u8>)>,
    /// How many bytes it takes.
    used: usize,
}

/// Reads a body of that framing at the start of `bytes`.
fn body(framing: Framing, bytes: &[u8]) -> Result<Body, Malformed> {
    let (mut bare, mut coded) = (Decoder::unchunked(framing), Decoder::new(framing));
    let (mut data, mut passed) = (Pieces::default(), Pieces::default());
    let used = coded.decode(bytes, &mut passed)?;
    assert_eq!(bare.decode(bytes, &mut data), Ok(used), "a bare reader of {bytes:?} and one that passes it on differ");
    coded.end()?;
    assert_eq!(bare.end(), Ok(()), "a bare reader of {bytes:?} ends elsewhere");
    let data: Vec<_> = data.ranges.iter().flat_map(|range| bytes[range.clone()].iter().copied()).collect();
    if framing == Framing::Chunked {
        still_the_same(&data, &passed, bytes);
    }
    let trailers = passed.tail.split(|byte| *byte == b'\n').filter_map(|line| {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
        Some((String::from_utf8_lossy(name).to_ascii_lowercase(), value[1..].trim_ascii().to_vec()))
    });
    Ok(Body { content: data, trailers: trailers.collect(), used })
}

/// What is passed on of a chunked body must be a chunked body of the same content, for any next reader.
fn still_the_same(data: &[u8], passed: &Pieces, bytes: &[u8]) {
    let mut wire: Vec<_> = passed.ranges.iter().flat_map(|range| bytes[range.clone()].iter().copied()).collect();
    wire.extend_from_slice(&passed.tail);
    let mut pieces = Pieces::default();
    let mut decoder = Decoder::unchunked(Framing::Chunked);
    assert_eq!(decoder.decode(&wire, &mut pieces), Ok(wire.len()), "{wire:?} is passed on of {bytes:?}");
    assert!(decoder.is_done(), "{wire:?} is passed on of {bytes:?}");
    let again: Vec<_> = pieces.ranges.iter().flat_map(|range| wire[range.clone()].iter().copied()).collect();
    assert_eq!(again, data, "{wire:?} is passed on of {bytes:?}");
}
