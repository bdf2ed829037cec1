//! The certificate authority and the recovery of workloads.
use std::{sync::Arc, time::SystemTime};

use axum::{
    Json,
    body::Bytes,
    extract::{State as Shared, rejection::BytesRejection},
};
use weft_certs::rfc3339_of;
use weft_model::SpiffeId;

use super::{
    Api,
    error::{Failure, json},
};
use crate::{
    audit, recovery,
    wire::{CaRotated, RecoveryList, RecoveryRevocation, RecoveryRevoked},
};

/// `POST /v1/ca/rotate`.
pub(super) async fn rotate(Shared(api): Shared<Arc<Api>>) -> Result<Json<CaRotated>, Failure> {
    let audit = audit::Entry { action: "intermediate-renewed", by: "admin", about: "the authority", address: None };
    let rotated = api.certifier.rotate(&*api.secrets, audit.at(SystemTime::now())).await;
    let rotated = rotated.map_err(Failure::unavailable)?;
    Ok(Json(CaRotated {
        root_sha256: api.pin.to_string(),
        former_sha256: rotated.former.to_string(),
        intermediate_sha256: rotated.present.to_string(),
        not_after: rfc3339_of(rotated.until),
    }))
}

/// `GET /v1/recovery`.
pub(super) async fn recovery(Shared(api): Shared<Arc<Api>>) -> Result<Json<RecoveryList>, Failure> {
    let list = recovery::list(&*api.secrets, api.certifier.recovery()).await;
    Ok(Json(list.map_err(Failure::unavailable)?))
}

/// `POST /v1/recovery/revocations`.
pub(super) async fn revoke(
    Shared(api): Shared<Arc<Api>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<RecoveryRevoked>, Failure> {
    let body =
        body.map_err(|rejection| Failure::bad_request(rejection.body_text(), "the body is a small JSON object"))?;
    let RecoveryRevocation { namespace, account } = json(&body)?;
    let hint = "for example {\"namespace\": \"shop\", \"account\": \"web\"}";
    let namespace = namespace.parse().map_err(|error| Failure::bad_request(error, hint))?;
    let account = account.parse().map_err(|error| Failure::bad_request(error, hint))?;
    let domain = api.state.look(|compiler| compiler.names().trust_domain.clone());
    let identity = SpiffeId::of_account(&domain, &namespace, &account);
    let revoked = recovery::revoke(&*api.secrets, &identity, SystemTime::now()).await;
    Ok(Json(revoked.map_err(Failure::unavailable)?))
}
