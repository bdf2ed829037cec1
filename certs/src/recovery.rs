//! Recovery: an expired certificate proves, once, that its owner may have another.
//!
//! Nothing is ever accepted by an expired certificate but this proof: it is no TLS client authentication. The client
//! speaks to a server that it has authenticated, is given a [challenge](Challenges), and signs it together with its
//! request by the key of the expired certificate. The server checks the proof here; that a certificate is used once, and
//! not at all after its recovery was revoked, is up to its store.
use std::time::{Duration, SystemTime};

use aws_lc_rs::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use rustls_pki_types::{CertificateDer, UnixTime};
use weft_model::SpiffeId;

use crate::{
    KeyError, Svid, TrustBundles, leaf, text,
    verify::{Role, VerifyError, verify_peer},
};

/// How long a challenge may be answered.
pub const CHALLENGE_LIFETIME: Duration = Duration::from_secs(30);
/// How long after its expiry a certificate may be used for recovery, where nothing else is said: 7 days.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

const NONCE_LEN: usize = 16;
const TIME_LEN: usize = 8;
/// What is signed begins so: it is neither a TLS handshake (RFC 8446 §4.4.3: 64 spaces) nor a certificate request (DER).
const PURPOSE: &[u8] = b"weft certificate recovery 1\0";

/// Why a recovery is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// The challenge is not of this server, or too old.
    #[error("the challenge is not of this control plane, or older than {} s", CHALLENGE_LIFETIME.as_secs())]
    Challenge,
    /// The certificate is not one that was ever good here.
    #[error(transparent)]
    Certificate(#[from] VerifyError),
    /// No certificate was shown.
    #[error("no certificate was shown")]
    NoCertificate,
    /// The signature is not by the certificate's key, or over something else.
    #[error("the proof is not by the certificate's key")]
    Proof,
    /// It begins later than now.
    #[error("the certificate is not valid before {}", text::rfc3339(*.0))]
    NotYetValid(u64),
    /// It has not expired.
    #[error("the certificate is valid until {}: renew it by showing it", text::rfc3339(*.0))]
    StillValid(u64),
    /// It expired too long ago.
    #[error("the certificate expired at {}, longer ago than the {} h in which it may be recovered", text::rfc3339(*.not_after), .window.as_secs() / 3600)]
    TooLate {
        /// When it expired, in seconds since 1970.
        not_after: u64,
        /// The recovery time.
        window: Duration,
    },
}

/// What an expired certificate has proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recoverable {
    /// Who its owner is.
    pub identity: SpiffeId,
    /// Its serial number, as hexadecimal digits: the certificate's name in the authority. Its bytes are not one: a second
    /// valid form of an ECDSA signature is found by anybody.
    pub serial: String,
    /// From when it was valid.
    pub not_before: SystemTime,
    /// When it expired.
    pub not_after: SystemTime,
}

/// Makes challenges and knows its own, without keeping them: each carries its time and an authentication code.
pub struct Challenges(hmac::Key);

impl std::fmt::Debug for Challenges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Challenges")
    }
}

impl Challenges {
    /// Challenges under a new key.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new() -> Result<Self, KeyError> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        key.map(Self).map_err(|_| KeyError::Library("make a key for challenges"))
    }

    /// A challenge that may be answered for [`CHALLENGE_LIFETIME`].
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn issue(&self, now: SystemTime) -> Result<Vec<u8>, KeyError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| KeyError::Library("draw a challenge"))?;
        let mut challenge = text::seconds(now).to_be_bytes().to_vec();
        challenge.extend_from_slice(&nonce);
        let code = hmac::sign(&self.0, &challenge);
        challenge.extend_from_slice(code.as_ref());
        Ok(challenge)
    }

    /// Whether a challenge was issued here and is young enough.
    fn knows(&self, challenge: &[u8], now: SystemTime) -> bool {
        let Some((said, code)) = challenge.split_at_checked(TIME_LEN + NONCE_LEN) else { return false };
        let Some((time, _)) = said.split_first_chunk() else { return false };
        let age = text::seconds(now).checked_sub(u64::from_be_bytes(*time));
        age.is_some_and(|age| age <= CHALLENGE_LIFETIME.as_secs()) && hmac::verify(&self.0, said, code).is_ok()
    }
}

/// The proof that an SVID's owner answers a challenge with this request.
///
/// # Errors
/// The cryptographic library fails.
pub fn prove(svid: &Svid, challenge: &[u8], csr: &[u8]) -> Result<Vec<u8>, KeyError> {
    let leaf = svid.chain().first().map(AsRef::as_ref).unwrap_or_default();
    svid.key().signature(&statement(challenge, csr, leaf)).ok_or(KeyError::Library("sign a challenge"))
}

/// Checks a proof by an expired certificate: it is an SVID of this bundle's domain that was good until it expired, at most
/// `window` ago, and its key signed the challenge and the request.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(
    challenges: &Challenges,
    bundles: &TrustBundles,
    window: Duration,
    offer: &Offer<'_>,
    now: SystemTime,
) -> Result<Recoverable, RecoveryError> {
    let Offer { challenge, csr, chain, proof } = *offer;
    if !challenges.knows(challenge, now) {
        return Err(RecoveryError::Challenge);
    }
    let (certificate, intermediates) = chain.split_first().ok_or(RecoveryError::NoCertificate)?;
    let leaf = leaf::inspect(certificate)?;
    let seconds = text::seconds(now);
    if seconds < leaf.not_before {
        return Err(RecoveryError::NotYetValid(leaf.not_before));
    }
    // The last second of a certificate is part of its life (RFC 5280 §4.1.2.5).
    if seconds <= leaf.not_after {
        return Err(RecoveryError::StillValid(leaf.not_after));
    }
    if seconds - leaf.not_after > window.as_secs() {
        return Err(RecoveryError::TooLate { not_after: leaf.not_after, window });
    }
    // As peers judged it in its last second.
    let then = UnixTime::since_unix_epoch(Duration::from_secs(leaf.not_after));
    let identity = verify_peer(bundles, certificate, intermediates, Role::Client, then)?;
    let end_entity = webpki::EndEntityCert::try_from(certificate).map_err(VerifyError::Chain)?;
    let statement = statement(challenge, csr, certificate);
    end_entity
        .verify_signature(webpki::aws_lc_rs::ECDSA_P256_SHA256, &statement, proof)
        .map_err(|_| RecoveryError::Proof)?;
    Ok(Recoverable {
        identity,
        serial: leaf.serial,
        not_before: text::time(leaf.not_before),
        not_after: text::time(leaf.not_after),
    })
}

/// What a client offers for recovery.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The challenge that it answers.
    pub challenge: &'a [u8],
    /// Its request for the next certificate, PKCS#10, DER.
    pub csr: &'a [u8],
    /// The expired certificate and its intermediates, DER.
    pub chain: &'a [CertificateDer<'a>],
    /// What [`prove`] gave.
    pub proof: &'a [u8],
}

/// What is signed: purpose, challenge, request and certificate, the last three as digests of one length.
fn statement(challenge: &[u8], csr: &[u8], leaf: &[u8]) -> Vec<u8> {
    let digests = [challenge, csr, leaf].map(|part| text::sha256(&[part]));
    [PURPOSE, digests.as_flattened()].concat()
}
