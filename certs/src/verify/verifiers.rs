//! The checks as rustls calls them. TLS 1.3 only.
use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::verify_tls13_signature,
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Expected, Role, VerifyError, inspect, verify_chain, verify_peer};
use crate::{CaPin, TrustBundle, TrustBundles, tls::provider};

/// A server must be whom the client expects. The name in the hello says what is asked for, not who answers: it is not
/// looked at.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    pub(crate) bundles: TrustBundles,
    pub(crate) expected: Expected,
}

/// A client must be somebody of a trusted domain; whether it may do what it wants is policy, and decided later.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    pub(crate) bundles: TrustBundles,
    pub(crate) mandatory: bool,
}

/// A server must send the root of which only the hash is known, be whom the client expects, and chain to that root.
#[derive(Debug)]
pub(crate) struct PinnedVerifier {
    pub(crate) pin: CaPin,
    pub(crate) expected: Expected,
}

impl PinnedVerifier {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), VerifyError> {
        let id = inspect(leaf, others)?;
        self.expected.check(&id)?;
        let root = others.iter().find(|other| CaPin::of(other) == self.pin).ok_or(VerifyError::PinNotFound)?;
        let bundle = TrustBundle::new(id.trust_domain(), vec![root.clone().into_owned()], 0)
            .map_err(|_| VerifyError::Malformed("the pinned root"))?;
        verify_chain(&bundle, leaf, others, Role::Server, now)
    }
}

/// What rustls wants beside the chain: the same for all verifiers.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let id = verify_peer(&self.bundles, leaf, intermediates, Role::Server, now).map_err(as_rustls)?;
        self.expected.check(&id).map_err(as_rustls)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf, others, now).map_err(as_rustls)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// No hints: which roots are trusted is nobody's business before it is known who asks, and a client has one SVID.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        verify_peer(&self.bundles, leaf, intermediates, Role::Client, now).map_err(as_rustls)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}

/// The error as rustls knows it, so that the peer gets the alert that fits (RFC 8446 §6.2); what rustls has no word
/// for keeps ours.
fn as_rustls(error: VerifyError) -> Error {
    Error::InvalidCertificate(match error {
        VerifyError::Malformed(_) | VerifyError::TooLarge => CertificateError::BadEncoding,
        VerifyError::Chain(webpki::Error::CertExpired { time, not_after }) => {
            CertificateError::ExpiredContext { time, not_after }
        }
        VerifyError::Chain(webpki::Error::CertNotValidYet { time, not_before }) => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        VerifyError::Chain(webpki::Error::UnknownIssuer) => CertificateError::UnknownIssuer,
        other => CertificateError::Other(OtherError(Arc::new(Refusal(other)))),
    })
}

impl VerifyError {
    /// The refusal by a verifier of this crate that an error came from, as far as its causes tell: of a connection, or of
    /// a call over one.
    pub fn within<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            // An I/O error does not count what it was made of among its causes.
            let inner = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
            let rustls = inner.map_or_else(|| error.downcast_ref(), |inner| inner.downcast_ref());
            if let Some(Error::InvalidCertificate(CertificateError::Other(OtherError(refusal)))) = rustls {
                return refusal.source()?.downcast_ref();
            }
            cause = error.source();
        }
        None
    }
}

/// A refusal within a rustls error, which shows what it holds by `Debug`: this way the text that people get to see
/// says who the peer is, not how our types are made.
struct Refusal(VerifyError);

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}
