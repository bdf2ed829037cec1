use proptest::prelude::*;

use super::*;

fn field(bytes: usize, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    [&length[4 - bytes..], body].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &field(2, body)].concat()
}

/// A hello in records of at most `fragment` bytes.
fn client_hello(sni: Option<&str>, alpn: &[&str], fragment: usize) -> Vec<u8> {
    let mut extensions = extension(43, &[2, 3, 4]);
    if let Some(name) = sni {
        extensions.extend(extension(0, &field(2, &[&[0][..], &field(2, name.as_bytes())].concat())));
    }
    if !alpn.is_empty() {
        let names: Vec<u8> = alpn.iter().flat_map(|name| field(1, name.as_bytes())).collect();
        extensions.extend(extension(16, &field(2, &names)));
    }
    let random = [7; 34];
    let body =
        [&random[..], &field(1, &[1; 32]), &field(2, &[0x13, 1]), &field(1, &[0]), &field(2, &extensions)].concat();
    let message = [&[1][..], &field(3, &body)].concat();
    message.chunks(fragment).flat_map(|chunk| [&[0x16, 3, 1][..], &field(2, chunk)].concat()).collect()
}

#[test]
fn a_hello_tells_its_server_name_and_protocols() {
    for fragment in [1, 3, 4, 50, 16 * 1024] {
        let bytes = client_hello(Some("80.stock.shop.mesh.weft.local"), &["weft-tcp", "http/1.1"], fragment);
        let hello = Hello {
            sni: Some("80.stock.shop.mesh.weft.local".to_owned()),
            alpn: vec![b"weft-tcp".to_vec(), b"http/1.1".to_vec()],
        };
        assert_eq!(detect(&bytes), Detection::Tls(hello), "in records of {fragment} bytes");
        assert_eq!(detect(&bytes[..bytes.len() - 1]), Detection::More);
    }
    assert_eq!(detect(&client_hello(None, &[], 999)), Detection::Tls(Hello::default()));
}

#[test]
fn broken_hellos_are_opaque() {
    let mut huge = vec![0x16, 3, 1, 0x40, 0, 1, 1, 0, 0];
    for bytes in
        [&[0x16, 2][..], &[0x16, 3, 9], &[0x16, 3, 1, 0, 0], &[0x16, 3, 1, 0x40, 1], &[0x16, 3, 1, 0, 1, 2], &huge]
    {
        assert_eq!(detect(bytes), Detection::Opaque, "{bytes:?}");
    }
    huge.truncate(6);
    assert_eq!(detect(&huge), Detection::More);
    // A body that ends in the middle of a field.
    assert_eq!(detect(&[0x16, 3, 1, 0, 6, 1, 0, 0, 2, 3, 3]), Detection::Opaque);
}

#[test]
fn request_lines_and_prefaces_are_told_apart() {
    for (text, detection) in [
        ("", Detection::More),
        ("G", Detection::More),
        ("GET", Detection::More),
        ("GET /", Detection::More),
        ("GET / HTTP/1.", Detection::More),
        ("GET / HTTP/1.1", Detection::Http1),
        ("M-SEARCH * HTTP/1.0\r\n", Detection::Http1),
        ("PRI", Detection::More),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Detection::More),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Detection::Http2),
        ("PRI * HTTP/2.0\r\n\r\nXX", Detection::Opaque),
        ("PRI * HTTP/1.1", Detection::Http1),
        ("GET / HTTP/2.0", Detection::Opaque),
        ("GET /\r\n", Detection::Opaque),
        ("GET  HTTP/1.1", Detection::Opaque),
        ("get / HTTP/1.1", Detection::Opaque),
        ("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", Detection::Opaque),
        ("EHLO example\r\n", Detection::Opaque),
        (" GET / HTTP/1.1", Detection::Opaque),
        ("\0\0\0\x08", Detection::Opaque),
        ("*1\r\n$4\r\nPING\r\n", Detection::Opaque),
    ] {
        assert_eq!(detect(text.as_bytes()), detection, "{text:?}");
    }
}

#[test]
fn waiting_ends_when_the_bound_is_reached() {
    let endless = [b"GET /".to_vec(), vec![b'a'; MAX_PREFIX]].concat();
    assert_eq!(detect(&endless[..MAX_PREFIX - 1]), Detection::More);
    assert_eq!(detect(&endless[..MAX_PREFIX]), Detection::Opaque);
    assert_eq!(detect(&endless), Detection::Opaque);
    assert_eq!(detect(&[b'A'; MAX_METHOD]), Detection::More);
    assert_eq!(detect(&[b'A'; MAX_METHOD + 1]), Detection::Opaque);
}

/// Bytes that start like something, and go on anyhow.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![
        Just(Vec::new()),
        Just(b"GET /a HTTP/1.1\r\nhost: b\r\n\r\n".to_vec()),
        Just(PREFACE.to_vec()),
        (1usize..200).prop_map(|fragment| client_hello(Some("a.b"), &["h2"], fragment)),
        any::<u8>().prop_map(|byte| vec![0x16, 3, 1, 0, byte, 1, 0, 0]),
    ];
    let rest = prop::collection::vec(any::<u8>(), 0..64);
    (start, prop::option::of((any::<prop::sample::Index>(), any::<u8>())), rest).prop_map(|(mut bytes, flip, rest)| {
        if let Some((at, byte)) = flip.filter(|_| !bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.extend(rest);
        bytes
    })
}

proptest! {
    #[test]
    fn more_bytes_never_change_a_final_answer(bytes in streams()) {
        let mut last = Detection::More;
        for end in 0..=bytes.len() {
            let detection = detect(&bytes[..end]);
            prop_assert!(last == Detection::More || last == detection, "{last:?} became {detection:?} at {end}");
            last = detection;
        }
    }
}
