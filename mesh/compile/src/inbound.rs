//! A workload's inbound listener: one chain for each Service port that it stands behind.
use std::{collections::BTreeSet, sync::Arc};

use weft_ir::{Inbound, InboundChain, Listener, ListenerBody, MeshNames, Resource};
use weft_model::ObjectRef;

use crate::{access, endpoints::target_port, objects::Objects, service::service_port};

pub(crate) fn listener(names: &MeshNames, objects: &Objects, reference: &ObjectRef) -> Option<Resource> {
    let workload = objects.workload(reference)?;
    let mut origins = BTreeSet::from([reference.clone()]);
    let mut chains = Vec::new();
    for (object, service) in objects.services_selecting(&reference.namespace, &workload.meta.labels) {
        for spec in &service.ports {
            let Some(application_port) = target_port(workload, &spec.target) else { continue };
            let service = service_port(names, object, spec.port);
            let Ok(host) = service.host(&names.mesh_domain).parse() else { continue };
            let access = access::access(names, objects, object, spec);
            origins.insert(object.clone());
            origins.extend(access.policies.iter().cloned());
            let sni = service.sni(&names.trust_domain);
            chains.push(InboundChain { sni, service, host, protocol: spec.protocol, application_port, access });
        }
    }
    chains.sort_by(|a, b| a.service.cmp(&b.service));
    let workload = workload.reference();
    Some(Resource::Listener(Arc::new(Listener {
        name: Listener::inbound_name(&workload),
        body: ListenerBody::Inbound(Inbound { workload, chains }),
        origins: origins.into_iter().collect(),
    })))
}
