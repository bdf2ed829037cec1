//! What proxies of another history keep, and the confirmation that it may go.
use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{State as Shared, rejection::BytesRejection},
    http::StatusCode,
};
use weft_xds::resource_type;

use super::{
    Api,
    error::{Failure, json},
};
use crate::wire::{ConfirmRequest, Confirmed, Elsewhere, HeldRemoval, Removals};

/// `GET /v1/removals`.
pub(super) async fn list(Shared(api): Shared<Arc<Api>>) -> Json<Removals> {
    let own = api.state.revision();
    let mut items: BTreeMap<(String, String, String), Vec<String>> = BTreeMap::new();
    for (workload, held) in api.streams.held() {
        for key in &*held.keys {
            let place = (key.resource_type.as_str().to_owned(), key.name.to_string(), String::new());
            items.entry(place).or_default().push(workload.to_string());
        }
    }
    for (workload, held) in api.registry.held() {
        for it in held.resources {
            let of_type = resource_type(&it.type_url).map_or(it.type_url, |known| known.as_str().to_owned());
            let proxies = items.entry((of_type, it.name, it.part)).or_default();
            if !proxies.contains(&workload.to_string()) {
                proxies.push(workload.to_string());
            }
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
        proxies: elsewhere(&api),
    })
}

/// The proxies that hold to another history.
pub(super) fn elsewhere(api: &Api) -> Vec<Elsewhere> {
    let own = api.state.revision();
    let mut found = BTreeMap::new();
    for (workload, held) in api.streams.held() {
        let (other_epoch, count) = (held.seen.epoch() != own.epoch(), held.keys.len() as u64);
        let revision = held.seen.to_string();
        let item = Elsewhere { workload: workload.to_string(), revision, other_epoch, held: count };
        found.insert(workload, item);
    }
    for (workload, held) in api.registry.held() {
        let other_epoch = !held.revision.starts_with(&format!("{}/", own.epoch()));
        let revision = held.revision.clone();
        let item = Elsewhere { workload: workload.to_string(), revision, other_epoch, held: 0 };
        found.entry(workload).or_insert(item).held += held.resources.len() as u64;
    }
    found.into_values().collect()
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
