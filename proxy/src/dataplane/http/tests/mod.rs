//! The codec, byte for byte.
mod bodies;
mod properties;

use std::fmt::Write;

use super::{Decoder, HeadScan, Malformed, Pieces, RequestHead, ResponseHead};

/// Feeds `bytes` in cuts of these lengths (the rest at once) and tells what a reader behind the codec would see.
fn feed(decoder: &mut Decoder, bytes: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, usize), Malformed> {
    let (mut out, mut at) = (Vec::new(), 0usize);
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let end = at.saturating_add(cut.max(1)).min(bytes.len());
        let mut start = at;
        while start < end && !decoder.is_done() {
            let mut pieces = Pieces::default();
            let input = &bytes[start..end];
            let used = decoder.decode(input, &mut pieces)?;
            pieces.ranges.iter().for_each(|range| out.extend_from_slice(&input[range.clone()]));
            out.extend_from_slice(&pieces.tail);
            start += used;
        }
        at = start;
        if decoder.is_done() {
            break;
        }
    }
    Ok((out, at))
}

/// Reads one request: the forwarded fields, then what is passed on of the body, then what is left.
fn request(bytes: &[u8]) -> Result<String, Malformed> {
    let length = HeadScan::default().find(bytes)?.ok_or(Malformed::Truncated)?;
    let head = RequestHead::parse(&bytes[..length])?;
    let mut text = String::new();
    for run in head.fields.runs() {
        write!(text, "{}", String::from_utf8_lossy(&bytes[run])).unwrap();
    }
    let mut decoder = head.framing.decoder();
    let (body, used) = feed(&mut decoder, &bytes[length..], &[])?;
    decoder.end()?;
    write!(text, "|{}|{}", String::from_utf8_lossy(&body), String::from_utf8_lossy(&bytes[length + used..])).unwrap();
    Ok(text)
}

/// Reads one answer, as [`request`] does.
fn response(bytes: &[u8], to_head: bool) -> Result<String, Malformed> {
    let length = HeadScan::default().find(bytes)?.ok_or(Malformed::Truncated)?;
    let head = ResponseHead::parse(&bytes[..length], to_head)?;
    let mut text = format!("{} ", head.status);
    for run in head.fields.runs() {
        write!(text, "{}", String::from_utf8_lossy(&bytes[run])).unwrap();
    }
    let mut decoder = head.framing.decoder();
    let (body, used) = feed(&mut decoder, &bytes[length..], &[])?;
    decoder.end()?;
    write!(text, "|{}|{}", String::from_utf8_lossy(&body), String::from_utf8_lossy(&bytes[length + used..])).unwrap();
    Ok(text)
}
