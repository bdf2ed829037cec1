//! The stage *connect*: a connection to a picked endpoint, proven to be it, or to the local application.
use std::{fmt, net::SocketAddr, time::Duration};

use rustls_pki_types::ServerName;
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, timeout_at},
};
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

/// How many TLS handshakes with peers a worker has under way at once.
///
/// Each costs a third of a millisecond of CPU on either side, so that more of them end no sooner. Without a bound, those
/// who find every connection busy begin so many that none ends in its time: each is begun again, and a busy peer is busy
/// with nothing else until the load goes.
pub(super) const HANDSHAKES: usize = 32;

/// The turn to connect, and until when that may take.
pub(super) struct Turn<'a> {
    _permit: Option<SemaphorePermit<'a>>,
    until: Instant,
}

/// Waits for the turn to connect to a picked endpoint: whoever had to may find that a connection has come free meanwhile.
pub(super) async fn turn<'a>(worker: &'a Worker, picked: &Picked<'_>) -> Result<Turn<'a>, Failure> {
    let bound = picked.cluster().connect_timeout;
    let until = Instant::now() + bound;
    let Upstream::Mesh { .. } = picked.upstream() else { return Ok(Turn { _permit: None, until }) };
    match timeout_at(until, worker.handshakes().acquire()).await {
        // Nobody closes it.
        Ok(permit) => Ok(Turn { _permit: permit.ok(), until }),
        Err(_) => {
            let who = picked.endpoint().called();
            let detail =
                format!("{who} is asked for no further connection within {bound:?}: {HANDSHAKES} are being made");
            Err(Failure::new(Ending::ConnectTimeout, detail))
        }
    }
}

/// Connects to a picked endpoint in the way that its cluster says, when it is its turn.
pub(super) async fn endpoint(worker: &Worker, picked: &Picked<'_>, wire: Wire) -> Result<Io, Failure> {
    let turn = turn(worker, picked).await?;
    endpoint_in(turn, worker, picked, wire).await
}

/// Connects to a picked endpoint in the way that its cluster says.
pub(super) async fn endpoint_in(
    turn: Turn<'_>,
    worker: &Worker,
    picked: &Picked<'_>,
    wire: Wire,
) -> Result<Io, Failure> {
    let EndpointAddress::Socket(address) = picked.address();
    let bound = picked.cluster().connect_timeout;
    match picked.upstream() {
        Upstream::Mesh { identity, sni } => secure((worker, turn.until), picked, (identity, sni), wire).await,
        Upstream::Plain => unsecured(worker, &picked.endpoint().called(), address, bound).await,
    }
}

/// Connects with mesh TLS: the endpoint's certificate must prove the identity that it is said to have.
async fn secure(
    (worker, deadline): (&Worker, Instant),
    picked: &Picked<'_>,
    (peer, sni): (&SpiffeId, &str),
    wire: Wire,
) -> Result<Io, Failure> {
    let EndpointAddress::Socket(address) = picked.address();
    let bound = picked.cluster().connect_timeout;
    let Some(identity) = worker.identity() else {
        return Err(Failure::new(Ending::Unready, "this proxy has no certificate yet"));
    };
    let name = ServerName::try_from(sni.to_owned())
        .map_err(|_| Failure::new(Ending::UpstreamHandshake, format!("{sni:?} is no server name")))?;
    let who = || format!("{} at {address}", picked.endpoint().called());
    let place = place(worker)?;
    let tcp = weft_net::connect(address, deadline.saturating_duration_since(Instant::now())).await;
    let tcp = tcp.map_err(|error| not_connected(&who(), &error))?;
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
