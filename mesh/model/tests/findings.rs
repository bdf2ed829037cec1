//! What is wrong with a text is told exactly: line, code, object, field, text and hint.
use weft_model::{Decoded, Severity, decode};

/// Every finding of a text that holds no valid object, one a line.
fn findings(text: &str) -> String {
    let Decoded { objects, diagnostics } = decode("shop.yaml", text);
    assert!(objects.is_empty(), "taken: {objects:?}");
    assert!(diagnostics.iter().all(|diagnostic| diagnostic.severity == Severity::Error));
    diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect()
}

const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: shop}
spec:
";

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
";

const WORKLOAD: &str = "apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: {name: web-1, namespace: shop}
spec:
";

const TRAFFIC: &str = "apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: slow, namespace: shop}
spec:
";

const ACCESS: &str = "apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: {name: web, namespace: shop}
spec:
";

#[test]
fn a_text_that_is_not_yaml_is_told_by_its_line_and_later_documents_are_still_read() {
    let text = "kind: [Service\n---\nkind: Service\n\tapiVersion: v1\n---\na: *b\n---\napiVersion: v1\nkind: Pod\n";
    insta::assert_snapshot!(findings(text), @r#"
    shop.yaml:1: error[syntax]: the `[` is never closed
    shop.yaml:3: error[syntax]: while scanning a plain scalar, found a tab
    shop.yaml:6: error[syntax]: the alias names no anchor above it
    shop.yaml:9: error[unknown-kind]: kind: weft does not read the kind "Pod" (weft reads v1 Service, weft.dev/v1alpha1 Workload, gateway.networking.k8s.io/v1 HTTPRoute, gateway.networking.k8s.io/v1 GRPCRoute, weft.dev/v1alpha1 HTTPRouteFilter, weft.dev/v1alpha1 TrafficPolicy, weft.dev/v1alpha1 AccessPolicy)
    "#);
}

#[test]
fn unknown_kinds_are_told_with_what_is_read() {
    let text = "{apiVersion: v1, kind: Servce}\n---\n{apiVersion: v2, kind: Service, metadata: {name: a}, spec: {ports: \
                [{port: 1}]}}\n---\n{apiVersion: apps/v1, kind: Deployment}\n---\n{kind: TLSRoute, apiVersion: \
                gateway.networking.k8s.io/v1}\n---\n[]\n---\n{kind: 3}\n";
    insta::assert_snapshot!(findings(text), @r#"
    shop.yaml:1: error[unknown-kind]: kind: there is no kind "Servce" (did you mean `Service`?)
    shop.yaml:3: error[unknown-kind]: Service default/a: apiVersion: weft does not read Service of "v2" (write `apiVersion: v1`)
    shop.yaml:5: error[unknown-kind]: kind: weft does not read the kind "Deployment" (weft reads v1 Service, weft.dev/v1alpha1 Workload, gateway.networking.k8s.io/v1 HTTPRoute, gateway.networking.k8s.io/v1 GRPCRoute, weft.dev/v1alpha1 HTTPRouteFilter, weft.dev/v1alpha1 TrafficPolicy, weft.dev/v1alpha1 AccessPolicy)
    shop.yaml:7: error[unknown-kind]: kind: weft does not implement the kind TLSRoute yet (weft reads v1 Service, weft.dev/v1alpha1 Workload, gateway.networking.k8s.io/v1 HTTPRoute, gateway.networking.k8s.io/v1 GRPCRoute, weft.dev/v1alpha1 HTTPRouteFilter, weft.dev/v1alpha1 TrafficPolicy, weft.dev/v1alpha1 AccessPolicy)
    shop.yaml:9: error[wrong-type]: expected a map, found a list
    shop.yaml:11: error[missing-field]: apiVersion: the field is required
    shop.yaml:11: error[wrong-type]: kind: expected a text, found the number 3 (quote it: "3")
    "#);
}

#[test]
fn metadata_is_checked() {
    let text = "apiVersion: v1
kind: Service
metadata:
  name: Web
  namespace: 7
  labelz: {}
  labels: {app: 1, a b: c, version: -x}
  generateName: web-
spec: {ports: [{port: 80}]}
---
{apiVersion: v1, kind: Service, metadata: {name: web.shop}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {}, spec: {ports: [{port: 0}]}}
---
{apiVersion: v1, kind: Service}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, metadata: {name: b}, spec: ~}
";
    insta::assert_snapshot!(findings(text), @r#"
    shop.yaml:4: error[invalid-value]: metadata.name: "Web" is not a valid name: only lower-case letters, digits and '-' are allowed
    shop.yaml:5: error[wrong-type]: metadata.namespace: expected a text, found the number 7 (quote it: "7")
    shop.yaml:6: error[unknown-field]: metadata.labelz: there is no such field (did you mean `labels`?)
    shop.yaml:7: error[wrong-type]: metadata.labels.app: expected a text, found the number 1 (quote it: "1")
    shop.yaml:7: error[invalid-value]: metadata.labels.a b: "a b" is not a valid key (write a name of at most 63 letters, digits, '.', '_' and '-', after an optional domain and '/')
    shop.yaml:7: error[invalid-value]: metadata.labels.version: "-x" is not a valid label value (write at most 63 letters, digits, '.', '_' and '-', with a letter or digit at both ends)
    shop.yaml:8: error[unsupported-field]: metadata.generateName: the field is part of the specification, but weft does not implement it (remove it)
    shop.yaml:11: error[invalid-value]: Service default/web.shop: metadata.name: "web.shop" is not a valid name of a Service: it is one label of a host name (write at most 63 lower-case letters, digits and '-')
    shop.yaml:13: error[missing-field]: metadata.name: the field is required
    shop.yaml:13: error[invalid-value]: spec.ports[0].port: 0 is out of bounds (write a number from 1 to 65535)
    shop.yaml:15: error[missing-field]: metadata: the field is required
    shop.yaml:15: error[missing-field]: spec: the field is required
    shop.yaml:17: error[duplicate]: Service default/web: metadata: the field stands twice (the first is on line 17)
    shop.yaml:17: error[missing-field]: Service default/web: spec: the field is required
    "#);
}

#[test]
fn an_object_that_stands_twice_is_refused_the_second_time() {
    let service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec: {ports: [{port: 80}]}\n";
    let decoded = decode("shop.yaml", &format!("{service}---\n{service}"));
    assert_eq!(decoded.objects.len(), 1);
    assert_eq!(decoded.objects[0].1.line, 1);
    insta::assert_snapshot!(decoded.diagnostics[0], @r#"
    shop.yaml:10: error[duplicate]: Service default/web: metadata.name: an object of this kind and name stands above (the first is at shop.yaml:1)
    "#);
    assert_eq!(decoded.diagnostics.len(), 1);
}

#[test]
fn a_services_findings_are_all_told() {
    let text = format!(
        "{SERVICE}  ports:
    - {{name: http, port: 80, targetPort: 0, nodePort: 30080}}
    - {{name: http, port: 80, protocol: UDP}}
    - {{port: 81, appProtocol: kubernetes.io/ws}}
    - {{name: HTTP, port: 65536, targetport: 80}}
  type: NodePort
  externalName: web.example
  sessionAffinity: ClientIP
  selector: [app]
"
    );
    insta::assert_snapshot!(findings(&text), @r#"
    shop.yaml:6: error[invalid-value]: Service shop/web: spec.ports[0].targetPort: 0 is out of bounds (write a number from 1 to 65535)
    shop.yaml:6: error[unsupported-field]: Service shop/web: spec.ports[0].nodePort: the field is part of the specification, but weft does not implement it (remove it)
    shop.yaml:7: error[unsupported-field]: Service shop/web: spec.ports[1].protocol: weft does not implement "UDP" here (write `TCP`)
    shop.yaml:8: error[missing-field]: Service shop/web: spec.ports[2].name: the field is required (name each port where there are several)
    shop.yaml:8: error[unsupported-field]: Service shop/web: spec.ports[2].appProtocol: weft does not implement the protocol "kubernetes.io/ws" (write `http` for HTTP/1.1, `kubernetes.io/h2c` or `grpc` for HTTP/2, or `tcp` to forward the bytes unread)
    shop.yaml:9: error[invalid-value]: Service shop/web: spec.ports[3].name: "HTTP" is not a valid port name: only lower-case letters, digits and '-' are allowed
    shop.yaml:9: error[invalid-value]: Service shop/web: spec.ports[3].port: 65536 is out of bounds (write a number from 1 to 65535)
    shop.yaml:9: error[unknown-field]: Service shop/web: spec.ports[3].targetport: there is no such field (did you mean `targetPort`?)
    shop.yaml:10: error[unsupported-field]: Service shop/web: spec.type: weft does not implement "NodePort" here (write `ClusterIP`)
    shop.yaml:11: error[unsupported-field]: Service shop/web: spec.externalName: the field is part of the specification, but weft does not implement it (remove it)
    shop.yaml:12: error[unsupported-field]: Service shop/web: spec.sessionAffinity: weft does not implement "ClientIP" here (write `None`)
    shop.yaml:13: error[wrong-type]: Service shop/web: spec.selector: expected a map, found a list
    "#);
    insta::assert_snapshot!(findings(&format!("{SERVICE}  ports: []\n")), @r#"
    shop.yaml:5: error[missing-field]: Service shop/web: spec.ports: the list is empty (write at least 1)
    "#);
}

#[test]
fn a_workloads_findings_are_all_told() {
    let text = format!(
        "{WORKLOAD}  address: 10.0.0.7
  ports: {{HTTP: 80, http: eighty}}
  locality: {{region: a b, rack: 4}}
  trustDomain: Weft.local
  weight: 0
  draining: 'yes'
"
    );
    insta::assert_snapshot!(findings(&text), @r#"
    shop.yaml:5: error[missing-field]: Workload shop/web-1: spec.serviceAccount: the field is required
    shop.yaml:5: error[invalid-value]: Workload shop/web-1: spec.address: "10.0.0.7" is not an address with a port (write an IP address and a port, such as 10.0.0.7:15006 or [fd00::7]:15006)
    shop.yaml:6: error[invalid-value]: Workload shop/web-1: spec.ports.HTTP: "HTTP" is not a valid port name: only lower-case letters, digits and '-' are allowed (write `name: number`, such as `http: 8080`)
    shop.yaml:6: error[wrong-type]: Workload shop/web-1: spec.ports.http: expected a whole number, found the text "eighty"
    shop.yaml:7: error[invalid-value]: Workload shop/web-1: spec.locality.region: "a b" is not a valid locality: only letters, digits, '.', '_' and '-' are allowed
    shop.yaml:7: error[unknown-field]: Workload shop/web-1: spec.locality.rack: there is no such field (its fields are region, zone, subZone)
    shop.yaml:8: error[invalid-value]: Workload shop/web-1: spec.trustDomain: "Weft.local" is not a valid trust domain: the trust domain has a character other than a-z, 0-9, '.', '-' and '_' (write a name such as weft.local)
    shop.yaml:9: error[invalid-value]: Workload shop/web-1: spec.weight: 0 is out of bounds (write a number from 1 to 1000000)
    shop.yaml:10: error[wrong-type]: Workload shop/web-1: spec.draining: expected true or false, found the text "yes"
    "#);
    let text = format!("{WORKLOAD}  {{serviceAccount: web, address: '0.0.0.0:15006'}}\n");
    insta::assert_snapshot!(findings(&text), @r#"
    shop.yaml:5: error[invalid-value]: Workload shop/web-1: spec.address: "0.0.0.0:15006" is no address that a connection could go to (write an IP address and a port, such as 10.0.0.7:15006 or [fd00::7]:15006)
    "#);
}

#[test]
fn a_routes_references_are_checked() {
    let text = format!(
        "{ROUTE}  parentRefs:
    - {{group: '', kind: Service, name: reviews, port: '80', sectionName: http}}
    - {{name: gateway, kind: Gateway}}
    - {{group: '', kind: Service, name: a}}
    - {{group: '', kind: Service, name: a, namespace: shop}}
  hostnames: [reviews.example]
  rules:
    - name: a
      backendRefs:
        - {{name: a, port: 80, weight: 0}}
        - {{name: b, port: 80, weight: 0}}
    - name: a
      backendRefs:
        - {{name: a}}
        - {{name: b, port: 80, weight: 1000001, filters: [{{}}]}}
        - {{name: c, port: 80, weight: -1, kind: Pod}}
    - filters: [{{type: RequestMirror}}]
      retry: {{attempts: 2}}
      timeouts: {{request: 2, backendRequest: 1s}}
    - backendRefs: []
      timeouts: {{request: 1.5s}}
"
    );
    insta::assert_snapshot!(findings(&text), @r#"
    shop.yaml:6: error[wrong-type]: HTTPRoute shop/reviews: spec.parentRefs[0].port: expected a whole number, found the text "80" (remove the quotes)
    shop.yaml:6: error[unsupported-field]: HTTPRoute shop/reviews: spec.parentRefs[0].sectionName: the field is part of the specification, but weft does not implement it (remove it)
    shop.yaml:7: error[missing-field]: HTTPRoute shop/reviews: spec.parentRefs[1].group: the field is required (write `group: ""`: a parent is a Service)
    shop.yaml:7: error[unsupported-field]: HTTPRoute shop/reviews: spec.parentRefs[1].kind: weft does not implement parents of kind "Gateway" (write `kind: "Service"`: a parent is a Service)
    shop.yaml:9: error[duplicate]: HTTPRoute shop/reviews: spec.parentRefs[3]: the parent stands twice (the first is on line 8)
    shop.yaml:10: error[unsupported-field]: HTTPRoute shop/reviews: spec.hostnames: the field is part of the specification, but weft does not implement it (remove it)
    shop.yaml:14: error[zero-weights]: HTTPRoute shop/reviews: spec.rules[0].backendRefs: the weights sum to zero, so no request could go anywhere (give at least one backend a weight above 0)
    shop.yaml:16: error[duplicate]: HTTPRoute shop/reviews: spec.rules[1].name: the rule name "a" stands twice (the first is on line 12)
    shop.yaml:18: error[missing-field]: HTTPRoute shop/reviews: spec.rules[1].backendRefs[0].port: the field is required
    shop.yaml:19: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[1].backendRefs[1].weight: 1000001 is out of bounds (write a number from 0 to 1000000)
    shop.yaml:19: error[missing-field]: HTTPRoute shop/reviews: spec.rules[1].backendRefs[1].filters[0].type: the field is required
    shop.yaml:20: error[unsupported-field]: HTTPRoute shop/reviews: spec.rules[1].backendRefs[2].kind: weft does not implement "Pod" here (write `Service`)
    shop.yaml:20: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[1].backendRefs[2].weight: -1 is out of bounds (write a number from 0 to 1000000)
    shop.yaml:21: error[missing-field]: HTTPRoute shop/reviews: spec.rules[2].filters[0].requestMirror: the field is required
    shop.yaml:21: error[missing-field]: HTTPRoute shop/reviews: spec.rules[2].backendRefs: the field is required
    shop.yaml:22: error[unsupported-field]: HTTPRoute shop/reviews: spec.rules[2].retry: the field is part of the specification, but weft does not implement it (remove it)
    shop.yaml:23: error[wrong-type]: HTTPRoute shop/reviews: spec.rules[2].timeouts.request: expected a duration, found the number 2 (write its unit too, such as 2s)
    shop.yaml:24: error[missing-field]: HTTPRoute shop/reviews: spec.rules[3].backendRefs: the list is empty (write at least 1)
    shop.yaml:25: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[3].timeouts.request: "1.5s" is not a duration (write up to four numbers of at most five digits with h, m, s or ms, such as 1m30s or 500ms)
    "#);
}

#[test]
fn a_routes_matches_are_checked() {
    let text = format!(
        "{ROUTE}  parentRefs: [{{group: '', kind: Service, name: reviews}}]
  rules:
    - backendRefs: [{{name: reviews, port: 80}}]
      matches:
        - path: {{type: Prefix, value: /a}}
        - path: {{value: a}}
        - path: {{type: Exact, value: /a//b}}
        - path: {{value: /a/../b}}
        - path: {{value: /%61}}
        - path: {{type: RegularExpression, value: '(?=a)'}}
        - path: {{type: RegularExpression, value: '('}}
        - path: {{type: RegularExpression, value: '\\w{{1000}}'}}
        - path: {{type: RegularExpression, value: '(?x) a # b'}}
        - method: get
        - queryParams: [{{name: 'a b', value: c}}, {{name: b, value: 'x y'}}, {{name: c, value: d}}, {{name: c, value: e}}]
        - headers: [{{name: 'a b', value: c}}, {{name: A, value: b}}, {{name: a, value: c}}, {{name: d, value: ' e'}}]
        - headers: [{{name: a, type: Regex, value: c}}, {{name: b}}]
"
    );
    insta::assert_snapshot!(findings(&text), @r#"
    shop.yaml:9: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].matches[0].path.type: "Prefix" is not one of its values (write `Exact` or `PathPrefix` or `RegularExpression`)
    shop.yaml:10: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].matches[1].path.value: "a" matches no request: it does not start with '/' (write a path such as /products)
    shop.yaml:11: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].matches[2].path.value: "/a//b" matches no request: it has an empty segment (write single slashes)
    shop.yaml:12: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].matches[3].path.value: "/a/../b" matches no request: it has a '.' or '..' segment (write the path that it leads to)
    shop.yaml:13: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].matches[4].path.value: "/%61" matches no request: it escapes a character that needs no escape (write the character itself)
    shop.yaml:14: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].matches[5].path.value: "(?=a)" is not a regular expression: look-around, including look-ahead and look-behind, is not supported (expressions have RE2's syntax, without look-around and backreferences)
    shop.yaml:15: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].matches[6].path.value: "(" is not a regular expression: unclosed group (expressions have RE2's syntax, without look-around and backreferences)
    shop.yaml:16: error[too-large]: HTTPRoute shop/reviews: spec.rules[0].matches[7].path.value: "\\w{1000}" compiles to more than 524288 bytes (lower its repetition counts)
    shop.yaml:17: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].matches[8].path.value: "(?x) a # b" is not a regular expression: unclosed group (expressions have RE2's syntax, without look-around and backreferences)
    shop.yaml:18: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].matches[9].method: "get" is not one of its values (did you mean `GET`?)
    shop.yaml:19: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].matches[10].queryParams[0].name: "a b" is not a name (write 1 to 256 letters, digits or any of !#$%&'*+-.^_`|~)
    shop.yaml:19: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].matches[10].queryParams[1].value: "x y" is no query parameter's value (write 1 to 1024 bytes as clients send them: %20 for a blank, %26 for an '&')
    shop.yaml:19: error[duplicate]: HTTPRoute shop/reviews: spec.rules[0].matches[10].queryParams[3].name: the query parameter "c" stands twice (the first is on line 19)
    shop.yaml:20: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].matches[11].headers[0].name: "a b" is not a header name (write 1 to 256 letters, digits or any of !#$%&'*+-.^_`|~)
    shop.yaml:20: error[duplicate]: HTTPRoute shop/reviews: spec.rules[0].matches[11].headers[2].name: the header "a" stands twice (the first is on line 20)
    shop.yaml:20: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].matches[11].headers[3].value: " e" can be no header's value (write 1 to 4096 bytes without line breaks and without blanks at either end)
    shop.yaml:21: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].matches[12].headers[0].type: "Regex" is not one of its values (write `Exact` or `RegularExpression`)
    shop.yaml:21: error[missing-field]: HTTPRoute shop/reviews: spec.rules[0].matches[12].headers[1].value: the field is required
    "#);
}

#[test]
fn filters_that_cannot_be_meant_are_told() {
    let text = format!(
        "{ROUTE}  parentRefs: [{{group: '', kind: Service, name: reviews}}]
  rules:
    - backendRefs: [{{name: reviews, port: 80, filters: [{{type: URLRewrite, urlRewrite: {{}}}}]}}]
      filters:
        - type: RequestHeaderModifier
          requestHeaderModifier:
            set: [{{name: Host, value: a}}, {{name: X-A, value: b}}, {{name: ':path', value: /}}]
            add: [{{name: x-a, value: c}}, {{name: Transfer-Encoding, value: chunked}}]
            remove: [X-Weft-Decision, Connection]
        - {{type: ResponseHeaderModifier, requestHeaderModifier: {{}}}}
        - {{type: URLRewrite, urlRewrite: {{}}}}
        - {{type: RequestRedirect, requestRedirect: {{statusCode: 304}}}}
    - backendRefs: [{{name: reviews, port: 80}}]
      matches: [{{path: {{type: Exact, value: /a}}}}]
      filters:
        - {{type: RequestRedirect, requestRedirect: {{path: {{type: ReplacePrefixMatch, replacePrefixMatch: /b}}}}}}
    - filters:
        - {{type: URLRewrite, urlRewrite: {{hostname: '*.a', path: {{type: ReplaceFullPath, replaceFullPath: /a/../b}}}}}}
      backendRefs: [{{name: reviews, port: 80}}]
      timeouts: {{request: 1s, backendRequest: 2s}}
"
    );
    insta::assert_snapshot!(findings(&text), @r#"
    shop.yaml:7: error[unsupported-field]: HTTPRoute shop/reviews: spec.rules[0].backendRefs[0].filters[0].type: weft does not implement filters of type "URLRewrite" here (it reads RequestHeaderModifier, ResponseHeaderModifier)
    shop.yaml:11: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[0].requestHeaderModifier.set[0].name: a filter must not change "host" (rewrite the host by a URLRewrite filter's hostname)
    shop.yaml:11: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[0].requestHeaderModifier.set[2].name: a filter changes no pseudo-header (they are the request's method, path and host: rewrite those by a URLRewrite filter)
    shop.yaml:12: error[duplicate]: HTTPRoute shop/reviews: spec.rules[0].filters[0].requestHeaderModifier.add[0].name: the header "x-a" stands twice in this filter (the first is on line 11)
    shop.yaml:12: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[0].requestHeaderModifier.add[1].name: a filter must not change "transfer-encoding" (remove it: it belongs to one connection or says where a message ends, which proxies see to)
    shop.yaml:13: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[0].requestHeaderModifier.remove[0]: a filter must not change "x-weft-decision" (remove it: weft says what it has to say itself)
    shop.yaml:13: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[0].requestHeaderModifier.remove[1]: a filter must not change "connection" (remove it: it belongs to one connection or says where a message ends, which proxies see to)
    shop.yaml:14: error[missing-field]: HTTPRoute shop/reviews: spec.rules[0].filters[1].responseHeaderModifier: the field is required
    shop.yaml:14: error[unknown-field]: HTTPRoute shop/reviews: spec.rules[0].filters[1].requestHeaderModifier: there is no such field (did you mean `responseHeaderModifier`?)
    shop.yaml:15: error[missing-field]: HTTPRoute shop/reviews: spec.rules[0].filters[2].urlRewrite: it rewrites nothing (write a hostname or a path)
    shop.yaml:16: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[3].requestRedirect.statusCode: 304 is no status of a redirect (write 301, 302, 303, 307 or 308 (RFC 9110 §15.4))
    shop.yaml:16: error[missing-field]: HTTPRoute shop/reviews: spec.rules[0].filters[3].requestRedirect: it leads clients back to where they asked (write a scheme, hostname, port or path that differs from the request's)
    shop.yaml:16: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[3]: a request is rewritten, redirected or answered by an ExtensionRef, and only one of these (remove all but one of them: a redirect has a hostname and a path of its own)
    shop.yaml:17: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[1].backendRefs: a rule that redirects or answers forwards nothing (remove the backends, or the filter)
    shop.yaml:17: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[1].filters: ReplacePrefixMatch needs a prefix that each match has matched (match by PathPrefix, or replace the full path)
    shop.yaml:22: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[2].filters[0].urlRewrite.hostname: "*.a" is not a valid host name: only lower-case letters, digits and '-' are allowed
    shop.yaml:22: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[2].filters[0].urlRewrite.path.replaceFullPath: "/a/../b" is no path in normal form: it has a '.' or '..' segment (write the path that it leads to)
    shop.yaml:24: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[2].timeouts.backendRequest: one try may take 2s, longer than the whole request, 1s (write 1s or less)
    "#);
}

#[test]
fn cors_and_written_answers_that_cannot_be_meant_are_told() {
    let text = format!(
        "{ROUTE}  parentRefs: [{{group: '', kind: Service, name: reviews}}]
  rules:
    - backendRefs: [{{name: reviews, port: 80}}]
      filters:
        - type: CORS
          cors:
            allowOrigins: ['https://a.example', 'https://a.example', '*', 'ftp://a', 'https://a/b', 'https://*a.b']
            allowMethods: [GET, get]
            allowHeaders: ['*', x-a]
            allowCredentials: true
            exposeHeaders: ['*', x-a, X-A]
            maxAge: 0
    - backendRefs: [{{name: reviews, port: 80}}]
      filters:
        - {{type: ExtensionRef, extensionRef: {{group: a.b, kind: C, name: a}}}}
        - {{type: CORS, cors: {{allowMethods: [PUT]}}}}
---
apiVersion: weft.dev/v1alpha1
kind: HTTPRouteFilter
metadata: {{name: a}}
spec: {{directResponse: {{statusCode: 199, contentType: ''}}}}
---
apiVersion: weft.dev/v1alpha1
kind: HTTPRouteFilter
metadata: {{name: b}}
spec: {{directResponse: {{statusCode: 204, body: a}}}}
---
apiVersion: weft.dev/v1alpha1
kind: HTTPRouteFilter
metadata: {{name: c}}
spec: {{}}
"
    );
    insta::assert_snapshot!(findings(&text), @r#"
    shop.yaml:11: error[duplicate]: HTTPRoute shop/reviews: spec.rules[0].filters[0].cors.allowOrigins[1]: the entry stands twice (remove it)
    shop.yaml:11: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[0].cors.allowOrigins[3]: "ftp://a" is no origin: it is not scheme://host[:port], with http or https and at most one * at the host's begin, nor * alone (write `https://shop.example`, `https://*.shop.example:8443` or `*`)
    shop.yaml:11: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[0].cors.allowOrigins[4]: "https://a/b" is no origin: it is not scheme://host[:port], with http or https and at most one * at the host's begin, nor * alone (write `https://shop.example`, `https://*.shop.example:8443` or `*`)
    shop.yaml:11: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[0].cors.allowOrigins[5]: "https://*a.b" is no origin: it is not scheme://host[:port], with http or https and at most one * at the host's begin, nor * alone (write `https://shop.example`, `https://*.shop.example:8443` or `*`)
    shop.yaml:11: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[0].cors.allowOrigins: `*` is everything and stands alone (remove the others, or the `*`)
    shop.yaml:12: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[0].cors.allowMethods[1]: "get" is not one of its values (did you mean `GET`?)
    shop.yaml:13: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[0].cors.allowHeaders: `*` is everything and stands alone (remove the others, or the `*`)
    shop.yaml:15: error[duplicate]: HTTPRoute shop/reviews: spec.rules[0].filters[0].cors.exposeHeaders[2]: the entry stands twice (remove it)
    shop.yaml:15: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[0].cors.exposeHeaders: `*` exposes nothing to requests with credentials (name the header fields: to requests with credentials `*` is a name like others)
    shop.yaml:16: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[0].cors.maxAge: 0 is out of bounds (write a number from 1 to 2147483647)
    shop.yaml:17: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[1].backendRefs: a rule that redirects or answers forwards nothing (remove the backends, or the filter)
    shop.yaml:19: error[unsupported-field]: HTTPRoute shop/reviews: spec.rules[1].filters[0].extensionRef.group: weft does not implement "a.b" here (write `weft.dev`)
    shop.yaml:19: error[unsupported-field]: HTTPRoute shop/reviews: spec.rules[1].filters[0].extensionRef.kind: weft does not implement "C" here (write `HTTPRouteFilter`)
    shop.yaml:20: error[missing-field]: HTTPRoute shop/reviews: spec.rules[1].filters[1].cors.allowOrigins: the field is required
    shop.yaml:25: error[invalid-value]: HTTPRouteFilter default/a: spec.directResponse.statusCode: 199 is out of bounds (write a number from 200 to 599)
    shop.yaml:25: error[invalid-value]: HTTPRouteFilter default/a: spec.directResponse.contentType: "" can be no header's value (write 1 to 4096 bytes without line breaks and without blanks at either end)
    shop.yaml:30: error[invalid-value]: HTTPRouteFilter default/b: spec.directResponse: an answer of status 204 has no body (RFC 9110 §6.4.1) (remove the body, or answer with another status)
    shop.yaml:35: error[missing-field]: HTTPRouteFilter default/c: spec.directResponse: the field is required
    "#);
}

#[test]
fn mirrors_that_cannot_be_meant_are_told() {
    let text = format!(
        "{ROUTE}  parentRefs: [{{group: '', kind: Service, name: reviews}}]
  rules:
    - backendRefs: [{{name: reviews, port: 80, filters: [{{type: RequestMirror, requestMirror: {{}}}}]}}]
      filters:
        - {{type: RequestMirror, requestMirror: {{}}}}
        - {{type: RequestMirror, requestMirror: {{backendRef: {{name: v2, kind: Pod}}, percent: 101}}}}
        - type: RequestMirror
          requestMirror: {{backendRef: {{name: v2, port: 80}}, percent: 1, fraction: {{numerator: 1}}}}
        - {{type: RequestMirror, requestMirror: {{backendRef: {{name: v2, port: 80}}, fraction: {{numerator: 3, denominator: 2}}}}}}
        - {{type: RequestMirror, requestMirror: {{backendRef: {{name: v2, port: 80}}, fraction: {{denominator: 0}}}}}}
    - filters:
        - {{type: RequestRedirect, requestRedirect: {{scheme: https}}}}
        - {{type: RequestMirror, requestMirror: {{backendRef: {{name: v2, port: 80}}}}}}
"
    );
    insta::assert_snapshot!(findings(&text), @r#"
    shop.yaml:7: error[unsupported-field]: HTTPRoute shop/reviews: spec.rules[0].backendRefs[0].filters[0].type: weft does not implement filters of type "RequestMirror" here (it reads RequestHeaderModifier, ResponseHeaderModifier)
    shop.yaml:9: error[missing-field]: HTTPRoute shop/reviews: spec.rules[0].filters[0].requestMirror.backendRef: the field is required
    shop.yaml:10: error[unsupported-field]: HTTPRoute shop/reviews: spec.rules[0].filters[1].requestMirror.backendRef.kind: weft does not implement "Pod" here (write `Service`)
    shop.yaml:10: error[missing-field]: HTTPRoute shop/reviews: spec.rules[0].filters[1].requestMirror.backendRef.port: the field is required
    shop.yaml:10: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[1].requestMirror.percent: 101 is out of bounds (write a number from 0 to 100)
    shop.yaml:12: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[2].requestMirror.percent: the share is written twice: by percent and by fraction (remove one of them)
    shop.yaml:13: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[3].requestMirror.fraction: 3 of 2 is more than all (write a numerator up to the denominator)
    shop.yaml:14: error[missing-field]: HTTPRoute shop/reviews: spec.rules[0].filters[4].requestMirror.fraction.numerator: the field is required
    shop.yaml:14: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[0].filters[4].requestMirror.fraction.denominator: 0 is out of bounds (write a number from 1 to 2147483647)
    shop.yaml:15: error[invalid-value]: HTTPRoute shop/reviews: spec.rules[1].filters: a rule that redirects or answers has nothing to mirror (remove the RequestMirror filters, or have the rule forward)
    "#);
}

#[test]
fn a_grpc_routes_matches_are_checked() {
    let text = format!(
        "{}  parentRefs: [{{group: '', kind: Service, name: reviews}}]
  rules:
    - backendRefs: [{{name: reviews, port: 80}}]
      matches:
        - method: {{}}
        - method: {{service: shop.1v}}
        - method: {{method: a.b}}
        - method: {{type: RegularExpression, service: '('}}
        - method: {{type: PathPrefix, service: a}}
        - path: {{value: /a}}
      filters: [{{type: URLRewrite, urlRewrite: {{hostname: a}}}}]
",
        ROUTE.replace("HTTPRoute", "GRPCRoute")
    );
    insta::assert_snapshot!(findings(&text), @r#"
    shop.yaml:9: error[missing-field]: GRPCRoute shop/reviews: spec.rules[0].matches[0].method: it matches neither a service nor a method (write a service, a method or both)
    shop.yaml:10: error[invalid-value]: GRPCRoute shop/reviews: spec.rules[0].matches[1].method.service: "shop.1v" is no gRPC service's name (write it with its package, such as shop.v1.Stock)
    shop.yaml:11: error[invalid-value]: GRPCRoute shop/reviews: spec.rules[0].matches[2].method.method: "a.b" is no gRPC method's name (write its name alone, such as Reserve)
    shop.yaml:12: error[invalid-value]: GRPCRoute shop/reviews: spec.rules[0].matches[3].method.service: "(" is not a regular expression: unclosed group (expressions have RE2's syntax, without look-around and backreferences)
    shop.yaml:13: error[invalid-value]: GRPCRoute shop/reviews: spec.rules[0].matches[4].method.type: "PathPrefix" is not one of its values (write `Exact` or `RegularExpression`)
    shop.yaml:14: error[unknown-field]: GRPCRoute shop/reviews: spec.rules[0].matches[5].path: there is no such field (its fields are method, headers)
    shop.yaml:15: error[unsupported-field]: GRPCRoute shop/reviews: spec.rules[0].filters[0].type: weft does not implement filters of type "URLRewrite" here (it reads RequestHeaderModifier, ResponseHeaderModifier, RequestMirror)
    "#);
}

#[test]
fn a_regular_expression_has_at_most_1_kib() {
    let route = |length: usize| {
        let source = "a".repeat(length);
        format!(
            "{ROUTE}  parentRefs: [{{group: '', kind: Service, name: reviews}}]\n  rules:\n    - backendRefs: [{{name: \
             reviews, port: 80}}]\n      matches: [{{path: {{type: RegularExpression, value: {source}}}}}]\n"
        )
    };
    assert_eq!(decode("shop.yaml", &route(1024)).diagnostics, []);
    insta::assert_snapshot!(findings(&route(1025)), @r#"
    shop.yaml:8: error[too-large]: HTTPRoute shop/reviews: spec.rules[0].matches[0].path.value: the expression has 1025 bytes, more than 1024
    "#);
}

#[test]
fn a_traffic_policys_findings_are_all_told() {
    let text = format!(
        "{TRAFFIC}  targetRefs:
    - {{kind: Mesh}}
    - {{kind: Namespace, name: other}}
    - {{kind: Service, name: a, namespace: other}}
    - {{kind: Service, name: b, sectionName: http}}
    - {{kind: HTTPRoute, name: c, sectionName: rule}}
    - {{kind: HTTPRoute, name: c, sectionName: rule}}
    - {{kind: Pod, name: d, group: core}}
    - {{kind: Service, group: core}}
  loadBalancing: {{type: Fastest}}
  timeouts: {{request: 1 s, connect: 1s}}
  retrys: {{}}
"
    );
    insta::assert_snapshot!(findings(&text), @r#"
    shop.yaml:6: error[invalid-value]: TrafficPolicy shop/slow: spec.targetRefs[0].kind: a policy in namespace shop cannot target the mesh (move the policy to the namespace weft-system)
    shop.yaml:7: error[invalid-value]: TrafficPolicy shop/slow: spec.targetRefs[1].name: "other" is not "shop" (a policy targets its own namespace only)
    shop.yaml:8: error[unknown-field]: TrafficPolicy shop/slow: spec.targetRefs[2].namespace: a target has no namespace (remove it: a policy targets its own namespace only)
    shop.yaml:9: error[unsupported-field]: TrafficPolicy shop/slow: spec.targetRefs[3].sectionName: weft does not implement sections of this kind (remove it: only a route's rule is named by sectionName)
    shop.yaml:11: error[duplicate]: TrafficPolicy shop/slow: spec.targetRefs[5]: the target stands twice (the first is on line 10)
    shop.yaml:12: error[invalid-value]: TrafficPolicy shop/slow: spec.targetRefs[6].kind: "Pod" is not one of its values (write `Mesh` or `Namespace` or `Service` or `HTTPRoute` or `GRPCRoute`)
    shop.yaml:13: error[missing-field]: TrafficPolicy shop/slow: spec.targetRefs[7].name: the field is required
    shop.yaml:13: error[invalid-value]: TrafficPolicy shop/slow: spec.targetRefs[7].group: the kind is not of the group "core" (write `group: ""`)
    shop.yaml:14: error[invalid-value]: TrafficPolicy shop/slow: spec.loadBalancing.type: "Fastest" is not one of its values (write `RoundRobin` or `LeastRequest` or `Random` or `PeakEwma` or `RingHash` or `Maglev`)
    shop.yaml:15: error[invalid-value]: TrafficPolicy shop/slow: spec.timeouts.request: "1 s" is not a duration (write up to four numbers of at most five digits with h, m, s or ms, such as 1m30s or 500ms)
    shop.yaml:15: error[unknown-field]: TrafficPolicy shop/slow: spec.timeouts.connect: there is no such field (its fields are request, idle, stream)
    shop.yaml:16: error[unknown-field]: TrafficPolicy shop/slow: spec.retrys: there is no such field (did you mean `retries`?)
    "#);
}

#[test]
fn an_access_policys_findings_are_all_told() {
    let text = format!(
        "{ACCESS}  targetRefs: [{{kind: HTTPRoute, name: a}}]
  rules:
    - {{name: a, action: allow, from: [{{anyone: true}}]}}
    - {{name: b, from: []}}
    - name: c
      action: Deny
      ports: [80, 80, 0]
      from:
        - {{anyone: false}}
        - {{identity: https://a}}
        - {{account: web}}
        - {{anyone: true, namespace: shop}}
        - {{namespace: shop, acount: web}}
        - {{}}
    - {{name: d, action: Deny, from: [{{anyone: true}}], ports: []}}
    - {{name: d, action: Deny, from: [{{anyone: true}}]}}
"
    );
    insta::assert_snapshot!(findings(&text), @r#"
    shop.yaml:5: error[invalid-value]: AccessPolicy shop/web: spec.targetRefs[0].kind: "HTTPRoute" is not one of its values (write `Mesh` or `Namespace` or `Service`)
    shop.yaml:7: error[invalid-value]: AccessPolicy shop/web: spec.rules[0].action: "allow" is not one of its values (did you mean `Allow`?)
    shop.yaml:8: error[missing-field]: AccessPolicy shop/web: spec.rules[1].action: the field is required
    shop.yaml:8: error[missing-field]: AccessPolicy shop/web: spec.rules[1].from: the list is empty (write at least 1)
    shop.yaml:11: error[duplicate]: AccessPolicy shop/web: spec.rules[2].ports[1]: the port 80 stands twice (the first is on line 11)
    shop.yaml:11: error[invalid-value]: AccessPolicy shop/web: spec.rules[2].ports[2]: 0 is out of bounds (write a number from 1 to 65535)
    shop.yaml:13: error[invalid-value]: AccessPolicy shop/web: spec.rules[2].from[0].anyone: `anyone: false` matches nobody (write one of `anyone: true`, `identity: spiffe://…`, `namespace: …`, `namespace: …` with `account: …`)
    shop.yaml:14: error[invalid-value]: AccessPolicy shop/web: spec.rules[2].from[1].identity: "https://a" is not a SPIFFE ID: it does not start with spiffe:// (write spiffe://<trust domain>/ns/<namespace>/sa/<account>)
    shop.yaml:15: error[missing-field]: AccessPolicy shop/web: spec.rules[2].from[2].namespace: the field is required (an account is named with its namespace)
    shop.yaml:16: error[invalid-value]: AccessPolicy shop/web: spec.rules[2].from[3]: the entry has more than one form (write one of `anyone: true`, `identity: spiffe://…`, `namespace: …`, `namespace: …` with `account: …`)
    shop.yaml:17: error[unknown-field]: AccessPolicy shop/web: spec.rules[2].from[4].acount: there is no such field (did you mean `account`?)
    shop.yaml:18: error[missing-field]: AccessPolicy shop/web: spec.rules[2].from[5]: the entry names no caller (write one of `anyone: true`, `identity: spiffe://…`, `namespace: …`, `namespace: …` with `account: …`)
    shop.yaml:19: error[missing-field]: AccessPolicy shop/web: spec.rules[3].ports: the list is empty (write at least 1)
    shop.yaml:20: error[duplicate]: AccessPolicy shop/web: spec.rules[4].name: the rule name "d" stands twice (the first is on line 19)
    "#);
    insta::assert_snapshot!(findings(&format!("{ACCESS}  rules: []\n")), @r#"
    shop.yaml:5: error[missing-field]: AccessPolicy shop/web: spec.targetRefs: the field is required
    "#);
}

#[test]
fn a_policys_matches_of_requests_are_checked() {
    let text = format!(
        "{ACCESS}  targetRefs: [{{kind: Service, name: a}}]
  rules:
    - {{action: Deny, from: [{{anyone: true}}], matches: []}}
    - action: Deny
      from: [{{anyone: true}}]
      matches:
        - {{}}
        - {{methods: []}}
        - {{methods: [get, 'A B', GET, GET]}}
        - {{hosts: ['*.a', 'a:80', A, a, a]}}
        - {{headers: []}}
        - {{headers: [{{name: Host, value: a}}, {{name: X-Weft-Decision, value: a}}, {{name: x-a, value: a}}, {{name: X-A, value: b}}]}}
        - {{path: {{type: Prefix, value: /a}}}}
        - {{path: {{value: /a/../b}}}}
        - {{path: {{type: RegularExpression, value: '('}}}}
        - {{method: GET}}
"
    );
    insta::assert_snapshot!(findings(&text), @r#"
    shop.yaml:7: error[missing-field]: AccessPolicy shop/web: spec.rules[0].matches: the list is empty (write at least 1)
    shop.yaml:11: error[missing-field]: AccessPolicy shop/web: spec.rules[1].matches[0]: the match asks for nothing (write methods, path, hosts or headers, or leave `matches` out to mean every request)
    shop.yaml:12: error[missing-field]: AccessPolicy shop/web: spec.rules[1].matches[1].methods: the list is empty (write at least 1)
    shop.yaml:13: error[invalid-value]: AccessPolicy shop/web: spec.rules[1].matches[2].methods[0]: "get" is no method that clients use (methods are told apart by case: write GET)
    shop.yaml:13: error[invalid-value]: AccessPolicy shop/web: spec.rules[1].matches[2].methods[1]: "A B" is not a method (write 1 to 64 letters, digits or any of !#$%&'*+-.^_`|~, such as GET)
    shop.yaml:13: error[duplicate]: AccessPolicy shop/web: spec.rules[1].matches[2].methods[3]: it stands twice (the first is on line 13)
    shop.yaml:14: error[invalid-value]: AccessPolicy shop/web: spec.rules[1].matches[3].hosts[0]: "*.a" is not a host's name (write a host's whole name without a port: every port of it is meant; `ports` narrows a rule to some)
    shop.yaml:14: error[invalid-value]: AccessPolicy shop/web: spec.rules[1].matches[3].hosts[1]: "a:80" is not a host's name (write a host's whole name without a port: every port of it is meant; `ports` narrows a rule to some)
    shop.yaml:14: error[invalid-value]: AccessPolicy shop/web: spec.rules[1].matches[3].hosts[2]: "A" is not a valid host name: only lower-case letters, digits and '-' are allowed
    shop.yaml:14: error[duplicate]: AccessPolicy shop/web: spec.rules[1].matches[3].hosts[4]: it stands twice (the first is on line 14)
    shop.yaml:15: error[missing-field]: AccessPolicy shop/web: spec.rules[1].matches[4].headers: the list is empty (write at least 1)
    shop.yaml:16: error[duplicate]: AccessPolicy shop/web: spec.rules[1].matches[5].headers[3].name: the header "x-a" stands twice (the first is on line 16)
    shop.yaml:16: error[invalid-value]: AccessPolicy shop/web: spec.rules[1].matches[5].headers[0].name: the Host is matched by `hosts` (write `hosts: [reviews.shop]` in its place)
    shop.yaml:16: error[invalid-value]: AccessPolicy shop/web: spec.rules[1].matches[5].headers[1].name: no policy sees the header "x-weft-decision" (it belongs to one connection, or is weft's own: match another header)
    shop.yaml:17: error[invalid-value]: AccessPolicy shop/web: spec.rules[1].matches[6].path.type: "Prefix" is not one of its values (write `Exact` or `PathPrefix` or `RegularExpression`)
    shop.yaml:18: error[invalid-value]: AccessPolicy shop/web: spec.rules[1].matches[7].path.value: "/a/../b" matches no request: it has a '.' or '..' segment (write the path that it leads to)
    shop.yaml:19: error[invalid-value]: AccessPolicy shop/web: spec.rules[1].matches[8].path.value: "(" is not a regular expression: unclosed group (expressions have RE2's syntax, without look-around and backreferences)
    shop.yaml:20: error[unknown-field]: AccessPolicy shop/web: spec.rules[1].matches[9].method: there is no such field (did you mean `methods`?)
    shop.yaml:20: error[missing-field]: AccessPolicy shop/web: spec.rules[1].matches[9]: the match asks for nothing (write methods, path, hosts or headers, or leave `matches` out to mean every request)
    "#);
}

#[test]
fn a_value_of_another_type_is_told_with_what_was_found() {
    let text = format!(
        "{ROUTE}  parentRefs: {{}}\n  rules:\n    - 1.5\n    - [a]\n    - matches: true\n      backendRefs: none\n"
    );
    insta::assert_snapshot!(findings(&text), @r#"
    shop.yaml:5: error[wrong-type]: HTTPRoute shop/reviews: spec.parentRefs: expected a list, found a map
    shop.yaml:7: error[wrong-type]: HTTPRoute shop/reviews: spec.rules[0]: expected a map, found the number 1.5
    shop.yaml:8: error[wrong-type]: HTTPRoute shop/reviews: spec.rules[1]: expected a map, found a list
    shop.yaml:9: error[wrong-type]: HTTPRoute shop/reviews: spec.rules[2].matches: expected a list, found true
    shop.yaml:10: error[wrong-type]: HTTPRoute shop/reviews: spec.rules[2].backendRefs: expected a list, found the text "none"
    "#);
}

#[test]
fn control_characters_are_refused() {
    let text = "{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"name\": \"a\", \"annotations\": {\"a\": \
                \"\\u0007\"}}, \"spec\": {\"ports\": [{\"port\": 80}]}}";
    insta::assert_snapshot!(findings(text), @r#"
    shop.yaml:1: error[invalid-value]: Service default/a: metadata.annotations.a: the control character '\u{7}' is not allowed (remove it)
    "#);
}
