//! What an X.509-SVID's leaf must look like (SPIFFE X.509-SVID §2 to §5), before any signature is looked at.
use rustls_pki_types::CertificateDer;
use weft_model::SpiffeId;
use x509_parser::{
    certificate::X509Certificate,
    oid_registry::OID_X509_EXT_KEY_USAGE,
    prelude::{FromDer, GeneralName},
};

use crate::{bundle::MAX_CERTIFICATE_BYTES, text, verify::VerifyError};

/// What is read from a leaf.
pub(crate) struct Leaf<'a> {
    pub(crate) id: SpiffeId,
    /// Seconds since 1970.
    pub(crate) not_before: u64,
    /// Seconds since 1970.
    pub(crate) not_after: u64,
    /// The serial number's bytes as hexadecimal digits.
    pub(crate) serial: String,
    /// SubjectPublicKeyInfo, DER.
    pub(crate) public_key_info: &'a [u8],
}

/// Reads a leaf and checks all that the SPIFFE specification demands of its own fields.
pub(crate) fn inspect<'a>(der: &'a CertificateDer<'_>) -> Result<Leaf<'a>, VerifyError> {
    let certificate = parse(der)?;
    usage(&certificate)?;
    let id = identity(&certificate)?;
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    let (not_before, not_after) = (certificate.validity().not_before, certificate.validity().not_after);
    Ok(Leaf {
        id,
        not_before: seconds(not_before),
        not_after: seconds(not_after),
        serial: text::to_hex(certificate.raw_serial()),
        public_key_info: certificate.tbs_certificate.subject_pki.raw,
    })
}

/// An intermediate must be meant for signing certificates: webpki does not look at key usage.
pub(crate) fn inspect_signer(der: &CertificateDer<'_>) -> Result<(), VerifyError> {
    let certificate = parse(der)?;
    let usage = certificate.key_usage().map_err(|_| VerifyError::Malformed("an intermediate's key usage"))?;
    match usage {
        Some(usage) if usage.value.key_cert_sign() => Ok(()),
        _ => Err(VerifyError::SignerUsage),
    }
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, VerifyError> {
    if der.len() > MAX_CERTIFICATE_BYTES {
        return Err(VerifyError::TooLarge);
    }
    match X509Certificate::from_der(der.as_ref()) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(VerifyError::Malformed("the certificate")),
    }
}

/// §4.1 and §4.3: no authority, a critical key usage with digitalSignature alone of what matters; §4.4: both purposes.
fn usage(certificate: &X509Certificate<'_>) -> Result<(), VerifyError> {
    let constraints = certificate.basic_constraints().map_err(|_| VerifyError::Malformed("the basic constraints"))?;
    if constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(VerifyError::Authority);
    }
    let usage = certificate
        .key_usage()
        .map_err(|_| VerifyError::Malformed("the key usage"))?
        .ok_or(VerifyError::KeyUsage("is missing"))?;
    let critical = certificate
        .get_extension_unique(&OID_X509_EXT_KEY_USAGE)
        .ok()
        .flatten()
        .is_some_and(|extension| extension.critical);
    if !critical {
        return Err(VerifyError::KeyUsage("is not critical"));
    }
    if usage.value.key_cert_sign() || usage.value.crl_sign() {
        return Err(VerifyError::KeyUsage("allows to sign certificates or revocation lists"));
    }
    if !usage.value.digital_signature() {
        return Err(VerifyError::KeyUsage("does not allow digital signatures"));
    }
    let purposes = certificate
        .extended_key_usage()
        .map_err(|_| VerifyError::Malformed("the extended key usage"))?
        .ok_or(VerifyError::Purpose)?;
    if !(purposes.value.server_auth && purposes.value.client_auth) {
        return Err(VerifyError::Purpose);
    }
    Ok(())
}

/// §2: exactly one URI among the alternative names, and it is a SPIFFE ID with a path. DNS names and addresses may
/// stand beside it; they name nobody here.
fn identity(certificate: &X509Certificate<'_>) -> Result<SpiffeId, VerifyError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| VerifyError::Malformed("the alternative names"))?
        .ok_or(VerifyError::Uris(0))?;
    let mut uris = Vec::new();
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::Invalid(..) => return Err(VerifyError::Malformed("an alternative name")),
            _ => {}
        }
    }
    let [uri] = uris[..] else { return Err(VerifyError::Uris(uris.len())) };
    uri.parse().map_err(|reason| VerifyError::InvalidId { text: uri.chars().take(128).collect(), reason })
}
