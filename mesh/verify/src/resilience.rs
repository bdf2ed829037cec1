//! What a TrafficPolicy says that comes to nothing, or to more than its author may want, where its targets stand.
//!
//! Only what is targeted by name is looked at: a policy of the mesh or a namespace meets Services of every kind.
use weft_compile::Compiler;
use weft_ir::{Balance, Probe, Resource, ResourceKey, Route, RouteAction, RouteOrigin, ServiceKey, VirtualHost};
use weft_model::{
    AffinityKey, AnyRoute, Code, Diagnostic, HealthProbe, Locality, Object, ObjectRef, PolicyTarget, Protocol,
    RepeatSafety, Service, TargetKind, TrafficPolicy, duration,
};

use crate::{
    findings::{self, service_port},
    shadow,
};

pub(crate) fn doubts(compiler: &Compiler, object: &ObjectRef, policy: &TrafficPolicy) -> Vec<Diagnostic> {
    let mut found: Vec<_> = one_source(object, policy).into_iter().collect();
    for target in &policy.targets {
        let Some(target_ref) = target.object() else { continue };
        let stored = compiler.stored(&target_ref).map(|stored| &stored.object);
        if let (Some(Object::Service(service)), true) = (stored, policy.ejection.is_some()) {
            found.extend(lonely(compiler, object, &target_ref, service));
            found.extend(too_few(compiler, object, &target_ref, service));
        }
        if policy.balancing.is_some() && target.kind == TargetKind::Service {
            found.extend(keyless(compiler, object, &target_ref));
        }
        if let Some(Object::Service(service)) = stored {
            found.extend(placeless(compiler, object, policy, &target_ref, service));
            found.extend(no_slow_start(compiler, object, policy, &target_ref, service));
            found.extend(unanswered_checks(compiler, object, policy, &target_ref, service));
        }
        for (_, route) in routes(compiler, target, stored).filter(|(host, _)| host.origins.contains(object)) {
            found.extend(unreached_bound(object, policy, route));
            found.extend(unreached_idle(object, policy, route));
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
        let RouteOrigin::Rule { object, rule, alternative: _ } = &route.origin else { return false };
        let place = usize::try_from(*rule).ok();
        let rule = place.and_then(|place| it.rules().get(place).copied()).and_then(|rule| rule.name);
        let own = Some(object) == target.object().as_ref();
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
        let name = service_port(compiler, service_ref, spec.port).into();
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

/// Success rates that are never compared, because too few endpoints have any.
fn too_few(compiler: &Compiler, object: &ObjectRef, service_ref: &ObjectRef, service: &Service) -> Option<Diagnostic> {
    service.ports.iter().find_map(|spec| {
        let name = service_port(compiler, service_ref, spec.port).into();
        let Some(Resource::Cluster(cluster)) = compiler.resource(&ResourceKey::cluster(&name)) else { return None };
        let Some(Resource::Endpoints(its)) = compiler.resource(&ResourceKey::endpoints(&name)) else { return None };
        let (least, number) = (cluster.ejection?.success_rate?.minimum_endpoints, its.endpoints.len());
        if number == 0 || number >= least as usize || !cluster.origins.contains(object) {
            return None;
        }
        let text = format!(
            "{number} of the {least} workloads that it takes to compare success rates stand behind port {} of {}/{}",
            spec.port, service_ref.namespace, service_ref.name
        );
        let hint = "start more, or write a smaller minimumEndpoints";
        Some(Diagnostic::warning(object, "spec.outlierEjection.successRate", Code::NoEffect, text).hint(hint))
    })
}

/// A Service that is balanced by a key that no route to it has.
fn keyless(compiler: &Compiler, object: &ObjectRef, service: &ObjectRef) -> Option<Diagnostic> {
    let name = |name: &ServiceKey| name.port().is_some_and(|port| findings::service_ref(port) == *service);
    let own = shadow::of_service(compiler, service, None);
    let port = own.first()?.service.clone();
    let Some(Resource::Cluster(cluster)) = compiler.resource(&ResourceKey::cluster(&port)) else { return None };
    let balance = match cluster.balance {
        _ if !cluster.origins.contains(object) => return None,
        Balance::RingHash => "RingHash",
        Balance::Maglev => "Maglev",
        Balance::RoundRobin | Balance::LeastRequest | Balance::Random | Balance::PeakEwma => return None,
    };
    let referrers = compiler.referrers(service).filter_map(|it| AnyRoute::of(&compiler.stored(it)?.object));
    let hosts = own.into_iter().chain(referrers.flat_map(|route| shadow::hosts(compiler, route)));
    let mut routes = hosts.flat_map(|host| &host.routes).filter(|route| match &route.action {
        RouteAction::Forward(shares) => shares.iter().any(|share| name(&share.cluster)),
        RouteAction::Redirect(_) | RouteAction::Respond { .. } | RouteAction::Refuse { .. } => false,
    });
    if routes.any(|route| route.affinity.is_some()) {
        return None;
    }
    let text = format!(
        "no route to {}/{} has an affinity, so that {balance} has no key and picks by chance",
        service.namespace, service.name
    );
    let hint = "write spec.affinity in a policy of this Service or of what routes to it";
    Some(Diagnostic::warning(object, "spec.loadBalancing.type", Code::NoEffect, text).hint(hint))
}

/// Near endpoints first, where nobody knows of any where it is.
fn placeless(
    compiler: &Compiler,
    object: &ObjectRef,
    policy: &TrafficPolicy,
    service_ref: &ObjectRef,
    service: &Service,
) -> Option<Diagnostic> {
    policy.locality.filter(|block| block.enabled != Some(false))?;
    let endpoints = service.ports.iter().filter_map(|spec| {
        match compiler.resource(&ResourceKey::endpoints(&service_port(compiler, service_ref, spec.port).into())) {
            Some(Resource::Endpoints(it)) => Some(&it.endpoints),
            _ => None,
        }
    });
    let mut places =
        endpoints.flatten().map(|it| it.locality.region.is_some() || it.locality.zone.is_some()).peekable();
    places.peek()?;
    if places.any(|known| known) {
        return None;
    }
    let (namespace, name) = (&service_ref.namespace, &service_ref.name);
    let text = format!("no workload behind {namespace}/{name} says where it runs: none is nearer than another");
    let hint = format!(
        "label the workloads {} and {}, or start their sidecars with --region and --zone",
        Locality::LABELS[0],
        Locality::LABELS[1]
    );
    Some(Diagnostic::warning(object, "spec.loadBalancing.locality", Code::NoEffect, text).hint(hint))
}

/// A slow start where chance or keys choose.
fn no_slow_start(
    compiler: &Compiler,
    object: &ObjectRef,
    policy: &TrafficPolicy,
    service_ref: &ObjectRef,
    service: &Service,
) -> Option<Diagnostic> {
    policy.slow_start.filter(|block| block.enabled != Some(false))?;
    let spec = service.ports.first()?;
    let key = ResourceKey::cluster(&service_port(compiler, service_ref, spec.port).into());
    let Some(Resource::Cluster(cluster)) = compiler.resource(&key) else { return None };
    if cluster.balance.can_start_slowly() {
        return None;
    }
    let text = "there is no slow start where endpoints are chosen by chance or by a key";
    let hint = "balance by RoundRobin, LeastRequest or PeakEwma";
    Some(Diagnostic::warning(object, "spec.loadBalancing.slowStart", Code::NoEffect, text).hint(hint))
}

/// Calls of gRPC's health service where nobody speaks HTTP/2.
fn unanswered_checks<'a>(
    compiler: &'a Compiler,
    object: &'a ObjectRef,
    policy: &'a TrafficPolicy,
    service_ref: &'a ObjectRef,
    service: &'a Service,
) -> impl Iterator<Item = Diagnostic> + 'a {
    let probe = policy.health_check.as_ref().and_then(|check| check.probe.as_ref());
    let by_grpc = matches!(probe, Some(HealthProbe::Grpc { .. }));
    let fails = move |spec: &&weft_model::ServicePortSpec| {
        let key = ResourceKey::cluster(&service_port(compiler, service_ref, spec.port).into());
        let Some(Resource::Cluster(cluster)) = compiler.resource(&key) else { return false };
        let asked = cluster.health_check.as_ref().is_some_and(|check| matches!(check.probe, Probe::Grpc { .. }));
        asked && cluster.protocol == Protocol::Http && cluster.origins.contains(object)
    };
    service.ports.iter().filter(move |_| by_grpc).filter(fails).map(move |spec| {
        let text = format!(
            "port {} of {}/{} speaks HTTP/1.1, and gRPC's health service needs HTTP/2: each of its endpoints fails",
            spec.port, service_ref.namespace, service_ref.name
        );
        Diagnostic::warning(object, "spec.healthCheck.grpc", Code::NoEffect, text)
            .hint("say appProtocol: grpc of the port, or check it by http or tcp")
    })
}

/// A sidecar's clients are one application, on one machine.
fn one_source(object: &ObjectRef, policy: &TrafficPolicy) -> Option<Diagnostic> {
    let by_source = matches!(policy.affinity, Some(AffinityKey::SourceAddress));
    let text = "a sidecar that serves its own application alone sees one source address: all requests of one instance go \
                to one endpoint";
    let hint =
        "use a header, a cookie or a query parameter, unless other machines send to the sidecar's outbound listener";
    by_source.then(|| Diagnostic::warning(object, "spec.affinity.sourceAddress", Code::NoEffect, text).hint(hint))
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

/// A bound on standing still that is longer than the one on the whole request.
fn unreached_idle(object: &ObjectRef, policy: &TrafficPolicy, route: &Route) -> Option<Diagnostic> {
    let idle = route.idle_timeout?;
    let whole = [route.timeout, route.stream_timeout].into_iter().flatten().min()?;
    if idle <= whole || policy.idle_timeout != Some(idle) {
        return None;
    }
    let (idle, whole) = (duration::format(idle), duration::format(whole));
    let text = format!("a request by {} ends after {whole}, before it could stand still for {idle}", route.origin);
    let hint = "make it shorter than the request's own timeout, or take that away";
    Some(Diagnostic::warning(object, "spec.timeouts.idle", Code::NoEffect, text).hint(hint))
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
