//! The envelope of what is kept on disk.
use std::time::Duration;

use proptest::prelude::*;
use weft_certs::{
    kept::{self, KeptError, Label},
    sealing::{SealError, SealingKey},
};

use crate::support::noon;

const LABEL: Label<'static> = Label { kind: "identity", owner: "spiffe://weft.local/ns/shop/sa/web shop/web-1" };

fn key(byte: &str) -> SealingKey {
    SealingKey::parse(&byte.repeat(32), "test").unwrap()
}

/// A file with the same content, unsealed and sealed.
fn both(content: &[u8]) -> [(Option<SealingKey>, Vec<u8>); 2] {
    [None, Some(key("a1"))].map(|key| {
        let file = kept::write(LABEL, noon(), content, key.as_ref()).unwrap().to_vec();
        (key, file)
    })
}

/// Why a file is refused.
fn refused(label: Label<'_>, file: &[u8], key: Option<&SealingKey>) -> KeptError {
    kept::read(label, file, key).err().unwrap()
}

#[test]
fn what_is_kept_is_read_back_with_its_time() {
    for content in [&b""[..], b"x", &[7; 100_000]] {
        for (key, file) in both(content) {
            let kept = kept::read(LABEL, &file, key.as_ref()).unwrap();
            assert_eq!((kept.content.as_slice(), kept.at), (content, noon()));
            assert_eq!(kept::is_sealed(&file), Some(key.is_some()));
        }
    }
    let [_, (_, sealed)] = both(b"a secret of some length");
    assert!(!sealed.windows(6).any(|window| window == b"secret"));
}

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    for (key, file) in both(b"some content") {
        for end in 0..file.len() {
            kept::read(LABEL, &file[..end], key.as_ref()).err().unwrap_or_else(|| panic!("cut at {end}"));
        }
        let longer = [&file[..], b"\0"].concat();
        assert_eq!(refused(LABEL, &longer, key.as_ref()), KeptError::Damaged);
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    for (key, file) in both(b"some content") {
        for bit in 0..file.len() * 8 {
            let mut changed = file.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let error = refused(LABEL, &changed, key.as_ref());
            let expected = if bit < 64 { KeptError::Magic } else { KeptError::Damaged };
            assert_eq!(error, expected, "bit {bit}");
        }
    }
}

/// What somebody changes on purpose gets a checksum that fits: without a key only the fields speak, with one the seal.
#[test]
fn a_forged_file_that_is_sealed_does_not_open() {
    let [_, (key, file)] = both(b"some content");
    for at in 42..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1;
        checked(&mut changed);
        assert_ne!(refused(LABEL, &changed, key.as_ref()), KeptError::Damaged, "byte {at}");
    }
}

#[test]
fn what_is_of_another_kind_owner_version_or_key_is_refused_with_the_reason() {
    let [(_, plain), (key_of, sealed)] = both(b"some content");
    let other = Label { kind: "bundles", ..LABEL };
    let told = refused(other, &plain, None).to_string();
    assert_eq!(told, "it holds \"identity\", not \"bundles\"");
    let foreign = Label { owner: "spiffe://weft.local/ns/shop/sa/stock shop/stock-1", ..LABEL };
    let told = refused(foreign, &plain, None).to_string();
    assert!(told.contains("sa/web shop/web-1, and this is ") && told.ends_with("sa/stock shop/stock-1"), "{told}");

    let mut newer = plain.clone();
    newer[9] = 2;
    checked(&mut newer);
    assert_eq!(refused(LABEL, &newer, None), KeptError::Version(2));

    assert_eq!(refused(LABEL, &plain, key_of.as_ref()), KeptError::NotSealed);
    assert_eq!(refused(LABEL, &sealed, None), KeptError::NoKey);
    assert!(matches!(refused(LABEL, &sealed, Some(&key("a2"))), KeptError::Seal(SealError::OtherKey { .. })));
    assert_eq!(refused(LABEL, b"-----BEGIN PRIVATE KEY-----", None), KeptError::Magic);
    let long = "x".repeat(70_000);
    let label = Label { kind: &long, ..LABEL };
    assert_eq!(kept::write(label, noon(), b"", None).err(), Some(KeptError::Label));
}

/// Gives a changed file the checksum that fits.
fn checked(file: &mut [u8]) {
    use aws_lc_rs::digest;

    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&file[..10]);
    context.update(&file[42..]);
    file[10..42].copy_from_slice(context.finish().as_ref());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_content_owner_and_time_come_back(
        content in prop::collection::vec(any::<u8>(), 0..2_000),
        owner in ".{0,100}",
        seconds in 0u64..1 << 40,
        sealed: bool,
    ) {
        let (key, label) = (sealed.then(|| key("a1")), Label { kind: "last good", owner: &owner });
        let at = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
        let file = kept::write(label, at, &content, key.as_ref()).unwrap();
        let kept = kept::read(label, &file, key.as_ref()).unwrap();
        prop_assert_eq!((&*kept.content, kept.at), (&content, at));
    }
}
