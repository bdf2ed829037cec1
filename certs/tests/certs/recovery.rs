//! Proofs by expired certificates.
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use rustls_pki_types::CertificateDer;
use weft_certs::{
    Authority, KeyPair, Svid, TrustBundles, certificate_request,
    recovery::{self, CHALLENGE_LIFETIME, Challenges, Offer, Recoverable, RecoveryError},
    verify::VerifyError,
};

use crate::support::{HOUR, domain, noon, web};

const DAY: Duration = Duration::from_secs(24 * 3600);
const WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// A mesh whose `web` has a certificate of an hour since noon.
struct World {
    bundles: TrustBundles,
    challenges: Challenges,
    svid: Svid,
    csr: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let authority = Authority::create(domain("weft.local"), noon()).unwrap();
        Self {
            bundles: authority.bundle().unwrap().into(),
            challenges: Challenges::new().unwrap(),
            svid: authority.issue(&web(), HOUR, noon()).unwrap(),
            csr: certificate_request(&KeyPair::generate().unwrap()).unwrap(),
        }
    }

    /// What a challenge of `now`, answered by an SVID with a chain, comes to at `now`.
    fn recover(
        &self,
        prover: &Svid,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<Recoverable, RecoveryError> {
        let challenge = self.challenges.issue(now).unwrap();
        let proof = recovery::prove(prover, &challenge, &self.csr).unwrap();
        let offer = Offer { challenge: &challenge, csr: &self.csr, chain, proof: &proof };
        recovery::verify(&self.challenges, &self.bundles, WINDOW, &offer, now)
    }

    fn at(&self, now: SystemTime) -> Result<Recoverable, RecoveryError> {
        self.recover(&self.svid, self.svid.chain(), now)
    }
}

#[test]
fn an_expired_certificate_proves_whose_it_was_until_the_window_closes() {
    let world = World::new();
    let end = noon() + HOUR;
    for late in [Duration::from_secs(1), DAY, WINDOW] {
        let proven = world.at(end + late).unwrap();
        assert_eq!((proven.identity, proven.not_after), (web(), end));
        assert_eq!(proven.serial.len(), 32);
    }
    let late = world.at(end + WINDOW + Duration::from_secs(1)).unwrap_err();
    assert!(matches!(late, RecoveryError::TooLate { .. }) && late.to_string().contains("168 h"), "{late}");
}

#[test]
fn a_certificate_that_is_valid_or_not_yet_is_no_case_for_recovery() {
    let world = World::new();
    for early in [noon(), noon() + HOUR] {
        assert!(matches!(world.at(early), Err(RecoveryError::StillValid(_))));
    }
    assert!(matches!(world.at(noon() - HOUR), Err(RecoveryError::NotYetValid(_))));
}

#[test]
fn another_key_another_mesh_and_no_certificate_prove_nothing() {
    let (world, now) = (World::new(), noon() + DAY);
    let other = World::new();
    // The thief has the certificate, which is public, and a key of its own.
    assert_eq!(world.recover(&other.svid, world.svid.chain(), now), Err(RecoveryError::Proof));
    // A certificate of the same name by another root.
    let foreign = world.recover(&other.svid, other.svid.chain(), now);
    assert!(matches!(foreign, Err(RecoveryError::Certificate(VerifyError::Chain(_)))), "{foreign:?}");
    assert_eq!(world.recover(&world.svid, &[], now), Err(RecoveryError::NoCertificate));
    // A certificate that signs others is nobody's.
    let signer = world.recover(&world.svid, &world.svid.chain()[1..], now);
    assert!(matches!(signer, Err(RecoveryError::Certificate(VerifyError::Authority))), "{signer:?}");
}

#[test]
fn a_challenge_is_of_this_server_and_answered_in_time() {
    let (world, now) = (World::new(), noon() + DAY);
    let answer = |challenge: &[u8], at| {
        let proof = recovery::prove(&world.svid, challenge, &world.csr).unwrap();
        let offer = Offer { challenge, csr: &world.csr, chain: world.svid.chain(), proof: &proof };
        recovery::verify(&world.challenges, &world.bundles, WINDOW, &offer, at)
    };
    let challenge = world.challenges.issue(now).unwrap();
    assert!(answer(&challenge, now + CHALLENGE_LIFETIME).is_ok());
    let late = now + CHALLENGE_LIFETIME + Duration::from_secs(1);
    assert_eq!(answer(&challenge, late), Err(RecoveryError::Challenge));
    assert_eq!(answer(&challenge, now - Duration::from_secs(1)), Err(RecoveryError::Challenge));
    let foreign = Challenges::new().unwrap().issue(now).unwrap();
    assert_eq!(answer(&foreign, now), Err(RecoveryError::Challenge));
    for end in 0..challenge.len() {
        assert_eq!(answer(&challenge[..end], now), Err(RecoveryError::Challenge), "cut at {end}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// The proof is for one request and one challenge: whatever is changed of it, of them or of the certificate, it is
    /// none any more.
    #[test]
    fn no_changed_byte_of_an_offer_is_taken(part in 0usize..4, at: prop::sample::Index, flip in 1u8..) {
        let (world, now) = (World::new(), noon() + DAY);
        let challenge = world.challenges.issue(now).unwrap();
        let proof = recovery::prove(&world.svid, &challenge, &world.csr).unwrap();
        let mut parts = [challenge, world.csr.clone(), world.svid.chain()[0].to_vec(), proof];
        let length = parts[part].len();
        parts[part][at.index(length)] ^= flip;
        let [challenge, csr, leaf, proof] = parts;
        let mut chain = world.svid.chain().to_vec();
        chain[0] = leaf.into();
        let offer = Offer { challenge: &challenge, csr: &csr, chain: &chain, proof: &proof };
        prop_assert!(recovery::verify(&world.challenges, &world.bundles, WINDOW, &offer, now).is_err());
    }
}
