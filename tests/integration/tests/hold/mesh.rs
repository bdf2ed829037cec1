//! The mesh that is to hold: processes of `weft`, and applications in here.
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use weft_harness::{
    Application, Plan,
    grpc::Reviews,
    objects::{GRPC, SHOP, open_service, shop_route},
    process::{ControlPlane, Sidecar},
};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The life of a certificate: each is renewed before half of it, so at least once in the short form.
const LEAF: &str = "20s";

/// By this cookie a user of `reviews` stays with one version.
pub(crate) const COOKIE: &str = "shop-user";

const AFFINITY: &str = r#"
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: reviews, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: reviews }]
  affinity: { cookie: { name: shop-user } }
"#;

/// A control plane, the caller `web`, two instances of each version of `reviews`, and one of `ratings` (gRPC) and `stock`.
pub(crate) struct Hold {
    pub(crate) plane: ControlPlane,
    pub(crate) web: Sidecar,
    others: Vec<Sidecar>,
    _applications: (Vec<Application>, Reviews),
    _folder: TempDir,
}

impl Hold {
    /// Starts it, the weights equal.
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("weft-hold-").tempdir()?;
        let plane = ControlPlane::start(folder.path(), LEAF).await?;
        plane.apply(SHOP).await?;
        plane.apply(&(open_service("ratings", "ratings", &[GRPC]) + AFFINITY)).await?;
        plane.apply(&shop_route(1, 1)).await?;
        let (mut applications, mut others) = (Vec::new(), Vec::new());
        for (name, version) in [("v1-0", "v1"), ("v1-1", "v1"), ("v2-0", "v2"), ("v2-1", "v2")] {
            let application = Application::http(name).await;
            let plan = Plan::new(&format!("reviews-{name}"), "reviews").label("version", version);
            others.push(plane.sidecar(&plan.application("http", application.address)).await?);
            applications.push(application);
        }
        let echo = Application::echo("hello\n").await;
        others.push(plane.sidecar(&Plan::new("stock-0", "stock").application("tcp", echo.address)).await?);
        applications.push(echo);
        let ratings = Reviews::start().await?;
        others.push(plane.sidecar(&Plan::new("ratings-0", "ratings").application("calls", ratings.address)).await?);
        for sidecar in &mut others {
            sidecar.start().await?;
        }
        let mut web = plane.sidecar(&Plan::new("web-0", "web").calls("shop/stock:9000").workers(2)).await?;
        web.start().await?;
        let hold = Self { plane, web, others, _applications: (applications, ratings), _folder: folder };
        hold.together().await?;
        Ok(hold)
    }

    /// Waits until every sidecar has a stream and has been told all there is for it.
    pub(crate) async fn together(&self) -> Result<()> {
        let all = self.sidecars().count() as u64;
        let back = |status: &weft_control_plane::wire::Status| {
            status.proxies.connected >= all && status.proxies.in_effect >= all
        };
        self.plane.until("that every sidecar is in sync", PATIENCE, back).await?;
        Ok(())
    }

    /// Mesh TLS sessions that `web` has made, by its own count: each upstream connection is one.
    pub(crate) async fn sessions(&self) -> Result<u64> {
        Ok(self.web.metric("weft_upstream_connections_total").await? as u64)
    }

    /// How many certificates each sidecar has obtained.
    pub(crate) async fn certificates(&self) -> Result<Vec<u64>> {
        let mut all = Vec::new();
        for sidecar in self.sidecars() {
            let count = sidecar.metric("weft_certificates_total").await;
            all.push(count.with_context(|| sidecar.name.clone())? as u64);
        }
        Ok(all)
    }

    fn sidecars(&self) -> impl Iterator<Item = &Sidecar> {
        self.others.iter().chain([&self.web])
    }
}
