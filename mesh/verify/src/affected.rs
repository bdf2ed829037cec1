//! The objects of which a change may have altered what is to be said.
use std::collections::BTreeSet;

use weft_compile::{Changed, Compiler};
use weft_ir::{ListenerBody, Resource, ResourceKey, ServicePort};
use weft_model::{Kind, ObjectRef};

use crate::findings::service_ref;

pub(crate) fn affected(before: &Compiler, after: &Compiler, changed: &Changed) -> BTreeSet<ObjectRef> {
    let told_now = after.all_diagnostics().filter(|(object, found)| before.diagnostics(object) != *found);
    let mut affected: BTreeSet<_> = told_now.map(|(object, _)| object.clone()).collect();
    let mut services = BTreeSet::new();
    for key in changed.updated.iter().chain(&changed.removed) {
        for compiler in [before, after] {
            read(compiler, key, &mut affected, &mut services);
        }
    }
    for service in services {
        for compiler in [before, after] {
            affected.extend(compiler.referrers(&service).filter(|it| it.kind == Kind::HttpRoute).cloned());
        }
        affected.insert(service);
    }
    affected
}

/// Adds the routes of a host, or the Services whose callers or endpoints a resource is about.
fn read(compiler: &Compiler, key: &ResourceKey, routes: &mut BTreeSet<ObjectRef>, services: &mut BTreeSet<ObjectRef>) {
    let mut service = |name: &ServicePort| services.insert(service_ref(name));
    match compiler.resource(key) {
        Some(Resource::VirtualHost(host)) => {
            let origins = host.origins.iter().filter(|origin| origin.kind == Kind::HttpRoute);
            routes.extend(origins.cloned());
        }
        Some(Resource::Endpoints(endpoints)) => {
            service(&endpoints.name);
        }
        Some(Resource::Listener(listener)) => {
            if let ListenerBody::Inbound(inbound) = &listener.body {
                for chain in &inbound.chains {
                    service(&chain.service);
                }
            }
        }
        Some(Resource::Cluster(_) | Resource::RouteConfiguration(_)) | None => {}
    }
}
