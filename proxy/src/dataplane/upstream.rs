//! The stage *connect*: a connection to a picked endpoint, proven to be it, or to the local application.
use std::{fmt, net::SocketAddr, time::Duration};

use rustls_pki_types::ServerName;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use weft_decide::{Picked, Upstream};
use weft_ir::EndpointAddress;
use weft_model::SpiffeId;
use weft_net::ConnectError;

use super::{
    gate::Outgoing,
    histogram::add,
    respond::{Ending, Failure},
    tls::{Io, Wire},
    worker::Worker,
};

/// Connects to a picked endpoint in the way that its cluster says.
pub(super) async fn endpoint(worker: &Worker, picked: &Picked<'_>, wire: Wire) -> Result<Io, Failure> {
    let EndpointAddress::Socket(address) = picked.address();
    let bound = picked.cluster().connect_timeout;
    match picked.upstream() {
        Upstream::Mesh { identity, sni } => secure(worker, picked, (identity, sni), wire).await,
        Upstream::Plain => unsecured(worker, &picked.endpoint().called(), address, bound).await,
    }
}

/// Connects with mesh TLS: the endpoint's certificate must prove the identity that it is said to have.
async fn secure(
    worker: &Worker,
    picked: &Picked<'_>,
    (peer, sni): (&SpiffeId, &str),
    wire: Wire,
) -> Result<Io, Failure> {
    let EndpointAddress::Socket(address) = picked.address();
    let bound = picked.cluster().connect_timeout;
    let deadline = Instant::now() + bound;
    let Some(identity) = worker.identity() else {
        return Err(Failure::new(Ending::Unready, "this proxy has no certificate yet"));
    };
    let name = ServerName::try_from(sni.to_owned())
        .map_err(|_| Failure::new(Ending::UpstreamHandshake, format!("{sni:?} is no server name")))?;
    let who = || format!("{} at {address}", picked.endpoint().called());
    let place = place(worker)?;
    let tcp = weft_net::connect(address, bound).await.map_err(|error| not_connected(&who(), &error))?;
    let connector = TlsConnector::from(identity.client(wire, peer));
    let tls = match timeout_at(deadline, connector.connect(name, tcp)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            let detail = format!("{} did not prove to be {peer}: {error}", who());
            return Err(Failure::new(Ending::UpstreamHandshake, detail));
        }
        Err(_) => {
            let detail = format!("{} did not finish its TLS handshake within {bound:?}", who());
            return Err(Failure::new(Ending::ConnectTimeout, detail));
        }
    };
    if tls.get_ref().1.alpn_protocol() != Some(wire.alpn()) {
        return Err(Failure::new(Ending::UpstreamHandshake, format!("{} speaks another protocol", who())));
    }
    add(&worker.totals().upstream_connected, 1);
    Ok(Io::Client { tls: Box::new(tls), _place: place })
}

/// Connects to the local application.
pub(super) async fn plain(worker: &Worker, address: SocketAddr, bound: Duration) -> Result<Io, Failure> {
    unsecured(worker, &format_args!("the application at {address}"), address, bound).await
}

async fn unsecured(
    worker: &Worker,
    who: &impl fmt::Display,
    address: SocketAddr,
    bound: Duration,
) -> Result<Io, Failure> {
    let place = place(worker)?;
    let tcp = weft_net::connect(address, bound).await.map_err(|error| not_connected(who, &error))?;
    add(&worker.totals().upstream_connected, 1);
    Ok(Io::Unsecured { tcp, _place: place })
}

/// A place among the connections that we make: a descriptor too many would be one that the control side lacks.
fn place(worker: &Worker) -> Result<Outgoing, Failure> {
    let place = worker.gate().outgoing();
    place.ok_or_else(|| Failure::new(Ending::Overloaded, "no descriptor is left for another connection"))
}

fn not_connected(who: &impl fmt::Display, error: &ConnectError) -> Failure {
    let ending = match error {
        ConnectError::Timeout(_) => Ending::ConnectTimeout,
        ConnectError::Io(_) => Ending::ConnectFailed,
    };
    Failure::new(ending, format!("cannot connect to {who}: {error}"))
}
