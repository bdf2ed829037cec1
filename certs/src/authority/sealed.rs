//! The authority as bytes, before they are sealed: a format number, then fields with a length before each.
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::{Authority, AuthorityError, SigningCertificate};
use crate::{KeyPair, issue::Validity};

/// What the sealed bytes are for.
pub(super) const CONTEXT: &str = "certificate authority";
/// The format's number.
const FORMAT: u8 = 1;

pub(super) fn encode(authority: &Authority) -> Result<Zeroizing<Vec<u8>>, AuthorityError> {
    let Authority { trust_domain, root, intermediate, sequence } = authority;
    let (root_key, intermediate_key) = (root.key.pkcs8()?, intermediate.key.pkcs8()?);
    let sequence = sequence.to_be_bytes();
    let fields: [&[u8]; 6] = [
        trust_domain.as_str().as_bytes(),
        &root.certificate,
        &root_key,
        &intermediate.certificate,
        &intermediate_key,
        &sequence,
    ];
    // Of the final size at once: a vector that grows leaves copies of the keys behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(1 + fields.iter().map(|field| 4 + field.len()).sum::<usize>()));
    bytes.push(FORMAT);
    for field in fields {
        let length = u32::try_from(field.len()).map_err(|_| AuthorityError::Encoding)?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(field);
    }
    Ok(bytes)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Authority, AuthorityError> {
    let rest = match bytes.split_first() {
        Some((&FORMAT, rest)) => rest,
        Some(_) => return Err(AuthorityError::Damaged("its format is unknown to this version")),
        None => return Err(AuthorityError::Damaged("it is empty")),
    };
    let (domain, rest) = field(rest)?;
    let (root, rest) = field(rest)?;
    let (root_key, rest) = field(rest)?;
    let (intermediate, rest) = field(rest)?;
    let (intermediate_key, rest) = field(rest)?;
    let (sequence, rest) = field(rest)?;
    if !rest.is_empty() {
        return Err(AuthorityError::Damaged("it is followed by other bytes"));
    }
    let trust_domain = std::str::from_utf8(domain)
        .ok()
        .and_then(|domain| domain.parse().ok())
        .ok_or(AuthorityError::Damaged("its trust domain is none"))?;
    let sequence = sequence.try_into().map_err(|_| AuthorityError::Damaged("its sequence is no number"))?;
    Ok(Authority {
        trust_domain,
        root: signing_certificate(root, root_key)?,
        intermediate: signing_certificate(intermediate, intermediate_key)?,
        sequence: u64::from_be_bytes(sequence),
    })
}

fn field(bytes: &[u8]) -> Result<(&[u8], &[u8]), AuthorityError> {
    bytes
        .split_first_chunk()
        .and_then(|(length, rest)| rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?))
        .ok_or(AuthorityError::Damaged("it is cut short"))
}

fn signing_certificate(certificate: &[u8], key: &[u8]) -> Result<SigningCertificate, AuthorityError> {
    let key = KeyPair::from_pkcs8(key)?;
    let Ok(([], parsed)) = X509Certificate::from_der(certificate) else {
        return Err(AuthorityError::Damaged("a certificate is none"));
    };
    if parsed.tbs_certificate.subject_pki.raw != key.public_key_info() {
        return Err(AuthorityError::Damaged("a key is not its certificate's"));
    }
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    let (not_before, not_after) = (parsed.validity().not_before, parsed.validity().not_after);
    let validity = Validity { not_before: seconds(not_before), not_after: seconds(not_after) };
    Ok(SigningCertificate { certificate: CertificateDer::from(certificate.to_vec()), key, validity })
}
