//! gRPC channels to the control plane: TLS by weft's own configuration, keepalive, bounds.
use std::{error::Error as _, io, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use weft_certs::tls::control_plane_name;

use super::bootstrap::ControlPlaneAddress;

/// How long connecting may take, the TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an idle connection is asked whether it lives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long the answer to that may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// The largest gRPC message that is taken: 16 MiB.
pub(super) const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// The TLS configuration of the next connection: replaced when the certificate is renewed.
pub(super) type CurrentConfig = Arc<ArcSwap<ClientConfig>>;

/// A channel that connects on first use, and again on the next use after its connection broke.
///
/// # Errors
/// If the address is not one of a URI.
pub(super) fn channel(
    address: &ControlPlaneAddress,
    config: CurrentConfig,
) -> Result<Channel, tonic::transport::Error> {
    let to = address.clone();
    let connector = service_fn(move |_: Uri| {
        let (to, config) = (to.clone(), config.load_full());
        async move { dial(&to, config).await.map(TokioIo::new) }
    });
    // TLS is the connector's: for tonic the scheme is plain.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_with_connector_lazy(connector))
}

async fn dial(
    to: &ControlPlaneAddress,
    config: Arc<ClientConfig>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect((to.host(), to.port())).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(config).connect(control_plane_name(), stream).await
}

/// A gRPC status in one line: its message, or the innermost cause, because tonic's own words are "transport error".
pub(super) fn status_text(status: &tonic::Status) -> String {
    let Some(mut error) = status.source() else { return format!("{:?}: {}", status.code(), status.message()) };
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
