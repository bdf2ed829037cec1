//! The admin interface: what is in force, read only. Served on a Unix socket and relayed over the Agent stream.
use std::sync::Arc;

use http::StatusCode;
use serde_json::json;

use super::{
    config::Part,
    http::{Answer, Handler},
    shared::Shared,
};

/// Where a record is found by its decision id.
const RECORDS: &str = "/records/";

/// Where the state of clusters at this moment stands: what is used of limits, breakers, who is ejected.
const LIVE: &str = "live";

/// The admin interface. It shows certificates' metadata, never a key.
pub(super) struct Admin(pub(super) Arc<Shared>);

impl Handler for Admin {
    fn answer(&self, path: &str) -> Answer {
        let shared = &self.0;
        match path.trim_end_matches('/') {
            "/config" => {
                let mut all = shared.config().all();
                all.insert("secrets".to_owned(), shared.secrets());
                all.insert(LIVE.to_owned(), json!(shared.clusters()));
                Answer::json(&all)
            }
            "/config/secrets" => Answer::json(&json!({ "secrets": shared.secrets() })),
            "/stats" => Answer::json(&shared.stats()),
            "/state" => Answer::json(&shared.state()),
            "/refusals" => refusals(shared),
            path if path.starts_with(RECORDS) => record(shared, path.trim_start_matches(RECORDS)),
            path => match path.strip_prefix("/config/").and_then(part) {
                Some(part) => {
                    let live = matches!(part, Part::Clusters | Part::Endpoints).then(|| shared.clusters());
                    let config = shared.config();
                    let mut answer = json!({"revision": config.revision(), (part.as_str()): config.part(part)});
                    if let Some(live) = live {
                        answer[LIVE] = json!(live);
                    }
                    Answer::json(&answer)
                }
                None => Answer::error(
                    StatusCode::NOT_FOUND,
                    "here are /config, /config/listeners, /config/routes, /config/clusters, /config/endpoints, \
                     /config/secrets, /refusals, /records/<decision id>, /stats and /state",
                ),
            },
        }
    }
}

fn part(name: &str) -> Option<Part> {
    Part::ALL.into_iter().find(|part| part.as_str() == name)
}

/// The refusals that are kept, as their lines were written.
fn refusals(shared: &Shared) -> Answer {
    let lines = shared.refusals();
    let lines: Vec<_> = lines.iter().map(|line| line.as_str()).collect();
    Answer::written_json(format!("{{\"refusals\":[{}]}}", lines.join(",\n")))
}

/// The record of a decision id (instance.start.worker.sequence).
fn record(shared: &Shared, id: &str) -> Answer {
    let start = id.rsplitn(3, '.').nth(2).and_then(|rest| rest.rsplit('.').next()).unwrap_or_default();
    if start != shared.start {
        let text = format!("record gone: {id} is of another start of this proxy, which now runs as {}", shared.start);
        return Answer::hinted(StatusCode::NOT_FOUND, &text, "its access log may still have it");
    }
    let field = format!("\"id\":{}", json!(id));
    match shared.refusals().iter().find(|line| line.contains(&field)) {
        Some(line) => Answer::written_json(format!("{{\"record\":{line}}}")),
        None => {
            let text = format!("record gone: {id} is not among the last refusals of this proxy");
            Answer::hinted(StatusCode::NOT_FOUND, &text, "its access log may still have it")
        }
    }
}
