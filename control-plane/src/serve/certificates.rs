//! The certificate service: an SVID for a join token, for the SVID in force, or, once, for a proof by an expired one.
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use rustls::pki_types::CertificateDer;
use tonic::{Request, Response, Status};
use tracing::{info, warn};
use weft_certs::{
    AuthorityError, CsrError, SignedChain,
    recovery::{Offer, RecoveryError},
    request_key,
};
use weft_ir::MeshNames;
use weft_model::SpiffeId;
use weft_proto::weft::{
    ChallengeRequest, ChallengeResponse, RecoverRequest, SignRequest, SignResponse, TrustBundle,
    certificate_service_server::CertificateService,
};
use weft_store::State;

use super::{
    peer::Peer,
    rate::{Buckets, Rate, host},
};
use crate::{
    audit,
    authority::Certifier,
    metrics::Metrics,
    recovery::{self, SpendError},
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
    recoveries: Buckets<IpAddr>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            joins: Buckets::new(ALL, HOST),
            renewals: Buckets::new(ALL, IDENTITY),
            recoveries: Buckets::new(ALL, HOST),
        }
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
            Err(status) => Err(self.refused(status, &peer)),
        }
    }

    async fn challenge(&self, request: Request<ChallengeRequest>) -> Result<Response<ChallengeResponse>, Status> {
        let peer = Peer::of(&request)?;
        let _under_way = peer.call();
        within(self.limits.recoveries.take(host(peer.address.ip()), Instant::now()))?;
        let challenge = self.certifier.challenge(SystemTime::now());
        let challenge = challenge.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(ChallengeResponse { challenge }))
    }

    async fn recover(&self, request: Request<RecoverRequest>) -> Result<Response<SignResponse>, Status> {
        let peer = Peer::of(&request)?;
        let _under_way = peer.call();
        match self.recovered(request.into_inner(), &peer).await {
            Ok(signed) => Ok(Response::new(self.response(signed))),
            Err(status) => Err(self.refused(status, &peer)),
        }
    }
}

impl Certificates {
    /// For who proves to own an expired certificate.
    async fn recovered(&self, request: RecoverRequest, peer: &Peer) -> Result<SignedChain, Status> {
        within(self.limits.recoveries.take(host(peer.address.ip()), Instant::now()))?;
        let RecoverRequest { csr, chain, challenge, proof } = request;
        let now = SystemTime::now();
        let key = request_key(&csr).map_err(|reason| malformed(&reason))?;
        let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
        let offer = Offer { challenge: &challenge, csr: &csr, chain: &chain, proof: &proof };
        let proven = self.certifier.recoverable(&offer, now).map_err(|error| unproven(&error))?;
        let identity = &proven.identity;
        let is_account = identity.namespace().is_some() && identity.account().is_some();
        if !is_account || *identity == SpiffeId::of_control_plane(&self.names.trust_domain) {
            return Err(Status::permission_denied(format!("{identity} is not an account of this mesh")));
        }
        // Signed before the certificate is spent: a request that cannot be signed costs no recovery. Given out after.
        let signed = self.signed(&csr, identity)?;
        let spent = recovery::spend(&*self.state, &proven, key, self.certifier.recovery(), &peer.address, now).await;
        spent.map_err(|error| match error {
            SpendError::Read(_) | SpendError::Write(_) => Status::unavailable(error.to_string()),
            SpendError::Revoked(..) | SpendError::Used(..) | SpendError::Damaged => {
                Status::permission_denied(format!("{error}; join again with a new join file (`weft token create`)"))
            }
        })?;
        self.metrics.certificate("recovery");
        info!(%identity, serial = proven.serial, address = %peer.address, "an expired certificate was recovered");
        Ok(signed)
    }

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

    fn refused(&self, status: Status, peer: &Peer) -> Status {
        self.metrics.certificate("refused");
        warn!(address = %peer.address, reason = status.message(), "a certificate request was refused");
        status
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

fn unproven(error: &RecoveryError) -> Status {
    let text = format!("recovery by an expired certificate: {error}");
    match error {
        // Another challenge, or another way, may do.
        RecoveryError::Challenge | RecoveryError::StillValid(_) => Status::failed_precondition(text),
        RecoveryError::Certificate(_)
        | RecoveryError::NoCertificate
        | RecoveryError::Proof
        | RecoveryError::NotYetValid(_)
        | RecoveryError::TooLate { .. } => Status::permission_denied(text),
    }
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
