//! Bodies as their receivers see them.
use super::{
    super::{Decoder, Framing},
    feed,
};

#[test]
fn a_reader_that_does_not_know_the_chunked_coding_gets_the_data_alone() {
    let mut decoder = Decoder::unchunked(Framing::Chunked);
    let wire = b"3;x\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\nnext";
    let (data, used) = feed(&mut decoder, wire, &[]).unwrap();
    assert_eq!((&data[..], used), (&b"abcde"[..], wire.len() - 4));
    assert!(decoder.is_done());
}

#[test]
fn a_body_without_end_is_never_done_before_its_stream() {
    let mut decoder = Decoder::new(Framing::UntilClose);
    assert_eq!(feed(&mut decoder, b"abc", &[1]).unwrap().0, b"abc");
    assert!(!decoder.is_done());
    assert!(decoder.end().is_ok() && decoder.is_done());
}
