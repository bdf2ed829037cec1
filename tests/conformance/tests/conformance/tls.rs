//! A certificate authority for the suite: files for the subject, configurations for clients and upstreams.
use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, string::Ia5String};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    server::WebPkiClientVerifier,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::case::{ClientTls, ServerTls};

/// Each certificate's name, the authority that signs it, and what it is for.
const LEAVES: [(&str, &str, &[&str]); 5] = [
    ("server", "ca", &["shop.test", "*.wild.test"]),
    ("other", "ca", &["other.test"]),
    ("client", "ca", &["spiffe://weft.test/ns/shop/sa/web", "web.test"]),
    ("stranger", "stranger-ca", &["shop.test"]),
    ("stray", "stranger-ca", &["spiffe://weft.test/ns/shop/sa/web", "web.test"]),
];

/// Two authorities and what they signed, as DER and as files to copy.
pub(crate) struct Authority {
    files: Vec<(String, String)>,
    provider: Arc<CryptoProvider>,
}

impl Authority {
    /// Makes keys and certificates.
    pub(crate) fn new() -> Result<Self> {
        let mut files = Vec::new();
        for authority in ["ca", "stranger-ca"] {
            let mut parameters = CertificateParams::new(Vec::new())?;
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters.distinguished_name.push(DnType::CommonName, authority);
            let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?;
            files.push((format!("{authority}.pem"), issuer.pem()));
            for (name, _, names) in LEAVES.iter().filter(|(_, by, _)| *by == authority) {
                let mut parameters = CertificateParams::new(Vec::new())?;
                parameters.distinguished_name.push(DnType::CommonName, *name);
                for name in *names {
                    let text: Ia5String = (*name).try_into()?;
                    let uri = name.contains("://");
                    parameters.subject_alt_names.push(if uri { SanType::URI(text) } else { SanType::DnsName(text) });
                }
                let key = KeyPair::generate()?;
                let certificate = parameters.signed_by(&key, &issuer)?;
                files.push((format!("{name}.pem"), certificate.pem()));
                files.push((format!("{name}.key"), key.serialize_pem()));
            }
        }
        Ok(Self { files, provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()) })
    }

    /// Writes all of it into a scene's folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        for (name, text) in &self.files {
            fs::write(folder.join(name), text)?;
        }
        Ok(())
    }

    fn file(&self, name: &str) -> Result<&[u8]> {
        let found = self.files.iter().find(|(other, _)| other == name);
        Ok(found.with_context(|| format!("there is no {name}"))?.1.as_bytes())
    }

    fn identity(&self, name: &str) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let certificate =
            CertificateDer::from_pem_slice(self.file(&format!("{name}.pem"))?).context("a certificate")?;
        let key = PrivateKeyDer::from_pem_slice(self.file(&format!("{name}.key"))?).context("a key")?;
        Ok((vec![certificate], key))
    }

    /// How an upstream takes connections.
    pub(crate) fn acceptor(&self, plan: &ServerTls) -> Result<TlsAcceptor> {
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&self.provider)).with_safe_default_protocol_versions()?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.file("ca.pem")?).context("a certificate")?)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider));
        let verifier = if plan.client { verifier.build()? } else { verifier.allow_unauthenticated().build()? };
        let name = if plan.certificate.is_empty() { "server" } else { &plan.certificate };
        let (chain, key) = self.identity(name)?;
        let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
        config.alpn_protocols = plan.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// How a client connects to the subject. It takes any certificate: the subject is asked what it chose.
    pub(crate) fn connector(&self, plan: &ClientTls) -> Result<(TlsConnector, ServerName<'static>)> {
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&self.provider)).with_safe_default_protocol_versions()?;
        let any = Arc::new(Any(self.provider.signature_verification_algorithms));
        let builder = builder.dangerous().with_custom_certificate_verifier(any);
        let mut config = match &plan.certificate {
            Some(name) => {
                let (chain, key) = self.identity(name)?;
                builder.with_client_auth_cert(chain, key)?
            }
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = plan.sni.is_some();
        config.alpn_protocols = plan.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = plan.sni.clone().unwrap_or_else(|| "shop.test".to_owned());
        Ok((TlsConnector::from(Arc::new(config)), ServerName::try_from(name)?))
    }

    /// The name of the certificate with these bytes.
    pub(crate) fn name_of(&self, certificate: &CertificateDer<'_>) -> String {
        let mut names = LEAVES.iter().map(|(name, ..)| *name);
        let found = names.find(|name| self.identity(name).is_ok_and(|(chain, _)| chain.contains(certificate)));
        found.unwrap_or("unknown").to_owned()
    }
}

/// Takes any certificate whose owner has its key.
#[derive(Debug)]
struct Any(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Any {
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

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
