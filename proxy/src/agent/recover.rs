//! Recovery: a certificate that has expired proves, once, that its owner may have the next one.
use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::time;
use weft_certs::{KeyPair, certificate_request, recovery, tls, verify::Expected};
use weft_model::SpiffeId;
use weft_proto::weft::{
    ChallengeRequest, ChallengeResponse, RecoverRequest, certificate_service_client::CertificateServiceClient,
};

use super::{
    certificates::{SignError, taken},
    channel::{self, MAX_MESSAGE_BYTES},
    identity::Identity,
    shared::Shared,
};

/// Asks for the next certificate by a proof with the expired one's key. The connection authenticates the control plane
/// alone: the expired certificate is never shown in a handshake. The key that the next one is for is kept for the next
/// attempt: the control plane answers again for it alone, where the answer was lost.
pub(super) async fn ask_by_expired(
    shared: &Shared,
    expired: &Identity,
    kept: &mut Option<KeyPair>,
    within: Duration,
) -> Result<Identity, SignError> {
    let control_plane = Expected::Exactly(SpiffeId::of_control_plane(&expired.svid.id().trust_domain()));
    let config = tls::client_config(None, &expired.bundles, control_plane, &[b"h2"])?;
    let channel = channel::channel(&shared.bootstrap.control_plane, Arc::new(ArcSwap::new(config)))?;
    let key = match kept {
        Some(key) => key.clone(),
        None => kept.insert(KeyPair::generate()?).clone(),
    };
    let csr = certificate_request(&key)?;
    let mut client = CertificateServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let exchange = async {
        let ChallengeResponse { challenge } = client.challenge(ChallengeRequest {}).await?.into_inner();
        let proof = recovery::prove(&expired.svid, &challenge, &csr)?;
        let chain = expired.svid.chain().iter().map(|certificate| certificate.to_vec()).collect();
        Ok::<_, SignError>(client.recover(RecoverRequest { csr, chain, challenge, proof }).await?.into_inner())
    };
    let answer = time::timeout(within, exchange).await.map_err(|_| SignError::Timeout(within))??;
    let identity = taken(shared, answer, key)?;
    *kept = None;
    Ok(identity)
}
