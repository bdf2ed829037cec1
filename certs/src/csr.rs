//! Certificate signing requests, of which only the key is believed.
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_parser::{
    certification_request::X509CertificationRequest,
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256},
    prelude::FromDer,
};

use crate::text;

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

/// Which key a request is for, as 64 hexadecimal digits: the SHA-256 of its public key, an uncompressed point. The sender
/// has the private half.
///
/// # Errors
/// Why the request is none.
pub fn request_key(der: &[u8]) -> Result<String, CsrError> {
    Ok(text::to_hex(&text::sha256(&[&proven_public_key(der)?])))
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
    let signature = request.signature_value.data.as_ref();
    if canonical(information.raw, signature) != der {
        return Err(CsrError::Malformed);
    }
    let point = key.subject_public_key.data.as_ref();
    if point.len() != POINT_BYTES || point.first() != Some(&4) {
        return Err(CsrError::NotP256);
    }
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(information.raw, signature)
        .map_err(|_| CsrError::NoPossession)?;
    Ok(point.to_vec())
}

/// The request of a signed part and its signature as DER has it: the parser is lenient about tags and lengths where
/// the signature does not reach.
fn canonical(information: &[u8], signature: &[u8]) -> Vec<u8> {
    // AlgorithmIdentifier of ecdsa-with-SHA256, without parameters (RFC 5758 §3.2).
    const ALGORITHM: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    // A BIT STRING's first byte is the number of its unused bits.
    let bits = [&[0], signature].concat();
    let body = [information, &ALGORITHM, &element(0x03, &bits)].concat();
    element(0x30, &body)
}

/// One DER element: tag, shortest length, content of at most 64 KiB.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let length: &[u8] = match content.len() {
        0..0x80 => &[low],
        0x80..0x100 => &[0x81, low],
        _ => &[0x82, high, low],
    };
    [&[tag], length, content].concat()
}
