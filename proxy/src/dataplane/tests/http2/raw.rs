//! Mesh peers by hand.
use std::{sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use weft_certs::{
    TrustBundles,
    tls::{ClientAuth, server_config},
};
use weft_ir::{Cluster, Resource};
use weft_model::Protocol;

use crate::dataplane::tests::mesh::{PATIENCE, Side, authority, identity, outbound, snapshot};

/// `web` as a real sidecar, behind it servers that speak raw HTTP/2 over mesh TLS.
pub(super) struct Raw {
    pub(super) web: Side,
    peers: Vec<TcpListener>,
    acceptor: TlsAcceptor,
}

impl Raw {
    pub(super) async fn start(peers: usize, tune: impl Fn(&mut Cluster)) -> Self {
        let authority = authority();
        let svid =
            authority.issue(&identity("reviews"), Duration::from_secs(600), std::time::SystemTime::now()).unwrap();
        let bundles = TrustBundles::from(authority.bundle().unwrap());
        let config = server_config(&svid, &bundles, ClientAuth::Required, &[b"h2"]).unwrap();
        let mut listeners = Vec::new();
        for _ in 0..peers {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let web = Side::start("web", |_| {}).with_identity(&authority, "web");
        let endpoints: Vec<_> =
            listeners.iter().map(|peer| (peer.local_addr().unwrap(), identity("reviews"))).collect();
        let mut resources = outbound("reviews:80", Protocol::Http2, None, &endpoints);
        for resource in &mut resources {
            if let Resource::Cluster(cluster) = resource {
                tune(Arc::make_mut(cluster));
            }
        }
        web.dataplane.publish(snapshot(resources));
        Self { web, peers: listeners, acceptor: TlsAcceptor::from(Arc::clone(&config)) }
    }

    /// The next connection to a peer.
    pub(super) async fn accept(&self, peer: usize) -> TlsStream<TcpStream> {
        let (tcp, _) = timeout(PATIENCE, self.peers[peer].accept()).await.expect("nobody connects").unwrap();
        self.acceptor.accept(tcp).await.unwrap()
    }
}
