//! What a TrafficPolicy says that comes to nothing, or to more than its author may want, where its targets stand.
//!
//! Only what is targeted by name is looked at: a policy of the mesh or a namespace meets Services of every kind.
use weft_compile::Compiler;
use weft_ir::{Resource, ResourceKey, Route, VirtualHost};
use weft_model::{
    AnyRoute, Code, Diagnostic, Object, ObjectRef, PolicyTarget, RepeatSafety, Service, TargetKind, TrafficPolicy,
    duration,
};

use crate::{findings::service_port, shadow};

pub(crate) fn doubts(compiler: &Compiler, object: &ObjectRef, policy: &TrafficPolicy) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for target in &policy.targets {
        let Some(target_ref) = target.object() else { continue };
        let stored = compiler.stored(&target_ref).map(|stored| &stored.object);
        if let (Some(Object::Service(service)), true) = (stored, policy.ejection.is_some()) {
            found.extend(lonely(compiler, object, &target_ref, service));
        }
        for (_, route) in routes(compiler, target, stored).filter(|(host, _)| host.origins.contains(object)) {
            found.extend(unreached_bound(object, policy, route));
            found.extend(repeats(object, policy, route));
        }
    }
    // A host with two ports has its routes twice, and a policy may target a route and its Service.
    let mut unique: Vec<Diagnostic> = Vec::new();
    for diagnostic in found {
        if !unique.contains(&diagnostic) {
            unique.push(diagnostic);
        }
    }
    unique
}

/// The routes that a target covers, with their hosts.
fn routes<'a>(
    compiler: &'a Compiler,
    target: &'a PolicyTarget,
    stored: Option<&'a Object>,
) -> impl Iterator<Item = (&'a VirtualHost, &'a Route)> {
    let written = stored.and_then(AnyRoute::of);
    let hosts = match (written, stored, target.kind) {
        (Some(route), _, _) => shadow::hosts(compiler, route),
        (None, Some(Object::Service(_)), TargetKind::Service) => {
            target.object().map(|service| shadow::of_service(compiler, &service, None)).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let covered = move |route: &Route| {
        let Some(it) = written else { return true };
        let place = usize::try_from(route.origin.rule).ok();
        let rule = place.and_then(|place| it.rules().get(place).copied()).and_then(|rule| rule.name);
        let own = Some(&route.origin.object) == target.object().as_ref();
        own && target.section.as_ref().is_none_or(|section| Some(section) == rule)
    };
    hosts
        .into_iter()
        .flat_map(move |host| host.routes.iter().filter(move |route| covered(route)).map(move |route| (host, route)))
}

/// The last endpoint is never ejected.
fn lonely<'a>(
    compiler: &'a Compiler,
    object: &'a ObjectRef,
    service_ref: &'a ObjectRef,
    service: &'a Service,
) -> impl Iterator<Item = Diagnostic> + 'a {
    let alone = move |spec: &&weft_model::ServicePortSpec| {
        let name = service_port(compiler, service_ref, spec.port);
        let ejects = matches!(compiler.resource(&ResourceKey::cluster(&name)),
            Some(Resource::Cluster(it)) if it.ejection.is_some());
        let endpoints = match compiler.resource(&ResourceKey::endpoints(&name)) {
            Some(Resource::Endpoints(it)) => it.endpoints.len(),
            _ => 0,
        };
        ejects && endpoints == 1
    };
    service.ports.iter().filter(alone).map(move |spec| {
        let text = format!(
            "one workload stands behind port {} of {}/{}, and the last endpoint is never ejected",
            spec.port, service_ref.namespace, service_ref.name
        );
        Diagnostic::warning(object, "spec.outlierEjection", Code::NoEffect, text)
            .hint("start another; a circuitBreaker is what spares a single instance")
    })
}

/// A bound on each try that is longer than the one on the request.
fn unreached_bound(object: &ObjectRef, policy: &TrafficPolicy, route: &Route) -> Option<Diagnostic> {
    let written = policy.retries.as_ref().and_then(|retries| retries.per_try_timeout);
    let per_try = route.retry.as_ref()?.per_try_timeout?;
    let whole = route.timeout?;
    if per_try <= whole {
        return None;
    }
    let field = match written {
        Some(_) => "spec.retries.perTryTimeout",
        None if policy.request_timeout.is_some() => "spec.timeouts.request",
        None => return None,
    };
    let (per_try, whole) = (duration::format(per_try), duration::format(whole));
    let text = format!("a request by {} ends after {whole}, before a try of {per_try} would", route.origin);
    Some(Diagnostic::warning(object, field, Code::NoEffect, text).hint("make the try shorter than the request"))
}

/// Repetition of what is not idempotent, or none although it was written.
fn repeats(object: &ObjectRef, policy: &TrafficPolicy, route: &Route) -> Option<Diagnostic> {
    policy.retries.as_ref()?;
    let retry = route.retry.as_ref()?;
    let method = route.matches.method.as_ref()?;
    if RepeatSafety::Idempotent.allows(&method.0) {
        return None;
    }
    Some(match retry.repeats_are_safe {
        RepeatSafety::Always => {
            let text = format!(
                "{} takes {} only, which is not idempotent: one request may be processed {} times",
                route.origin,
                method.0,
                retry.attempts + 1
            );
            Diagnostic::warning(object, "spec.retries.safe", Code::UnsafeRepeat, text)
                .hint("keep `always` only where the application takes a request twice without harm")
        }
        RepeatSafety::Idempotent => {
            let text = format!(
                "{} takes {} only, which is not idempotent: it is repeated only with proof that it was not processed",
                route.origin, method.0
            );
            Diagnostic::warning(object, "spec.retries", Code::NoEffect, text)
                .hint("write `safe: always` where the application takes a request twice without harm")
        }
        RepeatSafety::Never => return None,
    })
}
