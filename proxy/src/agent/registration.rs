//! What a proxy registers its workload with.
use std::net::SocketAddr;

use tokio::net::UdpSocket;
use weft_model::LocalityName;
use weft_proto::weft::{Locality as WireLocality, Registration};

use super::{bootstrap::ControlPlaneAddress, health, shared::Shared};

/// The registration, made once everything is bound.
pub(super) async fn registration(shared: &Shared) -> Registration {
    let bootstrap = &shared.bootstrap;
    let text = |name: &Option<LocalityName>| name.as_ref().map(ToString::to_string).unwrap_or_default();
    let address = match shared.bound_first().inbound {
        Some(bound) => advertised(bound, &bootstrap.ads).await.to_string(),
        None => String::new(),
    };
    let ports = bootstrap.applications.iter().map(|(name, address)| (name.to_string(), u32::from(address.port())));
    Registration {
        workload: bootstrap.workload.to_string(),
        address,
        ports: ports.collect(),
        labels: bootstrap.labels.clone().into_iter().collect(),
        locality: Some(WireLocality {
            region: text(&bootstrap.locality.region),
            zone: text(&bootstrap.locality.zone),
            sub_zone: text(&bootstrap.locality.sub_zone),
        }),
        network: bootstrap.network.to_string(),
        cluster: bootstrap.mesh.cluster.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        weight: 1,
        start: shared.start.clone(),
        health: Some(health::report(shared.application.unhealthy())),
        last_good_ms: shared.source.last_good_at_start().map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// Where peers reach a bound listener: a listener on every address is told by the one that the system uses towards the
/// control plane.
async fn advertised(bound: SocketAddr, control_plane: &ControlPlaneAddress) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    match towards(bound, control_plane).await {
        Ok(local) => SocketAddr::new(local.ip(), bound.port()),
        Err(error) => {
            tracing::warn!(%error, "the address at which peers reach this proxy is not known: name it in the bootstrap");
            bound
        }
    }
}

/// The local address of a route; connecting a datagram socket sends nothing.
async fn towards(bound: SocketAddr, to: &ControlPlaneAddress) -> std::io::Result<SocketAddr> {
    let socket = UdpSocket::bind(SocketAddr::new(bound.ip(), 0)).await?;
    socket.connect((to.host(), to.port())).await?;
    socket.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_on_every_address_is_told_by_one_that_peers_can_use() {
        let control_plane = "127.0.0.1:15012".parse().unwrap();
        let told = advertised("0.0.0.0:15006".parse().unwrap(), &control_plane).await;
        assert_eq!(told, "127.0.0.1:15006".parse().unwrap());
        let fixed = "10.0.0.7:15006".parse().unwrap();
        assert_eq!(advertised(fixed, &control_plane).await, fixed);
    }
}
