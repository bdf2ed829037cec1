//! Parsers meet bytes that nobody meant well: they refuse, and never panic.
use std::{sync::LazyLock, time::SystemTime};

use proptest::prelude::*;
use rustls_pki_types::CertificateDer;
use weft_certs::{
    Authority, KeyPair, Svid, TrustBundle, TrustBundles, certificate_request,
    join::{Context, JoinFile, TokenRecord},
    sealing::SealingKey,
    verify::{Role, verify_peer},
};

use crate::support::{HOUR, domain, mesh, unix, web};

/// Good bytes of every kind, to be spoiled.
struct Good {
    authority: Authority,
    bundles: TrustBundles,
    svid: Svid,
    csr: Vec<u8>,
    key: SealingKey,
    sealed: Vec<u8>,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let (authority, bundles) = mesh();
    let svid = authority.issue(&web(), HOUR, SystemTime::now()).unwrap();
    let csr = certificate_request(&KeyPair::generate().unwrap()).unwrap();
    let key = SealingKey::parse(&"b7".repeat(32), "test").unwrap();
    let sealed = authority.seal(&key).unwrap();
    Good { authority, bundles, svid, csr, key, sealed }
});

/// Bytes after some were overwritten and the end was cut.
fn spoiled(bytes: &[u8], changes: &[(prop::sample::Index, u8)], cut: Option<prop::sample::Index>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, value) in changes {
        let at = at.index(bytes.len());
        bytes[at] = *value;
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

fn changes() -> impl Strategy<Value = (Vec<(prop::sample::Index, u8)>, Option<prop::sample::Index>)> {
    (prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..6), any::<Option<prop::sample::Index>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_are_refused_everywhere(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let good = &*GOOD;
        prop_assert!(good.authority.sign(&bytes, &web(), HOUR, SystemTime::now()).is_err());
        prop_assert!(good.key.open("test", &bytes).is_err());
        prop_assert!(Authority::open(&good.key, &bytes).is_err());
        prop_assert!(KeyPair::from_pkcs8(&bytes).is_err());
        prop_assert!(JoinFile::parse(&bytes, "test").is_err());
        prop_assert!(Context::parse(&bytes, "test").is_err());
        prop_assert!(serde_json::from_slice::<TokenRecord>(&bytes).is_err());
        let certificate = CertificateDer::from(bytes);
        let now = unix(SystemTime::now());
        prop_assert!(verify_peer(&good.bundles, &certificate, &[], Role::Client, now).is_err());
        prop_assert!(TrustBundle::new(domain("weft.local"), vec![certificate], 1).is_err());
    }

    #[test]
    fn spoiled_certificates_never_pass((changes, cut) in changes(), which in 0..2_usize) {
        let good = &*GOOD;
        let mut chain = good.svid.chain().to_vec();
        let bytes = spoiled(&chain[which], &changes, cut);
        prop_assume!(bytes != chain[which].as_ref());
        chain[which] = bytes.into();
        let now = unix(SystemTime::now());
        for role in [Role::Client, Role::Server] {
            prop_assert!(verify_peer(&good.bundles, &chain[0], &chain[1..], role, now).is_err());
        }
        let _ = Svid::new(chain.clone(), good.svid.key().clone());
        let _ = TrustBundle::new(domain("weft.local"), chain, 1);
    }

    #[test]
    fn spoiled_requests_are_never_signed((changes, cut) in changes()) {
        let good = &*GOOD;
        let bytes = spoiled(&good.csr, &changes, cut);
        prop_assume!(bytes != good.csr);
        prop_assert!(good.authority.sign(&bytes, &web(), HOUR, SystemTime::now()).is_err());
    }

    #[test]
    fn spoiled_seals_never_open((changes, cut) in changes()) {
        let good = &*GOOD;
        let bytes = spoiled(&good.sealed, &changes, cut);
        prop_assume!(bytes != good.sealed);
        prop_assert!(Authority::open(&good.key, &bytes).is_err());
    }

    #[test]
    fn whatever_was_sealed_an_authority_is_opened_from_it_or_not((changes, cut) in changes(), raw: bool) {
        // The seal is right and what is in it is not: the inner parser stands alone here.
        let good = &*GOOD;
        let mut plain = good.key.open("certificate authority", &good.sealed).unwrap().to_vec();
        if raw {
            plain.truncate(40);
        }
        let sealed = good.key.seal("certificate authority", &spoiled(&plain, &changes, cut)).unwrap();
        let _ = Authority::open(&good.key, &sealed);
    }

    #[test]
    fn spoiled_join_files_are_read_or_refused((changes, cut) in changes()) {
        let json = br#"{"controlPlane":"127.0.0.1:1","trustDomain":"a","meshDomain":"b","cluster":"c","caSha256":"0000000000000000000000000000000000000000000000000000000000000000","token":"t","namespace":"n","account":"a"}"#;
        if let Ok(file) = JoinFile::parse(&spoiled(json, &changes, cut), "test") {
            let again = serde_json::to_vec(&file).unwrap();
            prop_assert_eq!(JoinFile::parse(&again, "test").unwrap(), file);
        }
    }
}

#[test]
fn a_request_has_one_encoding_only() {
    // The parser takes other tags where the signature does not reach; what proves possession must be DER to the bit.
    let good = &*GOOD;
    let signed_part_ends = 3 + 2 + usize::from(good.csr[4]);
    for at in (0..5).chain(signed_part_ends..signed_part_ends + 16) {
        for value in (0..=255).filter(|value| *value != good.csr[at]) {
            let mut changed = good.csr.clone();
            changed[at] = value;
            let signed = good.authority.sign(&changed, &web(), HOUR, SystemTime::now());
            assert!(signed.is_err(), "byte {at} as {value:#x}");
        }
    }
}
