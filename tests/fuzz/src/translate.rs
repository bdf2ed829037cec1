//! HTTP/2 heads and trailers on their way to an HTTP/1.1 application: whatever the one says, the other reads one message,
//! this one, and not another (request smuggling, RFC 9113 §10.3).
use h2::ext::Protocol;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use weft_proxy::dataplane::{
    http::{Decoder, Framing, HeadScan, Pieces, RequestHead},
    http2::translate::{Base64Reader, request_head, trailer_section},
};

use crate::scope;

/// What h2 refuses in a head by itself (RFC 9113 §8.2.2), so that it does not come as far.
const OF_A_CONNECTION: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// Heads. The first byte says whether there is a body, and whether a CONNECT is one for WebSocket (RFC 8441); the first line is
/// method, authority and path, the others are fields.
pub fn h2_head(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let ended = first % 2 == 0;
    let Some(mut request) = read(rest, ended) else { return };
    let is_tunnel = first & 2 != 0 && request.method() == Method::CONNECT;
    if is_tunnel {
        request.extensions_mut().insert(Protocol::from_static("websocket"));
    }
    let (method, fields) = (request.method().clone(), request.headers().clone());
    let Some(sent) = request_head(&scope(), request, ended) else { return };
    let shown = || sent.escape_ascii().to_string();

    // It is one head, to its last byte, also for a reader that is told nothing of where it ends.
    let found = HeadScan::default().find(&sent);
    assert_eq!(found, Ok(Some(sent.len())), "{}", shown());
    let head = RequestHead::parse(&sent).unwrap_or_else(|error| panic!("{} is refused: {error}", shown()));
    assert_eq!(head.length, sent.len());
    let method = if is_tunnel { Method::GET } else { method };
    assert_eq!(head.method.bytes(&sent), method.as_str().as_bytes());
    let target = head.target.bytes(&sent);
    let is_whole_server = method == Method::OPTIONS && target == b"*";
    assert!(
        (target.starts_with(b"/") || is_whole_server) && target.iter().all(|byte| (b'!'..=b'~').contains(byte)),
        "{}",
        shown()
    );
    assert!(head.upgrade == is_tunnel && !head.connect && head.keeps_alive, "{}", shown());
    let length = fields.get(header::CONTENT_LENGTH).map(|value| value.to_str().unwrap_or_default().parse().ok());
    let framing = match (ended, length) {
        (true, _) => Framing::Empty,
        _ if is_tunnel => Framing::Empty,
        (false, Some(Some(0))) => Framing::Empty,
        (false, Some(length)) => Framing::Length(length.unwrap_or(u64::MAX)),
        (false, None) => Framing::Chunked,
    };
    let read = if head.framing == Framing::Length(0) { Framing::Empty } else { head.framing };
    assert_eq!(read, framing, "{}", shown());

    // The fields are those that were sent: none is cut in two, added, or lost.
    let ours = |name: &[u8]| {
        [&b"host"[..], b"content-length", b"transfer-encoding", b"connection", b"cookie"].contains(&name)
            || is_tunnel && [&b"te"[..], b"upgrade", b"sec-websocket-key"].contains(&name)
    };
    let mut passed: Vec<_> = head.fields.iter(&sent).filter(|(name, _)| !ours(name)).collect();
    let mut expected: Vec<_> =
        fields.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes().trim_ascii())).collect();
    expected.retain(|(name, _)| !ours(name));
    passed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(passed, expected, "{}", shown());
    let hosts = head.fields.iter(&sent).filter(|(name, _)| *name == b"host").count();
    assert_eq!(hosts, 1, "{}", shown());
}

/// A request as h2 would hand it over; `None` for what it refuses.
fn read(bytes: &[u8], ended: bool) -> Option<Request<()>> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut words = lines.next()?.splitn(3, |byte| *byte == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    let uri = Uri::builder().scheme("http").authority(words.next()?).path_and_query(words.next()?).build().ok()?;
    let mut request = Request::new(());
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    for line in lines {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
        let (name, value) = (HeaderName::from_lowercase(name).ok()?, HeaderValue::from_bytes(&value[1..]).ok()?);
        let is_te = name == header::TE && value != "trailers";
        if is_te || OF_A_CONNECTION.contains(&name.as_str()) {
            return None;
        }
        if name == header::CONTENT_LENGTH {
            let digits = value.as_bytes();
            let length: u64 = value.to_str().ok()?.parse().ok()?;
            if !digits.iter().all(u8::is_ascii_digit) || ended && length != 0 {
                return None;
            }
        }
        request.headers_mut().append(name, value);
    }
    Some(request)
}

/// gRPC-Web's text: however it is cut, the same bytes or the same refusal come of it. The first byte says where.
pub fn grpc_web_text(bytes: &[u8]) {
    let Some((first, text)) = bytes.split_first() else { return };
    let whole = Base64Reader::default().read(text, true);
    let (before, after) = text.split_at(usize::from(*first).min(text.len()));
    let mut reader = Base64Reader::default();
    let parts = reader.read(before, false).and_then(|mut read| {
        read.extend(reader.read(after, true)?);
        Ok(read)
    });
    assert_eq!(parts.is_ok(), whole.is_ok(), "{}", text.escape_ascii());
    if let (Ok(parts), Ok(whole)) = (parts, whole) {
        assert_eq!(parts, whole, "{}", text.escape_ascii());
        assert!(whole.len() <= text.len() / 4 * 3 + 3, "{}", text.escape_ascii());
    }
}

/// Trailer sections: what is written behind the last chunk is read as the end of the body, and of that body alone.
pub fn h2_trailers(bytes: &[u8]) {
    let Ok(written) = trailer_section(bytes) else { return };
    let body = [b"0\r\n", &*written, b"\r\n"].concat();
    let mut decoder = Decoder::new(Framing::Chunked);
    let used = decoder.decode(&body, &mut Pieces::default());
    let shown = || body.escape_ascii().to_string();
    assert_eq!(used, Ok(body.len()), "{}", shown());
    assert!(decoder.is_done(), "{}", shown());
    // What was passed on once is passed on as it is.
    let again = trailer_section(&[&*written, b"\r\n"].concat()).unwrap_or_else(|error| panic!("{}: {error}", shown()));
    assert_eq!(again, written);
    let fields = written.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b':').next());
    let names: HeaderMap =
        fields.filter_map(|name| Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_static("")))).collect();
    for unfit in ["transfer-encoding", "content-length", "host", "connection", "trailer", "x-weft-decision"] {
        assert!(!names.contains_key(unfit), "{}", shown());
    }
}
