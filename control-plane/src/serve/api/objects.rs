//! Listing objects.
use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State as Shared, rejection::QueryRejection},
};
use serde::Deserialize;
use weft_model::{Kind, Stored, encode::to_json};

use super::{Api, error::Failure};
use crate::{
    effect::Selection,
    wire::{ObjectItem, ObjectList},
};

/// Which objects; absent fields choose all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Selected {
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

/// The selection that a query makes.
pub(super) fn selection(query: Result<Query<Selected>, QueryRejection>) -> Result<Selection, Failure> {
    let Query(Selected { kind, namespace, name }) = query.map_err(|rejection| {
        Failure::bad_request(rejection.body_text(), "the query may have kind, namespace and name")
    })?;
    Ok(Selection { kind: kind.map(|kind| parse_kind(&kind)).transpose()?, namespace, name })
}

/// `GET /v1/objects`. Workloads that registered themselves are listed with owner `agent`.
pub(super) async fn list(
    Shared(api): Shared<Arc<Api>>,
    query: Result<Query<Selected>, QueryRejection>,
) -> Result<Json<ObjectList>, Failure> {
    let selection = selection(query)?;
    let revision = api.state.revision().to_string();
    let found: Vec<Arc<Stored>> = api.state.look(|compiler| {
        compiler.objects().filter(|(object, _)| selection.has(object)).map(|(_, stored)| stored.clone()).collect()
    });
    Ok(Json(ObjectList { revision, items: found.iter().map(|stored| item(stored)).collect() }))
}

/// The kind that a path or query names.
pub(super) fn parse_kind(text: &str) -> Result<Kind, Failure> {
    Kind::parse_loosely(text).ok_or_else(|| {
        let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        Failure::bad_request(format!("{text:?} is not a kind"), &format!("the kinds are {}", kinds.join(", ")))
    })
}

pub(super) fn item(Stored { object, owner, created, modified, source }: &Stored) -> ObjectItem {
    ObjectItem {
        object: to_json(object),
        owner: owner.to_string(),
        created: *created,
        modified: *modified,
        source: source.clone(),
    }
}
