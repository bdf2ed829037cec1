//! The certificate service: an SVID for a join token, or for the SVID in force.
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use tonic::{Request, Response, Status};
use tracing::{info, warn};
use weft_certs::{AuthorityError, SignedChain};
use weft_ir::MeshNames;
use weft_model::SpiffeId;
use weft_proto::weft::{SignRequest, SignResponse, TrustBundle, certificate_service_server::CertificateService};
use weft_store::State;

use super::peer::Peer;
use crate::{
    audit,
    authority::Certifier,
    metrics::Metrics,
    tokens::{self, JoinTokenError},
};

/// Requests of each kind a second that are looked at, all clients together: a signature costs about 50 µs, a token two look-ups.
const RATE: f64 = 200.0;
/// How many may come at once.
const BURST: f64 = 1_000.0;

/// The certificate service.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) names: MeshNames,
    pub(crate) certifier: Arc<Certifier>,
    pub(crate) state: Arc<dyn State>,
    pub(crate) metrics: Arc<Metrics>,
    /// Who has no certificate yet cannot use up what renewals need.
    pub(crate) joins: Bucket,
    pub(crate) renewals: Bucket,
}

#[tonic::async_trait]
impl CertificateService for Certificates {
    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let peer = Peer::of(&request)?;
        let SignRequest { csr, token } = request.into_inner();
        let rate = if token.is_empty() { &self.renewals } else { &self.joins };
        if !rate.take(Instant::now()) {
            self.metrics.certificate("refused");
            return Err(Status::resource_exhausted("too many certificate requests: try again in a few seconds"));
        }
        let signed =
            if token.is_empty() { self.renew(&csr, &peer).await } else { self.join(&csr, &token, &peer).await };
        match signed {
            Ok(signed) => Ok(Response::new(self.response(signed))),
            Err(status) => {
                self.metrics.certificate("refused");
                warn!(address = %peer.address, reason = status.message(), "a certificate request was refused");
                Err(status)
            }
        }
    }
}

impl Certificates {
    /// For who presents a join token.
    async fn join(&self, csr: &[u8], token: &str, peer: &Peer) -> Result<SignedChain, Status> {
        let now = SystemTime::now();
        let redeemable = tokens::find(&*self.state, token, now).await.map_err(|error| refusal(&error))?;
        let identity = redeemable.identity.clone();
        // Signed before the token is spent: a request that cannot be signed costs no token. Given out after.
        let signed = self.signed(csr, &identity)?;
        let entry = audit::Entry {
            action: "certificate-issued",
            by: "join token",
            about: identity.as_str(),
            address: Some(peer.address.to_string()),
        };
        redeemable.spend(&*self.state, entry.at(now)).await.map_err(|error| refusal(&error))?;
        self.metrics.certificate("token");
        info!(%identity, address = %peer.address, "a workload joined");
        Ok(signed)
    }

    /// For who shows its certificate in force.
    async fn renew(&self, csr: &[u8], peer: &Peer) -> Result<SignedChain, Status> {
        let (identity, _) = peer.identity(&self.names)?;
        if *identity == SpiffeId::of_control_plane(&self.names.trust_domain) {
            return Err(Status::permission_denied("the control plane's own identity is not given out"));
        }
        let signed = self.signed(csr, identity)?;
        let entry = audit::Entry {
            action: "certificate-renewed",
            by: identity.as_str(),
            about: identity.as_str(),
            address: Some(peer.address.to_string()),
        };
        let audited = self.state.change(vec![entry.at(SystemTime::now())]).await;
        audited.map_err(|error| Status::unavailable(format!("the audit log cannot be written: {error}")))?;
        self.metrics.certificate("renewal");
        Ok(signed)
    }

    fn signed(&self, csr: &[u8], identity: &SpiffeId) -> Result<SignedChain, Status> {
        self.certifier.sign(csr, identity).map_err(|error| match error {
            AuthorityError::Csr(reason) => Status::invalid_argument(format!("the certificate request: {reason}")),
            AuthorityError::OtherTrustDomain { .. } => Status::permission_denied(error.to_string()),
            other => Status::internal(other.to_string()),
        })
    }

    fn response(&self, signed: SignedChain) -> SignResponse {
        let bundle = self.certifier.bundle();
        let bundle = TrustBundle {
            trust_domain: bundle.trust_domain().to_string(),
            roots: bundle.roots().iter().map(|root| root.to_vec()).collect(),
            sequence: bundle.sequence(),
        };
        SignResponse { chain: signed.chain.iter().map(|it| it.to_vec()).collect(), bundles: vec![bundle] }
    }
}

fn refusal(error: &JoinTokenError) -> Status {
    match error {
        JoinTokenError::Token(reason) => {
            Status::unauthenticated(format!("{reason}; make another with `weft token create`"))
        }
        JoinTokenError::ControlPlane | JoinTokenError::TooMany | JoinTokenError::Damaged => {
            Status::failed_precondition(error.to_string())
        }
        JoinTokenError::Read(_) | JoinTokenError::Write(_) => Status::unavailable(error.to_string()),
    }
}

/// A token bucket for all clients together.
#[derive(Debug, Default)]
pub(crate) struct Bucket(Mutex<Option<Level>>);

#[derive(Clone, Copy, Debug)]
struct Level {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// Whether one more is within the rate.
    fn take(&self, now: Instant) -> bool {
        let mut level = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Level { tokens, at } = level.unwrap_or(Level { tokens: BURST, at: now });
        let tokens = (tokens + now.saturating_duration_since(at).as_secs_f64() * RATE).min(BURST);
        let within = tokens >= 1.0;
        *level = Some(Level { tokens: if within { tokens - 1.0 } else { tokens }, at: now });
        within
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_the_rate() {
        let (bucket, start) = (Bucket::default(), Instant::now());
        assert_eq!((0..2_000).filter(|_| bucket.take(start)).count(), 1_000);
        let later = start + Duration::from_millis(500);
        assert_eq!((0..2_000).filter(|_| bucket.take(later)).count(), 100);
    }
}
