//! Trust bundles: the roots of each trust domain, never mixed.
use std::{collections::BTreeMap, fmt, sync::Arc};

use rustls_pki_types::{CertificateDer, TrustAnchor};
use weft_model::TrustDomain;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The most roots that a bundle may hold: enough for several rotations at once.
pub const MAX_ROOTS: usize = 16;

/// The largest certificate that is looked at, in bytes.
pub(crate) const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// Why roots are not a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A bundle without roots trusts nobody; a domain to forget is removed instead.
    #[error("the bundle of {0} has no roots")]
    Empty(TrustDomain),
    /// More than [`MAX_ROOTS`].
    #[error("the bundle of {0} has more than {MAX_ROOTS} roots")]
    TooMany(TrustDomain),
    /// A root cannot be read, or may not sign certificates.
    #[error("root {index} of the bundle of {domain} {reason}")]
    Root {
        /// Whose bundle.
        domain: TrustDomain,
        /// Which root, from 0.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A bundle with a smaller sequence number than the one in force.
    #[error("the bundle of {domain} has sequence {offered}, older than {held}")]
    Older {
        /// Whose bundle.
        domain: TrustDomain,
        /// The sequence number in force.
        held: u64,
        /// The one that was offered.
        offered: u64,
    },
}

/// The roots of one trust domain. Cloning is cheap.
#[derive(Clone)]
pub struct TrustBundle(Arc<Inner>);

struct Inner {
    trust_domain: TrustDomain,
    roots: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
    sequence: u64,
}

impl TrustBundle {
    /// A bundle of 1 to [`MAX_ROOTS`] root certificates (DER). Each must be a certificate authority's, and if it names
    /// a SPIFFE trust domain (X.509-SVID §2), this one: another domain's root is refused. `sequence` grows with each
    /// change (SPIFFE Trust Domain and Bundle §4.1.2).
    pub fn new(
        trust_domain: TrustDomain,
        roots: Vec<CertificateDer<'static>>,
        sequence: u64,
    ) -> Result<Self, BundleError> {
        if roots.is_empty() {
            return Err(BundleError::Empty(trust_domain));
        }
        if roots.len() > MAX_ROOTS {
            return Err(BundleError::TooMany(trust_domain));
        }
        let mut anchors = Vec::with_capacity(roots.len());
        for (index, root) in roots.iter().enumerate() {
            match anchor(&trust_domain, root) {
                Ok(anchor) => anchors.push(anchor),
                Err(reason) => return Err(BundleError::Root { domain: trust_domain, index, reason }),
            }
        }
        Ok(Self(Arc::new(Inner { trust_domain, roots, anchors, sequence })))
    }

    /// Whose roots these are.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    /// The root certificates, DER.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.0.roots
    }

    /// Grows with each change.
    pub fn sequence(&self) -> u64 {
        self.0.sequence
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.0.anchors
    }
}

/// What webpki needs of a root, or what is wrong with it.
fn anchor(domain: &TrustDomain, root: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, &'static str> {
    if root.len() > MAX_CERTIFICATE_BYTES {
        return Err("is larger than 16 KiB");
    }
    let (rest, parsed) = X509Certificate::from_der(root).map_err(|_| "is not an X.509 certificate")?;
    if !rest.is_empty() {
        return Err("is followed by other bytes");
    }
    if !parsed.is_ca() {
        return Err("is not a certificate authority's");
    }
    let names = parsed.subject_alternative_name().map_err(|_| "has malformed alternative names")?;
    let own = format!("spiffe://{domain}");
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        if matches!(name, GeneralName::URI(uri) if uri.starts_with("spiffe:") && *uri != own) {
            return Err("names another trust domain");
        }
    }
    webpki::anchor_from_trusted_cert(root)
        .map(|anchor| anchor.to_owned())
        .map_err(|_| "is not usable as a trust anchor")
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &Self) -> bool {
        (self.trust_domain(), self.roots(), self.sequence()) == (other.trust_domain(), other.roots(), other.sequence())
    }
}

impl Eq for TrustBundle {}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { trust_domain, roots, anchors: _, sequence } = &*self.0;
        write!(f, "TrustBundle({trust_domain}, {} roots, sequence {sequence})", roots.len())
    }
}

/// The bundles by trust domain. A certificate is only ever checked against its own domain's roots
/// (SPIFFE-ID §2.1): two domains' roots are never put together. Cloning is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustBundles(Arc<BTreeMap<TrustDomain, TrustBundle>>);

impl TrustBundles {
    /// No domain is trusted.
    pub fn none() -> Self {
        Self::default()
    }

    /// The bundle of a domain.
    pub fn of(&self, domain: &TrustDomain) -> Option<&TrustBundle> {
        self.0.get(domain)
    }

    /// All bundles, by domain.
    pub fn iter(&self) -> impl Iterator<Item = &TrustBundle> {
        self.0.values()
    }

    /// Takes a bundle in place of the one that its domain has.
    ///
    /// # Errors
    /// [`BundleError::Older`] when its sequence number is smaller than that of the one in force.
    pub fn replace(&mut self, bundle: TrustBundle) -> Result<(), BundleError> {
        if let Some(held) = self.of(bundle.trust_domain()).map(TrustBundle::sequence)
            && bundle.sequence() < held
        {
            let domain = bundle.trust_domain().clone();
            return Err(BundleError::Older { domain, held, offered: bundle.sequence() });
        }
        Arc::make_mut(&mut self.0).insert(bundle.trust_domain().clone(), bundle);
        Ok(())
    }

    /// Stops trusting a domain.
    pub fn remove(&mut self, domain: &TrustDomain) {
        Arc::make_mut(&mut self.0).remove(domain);
    }
}

impl From<TrustBundle> for TrustBundles {
    fn from(bundle: TrustBundle) -> Self {
        Self(Arc::new(BTreeMap::from([(bundle.trust_domain().clone(), bundle)])))
    }
}
