//! Certificate signing requests, of which only the key is believed.
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_parser::{
    certification_request::X509CertificationRequest,
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256},
    prelude::FromDer,
};

/// The largest request that is looked at, in bytes; weft's own have about 200.
pub const MAX_CSR_BYTES: usize = 16 * 1024;

/// An uncompressed P-256 point: 4, then two coordinates of 32 bytes (SEC 1 §2.3.3).
const POINT_BYTES: usize = 65;

/// Why a certificate signing request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Larger than [`MAX_CSR_BYTES`].
    #[error("the certificate request is larger than {MAX_CSR_BYTES} bytes")]
    TooLarge,
    /// Not PKCS#10 in DER, or followed by other bytes.
    #[error("the certificate request is not PKCS#10 in DER")]
    Malformed,
    /// Another kind of key or signature than ECDSA P-256 with SHA-256, an uncompressed point.
    #[error("the certificate request's key is not ECDSA P-256 signing with SHA-256")]
    NotP256,
    /// The signature does not fit the key: no proof of possession.
    #[error("the certificate request is not signed by the key that it names")]
    NoPossession,
}

/// The public key (an uncompressed point) of a request whose signature shows that the sender has the private half.
/// Subject, names and extensions in it are not even looked at.
pub(crate) fn proven_public_key(der: &[u8]) -> Result<Vec<u8>, CsrError> {
    if der.len() > MAX_CSR_BYTES {
        return Err(CsrError::TooLarge);
    }
    let Ok(([], request)) = X509CertificationRequest::from_der(der) else { return Err(CsrError::Malformed) };
    let information = &request.certification_request_info;
    let key = &information.subject_pki;
    let curve = key.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
    if key.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY
        || curve != Some(OID_EC_P256)
        || request.signature_algorithm.algorithm != OID_SIG_ECDSA_WITH_SHA256
    {
        return Err(CsrError::NotP256);
    }
    let point = key.subject_public_key.data.as_ref();
    if point.len() != POINT_BYTES || point.first() != Some(&4) {
        return Err(CsrError::NotP256);
    }
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(information.raw, &request.signature_value.data)
        .map_err(|_| CsrError::NoPossession)?;
    Ok(point.to_vec())
}
