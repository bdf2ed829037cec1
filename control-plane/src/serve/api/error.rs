//! How the API says that something failed.
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use weft_model::Diagnostic;
use weft_store::{StoreError, WriteError};

use crate::wire::{ApiError, Refusal};

/// A failed request: status and JSON body.
#[derive(Debug)]
pub(super) enum Failure {
    /// One thing is wrong.
    Error(StatusCode, ApiError),
    /// A change is refused.
    Refused(Vec<Diagnostic>),
}

impl Failure {
    pub(super) fn new(status: StatusCode, error: impl ToString, hint: &str) -> Self {
        Self::Error(status, ApiError { error: error.to_string(), hint: hint.to_owned() })
    }

    pub(super) fn bad_request(error: impl ToString, hint: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, hint)
    }

    pub(super) fn not_found(error: impl ToString, hint: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, error, hint)
    }

    pub(super) fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "this path has no such method", "see the API's paths under /v1")
    }

    pub(super) fn unauthorized(error: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error, "use the context file that the control plane wrote when it started")
    }

    pub(super) fn unavailable(error: impl ToString) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error, "look at the control plane's log, then try again")
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::unavailable(error)
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NotFound(_) => Self::not_found(error, "list what there is with `weft get`"),
            WriteError::NotOwner { .. } => {
                Self::new(StatusCode::CONFLICT, error, "change the object where it comes from")
            }
            WriteError::Conflict { .. } | WriteError::Repeated(_) | WriteError::StateConflict { .. } => {
                Self::new(StatusCode::CONFLICT, error, "read it again and repeat the change")
            }
            WriteError::Unavailable(_) | WriteError::Unknown(_) => Self::unavailable(error),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Error(status, error) => (status, Json(error)).into_response(),
            Self::Refused(diagnostics) => {
                (StatusCode::UNPROCESSABLE_ENTITY, Json(Refusal { diagnostics })).into_response()
            }
        }
    }
}

/// A body of JSON.
///
/// # Errors
/// 400 with the place of what is wrong with it.
pub(super) fn json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::bad_request(format!("the body is not what this path takes: {error}"), "see the API's bodies")
    })
}
