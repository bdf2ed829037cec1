//! Checking a peer's X.509-SVID: its own fields, then its chain, against its own trust domain's bundle only.
use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, UnixTime};
use weft_model::{InvalidSpiffeId, SpiffeId, TrustDomain};

use crate::{TrustBundle, TrustBundles, leaf, text};

mod verifiers;

pub(crate) use verifiers::{ClientVerifier, PinnedVerifier, ServerVerifier};

/// The most certificates that a peer's chain may have, the leaf included.
pub const MAX_CHAIN: usize = 8;

/// Why a peer's certificate is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A certificate of more than 16 KiB.
    #[error("a certificate is larger than 16 KiB")]
    TooLarge,
    /// More than [`MAX_CHAIN`] certificates.
    #[error("the chain has {0} certificates, more than {MAX_CHAIN}")]
    TooMany(usize),
    /// Something that cannot be read.
    #[error("{0} cannot be read")]
    Malformed(&'static str),
    /// Not exactly one URI name (X.509-SVID §2).
    #[error("the certificate has {0} URI names instead of exactly one")]
    Uris(usize),
    /// The URI is not a SPIFFE ID.
    #[error("the certificate's name {text:?} is not a SPIFFE ID: {reason}")]
    InvalidId {
        /// Its first 128 characters.
        text: String,
        /// The rule that it breaks.
        reason: InvalidSpiffeId,
    },
    /// A leaf that may sign certificates (X.509-SVID §4.1).
    #[error("the certificate is a certificate authority's")]
    Authority,
    /// Key usage that the specification forbids (X.509-SVID §4.3).
    #[error("the certificate's key usage {0}")]
    KeyUsage(&'static str),
    /// Not for both TLS server and TLS client authentication (X.509-SVID §4.4).
    #[error("the certificate is not meant for both TLS servers and TLS clients")]
    Purpose,
    /// An intermediate that is not meant for signing certificates.
    #[error("an intermediate certificate's key usage does not allow signing certificates")]
    SignerUsage,
    /// No bundle for the peer's trust domain.
    #[error("the trust domain {0} is not trusted here")]
    UnknownTrustDomain(TrustDomain),
    /// Not valid yet, expired, not signed by the bundle's roots.
    #[error("the chain is refused: {}", reason(.0))]
    Chain(webpki::Error),
    /// Another identity than the one that was called.
    #[error("the peer is {presented}, not {expected}")]
    Unexpected {
        /// Who it is.
        presented: SpiffeId,
        /// Who was expected.
        expected: Expected,
    },
    /// A pinned server did not send the root of the pinned hash.
    #[error("no certificate that the server sent has the pinned SHA-256")]
    PinNotFound,
}

/// Whom a client expects at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This identity.
    Exactly(SpiffeId),
    /// One of these.
    AnyOf(Vec<SpiffeId>),
}

impl Expected {
    /// Whether the identity is one of the expected.
    pub fn admits(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Exactly(expected) => expected == id,
            Self::AnyOf(expected) => expected.contains(id),
        }
    }

    fn check(&self, id: &SpiffeId) -> Result<(), VerifyError> {
        if self.admits(id) {
            Ok(())
        } else {
            Err(VerifyError::Unexpected { presented: id.clone(), expected: self.clone() })
        }
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(id) => id.fmt(f),
            Self::AnyOf(ids) => {
                f.write_str("one of [")?;
                for (index, id) in ids.iter().enumerate() {
                    write!(f, "{}{id}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// Which end of the connection the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The peer accepted the connection.
    Server,
    /// The peer made the connection.
    Client,
}

/// Who the peer is: its certificate is an X.509-SVID, and its chain leads to a root of *its own* trust domain's bundle.
pub fn verify_peer(
    bundles: &TrustBundles,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    role: Role,
    now: UnixTime,
) -> Result<SpiffeId, VerifyError> {
    let id = inspect(leaf, intermediates)?;
    let domain = id.trust_domain();
    let bundle = bundles.of(&domain).ok_or(VerifyError::UnknownTrustDomain(domain))?;
    verify_chain(bundle, leaf, intermediates, role, now)?;
    Ok(id)
}

/// The SPIFFE ID of a certificate that has been verified already, for example of
/// `peer_certificates()` of a finished handshake.
pub fn identity_of(leaf: &CertificateDer<'_>) -> Result<SpiffeId, VerifyError> {
    leaf::inspect(leaf).map(|leaf| leaf.id)
}

/// Until when a certificate that has been verified already is valid.
///
/// # Errors
/// It is no SVID.
pub fn not_after_of(leaf: &CertificateDer<'_>) -> Result<SystemTime, VerifyError> {
    leaf::inspect(leaf).map(|leaf| text::time(leaf.not_after))
}

/// webpki's refusal for people: what happens in practice in words, the rest by webpki's name for it.
fn reason(error: &webpki::Error) -> String {
    match error {
        webpki::Error::CertExpired { not_after, .. } => {
            format!("a certificate expired at {}", text::rfc3339(not_after.as_secs()))
        }
        webpki::Error::CertNotValidYet { not_before, .. } => {
            format!("a certificate is not valid before {}", text::rfc3339(not_before.as_secs()))
        }
        webpki::Error::UnknownIssuer => "no root of its trust domain's bundle signed it".to_owned(),
        webpki::Error::InvalidSignatureForPublicKey => {
            "a signature is not of the issuer that it names (another root of the same name?)".to_owned()
        }
        other => other.to_string(),
    }
}

fn inspect(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<SpiffeId, VerifyError> {
    if intermediates.len() >= MAX_CHAIN {
        return Err(VerifyError::TooMany(intermediates.len() + 1));
    }
    identity_of(leaf)
}

fn verify_chain(
    bundle: &TrustBundle,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    role: Role,
    now: UnixTime,
) -> Result<(), VerifyError> {
    let usage = match role {
        Role::Server => webpki::KeyUsage::server_auth(),
        Role::Client => webpki::KeyUsage::client_auth(),
    };
    let algorithms = crate::tls::provider().signature_verification_algorithms.all;
    let end_entity = webpki::EndEntityCert::try_from(leaf).map_err(VerifyError::Chain)?;
    let path = end_entity
        .verify_for_usage(algorithms, bundle.anchors(), intermediates, now, usage, None, None)
        .map_err(VerifyError::Chain)?;
    path.intermediate_certificates().try_for_each(|signer| leaf::inspect_signer(&signer.der()))
}
