//! The certificate authority of a trust domain: a root that signs intermediates, an intermediate that signs SVIDs.
use std::{
    fmt,
    time::{Duration, SystemTime},
};

use rcgen::Issuer;
use rustls_pki_types::CertificateDer;
use weft_model::{SpiffeId, TrustDomain};
use zeroize::Zeroizing;

use crate::{
    BundleError, CaPin, CsrError, KeyError, KeyPair, Svid, SvidError, TrustBundle, certificate_request,
    csr::proven_public_key,
    issue::{self, Validity},
    key::PublicPoint,
    sealing::{SealError, SealingKey},
    text,
};

mod sealed;

/// The longest life of an SVID, and the usual one.
pub const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How far NotBefore lies back, for clocks that are behind ours. Seconds.
const BACKDATE: u64 = 60;
/// Seconds.
const ROOT_LIFETIME: u64 = 3650 * 24 * 3600;
/// Seconds.
const INTERMEDIATE_LIFETIME: u64 = 365 * 24 * 3600;

/// Why the authority did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// The request is refused.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The identity belongs to another trust domain.
    #[error("{id} is not of the trust domain {domain}")]
    OtherTrustDomain {
        /// The identity that was asked for.
        id: SpiffeId,
        /// The authority's own domain.
        domain: TrustDomain,
    },
    /// A certificate that never is valid.
    #[error("a certificate's lifetime must be at least one second")]
    NoLifetime,
    /// The signing certificate is not valid at the time.
    #[error("the {what} certificate is valid from {from} to {to} only")]
    OutOfValidity {
        /// `root` or `intermediate`.
        what: &'static str,
        /// RFC 3339.
        from: String,
        /// RFC 3339.
        to: String,
    },
    /// A key could not be made or used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No random numbers.
    #[error("the system gives no random numbers")]
    Randomness,
    /// A certificate could not be encoded or signed.
    #[error("a certificate could not be encoded and signed")]
    Encoding,
    /// What was signed does not pass our own checks.
    #[error(transparent)]
    Svid(#[from] SvidError),
    /// The root does not make a bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The stored authority cannot be sealed or opened.
    #[error("the stored certificate authority: {0}")]
    Seal(#[from] SealError),
    /// The stored authority was opened and is not one.
    #[error("the stored certificate authority is damaged: {0}")]
    Damaged(&'static str),
}

/// What the authority answers a request with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedChain {
    /// Leaf first, then the intermediate, DER. The root is not in it.
    pub chain: Vec<CertificateDer<'static>>,
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
}

/// The certificate authority of one trust domain, with its private keys.
#[derive(Clone)]
pub struct Authority {
    trust_domain: TrustDomain,
    root: SigningCertificate,
    intermediate: SigningCertificate,
    /// The bundle's sequence number.
    sequence: u64,
}

#[derive(Clone)]
struct SigningCertificate {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    validity: Validity,
}

impl Authority {
    /// A new root (10 years, path length 1) and intermediate (1 year, path length 0), each with a key of its own.
    pub fn create(trust_domain: TrustDomain, now: SystemTime) -> Result<Self, AuthorityError> {
        let root = SigningCertificate::root(&trust_domain, text::seconds(now))?;
        let intermediate = root.intermediate(&trust_domain, text::seconds(now))?;
        Ok(Self { trust_domain, root, intermediate, sequence: 1 })
    }

    /// A certificate for the key of a PKCS#10 request (DER) whose sender proves to have it. The identity is the
    /// argument's: what the request says of subject, names, extensions is ignored. It lives for `lifetime`, at most
    /// [`MAX_LIFETIME`], never longer than the intermediate, and is back-dated by at most 60 s.
    pub fn sign(
        &self,
        csr: &[u8],
        id: &SpiffeId,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<SignedChain, AuthorityError> {
        if !id.is_of(&self.trust_domain) {
            return Err(AuthorityError::OtherTrustDomain { id: id.clone(), domain: self.trust_domain.clone() });
        }
        let lifetime = lifetime.min(MAX_LIFETIME).as_secs();
        if lifetime == 0 {
            return Err(AuthorityError::NoLifetime);
        }
        let now = text::seconds(now);
        let signer = self.intermediate.valid_at("intermediate", now)?;
        let point = proven_public_key(csr)?;
        let validity = Validity {
            not_before: now.saturating_sub(BACKDATE).max(signer.validity.not_before),
            not_after: now.saturating_add(lifetime).min(signer.validity.not_after),
        };
        let leaf = signer.sign(&issue::leaf(id, validity)?, &PublicPoint(&point))?;
        Ok(SignedChain {
            chain: vec![leaf, signer.certificate.clone()],
            not_before: text::time(validity.not_before),
            not_after: text::time(validity.not_after),
        })
    }

    /// An SVID with a key made here, for the control plane itself. Others make their own key and
    /// [ask](certificate_request).
    pub fn issue(&self, id: &SpiffeId, lifetime: Duration, now: SystemTime) -> Result<Svid, AuthorityError> {
        let key = KeyPair::generate()?;
        let signed = self.sign(&certificate_request(&key)?, id, lifetime, now)?;
        Ok(Svid::new(signed.chain, key)?)
    }

    /// A new intermediate with a new key, from the same root. SVIDs of the former one stay valid: they carry it.
    pub fn renew_intermediate(&mut self, now: SystemTime) -> Result<(), AuthorityError> {
        self.intermediate = self.root.intermediate(&self.trust_domain, text::seconds(now))?;
        Ok(())
    }

    /// From when until when the intermediate is valid. It is renewed before half of that is over, so that no SVID is
    /// ever cut short by it.
    pub fn intermediate_validity(&self) -> (SystemTime, SystemTime) {
        let Validity { not_before, not_after } = self.intermediate.validity;
        (text::time(not_before), text::time(not_after))
    }

    /// Whose authority it is.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The root certificate, DER.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root.certificate
    }

    /// The intermediate certificate that signs now, DER.
    pub fn intermediate(&self) -> &CertificateDer<'static> {
        &self.intermediate.certificate
    }

    /// The root's SHA-256, for join and context files.
    pub fn pin(&self) -> CaPin {
        CaPin::of(self.root())
    }

    /// The bundle that peers check the domain's SVIDs against.
    pub fn bundle(&self) -> Result<TrustBundle, AuthorityError> {
        Ok(TrustBundle::new(self.trust_domain.clone(), vec![self.root.certificate.clone()], self.sequence)?)
    }

    /// Certificates and keys in the only form in which they leave memory.
    pub fn seal(&self, key: &SealingKey) -> Result<Vec<u8>, AuthorityError> {
        Ok(key.seal(sealed::CONTEXT, &sealed::encode(self)?)?)
    }

    /// The authority that [`seal`](Self::seal) wrote.
    ///
    /// # Errors
    /// [`AuthorityError::Seal`] with [`SealError::OtherKey`] when it was sealed with another key.
    pub fn open(key: &SealingKey, sealed: &[u8]) -> Result<Self, AuthorityError> {
        let plain: Zeroizing<Vec<u8>> = key.open(sealed::CONTEXT, sealed)?;
        sealed::decode(&plain)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({}, root {})", self.trust_domain, self.pin())
    }
}

impl SigningCertificate {
    fn root(domain: &TrustDomain, now: u64) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let validity =
            Validity { not_before: now.saturating_sub(BACKDATE), not_after: now.saturating_add(ROOT_LIFETIME) };
        let parameters = issue::signer(domain, "root", 1, validity)?;
        let certificate = parameters.self_signed(&key).map_err(|_| AuthorityError::Encoding)?;
        Ok(Self { certificate: certificate.into(), key, validity })
    }

    fn intermediate(&self, domain: &TrustDomain, now: u64) -> Result<Self, AuthorityError> {
        self.valid_at("root", now)?;
        let key = KeyPair::generate()?;
        let validity = Validity {
            not_before: now.saturating_sub(BACKDATE).max(self.validity.not_before),
            not_after: now.saturating_add(INTERMEDIATE_LIFETIME).min(self.validity.not_after),
        };
        let certificate = self.sign(&issue::signer(domain, "intermediate", 0, validity)?, &key)?;
        Ok(Self { certificate, key, validity })
    }

    fn sign(
        &self,
        parameters: &rcgen::CertificateParams,
        public_key: &impl rcgen::PublicKeyData,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key).map_err(|_| AuthorityError::Encoding)?;
        let certificate = parameters.signed_by(public_key, &issuer).map_err(|_| AuthorityError::Encoding)?;
        Ok(certificate.into())
    }

    fn valid_at(&self, what: &'static str, now: u64) -> Result<&Self, AuthorityError> {
        let Validity { not_before, not_after } = self.validity;
        if (not_before..not_after).contains(&now) {
            Ok(self)
        } else {
            let (from, to) = (text::rfc3339(not_before), text::rfc3339(not_after));
            Err(AuthorityError::OutOfValidity { what, from, to })
        }
    }
}
