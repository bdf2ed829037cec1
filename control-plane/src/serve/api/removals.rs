//! What proxies of another history keep, and the confirmation that it may go.
use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{State as Shared, rejection::BytesRejection},
    http::StatusCode,
};

use super::{
    Api,
    error::{Failure, json},
};
use crate::{
    effect::Place,
    wire::{ConfirmRequest, Confirmed, HeldRemoval, Removals},
};

/// `GET /v1/removals`.
pub(super) async fn list(Shared(api): Shared<Arc<Api>>) -> Json<Removals> {
    let own = api.state.revision();
    let kept = api.effects.kept();
    let mut items: BTreeMap<Place, Vec<String>> = BTreeMap::new();
    for (workload, kept) in &kept {
        for place in kept.places() {
            items.entry(place.clone()).or_default().push(workload.to_string());
        }
    }
    let items = items.into_iter().map(|((resource_type, name, part), proxies)| HeldRemoval {
        resource_type,
        name,
        part,
        proxies,
    });
    Json(Removals {
        revision: own.to_string(),
        epoch: own.epoch().to_owned(),
        items: items.collect(),
        proxies: kept.iter().map(|(workload, kept)| kept.whole(workload)).collect(),
    })
}

/// `POST /v1/removals/confirm`.
pub(super) async fn confirm(
    Shared(api): Shared<Arc<Api>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Confirmed>, Failure> {
    let body =
        body.map_err(|rejection| Failure::bad_request(rejection.body_text(), "the body is a small JSON object"))?;
    let ConfirmRequest { epoch } = json(&body)?;
    let own = api.state.revision();
    if epoch != own.epoch() {
        let error = format!("epoch: {epoch:?} is not this store's, which is {:?}", own.epoch());
        return Err(Failure::new(StatusCode::CONFLICT, error, "list what would go again: the store is another now"));
    }
    api.removals.confirm(&*api.secrets, &own).await.map_err(Failure::unavailable)?;
    Ok(Json(Confirmed { epoch, told: api.registry.release_all() as u64 }))
}
