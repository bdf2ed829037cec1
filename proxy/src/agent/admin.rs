//! The admin interface: what is in force, read only. Served on a Unix socket and relayed over the Agent stream.
use std::sync::Arc;

use http::StatusCode;
use serde_json::json;

use super::{
    config::Part,
    http::{Answer, Handler},
    shared::Shared,
};

/// The admin interface. It shows certificates' metadata, never a key.
pub(super) struct Admin(pub(super) Arc<Shared>);

impl Handler for Admin {
    fn answer(&self, path: &str) -> Answer {
        let shared = &self.0;
        match path.trim_end_matches('/') {
            "/config" => {
                let mut all = shared.config().all();
                all.insert("secrets".to_owned(), shared.secrets());
                Answer::json(&all)
            }
            "/config/secrets" => Answer::json(&json!({ "secrets": shared.secrets() })),
            "/stats" => Answer::json(&shared.stats()),
            "/state" => Answer::json(&shared.state()),
            path => match path.strip_prefix("/config/").and_then(part) {
                Some(part) => {
                    let config = shared.config();
                    Answer::json(&json!({"revision": config.revision(), (part.as_str()): config.part(part)}))
                }
                None => Answer::error(
                    StatusCode::NOT_FOUND,
                    "here are /config, /config/listeners, /config/routes, /config/clusters, /config/endpoints, \
                     /config/secrets, /stats and /state",
                ),
            },
        }
    }
}

fn part(name: &str) -> Option<Part> {
    Part::ALL.into_iter().find(|part| part.as_str() == name)
}
