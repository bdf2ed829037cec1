//! Making join tokens.
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Json,
    body::Bytes,
    extract::{State as Shared, rejection::BytesRejection},
    http::StatusCode,
};
use weft_certs::join::{JoinFile, MAX_TOKEN_LIFETIME, TokenError};
use weft_model::SpiffeId;

use super::{
    Api,
    error::{Failure, json},
};
use crate::{
    labels,
    tokens::JoinTokenError,
    wire::{TokenRequest, TokenResponse},
};

/// `POST /v1/tokens`.
pub(super) async fn create(
    Shared(api): Shared<Arc<Api>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<TokenResponse>, Failure> {
    let body =
        body.map_err(|rejection| Failure::bad_request(rejection.body_text(), "the body is a small JSON object"))?;
    let TokenRequest { namespace, account, ttl_seconds, labels } = json(&body)?;
    let hint = "for example {\"namespace\": \"shop\", \"account\": \"web\", \"ttlSeconds\": 600}";
    let namespace = namespace.parse().map_err(|error| Failure::bad_request(error, hint))?;
    let account = account.parse().map_err(|error| Failure::bad_request(error, hint))?;
    if let Some(fault) = labels::faults(labels.iter()).into_iter().next() {
        return Err(Failure::bad_request(format!("labels: {fault}"), "for example {\"labels\": {\"app\": \"web\"}}"));
    }
    let names = api.state.look(|compiler| compiler.names().clone());
    let identity = SpiffeId::of_account(&names.trust_domain, &namespace, &account);
    let lifetime = ttl_seconds.map_or(MAX_TOKEN_LIFETIME, Duration::from_secs);
    let made = api.tokens.create(&*api.secrets, identity, labels, lifetime, SystemTime::now()).await;
    let token = made.map_err(failure)?;
    let join_file = JoinFile {
        control_plane: api.grpc.to_string(),
        trust_domain: names.trust_domain,
        mesh_domain: names.mesh_domain,
        cluster: names.cluster,
        ca_sha256: api.pin,
        token: Some(token),
        namespace,
        account,
    };
    Ok(Json(TokenResponse { join_file: serde_json::to_value(join_file).map_err(Failure::unavailable)? }))
}

fn failure(error: JoinTokenError) -> Failure {
    match error {
        JoinTokenError::Token(TokenError::Lifetime) => Failure::bad_request(error, "ttlSeconds is 1 to 600"),
        JoinTokenError::ControlPlane => Failure::bad_request(error, "choose another account"),
        JoinTokenError::TooMany => {
            Failure::new(StatusCode::TOO_MANY_REQUESTS, error, "wait until some have been used or have expired")
        }
        JoinTokenError::Token(_)
        | JoinTokenError::TooManyLabels(_)
        | JoinTokenError::Busy(_)
        | JoinTokenError::Damaged
        | JoinTokenError::Read(_)
        | JoinTokenError::Write(_) => Failure::unavailable(error),
    }
}
