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
    let (body, used) = body(head.framing, &bytes[length..])?;
    let text = |span: &[u8]| String::from_utf8_lossy(span).into_owned();
    let start = (text(head.method.bytes(bytes)), text(head.target.bytes(bytes)));
    Ok((Message::new(start, lines(&head.fields, bytes), body), length + used, head.keeps_alive))
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
        let (body, _) = body(head.framing, &rest[length..])?;
        return Ok(Message::new((head.status.to_string(), String::new()), lines(&head.fields, rest), body));
    }
}

fn lines<'a>(fields: &'a Fields, bytes: &'a [u8]) -> impl Iterator<Item = (String, Vec<u8>)> + 'a {
    fields.iter(bytes).map(|(name, value)| (String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()))
}

/// The content of a body of that framing at the start of `bytes`, and how many of them are its own.
fn body(framing: Framing, bytes: &[u8]) -> Result<(Vec<u8>, usize), Malformed> {
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
    Ok((data, used))
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
