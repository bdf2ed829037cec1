//! Access rules about requests that hold for ports where nobody sees requests.
use std::collections::BTreeSet;

use weft_model::{AccessAction, AccessPolicy, AccessRule, Code, Diagnostic, FieldPath, Kind, ObjectRef, Port};

use crate::{Scope, objects::Objects};

/// One finding for each rule that matches requests and holds for a port of another protocol.
pub(crate) fn rules(objects: &Objects, object: &ObjectRef, policy: &AccessPolicy) -> Vec<Diagnostic> {
    let about_requests = |(_, rule): &(usize, &AccessRule)| !rule.matches.is_empty();
    let mut rules = policy.rules.iter().enumerate().filter(about_requests).peekable();
    if rules.peek().is_none() {
        return Vec::new();
    }
    let services = services(objects, policy);
    rules.filter_map(|(at, rule)| told(objects, object, &services, (at, rule))).collect()
}

fn services<'a>(objects: &'a Objects, policy: &'a AccessPolicy) -> BTreeSet<&'a ObjectRef> {
    let scopes = policy.targets.iter().filter_map(|target| Scope::of(&policy.meta, target));
    scopes
        .flat_map(|scope| match scope {
            Scope::Mesh => objects.of_kind(Kind::Service, None),
            Scope::Namespace(namespace) => objects.of_kind(Kind::Service, Some(&namespace)),
            Scope::Service(service) => objects.stored_key(&service).into_iter().collect(),
            Scope::Route(_) | Scope::Rule(..) => Vec::new(),
        })
        .collect()
}

fn told(
    objects: &Objects,
    object: &ObjectRef,
    services: &BTreeSet<&ObjectRef>,
    (at, rule): (usize, &AccessRule),
) -> Option<Diagnostic> {
    let holds = |port: Port| rule.ports.is_empty() || rule.ports.contains(&port);
    let ports = services.iter().filter_map(|name| Some((*name, objects.service(name)?))).flat_map(|(name, it)| {
        let its = it.ports.iter().filter(move |spec| holds(spec.port));
        its.map(move |spec| (name, spec.port, spec.protocol.is_http()))
    });
    let (seeing, blind): (Vec<_>, Vec<_>) = ports.partition(|(_, _, is_http)| *is_http);
    let (service, port, _) = blind.first()?;
    let others = match blind.len() {
        1 => String::new(),
        2 => " (as does 1 other port)".to_owned(),
        count => format!(" (as do {} other ports)", count - 1),
    };
    let (code, effect) = match rule.action {
        AccessAction::Allow if seeing.is_empty() => (Code::UnsupportedField, "so the rule allows nothing"),
        AccessAction::Allow => (Code::NoEffect, "so the rule allows nothing there"),
        AccessAction::Deny => {
            let effect =
                "so the rule denies its callers every connection there: what is not seen may be what it denies";
            (Code::UnsupportedField, effect)
        }
    };
    let text = format!(
        "port {port} of {}/{} carries bytes{others}, where no request is seen, {effect}",
        service.namespace, service.name
    );
    let field = FieldPath::from("spec.rules").index(at).key("matches");
    let hint =
        "name the HTTP ports in the rule's `ports`, or set the Service port's appProtocol to http if it speaks HTTP";
    Some(Diagnostic::warning(object, field, code, text).hint(hint))
}
