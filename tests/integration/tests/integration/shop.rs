//! The shop that most tests use.
use std::time::Duration;

pub(crate) use weft_harness::objects::{SHOP as OBJECTS, shop_route as route};
use weft_harness::{Application, Mesh, Plan, Sidecar};

/// The shop, running: one instance of each.
pub(crate) struct Shop {
    pub(crate) mesh: Mesh,
    pub(crate) web: Sidecar,
    pub(crate) reviews_v1: Sidecar,
    pub(crate) v1: Application,
    pub(crate) v2: Application,
    pub(crate) stock: Sidecar,
    /// What nobody asks for but must live.
    _rest: (Sidecar, Application),
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
        Self { mesh, web, reviews_v1, v1, v2, stock, _rest: (reviews_v2, echo) }
    }
}
