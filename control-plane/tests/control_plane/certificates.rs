//! The certificate service and the authority behind it.
use std::{
    fs,
    time::{Duration, SystemTime},
};

use tonic::Code;
use weft_certs::{CaPin, KeyPair, sealing::SealingKey};
use weft_control_plane::{OpenAuthorityError, SealingKeySource, StartError};
use weft_proto::weft::{SignRequest, certificate_service_client::CertificateServiceClient};

use crate::support::{Member, Plane, registration, sign, within};

#[tokio::test]
async fn a_join_token_is_honoured_once_for_the_identity_that_it_is_bound_to() {
    let plane = Plane::start().await;
    let token = plane.join_file("web").await.token.unwrap();
    let key = KeyPair::generate().unwrap();
    let channel = plane.joining().await;
    let signed = sign(channel.clone(), &key, token.reveal()).await.unwrap();
    assert_eq!(Member::new(key.clone(), signed).id().as_str(), "spiffe://weft.local/ns/shop/sa/web");
    let again = sign(channel.clone(), &KeyPair::generate().unwrap(), token.reveal()).await.unwrap_err();
    assert_eq!(again.code(), Code::Unauthenticated);
    assert!(again.message().contains("has been used"), "{again}");
    let unknown = sign(channel, &key, "no such token").await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unauthenticated);
}

/// A proxy whose answer was lost once got "used" for every further attempt, until a person made another token.
#[tokio::test]
async fn a_used_token_is_honoured_again_for_the_key_that_it_was_used_for() {
    let plane = Plane::start().await;
    let token = plane.join_file("web").await.token.unwrap();
    let (key, channel) = (KeyPair::generate().unwrap(), plane.joining().await);
    let first = Member::new(key.clone(), sign(channel.clone(), &key, token.reveal()).await.unwrap());
    let again = Member::new(key.clone(), sign(channel.clone(), &key, token.reveal()).await.unwrap());
    assert_eq!(again.id(), first.id());
    let other = sign(channel, &KeyPair::generate().unwrap(), token.reveal()).await.unwrap_err();
    assert!(other.message().contains("has been used"), "{other}");
}

#[tokio::test]
async fn of_two_who_present_a_token_at_once_one_succeeds() {
    let plane = Plane::start().await;
    let token = plane.join_file("web").await.token.unwrap();
    let (keys, channel) = ([(); 8].map(|()| KeyPair::generate().unwrap()), plane.joining().await);
    let calls = keys.iter().map(|key| sign(channel.clone(), key, token.reveal()));
    let results = futures::future::join_all(calls).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_request_that_cannot_be_signed_does_not_use_the_token_up() {
    let plane = Plane::start().await;
    let token = plane.join_file("web").await.token.unwrap();
    let request = SignRequest { csr: b"nonsense".to_vec(), token: token.reveal().to_owned() };
    let mut client = CertificateServiceClient::new(plane.joining().await);
    let refused = within("an answer", client.sign(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(sign(plane.joining().await, &KeyPair::generate().unwrap(), token.reveal()).await.is_ok());
}

#[tokio::test]
async fn a_certificate_in_force_gets_the_next_one_of_the_same_identity() {
    let plane = Plane::start().await;
    let member = plane.join("web").await;
    let key = KeyPair::generate().unwrap();
    let renewed = sign(plane.channel(&member).await, &key, "").await.unwrap();
    let renewed = Member::new(key, renewed);
    assert_eq!(renewed.id(), member.id());
    assert_ne!(renewed.svid.chain()[0], member.svid.chain()[0]);
}

#[tokio::test]
async fn who_shows_neither_token_nor_certificate_gets_none() {
    let plane = Plane::start().await;
    let refused = sign(plane.joining().await, &KeyPair::generate().unwrap(), "").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

/// Calls without certificate and token once emptied the bucket that renewals were taken from, for everybody.
#[tokio::test]
async fn calls_of_strangers_do_not_keep_a_certificate_from_being_renewed() {
    let plane = Plane::start().await;
    let member = plane.join("web").await;
    let (stranger, key) = (plane.joining().await, KeyPair::generate().unwrap());
    for (token, rounds, expected) in [("no such token", 10, Code::ResourceExhausted), ("", 20, Code::Unauthenticated)] {
        let mut refused = Vec::new();
        for _ in 0..rounds {
            let calls = (0..100).map(|_| sign(stranger.clone(), &key, token));
            refused.extend(futures::future::join_all(calls).await.into_iter().map(Result::unwrap_err));
        }
        assert!(refused.iter().any(|status| status.code() == expected), "{refused:?}");
    }
    assert!(sign(plane.channel(&member).await, &key, "").await.is_ok());
}

#[tokio::test]
async fn the_store_does_not_open_without_the_key_that_it_was_made_with() {
    let mut plane = Plane::start().await;
    plane.stop().await;
    let key = plane.path("sealing.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let error = plane.start_again().await.unwrap_err();
    assert!(matches!(error, StartError::Authority(OpenAuthorityError::SealingKeyGone(_))), "{error}");
    assert!(error.to_string().contains(key.to_str().unwrap()), "{error}");
    assert!(!key.exists(), "a key that opens nothing lies where its copy must be put back");
    SealingKey::load_or_create(&key, &plane.config.dir).unwrap();
    let error = plane.start_again().await.unwrap_err();
    assert!(matches!(error, StartError::Authority(OpenAuthorityError::OtherKey(_))), "{error}");
    plane.config.sealing_key = SealingKeySource::Variable("WEFT_TEST_NO_SUCH_KEY".to_owned());
    let error = plane.start_again().await.unwrap_err();
    assert!(error.to_string().contains("WEFT_TEST_NO_SUCH_KEY is not set"), "{error}");
    plane.config.sealing_key = SealingKeySource::File(plane.config.dir.join("sealing.key"));
    let error = plane.start_again().await.unwrap_err();
    assert!(error.to_string().contains("must not lie inside the store's folder"), "{error}");

    // In place of the wrong one, whose mode it keeps.
    fs::write(&key, kept).unwrap();
    plane.config.sealing_key = SealingKeySource::File(key);
    plane.start_again().await.unwrap();
}

#[tokio::test]
async fn a_store_of_another_trust_domain_is_refused() {
    let mut plane = Plane::start().await;
    plane.stop().await;
    plane.config.names.trust_domain = "other.example".parse().unwrap();
    let error = plane.start_again().await.unwrap_err();
    assert!(matches!(error, StartError::Authority(OpenAuthorityError::OtherTrustDomain { .. })), "{error}");
}

#[tokio::test]
async fn a_stream_ends_with_the_certificate_that_it_was_opened_by() {
    let plane = Plane::with(|config| config.leaf_lifetime = Duration::from_secs(3)).await;
    let member = plane.join("web").await;
    let mut agent = plane.agent(&member, registration("web-1", "web", "127.0.0.1:7001")).await;
    agent.next().await;
    assert!(member.svid.is_valid_at(SystemTime::now()));
    let ended = async { while let Ok(Some(_)) = agent.answers.message().await {} };
    within("the stream's end", ended).await;
    assert!(!member.svid.is_valid_at(SystemTime::now() + Duration::from_secs(1)), "the stream ended too early");
}

#[tokio::test]
async fn a_new_intermediate_signs_from_now_on_and_what_the_former_signed_stays_good() {
    let mut plane = Plane::start().await;
    let member = plane.join("web").await;
    let signer = |member: &Member| member.svid.chain()[1].clone();
    let mut signers = vec![signer(&member)];
    for _ in 0..3 {
        let rotated = plane.client().rotate_ca().await.unwrap();
        assert_eq!(rotated.root_sha256, plane.running().context.ca_sha256.to_string());
        let key = KeyPair::generate().unwrap();
        // The same certificate, of the first intermediate, each time.
        let renewed = Member::new(key.clone(), sign(plane.channel(&member).await, &key, "").await.unwrap());
        let present = signer(&renewed);
        assert_eq!(CaPin::of(&present).to_string(), rotated.intermediate_sha256);
        assert_eq!(CaPin::of(signers.last().unwrap()).to_string(), rotated.former_sha256);
        signers.push(present);
    }
    plane.stop().await;
    plane.start_again().await.unwrap();
    let again = plane.join("web").await;
    assert_eq!(Some(&signer(&again)), signers.last(), "it outlives the control plane");
}
