//! Who may call a Service's port.
use std::collections::BTreeSet;

use weft_ir::{Access, AccessRule, Caller, MeshNames, RuleName};
use weft_model::{AccessAction, Callers, Kind, ObjectRef, Port, SpiffeId};

use crate::{objects::Objects, policy};

/// The rules for one port of one Service, from the policies that target it, its namespace or the mesh.
pub(crate) fn access(names: &MeshNames, objects: &Objects, service: &ObjectRef, port: Port) -> Access {
    let selecting: BTreeSet<_> =
        policy::of_service(service).into_iter().flat_map(|scope| objects.policies(Kind::AccessPolicy, scope)).collect();
    let mut rules = Vec::new();
    for reference in &selecting {
        let Some(policy) = objects.access_policy(reference) else { continue };
        for (rule, it) in (0..).zip(&policy.rules) {
            if !it.ports.is_empty() && !it.ports.contains(&port) {
                continue;
            }
            let callers: BTreeSet<_> = it.from.iter().map(|callers| caller(names, callers)).collect();
            let name = RuleName { policy: (*reference).clone(), rule };
            rules.push(AccessRule { name, action: it.action, callers: callers.into_iter().collect() });
        }
    }
    // Stable: each group stays ordered by name.
    rules.sort_by_key(|rule| rule.action != AccessAction::Deny);
    Access { policies: selecting.into_iter().cloned().collect(), rules }
}

fn caller(names: &MeshNames, callers: &Callers) -> Caller {
    match callers {
        Callers::Anyone => Caller::Anyone,
        Callers::Identity(id) => Caller::Identity(id.clone()),
        Callers::Namespace(namespace) => Caller::Namespace(names.trust_domain.clone(), namespace.clone()),
        Callers::Account(namespace, account) => {
            Caller::Identity(SpiffeId::of_account(&names.trust_domain, namespace, account))
        }
    }
}
