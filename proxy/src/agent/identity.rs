//! The proxy's identity: key, certificate chain and trust bundles, in memory and in the state directory.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weft_certs::{
    CaPin, Svid, TrustBundle, TrustBundles, rfc3339_of,
    verify::{Role, VerifyError, verify_peer},
};
use weft_decide::Renewal;
use weft_model::SpiffeId;

use super::{
    pem::{self, PemError},
    state_dir::{BUNDLES, IDENTITY, StateDir, StateError},
};

/// An SVID and the bundles against which peers are checked. Cloning is cheap.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) svid: Svid,
    pub(super) bundles: TrustBundles,
}

/// Why an identity cannot be used or kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum IdentityError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("{IDENTITY}: {0}")]
    Pem(#[from] PemError),
    #[error("{BUNDLES}: {0}")]
    Bundles(String),
    #[error("the certificate is for {presented}, not {expected}")]
    Other { presented: SpiffeId, expected: SpiffeId },
    #[error("the certificate does not lead to a root of its own bundle: {0}")]
    Unverified(#[from] VerifyError),
    #[error("there are certificates but no bundles")]
    NoBundles,
}

/// One trust domain's bundle as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeptBundle {
    trust_domain: String,
    sequence: u64,
    /// PEM.
    roots: Vec<String>,
}

impl Identity {
    /// Checks that it is `expected`'s, and that peers with the same bundles will believe it now.
    pub(super) fn check(&self, expected: &SpiffeId, now: SystemTime) -> Result<(), IdentityError> {
        if self.svid.id() != expected {
            return Err(IdentityError::Other { presented: self.svid.id().clone(), expected: expected.clone() });
        }
        if let Some((leaf, intermediates)) = self.svid.chain().split_first() {
            let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
            verify_peer(&self.bundles, leaf, intermediates, Role::Server, now)?;
        }
        Ok(())
    }

    /// Whether it is `expected`'s and was good until it expired: it proves possession for the next one, and nothing else.
    pub(super) fn is_expired(&self, expected: &SpiffeId, now: SystemTime) -> bool {
        self.svid.not_after() < now && self.check(expected, self.svid.not_after()).is_ok()
    }

    /// Whether its own domain's bundle holds the root of that hash.
    pub(super) fn is_under(&self, pin: CaPin) -> bool {
        let bundle = self.bundles.of(&self.svid.id().trust_domain());
        bundle.is_some_and(|bundle| bundle.roots().iter().any(|root| CaPin::of(root) == pin))
    }

    /// What the state directory holds, unchecked; `None` if it holds none.
    pub(super) fn load(state: &StateDir) -> Result<Option<Self>, IdentityError> {
        let Some(identity) = state.load(IDENTITY)? else { return Ok(None) };
        let svid = pem::read_svid(&identity.content)?;
        let kept = state.load(BUNDLES)?.ok_or(IdentityError::NoBundles)?;
        let kept: Vec<KeptBundle> =
            serde_json::from_slice(&kept.content).map_err(|error| IdentityError::Bundles(error.to_string()))?;
        let mut bundles = TrustBundles::none();
        for kept in kept {
            let bundle = kept.bundle().map_err(IdentityError::Bundles)?;
            bundles.replace(bundle).map_err(|error| IdentityError::Bundles(error.to_string()))?;
        }
        Ok(Some(Self { svid, bundles }))
    }

    /// Keeps it in the state directory. The bundles go first: with a newer bundle an older certificate is still good.
    pub(super) fn store(&self, state: &StateDir) -> Result<(), IdentityError> {
        let kept: Vec<_> = self.bundles.iter().map(KeptBundle::of).collect();
        let kept = serde_json::to_vec_pretty(&kept).map_err(|error| IdentityError::Bundles(error.to_string()))?;
        state.keep(BUNDLES, &kept)?;
        state.keep(IDENTITY, &pem::write_svid(&self.svid)?)?;
        Ok(())
    }

    /// When to renew the certificate whose use began at `from`, since the epoch; `draw` is uniform.
    pub(super) fn renewal(&self, from: Duration, draw: u64) -> Renewal {
        let until = self.svid.not_after().duration_since(UNIX_EPOCH).unwrap_or_default();
        Renewal::new(from, until, draw)
    }

    /// Metadata for people: never a key.
    pub(super) fn describe(&self) -> Value {
        let bundle = |bundle: &TrustBundle| {
            let roots: Vec<_> = bundle.roots().iter().map(|root| CaPin::of(root).to_string()).collect();
            json!({
                "trustDomain": bundle.trust_domain().as_str(),
                "sequence": bundle.sequence(),
                "rootsSha256": roots,
            })
        };
        let in_chain = |place: usize| self.svid.chain().get(place).map(|its| CaPin::of(its).to_string());
        json!([{
            "type": "identity",
            "name": self.svid.id().as_str(),
            "notBefore": rfc3339_of(self.svid.not_before()),
            "notAfter": rfc3339_of(self.svid.not_after()),
            "certificates": self.svid.chain().len(),
            "leafSha256": in_chain(0),
            "signerSha256": in_chain(1),
            "bundles": self.bundles.iter().map(bundle).collect::<Vec<_>>(),
        }])
    }
}

impl KeptBundle {
    fn of(bundle: &TrustBundle) -> Self {
        Self {
            trust_domain: bundle.trust_domain().to_string(),
            sequence: bundle.sequence(),
            roots: bundle.roots().iter().map(pem::write_certificate).collect(),
        }
    }

    fn bundle(self) -> Result<TrustBundle, String> {
        let domain = self.trust_domain.parse().map_err(|error: weft_model::InvalidSpiffeId| error.to_string())?;
        let mut roots = Vec::new();
        for root in &self.roots {
            roots.append(&mut pem::read_certificates(root.as_bytes()).map_err(|error| error.to_string())?);
        }
        TrustBundle::new(domain, roots, self.sequence).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use weft_certs::Authority;
    use weft_model::TrustDomain;

    use super::*;

    fn identity(now: SystemTime) -> Identity {
        let authority = Authority::create(TrustDomain::default_domain(), now).unwrap();
        let id = "spiffe://weft.local/ns/shop/sa/web".parse().unwrap();
        let svid = authority.issue(&id, Duration::from_secs(60), now).unwrap();
        Identity { svid, bundles: authority.bundle().unwrap().into() }
    }

    #[test]
    fn an_identity_is_kept_over_a_restart() {
        let (base, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
        let state = StateDir::open(base.path(), String::new(), None).unwrap();
        assert!(Identity::load(&state).unwrap().is_none());
        let identity = identity(now);
        identity.store(&state).unwrap();
        let again = Identity::load(&state).unwrap().unwrap();
        assert_eq!(again.bundles, identity.bundles);
        again.check(identity.svid.id(), now).unwrap();
    }

    #[test]
    fn an_identity_of_another_account_or_time_is_not_used() {
        let now = SystemTime::now();
        let identity = identity(now);
        let other = "spiffe://weft.local/ns/shop/sa/stock".parse().unwrap();
        assert!(matches!(identity.check(&other, now), Err(IdentityError::Other { .. })));
        let late = now + Duration::from_secs(3600);
        assert!(matches!(identity.check(identity.svid.id(), late), Err(IdentityError::Unverified(_))));
        assert!(identity.is_expired(identity.svid.id(), late) && !identity.is_expired(&other, late));
        assert!(!identity.is_expired(identity.svid.id(), now));
    }

    /// X.509 counts whole seconds: a certificate that is asked for late in a second holds for less than was asked for, and
    /// is renewed before half of what it does hold for is over, however its own NotBefore is dated back.
    #[test]
    fn a_certificate_of_whole_seconds_is_due_before_half_of_what_is_left_of_it() {
        let now = UNIX_EPOCH + Duration::from_millis(1_795_176_000_999);
        let authority = Authority::create(TrustDomain::default_domain(), now).unwrap();
        let id = "spiffe://weft.local/ns/shop/sa/web".parse().unwrap();
        let svid = authority.issue(&id, Duration::from_secs(20), now).unwrap();
        let identity = Identity { svid, bundles: authority.bundle().unwrap().into() };
        let from = now.duration_since(UNIX_EPOCH).unwrap();
        let left = Duration::from_millis(19_001);
        for draw in [0, u64::MAX / 2, u64::MAX] {
            let due = identity.renewal(from, draw).due() - from;
            assert!(due >= left * 2 / 5 && due <= left / 2, "{due:?} with the draw {draw}");
        }
        let expiry = Duration::from_secs(1_795_176_020);
        let renewal = identity.renewal(from, 0);
        assert!(!renewal.is_expired(expiry - Duration::from_millis(1)) && renewal.is_expired(expiry));
    }

    #[test]
    fn the_description_holds_no_key() {
        let identity = identity(SystemTime::now());
        let text = identity.describe().to_string();
        assert!(text.contains("spiffe://weft.local/ns/shop/sa/web") && text.contains("notAfter"));
        assert!(!text.contains("PRIVATE"));
    }
}
