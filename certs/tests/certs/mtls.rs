//! Handshakes between good peers, and between peers that merely are not whom one expects.
use std::{sync::Arc, time::SystemTime};

use rustls::{
    HandshakeKind, NamedGroup, ProtocolVersion,
    client::Resumption,
    crypto::aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768},
    version::TLS13,
};
use weft_certs::{
    Authority, CaPin, Svid, TrustBundles,
    tls::{self, ClientAuth, Connector},
    verify::{Expected, VerifyError},
};
use weft_model::SpiffeId;

use crate::support::{HOUR, catalog, client_with_groups, domain, handshake, id, mesh, web};

fn svid(authority: &Authority, id: &SpiffeId) -> Svid {
    authority.issue(id, HOUR, SystemTime::now()).unwrap()
}

/// The rustls error inside the one that a stream gives.
fn refusal(error: &std::io::Error) -> String {
    error.to_string()
}

#[tokio::test]
async fn both_sides_prove_who_they_are_over_tls_1_3_with_hybrid_key_exchange() {
    let (authority, bundles) = mesh();
    let server = tls::server_config(&svid(&authority, &catalog()), &bundles, ClientAuth::Required, &[b"h2"]).unwrap();
    let connector = Connector::new(&svid(&authority, &web()), &bundles, &[b"h2"]).unwrap();
    let (server, client) = handshake(server, connector.for_identity(&catalog())).await;
    let (server, client) = (server.unwrap(), client.unwrap());
    assert_eq!((server.peer.as_ref(), client.peer.as_ref()), (Some(&web()), Some(&catalog())));
    for side in [server, client] {
        assert_eq!(side.version, Some(ProtocolVersion::TLSv1_3));
        assert_eq!(side.group, Some(NamedGroup::X25519MLKEM768));
        assert_eq!(side.alpn.as_deref(), Some(b"h2".as_slice()));
    }
}

#[test]
fn nothing_older_than_tls_1_3_is_configured_and_nothing_is_resumed() {
    let (authority, bundles) = mesh();
    let svid = svid(&authority, &web());
    let server = tls::server_config(&svid, &bundles, ClientAuth::Required, &[]).unwrap();
    let client = tls::client_config(Some(&svid), &bundles, Expected::Exactly(web()), &[]).unwrap();
    assert!(rustls::ALL_VERSIONS.iter().all(|version| **version == TLS13), "TLS 1.2 is linked");
    for provider in [server.crypto_provider(), client.crypto_provider()] {
        assert!(provider.cipher_suites.iter().all(|suite| suite.version().version == ProtocolVersion::TLSv1_3));
        let groups: Vec<_> = provider.kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(groups, [NamedGroup::X25519MLKEM768, NamedGroup::X25519, NamedGroup::secp256r1]);
    }
    assert_eq!((server.send_tls13_tickets, server.max_early_data_size), (0, 0));
    assert!(!server.session_storage.can_cache() && !server.ticketer.enabled());
    assert!(!client.enable_early_data);
}

/// What a resumed session would have to check again is checked by the full handshake that every connection makes, also
/// with a client that would resume and send early data.
#[tokio::test]
async fn every_handshake_is_a_full_one_also_with_a_client_that_would_resume() {
    let (authority, bundles) = mesh();
    let server = tls::server_config(&svid(&authority, &catalog()), &bundles, ClientAuth::Required, &[]).unwrap();
    let own = tls::client_config(Some(&svid(&authority, &web())), &bundles, Expected::Exactly(catalog()), &[]).unwrap();
    let mut eager = (*own).clone();
    eager.resumption = Resumption::in_memory_sessions(8);
    eager.enable_early_data = true;
    for client in [own, Arc::new(eager)] {
        for _ in 0..3 {
            let (served, called) = handshake(server.clone(), client.clone()).await;
            for side in [served.unwrap(), called.unwrap()] {
                assert_eq!(side.kind, Some(HandshakeKind::Full));
            }
        }
    }
}

#[tokio::test]
async fn a_peer_without_hybrid_key_exchange_gets_the_classic_one() {
    let (authority, bundles) = mesh();
    let server = tls::server_config(&svid(&authority, &catalog()), &bundles, ClientAuth::Optional, &[]).unwrap();
    for (groups, expected) in [
        (vec![X25519], NamedGroup::X25519),
        (vec![SECP256R1], NamedGroup::secp256r1),
        (vec![X25519MLKEM768, X25519], NamedGroup::X25519MLKEM768),
    ] {
        let (served, _) = handshake(server.clone(), client_with_groups(groups)).await;
        assert_eq!(served.unwrap().group, Some(expected));
    }
}

#[tokio::test]
async fn a_tls_1_2_hello_is_refused() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (authority, bundles) = mesh();
    let server = tls::server_config(&svid(&authority, &web()), &bundles, ClientAuth::Optional, &[]).unwrap();
    let (mut near, far) = tokio::io::duplex(4096);
    // RFC 5246 §7.4.1.2: version 3.3, random, no session, ECDHE-ECDSA-AES128-GCM-SHA256, no compression; extensions:
    // signature algorithms and groups, but no supported_versions.
    let extensions = [0, 13, 0, 4, 0, 2, 4, 3, 0, 10, 0, 4, 0, 2, 0, 23];
    let body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0xc0, 0x2b], &[1, 0], &[0, 16], &extensions].concat();
    let length = u8::try_from(body.len()).unwrap();
    let hello = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat();
    let call = async {
        near.write_all(&hello).await.unwrap();
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let (served, answer) = tokio::join!(tokio_rustls::TlsAcceptor::from(server).accept(far), call);
    let text = refusal(&served.unwrap_err());
    assert!(text.contains("SupportedVersionsExtensionRequired"), "{text}");
    // A fatal alert, protocol_version (RFC 8446 §6.2).
    assert_eq!(answer[5..], [2, 70]);
}

#[tokio::test]
async fn a_server_that_is_somebody_else_is_refused() {
    let (authority, bundles) = mesh();
    let server = tls::server_config(&svid(&authority, &catalog()), &bundles, ClientAuth::Required, &[]).unwrap();
    let connector = Connector::new(&svid(&authority, &web()), &bundles, &[]).unwrap();
    let (_, client) = handshake(server.clone(), connector.for_identity(&web())).await;
    let text = refusal(&client.unwrap_err());
    let reason = "the peer is spiffe://weft.local/ns/shop/sa/catalog, not spiffe://weft.local/ns/shop/sa/web";
    assert!(text.contains(reason), "{text}");
    let either = Expected::AnyOf(vec![web(), catalog()]);
    assert!(handshake(server.clone(), connector.for_expected(either)).await.1.is_ok());
    let nobody = Expected::AnyOf(Vec::new());
    assert!(handshake(server, connector.for_expected(nobody)).await.1.is_err());
}

#[tokio::test]
async fn the_same_path_in_another_trust_domain_is_somebody_else() {
    let (ours, our_bundles) = mesh();
    let theirs = Authority::create(domain("other.local"), SystemTime::now()).unwrap();
    let stranger = id("spiffe://other.local/ns/shop/sa/web");
    let mut both = our_bundles.clone();
    both.replace(theirs.bundle().unwrap()).unwrap();
    // Not trusted at all: refused as client and as server.
    let server = tls::server_config(&svid(&ours, &catalog()), &our_bundles, ClientAuth::Required, &[]).unwrap();
    let caller = Connector::new(&svid(&theirs, &stranger), &both, &[]).unwrap().for_identity(&catalog());
    assert!(handshake(server, caller.clone()).await.0.is_err());
    // Trusted, and then it is itself, not its namesake.
    let server = tls::server_config(&svid(&ours, &catalog()), &both, ClientAuth::Required, &[]).unwrap();
    assert_eq!(handshake(server, caller).await.0.unwrap().peer, Some(stranger.clone()));
    let server = tls::server_config(&svid(&theirs, &stranger), &both, ClientAuth::Required, &[]).unwrap();
    let caller = Connector::new(&svid(&ours, &catalog()), &both, &[]).unwrap();
    assert!(handshake(server.clone(), caller.for_identity(&web())).await.1.is_err());
    assert!(handshake(server, caller.for_identity(&stranger)).await.1.is_ok());
}

#[tokio::test]
async fn a_client_without_certificate_is_nobody_where_that_is_allowed() {
    let (authority, bundles) = mesh();
    let server = |auth| tls::server_config(&svid(&authority, &catalog()), &bundles, auth, &[]).unwrap();
    let client = tls::client_config(None, &bundles, Expected::Exactly(catalog()), &[]).unwrap();
    assert_eq!(handshake(server(ClientAuth::Optional), client.clone()).await.0.unwrap().peer, None);
    assert!(handshake(server(ClientAuth::Required), client).await.0.is_err());
}

#[tokio::test]
async fn a_client_that_offers_only_other_protocols_is_refused() {
    let (authority, bundles) = mesh();
    let server = tls::server_config(&svid(&authority, &catalog()), &bundles, ClientAuth::Optional, &[b"h2"]).unwrap();
    let client = tls::client_config(None, &bundles, Expected::Exactly(catalog()), &[b"weft-tcp"]).unwrap();
    assert!(handshake(server, client).await.1.is_err());
}

#[tokio::test]
async fn a_joining_client_knows_the_mesh_by_the_roots_hash() {
    let (authority, bundles) = mesh();
    let control_plane = SpiffeId::of_control_plane(authority.trust_domain());
    let plain = svid(&authority, &control_plane);
    let server = |svid: &Svid| tls::server_config(svid, &bundles, ClientAuth::Optional, &[]).unwrap();
    let joining =
        |pin, who: &SpiffeId| tls::root_pinned_client_config(pin, Expected::Exactly(who.clone()), &[]).unwrap();
    let with_root = plain.sending_root(authority.root());
    let good = joining(authority.pin(), &control_plane);
    assert_eq!(handshake(server(&with_root), good.clone()).await.1.unwrap().peer, Some(control_plane.clone()));
    // Clients that have the bundle do not mind the root in the chain.
    let member = tls::client_config(None, &bundles, Expected::Exactly(control_plane.clone()), &[]).unwrap();
    assert!(handshake(server(&with_root), member).await.1.is_ok());
    // No root sent; another hash; another identity; the hash of a certificate that is no root.
    let error = handshake(server(&plain), good.clone()).await.1.err().unwrap();
    assert!(matches!(VerifyError::within(&error), Some(VerifyError::PinNotFound)), "{error:?}");
    assert!(handshake(server(&with_root), joining(CaPin::from([7; 32]), &control_plane)).await.1.is_err());
    let error = handshake(server(&with_root), joining(authority.pin(), &web())).await.1.err().unwrap();
    assert!(matches!(VerifyError::within(&error), Some(VerifyError::Unexpected { .. })), "{error:?}");
    let leaf = CaPin::of(&plain.chain()[0]);
    assert!(handshake(server(&with_root), joining(leaf, &control_plane)).await.1.is_err());
    // An impostor that sends the true root beside a chain of its own.
    let (impostor, _) = mesh();
    let impostor = svid(&impostor, &control_plane).sending_root(authority.root());
    assert!(handshake(server(&impostor), good).await.1.is_err());
}

#[tokio::test]
async fn svids_of_a_former_intermediate_stay_good_and_new_ones_are_too() {
    let (mut authority, bundles) = mesh();
    let before = svid(&authority, &web());
    authority.renew_intermediate(SystemTime::now()).unwrap();
    let after = svid(&authority, &catalog());
    assert_ne!(before.chain()[1], after.chain()[1]);
    let server = tls::server_config(&before, &bundles, ClientAuth::Required, &[]).unwrap();
    let client = tls::client_config(Some(&after), &bundles, Expected::Exactly(web()), &[]).unwrap();
    let (server, client) = handshake(server, client).await;
    assert_eq!((server.unwrap().peer, client.unwrap().peer), (Some(catalog()), Some(web())));
}

#[tokio::test]
async fn nobody_is_trusted_without_a_bundle() {
    let (authority, bundles) = mesh();
    let server =
        tls::server_config(&svid(&authority, &catalog()), &TrustBundles::none(), ClientAuth::Required, &[]).unwrap();
    let client = Connector::new(&svid(&authority, &web()), &bundles, &[]).unwrap().for_identity(&catalog());
    assert!(handshake(server, client).await.0.is_err());
}
