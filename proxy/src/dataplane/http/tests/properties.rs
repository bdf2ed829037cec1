//! What holds for all bytes.
use proptest::prelude::*;

use super::{
    super::{Decoder, Framing, HeadScan, RequestHead, ResponseHead},
    feed, request, response,
};

/// Bytes that often are nearly messages: pieces of grammar in any order, with stray bytes between.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "GET / HTTP/1.1\r\n", "POST /a?b HTTP/1.0\r\n", "HTTP/1.1 200 OK\r\n", "Host: a\r\n", "\r\n", "\n", "\r",
            "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "Connection: close, x\r\n", "X: y\r\n", ": ",
            "3\r\nabc\r\n", "0\r\n\r\n", ";ext", " ", "\t", "ffffffffffffffff\r\n", "Expect: 100-continue\r\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

fn chunked() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 1..40).prop_map(|data| {
            [format!("{:x}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat()
        }),
        2 => prop::sample::select(vec!["2;a=b\r\nxy\r\n", "0\r\n\r\n", "0\r\nA: b\r\nHost: c\r\n\r\n", "g", "1\r\n"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in nearly(), noise in prop::collection::vec(any::<u8>(), 0..200)) {
        for bytes in [bytes, noise] {
            let _ = request(&bytes);
            let _ = response(&bytes, false);
            let _ = RequestHead::parse(&bytes);
            let _ = ResponseHead::parse(&bytes, true);
        }
    }

    #[test]
    fn a_head_is_found_alike_however_it_is_cut(bytes in nearly(), cuts in prop::collection::vec(1usize..20, 0..40)) {
        let whole = HeadScan::default().find(&bytes);
        let (mut scan, mut end, mut found) = (HeadScan::default(), 0usize, Ok(None));
        for cut in cuts.into_iter().chain([usize::MAX]) {
            end = bytes.len().min(end.saturating_add(cut));
            found = scan.find(&bytes[..end]);
            if found != Ok(None) || end == bytes.len() {
                break;
            }
        }
        prop_assert_eq!(found, whole);
    }

    #[test]
    fn a_body_is_decoded_alike_however_it_is_cut(bytes in chunked(), cuts in prop::collection::vec(1usize..9, 0..80)) {
        let (mut whole, mut cut) = (Decoder::new(Framing::Chunked), Decoder::new(Framing::Chunked));
        let (once, pieces) = (feed(&mut whole, &bytes, &[]), feed(&mut cut, &bytes, &cuts));
        prop_assert_eq!(once, pieces);
        prop_assert_eq!(whole.is_done(), cut.is_done());
    }

    #[test]
    fn what_is_passed_on_of_a_chunked_body_is_a_chunked_body_of_the_same_data(bytes in chunked()) {
        let mut decoder = Decoder::new(Framing::Chunked);
        if let Ok((out, _)) = feed(&mut decoder, &bytes, &[]) && decoder.is_done() {
            let mut again = Decoder::new(Framing::Chunked);
            let (same, used) = feed(&mut again, &out, &[]).unwrap();
            prop_assert_eq!((&same, used), (&out, out.len()));
            let data = |bytes: &[u8]| feed(&mut Decoder::unchunked(Framing::Chunked), bytes, &[]).unwrap().0;
            prop_assert_eq!(data(&bytes), data(&out));
        }
    }
}
