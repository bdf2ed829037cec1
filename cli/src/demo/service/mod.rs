//! The demo's services: one small program in five roles. It calls the next service through its sidecar, as an
//! application would that knows nothing of the mesh.
use std::{
    cell::Cell,
    convert::Infallible,
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::{Args, ValueEnum};
use http_body_util::Full;
use hyper::{Request, Response, body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    task::{LocalSet, spawn_local},
};

use super::client::{Client, Reuse};
use crate::{
    api::block_on,
    failure::{Failure, While},
    output,
};

pub(crate) mod prices;
pub(crate) mod stock;

/// Which service to be.
#[derive(Args, Clone)]
pub(crate) struct Arguments {
    #[arg(value_enum)]
    role: Role,
    /// The instance's name, which is in each answer.
    #[arg(long)]
    instance: String,
    /// The version, which is in each answer.
    #[arg(long, default_value = "v1")]
    version: String,
    /// The file in which the sidecar says where it listens.
    #[arg(long)]
    listeners: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Calls catalog.
    Web,
    /// Calls reviews (HTTP), prices (gRPC) and stock (TCP).
    Catalog,
    /// Calls nobody.
    Reviews,
    /// gRPC: calls nobody.
    Prices,
    /// TCP: speaks first.
    Stock,
}

/// Runs the service until it is killed; after SIGUSR1 it answers 503 (or UNAVAILABLE) to everything, after the next one
/// well again. The first line on standard output is its address.
pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    block_on(LocalSet::new().run_until(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.while_("listen")?;
        output::line(listener.local_addr().while_("listen")?.to_string())?;
        let mut toggle = signal(SignalKind::user_defined1()).while_("wait for signals")?;
        let fails = Arc::<AtomicBool>::default();
        let toggled = Arc::clone(&fails);
        spawn_local(async move {
            while toggle.recv().await.is_some() {
                toggled.fetch_not(Ordering::Relaxed);
            }
        });
        if arguments.role == Role::Prices {
            return prices::serve(listener, arguments.instance, fails).await;
        }
        let sidecar = tokio::sync::OnceCell::new();
        let service = Rc::new(Service { arguments, sidecar, drained: Cell::new(0), fails });
        loop {
            // A failed accept (descriptors used up, a connection gone again) ends nothing.
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            spawn_local(Rc::clone(&service).connection(stream));
        }
    }))
}

struct Service {
    arguments: Arguments,
    sidecar: tokio::sync::OnceCell<Sidecar>,
    /// What the stock service took in last.
    drained: Cell<u64>,
    /// Whether every answer is 503.
    fails: Arc<AtomicBool>,
}

/// Where the sidecar takes this service's calls.
struct Sidecar {
    http: Client,
    prices: prices::Caller,
    stock: Option<SocketAddr>,
}

impl Service {
    async fn connection(self: Rc<Self>, stream: TcpStream) {
        // A client that goes away in the middle is its own affair: there is nobody to tell.
        let _gone = stream.set_nodelay(true);
        if self.arguments.role == Role::Stock {
            let _gone = stock::serve(stream, &self.drained).await;
            return;
        }
        let answer = service_fn(|request| {
            let service = Rc::clone(&self);
            async move { Ok::<_, Infallible>(service.answer(&request).await) }
        });
        let _gone = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let canary = request.headers().get("x-canary").and_then(|value| value.to_str().ok());
        let headers: Vec<_> = canary.map(|value| ("x-canary", value)).into_iter().collect();
        let Arguments { role, instance, version, .. } = &self.arguments;
        let mut body = json!({ "service": role.to_possible_value().map(|it| it.get_name().to_owned()), "instance": instance, "version": version });
        let mut status = if self.fails.load(Ordering::Relaxed) { 503 } else { 200 };
        let mut called = |name: &str, outcome: Result<Value, Failure>| {
            body[name] = outcome.unwrap_or_else(|failure| {
                status = 502;
                json!({ "error": failure.to_string() })
            });
        };
        match role {
            Role::Web => called("catalog", self.call("catalog", &headers).await),
            Role::Catalog => {
                called("reviews", self.call("reviews", &headers).await);
                called("prices", self.price().await);
                called("stock", self.stock().await);
            }
            Role::Reviews | Role::Prices | Role::Stock => {}
        }
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
        response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
        response
    }

    async fn call(&self, host: &str, headers: &[(&str, &str)]) -> Result<Value, Failure> {
        let reply = self.sidecar().await?.http.fetch(host, "/", headers, Reuse::Kept).await?;
        if !reply.status.is_success() {
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            return Err(Failure::new(format!("{host} answered {}: {text}", reply.status)));
        }
        serde_json::from_slice(&reply.body).while_(format_args!("read {host}'s answer"))
    }

    async fn price(&self) -> Result<Value, Failure> {
        let price = self.sidecar().await?.prices.quote("teapot").await.map_err(prices::refused)?;
        Ok(json!({ "item": price.item, "cents": price.cents, "instance": price.instance }))
    }

    async fn stock(&self) -> Result<Value, Failure> {
        let address =
            self.sidecar().await?.stock.ok_or_else(|| Failure::new("the sidecar has no listener for stock"))?;
        let answer = stock::ask(address, "echo", b"teapot").await.while_("ask stock")?;
        Ok(String::from_utf8_lossy(&answer).into())
    }

    async fn sidecar(&self) -> Result<&Sidecar, Failure> {
        let known = self.sidecar.get_or_try_init(|| async {
            let file = self.arguments.listeners.as_ref().ok_or_else(|| Failure::new("no sidecar was named"))?;
            let reading = format!("read {}", file.display());
            let bound = super::bound::Bound::read(file).while_(reading)?;
            let http = bound.outbound.ok_or_else(|| Failure::new("the sidecar has no outbound listener"))?;
            let prices = prices::Caller::new(http)?;
            Ok(Sidecar { http: Client::new(http), prices, stock: bound.tcp("shop/stock:9000") })
        });
        known.await
    }
}
