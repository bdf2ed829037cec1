//! A control plane, an application with its sidecar, and a caller's sidecar, each a process of its own.
use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use axum::{Router, body::Bytes};
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};
use weft_harness::{
    Connection, Plan,
    objects::{allow, service},
    process::{ControlPlane, Sidecar},
};

/// How long anything may take to come up on a busy machine.
const START: Duration = Duration::from_secs(30);

/// Has the second sidecar ask for `echo`.
const TO_ECHO: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: localhost, namespace: shop }
spec:
  parentRefs: [{ group: "", kind: Service, name: localhost }]
  rules:
    - filters: [{ type: URLRewrite, urlRewrite: { hostname: echo.shop.svc.cluster.local } }]
      backendRefs: [{ name: localhost, port: PORT }]
"#;

/// The mesh. Programs that take a host and a port call `localhost` at the caller's outbound listener: a Service of that name
/// with that port is what they reach.
pub(crate) struct Mesh {
    plane: ControlPlane,
    /// The called side.
    pub(crate) server: Sidecar,
    /// The calling side.
    pub(crate) web: Sidecar,
    /// Where `localhost` leads.
    pub(crate) port: u16,
    application: Option<JoinHandle<std::io::Result<()>>>,
    /// The two of a second way behind the first, where there is one.
    behind: Vec<Sidecar>,
}

impl Mesh {
    /// With an HTTP/1.1 application that reads every request and answers it with a line.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub(crate) async fn http(folder: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(async |_: Bytes| "an answer of an application's that is long enough\n");
        let task = tokio::spawn(async move { axum::serve(listener, router).await });
        let mut mesh = Self::start(folder, address, "http").await?;
        mesh.application = Some(task);
        mesh.answers().await?;
        Ok(mesh)
    }

    /// Before an application that listens there and speaks a protocol (`appProtocol`).
    ///
    /// # Errors
    /// What keeps it from starting.
    pub(crate) async fn start(folder: &Path, application: SocketAddr, protocol: &str) -> Result<Self> {
        let plane = ControlPlane::start(&folder.join("mesh"), "1h").await?;
        Self::with(plane, application, protocol).await
    }

    /// With a second mesh's way behind the first: the called side's application is a sidecar's outbound listener, which is
    /// spoken to in HTTP/2, and whose peer stands before an HTTP/1.1 application. What comes by HTTP/1.1 is translated twice.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub(crate) async fn through_http2(folder: &Path, application: SocketAddr) -> Result<Self> {
        let plane = ControlPlane::start(&folder.join("mesh"), "1h").await?;
        plane
            .apply(&(service("echo", "echo", &["{ name: main, port: 80, targetPort: main }"]) + &allow("echo", "web")))
            .await?;
        let mut echo = plane.sidecar(&Plan::new("echo-0", "echo").application("main", application)).await?;
        let mut second = plane.sidecar(&Plan::new("web-1", "web")).await?;
        echo.start().await?;
        second.start().await?;
        let next = second.outbound()?;
        let mut mesh = Self::with(plane, next, "kubernetes.io/h2c").await?;
        mesh.plane.apply(&TO_ECHO.replace("PORT", &mesh.port.to_string())).await?;
        mesh.behind = vec![echo, second];
        Ok(mesh)
    }

    async fn with(plane: ControlPlane, application: SocketAddr, protocol: &str) -> Result<Self> {
        let mut web = plane.sidecar(&Plan::new("web-0", "web")).await?;
        web.launch().await?;
        let port = web.outbound()?.port();
        let of_it = format!("{{ name: main, port: {port}, targetPort: main, appProtocol: {protocol} }}");
        plane.apply(&(service("localhost", "server", &[&of_it]) + &allow("localhost", "web"))).await?;
        let mut server = plane.sidecar(&Plan::new("server-0", "server").application("main", application)).await?;
        server.start().await?;
        web.ready(START).await?;
        let mesh = Self { plane, server, web, port, application: None, behind: Vec::new() };
        mesh.reaches().await?;
        Ok(mesh)
    }

    /// Waits until the application was found to take connections, which its sidecar's readiness does not wait for; whatever it
    /// answers then.
    async fn reaches(&self) -> Result<()> {
        let (deadline, host) = (Instant::now() + START, format!("localhost:{}", self.port));
        loop {
            let reply = async { anyhow::Ok(self.web.client().await?.get(&host, "/", &[]).await?.status) }.await;
            if reply.as_ref().is_ok_and(|status| *status != 503) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{host} is not served: {reply:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a request goes through.
    async fn answers(&self) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            let (outbound, host) = (self.web.outbound()?, self.host());
            let asked = async { Connection::open(outbound).await?.get(&host, "/", &[]).await };
            match asked.await {
                Ok(reply) if reply.status == 200 => return Ok(()),
                other => ensure!(Instant::now() < deadline, "nothing answers: {:?}", other.map(|it| it.text())),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The authority that leads to the application.
    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// A file with the certificates of the caller's sidecar and their key.
    ///
    /// # Errors
    /// That they are not there.
    pub(crate) fn identity(&self, folder: &Path) -> Result<PathBuf> {
        let kept = fs::read(self.web.state.join("identity.kept"))?;
        let start = kept.windows(5).position(|it| it == b"-----").context("the sidecar keeps no certificates")?;
        let path = folder.join("identity.pem");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(kept.get(start..).unwrap_or_default())?;
        Ok(path)
    }

    /// Adds whether both sidecars still run, and still carry requests.
    pub(crate) async fn lives(&self, verdict: &mut weft_drills::Verdict) {
        let answered = self.answers().await.map_or_else(|error| error.to_string(), |()| String::new());
        verdict.said("both sidecars live and serve after it", &answered, answered.is_empty());
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if let Some(task) = &self.application {
            task.abort();
        }
    }
}
