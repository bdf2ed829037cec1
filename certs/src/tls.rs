//! rustls configurations: TLS 1.3 alone, hybrid post-quantum key exchange first, SPIFFE identities on both sides, no
//! early data, no resumption (see the crate's documentation).
//!
//! rustls refuses a client that offers only other ALPN protocols than the server's; a peer that offers none is let
//! through, so who depends on a protocol looks at `alpn_protocol()`.
use std::sync::{Arc, LazyLock};

use rustls::{
    ClientConfig, CommonState, ServerConfig,
    client::{ResolvesClientCert, Resumption, danger::ServerCertVerifier},
    crypto::{
        CryptoProvider,
        aws_lc_rs::{
            default_provider,
            kx_group::{SECP256R1, X25519, X25519MLKEM768},
        },
    },
    server::NoServerSessionStorage,
    sign::SingleCertAndKey,
    version::TLS13,
};
use rustls_pki_types::{DnsName, ServerName};
use weft_model::SpiffeId;

use crate::{
    CaPin, Svid, TrustBundles,
    verify::{ClientVerifier, Expected, PinnedVerifier, ServerVerifier, identity_of},
};

/// A configuration that rustls does not take.
#[derive(Debug, thiserror::Error)]
#[error("a TLS configuration cannot be made: {0}")]
pub struct TlsError(#[from] rustls::Error);

/// Whether a client must say who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// The handshake fails without a client certificate.
    Required,
    /// A client without certificate gets through and is nobody; one with a certificate that does not pass is refused.
    Optional,
}

/// The provider of all configurations: AWS-LC with TLS 1.3's cipher suites, and X25519MLKEM768, X25519, P-256 in this
/// order. It is never installed as the process's default: each configuration names it.
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = default_provider();
        provider.cipher_suites.retain(|suite| suite.tls13().is_some());
        provider.kx_groups = vec![X25519MLKEM768, X25519, SECP256R1];
        Arc::new(provider)
    });
    &PROVIDER
}

/// The name that clients of the control plane send in their hello. Who answers is checked by SPIFFE ID, not by it.
pub fn control_plane_name() -> ServerName<'static> {
    let name = DnsName::try_from_str("control-plane.weft-system.mesh").expect("three labels are a DNS name");
    ServerName::DnsName(name)
}

/// A server that shows an SVID and checks its clients against their own domains' bundles. For clients that know only
/// the root's hash give it [`Svid::sending_root`].
pub fn server_config(
    svid: &Svid,
    bundles: &TrustBundles,
    client_auth: ClientAuth,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let mandatory = client_auth == ClientAuth::Required;
    let verifier = Arc::new(ClientVerifier { bundles: bundles.clone(), mandatory });
    let mut config = ServerConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(svid.certified())));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// A client that expects somebody, and shows an SVID if it has one and is asked.
pub fn client_config(
    svid: Option<&Svid>,
    bundles: &TrustBundles,
    expected: Expected,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = ServerVerifier { bundles: bundles.clone(), expected };
    base_client_config(svid, Arc::new(verifier), alpn).map(Arc::new)
}

/// A client that knows of the mesh only its root's SHA-256, as a joining proxy and the command line do. The server
/// sends the root itself; the chain must lead to it, and the server be whom the client expects.
pub fn root_pinned_client_config(
    pin: CaPin,
    expected: Expected,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    base_client_config(None, Arc::new(PinnedVerifier { pin, expected }), alpn).map(Arc::new)
}

/// Who the peer of a finished handshake is; `None` if it showed no certificate.
pub fn peer_identity(state: &CommonState) -> Option<SpiffeId> {
    identity_of(state.peer_certificates()?.first()?).ok()
}

/// Makes client configurations for many identities that share all but whom they expect. Cheap to make from, but not
/// free: keep what [`for_identity`](Self::for_identity) gives.
#[derive(Clone, Debug)]
pub struct Connector {
    template: ClientConfig,
    bundles: TrustBundles,
}

impl Connector {
    /// A maker of configurations that show this SVID and check servers against these bundles.
    pub fn new(svid: &Svid, bundles: &TrustBundles, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        // Until an identity is given, nobody is expected.
        let nobody = ServerVerifier { bundles: bundles.clone(), expected: Expected::AnyOf(Vec::new()) };
        Ok(Self { template: base_client_config(Some(svid), Arc::new(nobody), alpn)?, bundles: bundles.clone() })
    }

    /// A configuration for servers of that identity.
    pub fn for_identity(&self, id: &SpiffeId) -> Arc<ClientConfig> {
        self.for_expected(Expected::Exactly(id.clone()))
    }

    /// A configuration for servers that are whom you expect.
    pub fn for_expected(&self, expected: Expected) -> Arc<ClientConfig> {
        let mut config = self.template.clone();
        let verifier = ServerVerifier { bundles: self.bundles.clone(), expected };
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        Arc::new(config)
    }
}

fn base_client_config(
    svid: Option<&Svid>,
    verifier: Arc<dyn ServerCertVerifier>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match svid {
        Some(svid) => {
            let resolver: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(svid.certified()));
            builder.with_client_cert_resolver(resolver)
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}
