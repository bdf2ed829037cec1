//! A mesh peer by hand: what a sidecar's connections over mesh TLS are measured with.
use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use weft_certs::{
    KeyPair, Svid, TrustBundle, TrustBundles,
    kept::{self, KeptError, Label},
    tls::Connector,
};
use weft_harness::process::Sidecar;

/// What is spoken inside mesh TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Http1,
    Http2,
}

/// Connects to `reviews` as `web`.
pub(crate) struct Peer {
    config: Arc<ClientConfig>,
    wire: Wire,
}

impl Peer {
    /// With the certificate that `web`'s own sidecar keeps.
    pub(crate) fn with_the_identity_of(web: &Sidecar, wire: Wire) -> Self {
        let pem = kept_by(&web.state, "identity.kept");
        let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).unwrap();
        let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().unwrap();
        let svid = Svid::new(chain, KeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap()).unwrap();
        let bundles: Value = serde_json::from_slice(&kept_by(&web.state, "bundles.kept")).unwrap();
        let bundle = &bundles[0];
        let roots = bundle["roots"].as_array().unwrap().iter();
        let roots = roots.map(|pem| CertificateDer::from_pem_slice(pem.as_str().unwrap().as_bytes()).unwrap());
        let domain = bundle["trustDomain"].as_str().unwrap().parse().unwrap();
        let bundle = TrustBundle::new(domain, roots.collect(), bundle["sequence"].as_u64().unwrap()).unwrap();
        let alpn: &[u8] = match wire {
            Wire::Http1 => b"http/1.1",
            Wire::Http2 => b"h2",
        };
        let connector = Connector::new(&svid, &TrustBundles::from(bundle), &[alpn]).unwrap();
        let reviews = "spiffe://weft.local/ns/shop/sa/reviews".parse().unwrap();
        Self { config: connector.for_identity(&reviews), wire }
    }

    /// A connection over which a request was answered.
    pub(crate) async fn used(&self, address: SocketAddr) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = "80.reviews.shop.mesh.weft.local".try_into().unwrap();
        let mut tls = TlsConnector::from(self.config.clone()).connect(name, tcp).await.unwrap();
        let request = match self.wire {
            Wire::Http1 => b"GET / HTTP/1.1\r\nHost: reviews\r\n\r\n".to_vec(),
            Wire::Http2 => http2(),
        };
        let ends = |heard: &[u8]| match self.wire {
            Wire::Http1 => ends_http1(heard),
            Wire::Http2 => ends_http2(heard),
        };
        tls.write_all(&request).await.unwrap();
        tls.flush().await.unwrap();
        let mut heard = Vec::new();
        while !ends(&heard) {
            let read = timeout(Duration::from_secs(20), tls.read_buf(&mut heard)).await.expect("no answer").unwrap();
            assert!(read > 0, "it ends: {}", heard.escape_ascii());
        }
        tls
    }
}

/// What a sidecar keeps under a name, whoever it says that it is kept for.
fn kept_by(state: &Path, name: &'static str) -> Vec<u8> {
    let file = fs::read(state.join(name)).unwrap();
    let Err(KeptError::Owner { found, .. }) = kept::read(Label { kind: name, owner: "" }, &file, None) else {
        panic!("{name} names no owner");
    };
    kept::read(Label { kind: name, owner: &found }, &file, None).unwrap().content.to_vec()
}

/// The preface, SETTINGS, an acknowledgement of the other side's, and `GET /` to `reviews` on the stream 1 (RFC 9113 §3.4,
/// §6.2, §6.5; RFC 7541 §6.2.2).
fn http2() -> Vec<u8> {
    let head = [&[0x82, 0x86, 0x84, 0x01, 7][..], b"reviews"].concat();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0];
    let headers = [0, 0, u8::try_from(head.len()).unwrap(), 1, 0x5, 0, 0, 0, 1];
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings, &headers, &head].concat()
}

/// Whether a whole answer with Content-Length, and a body, is there.
fn ends_http1(heard: &[u8]) -> bool {
    let text = String::from_utf8_lossy(heard).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| body.len() >= length.trim().parse().unwrap())
}

/// Whether a frame has ended the stream 1.
fn ends_http2(mut heard: &[u8]) -> bool {
    while let Some((head, rest)) = heard.split_first_chunk::<9>() {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let Some(rest) = rest.get(length..) else { return false };
        if head[5..9] == [0, 0, 0, 1] && head[3] <= 1 && head[4] & 1 == 1 {
            return true;
        }
        heard = rest;
    }
    false
}
