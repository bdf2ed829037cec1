//! What runs: workloads, edges, status, metrics.
use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State as Shared, rejection::QueryRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use weft_model::WorkloadRef;
use weft_proto::weft::AdminAnswer;

use super::{Api, error::Failure};
use crate::{
    registry::QueryError,
    wire::{EdgeList, Status, WorkloadItem, WorkloadList},
};

/// The longest path that is relayed to a proxy.
const MAX_PATH: usize = 1_024;

/// `GET /v1/workloads`.
///
/// # Errors
/// Where the control plane is about to stop.
pub(super) async fn workloads(Shared(api): Shared<Arc<Api>>) -> Result<Json<WorkloadList>, Failure> {
    let items = tokio::task::spawn_blocking(move || listed(&api)).await.map_err(Failure::unavailable)?;
    Ok(Json(WorkloadList { items }))
}

/// What is known of each workload.
pub(super) fn listed(api: &Api) -> Vec<WorkloadItem> {
    let mut items = api.registry.list();
    let kept = api.effects.kept();
    api.effects.look(|board| {
        for (workload, item) in &mut items {
            (item.resources, item.resources_in_effect) = board.tally(workload);
            item.in_effect = board.has_all_in_effect(workload);
        }
    });
    for (workload, item) in &mut items {
        api.streams.describe(workload, item);
        item.removal = kept.get(workload).map(|kept| kept.whole(workload));
    }
    items.into_iter().map(|(_, item)| item).collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Relayed {
    path: String,
}

/// `GET /v1/workloads/{namespace}/{name}/proxy?path=`: what the proxy's admin interface answers.
pub(super) async fn proxy(
    Shared(api): Shared<Arc<Api>>,
    Path((namespace, name)): Path<(String, String)>,
    query: Result<Query<Relayed>, QueryRejection>,
) -> Result<Response, Failure> {
    let hint = "for example /v1/workloads/shop/web-1/proxy?path=/config/listeners";
    let Query(Relayed { path }) = query.map_err(|rejection| Failure::bad_request(rejection.body_text(), hint))?;
    if !path.starts_with('/') || path.len() > MAX_PATH || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::bad_request("path must start with '/' and have at most 1024 visible characters", hint));
    }
    let workload = WorkloadRef {
        namespace: namespace.parse().map_err(|error| Failure::bad_request(error, hint))?,
        name: name.parse().map_err(|error| Failure::bad_request(error, hint))?,
    };
    let AdminAnswer { id: _, status, body } =
        api.registry.query(&workload, &path).await.map_err(|error| failure(&error))?;
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.filter(|status| !status.is_informational()).unwrap_or(StatusCode::BAD_GATEWAY);
    Ok((status, [(CONTENT_TYPE, "application/json")], Body::from(body)).into_response())
}

fn failure(error: &QueryError) -> Failure {
    match error {
        QueryError::Unknown(_) => Failure::not_found(error, "list the workloads with `weft get workloads`"),
        QueryError::NotConnected(_) => Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            error,
            "see whether the proxy runs and reaches the control plane",
        ),
        QueryError::Busy(_) => Failure::new(StatusCode::SERVICE_UNAVAILABLE, error, "try again in a moment"),
        QueryError::TimedOut(_) => {
            Failure::new(StatusCode::GATEWAY_TIMEOUT, error, "see whether the proxy is overloaded")
        }
    }
}

/// `GET /v1/edges`.
pub(super) async fn edges(Shared(api): Shared<Arc<Api>>) -> Json<EdgeList> {
    Json(EdgeList { items: api.registry.edges() })
}

/// `GET /v1/status`.
///
/// # Errors
/// Where the objects in force cannot be judged.
pub(super) async fn status(Shared(api): Shared<Arc<Api>>) -> Result<Json<Status>, Failure> {
    // The revision first: what is in effect of a later one is in effect of this.
    let revision = api.state.revision().to_string();
    let judging = api.clone();
    let judge = move || {
        let told = judging.effects.look(|board| {
            (board.counts().clone(), judging.streams.count(|workload| board.has_all_in_effect(workload)))
        });
        (judging.faults.now(&judging.state), told)
    };
    let (judged, (objects, proxies)) = tokio::task::spawn_blocking(judge).await.map_err(Failure::unavailable)?;
    let names = api.state.look(|compiler| compiler.names().clone());
    Ok(Json(Status {
        revision,
        trust_domain: names.trust_domain.to_string(),
        mesh_domain: names.mesh_domain.to_string(),
        cluster: names.cluster.to_string(),
        proxies,
        resources_sent: api.metrics.resources_sent(),
        resources_resent: api.metrics.resources_resent(),
        elsewhere: api.effects.kept().iter().map(|(workload, kept)| kept.whole(workload)).collect(),
        started: api.started.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        warnings: judged.to_vec(),
        silent: api.registry.silent().iter().map(ToString::to_string).collect(),
        objects,
    }))
}

/// `GET /metrics`, in Prometheus' text format.
pub(super) async fn metrics(Shared(api): Shared<Arc<Api>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.metrics.render())
}
