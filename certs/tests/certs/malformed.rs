//! Certificates that are not X.509-SVIDs of a trusted domain: each is refused as a client's and as a server's.
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls_pki_types::CertificateDer;
use weft_certs::{
    TrustBundle, TrustBundles,
    tls::{self, ClientAuth},
    verify::{Expected, Role, VerifyError, verify_peer},
};

use crate::support::{Forge, Forged, catalog, domain, handshake, mesh, unix, uri_name, web};

/// The object identifiers of two extensions (RFC 5280 §4.2.1).
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const ALTERNATIVE_NAMES: &[u64] = &[2, 5, 29, 17];

/// A case: what is wrong, and a word of the reason that must be given.
struct Case {
    what: &'static str,
    reason: &'static str,
    forged: Forged,
    bundles: TrustBundles,
}

fn trusting(root: &CertificateDer<'static>) -> TrustBundles {
    TrustBundle::new(domain("weft.local"), vec![root.clone()], 1).unwrap().into()
}

/// A case of a leaf whose fields are changed, in an otherwise good chain.
fn fields(what: &'static str, reason: &'static str, change: impl FnOnce(&mut CertificateParams)) -> Case {
    let forge = Forge::new();
    let bundles = trusting(&forge.root);
    let mut parameters = Forge::leaf_fields(web().as_str());
    change(&mut parameters);
    Case { what, reason, forged: forge.signer().leaf(&parameters), bundles }
}

fn uri(what: &'static str, reason: &'static str, uri: &str) -> Case {
    fields(what, reason, |leaf| leaf.subject_alt_names = vec![uri_name(uri)])
}

fn names(what: &'static str, reason: &'static str, names: Vec<SanType>) -> Case {
    fields(what, reason, |leaf| leaf.subject_alt_names = names)
}

fn purposes(what: &'static str, purposes: &[ExtendedKeyUsagePurpose]) -> Case {
    fields(what, "not meant for both", |leaf| leaf.extended_key_usages = purposes.to_vec())
}

fn usages(what: &'static str, reason: &'static str, usages: &[KeyUsagePurpose]) -> Case {
    fields(what, reason, |leaf| leaf.key_usages = usages.to_vec())
}

fn names_cases() -> Vec<Case> {
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let none = "0 URI names";
    vec![
        names("two URIs", "2 URI names", vec![uri_name(web().as_str()), uri_name(catalog().as_str())]),
        names("the same URI twice", "2 URI names", vec![uri_name(web().as_str()); 2]),
        names("a SPIFFE ID and another URI", "2 URI names", vec![uri_name(web().as_str()), uri_name("https://a.b/")]),
        names("no name at all", none, vec![]),
        names("a DNS name only", none, vec![dns("web.shop.svc")]),
        names("a DNS wildcard only", none, vec![dns("*.mesh.weft.local")]),
        names("a DNS name that reads like a SPIFFE ID", none, vec![dns(web().as_str())]),
        names("an address only", none, vec![SanType::IpAddress([127, 0, 0, 1].into())]),
        names("an e-mail address only", none, vec![SanType::Rfc822Name("web@weft.local".try_into().unwrap())]),
        fields("the name in the subject only", none, |leaf| {
            leaf.subject_alt_names.clear();
            leaf.distinguished_name.push(rcgen::DnType::CommonName, web().as_str());
        }),
        fields("alternative names that are no names", "cannot be read", |leaf| {
            leaf.subject_alt_names.clear();
            // GeneralNames with one URI of a byte that is not ASCII.
            let content = vec![0x30, 0x03, 0x86, 0x01, 0xff];
            leaf.custom_extensions.push(CustomExtension::from_oid_content(ALTERNATIVE_NAMES, content));
        }),
        fields("alternative names twice", "cannot be read", |leaf| {
            let content = [&[0x30, 0x0d, 0x86, 0x0b][..], b"spiffe://a/"].concat();
            leaf.custom_extensions.push(CustomExtension::from_oid_content(ALTERNATIVE_NAMES, content));
        }),
    ]
}

fn identity_cases() -> Vec<Case> {
    let character = "a character other than";
    vec![
        uri("percent-encoded dots", character, "spiffe://weft.local/ns/shop/sa/%2e%2e"),
        uri("percent-encoded slash", character, "spiffe://weft.local/ns/shop/sa/web%2fadmin"),
        uri("upper-case trust domain", character, "spiffe://Weft.local/ns/shop/sa/web"),
        uri("trailing slash", "empty segment", "spiffe://weft.local/ns/shop/sa/web/"),
        uri("no path", "path is empty", "spiffe://weft.local"),
        uri("an empty path", "path is empty", "spiffe://weft.local/"),
        uri("no trust domain", "trust domain is empty", "spiffe:///ns/shop/sa/web"),
        uri("dot segments", "'..' segment", "spiffe://weft.local/ns/shop/../shop/sa/web"),
        uri("a dot segment", "'.' or", "spiffe://weft.local/ns/./sa/web"),
        uri("an empty segment", "empty segment", "spiffe://weft.local/ns//shop/sa/web"),
        uri("a query", character, "spiffe://weft.local/ns/shop/sa/web?admin"),
        uri("a fragment", character, "spiffe://weft.local/ns/shop/sa/web#admin"),
        uri("a port", character, "spiffe://weft.local:443/ns/shop/sa/web"),
        uri("a user", character, "spiffe://root@weft.local/ns/shop/sa/web"),
        uri("another scheme", "does not start", "https://weft.local/ns/shop/sa/web"),
        uri("an upper-case scheme", "does not start", "SPIFFE://weft.local/ns/shop/sa/web"),
        uri("a NUL byte", character, "spiffe://weft.local/ns/shop/sa/web\0.evil"),
        uri("a wildcard", character, "spiffe://weft.local/ns/shop/sa/*"),
        uri("a space", character, "spiffe://weft.local/ns/shop/sa/web "),
        uri("an empty URI", "does not start", ""),
        uri("more than 2048 bytes", "longer than", &format!("spiffe://weft.local/{}", "a".repeat(2040))),
        uri("a domain that nobody trusts", "is not trusted here", "spiffe://other.local/ns/shop/sa/web"),
        uri("a domain that begins like ours", "is not trusted here", "spiffe://weft.local.evil/ns/shop/sa/web"),
    ]
}

fn usage_cases() -> Vec<Case> {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, CodeSigning, ServerAuth};
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign, KeyEncipherment};
    vec![
        purposes("no purpose", &[]),
        purposes("code signing", &[CodeSigning]),
        purposes("servers only", &[ServerAuth]),
        purposes("clients only", &[ClientAuth]),
        purposes("any purpose", &[Any]),
        usages("no key usage", "is missing", &[]),
        usages("signing certificates", "sign certificates", &[DigitalSignature, KeyCertSign]),
        usages("signing revocation lists", "sign certificates or revocation", &[DigitalSignature, CrlSign]),
        usages("encipherment only", "does not allow digital", &[KeyEncipherment]),
        fields("key usage that is not critical", "is not critical", |leaf| {
            leaf.key_usages.clear();
            let content = vec![0x03, 0x02, 0x07, 0x80];
            leaf.custom_extensions.push(CustomExtension::from_oid_content(KEY_USAGE, content));
        }),
        fields("a certificate authority", "certificate authority's", |leaf| {
            leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }),
        fields("a certificate authority of path length 0", "certificate authority's", |leaf| {
            leaf.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        }),
        fields("an unknown critical extension", "UnsupportedCriticalExtension", |leaf| {
            let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 1], vec![5, 0]);
            extension.set_criticality(true);
            leaf.custom_extensions.push(extension);
        }),
        fields("more than 16 KiB", "larger than", |leaf| {
            let content = [&[0x04, 0x82, 0x40, 0x00][..], &[0; 0x4000]].concat();
            leaf.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 1], content));
        }),
        fields("expired", "CertExpired", |leaf| leaf.not_after = rcgen::date_time_ymd(2025, 1, 1)),
        fields("not yet valid", "CertNotValidYet", |leaf| leaf.not_before = rcgen::date_time_ymd(3025, 1, 1)),
        fields("valid backwards", "InvalidCertValidity", |leaf| {
            leaf.not_before = rcgen::date_time_ymd(3025, 1, 1);
            leaf.not_after = rcgen::date_time_ymd(2025, 1, 1);
        }),
    ]
}

/// A case of a good leaf below an intermediate of these fields.
fn below(what: &'static str, reason: &'static str, change: impl FnOnce(&mut CertificateParams)) -> Case {
    let forge = Forge::new();
    let bundles = trusting(&forge.root);
    let mut parameters = Forge::signer_fields("intermediate", BasicConstraints::Constrained(0));
    change(&mut parameters);
    let forged = forge.root_signer().below(&parameters).leaf(&Forge::leaf_fields(web().as_str()));
    Case { what, reason, forged, bundles }
}

/// A case of a good chain that is changed after it was signed.
fn tampered(what: &'static str, reason: &'static str, change: impl FnOnce(&mut Vec<CertificateDer<'static>>)) -> Case {
    let mut case = fields(what, reason, |_| {});
    change(&mut case.forged.chain);
    case
}

fn chain_cases() -> Vec<Case> {
    let leaf_fields = Forge::leaf_fields(web().as_str());
    let self_signed = |what, extra: Option<CertificateDer<'static>>, bundles| {
        let key = KeyPair::generate().unwrap();
        let leaf: CertificateDer<'static> = leaf_fields.self_signed(&key).unwrap().into();
        let chain = std::iter::once(leaf).chain(extra).collect();
        Case { what, reason: "UnknownIssuer", forged: Forged { chain, key }, bundles }
    };
    let forge = Forge::new();
    let bundles = trusting(&forge.root);
    let root = forge.root.clone();
    let signed_by_leaf = forge.root_signer().below(&leaf_fields).leaf(&leaf_fields);
    vec![
        self_signed("self-signed", None, bundles.clone()),
        self_signed("self-signed beside the true root", Some(root), bundles.clone()),
        Case { what: "signed by a leaf", reason: "", forged: signed_by_leaf, bundles },
        // The other root has the same name.
        Case {
            bundles: trusting(&Forge::new().root),
            ..fields("another root", "InvalidSignatureForPublicKey", |_| {})
        },
        Case { bundles: TrustBundles::none(), ..fields("no bundle", "is not trusted here", |_| {}) },
        tampered("without its intermediate", "UnknownIssuer", |chain| chain.truncate(1)),
        tampered("with another's intermediate", "InvalidSignatureForPublicKey", |chain| {
            let other = fields("", "", |_| {});
            chain[1] = other.forged.chain[1].clone();
        }),
        tampered("too many certificates", "more than 8", |chain| chain.resize(9, chain[1].clone())),
        tampered("with a changed signature", "", |chain| {
            let mut bytes = chain[0].to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            chain[0] = bytes.into();
        }),
        tampered("with bytes behind it", "cannot be read", |chain| {
            chain[0] = [chain[0].as_ref(), &[0]].concat().into();
        }),
        tampered("cut short", "cannot be read", |chain| {
            chain[0] = chain[0][..chain[0].len() - 1].to_vec().into();
        }),
        tampered("not a certificate", "cannot be read", |chain| chain[0] = vec![0x30, 0x80, 0].into()),
        below("below an expired intermediate", "CertExpired", |ca| ca.not_after = rcgen::date_time_ymd(2025, 1, 1)),
        below("below a future intermediate", "CertNotValidYet", |ca| {
            ca.not_before = rcgen::date_time_ymd(3025, 1, 1);
        }),
        below("below an intermediate that may not sign certificates", "does not allow signing", |ca| {
            ca.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        }),
        below("below an intermediate without key usage", "does not allow signing", |ca| ca.key_usages.clear()),
        below("below an intermediate that is no authority", "EndEntityUsedAsCa", |ca| {
            ca.is_ca = IsCa::ExplicitNoCa;
        }),
        too_deep(),
        crossed_domains(),
    ]
}

fn too_deep() -> Case {
    let forge = Forge::new();
    let bundles = trusting(&forge.root);
    let second = Forge::signer_fields("second intermediate", BasicConstraints::Constrained(0));
    let forged = forge.signer().below(&second).leaf(&Forge::leaf_fields(web().as_str()));
    Case { what: "two intermediates where one may be", reason: "PathLenConstraintViolated", forged, bundles }
}

/// Both domains are trusted, and one's authority signs an identity of the other.
fn crossed_domains() -> Case {
    let (ours, theirs) = (Forge::new(), Forge::new());
    let mut bundles = trusting(&ours.root);
    bundles.replace(TrustBundle::new(domain("other.local"), vec![theirs.root.clone()], 1).unwrap()).unwrap();
    let forged = theirs.signer().leaf(&Forge::leaf_fields(web().as_str()));
    Case { what: "signed by another trusted domain", reason: "InvalidSignatureForPublicKey", forged, bundles }
}

fn judge(bundles: &TrustBundles, forged: &Forged, role: Role) -> Result<(), VerifyError> {
    verify_peer(bundles, &forged.chain[0], &forged.chain[1..], role, unix(SystemTime::now())).map(|_| ())
}

#[tokio::test]
async fn malformed_svids_are_refused_from_clients_and_from_servers() {
    let groups = [names_cases(), identity_cases(), usage_cases(), chain_cases()];
    let cases: Vec<Case> = groups.into_iter().flatten().collect();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let (authority, _) = mesh();
    let svid = authority.issue(&catalog(), Duration::from_secs(3600), SystemTime::now()).unwrap();
    let mut wrong = Vec::new();
    for Case { what, reason, forged, bundles } in cases {
        for role in [Role::Client, Role::Server] {
            let refusal = judge(&bundles, &forged, role).expect_err(what);
            if !format!("{refusal} {refusal:?}").contains(reason) {
                wrong.push(format!("{what}: {refusal} {refusal:?}"));
            }
        }
        let server = tls::server_config(&svid, &bundles, ClientAuth::Required, &[]).unwrap();
        let (accepted, _) = handshake(server, forged.client()).await;
        accepted.expect_err(what);
        // Also where a certificate is not demanded, a bad one is not taken for none.
        let server = tls::server_config(&svid, &bundles, ClientAuth::Optional, &[]).unwrap();
        let (accepted, _) = handshake(server, forged.client()).await;
        accepted.expect_err(what);
        let client = tls::client_config(Some(&svid), &bundles, Expected::Exactly(web()), &[]).unwrap();
        let (_, connected) = handshake(forged.server(), client).await;
        connected.expect_err(what);
    }
    assert!(wrong.is_empty(), "refused for other reasons: {wrong:#?}");
}

#[tokio::test]
async fn the_forged_chain_without_a_fault_passes() {
    let Case { forged, bundles, .. } = fields("", "", |_| {});
    let (authority, _) = mesh();
    let svid = authority.issue(&catalog(), Duration::from_secs(3600), SystemTime::now()).unwrap();
    let server = tls::server_config(&svid, &bundles, ClientAuth::Required, &[]).unwrap();
    assert_eq!(handshake(server, forged.client()).await.0.unwrap().peer, Some(web()));
    let client = tls::client_config(Some(&svid), &bundles, Expected::Exactly(web()), &[]).unwrap();
    assert_eq!(handshake(forged.server(), client).await.1.unwrap().peer, Some(web()));
    // DNS names beside the SPIFFE ID are allowed, and mean nothing.
    let Case { forged, bundles, .. } = fields("", "", |leaf| {
        leaf.subject_alt_names.push(SanType::DnsName("*.weft.local".try_into().unwrap()));
    });
    assert_eq!(judge(&bundles, &forged, Role::Server), Ok(()));
}
