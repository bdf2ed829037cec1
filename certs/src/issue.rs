//! The certificates that an authority makes: their fields, and nothing else's.
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType, SerialNumber, string::Ia5String,
};
use weft_model::{SpiffeId, TrustDomain};

use crate::{AuthorityError, text};

/// The last second that X.509 can express, of the year 9999 (RFC 5280 §4.1.2.5); since 1970.
const LAST_SECOND: u64 = 253_402_300_799;

/// From when until when a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
}

/// A certificate that signs others: the root (path length 1) or the intermediate (path length 0).
pub(crate) fn signer(
    domain: &TrustDomain,
    what: &str,
    path_length: u8,
    validity: Validity,
) -> Result<CertificateParams, AuthorityError> {
    let serial = serial()?;
    let mut parameters = fields(&serial, validity, &format!("spiffe://{domain}"))?;
    // The serial's beginning makes the name one of its kind, so that chains are told apart by issuer during rotation.
    let name = format!("weft {what} {}", text::to_hex(&serial[..4]));
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(parameters)
}

/// A workload's certificate.
pub(crate) fn leaf(id: &SpiffeId, validity: Validity) -> Result<CertificateParams, AuthorityError> {
    let mut parameters = fields(&serial()?, validity, id.as_str())?;
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(parameters)
}

fn fields(serial: &[u8], validity: Validity, uri: &str) -> Result<CertificateParams, AuthorityError> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    let at = |seconds: u64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.min(LAST_SECOND));
    parameters.not_before = at(validity.not_before);
    parameters.not_after = at(validity.not_after);
    parameters.serial_number = Some(SerialNumber::from_slice(serial));
    let uri = Ia5String::try_from(uri).map_err(|_| AuthorityError::Encoding)?;
    parameters.subject_alt_names = vec![SanType::URI(uri)];
    parameters.use_authority_key_identifier_extension = true;
    Ok(parameters)
}

/// 126 random bits in 16 bytes. The first two bits are fixed: positive, and always of the same length
/// (RFC 5280 §4.1.2.2 allows 20 bytes; the CA/Browser Forum demands 64 random bits).
fn serial() -> Result<[u8; 16], AuthorityError> {
    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| AuthorityError::Randomness)?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}
