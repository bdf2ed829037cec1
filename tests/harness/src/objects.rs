//! What most tests apply: documents in the namespace `shop`, each closed by a line `---` so that they can be joined.

/// A Service's port 80 over HTTP, at the application's port `http`.
pub const HTTP: &str = "{ name: http, port: 80, targetPort: http }";
/// A Service's port 9000 over TCP, at the application's port `tcp`.
pub const TCP: &str = "{ name: tcp, port: 9000, targetPort: tcp }";
/// A Service's port 50051 over gRPC, at the application's port `calls`.
pub const GRPC: &str = "{ name: calls, port: 50051, targetPort: calls, appProtocol: grpc }";

/// The Service `name` before the workloads that are labelled `app: <app>`.
pub fn service(name: &str, app: &str, ports: &[&str]) -> String {
    let ports = ports.join(", ");
    format!(
        "{{ apiVersion: v1, kind: Service, metadata: {{ name: {name}, namespace: shop }},
  spec: {{ selector: {{ app: {app} }}, ports: [{ports}] }} }}
---
"
    )
}

/// The AccessPolicy of a service's name by which workloads of one account may call it.
pub fn allow(service: &str, caller: &str) -> String {
    format!(
        r#"apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: {{ name: {service}, namespace: shop }}
spec:
  targetRefs: [{{ group: "", kind: Service, name: {service} }}]
  rules: [{{ action: Allow, from: [{{ namespace: shop, account: {caller} }}] }}]
---
"#
    )
}

/// A Service of that name and the policy by which `web` may call it.
pub fn open_service(name: &str, app: &str, ports: &[&str]) -> String {
    service(name, app, ports) + &allow(name, "web")
}

/// The shop: `web`, `reviews` (v1, v2) over HTTP and `stock` over TCP; `web` may call both.
pub const SHOP: &str = r#"
{ apiVersion: v1, kind: Service, metadata: { name: web, namespace: shop },
  spec: { selector: { app: web }, ports: [{ name: http, port: 80, targetPort: http }] } }
---
{ apiVersion: v1, kind: Service, metadata: { name: reviews, namespace: shop },
  spec: { selector: { app: reviews }, ports: [{ name: http, port: 80, targetPort: http }] } }
---
{ apiVersion: v1, kind: Service, metadata: { name: reviews-v1, namespace: shop },
  spec: { selector: { app: reviews, version: v1 }, ports: [{ name: http, port: 80, targetPort: http }] } }
---
{ apiVersion: v1, kind: Service, metadata: { name: reviews-v2, namespace: shop },
  spec: { selector: { app: reviews, version: v2 }, ports: [{ name: http, port: 80, targetPort: http }] } }
---
{ apiVersion: v1, kind: Service, metadata: { name: stock, namespace: shop },
  spec: { selector: { app: stock }, ports: [{ name: tcp, port: 9000, targetPort: tcp }] } }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: reviews, namespace: shop }
spec:
  targetRefs:
    - { group: "", kind: Service, name: reviews }
    - { group: "", kind: Service, name: reviews-v1 }
    - { group: "", kind: Service, name: reviews-v2 }
  rules: [{ action: Allow, from: [{ namespace: shop, account: web }] }]
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: stock, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: stock }]
  rules: [{ action: Allow, from: [{ namespace: shop, account: web }] }]
"#;

/// The route of the shop's `reviews` with these weights; `x-canary: always` goes to v2.
pub fn shop_route(v1: u32, v2: u32) -> String {
    format!(
        r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: reviews, namespace: shop }}
spec:
  parentRefs: [{{ group: "", kind: Service, name: reviews, port: 80 }}]
  rules:
    - matches: [{{ headers: [{{ name: x-canary, value: always }}] }}]
      backendRefs: [{{ name: reviews-v2, port: 80 }}]
    - backendRefs:
        - {{ name: reviews-v1, port: 80, weight: {v1} }}
        - {{ name: reviews-v2, port: 80, weight: {v2} }}
"#
    )
}
