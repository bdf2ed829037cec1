//! A TLS client of the demo's own, beside the sidecars: it shows the certificate that it is given, takes any server, and
//! begins a session for each call. The attacker's side of the tour's claims, and load on sessions of its own.
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use weft_certs::{
    KeyPair, Svid, TrustBundles,
    tls::{client_config, provider},
    verify::Expected,
};

use super::mesh::Mesh;
use crate::failure::{Failure, While};

/// How long a refusal may take: the inbound handshake's own bound, and a little.
const ANSWER: Duration = Duration::from_secs(12);

const PEM: &[u8] = b"-----BEGIN ";

/// The client.
pub(super) enum Peer {
    /// It shows this certificate.
    Showing(Svid),
    /// It shows what this file of a sidecar's state directory holds at the moment.
    Like(PathBuf),
}

impl Peer {
    /// One that shows the certificate of an instance's sidecar, also after it was renewed.
    pub(super) fn like(mesh: &Mesh, instance: &str) -> Self {
        Self::Like(mesh.state(instance).join("identity.kept"))
    }

    fn config(&self) -> Result<Arc<ClientConfig>, Failure> {
        let read;
        let svid = match self {
            Self::Showing(svid) => svid,
            Self::Like(path) => {
                read = read_svid(path)?;
                &read
            }
        };
        let expected = Expected::AnyOf(Vec::new());
        let config = client_config(Some(svid), &TrustBundles::none(), expected, &[b"http/1.1"]);
        let mut config = (*config.while_("make a TLS client")?).clone();
        config.dangerous().set_certificate_verifier(Arc::new(Anyone));
        Ok(Arc::new(config))
    }

    /// `GET http://<host>/` at an inbound port, on a session for the service port of that server name: the answer as it
    /// came, or why there was none.
    pub(super) async fn ask(&self, address: SocketAddr, name: &str, host: &str) -> Result<String, Failure> {
        let asking = format!("ask {address} for {host}");
        let server = ServerName::try_from(name.to_owned()).while_(&asking)?;
        let exchange = async {
            let tcp = TcpStream::connect(address).await.while_(&asking)?;
            // With TLS 1.3 a client learns only after its own part of the handshake that it was refused: by the alert
            // that it reads first.
            let connector = TlsConnector::from(self.config()?);
            let mut stream = connector.connect(server, tcp).await.while_(&asking)?;
            let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.while_(&asking)?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.while_(&asking)?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        match timeout(ANSWER, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::new(format!("{address} neither answered nor closed"))),
        }
    }
}

fn read_svid(path: &Path) -> Result<Svid, Failure> {
    let reading = format!("read the certificate in {}", path.display());
    let kept = fs::read(path).while_(&reading)?;
    // What is not sealed stands behind the header as it is: PEM.
    let begin = kept.windows(PEM.len()).position(|window| window == PEM);
    let pem = begin.and_then(|at| kept.get(at..)).ok_or_else(|| Failure::new(format!("{reading}: it holds no PEM")))?;
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().while_(&reading)?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem).while_(&reading)?;
    let key = KeyPair::from_pkcs8(key.secret_pkcs8_der()).while_(&reading)?;
    Svid::new(chain, key).while_(&reading)
}

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
