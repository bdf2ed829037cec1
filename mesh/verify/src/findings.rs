//! All that is to be said of one object as a set of objects stands.
use weft_compile::Compiler;
use weft_ir::{Resource, ResourceKey, ServicePort};
use weft_model::{AnyRoute, Code, Diagnostic, Kind, Object, ObjectRef, Port, Service};

use crate::{MAX_ENDPOINTS, reach, resilience, shadow, suggest};

pub(crate) fn of(compiler: &Compiler, object: &ObjectRef) -> Vec<Diagnostic> {
    let Some(stored) = compiler.stored(object) else { return Vec::new() };
    let compiled = compiler.diagnostics(object).iter().cloned();
    let mut found: Vec<_> = compiled.map(|diagnostic| suggest::reference(compiler, stored, diagnostic)).collect();
    let own = match &stored.object {
        Object::Service(service) => budget(compiler, object, service),
        Object::HttpRoute(route) => of_route(compiler, object, AnyRoute::Http(route)),
        Object::GrpcRoute(route) => of_route(compiler, object, AnyRoute::Grpc(route)),
        Object::TrafficPolicy(policy) => resilience::doubts(compiler, object, policy),
        Object::Workload(_) | Object::HttpRouteFilter(_) | Object::AccessPolicy(_) => Vec::new(),
    };
    found.extend(own.into_iter().map(|diagnostic| diagnostic.at(stored.source.clone())));
    found
}

fn of_route(compiler: &Compiler, object: &ObjectRef, route: AnyRoute<'_>) -> Vec<Diagnostic> {
    let mut own = shadow::shadowed(compiler, object, route);
    own.extend(reach::unreachable(compiler, object, route));
    own
}

/// The Service of a service port.
pub(crate) fn service_ref(name: &ServicePort) -> ObjectRef {
    ObjectRef { kind: Kind::Service, namespace: name.namespace.clone(), name: name.service.clone() }
}

/// The name of a Service's port.
pub(crate) fn service_port(compiler: &Compiler, service: &ObjectRef, port: Port) -> ServicePort {
    let ObjectRef { namespace, name, .. } = service.clone();
    ServicePort { cluster: compiler.names().cluster.clone(), namespace, service: name, port }
}

fn budget(compiler: &Compiler, object: &ObjectRef, service: &Service) -> Vec<Diagnostic> {
    let over =
        |port: Port| match compiler.resource(&ResourceKey::endpoints(&service_port(compiler, object, port).into())) {
            Some(Resource::Endpoints(it)) if it.endpoints.len() > MAX_ENDPOINTS => {
                let text = format!("more than {MAX_ENDPOINTS} workloads stand behind port {port}");
                let diagnostic = Diagnostic::error(object, "spec.selector", Code::OverBudget, text);
                Some(diagnostic.hint("split the Service, and spread requests over its parts by an HTTPRoute's weights"))
            }
            _ => None,
        };
    service.ports.iter().filter_map(|spec| over(spec.port)).collect()
}
