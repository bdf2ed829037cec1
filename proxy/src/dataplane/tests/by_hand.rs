//! Mesh peers by hand that speak HTTP/1.1: what a sidecar that drains says to one, and what it takes for a proof that one
//! has not processed a request.
use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use weft_certs::{
    Svid, TrustBundles,
    tls::{ClientAuth, Connector, server_config},
};
use weft_model::Protocol;

use super::mesh::{Mesh, PATIENCE, Peer, Side, authority, identity, inbound, outbound, snapshot};

const GET: &str = "GET / HTTP/1.1\r\nHost: reviews\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn svid(authority: &weft_certs::Authority, account: &str) -> (Svid, TrustBundles) {
    let svid = authority.issue(&identity(account), Duration::from_secs(600), std::time::SystemTime::now()).unwrap();
    (svid, TrustBundles::from(authority.bundle().unwrap()))
}

/// A connection of `web`'s to the server's sidecar.
async fn caller(mesh: &Mesh) -> client::TlsStream<TcpStream> {
    let (svid, bundles) = svid(&mesh.authority, "web");
    let connector = Connector::new(&svid, &bundles, &[b"http/1.1"]).unwrap();
    let connector = TlsConnector::from(connector.for_identity(&identity("reviews")));
    let tcp = TcpStream::connect(mesh.server.inbound()).await.unwrap();
    connector.connect("80.reviews.shop.mesh.weft.local".try_into().unwrap(), tcp).await.unwrap()
}

/// Everything up to and with `end`.
async fn until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut read = Vec::new();
    let found = timeout(PATIENCE, async {
        while !read.ends_with(end.as_bytes()) {
            read.push(stream.read_u8().await.unwrap());
        }
    });
    found.await.unwrap_or_else(|_| panic!("no {end:?}"));
    String::from_utf8(read).unwrap()
}

/// Nothing comes any more, and the end is authenticated.
async fn ends(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("no end of the stream").unwrap();
    assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn a_peers_request_that_was_open_when_its_server_began_to_drain_is_answered_with_a_close() {
    let mesh = Mesh::http().await;
    let (mut busy, mut idle) = (caller(&mesh).await, caller(&mesh).await);
    busy.write_all(GET.as_bytes()).await.unwrap();
    let mut held = mesh.accept().await;
    held.until("\r\n\r\n").await;
    idle.write_all(GET.as_bytes()).await.unwrap();
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send(OK).await;
    assert!(!until(&mut idle, "ok").await.contains("connection: close"));

    let Mesh { server, .. } = mesh;
    server.dataplane.drain();
    ends(&mut idle).await;
    held.send(OK).await;
    let head = until(&mut busy, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("\r\nconnection: close\r\n"), "{head}");
    assert_eq!(until(&mut busy, "ok").await, "ok");
    ends(&mut busy).await;
    timeout(PATIENCE, server.dataplane.stopped()).await.expect("it does not end");
}

/// The application of a sidecar that drains needs others to finish what its last peer has asked for.
#[tokio::test]
async fn an_application_may_begin_calls_of_its_own_until_its_last_peer_is_answered() {
    let mesh = Mesh::http().await;
    let called = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ratings = Side::start("ratings", |_| {}).with_identity(&mesh.authority, "ratings");
    let chain = inbound("ratings:80", Protocol::Http, called.local_addr().unwrap(), Some(&["reviews"]));
    ratings.dataplane.publish(snapshot([chain]));
    let mut resources = outbound("ratings:80", Protocol::Http, None, &[(ratings.inbound(), identity("ratings"))]);
    resources.push(inbound("reviews:80", Protocol::Http, mesh.application.local_addr().unwrap(), Some(&["web"])));
    mesh.server.dataplane.publish(snapshot(resources));

    let (mut busy, mut idle) = (caller(&mesh).await, caller(&mesh).await);
    busy.write_all(GET.as_bytes()).await.unwrap();
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    let Mesh { server, .. } = mesh;
    server.dataplane.drain();
    // The unused connection ends once peers are no longer accepted.
    ends(&mut idle).await;
    let mut own = Peer::connect(server.outbound()).await;
    for _ in 0..2 {
        own.send("GET /stars HTTP/1.1\r\nHost: ratings\r\n\r\n").await;
        let (stream, _) = timeout(PATIENCE, called.accept()).await.expect("nobody calls").unwrap();
        let mut other = Peer::over(stream);
        assert!(other.until("\r\n\r\n").await.starts_with("GET /stars "));
        other.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfive").await;
        let (head, body) = own.answer().await;
        assert!(head.starts_with("HTTP/1.1 200 ") && !head.contains("connection: close"), "{head}");
        assert_eq!(body, "five");
    }
    app.send(OK).await;
    assert!(until(&mut busy, "ok").await.starts_with("HTTP/1.1 200 "));
    // Then it is let go too.
    assert!(own.rest().await.is_empty());
    timeout(PATIENCE, server.dataplane.stopped()).await.expect("it does not end");
}

/// `web` as a real sidecar, and the server that it calls.
struct Raw {
    web: Side,
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Raw {
    async fn start() -> Self {
        let authority = authority();
        let (svid, bundles) = svid(&authority, "reviews");
        let config = server_config(&svid, &bundles, ClientAuth::Required, &[b"http/1.1"]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let web = Side::start("web", |_| {}).with_identity(&authority, "web");
        let endpoints = [(listener.local_addr().unwrap(), identity("reviews"))];
        web.dataplane.publish(snapshot(outbound("reviews:80", Protocol::Http, None, &endpoints)));
        Self { web, listener, acceptor: TlsAcceptor::from(config) }
    }

    /// The next connection, once the whole request of that number was read from it.
    async fn asked(&self, number: usize) -> server::TlsStream<TcpStream> {
        let (tcp, _) = timeout(PATIENCE, self.listener.accept()).await.expect("nobody connects").unwrap();
        let mut peer = self.acceptor.accept(tcp).await.unwrap();
        let request = until(&mut peer, "body").await;
        assert!(request.starts_with(&format!("POST /{number} HTTP/1.1\r\n")), "{request}");
        peer
    }
}

fn post(number: usize) -> String {
    format!("POST /{number} HTTP/1.1\r\nHost: reviews\r\nContent-Length: 4\r\n\r\nbody")
}

/// Invariant 7: a weft server that has read one byte of a request answers before its close_notify.
#[tokio::test]
async fn a_post_that_a_peer_leaves_by_close_notify_without_a_byte_of_an_answer_is_sent_again() {
    let raw = Raw::start().await;
    let mut client = Peer::connect(raw.web.outbound()).await;
    client.send(post(1)).await;
    raw.asked(1).await.shutdown().await.unwrap();
    let mut again = raw.asked(1).await;
    again.write_all(OK.as_bytes()).await.unwrap();
    again.flush().await.unwrap();
    assert_eq!(client.answer().await.1, "ok");
    let record = &raw.web.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["repeats"]), (&"complete".into(), &1.into()));
}

#[derive(Clone, Copy, Debug)]
enum End {
    CloseNotify,
    Fin,
    Reset,
}

/// Anybody on the way can end a connection without a close_notify, and who has begun an answer has read the request.
#[tokio::test]
async fn a_post_is_sent_once_where_its_connections_end_proves_nothing() {
    let raw = Raw::start().await;
    let cases = [
        ("", End::Fin),
        ("", End::Reset),
        ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", End::CloseNotify),
        ("HTTP/1.1 200 O", End::CloseNotify),
    ];
    // Whoever is sent again is what the next connection begins with, and not the next number.
    for (number, (answer, end)) in cases.into_iter().enumerate() {
        let mut client = Peer::connect(raw.web.outbound()).await;
        client.send(post(number)).await;
        let mut peer = raw.asked(number).await;
        peer.write_all(answer.as_bytes()).await.unwrap();
        peer.flush().await.unwrap();
        let kept = match end {
            End::CloseNotify => {
                peer.shutdown().await.unwrap();
                Some(peer)
            }
            End::Fin => {
                peer.get_mut().0.shutdown().await.unwrap();
                Some(peer)
            }
            End::Reset => {
                weft_net::reset_on_close(peer.get_ref().0).unwrap();
                drop(peer);
                None
            }
        };
        if answer.contains("103") {
            assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 103 "));
        }
        let (head, _) = client.answer().await;
        let record = raw.web.refused(&head, 502).await;
        assert_eq!(record["outcome"], "upstream-gone", "{answer:?} {end:?}");
        assert!(record["repeats"].is_null(), "{answer:?} {end:?}: {record}");
        drop(kept);
    }
    let mut client = Peer::connect(raw.web.outbound()).await;
    client.send(post(cases.len())).await;
    raw.asked(cases.len()).await.write_all(OK.as_bytes()).await.unwrap();
}
