//! VHDS: the routes of one authority.
use weft_ir::{Feature, HostPort, ServiceKey, VirtualHost};
use weft_model::Port;
use weft_proto::envoy::config::route::v3 as wire;

use super::{
    common::{parse, same_name},
    fault::{Fault, Within, expect, fault, nothing_left},
    metadata::{read_resource_metadata, resource_metadata},
    route,
};

/// How many routes one authority may have.
const MAX_ROUTES: usize = 20_000;

pub(super) fn encode(host: &VirtualHost, needs: impl IntoIterator<Item = Feature>) -> wire::VirtualHost {
    let VirtualHost { authority, service, routes, origins } = host;
    wire::VirtualHost {
        name: authority.resource_name(),
        domains: domains(authority, service),
        routes: routes.iter().map(route::encode).collect(),
        metadata: resource_metadata(needs, origins, Some(service)),
        ..wire::VirtualHost::default()
    }
}

pub(super) fn decode(name: &str, mut message: wire::VirtualHost) -> Result<VirtualHost, Fault> {
    same_name("name", &message.name, name)?;
    let authority = HostPort::from_resource_name(&std::mem::take(&mut message.name));
    let authority = authority.ok_or_else(|| fault("name", "it is not outbound/<host>[:port]"))?;
    same_name("name", &authority.resource_name(), name)?;
    let (origins, service) = read_resource_metadata(message.metadata.take())?;
    let service: ServiceKey = parse("metadata.service", &service)?;
    expect("domains", &std::mem::take(&mut message.domains), &domains(&authority, &service))?;
    let routes = std::mem::take(&mut message.routes);
    if routes.len() > MAX_ROUTES {
        return Err(fault("routes", format!("there are more than {MAX_ROUTES}")));
    }
    let routes = routes.into_iter().enumerate();
    let routes = routes.map(|(at, message)| route::decode(message).within(format_args!("routes[{at}]")));
    let routes = routes.collect::<Result<_, _>>()?;
    nothing_left(&message)?;
    Ok(VirtualHost { authority, service, routes, origins })
}

/// Every way to write the authority from any namespace: in full, and without the mesh's domain; with its port, and
/// without where it is HTTP's own (a gRPC client matches its target's name as written).
fn domains(authority: &HostPort, service: &ServiceKey) -> Vec<String> {
    let HostPort { host, port } = authority;
    let mut names = vec![host.to_string()];
    if let Some(service) = service.port() {
        let short = format!("{}.{}", service.service, service.namespace);
        let with_suffix = format!("{short}.svc");
        if host.as_str().strip_prefix(with_suffix.as_str()).is_some_and(|rest| rest.starts_with('.')) {
            names.extend([with_suffix, short]);
        }
    }
    let bare = if *port == Port::HTTP { names.clone() } else { Vec::new() };
    bare.into_iter().chain(names.into_iter().map(|name| format!("{name}:{port}"))).collect()
}
