//! Keys and certificates as PEM (RFC 7468), the form that other tools read.
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};
use weft_certs::{KeyPair, Svid};
use zeroize::Zeroizing;

const KEY: &str = "PRIVATE KEY";
const CERTIFICATE: &str = "CERTIFICATE";

/// Why PEM is not what it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum PemError {
    #[error("it is not PEM: {0}")]
    Syntax(String),
    #[error(transparent)]
    Key(#[from] weft_certs::KeyError),
    #[error(transparent)]
    Svid(#[from] weft_certs::SvidError),
}

/// The private key and the chain that belongs to it, in one text.
pub(super) fn write_svid(svid: &Svid) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let key = svid.key().pkcs8()?;
    let certificates: usize = svid.chain().iter().map(|certificate| certificate.len()).sum();
    // Room for all at once: a text that grows leaves copies of the key behind.
    let mut text = Zeroizing::new(Vec::with_capacity(2 * (key.len() + certificates) + 4096));
    block(&mut text, KEY, &key);
    svid.chain().iter().for_each(|certificate| block(&mut text, CERTIFICATE, certificate));
    Ok(text)
}

/// Reads what [`write_svid`] wrote.
pub(super) fn read_svid(pem: &[u8]) -> Result<Svid, PemError> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|error| PemError::Syntax(error.to_string()))?;
    Ok(Svid::new(read_certificates(pem)?, KeyPair::from_pkcs8(key.secret_pkcs8_der())?)?)
}

/// One certificate.
pub(super) fn write_certificate(certificate: &CertificateDer<'_>) -> String {
    let mut text = Vec::new();
    block(&mut text, CERTIFICATE, certificate);
    String::from_utf8_lossy(&text).into_owned()
}

/// Every certificate in a text, in order.
pub(super) fn read_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| PemError::Syntax(error.to_string()))
}

fn block(text: &mut Vec<u8>, label: &str, der: &[u8]) {
    text.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for line in der.chunks(48) {
        // 48 bytes are 64 characters, on the stack and wiped: a key's are among them.
        let mut characters = Zeroizing::new([0; 64]);
        let length = STANDARD.encode_slice(line, &mut *characters).unwrap_or_default();
        text.extend_from_slice(characters.get(..length).unwrap_or_default());
        text.push(b'\n');
    }
    text.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use weft_certs::Authority;
    use weft_model::TrustDomain;

    use super::*;

    #[test]
    fn a_key_and_its_chain_are_read_back() {
        let now = SystemTime::now();
        let authority = Authority::create(TrustDomain::default_domain(), now).unwrap();
        let id = "spiffe://weft.local/ns/shop/sa/web".parse().unwrap();
        let svid = authority.issue(&id, Duration::from_secs(3600), now).unwrap();
        let again = read_svid(&write_svid(&svid).unwrap()).unwrap();
        assert_eq!(again.chain(), svid.chain());
        assert_eq!(again.id(), &id);
        assert_eq!(again.key().public_key_info(), svid.key().public_key_info());
        let root = write_certificate(authority.root());
        assert_eq!(read_certificates(root.as_bytes()).unwrap(), [authority.root().clone()]);
    }

    #[test]
    fn a_text_that_is_no_pem_is_refused() {
        assert!(read_svid(b"nothing").is_err());
        assert!(read_svid(b"-----BEGIN PRIVATE KEY-----\nZm9v\n-----END PRIVATE KEY-----\n").is_err());
    }
}
