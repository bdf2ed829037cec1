//! Reading what the cases hold, whole and byte by byte.
use std::{collections::HashSet, fmt::Write};

use weft_proxy::dataplane::http::{
    Decoder, Fields, Framing, HeadScan, Malformed, Pieces, RequestHead, ResponseHead, Version,
};

use super::{Case, Expected, Reader, cases};

/// A message as it was read: in short, the fields that are passed on, what is passed on of the body, how many bytes.
struct Read {
    short: String,
    fields: String,
    body: String,
    used: usize,
    lives: bool,
}

#[test]
fn the_suite_has_at_least_five_hundred_different_cases_each_with_its_source() {
    let cases = cases();
    let different: HashSet<_> = cases.iter().map(|case| (&case.bytes, case.reader as u8)).collect();
    assert_eq!(different.len(), cases.len(), "{:?} stand twice", twice(&cases));
    assert!(cases.len() >= 500, "only {} cases", cases.len());
    for Case { section, what, .. } in &cases {
        let rfc = section.strip_prefix("RFC 9110 ").or_else(|| section.strip_prefix("RFC 9112 "));
        let rfc = rfc
            .or_else(|| section.strip_prefix("RFC 9113 "))
            .is_some_and(|it| it.starts_with(|it: char| it.is_ascii_digit()));
        assert!(rfc || section.starts_with("CVE-"), "{section} ({what}) names no section");
    }
}

fn twice(cases: &[Case]) -> Vec<&str> {
    let mut seen = HashSet::new();
    cases.iter().filter(|case| !seen.insert((&case.bytes, case.reader as u8))).map(|case| case.what).collect()
}

#[test]
fn every_case_is_read_as_it_says_whole_and_byte_by_byte() {
    let mut wrong = Vec::new();
    for case in cases() {
        for step in [usize::MAX, 1] {
            if let Err(got) = judge(&case, step) {
                let bytes: String = case.bytes.escape_ascii().to_string().chars().take(200).collect();
                wrong.push(format!("{} {}: {bytes}\n    {got}", case.section, case.what));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_kind_of_refusal_of_a_head_or_body_occurs() {
    let refused: HashSet<_> = cases()
        .iter()
        .filter_map(|case| if let Expected::Refused(kind) = case.expected { Some(kind) } else { None })
        .collect();
    for kind in [
        Malformed::BareLineFeed,
        Malformed::StartLine,
        Malformed::Version,
        Malformed::TargetTooLong,
        Malformed::FieldName,
        Malformed::FieldValue,
        Malformed::TooManyFields,
        Malformed::HeadTooLarge,
        Malformed::NoHost,
        Malformed::Repeated("Host"),
        Malformed::Repeated("Content-Length"),
        Malformed::Repeated("Authorization"),
        Malformed::LengthAndCoding,
        Malformed::Length,
        Malformed::Coding,
        Malformed::CodingNotAllowed,
        Malformed::ConnectionOption,
        Malformed::Expectation,
        Malformed::ChunkSize,
        Malformed::ChunkExtension,
        Malformed::TunnelContent,
        Malformed::ChunkEnd,
        Malformed::Trailers,
        Malformed::Truncated,
    ] {
        assert!(refused.contains(&kind), "no case is refused as {kind:?}");
    }
}

#[test]
fn a_client_is_told_the_status_that_fits_the_refusal() {
    let status = |kind: Malformed| kind.status();
    assert_eq!(status(Malformed::Version), 505);
    assert_eq!(status(Malformed::TargetTooLong), 414);
    assert_eq!((status(Malformed::TooManyFields), status(Malformed::HeadTooLarge)), (431, 431));
    assert_eq!(status(Malformed::Expectation), 417);
    let bad = [Malformed::StartLine, Malformed::LengthAndCoding, Malformed::ChunkSize, Malformed::NoHost];
    assert!(bad.into_iter().all(|kind| kind.status() == 400));
}

fn judge(case: &Case, step: usize) -> Result<(), String> {
    let Case { bytes, reader, expected, .. } = case;
    let got = match reader {
        Reader::Request => request(bytes, step),
        Reader::Answer | Reader::AnswerToHead | Reader::AnswerToConnect => answer(bytes, step, *reader),
        Reader::Requests => {
            let all = all(bytes, step);
            let Expected::All(expected) = expected else { return Err("not a list".to_owned()) };
            return if all == *expected { Ok(()) } else { Err(format!("is {all:?}, not {expected:?}")) };
        }
    };
    match (got, expected) {
        (Ok(read), Expected::Taken(expected)) => {
            let rest = String::from_utf8_lossy(&bytes[read.used..]);
            let got = [&*read.short, &*read.fields, &*read.body, &*rest];
            if got == *expected { Ok(()) } else { Err(format!("is {got:?}, not {expected:?}")) }
        }
        (Ok(_), Expected::Fits) => Ok(()),
        (Err(got), Expected::Refused(expected)) if got == *expected => Ok(()),
        (Err(got), Expected::Refused(expected)) => Err(format!("is refused as {got:?}, not {expected:?}")),
        (Ok(read), _) => Err(format!("is taken as {:?} {:?} {:?}", read.short, read.fields, read.body)),
        (Err(got), _) => Err(format!("is refused as {got:?}")),
    }
}

/// Each request of a connection in short, then why no further is read.
fn all(bytes: &[u8], step: usize) -> Vec<String> {
    let (mut all, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        match request(rest, step) {
            Ok(Read { short, body, used, lives, .. }) => {
                all.push(if body.is_empty() { short } else { format!("{short} {body:?}") });
                rest = &rest[used..];
                if !lives {
                    break;
                }
            }
            Err(malformed) => {
                all.push(format!("{malformed:?}"));
                break;
            }
        }
    }
    all
}

/// The head at the start of the bytes, which arrive so many at a time.
fn head(bytes: &[u8], step: usize) -> Result<usize, Malformed> {
    let (mut scan, mut end) = (HeadScan::default(), 0usize);
    while end < bytes.len() {
        end = end.saturating_add(step).min(bytes.len());
        if let Some(length) = scan.find(&bytes[..end])? {
            return Ok(length);
        }
    }
    Err(Malformed::Truncated)
}

fn request(bytes: &[u8], step: usize) -> Result<Read, Malformed> {
    let length = head(bytes, step)?;
    let head = RequestHead::parse(&bytes[..length])?;
    let [method, target] = [head.method, head.target].map(|it| String::from_utf8_lossy(it.bytes(bytes)));
    let version = if head.version == Version::Http10 { "1.0" } else { "1.1" };
    let mut short = format!("{method} {target} {version}{}", framing(head.framing));
    for (word, said) in
        [(" close", !head.keeps_alive), (" continue", head.expects_continue), (" upgrade", head.upgrade)]
    {
        short.push_str(if said { word } else { "" });
    }
    finish(short, &head.fields, (head.decoder(bytes), head.framing), (bytes, length, step), head.keeps_alive)
}

fn answer(bytes: &[u8], step: usize, reader: Reader) -> Result<Read, Malformed> {
    let length = head(bytes, step)?;
    let mut head = ResponseHead::parse(&bytes[..length], matches!(reader, Reader::AnswerToHead))?;
    if matches!(reader, Reader::AnswerToConnect) {
        head.to_connect(&bytes[..length]);
    }
    let mut short = head.status.to_string();
    if !head.reason.range().is_empty() {
        write!(short, " {}", String::from_utf8_lossy(head.reason.bytes(bytes))).unwrap();
    }
    short.push_str(framing(head.framing).as_str());
    short.push_str(if head.is_interim() { " interim" } else { "" });
    short.push_str(if head.status == 101 && head.upgrade { " switches" } else { "" });
    short.push_str(if head.keeps_alive || head.framing == Framing::UntilClose { "" } else { " close" });
    finish(short, &head.fields, (head.decoder(bytes), head.framing), (bytes, length, step), head.keeps_alive)
}

fn framing(framing: Framing) -> String {
    match framing {
        Framing::Empty => String::new(),
        Framing::Length(length) => format!(" length={length}"),
        Framing::Chunked => " chunked".to_owned(),
        Framing::UntilClose => " until-close".to_owned(),
    }
}

/// Reads the body, and checks that a reader who does not know the coding sees its end at the same byte.
fn finish(
    short: String,
    fields: &Fields,
    (decoder, framing): (Decoder, Framing),
    (bytes, length, step): (&[u8], usize, usize),
    lives: bool,
) -> Result<Read, Malformed> {
    let fields = fields.runs().into_iter().map(|run| String::from_utf8_lossy(&bytes[run]).into_owned()).collect();
    let bare = body(Decoder::unchunked(framing), &bytes[length..], step);
    let read = body(decoder, &bytes[length..], step);
    let ends =
        |read: &Result<(Vec<u8>, usize), Malformed>| read.as_ref().map(|(_, used)| *used).map_err(|error| *error);
    assert_eq!(ends(&bare), ends(&read), "two readers of {:?}", bytes.escape_ascii().to_string());
    let (body, used) = read?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Read { short, fields, body, used: length + used, lives })
}

fn body(mut decoder: Decoder, bytes: &[u8], step: usize) -> Result<(Vec<u8>, usize), Malformed> {
    let (mut out, mut at) = (Vec::new(), 0usize);
    while at < bytes.len() && !decoder.is_done() {
        let input = &bytes[at..at.saturating_add(step).min(bytes.len())];
        let mut pieces = Pieces::default();
        at += decoder.decode(input, &mut pieces)?;
        pieces.ranges.into_iter().for_each(|range| out.extend_from_slice(&input[range]));
        out.extend_from_slice(&pieces.tail);
    }
    decoder.end()?;
    Ok((out, at))
}
