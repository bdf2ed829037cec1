//! From objects to their Kubernetes form, such that decoding what was encoded yields an equal object.
mod filters;
mod traffic;

use serde_json::{Map, Value, json};

use crate::{
    AccessAction, AccessMatch, AccessPolicy, AccessRule, BackendRef, Callers, GrpcMatch, GrpcMethodMatch, GrpcRoute,
    GrpcRule, HeaderMatch, HttpMatch, HttpRoute, HttpRule, Labels, Locality, Object, ParentRef, PathMatch,
    PolicyTarget, Protocol, QueryMatch, Service, ServicePortSpec, TargetKind, TargetPort, TextMatch, Workload,
    duration,
};

/// The object in Kubernetes form: `apiVersion`, `kind`, `metadata`, `spec`.
///
/// Defaults are written out where the form could otherwise be read differently (a Service port's protocol, a backend's
/// namespace) and left out elsewhere.
pub fn to_json(object: &Object) -> Value {
    let meta = object.meta();
    let mut metadata = fields([("name", text(&meta.name)), ("namespace", text(&meta.namespace))]);
    put_labels(&mut metadata, "labels", &meta.labels);
    put_labels(&mut metadata, "annotations", &meta.annotations);
    let spec = match object {
        Object::Service(it) => service(it),
        Object::Workload(it) => workload(it),
        Object::HttpRoute(it) => http_route(it),
        Object::GrpcRoute(it) => grpc_route(it),
        Object::HttpRouteFilter(it) => filters::route_filter(it),
        Object::TrafficPolicy(it) => traffic::policy(it),
        Object::AccessPolicy(it) => access_policy(it),
    };
    let kind = object.kind();
    json!({"apiVersion": kind.api_version(), "kind": kind.as_str(), "metadata": metadata, "spec": spec})
}

/// The object in Kubernetes form as one YAML document, without a `---` line, with a line break at its end.
pub fn to_yaml(object: &Object) -> String {
    let value = to_json(object);
    // JSON is YAML too: what the writer cannot do (it can do all of JSON) is still written, only less prettily.
    serde_saphyr::to_string(&value).unwrap_or_else(|_| format!("{value:#}\n"))
}

fn text(value: &impl ToString) -> Value {
    Value::String(value.to_string())
}

fn fields<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn put(map: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value);
    }
}

fn put_labels(map: &mut Map<String, Value>, key: &str, labels: &Labels) {
    put(map, key, (!labels.is_empty()).then(|| json!(labels)));
}

fn service(Service { meta: _, ports, selector }: &Service) -> Value {
    let mut spec = Map::new();
    put_labels(&mut spec, "selector", &selector.0);
    put(&mut spec, "ports", Some(ports.iter().map(service_port).collect()));
    Value::Object(spec)
}

fn service_port(ServicePortSpec { name, port, target, protocol }: &ServicePortSpec) -> Value {
    let mut map = Map::new();
    put(&mut map, "name", name.as_ref().map(text));
    put(&mut map, "port", Some(json!(port)));
    let target = match target {
        TargetPort::Number(number) if number == port => None,
        TargetPort::Number(number) => Some(json!(number)),
        TargetPort::Name(name) => Some(text(name)),
    };
    put(&mut map, "targetPort", target);
    let protocol = match protocol {
        Protocol::Http => "http",
        Protocol::Tcp => "tcp",
        Protocol::Http2 => "kubernetes.io/h2c",
    };
    put(&mut map, "appProtocol", Some(json!(protocol)));
    Value::Object(map)
}

fn workload(workload: &Workload) -> Value {
    let Workload {
        meta: _,
        account,
        address,
        ports,
        locality: Locality { region, zone, sub_zone },
        network,
        cluster,
        trust_domain,
        weight,
        draining,
        unhealthy,
    } = workload;
    let mut spec = fields([("serviceAccount", text(account)), ("address", text(address))]);
    let ports: Map<_, _> = ports.iter().map(|(name, port)| (name.to_string(), json!(port))).collect();
    put(&mut spec, "ports", (!ports.is_empty()).then_some(Value::Object(ports)));
    let mut locality = Map::new();
    put(&mut locality, "region", region.as_ref().map(text));
    put(&mut locality, "zone", zone.as_ref().map(text));
    put(&mut locality, "subZone", sub_zone.as_ref().map(text));
    put(&mut spec, "locality", (!locality.is_empty()).then_some(Value::Object(locality)));
    put(&mut spec, "network", Some(text(network)));
    put(&mut spec, "cluster", Some(text(cluster)));
    put(&mut spec, "trustDomain", trust_domain.as_ref().map(text));
    put(&mut spec, "weight", Some(json!(weight)));
    put(&mut spec, "draining", draining.then_some(Value::Bool(true)));
    put(&mut spec, "unhealthy", unhealthy.then_some(Value::Bool(true)));
    Value::Object(spec)
}

fn http_route(HttpRoute { meta: _, parents, rules }: &HttpRoute) -> Value {
    let parents: Value = parents.iter().map(parent).collect();
    let rules: Value = rules.iter().map(http_rule).collect();
    json!({"parentRefs": parents, "rules": rules})
}

fn parent(ParentRef { namespace, name, port }: &ParentRef) -> Value {
    // The group must be written: left out, the Gateway API reads its own.
    let mut map = fields([
        ("group", json!("")),
        ("kind", json!("Service")),
        ("namespace", text(namespace)),
        ("name", text(name)),
    ]);
    put(&mut map, "port", port.map(|port| json!(port)));
    Value::Object(map)
}

fn http_rule(rule: &HttpRule) -> Value {
    let HttpRule { name, matches, filters, backends, request_timeout, backend_timeout } = rule;
    let mut map = Map::new();
    put(&mut map, "name", name.as_ref().map(text));
    put(&mut map, "matches", Some(matches.iter().map(http_match).collect()));
    put(&mut map, "filters", filters::list(filters));
    put(&mut map, "backendRefs", (!backends.is_empty()).then(|| backends.iter().map(backend).collect()));
    let mut timeouts = Map::new();
    put(&mut timeouts, "request", request_timeout.map(|limit| json!(duration::format(limit))));
    put(&mut timeouts, "backendRequest", backend_timeout.map(|limit| json!(duration::format(limit))));
    put(&mut map, "timeouts", (!timeouts.is_empty()).then_some(Value::Object(timeouts)));
    Value::Object(map)
}

fn grpc_route(GrpcRoute { meta: _, parents, rules }: &GrpcRoute) -> Value {
    let parents: Value = parents.iter().map(parent).collect();
    let rules: Value = rules.iter().map(grpc_rule).collect();
    json!({"parentRefs": parents, "rules": rules})
}

fn grpc_rule(GrpcRule { name, matches, headers, mirrors, backends }: &GrpcRule) -> Value {
    let mut map = Map::new();
    put(&mut map, "name", name.as_ref().map(text));
    put(&mut map, "matches", Some(matches.iter().map(grpc_match).collect()));
    put(&mut map, "filters", filters::of_calls(headers, mirrors));
    put(&mut map, "backendRefs", Some(backends.iter().map(backend).collect()));
    Value::Object(map)
}

fn grpc_match(GrpcMatch { method, headers }: &GrpcMatch) -> Value {
    let mut map = Map::new();
    if let Some(GrpcMethodMatch { regex, service, method }) = method {
        let mut parts = fields([("type", json!(if *regex { "RegularExpression" } else { "Exact" }))]);
        put(&mut parts, "service", service.as_ref().map(|it| json!(it)));
        put(&mut parts, "method", method.as_ref().map(|it| json!(it)));
        put(&mut map, "method", Some(Value::Object(parts)));
    }
    let headers: Vec<_> = headers.iter().map(header).collect();
    put(&mut map, "headers", (!headers.is_empty()).then_some(Value::Array(headers)));
    Value::Object(map)
}

fn http_match(HttpMatch { path, method, headers, query }: &HttpMatch) -> Value {
    let mut map = fields([("path", path_match(path))]);
    put(&mut map, "method", method.as_ref().map(|method| json!(method)));
    let headers: Vec<_> = headers.iter().map(header).collect();
    put(&mut map, "headers", (!headers.is_empty()).then_some(Value::Array(headers)));
    let query: Vec<_> = query.iter().map(|QueryMatch { name, value }| named_text(name, value)).collect();
    put(&mut map, "queryParams", (!query.is_empty()).then_some(Value::Array(query)));
    Value::Object(map)
}

fn path_match(path: &PathMatch) -> Value {
    match path {
        PathMatch::Exact(value) => json!({"type": "Exact", "value": value}),
        PathMatch::Prefix(value) => json!({"type": "PathPrefix", "value": value}),
        PathMatch::Regex(value) => json!({"type": "RegularExpression", "value": value}),
    }
}

fn header(HeaderMatch { name, value }: &HeaderMatch) -> Value {
    named_text(name, value)
}

fn named_text(name: &str, value: &TextMatch) -> Value {
    match value {
        TextMatch::Exact(value) => json!({"type": "Exact", "name": name, "value": value}),
        TextMatch::Regex(value) => json!({"type": "RegularExpression", "name": name, "value": value}),
    }
}

fn backend(BackendRef { namespace, name, port, weight, headers }: &BackendRef) -> Value {
    let mut map = fields([
        ("group", json!("")),
        ("kind", json!("Service")),
        ("namespace", json!(namespace)),
        ("name", json!(name)),
        ("port", json!(port)),
        ("weight", json!(weight)),
    ]);
    put(&mut map, "filters", filters::of_headers(headers));
    Value::Object(map)
}

fn target(PolicyTarget { kind, namespace: _, name, section }: &PolicyTarget) -> Value {
    let (group, kind) = match kind {
        TargetKind::Mesh => ("weft.dev", "Mesh"),
        TargetKind::Namespace => ("", "Namespace"),
        TargetKind::Service => ("", "Service"),
        TargetKind::HttpRoute => ("gateway.networking.k8s.io", "HTTPRoute"),
        TargetKind::GrpcRoute => ("gateway.networking.k8s.io", "GRPCRoute"),
    };
    let mut map = fields([("group", json!(group)), ("kind", json!(kind)), ("name", text(name))]);
    put(&mut map, "sectionName", section.as_ref().map(text));
    Value::Object(map)
}

fn access_policy(AccessPolicy { meta: _, targets, rules }: &AccessPolicy) -> Value {
    let mut spec = fields([("targetRefs", targets.iter().map(target).collect())]);
    let rules: Vec<_> = rules.iter().map(access_rule).collect();
    put(&mut spec, "rules", (!rules.is_empty()).then_some(Value::Array(rules)));
    Value::Object(spec)
}

fn access_rule(AccessRule { name, action, from, ports, matches }: &AccessRule) -> Value {
    let mut map = Map::new();
    put(&mut map, "name", name.as_ref().map(text));
    let action = match action {
        AccessAction::Allow => "Allow",
        AccessAction::Deny => "Deny",
    };
    put(&mut map, "action", Some(json!(action)));
    put(&mut map, "from", Some(from.iter().map(callers).collect()));
    put(&mut map, "ports", (!ports.is_empty()).then(|| json!(ports)));
    put(&mut map, "matches", (!matches.is_empty()).then(|| matches.iter().map(access_match).collect()));
    Value::Object(map)
}

fn access_match(AccessMatch { methods, path, hosts, headers }: &AccessMatch) -> Value {
    let mut map = Map::new();
    put(&mut map, "methods", (!methods.is_empty()).then(|| json!(methods)));
    put(&mut map, "path", path.as_ref().map(path_match));
    put(&mut map, "hosts", (!hosts.is_empty()).then(|| hosts.iter().map(text).collect()));
    put(&mut map, "headers", (!headers.is_empty()).then(|| headers.iter().map(header).collect()));
    Value::Object(map)
}

fn callers(callers: &Callers) -> Value {
    match callers {
        Callers::Anyone => json!({"anyone": true}),
        Callers::Identity(id) => json!({"identity": id}),
        Callers::Namespace(namespace) => json!({"namespace": namespace}),
        Callers::Account(namespace, account) => json!({"namespace": namespace, "account": account}),
    }
}
