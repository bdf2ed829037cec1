//! What runs: workloads, edges, status, metrics.
use std::{collections::BTreeMap, sync::Arc};

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

use super::{Api, error::Failure, removals};
use crate::{
    effect::Selection,
    registry::QueryError,
    wire::{EdgeList, Status, WorkloadItem, WorkloadList},
};

/// The longest path that is relayed to a proxy.
const MAX_PATH: usize = 1_024;

/// `GET /v1/workloads`.
pub(super) async fn workloads(Shared(api): Shared<Arc<Api>>) -> Json<WorkloadList> {
    Json(WorkloadList { items: listed(&api) })
}

/// What is known of each workload.
pub(super) fn listed(api: &Api) -> Vec<WorkloadItem> {
    let sequence = api.state.sequence();
    let mut items = api.registry.list();
    for item in &mut items {
        if let Some(workload) = reference(item) {
            api.streams.describe(&workload, sequence, item);
        }
    }
    items
}

fn reference(item: &WorkloadItem) -> Option<WorkloadRef> {
    Some(WorkloadRef { namespace: item.namespace.parse().ok()?, name: item.name.parse().ok()? })
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
    let (faults, state) = (api.faults.clone(), api.state.clone());
    let effects = api.effects();
    let judge = move || {
        let mut objects = BTreeMap::new();
        for (_, status) in effects.select(&Selection::default()) {
            *objects.entry(status.effect.state).or_default() += 1;
        }
        (faults.now(&state), objects)
    };
    let (judged, objects) = tokio::task::spawn_blocking(judge).await.map_err(Failure::unavailable)?;
    let names = api.state.look(|compiler| compiler.names().clone());
    // The revision before the sequence: what is in sync with the later is in sync with the former.
    let revision = api.state.revision().to_string();
    Ok(Json(Status {
        revision,
        trust_domain: names.trust_domain.to_string(),
        mesh_domain: names.mesh_domain.to_string(),
        cluster: names.cluster.to_string(),
        proxies: api.streams.count(api.state.sequence()),
        resources_sent: api.metrics.resources_sent(),
        resources_resent: api.metrics.resources_resent(),
        elsewhere: removals::elsewhere(&api),
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
