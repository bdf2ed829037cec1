//! `/ready`, `/live` and `/metrics` on the workload's address.
use std::sync::Arc;

use http::StatusCode;

use super::{
    http::{Answer, Handler},
    lifecycle::Readiness,
    shared::Shared,
};

/// The status interface. It shows no configuration and no secret.
pub(super) struct Status(pub(super) Arc<Shared>);

impl Status {
    /// `ready`, from where where it is not the control plane's own word, and what is kept against that.
    fn ready(&self) -> String {
        let from = self.0.source.text();
        let ready =
            from.map_or_else(|| "ready\n".to_owned(), |text| format!("ready: {text} ({})\n", self.0.bootstrap.ads));
        let kept = self.0.guard.text().map(|text| format!("{text}\n")).unwrap_or_default();
        ready + &kept
    }
}

impl Handler for Status {
    fn answer(&self, path: &str) -> Answer {
        match path {
            "/ready" => match self.0.lifecycle.readiness() {
                Readiness::Ready => Answer::text(StatusCode::OK, self.ready()),
                Readiness::Awaiting(text) => {
                    Answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: waiting for {text}\n"))
                }
                Readiness::Draining => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "not ready: draining\n"),
            },
            "/live" => Answer::text(StatusCode::OK, "live\n"),
            "/metrics" => Answer {
                status: StatusCode::OK,
                content_type: "text/plain; version=0.0.4; charset=utf-8",
                body: self.0.metrics().into_bytes(),
            },
            _ => Answer::text(StatusCode::NOT_FOUND, "here are /ready, /live and /metrics\n"),
        }
    }
}
