//! The objects of which a change may have altered what is to be said.
use std::collections::BTreeSet;

use weft_compile::{Changed, Compiler};
use weft_ir::{ListenerBody, Resource, ResourceKey, ServicePort};
use weft_model::{Kind, ObjectRef};

use crate::findings::service_ref;

pub(crate) fn affected(before: &Compiler, after: &Compiler, changed: &Changed) -> BTreeSet<ObjectRef> {
    let told_anew = |object: &&ObjectRef| before.diagnostics(object) != after.diagnostics(object);
    let mut affected: BTreeSet<_> = changed.diagnosed.iter().filter(told_anew).cloned().collect();
    let mut services = BTreeSet::new();
    for key in changed.updated.iter().chain(&changed.removed) {
        for compiler in [before, after] {
            read(compiler, key, &mut affected, &mut services);
        }
    }
    for service in services {
        for compiler in [before, after] {
            affected.extend(compiler.referrers(&service).filter(|it| reads_others(it)).cloned());
        }
        affected.insert(service);
    }
    affected
}

/// Whether what is told of an object depends on what became of others: routes reach Services, and TrafficPolicies may
/// come to nothing there.
fn reads_others(object: &ObjectRef) -> bool {
    object.kind.is_route() || object.kind == Kind::TrafficPolicy
}

/// Adds the routes and policies of a host or cluster, or the Services whose callers or endpoints a resource is about.
fn read(compiler: &Compiler, key: &ResourceKey, readers: &mut BTreeSet<ObjectRef>, services: &mut BTreeSet<ObjectRef>) {
    let mut service = |name: &ServicePort| services.insert(service_ref(name));
    match compiler.resource(key) {
        Some(Resource::VirtualHost(host)) => {
            readers.extend(host.origins.iter().filter(|origin| reads_others(origin)).cloned());
        }
        Some(Resource::Cluster(cluster)) => {
            readers.extend(cluster.origins.iter().filter(|origin| reads_others(origin)).cloned());
        }
        Some(Resource::Endpoints(endpoints)) => {
            endpoints.name.port().map(&mut service);
        }
        Some(Resource::Listener(listener)) => {
            if let ListenerBody::Inbound(inbound) = &listener.body {
                for chain in &inbound.chains {
                    service(&chain.service);
                }
            }
        }
        Some(Resource::RouteConfiguration(_)) | None => {}
    }
}
