//! Who stands behind a Service's ports.
use std::sync::Arc;

use weft_ir::{Endpoint, EndpointAddress, Endpoints, Health, Instance, MeshNames, Peer, Resource};
use weft_model::{ObjectRef, Port, SpiffeId, TargetPort, Workload};

use crate::{objects::Objects, service::service_port};

pub(crate) fn endpoints(names: &MeshNames, objects: &Objects, reference: &ObjectRef) -> Vec<Resource> {
    let Some(service) = objects.service(reference) else { return Vec::new() };
    let workloads = objects.workloads_behind(service);
    let of_port = |target: &TargetPort| {
        let with_port = workloads.iter().filter(|(_, workload)| target_port(workload, target).is_some());
        with_port.filter_map(|(_, workload)| endpoint(names, workload)).collect()
    };
    let resource = |port: Port, target: &TargetPort| {
        let name = service_port(names, reference, port);
        Resource::Endpoints(Arc::new(Endpoints { name: name.into(), endpoints: of_port(target) }))
    };
    service.ports.iter().map(|spec| resource(spec.port, &spec.target)).collect()
}

/// The port of `workload` that a Service's target port means; `None` where it has no such port.
pub(crate) fn target_port(workload: &Workload, target: &TargetPort) -> Option<Port> {
    match target {
        TargetPort::Name(name) => workload.ports.get(name).copied(),
        TargetPort::Number(number) => workload.ports.values().copied().find(|port| port == number),
    }
}

/// `None` for a workload that takes no calls: one without an address to connect to, or of weight zero.
fn endpoint(names: &MeshNames, workload: &Workload) -> Option<Endpoint> {
    let reachable = workload.address.port() != 0 && !workload.address.ip().is_unspecified();
    if !reachable || workload.weight == 0 {
        return None;
    }
    let domain = workload.trust_domain.as_ref().unwrap_or(&names.trust_domain);
    let instance = Instance {
        workload: workload.reference(),
        identity: SpiffeId::of_account(domain, &workload.meta.namespace, &workload.account),
        network: workload.network.clone(),
        cluster: workload.cluster.clone(),
    };
    Some(Endpoint {
        peer: Peer::Instance(instance),
        address: EndpointAddress::Socket(workload.address),
        locality: workload.locality.or_labels(&workload.meta.labels),
        weight: workload.weight,
        health: health(workload),
    })
}

/// One that leaves is draining whatever its application does: it does not come back.
fn health(workload: &Workload) -> Health {
    match (workload.draining, workload.unhealthy) {
        (true, _) => Health::Draining,
        (false, true) => Health::Unhealthy,
        (false, false) => Health::Healthy,
    }
}
