//! Who may call a Service's port, and with which requests.
use std::{borrow::Cow, collections::BTreeSet};

use weft_ir::{Access, AccessRule, Caller, HeaderMatch, MeshNames, RequestMatch, RuleName};
use weft_model::{AccessAction, AccessMatch, Callers, Kind, Namespace, ObjectRef, ServicePortSpec, SpiffeId};

use crate::{objects::Objects, policy, rules};

/// The rules for one port of one Service, from the policies that target it, its namespace or the mesh.
pub(crate) fn access(names: &MeshNames, objects: &Objects, service: &ObjectRef, spec: &ServicePortSpec) -> Access {
    let selecting: BTreeSet<_> =
        policy::of_service(service).into_iter().flat_map(|scope| objects.policies(Kind::AccessPolicy, scope)).collect();
    let mut rules = Vec::new();
    for reference in &selecting {
        let Some(policy) = objects.access_policy(reference) else { continue };
        for (rule, it) in (0..).zip(&policy.rules) {
            if !it.ports.is_empty() && !it.ports.contains(&spec.port) {
                continue;
            }
            let is_http = spec.protocol.is_http();
            let Some(requests) = requests(names, &service.namespace, it, is_http) else { continue };
            let callers: BTreeSet<_> = it.from.iter().map(|callers| caller(names, callers)).collect();
            let name = RuleName { policy: (*reference).clone(), rule };
            rules.push(AccessRule { name, action: it.action, callers: callers.into_iter().collect(), requests });
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

/// The requests that a rule is about, none of them for every request; `None` where it can match nothing there. Where
/// bytes are carried nobody can see requests in: they are not what a rule allows, and may be what it denies.
fn requests(
    names: &MeshNames,
    namespace: &Namespace,
    rule: &weft_model::AccessRule,
    is_http: bool,
) -> Option<Vec<RequestMatch>> {
    match (rule.matches.as_slice(), is_http) {
        ([], _) => Some(Vec::new()),
        (_, false) => (rule.action == AccessAction::Deny).then(Vec::new),
        (matches, true) => {
            let requests: Vec<_> = matches.iter().filter_map(|it| request(names, namespace, it)).collect();
            (!requests.is_empty()).then_some(requests)
        }
    }
}

/// `None` where none of its hosts can be a request's.
fn request(
    names: &MeshNames,
    namespace: &Namespace,
    AccessMatch { methods, path, hosts, headers }: &AccessMatch,
) -> Option<RequestMatch> {
    let full = |host: &weft_model::Host| names.full_host(namespace, Cow::Borrowed(host.as_str())).parse().ok();
    let in_full: BTreeSet<_> = hosts.iter().filter_map(full).collect();
    if in_full.is_empty() && !hosts.is_empty() {
        return None;
    }
    let headers: Vec<HeaderMatch> = rules::header_matches(headers);
    Some(RequestMatch { methods: methods.clone(), path: path.clone(), hosts: in_full.into_iter().collect(), headers })
}
