//! A Service's clusters, and the outbound listeners of its TCP ports.
use std::{collections::BTreeSet, sync::Arc, time::Duration};

use weft_ir::{
    Balance, Cluster, Listener, ListenerBody, MeshNames, OutboundTcp, Resource, Security, ServiceKey, ServicePort,
};
use weft_model::{Balancing, ObjectRef, Port, Protocol};

use crate::{
    objects::Objects,
    policy::{self, Covering},
    resilience,
};

/// How long connecting may take where nothing else is said; Envoy's default is 5 s, which is longer than a request
/// usually has.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The name of a port of a Service of this cluster.
pub(crate) fn service_port(names: &MeshNames, service: &ObjectRef, port: Port) -> ServicePort {
    let ObjectRef { namespace, name, .. } = service.clone();
    ServicePort { cluster: names.cluster.clone(), namespace, service: name, port }
}

pub(crate) fn clusters(names: &MeshNames, objects: &Objects, reference: &ObjectRef) -> Vec<Resource> {
    let Some(service) = objects.service(reference) else { return Vec::new() };
    let policies = Covering::of(objects, policy::of_service(reference));
    let mut origins = BTreeSet::from([reference.clone()]);
    let balance = match policies.field(&mut origins, |policy| policy.balancing) {
        Some(Balancing::RoundRobin) | None => Balance::RoundRobin,
        Some(Balancing::LeastRequest) => Balance::LeastRequest,
        Some(Balancing::Random) => Balance::Random,
        Some(Balancing::PeakEwma) => Balance::PeakEwma,
        Some(Balancing::RingHash) => Balance::RingHash,
        Some(Balancing::Maglev) => Balance::Maglev,
    };
    let near_first = resilience::near_first(&policies, &mut origins);
    let slow_start = resilience::slow_start(&policies, &mut origins).filter(|_| balance.can_start_slowly());
    let limits = resilience::limits(&policies, &mut origins);
    let breaker = resilience::breaker(&policies, &mut origins);
    let ejection = resilience::ejection(&policies, &mut origins);
    let checks = resilience::health_check(&policies, &mut origins);
    let origins: Vec<_> = origins.into_iter().collect();
    let mut resources = Vec::new();
    for spec in &service.ports {
        let name = service_port(names, reference, spec.port);
        let security = Security::Mesh { sni: name.sni(&names.trust_domain) };
        let host = || match (name.host(&names.mesh_domain), name.port) {
            (host, Port::HTTP) => host,
            (host, port) => format!("{host}:{port}"),
        };
        let health_check = checks.as_ref().map(|checks| checks.of_port(spec.protocol, host));
        let name = ServiceKey::from(name);
        if spec.protocol == Protocol::Tcp {
            resources.push(Resource::Listener(Arc::new(Listener {
                name: Listener::outbound_name(&name),
                body: ListenerBody::OutboundTcp(OutboundTcp { cluster: name.clone() }),
                origins: vec![reference.clone()],
            })));
        }
        let (protocol, origins) = (spec.protocol, origins.clone());
        let cluster = Cluster {
            name,
            protocol,
            security,
            balance,
            near_first,
            slow_start,
            connect_timeout: CONNECT_TIMEOUT,
            limits,
            breaker,
            ejection,
            health_check,
            origins,
        };
        resources.push(Resource::Cluster(Arc::new(cluster)));
    }
    resources
}
