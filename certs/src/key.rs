//! Private keys: ECDSA P-256, made here, never shown.
use std::{fmt, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rcgen::PublicKeyData;
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    sign::{Signer, SigningKey},
};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use zeroize::Zeroizing;

/// Why a key could not be made, read or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are not PKCS#8 with an ECDSA P-256 key whose halves fit together.
    #[error("it is not an ECDSA P-256 key in PKCS#8 form")]
    NotP256,
    /// The cryptographic library refused; it has no reason to give.
    #[error("the cryptographic library failed to {0}")]
    Library(&'static str),
}

/// An ECDSA P-256 key pair. A clone is another handle on the same key, which is wiped with the last one.
#[derive(Clone)]
pub struct KeyPair(Arc<Inner>);

struct Inner {
    /// Kept by AWS-LC, which wipes it when it is freed.
    pair: EcdsaKeyPair,
    /// The public half as SubjectPublicKeyInfo, DER.
    spki: Vec<u8>,
}

impl KeyPair {
    /// A new key.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map_err(|_| KeyError::Library("make a P-256 key"))?;
        Ok(Self::of(pair))
    }

    /// A key from what [`pkcs8`](Self::pkcs8) gave.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).map(Self::of).map_err(|_| KeyError::NotP256)
    }

    /// The private key as PKCS#8 v1, DER. Only for the owner's file of mode 0600, or to be sealed.
    pub fn pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        // The library's document wipes itself when it is dropped.
        let document = self.0.pair.to_pkcs8v1().map_err(|_| KeyError::Library("encode a key as PKCS#8"))?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// The public half as SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), DER.
    pub fn public_key_info(&self) -> &[u8] {
        &self.0.spki
    }

    fn of(pair: EcdsaKeyPair) -> Self {
        let spki = PublicPoint(pair.public_key().as_ref()).subject_public_key_info();
        Self(Arc::new(Inner { pair, spki }))
    }

    pub(crate) fn signature(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.0.pair.sign(&SystemRandom::new(), message).ok().map(|signature| signature.as_ref().to_vec())
    }
}

/// A certificate signing request (PKCS#10, RFC 2986) for the key, DER: it proves possession and names nobody, because
/// the authority takes the identity from elsewhere.
pub fn certificate_request(key: &KeyPair) -> Result<Vec<u8>, KeyError> {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    let request = parameters.serialize_request(key).map_err(|_| KeyError::Library("sign a certificate request"))?;
    Ok(request.der().to_vec())
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(ECDSA P-256)")
    }
}

impl PublicKeyData for KeyPair {
    fn der_bytes(&self) -> &[u8] {
        self.0.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for KeyPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signature(message).ok_or(rcgen::Error::RemoteKeyError)
    }
}

/// rustls signs with the key itself: no copy of it is made for TLS.
impl SigningKey for KeyPair {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.public_key_info()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for KeyPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.signature(message).ok_or_else(|| rustls::Error::General("signing failed".into()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

/// A P-256 public key: an uncompressed point (SEC 1 §2.3.3).
pub(crate) struct PublicPoint<'a>(pub(crate) &'a [u8]);

impl PublicKeyData for PublicPoint<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::to_hex;

    #[test]
    fn a_key_is_read_back_from_its_pkcs8_form() {
        let key = KeyPair::generate().unwrap();
        let again = KeyPair::from_pkcs8(&key.pkcs8().unwrap()).unwrap();
        assert_eq!(key.public_key_info(), again.public_key_info());
        assert_eq!(KeyPair::from_pkcs8(b"no key").unwrap_err(), KeyError::NotP256);
    }

    #[test]
    fn debug_output_holds_no_key_bytes() {
        let key = KeyPair::generate().unwrap();
        assert_eq!(format!("{key:?}"), "KeyPair(ECDSA P-256)");
        let secret = to_hex(&key.pkcs8().unwrap());
        assert!(!format!("{key:#?}").contains(&secret[60..80]));
    }
}
