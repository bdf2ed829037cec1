//! What the authority issues, to whom, and what it keeps.
use std::{collections::BTreeSet, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use rustls_pki_types::CertificateDer;
use weft_certs::{
    Authority, AuthorityError, BundleError, CsrError, KeyPair, MAX_CSR_BYTES, MAX_LIFETIME, Svid, SvidError,
    TrustBundle, TrustBundles, certificate_request,
    sealing::{SealError, SealingKey},
    verify::{self, Role, VerifyError},
};
use weft_model::TrustDomain;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::support::{Forge, HOUR, catalog, domain, id, noon, unix, uri_name, web};

fn authority() -> Authority {
    Authority::create(domain("weft.local"), noon()).unwrap()
}

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> X509Certificate<'a> {
    X509Certificate::from_der(certificate.as_ref()).unwrap().1
}

fn uris(certificate: &CertificateDer<'_>) -> Vec<String> {
    let certificate = parsed(certificate);
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    names
        .value
        .general_names
        .iter()
        .map(|name| match name {
            GeneralName::URI(uri) => uri.to_string(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_leaf_is_an_svid_and_nothing_more() {
    let authority = authority();
    let signed = authority.issue(&web(), HOUR, noon()).unwrap();
    let leaf = parsed(&signed.chain()[0]);
    assert_eq!(uris(&signed.chain()[0]), [web().as_str()]);
    assert!(!leaf.is_ca());
    let usage = leaf.get_extension_unique(&x509_parser::oid_registry::OID_X509_EXT_KEY_USAGE).unwrap().unwrap();
    assert!(usage.critical);
    assert_eq!(leaf.key_usage().unwrap().unwrap().value.flags, 1, "digitalSignature alone");
    let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.server_auth && purposes.client_auth && !purposes.any && !purposes.code_signing);
    assert!(purposes.other.is_empty());
    assert_eq!(leaf.subject().iter().count(), 0);
    assert_eq!(signed.not_before(), noon() - Duration::from_secs(60));
    assert_eq!(signed.not_after(), noon() + HOUR);
    assert!(signed.is_valid_at(noon()) && !signed.is_valid_at(noon() + HOUR + HOUR));
    assert_eq!(leaf.tbs_certificate.raw_serial().len(), 16);
}

#[test]
fn serial_numbers_are_random() {
    let authority = authority();
    let serials: BTreeSet<Vec<u8>> = (0..100)
        .map(|_| {
            let svid = authority.issue(&web(), HOUR, noon()).unwrap();
            parsed(&svid.chain()[0]).tbs_certificate.raw_serial().to_vec()
        })
        .collect();
    assert_eq!(serials.len(), 100);
    for byte in 0..16 {
        let values: BTreeSet<u8> = serials.iter().map(|serial| serial[byte]).collect();
        assert!(values.len() > 16, "byte {byte} takes {} values in 100 draws", values.len());
    }
}

#[test]
fn signing_certificates_have_their_path_lengths_and_domain() {
    let authority = authority();
    for (certificate, length) in [(authority.root(), 1), (authority.intermediate(), 0)] {
        let parsed = parsed(certificate);
        let constraints = parsed.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(length));
        let usage = parsed.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.key_cert_sign() && !usage.value.digital_signature());
        assert_eq!(uris(certificate), ["spiffe://weft.local"]);
    }
    let years = |certificate| {
        let validity = parsed(certificate).validity().clone();
        (validity.not_after.timestamp() - validity.not_before.timestamp()) / (365 * 24 * 3600)
    };
    assert_eq!((years(authority.root()), years(authority.intermediate())), (10, 1));
}

#[test]
fn lifetimes_are_bounded_by_a_day_and_by_the_intermediate() {
    let authority = authority();
    let long = authority.issue(&web(), MAX_LIFETIME * 30, noon()).unwrap();
    assert_eq!(long.not_after(), noon() + MAX_LIFETIME);
    let year = Duration::from_secs(365 * 24 * 3600);
    let late = noon() + year - HOUR;
    assert_eq!(authority.issue(&web(), MAX_LIFETIME, late).unwrap().not_after(), noon() + year);
    assert!(matches!(
        authority.issue(&web(), HOUR, noon() + year),
        Err(AuthorityError::OutOfValidity { what: "intermediate", .. })
    ));
    assert!(matches!(authority.issue(&web(), HOUR, noon() - HOUR), Err(AuthorityError::OutOfValidity { .. })));
    assert_eq!(authority.issue(&web(), Duration::from_millis(900), noon()).unwrap_err(), AuthorityError::NoLifetime);
    let (from, until) = authority.intermediate_validity();
    assert!(from <= noon() && until == noon() + year);
}

#[test]
fn an_identity_of_another_trust_domain_is_not_signed() {
    let stranger = id("spiffe://other.local/ns/shop/sa/web");
    let refused = authority().issue(&stranger, HOUR, noon());
    assert!(matches!(refused, Err(AuthorityError::OtherTrustDomain { .. })));
}

#[test]
fn what_a_request_asks_for_is_ignored() {
    let authority = authority();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut greedy = CertificateParams::new(vec!["*.example.com".to_owned(), "10.0.0.1".to_owned()]).unwrap();
    greedy.subject_alt_names.push(uri_name(catalog().as_str()));
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    greedy.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning];
    greedy.custom_extensions.push(rcgen::CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]));
    let csr = greedy.serialize_request(&key).unwrap();
    let signed = authority.sign(csr.der(), &web(), HOUR, noon()).unwrap();
    let plain = authority.issue(&web(), HOUR, noon()).unwrap();
    let shape = |certificate: &CertificateDer<'_>| -> Vec<String> {
        let parsed = parsed(certificate);
        parsed.extensions().iter().map(|extension| format!("{} {}", extension.oid, extension.critical)).collect()
    };
    assert_eq!(uris(&signed.chain[0]), [web().as_str()]);
    assert_eq!(shape(&signed.chain[0]), shape(&plain.chain()[0]));
    assert_eq!(parsed(&signed.chain[0]).subject().iter().count(), 0);
    assert_eq!(verify::identity_of(&signed.chain[0]), Ok(web()));
}

#[test]
fn a_request_without_proof_of_possession_is_refused() {
    let authority = authority();
    let csr = certificate_request(&KeyPair::generate().unwrap()).unwrap();
    let other = certificate_request(&KeyPair::generate().unwrap()).unwrap();
    let refused = |csr: &[u8]| match authority.sign(csr, &web(), HOUR, noon()) {
        Err(AuthorityError::Csr(error)) => error,
        other => panic!("{other:?}"),
    };
    // One request's body under the other's signature: the key is somebody else's.
    let signature_at = csr.len() - 60;
    let mut swapped = csr.clone();
    let end = other.len();
    let tail = csr.len().min(end) - signature_at;
    let at = swapped.len() - tail;
    swapped[at..].copy_from_slice(&other[end - tail..]);
    assert!(matches!(refused(&swapped), CsrError::NoPossession | CsrError::Malformed));
    // A changed key.
    let key = KeyPair::generate().unwrap();
    let csr = certificate_request(&key).unwrap();
    let point = &key.public_key_info()[key.public_key_info().len() - 65..];
    let at = csr.windows(65).position(|window| window == point).unwrap();
    let mut changed = csr.clone();
    changed[at + 40] ^= 1;
    assert_eq!(refused(&changed), CsrError::NoPossession);
    assert_eq!(refused(&[&csr[..], &[0]].concat()), CsrError::Malformed);
    assert_eq!(refused(&csr[..csr.len() - 1]), CsrError::Malformed);
    assert_eq!(refused(b""), CsrError::Malformed);
    assert_eq!(refused(&vec![0x30; MAX_CSR_BYTES + 1]), CsrError::TooLarge);
}

#[test]
fn requests_of_other_kinds_of_keys_are_refused() {
    let authority = authority();
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        let refused = authority.sign(csr.der(), &web(), HOUR, noon());
        assert_eq!(refused.unwrap_err(), AuthorityError::Csr(CsrError::NotP256), "{algorithm:?}");
    }
}

#[test]
fn an_svid_needs_its_own_key_and_a_chain() {
    let svid = authority().issue(&web(), HOUR, noon()).unwrap();
    let other = KeyPair::generate().unwrap();
    assert_eq!(Svid::new(svid.chain().to_vec(), other).unwrap_err(), SvidError::OtherKey);
    assert_eq!(Svid::new(Vec::new(), svid.key().clone()).unwrap_err(), SvidError::ChainLength(0));
    assert!(matches!(Svid::new(svid.chain()[1..].to_vec(), svid.key().clone()), Err(SvidError::Leaf(_))));
    let again = Svid::new(svid.chain().to_vec(), KeyPair::from_pkcs8(&svid.key().pkcs8().unwrap()).unwrap()).unwrap();
    assert_eq!((again.id(), again.not_after()), (svid.id(), svid.not_after()));
}

#[test]
fn a_sealed_authority_is_opened_with_its_key_alone() {
    let mut authority = authority();
    authority.renew_intermediate(noon() + HOUR).unwrap();
    let (key, other) =
        (SealingKey::parse(&"1f".repeat(32), "test").unwrap(), SealingKey::parse(&"2e".repeat(32), "test").unwrap());
    let sealed = authority.seal(&key).unwrap();
    let opened = Authority::open(&key, &sealed).unwrap();
    assert_eq!((opened.root(), opened.intermediate()), (authority.root(), authority.intermediate()));
    assert_eq!(opened.bundle(), authority.bundle());
    let svid = opened.issue(&web(), HOUR, noon() + HOUR).unwrap();
    let bundles: TrustBundles = authority.bundle().unwrap().into();
    let now = unix(noon() + HOUR);
    assert_eq!(verify::verify_peer(&bundles, &svid.chain()[0], &svid.chain()[1..], Role::Server, now), Ok(web()));
    let error = Authority::open(&other, &sealed).unwrap_err();
    assert!(matches!(error, AuthorityError::Seal(SealError::OtherKey { .. })));
    assert!(error.to_string().contains("sealed with another key"), "{error}");
    // Sealed under the same key for something else.
    let stray = key.seal("another context", b"x").unwrap();
    assert!(matches!(Authority::open(&key, &stray), Err(AuthorityError::Seal(SealError::Changed(_)))));
    // Sealed rightly, and not an authority.
    for damaged in [&b""[..], b"\x02", b"\x01\0\0", b"\x01\xff\xff\xff\xff"] {
        let sealed = key.seal("certificate authority", damaged).unwrap();
        assert!(matches!(Authority::open(&key, &sealed), Err(AuthorityError::Damaged(_))));
    }
}

#[test]
fn debug_output_of_what_holds_keys_shows_none() {
    let authority = authority();
    let svid = authority.issue(&web(), HOUR, noon()).unwrap();
    assert_eq!(
        format!("{svid:?}"),
        "Svid(spiffe://weft.local/ns/shop/sa/web, 2 certificates, until 2026-11-20T13:00:00Z)"
    );
    assert_eq!(format!("{authority:?}"), format!("Authority(weft.local, root {})", authority.pin()));
    let secret = svid.key().pkcs8().unwrap();
    // The private half of a P-256 key in PKCS#8 (RFC 5915): 32 bytes from the 36th on.
    let decimals = format!("{:?}", &secret[36..44]);
    let connector = weft_certs::tls::Connector::new(&svid, &authority.bundle().unwrap().into(), &[]).unwrap();
    for shown in [format!("{svid:#?}"), format!("{connector:?}"), format!("{:?}", connector.for_identity(&web()))] {
        assert!(!shown.contains(decimals.trim_matches(['[', ']'])), "{shown}");
    }
}

#[test]
fn a_bundle_holds_roots_of_its_own_domain_only() {
    let (ours, theirs) = (authority(), Authority::create(domain("other.local"), noon()).unwrap());
    let bundle = |domain: &TrustDomain, roots: Vec<CertificateDer<'static>>| TrustBundle::new(domain.clone(), roots, 1);
    let own = ours.trust_domain();
    let root = ours.root().clone();
    assert!(bundle(own, vec![root.clone()]).is_ok());
    assert_eq!(bundle(own, Vec::new()), Err(BundleError::Empty(own.clone())));
    assert_eq!(bundle(own, vec![root.clone(); 17]), Err(BundleError::TooMany(own.clone())));
    let leaf = ours.issue(&web(), HOUR, noon()).unwrap().chain()[0].clone();
    for bad in [theirs.root().clone(), leaf, CertificateDer::from(vec![1, 2]), CertificateDer::from(vec![0; 20_000])] {
        let refused = bundle(own, vec![root.clone(), bad]);
        assert!(matches!(refused, Err(BundleError::Root { index: 1, .. })), "{refused:?}");
    }
    // A root that names no domain may serve any one.
    assert!(bundle(own, vec![Forge::new().root]).is_ok());
}

#[test]
fn a_bundle_is_not_replaced_by_an_older_one() {
    let authority = authority();
    let roots = vec![authority.root().clone()];
    let bundle = |sequence| TrustBundle::new(authority.trust_domain().clone(), roots.clone(), sequence).unwrap();
    let mut bundles = TrustBundles::from(bundle(5));
    let copy = bundles.clone();
    assert!(matches!(bundles.replace(bundle(4)), Err(BundleError::Older { held: 5, offered: 4, .. })));
    bundles.replace(bundle(6)).unwrap();
    assert_eq!(bundles.of(authority.trust_domain()).unwrap().sequence(), 6);
    assert_eq!(copy.iter().map(TrustBundle::sequence).collect::<Vec<_>>(), [5]);
    bundles.remove(authority.trust_domain());
    assert_eq!(bundles, TrustBundles::none());
}

#[test]
fn an_svid_is_refused_before_and_after_its_time() {
    let authority = authority();
    let bundles: TrustBundles = authority.bundle().unwrap().into();
    let svid = authority.issue(&web(), HOUR, noon()).unwrap();
    let at = |time| verify::verify_peer(&bundles, &svid.chain()[0], &svid.chain()[1..], Role::Client, unix(time));
    assert_eq!(at(noon()), Ok(web()));
    assert!(matches!(at(noon() - HOUR), Err(VerifyError::Chain(webpki::Error::CertNotValidYet { .. }))));
    assert!(matches!(at(noon() + HOUR * 2), Err(VerifyError::Chain(webpki::Error::CertExpired { .. }))));
}

/// X.509 knows whole seconds only (RFC 5280 §4.1.2.5): what is said of a certificate is what stands in it, whenever in a
/// second it was signed.
#[test]
fn what_is_signed_late_in_a_second_ends_when_its_own_bytes_say_so() {
    let authority = authority();
    let late = noon() + Duration::from_millis(999);
    let svid = authority.issue(&web(), Duration::from_secs(20), late).unwrap();
    let validity = parsed(&svid.chain()[0]).validity().clone();
    let at = |time: std::time::SystemTime| i64::try_from(unix(time).as_secs()).unwrap();
    assert_eq!(svid.not_after(), noon() + Duration::from_secs(20));
    assert_eq!(svid.not_before(), noon() - Duration::from_secs(60));
    assert_eq!(validity.not_after.timestamp(), at(svid.not_after()));
    assert_eq!(validity.not_before.timestamp(), at(svid.not_before()));
    assert_eq!(verify::not_after_of(&svid.chain()[0]), Ok(svid.not_after()));
    let signed =
        authority.sign(&certificate_request(svid.key()).unwrap(), &web(), Duration::from_secs(20), late).unwrap();
    assert_eq!((signed.not_before, signed.not_after), (svid.not_before(), svid.not_after()));

    let bundles: TrustBundles = authority.bundle().unwrap().into();
    let peer = |time| verify::verify_peer(&bundles, &svid.chain()[0], &svid.chain()[1..], Role::Server, unix(time));
    let (last, over) = (svid.not_after(), svid.not_after() + Duration::from_secs(1));
    assert!(peer(last).is_ok() && svid.is_valid_at(last));
    assert!(
        matches!(peer(over), Err(VerifyError::Chain(webpki::Error::CertExpired { .. }))) && !svid.is_valid_at(over)
    );
}
