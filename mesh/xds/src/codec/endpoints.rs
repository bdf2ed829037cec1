//! EDS: who stands behind one service port.
use std::{collections::BTreeMap, net::SocketAddr};

use weft_ir::{Endpoint, EndpointAddress, Endpoints, Health, Instance, Peer};
use weft_model::{Locality, LocalityName, WorkloadRef};
use weft_proto::{
    envoy::config::{
        core::v3::{self as core, HealthStatus, SocketAddress, address, socket_address::PortSpecifier},
        endpoint::v3::{self as wire, ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints, lb_endpoint},
    },
    google::protobuf::UInt32Value,
    weft,
};

use super::{
    common::{annotate, annotation, parse, required, same_name},
    fault::{Fault, Within, expect, fault, nothing_left},
    metadata::read_resource_metadata,
};

/// How many endpoints a service may have.
const MAX_ENDPOINTS: usize = 20_000;

pub(super) fn encode(endpoints: &Endpoints) -> ClusterLoadAssignment {
    let Endpoints { name, endpoints } = endpoints;
    let mut places: BTreeMap<&Locality, Vec<&Endpoint>> = BTreeMap::new();
    endpoints.iter().for_each(|endpoint| places.entry(&endpoint.locality).or_default().push(endpoint));
    ClusterLoadAssignment {
        cluster_name: name.to_string(),
        endpoints: places.into_iter().map(|(locality, endpoints)| encode_place(locality, &endpoints)).collect(),
        ..ClusterLoadAssignment::default()
    }
}

pub(super) fn decode(name: &str, mut message: ClusterLoadAssignment) -> Result<Endpoints, Fault> {
    let own = std::mem::take(&mut message.cluster_name);
    same_name("cluster_name", &own, name)?;
    let places = std::mem::take(&mut message.endpoints);
    nothing_left(&message)?;
    if places.iter().map(|place| place.lb_endpoints.len()).sum::<usize>() > MAX_ENDPOINTS {
        return Err(fault("endpoints", format!("there are more than {MAX_ENDPOINTS}")));
    }
    let mut by_workload: BTreeMap<WorkloadRef, Endpoint> = BTreeMap::new();
    let mut seen: BTreeMap<Locality, usize> = BTreeMap::new();
    for (at, place) in places.into_iter().enumerate() {
        decode_place(at, place, &mut seen, &mut by_workload).within(format_args!("endpoints[{at}]"))?;
    }
    Ok(Endpoints { name: parse("cluster_name", &own)?, endpoints: by_workload.into_values().collect() })
}

fn encode_place(locality: &Locality, endpoints: &[&Endpoint]) -> LocalityLbEndpoints {
    let part = |name: &Option<LocalityName>| name.as_ref().map(ToString::to_string).unwrap_or_default();
    let Locality { region, zone, sub_zone } = locality;
    LocalityLbEndpoints {
        // Always set, even where every part is unknown: gRPC clients refuse an assignment without.
        locality: Some(core::Locality { region: part(region), zone: part(zone), sub_zone: part(sub_zone) }),
        lb_endpoints: endpoints.iter().map(|endpoint| encode_endpoint(endpoint)).collect(),
        // Always set: gRPC clients pass over a locality without.
        load_balancing_weight: Some(weight_of(endpoints.iter().map(|endpoint| endpoint.weight))),
        ..LocalityLbEndpoints::default()
    }
}

fn decode_place(
    at: usize,
    mut place: LocalityLbEndpoints,
    seen: &mut BTreeMap<Locality, usize>,
    by_workload: &mut BTreeMap<WorkloadRef, Endpoint>,
) -> Result<(), Fault> {
    let locality = decode_locality(required("locality", place.locality.take())?).within("locality")?;
    if let Some(earlier) = seen.insert(locality.clone(), at) {
        return Err(fault("locality", format!("it is that of endpoints[{earlier}] too")));
    }
    let (origins, service) = read_resource_metadata(place.metadata.take())?;
    if !origins.is_empty() || !service.is_empty() {
        return Err(fault("metadata", "only needs are read here"));
    }
    let weight = required("load_balancing_weight", place.load_balancing_weight.take())?;
    let mut weights = Vec::with_capacity(place.lb_endpoints.len());
    for (at, endpoint) in std::mem::take(&mut place.lb_endpoints).into_iter().enumerate() {
        let (workload, endpoint) = decode_endpoint(endpoint, &locality).within(format_args!("lb_endpoints[{at}]"))?;
        weights.push(endpoint.weight);
        if let Some(twin) = by_workload.insert(workload, endpoint) {
            return Err(fault("lb_endpoints", format!("the workload {} stands twice", twin.called())));
        }
    }
    expect("load_balancing_weight", &weight, &weight_of(weights.into_iter()))?;
    nothing_left(&place)
}

fn encode_endpoint(endpoint: &Endpoint) -> LbEndpoint {
    let Endpoint { peer, address, locality: _, weight, health } = endpoint;
    let EndpointAddress::Socket(socket) = address;
    let health = match health {
        Health::Healthy => HealthStatus::Healthy,
        Health::Draining => HealthStatus::Draining,
        Health::Unhealthy => HealthStatus::Unhealthy,
    };
    let address = address::Address::SocketAddress(SocketAddress {
        address: socket.ip().to_string(),
        port_specifier: Some(PortSpecifier::PortValue(socket.port().into())),
        ..SocketAddress::default()
    });
    LbEndpoint {
        health_status: health.into(),
        metadata: match peer {
            Peer::Instance(Instance { workload, identity, network, cluster }) => Some(annotate(&weft::Endpoint {
                workload_namespace: workload.namespace.to_string(),
                workload: workload.name.to_string(),
                identity: identity.to_string(),
                network: network.to_string(),
                cluster: cluster.to_string(),
            })),
            Peer::Address => None,
        },
        load_balancing_weight: Some(UInt32Value { value: *weight }),
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(wire::Endpoint {
            address: Some(core::Address { address: Some(address) }),
            ..wire::Endpoint::default()
        })),
    }
}

fn decode_endpoint(endpoint: LbEndpoint, locality: &Locality) -> Result<(WorkloadRef, Endpoint), Fault> {
    let LbEndpoint { health_status, metadata, load_balancing_weight, host_identifier } = endpoint;
    let weft::Endpoint { workload_namespace, workload, identity, network, cluster } =
        required("metadata", annotation(metadata).within("metadata")?)?;
    let workload = WorkloadRef {
        namespace: parse("metadata.workload_namespace", &workload_namespace)?,
        name: parse("metadata.workload", &workload)?,
    };
    let UInt32Value { value: weight } = required("load_balancing_weight", load_balancing_weight)?;
    if weight == 0 {
        return Err(fault("load_balancing_weight", "it must be above zero"));
    }
    let health = match HealthStatus::try_from(health_status) {
        Ok(HealthStatus::Healthy) => Health::Healthy,
        Ok(HealthStatus::Draining) => Health::Draining,
        Ok(HealthStatus::Unhealthy) => Health::Unhealthy,
        Ok(_) | Err(_) => return Err(fault("health_status", "only HEALTHY, DRAINING and UNHEALTHY are read")),
    };
    let instance = Instance {
        workload: workload.clone(),
        identity: parse("metadata.identity", &identity)?,
        network: parse("metadata.network", &network)?,
        cluster: parse("metadata.cluster", &cluster)?,
    };
    let address = decode_address(host_identifier).within("endpoint")?;
    Ok((workload, Endpoint { peer: Peer::Instance(instance), address, locality: locality.clone(), weight, health }))
}

fn decode_address(host: Option<lb_endpoint::HostIdentifier>) -> Result<EndpointAddress, Fault> {
    let Some(lb_endpoint::HostIdentifier::Endpoint(mut endpoint)) = host else {
        return Err(fault("", "it is missing"));
    };
    let address = required("address", endpoint.address.take())?;
    nothing_left(&endpoint)?;
    let Some(address::Address::SocketAddress(mut socket)) = address.address else {
        return Err(fault("address", "only socket addresses are read"));
    };
    let ip = parse("address.address", &std::mem::take(&mut socket.address))?;
    let port = match socket.port_specifier.take() {
        Some(PortSpecifier::PortValue(port)) => u16::try_from(port).ok().filter(|port| *port != 0),
        Some(PortSpecifier::NamedPort(_)) | None => None,
    };
    let port = port.ok_or_else(|| fault("address.port_value", "it must be a number from 1 to 65535"))?;
    nothing_left(&socket).within("address")?;
    Ok(EndpointAddress::Socket(SocketAddr::new(ip, port)))
}

fn decode_locality(locality: core::Locality) -> Result<Locality, Fault> {
    let part = |field: &str, text: &str| if text.is_empty() { Ok(None) } else { parse(field, text).map(Some) };
    let core::Locality { region, zone, sub_zone } = locality;
    Ok(Locality {
        region: part("region", &region)?,
        zone: part("zone", &zone)?,
        sub_zone: part("sub_zone", &sub_zone)?,
    })
}

/// The weight of a locality: the sum of its endpoints', as far as the field reaches.
fn weight_of(weights: impl Iterator<Item = u32>) -> UInt32Value {
    UInt32Value { value: weights.fold(0, u32::saturating_add) }
}
