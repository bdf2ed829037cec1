//! The handshake of WebSocket over HTTP/1.1 (RFC 6455 §4), which one over HTTP/2 does without (RFC 8441 §5.1): where a
//! request goes from one to the other, this proxy asks and answers.
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine, prelude::BASE64_STANDARD};

/// The protocol's name, in Upgrade and in `:protocol`.
pub(super) const PROTOCOL: &str = "websocket";

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether a name is the protocol's: it is compared without regard to case (RFC 6455 §4.2.1).
pub(super) fn is_protocol(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(PROTOCOL.as_bytes())
}

/// A key of our own for an HTTP/1.1 server, from two draws.
pub(super) fn key(draws: (u64, u64)) -> String {
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&draws.0.to_be_bytes());
    nonce[8..].copy_from_slice(&draws.1.to_be_bytes());
    BASE64_STANDARD.encode(nonce)
}

/// Whether a client's key is one: 16 bytes in base64 (RFC 6455 §4.2.1).
pub(super) fn is_key(key: &[u8]) -> bool {
    BASE64_STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16)
}

/// What a server shows by that it has read a key (RFC 6455 §4.2.2).
pub(in crate::dataplane) fn accept(key: &[u8]) -> String {
    BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_answered_as_in_the_rfcs_example() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_is_sixteen_bytes_in_base64_and_ours_is_one() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ==") && is_key(key((1, u64::MAX)).as_bytes()));
        for wrong in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZQ==", "no key at all", "dGhlIHNhbXBsZSBub25jZQ==\n"] {
            assert!(!is_key(wrong.as_bytes()), "{wrong:?}");
        }
    }
}
