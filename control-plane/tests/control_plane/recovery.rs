//! An expired certificate is good for one recovery, and for nothing else.
use std::time::{Duration, SystemTime};

use tonic::{Code, Status};
use weft_certs::{KeyPair, certificate_request, recovery};
use weft_control_plane::wire::RecoveryRevocation;
use weft_proto::{
    envoy::config::core::v3::Node,
    weft::{ChallengeRequest, RecoverRequest, SignResponse, certificate_service_client::CertificateServiceClient},
};

use crate::support::{Member, Plane, eventually, sign, within};

/// A control plane that gives out certificates of two seconds, and one that has expired.
async fn expired(recovery: Duration) -> (Plane, Member) {
    let plane = Plane::with(|config| {
        config.leaf_lifetime = Duration::from_secs(2);
        config.recovery = recovery;
    })
    .await;
    let member = plane.join("web").await;
    until_expired(&member).await;
    (plane, member)
}

async fn until_expired(member: &Member) {
    // A second more: the last one belongs to the certificate.
    let end = member.svid.not_after() + Duration::from_secs(1);
    eventually("its end", async || (SystemTime::now() > end).then_some(())).await;
}

/// Recovers a member's certificate with a new key, as `prover` signs.
async fn recover(plane: &Plane, member: &Member, prover: &Member, key: &KeyPair) -> Result<SignResponse, Status> {
    let mut client = CertificateServiceClient::new(plane.joining().await);
    let challenge = within("a challenge", client.challenge(ChallengeRequest {})).await?.into_inner().challenge;
    let csr = certificate_request(key).unwrap();
    let proof = recovery::prove(&prover.svid, &challenge, &csr).unwrap();
    let chain = member.svid.chain().iter().map(|certificate| certificate.to_vec()).collect();
    Ok(within("an answer", client.recover(RecoverRequest { csr, chain, challenge, proof })).await?.into_inner())
}

async fn audited(plane: &Plane, action: &str) -> bool {
    let listed = plane.client().recovery().await.unwrap();
    match action {
        "used" => listed.used.len() == 1,
        _ => listed.revoked.len() == 1,
    }
}

#[tokio::test]
async fn an_expired_certificate_is_recovered_once_and_again_only_for_the_same_key() {
    let (plane, member) = expired(Duration::from_secs(3_600)).await;
    let key = KeyPair::generate().unwrap();
    let recovered = recover(&plane, &member, &member, &key).await.unwrap();
    let recovered = Member::new(key.clone(), recovered);
    assert_eq!(recovered.id(), member.id());
    // The answer may have been lost.
    recover(&plane, &member, &member, &key).await.unwrap();
    let twice = recover(&plane, &member, &member, &KeyPair::generate().unwrap()).await.unwrap_err();
    assert_eq!(twice.code(), Code::PermissionDenied);
    assert!(twice.message().contains("was used for recovery at"), "{}", twice.message());
    assert!(audited(&plane, "used").await);
    // What was recovered is as good as any other certificate.
    assert!(sign(plane.channel(&recovered).await, &key, "").await.is_ok());
}

#[tokio::test]
async fn the_memory_of_a_used_certificate_outlives_the_control_plane() {
    let (mut plane, member) = expired(Duration::from_secs(3_600)).await;
    recover(&plane, &member, &member, &KeyPair::generate().unwrap()).await.unwrap();
    plane.stop().await;
    plane.start_again().await.unwrap();
    let twice = recover(&plane, &member, &member, &KeyPair::generate().unwrap()).await.unwrap_err();
    assert!(twice.message().contains("was used for recovery"), "{}", twice.message());
}

#[tokio::test]
async fn an_expired_certificate_opens_neither_streams_nor_a_renewal() {
    let (plane, member) = expired(Duration::from_secs(3_600)).await;
    let node = Node { id: "shop/web-1".to_owned(), ..Node::default() };
    // The handshake's last flight is the client's: the refusal comes with the first call.
    let ads = plane.ads_as(&member, node).await;
    assert!(ads.is_err(), "an ADS stream was opened by an expired certificate");
    let renewal = sign(plane.channel(&member).await, &KeyPair::generate().unwrap(), "").await;
    let text = format!("{:?}", renewal.unwrap_err());
    assert!(text.contains("CertificateExpired"), "{text}");
}

#[tokio::test]
async fn who_has_the_certificate_without_its_key_gets_nothing() {
    let (plane, member) = expired(Duration::from_secs(3_600)).await;
    let thief = plane.join("intruder").await;
    let refused = recover(&plane, &member, &thief, &KeyPair::generate().unwrap()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("not by the certificate's key"), "{}", refused.message());
    let early = recover(&plane, &thief, &thief, &KeyPair::generate().unwrap()).await;
    // It may have come to its own end by now, which is another test's matter.
    assert!(early.is_err() || !thief.svid.is_valid_at(SystemTime::now()));
    assert!(recover(&plane, &member, &member, &KeyPair::generate().unwrap()).await.is_ok(), "it was not used up");
}

#[tokio::test]
async fn a_revoked_recovery_is_refused_until_the_workload_joins_by_a_new_token() {
    let (plane, member) = expired(Duration::from_secs(3_600)).await;
    let request = RecoveryRevocation { namespace: "shop".to_owned(), account: "web".to_owned() };
    let revoked = plane.client().revoke_recovery(&request).await.unwrap();
    assert_eq!(revoked.identity, member.id().to_string());
    let refused = recover(&plane, &member, &member, &KeyPair::generate().unwrap()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("was revoked; join again"), "{}", refused.message());
    assert!(audited(&plane, "revoked").await);
    // A token is a person's word, and newer.
    plane.join("web").await;
}

#[tokio::test]
async fn a_certificate_that_expired_before_the_window_or_where_there_is_none_is_refused() {
    for window in [Duration::ZERO, Duration::from_secs(1)] {
        let (plane, member) = expired(window).await;
        let late = member.svid.not_after() + window + Duration::from_secs(1);
        eventually("the window's end", async || (SystemTime::now() > late).then_some(())).await;
        let refused = recover(&plane, &member, &member, &KeyPair::generate().unwrap()).await.unwrap_err();
        assert!(refused.message().contains("longer ago than"), "{}", refused.message());
    }
}
