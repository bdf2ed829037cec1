//! One check: a connection of its own, and what is asked over it.
use std::{
    future::poll_fn,
    io::{self, IoSlice},
    time::Duration,
};

use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use weft_decide::{Checked, Upstream};
use weft_ir::{EndpointAddress, HealthCheck, Probe};
use weft_model::{Protocol, StatusRange};

use super::{super::keeper::Check, grpc};
use crate::dataplane::{
    gate::Outgoing,
    http::{Conn, HeadError, MAX_INTERIM, ResponseHead},
    respond::UNPROCESSED,
    tls::{Io, LocalIdentity, Wire},
};

/// How long a connection must stand, once our side of it has ended, to count as taken: an application that is not there
/// shows by a reset of it.
const STANDS: Duration = Duration::from_millis(250);

/// Who asks, as applications see it.
pub(super) const USER_AGENT: &str = concat!("weft-health-check/", env!("CARGO_PKG_VERSION"));

/// Connects, and asks what the policy says. What a sidecar has proven not to have looked at says nothing of its
/// application: it is short of something, or its configuration is on its way.
pub(super) async fn probe(check: &Check, policy: &HealthCheck, identity: &LocalIdentity, place: Outgoing) -> Checked {
    let wire = match (&policy.probe, check.cluster.protocol) {
        (Probe::Grpc { .. }, _) => Wire::Http2,
        (Probe::Tcp, Protocol::Tcp) => Wire::Tcp,
        (Probe::Tcp | Probe::Http { .. }, _) => Wire::Http1,
    };
    let io = match connect(check, identity, wire, place).await {
        Ok(io) => io,
        Err(why) => return Checked::Failed(why),
    };
    match &policy.probe {
        Probe::Tcp => stands(io).await,
        Probe::Http { host, path, statuses } => match get(Conn::new(io), host, path).await {
            Ok(Some(status)) => judge(status, statuses),
            Ok(None) => Checked::Unknown,
            Err(error) => Checked::Failed(error.to_string()),
        },
        Probe::Grpc { host, service } => grpc::ask(io, host, service).await,
    }
}

/// A connection in the way that the cluster says; where it is secured, to whoever has proven to be the endpoint.
async fn connect(check: &Check, identity: &LocalIdentity, wire: Wire, place: Outgoing) -> Result<Io, String> {
    let EndpointAddress::Socket(address) = check.endpoint.address;
    let bound = check.cluster.connect_timeout;
    let upstream = Upstream::of(&check.cluster, &check.endpoint).ok_or("it names no identity to be checked against")?;
    let tcp = weft_net::connect(address, bound).await.map_err(|error| format!("cannot connect: {error}"))?;
    let (who, name) = match upstream {
        Upstream::Mesh { identity, sni } => (identity, sni),
        Upstream::Plain => return Ok(Io::Unsecured { tcp, _place: place }),
    };
    let name = ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no server name"))?;
    let tls = TlsConnector::from(identity.client(wire, who)).connect(name, tcp).await;
    let tls = tls.map_err(|error| format!("it did not prove to be {who}: {error}"))?;
    if tls.get_ref().1.alpn_protocol() != Some(wire.alpn()) {
        return Err("it speaks another protocol".to_owned());
    }
    Ok(Io::Client { tls: Box::new(tls), _place: place })
}

/// Ends our side, and looks whether the other ends the connection out of order.
async fn stands(mut io: Io) -> Checked {
    let ended = async {
        io.shutdown().await?;
        io.read(&mut [0; 64]).await
    };
    match timeout(STANDS, ended).await {
        Ok(Ok(_)) | Err(_) => Checked::Passed,
        Ok(Err(error)) => Checked::Failed(format!("the connection was broken off: {error}")),
    }
}

fn judge(status: u16, expected: &[StatusRange]) -> Checked {
    if expected.iter().any(|range| range.contains(status)) {
        return Checked::Passed;
    }
    let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
    Checked::Failed(format!("it answered {status}, not {}", expected.join(", ")))
}

/// The status of the answer to a GET; `None` where a sidecar says that it has not looked at it.
async fn get(mut conn: Conn, host: &str, path: &str) -> io::Result<Option<u16>> {
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: {USER_AGENT}\r\naccept: */*\r\nconnection: close\r\n\r\n"
    );
    poll_fn(|cx| std::task::Poll::Ready(conn.queue(cx, &[IoSlice::new(head.as_bytes())]))).await?;
    poll_fn(|cx| conn.poll_drain(cx)).await?;
    for _ in 0..=MAX_INTERIM {
        let malformed = |wrong| io::Error::other(format!("its answer is not HTTP: {wrong}"));
        let length = poll_fn(|cx| conn.poll_head(cx)).await.map_err(|error| match error {
            HeadError::Io(error) => error,
            HeadError::Malformed(wrong) => malformed(wrong),
        })?;
        let length = length.ok_or_else(|| io::Error::other("it closed the connection without an answer"))?;
        let bytes = conn.input().get(..length).unwrap_or_default();
        let head = ResponseHead::parse(bytes, false).map_err(malformed)?;
        if !head.is_interim() {
            let unprocessed =
                head.fields.kept(bytes).any(|(name, _)| name.eq_ignore_ascii_case(UNPROCESSED.as_bytes()));
            return Ok((!unprocessed).then_some(head.status));
        }
        conn.consume(length);
    }
    Err(io::Error::other("it sends interim answers without end"))
}
