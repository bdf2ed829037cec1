//! The certificate service: an SVID for a join token, or for the SVID in force.
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use tonic::{Request, Response, Status};
use tracing::{info, warn};
use weft_certs::{AuthorityError, CsrError, SignedChain, request_key};
use weft_ir::MeshNames;
use weft_model::SpiffeId;
use weft_proto::weft::{SignRequest, SignResponse, TrustBundle, certificate_service_server::CertificateService};
use weft_store::State;

use super::{
    peer::Peer,
    rate::{Buckets, Rate, host},
};
use crate::{
    audit,
    authority::Certifier,
    metrics::Metrics,
    tokens::{self, JoinTokenError},
};

/// Requests of each kind that are looked at, all clients together: a signature costs about 50 µs, a token two look-ups.
const ALL: Rate = Rate { per_second: 200.0, burst: 1_000.0 };
/// Requests with a token that are looked at from one host: many workloads of a host may start at once.
const HOST: Rate = Rate { per_second: 20.0, burst: 200.0 };
/// Renewals of one identity that are looked at: all instances of an account share it.
const IDENTITY: Rate = Rate { per_second: 5.0, burst: 100.0 };

/// The certificate service.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) names: MeshNames,
    pub(crate) certifier: Arc<Certifier>,
    pub(crate) state: Arc<dyn State>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
}

/// How often certificates may be asked for. Who has none yet cannot use up what renewals need.
#[derive(Debug)]
pub(crate) struct Limits {
    joins: Buckets<IpAddr>,
    renewals: Buckets<SpiffeId>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { joins: Buckets::new(ALL, HOST), renewals: Buckets::new(ALL, IDENTITY) }
    }
}

#[tonic::async_trait]
impl CertificateService for Certificates {
    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let peer = Peer::of(&request)?;
        let _under_way = peer.call();
        let SignRequest { csr, token } = request.into_inner();
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
        within(self.limits.joins.take(host(peer.address.ip()), Instant::now()))?;
        let now = SystemTime::now();
        let key = request_key(csr).map_err(|reason| malformed(&reason))?;
        let redeemable = tokens::find(&*self.state, token, key, now).await.map_err(|error| refusal(&error))?;
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
        // First of all: what nobody is known to ask for costs nothing that a renewal needs.
        let (identity, _) = peer.identity(&self.names)?;
        within(self.limits.renewals.take(identity.clone(), Instant::now()))?;
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
            AuthorityError::Csr(reason) => malformed(&reason),
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

fn within(rate: bool) -> Result<(), Status> {
    let exhausted = || Status::resource_exhausted("too many certificate requests: try again in a few seconds");
    rate.then_some(()).ok_or_else(exhausted)
}

fn malformed(reason: &CsrError) -> Status {
    Status::invalid_argument(format!("the certificate request: {reason}"))
}

fn refusal(error: &JoinTokenError) -> Status {
    match error {
        JoinTokenError::Token(reason) => {
            Status::unauthenticated(format!("{reason}; make another with `weft token create`"))
        }
        JoinTokenError::ControlPlane
        | JoinTokenError::TooMany
        | JoinTokenError::TooManyLabels(_)
        | JoinTokenError::Damaged => Status::failed_precondition(error.to_string()),
        JoinTokenError::Busy(_) | JoinTokenError::Read(_) | JoinTokenError::Write(_) => {
            Status::unavailable(error.to_string())
        }
    }
}
