//! Sealed bytes, and the key that seals them.
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use tempfile::TempDir;
use weft_certs::{
    files::{self, FileError},
    sealing::{SealError, SealingKey, SealingKeyError},
};

fn key(byte: &str) -> SealingKey {
    SealingKey::parse(&byte.repeat(32), "test").unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_is_sealed_is_opened_again() {
    let key = key("a1");
    for plain in [&b""[..], b"x", &[7; 100_000]] {
        let sealed = key.seal("test", plain).unwrap();
        assert_eq!(key.open("test", &sealed).unwrap().as_slice(), plain);
        assert_ne!(sealed, key.seal("test", plain).unwrap(), "the nonce is drawn anew");
    }
    let sealed = key.seal("test", b"a secret of some length").unwrap();
    assert!(!sealed.windows(6).any(|window| window == b"secret"));
}

#[test]
fn every_changed_byte_is_noticed() {
    let key = key("a1");
    let sealed = key.seal("test", b"plain").unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(key.open("test", &changed).is_err(), "byte {at}");
        assert!(key.open("test", &sealed[..at]).is_err(), "cut at {at}");
    }
    assert!(key.open("test", &[&sealed[..], &[0]].concat()).is_err());
}

#[test]
fn another_key_and_another_context_are_told_apart() {
    let (key, other) = (key("a1"), key("a2"));
    let sealed = key.seal("tokens", b"plain").unwrap();
    assert_eq!(key.open("authority", &sealed), Err(SealError::Changed("authority".into())));
    let error = other.open("tokens", &sealed).unwrap_err();
    assert!(matches!(error, SealError::OtherKey { .. }), "{error}");
    assert_eq!(key.open("tokens", b""), Err(SealError::Format));
    assert_eq!(key.open("tokens", &[9; 64]), Err(SealError::Format));
}

#[test]
fn a_key_is_hexadecimal_digits_or_base64_of_32_bytes() {
    let bytes = "a1".repeat(32);
    let sealed = key("a1").seal("test", b"plain").unwrap();
    // The same 32 bytes, with and without padding, in both alphabets.
    for text in [
        "oaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaE=",
        "oaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaE",
        &bytes.to_uppercase(),
    ] {
        let same = SealingKey::parse(&format!(" {text}\n"), "test").unwrap();
        assert_eq!(same.open("test", &sealed).unwrap().as_slice(), b"plain", "{text}");
    }
    for bad in ["", "a1", &bytes[2..], &format!("{bytes}a1"), "not a key", "b2FoaA=="] {
        let error = SealingKey::parse(bad, "WEFT_SEALING_KEY").unwrap_err().to_string();
        assert!(error.starts_with("WEFT_SEALING_KEY must hold 32 bytes"), "{error}");
    }
    assert!(SealingKey::from_env("WEFT_NO_SUCH_VARIABLE_IS_SET").unwrap().is_none());
}

#[test]
fn debug_output_holds_no_byte_of_the_key() {
    let shown = format!("{:?}", key("a1"));
    assert!(shown.starts_with("SealingKey(fingerprint ") && !shown.contains("a1a1"), "{shown}");
}

#[test]
fn a_key_file_is_made_once_with_mode_0600_and_read_again() {
    let folder = TempDir::new().unwrap();
    let (path, store) = (folder.path().join("sealing.key"), folder.path().join("store"));
    assert!(matches!(SealingKey::load(&path, &store), Err(SealingKeyError::File(FileError::Io { .. }))));
    let sealed = SealingKey::load_or_create(&path, &store).unwrap().seal("test", b"plain").unwrap();
    assert_eq!(mode(&path), 0o600);
    let again = SealingKey::load_or_create(&path, &store).unwrap();
    assert_eq!(again.open("test", &sealed).unwrap().as_slice(), b"plain");
}

#[test]
fn a_key_file_that_others_may_use_is_refused() {
    let folder = TempDir::new().unwrap();
    let (path, store) = (folder.path().join("sealing.key"), folder.path().join("store"));
    SealingKey::load_or_create(&path, &store).unwrap();
    for bits in [0o640, 0o604, 0o620, 0o660, 0o644, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        let error = SealingKey::load_or_create(&path, &store).unwrap_err();
        assert!(matches!(&error, SealingKeyError::File(FileError::Mode { mode, .. }) if *mode == bits), "{error}");
        assert!(error.to_string().contains("sealing.key"), "{error}");
    }
}

#[test]
fn a_key_file_inside_the_store_is_refused_however_it_is_spelled() {
    let folder = TempDir::new().unwrap();
    let store = folder.path().join("store");
    fs::create_dir(&store).unwrap();
    std::os::unix::fs::symlink(&store, folder.path().join("link")).unwrap();
    for inside in ["store/sealing.key", "store/deep/er/key", "link/key", "x/../store/key", "store/../store/key"] {
        let error = SealingKey::load_or_create(&folder.path().join(inside), &store).unwrap_err();
        assert!(matches!(error, SealingKeyError::InsideStore { .. }), "{inside}: {error}");
    }
    assert!(SealingKey::load_or_create(&folder.path().join("store.key"), &store).is_ok());
    assert_eq!(fs::read_dir(&store).unwrap().count(), 0);
}

#[test]
fn damaged_key_files_are_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("sealing.key");
    for content in [&b""[..], b"short", b"\xff\xfe", &[b'a'; 1000]] {
        let _ = fs::remove_file(&path);
        files::create(&path, content).unwrap();
        let error = SealingKey::load_or_create(&path, &folder.path().join("store")).unwrap_err().to_string();
        assert!(error.contains("sealing.key"), "{error}");
    }
}

#[test]
fn secret_files_are_made_exclusively_and_replaced_whole() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("secret");
    files::create(&path, b"one").unwrap();
    assert!(matches!(files::create(&path, b"two"), Err(FileError::Io { .. })));
    assert_eq!(files::read(&path, 3).unwrap().as_slice(), b"one");
    assert!(matches!(files::read(&path, 2), Err(FileError::TooLarge { limit: 2, .. })));
    files::replace(&path, b"three").unwrap();
    assert_eq!((files::read(&path, 5).unwrap().as_slice(), mode(&path)), (&b"three"[..], 0o600));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    assert!(matches!(files::read(folder.path(), 5), Err(FileError::NotRegular { .. })));
    let nowhere = folder.path().join("no/such/folder");
    assert!(files::replace(&nowhere, b"x").unwrap_err().to_string().contains("no/such/folder"));
}
