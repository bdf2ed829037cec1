//! Clients that do not behave.
use std::{collections::BTreeSet, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use weft_certs::{
    KeyPair,
    tls::{client_config, control_plane_name, root_pinned_client_config},
    verify::Expected,
};

use weft_model::Kind;
use weft_store::{Objects, Redb, State, Table};

use crate::support::{Plane, SHOP, sign, within};

#[tokio::test]
async fn connections_that_speak_no_tls_or_nothing_at_all_disturb_nobody() {
    let plane = Plane::start().await;
    let mut held = Vec::new();
    for address in [plane.running().grpc, plane.running().api] {
        for bytes in
            [&b"GET /v1/status HTTP/1.1\r\nhost: weft\r\n\r\n"[..], b"\x16\x03\x01\xff\xff", b"", b"PRI * HTTP/2.0"]
        {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            held.push(stream);
        }
    }
    let member = plane.join("web").await;
    assert!(plane.client().status().await.is_ok());
    assert_eq!(member.id().as_str(), "spiffe://weft.local/ns/shop/sa/web");
    // Plain HTTP gets no answer in plain text.
    let mut answer = Vec::new();
    let mut plain = held.remove(4);
    let _reset = within("the connection's end", plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_in_the_handshake() {
    let (plane, other) = tokio::join!(Plane::start(), Plane::start());
    let stranger = other.join("web").await;
    let member = plane.join("web").await;
    // The stranger knows whom to expect, and shows its own certificate, which names the same identity.
    let expected = Expected::Exactly(plane.running().context.control_plane());
    let tls = client_config(Some(&stranger.svid), &member.bundles, expected, &[b"h2"]).unwrap();
    let tcp = TcpStream::connect(plane.running().grpc).await.unwrap();
    let outcome = within("the refusal", async {
        let mut stream = tokio_rustls::TlsConnector::from(tls).connect(control_plane_name(), tcp).await?;
        // In TLS 1.3 the client's handshake ends before the server has judged its certificate.
        stream.read_u8().await
    })
    .await;
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("alert") || error.kind() == std::io::ErrorKind::ConnectionReset, "{error}");
}

/// Connections of strangers once stayed as long as they answered pings, and could hold every place of the admin API.
#[tokio::test]
async fn idle_strangers_are_few_keep_nobody_out_and_are_closed() {
    let plane = Plane::start().await;
    let member = plane.join("web").await;
    let expected = || Expected::Exactly(plane.running().context.control_plane());
    let pin = plane.running().context.ca_sha256;
    let mut idle = Vec::new();
    for (address, protocol) in [(plane.running().grpc, &b"h2"[..]), (plane.running().api, b"http/1.1")] {
        let tls = root_pinned_client_config(pin, expected(), &[protocol]).unwrap();
        for _ in 0..300 {
            let tcp = TcpStream::connect(address).await.unwrap();
            let connecting = tokio_rustls::TlsConnector::from(tls.clone()).connect(control_plane_name(), tcp);
            idle.push(within("a handshake", connecting).await.unwrap());
        }
    }
    // More than there are places for: who comes to do something is served.
    let key = KeyPair::generate().unwrap();
    assert!(sign(plane.channel(&member).await, &key, "").await.is_ok());
    plane.join("web").await;
    assert!(plane.client().status().await.is_ok());
    for mut stream in idle {
        let mut rest = Vec::new();
        // An error ends it as well.
        let _ended = within("the end of an idle connection", stream.read_to_end(&mut rest)).await;
    }
}

/// A client that went away once took the change with it halfway: stored, but not in the audit log, and the next change
/// judged against what was there before.
#[tokio::test]
async fn a_client_that_goes_away_leaves_its_change_whole() {
    let mut plane = Plane::start().await;
    let expected = Expected::Exactly(plane.running().context.control_plane());
    let tls = root_pinned_client_config(plane.running().context.ca_sha256, expected, &[b"http/1.1"]).unwrap();
    for at in 0..20 {
        let text = SHOP.replace("name: web", &format!("name: web-{at}"));
        let body = serde_json::json!({"documents": [{"file": "-", "text": text}]}).to_string();
        let token = plane.running().context.token.reveal().to_owned();
        let head = format!(
            "POST /v1/apply HTTP/1.1\r\nhost: weft\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let tcp = TcpStream::connect(plane.running().api).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(tls.clone());
        let mut stream = connector.connect(control_plane_name(), tcp).await.unwrap();
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        // At times at once, at times while it is judged or written.
        tokio::time::sleep(Duration::from_micros(300 * at)).await;
    }
    // The last in turn: what came before is through.
    plane.apply(SHOP).await.unwrap();
    let listed = plane.client().objects(Some("Service"), None, None).await.unwrap().items;
    let listed: BTreeSet<_> =
        listed.iter().map(|item| item.object["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    plane.stop().await;
    let store = Redb::open(&plane.config.dir).unwrap();
    let stored = store.list().await.unwrap().objects;
    let stored = stored.keys().filter(|object| object.kind == Kind::Service).map(|object| object.name.to_string());
    assert_eq!(stored.collect::<BTreeSet<_>>(), listed);
    let audited = store.scan(Table::Audit, "", 1_000).await.unwrap().into_iter();
    let audited = audited.map(|entry| serde_json::from_slice::<serde_json::Value>(&entry.value).unwrap());
    let audited = audited.filter(|entry| entry["action"] == "applied");
    assert_eq!(audited.count(), listed.len(), "{listed:?}");
    store.close().await;
}

#[tokio::test]
async fn a_hanging_handshake_does_not_hold_up_a_stop() {
    let mut plane = Plane::start().await;
    let _silent = TcpStream::connect(plane.running().grpc).await.unwrap();
    let member = plane.join("web").await;
    let mut ads = plane.ads(&member, "web-1").await;
    ads.subscribe(crate::support::CLUSTER, &["local/shop/web:80"]).await;
    ads.next().await;
    plane.stop().await;
    assert_eq!(ads.ended().await.code(), tonic::Code::Unavailable);
    plane.start_again().await.unwrap();
}
