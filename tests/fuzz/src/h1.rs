//! The HTTP/1.1 codec: heads and the chunked coding.
use weft_proxy::dataplane::http::{
    Decoder, Fields, Framing, HeadScan, MAX_FIELDS, MAX_HEAD, Malformed, Pieces, RequestHead, ResponseHead,
};

/// Heads of requests: an end that is found is found however the bytes are cut, every part lies within the head, and what
/// is passed on is a head's fields that say the same of the body.
pub fn h1_request(bytes: &[u8]) {
    let Some(head) = found(bytes) else { return };
    let Ok(request) = RequestHead::parse(head) else { return };
    assert_eq!(request.length, head.len());
    assert!(!request.method.bytes(head).is_empty() && !request.target.bytes(head).is_empty());
    assert!(request.target.bytes(head).iter().all(|byte| *byte > b' ' && *byte != 0x7f), "{:?}", shown(head));
    assert_ne!(request.framing, Framing::UntilClose);
    let passed = passed_on(b"POST / HTTP/1.1\r\n", &request.fields, head);
    let again = RequestHead::parse(&passed).unwrap_or_else(|error| panic!("{:?} is refused: {error}", shown(&passed)));
    assert_eq!((again.framing, again.upgrade), (request.framing, false), "{:?}", shown(&passed));
    assert_eq!(again.host.bytes(&passed), request.host.bytes(head));
}

/// Heads of answers, to GET and to HEAD.
pub fn h1_response(bytes: &[u8]) {
    let Some(head) = found(bytes) else { return };
    for to_head in [false, true] {
        let Ok(answer) = ResponseHead::parse(head, to_head) else { continue };
        assert_eq!(answer.length, head.len());
        assert!((100..=999).contains(&answer.status));
        assert!(!answer.reason.bytes(head).iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{:?}", shown(head));
        assert!(answer.framing != Framing::UntilClose || !answer.keeps_alive);
        let start = format!("HTTP/1.1 {} \r\n", answer.status);
        let passed = passed_on(start.as_bytes(), &answer.fields, head);
        let again = ResponseHead::parse(&passed, to_head);
        let again = again.unwrap_or_else(|error| panic!("{:?} is refused: {error}", shown(&passed)));
        assert_eq!(again.framing, answer.framing, "{:?}", shown(&passed));
    }
}

/// Chunked bodies: cut or whole, passed on or bare, they end at the same byte, and what is passed on is a chunked body of
/// the same data.
pub fn h1_chunks(bytes: &[u8]) {
    let whole = read(Decoder::new(Framing::Chunked), bytes, usize::MAX);
    assert_eq!(read(Decoder::new(Framing::Chunked), bytes, 1), whole, "byte by byte");
    assert_eq!(read(Decoder::new(Framing::Chunked), bytes, 7), whole, "by seven bytes");
    let bare = read(Decoder::unchunked(Framing::Chunked), bytes, usize::MAX);
    let ends =
        |read: &Result<Body, Malformed>| read.as_ref().map(|body| (body.used, body.done)).map_err(|error| *error);
    assert_eq!(ends(&bare), ends(&whole));
    let (Ok(Body { passed, done: true, .. }), Ok(bare)) = (whole, bare) else { return };
    let again = read(Decoder::new(Framing::Chunked), &passed, usize::MAX);
    assert_eq!(again, Ok(Body { used: passed.len(), done: true, passed: passed.clone() }));
    let data = read(Decoder::unchunked(Framing::Chunked), &passed, usize::MAX).map(|body| body.passed);
    assert_eq!(data, Ok(bare.passed));
}

/// The head at the start of the bytes, where there is one.
fn found(bytes: &[u8]) -> Option<&[u8]> {
    let whole = HeadScan::default().find(bytes);
    if bytes.len() <= MAX_HEAD {
        let mut scan = HeadScan::default();
        let ends = (1..=bytes.len()).map(|end| scan.find(&bytes[..end]));
        let cut = ends.into_iter().find(|found| *found != Ok(None)).unwrap_or(Ok(None));
        assert_eq!(cut, whole, "byte by byte");
    }
    let head = &bytes[..whole.ok()??];
    assert!(head.len() <= MAX_HEAD && head.ends_with(b"\r\n\r\n"));
    Some(head)
}

/// A head of that start line and the fields that are passed on.
fn passed_on(start: &[u8], fields: &Fields, head: &[u8]) -> Vec<u8> {
    assert!(fields.iter(head).count() <= MAX_FIELDS);
    let mut passed = start.to_vec();
    fields.runs().into_iter().for_each(|run| passed.extend_from_slice(&head[run]));
    passed.extend_from_slice(b"\r\n");
    passed
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// What a decoder made of a body.
#[derive(Debug, PartialEq, Eq)]
struct Body {
    passed: Vec<u8>,
    used: usize,
    done: bool,
}

/// Feeds the bytes so many at a time.
fn read(mut decoder: Decoder, bytes: &[u8], step: usize) -> Result<Body, Malformed> {
    let (mut passed, mut used) = (Vec::new(), 0usize);
    while used < bytes.len() && !decoder.is_done() {
        let input = &bytes[used..used.saturating_add(step).min(bytes.len())];
        let mut pieces = Pieces::default();
        used += decoder.decode(input, &mut pieces)?;
        pieces.ranges.into_iter().for_each(|range| passed.extend_from_slice(&input[range]));
        passed.extend_from_slice(&pieces.tail);
    }
    Ok(Body { passed, used, done: decoder.is_done() })
}
