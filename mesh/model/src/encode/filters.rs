//! Filters of rules and backends in the Gateway API's form.
use serde_json::{Map, Value, json};

use super::put;
use crate::{
    Cors, DirectResponse, Filters, HeaderChanges, HeaderField, HeaderFilters, HttpRouteFilter, Mirror, PathRewrite,
    Redirect, Scheme, Share, UrlRewrite,
};

/// The `filters` of a rule; nothing where it has none.
pub(super) fn list(filters: &Filters) -> Option<Value> {
    let Filters { headers, rewrite, redirect, cors, mirrors, extension } = filters;
    let mut list = header_filters(headers);
    list.extend(rewrite.as_ref().map(|rewrite| json!({"type": "URLRewrite", "urlRewrite": url_rewrite(rewrite)})));
    let redirect = redirect.as_ref().map(self::redirect);
    list.extend(redirect.map(|redirect| json!({"type": "RequestRedirect", "requestRedirect": redirect})));
    list.extend(cors.as_ref().map(|cors| json!({"type": "CORS", "cors": self::cors(cors)})));
    list.extend(mirrors.iter().map(mirror));
    let extension =
        extension.as_ref().map(|name| json!({"group": "weft.dev", "kind": "HTTPRouteFilter", "name": name}));
    list.extend(extension.map(|extension| json!({"type": "ExtensionRef", "extensionRef": extension})));
    some(list)
}

/// An HTTPRouteFilter's `spec`.
pub(super) fn route_filter(HttpRouteFilter { meta: _, answer }: &HttpRouteFilter) -> Value {
    let DirectResponse { status, content_type, body } = answer;
    json!({"directResponse": {"statusCode": status, "contentType": content_type, "body": body}})
}

/// The `filters` of a GRPCRoute's rule; nothing where it has none.
pub(super) fn of_calls(headers: &HeaderFilters, mirrors: &[Mirror]) -> Option<Value> {
    let mut list = header_filters(headers);
    list.extend(mirrors.iter().map(mirror));
    some(list)
}

/// The `filters` of what only changes header fields; nothing where it changes none.
pub(super) fn of_headers(headers: &HeaderFilters) -> Option<Value> {
    some(header_filters(headers))
}

fn some(list: Vec<Value>) -> Option<Value> {
    (!list.is_empty()).then_some(Value::Array(list))
}

fn header_filters(HeaderFilters { request, response }: &HeaderFilters) -> Vec<Value> {
    let of = |changes: &HeaderChanges, kind: &str, key: &str| {
        (!changes.is_empty()).then(|| json!({"type": kind, key: header_changes(changes)}))
    };
    let request = of(request, "RequestHeaderModifier", "requestHeaderModifier");
    let response = of(response, "ResponseHeaderModifier", "responseHeaderModifier");
    request.into_iter().chain(response).collect()
}

fn header_changes(HeaderChanges { set, add, remove }: &HeaderChanges) -> Value {
    let written = |list: &[HeaderField]| -> Option<Value> {
        let one = |HeaderField { name, value }: &HeaderField| json!({"name": name, "value": value});
        (!list.is_empty()).then(|| list.iter().map(one).collect())
    };
    let mut map = Map::new();
    put(&mut map, "set", written(set));
    put(&mut map, "add", written(add));
    put(&mut map, "remove", (!remove.is_empty()).then(|| json!(remove)));
    Value::Object(map)
}

fn mirror(Mirror { namespace, name, port, share }: &Mirror) -> Value {
    let mut map = Map::new();
    put(&mut map, "backendRef", Some(json!({"namespace": namespace, "name": name, "port": port})));
    match *share {
        Share::ALL => {}
        Share { part, of: Share::HUNDRED } => put(&mut map, "percent", Some(json!(part))),
        Share { part, of } => put(&mut map, "fraction", Some(json!({"numerator": part, "denominator": of}))),
    }
    json!({"type": "RequestMirror", "requestMirror": map})
}

fn cors(Cors { origins, credentials, methods, headers, expose, max_age }: &Cors) -> Value {
    let list = |list: &[String]| (!list.is_empty()).then(|| json!(list));
    let mut map = Map::new();
    put(&mut map, "allowOrigins", Some(json!(origins)));
    put(&mut map, "allowCredentials", credentials.then_some(Value::Bool(true)));
    put(&mut map, "allowMethods", list(methods));
    put(&mut map, "allowHeaders", list(headers));
    put(&mut map, "exposeHeaders", list(expose));
    put(&mut map, "maxAge", Some(json!(max_age)));
    Value::Object(map)
}

fn path_rewrite(path: &PathRewrite) -> Value {
    match path {
        PathRewrite::Full(path) => json!({"type": "ReplaceFullPath", "replaceFullPath": path}),
        PathRewrite::Prefix(prefix) if prefix.is_empty() => {
            json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"})
        }
        PathRewrite::Prefix(prefix) => json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": prefix}),
    }
}

fn url_rewrite(UrlRewrite { host, path }: &UrlRewrite) -> Value {
    let mut map = Map::new();
    put(&mut map, "hostname", host.as_ref().map(|host| json!(host)));
    put(&mut map, "path", path.as_ref().map(path_rewrite));
    Value::Object(map)
}

fn redirect(Redirect { scheme, host, port, path, status }: &Redirect) -> Value {
    let mut map = Map::new();
    put(&mut map, "scheme", scheme.map(Scheme::as_str).map(Value::from));
    put(&mut map, "hostname", host.as_ref().map(|host| json!(host)));
    put(&mut map, "port", port.map(|port| json!(port)));
    put(&mut map, "path", path.as_ref().map(path_rewrite));
    put(&mut map, "statusCode", Some(json!(status.code())));
    Value::Object(map)
}
