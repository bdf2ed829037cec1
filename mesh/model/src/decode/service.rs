//! Service's `spec`.
use std::collections::HashMap;

use super::{
    fields::{Context, Field, Fields, shorten},
    meta,
    tree::Value,
};
use crate::{Code, Meta, Port, PortName, Protocol, Service, ServicePortSpec, TargetPort};

/// As in Kubernetes' own validation by list size: far above any real Service.
const MAX_PORTS: usize = 250;

pub(super) fn decode(cx: &mut Context, meta: Option<Meta>, spec: &Field<'_>) -> Option<Service> {
    let mut fields = Fields::open(cx, spec)?;
    let ports = fields.required(cx, "ports").map(|ports| self::ports(cx, &ports));
    let selector = fields.take("selector").map(|selector| meta::selector(cx, &selector)).unwrap_or_default();
    fields.only(cx, "type", &["ClusterIP"]);
    fields.only(cx, "sessionAffinity", &["None"]);
    fields.only(cx, "internalTrafficPolicy", &["Cluster"]);
    fields.ignore(&["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]);
    fields.unsupported(
        cx,
        &[
            "allocateLoadBalancerNodePorts",
            "externalIPs",
            "externalName",
            "externalTrafficPolicy",
            "healthCheckNodePort",
            "loadBalancerClass",
            "loadBalancerIP",
            "loadBalancerSourceRanges",
            "publishNotReadyAddresses",
            "sessionAffinityConfig",
            "trafficDistribution",
        ],
    );
    fields.finish(cx);
    Some(Service { meta: meta?, ports: ports?, selector })
}

fn ports(cx: &mut Context, field: &Field<'_>) -> Vec<ServicePortSpec> {
    let items = field.items(cx, 1..=MAX_PORTS);
    let several = items.len() > 1;
    let (mut numbers, mut names) = (HashMap::new(), HashMap::new());
    let mut ports = Vec::new();
    for item in &items {
        let Some(port) = port(cx, item, several) else { continue };
        if let Some(first) = numbers.insert(port.port, item.node.line) {
            let field = Field { node: item.node, path: item.path.key("port") };
            let found = format!("the port {} stands twice", port.port);
            field.report(cx, Code::Duplicate, found, Some(format!("the first is on line {first}")));
        }
        if let Some(name) = &port.name
            && let Some(first) = names.insert(name.clone(), item.node.line)
        {
            let field = Field { node: item.node, path: item.path.key("name") };
            let found = format!("the port name {:?} stands twice", name.as_str());
            field.report(cx, Code::Duplicate, found, Some(format!("the first is on line {first}")));
        }
        ports.push(port);
    }
    ports
}

fn port(cx: &mut Context, item: &Field<'_>, several: bool) -> Option<ServicePortSpec> {
    let mut fields = Fields::open(cx, item)?;
    let name_field = fields.take("name");
    if several && name_field.is_none() {
        fields.missing(cx, "name", Some("name each port where there are several".to_owned()));
    }
    let name = name_field.and_then(|name| name.parsed::<PortName>(cx));
    let port = fields.required(cx, "port").and_then(|port| port.port(cx));
    let target = fields.take("targetPort").map(|target| target_port(cx, &target));
    let app_protocol = fields.take("appProtocol").map(|protocol| app_protocol(cx, &protocol));
    fields.only(cx, "protocol", &["TCP"]);
    fields.unsupported(cx, &["nodePort"]);
    fields.finish(cx);
    let port = port?;
    let target = match target {
        Some(target) => target?,
        None => TargetPort::Number(port),
    };
    let protocol = match app_protocol {
        Some(protocol) => protocol?,
        None => protocol_by_name(name.as_ref(), port),
    };
    Some(ServicePortSpec { name, port, target, protocol })
}

fn target_port(cx: &mut Context, field: &Field<'_>) -> Option<TargetPort> {
    match field.node.value {
        Value::Text(_) => field.parsed(cx).map(TargetPort::Name),
        _ => field.port(cx).map(TargetPort::Number),
    }
}

fn app_protocol(cx: &mut Context, field: &Field<'_>) -> Option<Protocol> {
    match field.text(cx)? {
        "http" => Some(Protocol::Http),
        // KEP-3726's name for HTTP/2 without TLS, and what is customary for gRPC.
        "kubernetes.io/h2c" | "grpc" => Some(Protocol::Http2),
        // TLS that the application speaks itself is opaque here.
        "tcp" | "tls" | "https" | "kubernetes.io/wss" => Some(Protocol::Tcp),
        other => {
            let found = format!("weft does not implement the protocol {:?}", shorten(other));
            let hint = "write `http` for HTTP/1.1, `kubernetes.io/h2c` or `grpc` for HTTP/2, or `tcp` to forward the bytes unread";
            field.report(cx, Code::UnsupportedField, found, Some(hint.to_owned()));
            None
        }
    }
}

/// What a port speaks that does not say so: by its name's prefix, else by its number.
fn protocol_by_name(name: Option<&PortName>, port: Port) -> Protocol {
    let prefix = name.map(|name| name.as_str().split('-').next().unwrap_or_default());
    match prefix {
        Some("http") => Protocol::Http,
        Some("grpc" | "http2" | "h2c") => Protocol::Http2,
        Some("tcp") => Protocol::Tcp,
        _ if port == Port::HTTP => Protocol::Http,
        _ => Protocol::Tcp,
    }
}
