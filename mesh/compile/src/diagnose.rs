//! What is to be said of an object as the others stand.
use weft_ir::MeshNames;
use weft_model::{
    AnyRoute, Code, Diagnostic, FieldPath, Meta, Object, ObjectRef, PolicyTarget, Service, Stored, TargetKind,
    TrafficPolicy,
};

use crate::{
    Scope,
    attach::{self, Broken},
    blind,
    objects::{Objects, service_ref},
    policy,
    reference::{self, Reference, ReferenceKind},
    service::service_port,
    written::{Reach, Written, written},
};
use std::collections::BTreeSet;

/// RFC 1035 §2.3.4, written without the root's dot.
const MAX_DNS_NAME: usize = 253;

pub(crate) fn diagnose(names: &MeshNames, objects: &Objects, stored: &Stored) -> Vec<Diagnostic> {
    let object = stored.object.reference();
    let mut found = Vec::new();
    match &stored.object {
        Object::Service(service) => found.extend(long_names(names, &object, service)),
        Object::Workload(_) | Object::HttpRouteFilter(_) => {}
        Object::HttpRoute(_) | Object::GrpcRoute(_) => {
            references(objects, &object, &stored.object, &mut found);
            found.extend(AnyRoute::of(&stored.object).into_iter().flat_map(|route| rivals(objects, &object, route)));
        }
        Object::TrafficPolicy(policy) => {
            targets(&object, &policy.meta, &policy.targets, &mut found);
            references(objects, &object, &stored.object, &mut found);
            traffic(objects, &object, policy, &mut found);
        }
        Object::AccessPolicy(policy) => {
            targets(&object, &policy.meta, &policy.targets, &mut found);
            references(objects, &object, &stored.object, &mut found);
            for (at, target) in policy.targets.iter().enumerate() {
                if target.kind.is_route() {
                    let field = FieldPath::from("spec.targetRefs").index(at).key("kind");
                    let text = "an AccessPolicy cannot target a route, so this target has no effect";
                    let hint = "target the Service that the route forwards to";
                    found.push(Diagnostic::warning(&object, field, Code::UnsupportedField, text).hint(hint));
                }
            }
            found.extend(blind::rules(objects, &object, policy));
        }
    }
    found.into_iter().map(|diagnostic| diagnostic.at(stored.source.clone())).collect()
}

/// A Service whose host or server name would be longer than a DNS name may be is not reachable by it.
fn long_names(names: &MeshNames, object: &ObjectRef, service: &Service) -> Option<Diagnostic> {
    let long = service.ports.iter().any(|spec| {
        let port = service_port(names, object, spec.port);
        port.host(&names.mesh_domain).len().max(port.sni(&names.trust_domain).len()) > MAX_DNS_NAME
    });
    let text =
        format!("the Service's host or TLS server name is longer than the {MAX_DNS_NAME} characters of a DNS name");
    let hint = "shorten its name or namespace, or the mesh's domains";
    long.then(|| Diagnostic::warning(object, "metadata.name", Code::InvalidValue, text).hint(hint))
}

fn references(objects: &Objects, object: &ObjectRef, content: &Object, found: &mut Vec<Diagnostic>) {
    for reference in reference::of(content) {
        if let Err(broken) = attach::check(objects, &object.namespace, &reference) {
            found.extend(told(object, &reference, &broken));
        }
    }
}

/// Ports at which the route does not attach, because an older one of the other kind does.
fn rivals<'a>(objects: &'a Objects, object: &'a ObjectRef, route: AnyRoute<'a>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (at, parent) in route.parents().iter().enumerate() {
        let service = service_ref(parent.namespace.clone(), parent.name.clone());
        let ports = objects.service(&service).map(|it| it.ports.as_slice()).unwrap_or_default();
        for spec in ports.iter().filter(|spec| parent.port.is_none_or(|port| port == spec.port)) {
            let candidates = attach::candidates(objects, &service, spec.port);
            let attached = candidates.iter().any(|(stored, _)| stored.object.reference() == *object);
            let Some((winner, _)) = candidates.first() else { continue };
            let winner = winner.object.reference();
            if attached && winner.kind != object.kind {
                let text = format!(
                    "it has no effect at port {} of {}/{}, which takes the rules of {winner}: one port has HTTPRoutes or \
                     GRPCRoutes, and the oldest says which",
                    spec.port, parent.namespace, parent.name
                );
                let field = FieldPath::from("spec.parentRefs").index(at);
                found.push(
                    Diagnostic::warning(object, field, Code::OverriddenField, text).hint("attach it to another port"),
                );
            }
        }
    }
    found
}

fn told(object: &ObjectRef, reference: &Reference, broken: &Broken) -> Option<Diagnostic> {
    let warning = |key: &str, code, text: String| Diagnostic::warning(object, reference.field.key(key), code, text);
    let text = broken.text(reference);
    Some(match (broken, reference.kind) {
        // A policy's foreign target is told by `targets`.
        (Broken::Foreign, ReferenceKind::Target) => return None,
        (Broken::Foreign, ReferenceKind::Parent) => {
            let text = format!("{} is in another namespace: consumer routes are not supported yet", reference.target);
            let hint = format!("write the route in namespace {}", reference.target.namespace);
            warning("namespace", Code::UnsupportedField, text).hint(hint)
        }
        (Broken::Foreign, ReferenceKind::Backend | ReferenceKind::Mirror | ReferenceKind::Filter) => {
            warning("namespace", Code::DanglingReference, text)
                .hint("forward to a Service of the route's own namespace; ReferenceGrant is not supported yet")
        }
        (Broken::Missing, _) => warning("name", Code::DanglingReference, text),
        (Broken::Port(_, has), _) => {
            let has: Vec<_> = has.iter().map(ToString::to_string).collect();
            warning("port", Code::DanglingReference, text).hint(format!("its ports are {}", has.join(", ")))
        }
        (Broken::NotHttp(_), _) => warning("port", Code::InvalidValue, text)
            .hint("set the Service port's appProtocol to http if it does speak HTTP"),
        (Broken::Section, _) => warning("sectionName", Code::DanglingReference, text)
            .hint("a section is a rule's name, spec.rules[].name of the route"),
    })
}

/// Targets that the policy must not have.
fn targets(object: &ObjectRef, meta: &Meta, targets: &[PolicyTarget], found: &mut Vec<Diagnostic>) {
    for (at, target) in targets.iter().enumerate().filter(|(_, target)| Scope::of(meta, target).is_none()) {
        let field = FieldPath::from("spec.targetRefs").index(at);
        let (key, text, hint) = match (target.kind, &target.section) {
            (TargetKind::Mesh | TargetKind::Namespace | TargetKind::Service, Some(_)) => {
                ("sectionName", "only a route has sections", "leave sectionName out")
            }
            (TargetKind::Mesh, None) => {
                ("kind", "the mesh can be targeted from weft-system only", "move the policy to namespace weft-system")
            }
            (TargetKind::Namespace | TargetKind::Service | TargetKind::HttpRoute | TargetKind::GrpcRoute, _) => {
                ("name", "a policy can target its own namespace only", "write the policy in the target's namespace")
            }
        };
        found.push(Diagnostic::warning(object, field.key(key), Code::InvalidValue, text).hint(hint));
    }
}

/// Fields that lose or have no place.
fn traffic(objects: &Objects, object: &ObjectRef, policy: &TrafficPolicy, found: &mut Vec<Diagnostic>) {
    for (at, target) in policy.targets.iter().enumerate() {
        let Some(scope) = Scope::of(&policy.meta, target) else { continue };
        let own = written(policy);
        let misplaced = |it: &&Written| target.kind.is_route() && it.reach == Reach::Clusters;
        let blocks: BTreeSet<_> = own.iter().filter(misplaced).map(|it| it.block).collect();
        for block in blocks {
            let text =
                format!("spec.targetRefs[{at}] is a route, and this says how each Service behind a route is reached");
            let diagnostic = Diagnostic::warning(object, block, Code::UnsupportedField, text);
            found.push(diagnostic.hint("target the Service instead"));
        }
        for field in own.iter().filter(|it| !misplaced(it)) {
            let Some(path) = field.path() else { continue };
            let winner = policy::oldest(objects, scope.clone(), |it| field.is_decided_by(it));
            if let Some(winner) = winner.filter(|winner| *winner != object) {
                let text = format!("{winner} is older, has the same target as spec.targetRefs[{at}], and wins");
                let hint = "change or delete the older policy, or target something more specific";
                found.push(Diagnostic::warning(object, path, Code::OverriddenField, text).hint(hint));
            }
        }
    }
}
