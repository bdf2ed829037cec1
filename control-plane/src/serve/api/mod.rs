//! The admin API: JSON over HTTPS, with a bearer token.
mod apply;
mod ca;
mod effect;
mod error;
mod mesh;
mod objects;
mod removals;
mod token;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State as Shared},
    http::header::{AUTHORIZATION, CONNECTION},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    sync::{Mutex, Semaphore, mpsc, watch},
    task::JoinSet,
};
use weft_certs::{CaPin, join::TokenHash};
use weft_store::{Objects, State};

use super::{
    strangers::{Stranger, Strangers},
    streams::AdsStreams,
    tls::TlsConnection,
};
use crate::{
    authority::Certifier, effect::Effects, faults::Faults, metrics::Metrics, registry::Registry, removals::Removals,
    state::MeshState, tokens::Issuer,
};
use error::Failure;

/// The largest body of a request.
const MAX_BODY: usize = 4 << 20;
/// How many connections are served at a time; further ones wait.
const MAX_CONNECTIONS: usize = 256;
/// How many of them may belong to clients that have not shown the token.
const MAX_STRANGERS: usize = 64;
/// How long a request's head may take, and a connection be idle before it.
const HEAD: Duration = Duration::from_secs(30);

/// What the admin API works with.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) secrets: Arc<dyn State>,
    pub(crate) state: Arc<MeshState>,
    pub(crate) faults: Arc<Faults>,
    /// The status of objects.
    pub(crate) effects: Effects,
    pub(crate) registry: Arc<Registry>,
    pub(crate) streams: Arc<AdsStreams>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) removals: Arc<Removals>,
    pub(crate) tokens: Issuer,
    pub(crate) certifier: Arc<Certifier>,
    pub(crate) token: TokenHash,
    pub(crate) pin: CaPin,
    /// Where proxies reach the gRPC port.
    pub(crate) grpc: SocketAddr,
    /// RFC 3339.
    pub(crate) started: String,
    /// Held from judging a change until it is in force, so that each is judged against what it meets.
    pub(crate) changes: Mutex<()>,
    /// The control plane stops.
    pub(crate) stop: watch::Receiver<bool>,
}

fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/objects", get(objects::list))
        .route("/v1/objects/{kind}/{namespace}/{name}", delete(apply::delete))
        .route("/v1/objects/{kind}/{namespace}/{name}/status", get(effect::status))
        .route("/v1/statuses", get(effect::list))
        .route("/v1/wait", post(effect::wait))
        .route("/v1/watch", get(effect::watch))
        .route("/v1/apply", post(apply::apply))
        .route("/v1/tokens", post(token::create))
        .route("/v1/ca/rotate", post(ca::rotate))
        .route("/v1/recovery", get(ca::recovery))
        .route("/v1/recovery/revocations", post(ca::revoke))
        .route("/v1/workloads", get(mesh::workloads))
        .route("/v1/workloads/{namespace}/{name}/proxy", get(mesh::proxy))
        .route("/v1/edges", get(mesh::edges))
        .route("/v1/status", get(mesh::status))
        .route("/v1/removals", get(removals::list))
        .route("/v1/removals/confirm", post(removals::confirm))
        .route("/metrics", get(mesh::metrics))
        .fallback(|| async { Failure::not_found("there is nothing at this path", "see the API's paths under /v1") })
        .method_not_allowed_fallback(|| async { Failure::method() })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        // The outermost: nothing is said, nor a body read, before the token is known.
        .layer(middleware::from_fn_with_state(api.clone(), authorize))
        .with_state(api)
}

async fn authorize(Shared(api): Shared<Arc<Api>>, request: Request, next: Next) -> Response {
    let stranger = request.extensions().get::<Arc<Stranger>>().cloned();
    let presented = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let presented = presented.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    match presented {
        Some(token) if api.token.matches(token) => {
            if let Some(stranger) = stranger {
                stranger.prove();
            }
            next.run(request).await
        }
        Some(_) => refused("the bearer token is not the admin token of this control plane"),
        None => refused("the request has no bearer token"),
    }
}

/// The connection is closed: a stranger keeps no place.
fn refused(error: &str) -> Response {
    ([(CONNECTION, "close")], Failure::unauthorized(error)).into_response()
}

/// Serves until the control plane stops, and lets requests that are under way finish.
pub(crate) async fn serve_api(
    api: Arc<Api>,
    mut connections: mpsc::Receiver<io::Result<TlsConnection>>,
    mut stop: watch::Receiver<bool>,
) {
    let router = router(api);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let strangers = Strangers::new(MAX_STRANGERS);
    let mut serving = JoinSet::new();
    loop {
        let connection = tokio::select! {
            connection = connections.recv() => connection,
            _ = stop.wait_for(|stopped| *stopped) => break,
        };
        let Some(Ok(connection)) = connection else { break };
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { break };
        while serving.try_join_next().is_some() {}
        let stranger = strangers.admit();
        let unwelcome = stranger.clone().unwelcome();
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(stranger.clone());
            router.call(request)
        });
        let stopping = stopping(stop.clone());
        serving.spawn(async move {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_headers(64);
            let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(connection), service));
            tokio::select! {
                // What a client does to its own connection is its own business.
                _ended = served.as_mut() => {}
                () = unwelcome => {}
                () = stopping => {
                    served.as_mut().graceful_shutdown();
                    let _ended = served.await;
                }
            }
            drop(place);
        });
    }
    while serving.join_next().await.is_some() {}
}

/// Ends when the control plane stops.
async fn stopping(mut stop: watch::Receiver<bool>) {
    // An error means that it is gone, which is a stop too.
    let _stopped = stop.wait_for(|stopped| *stopped).await.is_ok();
}
