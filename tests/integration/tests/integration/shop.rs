//! The shop that most tests use.
use std::time::Duration;

use weft_harness::{Application, Mesh, Plan, Sidecar};

/// Services `web` and `reviews` (v1, v2) over HTTP and `stock` over TCP; `web` may call both.
pub(crate) const OBJECTS: &str = r#"
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

/// The route of `reviews`, with these weights.
pub(crate) fn route(v1: u32, v2: u32) -> String {
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

/// The shop, running: one instance of each.
pub(crate) struct Shop {
    pub(crate) mesh: Mesh,
    pub(crate) web: Sidecar,
    pub(crate) reviews_v1: Sidecar,
    pub(crate) v1: Application,
    pub(crate) stock: Sidecar,
    /// What nobody asks for but must live.
    _rest: (Sidecar, Application, Application),
}

impl Shop {
    /// Starts it, with weights 1 and 0.
    pub(crate) async fn open() -> Self {
        Self::on(Mesh::start().await.unwrap()).await
    }

    /// Starts it with certificates of that life.
    pub(crate) async fn with_leaves(lifetime: Duration) -> Self {
        Self::on(Mesh::start_with(|config| config.leaf_lifetime = lifetime).await.unwrap()).await
    }

    async fn on(mesh: Mesh) -> Self {
        mesh.apply(OBJECTS).await.unwrap();
        mesh.apply(&route(1, 0)).await.unwrap();
        let v1 = Application::http("v1").await;
        let plan = Plan::new("reviews-v1-0", "reviews").label("version", "v1").application("http", v1.address);
        let reviews_v1 = Sidecar::start(&mesh, plan).await.unwrap();
        let v2 = Application::http("v2").await;
        let plan = Plan::new("reviews-v2-0", "reviews").label("version", "v2").application("http", v2.address);
        let reviews_v2 = Sidecar::start(&mesh, plan).await.unwrap();
        let echo = Application::echo("hello\n").await;
        let plan = Plan::new("stock-0", "stock").application("tcp", echo.address);
        let stock = Sidecar::start(&mesh, plan).await.unwrap();
        let web = Sidecar::start(&mesh, Plan::new("web-0", "web").calls("shop/stock:9000")).await.unwrap();
        Self { mesh, web, reviews_v1, v1, stock, _rest: (reviews_v2, v2, echo) }
    }
}
