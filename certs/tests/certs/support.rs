//! A forge of certificates good and bad, and a handshake in memory.
use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::{
    ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, HandshakeKind, NamedGroup, ProtocolVersion,
    ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, SupportedKxGroup},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_certs::{Authority, TrustBundles, tls};
use weft_model::{SpiffeId, TrustDomain};

pub(crate) fn domain(text: &str) -> TrustDomain {
    text.parse().unwrap()
}

pub(crate) fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

pub(crate) fn web() -> SpiffeId {
    id("spiffe://weft.local/ns/shop/sa/web")
}

pub(crate) fn catalog() -> SpiffeId {
    id("spiffe://weft.local/ns/shop/sa/catalog")
}

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A day in November 2026; nothing that takes the time as an argument looks at the clock.
pub(crate) fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_176_000)
}

pub(crate) fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(UNIX_EPOCH).unwrap())
}

/// An authority of `weft.local` since now, and the bundles that trust it.
pub(crate) fn mesh() -> (Authority, TrustBundles) {
    let authority = Authority::create(domain("weft.local"), SystemTime::now()).unwrap();
    let bundles = authority.bundle().unwrap().into();
    (authority, bundles)
}

/// A certificate authority that signs anything.
pub(crate) struct Forge {
    pub(crate) root: CertificateDer<'static>,
    root_issuer: Issuer<'static, KeyPair>,
}

/// A signing certificate made by the forge, and its chain up to but without the root.
pub(crate) struct Signer {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

impl Forge {
    pub(crate) fn new() -> Self {
        let parameters = Self::signer_fields("root", BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = parameters.self_signed(&key).unwrap().into();
        Self { root, root_issuer: Issuer::new(parameters, key) }
    }

    pub(crate) fn signer_fields(name: &str, constraints: BasicConstraints) -> CertificateParams {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(constraints);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        parameters
    }

    /// The fields of a leaf with which nothing is wrong.
    pub(crate) fn leaf_fields(uri: &str) -> CertificateParams {
        let mut parameters = CertificateParams::default();
        parameters.subject_alt_names = vec![uri_name(uri)];
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        parameters
    }

    pub(crate) fn root_signer(self) -> Signer {
        Signer { issuer: self.root_issuer, chain: Vec::new() }
    }

    /// An intermediate with which nothing is wrong.
    pub(crate) fn signer(self) -> Signer {
        self.root_signer().below(&Self::signer_fields("intermediate", BasicConstraints::Constrained(0)))
    }
}

impl Signer {
    /// A signing certificate of these fields below this one.
    pub(crate) fn below(&self, parameters: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let chain = [vec![certificate.into()], self.chain.clone()].concat();
        Self { issuer: Issuer::new(parameters.clone(), key), chain }
    }

    /// A leaf of these fields, with its chain.
    pub(crate) fn leaf(&self, parameters: &CertificateParams) -> Forged {
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Forged { chain: [vec![certificate.into()], self.chain.clone()].concat(), key }
    }
}

pub(crate) fn uri_name(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

/// A chain and its key, which may be anything but an SVID.
pub(crate) struct Forged {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: KeyPair,
}

impl Forged {
    fn certified(&self) -> Arc<SingleCertAndKey> {
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        Arc::new(CertifiedKey::new(self.chain.clone(), key).into())
    }

    /// A client that shows the chain and believes any server.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(tls::provider().clone())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous))
            .with_client_cert_resolver(self.certified());
        Arc::new(config)
    }

    /// A server that shows the chain and believes any client.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let config = ServerConfig::builder_with_provider(tls::provider().clone())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(Credulous))
            .with_cert_resolver(self.certified());
        Arc::new(config)
    }
}

/// A client that believes any server, shows nothing and has these groups for key exchange, the favourite first.
pub(crate) fn client_with_groups(groups: Vec<&'static dyn SupportedKxGroup>) -> Arc<ClientConfig> {
    let provider = CryptoProvider { kx_groups: groups, ..CryptoProvider::clone(tls::provider()) };
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_no_client_auth();
    Arc::new(config)
}

/// Believes everybody.
#[derive(Debug)]
struct Credulous;

macro_rules! credulous_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            unreachable!("TLS 1.2 is not there")
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            tls::provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    credulous_signatures!();
}

impl ClientCertVerifier for Credulous {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    credulous_signatures!();
}

/// What one side knows when bytes have gone both ways.
#[derive(Debug, PartialEq)]
pub(crate) struct Facts {
    pub(crate) peer: Option<SpiffeId>,
    pub(crate) version: Option<ProtocolVersion>,
    pub(crate) group: Option<NamedGroup>,
    pub(crate) kind: Option<HandshakeKind>,
    pub(crate) alpn: Option<Vec<u8>>,
}

impl Facts {
    fn of(state: &CommonState) -> Self {
        Self {
            peer: tls::peer_identity(state),
            version: state.protocol_version(),
            group: state.negotiated_key_exchange_group().map(|group| group.name()),
            kind: state.handshake_kind(),
            alpn: state.alpn_protocol().map(<[u8]>::to_vec),
        }
    }
}

/// A handshake and four bytes each way; what the server and what the client made of it.
pub(crate) async fn handshake(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
) -> (io::Result<Facts>, io::Result<Facts>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let serve = async move {
        let mut stream = tokio_rustls::TlsAcceptor::from(server).accept(far).await?;
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await?;
        stream.write_all(b"pong").await?;
        stream.flush().await?;
        let facts = Facts::of(stream.get_ref().1);
        stream.shutdown().await?;
        Ok(facts)
    };
    let call = async move {
        let connector = tokio_rustls::TlsConnector::from(client);
        let mut stream = connector.connect(tls::control_plane_name(), near).await?;
        stream.write_all(b"ping").await?;
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await?;
        assert_eq!(&bytes, b"pong");
        Ok(Facts::of(stream.get_ref().1))
    };
    tokio::join!(serve, call)
}
