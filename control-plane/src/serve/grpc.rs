//! The gRPC port.
use std::{sync::Arc, time::Duration};

use futures::Stream;
use tokio::{sync::watch, time::Instant};
use tonic::transport::Server;
use weft_ir::MeshNames;
use weft_proto::{
    envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer,
    weft::{agent_service_server::AgentServiceServer, certificate_service_server::CertificateServiceServer},
};

use super::{ads::Ads, agent::Agents, certificates::Certificates, streams::AdsStreams, tls::TlsConnection};
use crate::{metrics::Metrics, registry::Registry, removals::Removals, state::MeshState};

/// The largest xDS message in either direction.
const MAX_XDS: usize = 16 << 20;
/// The largest message of an Agent stream: a config dump is the largest of them.
const MAX_AGENT: usize = 16 << 20;
/// The largest message of somebody who has not proven anything yet.
const MAX_UNPROVEN: usize = 64 << 10;
/// How often a silent connection is asked whether it lives, and how long it may take to say so.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// What all gRPC services share.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    pub(crate) names: MeshNames,
    pub(crate) state: Arc<MeshState>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) removals: Arc<Removals>,
    /// When every live workload has had the time to register: one lease after the start.
    pub(crate) settled_at: Instant,
    pub(crate) lease: Duration,
    /// Set when the control plane stops.
    pub(crate) stop: watch::Receiver<bool>,
}

/// The gRPC services.
#[derive(Debug)]
pub(crate) struct Grpc {
    pub(crate) core: Core,
    pub(crate) streams: Arc<AdsStreams>,
    pub(crate) certificates: Certificates,
}

/// Serves until the control plane stops and its streams have ended.
pub(crate) async fn serve_grpc(
    grpc: Grpc,
    connections: impl Stream<Item = std::io::Result<TlsConnection>>,
) -> Result<(), tonic::transport::Error> {
    let Grpc { core, streams, certificates } = grpc;
    let mut stop = core.stop.clone();
    let agents = Agents { core: core.clone(), grants: certificates.state.clone() };
    let ads = AggregatedDiscoveryServiceServer::new(Ads { core, streams })
        .max_decoding_message_size(MAX_XDS)
        .max_encoding_message_size(MAX_XDS);
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(Some(16))
        .add_service(ads)
        .add_service(AgentServiceServer::new(agents).max_decoding_message_size(MAX_AGENT))
        .add_service(CertificateServiceServer::new(certificates).max_decoding_message_size(MAX_UNPROVEN))
        .serve_with_incoming_shutdown(connections, async move {
            // An error means that the control plane is gone, which is a stop too.
            let _stopped = stop.wait_for(|stopped| *stopped).await.is_ok();
        })
        .await
}
