//! X.509-SVIDs: a chain and its key.
use std::{fmt, sync::Arc, time::SystemTime};

use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use weft_model::SpiffeId;

use crate::{
    KeyPair, leaf, text,
    verify::{MAX_CHAIN, VerifyError},
};

/// Why a chain and a key are not an SVID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    /// There is no certificate, or there are more than a chain may have.
    #[error("a chain has 1 to {MAX_CHAIN} certificates, not {0}")]
    ChainLength(usize),
    /// The leaf is no X.509-SVID.
    #[error("the leaf is no X.509-SVID: {0}")]
    Leaf(#[from] VerifyError),
    /// The leaf was made for another key.
    #[error("the leaf is for another key")]
    OtherKey,
}

/// An X.509-SVID with its private key. Cloning is cheap.
#[derive(Clone)]
pub struct Svid {
    id: SpiffeId,
    certified: Arc<CertifiedKey>,
    key: KeyPair,
    not_before: u64,
    not_after: u64,
}

impl Svid {
    /// An SVID of a chain (leaf first, then intermediates, DER) and its key. The leaf's own fields are checked, and
    /// that it is for this key; the signatures are not, because who receives it does that.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: KeyPair) -> Result<Self, SvidError> {
        let leaf = match chain.first() {
            Some(leaf) if chain.len() <= MAX_CHAIN => leaf::inspect(leaf)?,
            _ => return Err(SvidError::ChainLength(chain.len())),
        };
        if leaf.public_key_info != key.public_key_info() {
            return Err(SvidError::OtherKey);
        }
        let (id, not_before, not_after) = (leaf.id, leaf.not_before, leaf.not_after);
        let certified = Arc::new(CertifiedKey::new(chain, Arc::new(key.clone())));
        Ok(Self { id, certified, key, not_before, not_after })
    }

    /// The same, with a root at the end of the chain that it sends: a peer that knows only the root's hash
    /// ([`root_pinned_client_config`](crate::tls::root_pinned_client_config)) needs the root itself.
    pub fn sending_root(&self, root: &CertificateDer<'static>) -> Self {
        let mut chain = self.certified.cert.clone();
        chain.push(root.clone());
        Self { certified: Arc::new(CertifiedKey::new(chain, Arc::new(self.key.clone()))), ..self.clone() }
    }

    /// Whose it is.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Leaf first, then intermediates, DER.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The private key.
    pub fn key(&self) -> &KeyPair {
        &self.key
    }

    /// From when it is valid.
    pub fn not_before(&self) -> SystemTime {
        text::time(self.not_before)
    }

    /// Until when it is valid.
    pub fn not_after(&self) -> SystemTime {
        text::time(self.not_after)
    }

    /// Whether it is valid at that time.
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        (self.not_before..=self.not_after).contains(&text::seconds(now))
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = text::rfc3339(self.not_after);
        write!(f, "Svid({}, {} certificates, until {until})", self.id, self.certified.cert.len())
    }
}
