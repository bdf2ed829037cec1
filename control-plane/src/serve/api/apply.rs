//! Changing objects: decoded, judged, written, all or nothing.
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Json,
    body::Bytes,
    extract::{
        Path, Query, State as Shared,
        rejection::{BytesRejection, QueryRejection},
    },
    http::StatusCode,
};
use serde::Deserialize;
use tokio::time::timeout;
use weft_compile::Compiler;
use weft_model::{Code, Diagnostic, Object, ObjectRef, Owner, Revision, Source, decode::decode};
use weft_store::{Change, Committed, Expected, Outcome, Write, WriteError};
use weft_verify::{Proposed, Subject, verify};

use super::{
    Api,
    error::{Failure, json},
    objects::parse_kind,
};
use crate::{
    audit,
    wire::{ApplyRequest, ApplyResponse, ChangeKind, Deleted, Document, ObjectChange},
};

/// How long the next change waits for this one to be compiled.
const COMPILED: Duration = Duration::from_secs(5);

/// `POST /v1/apply`: answered once the change is durable.
pub(super) async fn apply(
    Shared(api): Shared<Arc<Api>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ApplyResponse>, Failure> {
    let body = body.map_err(|rejection| {
        Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            rejection.body_text(),
            "apply fewer objects at a time: 4 MiB at most",
        )
    })?;
    let request = json(&body)?;
    to_the_end(apply_in_turn(api, request)).await.map(Json)
}

async fn apply_in_turn(
    api: Arc<Api>,
    ApplyRequest { documents, dry_run }: ApplyRequest,
) -> Result<ApplyResponse, Failure> {
    let _turn = api.changes.lock().await;
    let current = api.state.look(Compiler::clone);
    // Reading and judging may take many milliseconds: not on a thread that serves streams.
    let judged = tokio::task::spawn_blocking(move || judge(&current, documents)).await;
    let Judged { objects, kinds, warnings } = judged.map_err(Failure::unavailable)??;
    let names: Vec<_> = objects.iter().map(|(object, ..)| object.reference().to_string()).collect();
    let changes = |kinds: Vec<ChangeKind>| {
        names.iter().zip(kinds).map(|(object, change)| ObjectChange { object: object.clone(), change }).collect()
    };
    if dry_run || objects.is_empty() {
        let revision = api.state.revision().to_string();
        return Ok(ApplyResponse { revision, changes: changes(kinds), warnings });
    }
    let puts =
        objects.into_iter().map(|(object, source, expected)| Change::Put { object, source: Some(source), expected });
    let committed = write(&api, puts.collect(), "applied", &names.join(", ")).await?;
    compiled(&api, &committed.revision).await;
    let kinds = committed.outcomes.iter().map(|outcome| match outcome {
        Outcome::Created => ChangeKind::Created,
        Outcome::Updated | Outcome::Deleted => ChangeKind::Updated,
        Outcome::Unchanged => ChangeKind::Unchanged,
    });
    let changes = changes(kinds.collect());
    Ok(ApplyResponse { revision: committed.revision.to_string(), changes, warnings })
}

/// How to delete.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Deletion {
    #[serde(default)]
    dry_run: bool,
}

/// `DELETE /v1/objects/{kind}/{namespace}/{name}?dryRun=`.
pub(super) async fn delete(
    Shared(api): Shared<Arc<Api>>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
    deletion: Result<Query<Deletion>, QueryRejection>,
) -> Result<Json<Deleted>, Failure> {
    let hint = "the path is /v1/objects/<kind>/<namespace>/<name>";
    let Query(Deletion { dry_run }) = deletion
        .map_err(|rejection| Failure::bad_request(rejection.body_text(), "the query may have dryRun=true or false"))?;
    let object = ObjectRef {
        kind: parse_kind(&kind)?,
        namespace: namespace.parse().map_err(|error| Failure::bad_request(error, hint))?,
        name: name.parse().map_err(|error| Failure::bad_request(error, hint))?,
    };
    to_the_end(delete_in_turn(api, object, dry_run)).await.map(Json)
}

async fn delete_in_turn(api: Arc<Api>, object: ObjectRef, dry_run: bool) -> Result<Deleted, Failure> {
    let _turn = api.changes.lock().await;
    let current = api.state.look(Compiler::clone);
    let Some(stored) = current.stored(&object).cloned() else {
        return Err(Failure::not_found(format!("there is no {object}"), "list what there is with `weft get`"));
    };
    let proposed = [Proposed::delete(object.clone())];
    let judged = tokio::task::spawn_blocking(move || verify(&current, Subject::Change(&Owner::api(), &proposed))).await;
    let warnings = judged.map_err(Failure::unavailable)?;
    if warnings.iter().any(Diagnostic::is_error) {
        return Err(Failure::Refused(warnings));
    }
    if dry_run {
        return Ok(Deleted { revision: api.state.revision().to_string(), warnings });
    }
    let change = Change::Delete { object: object.clone(), expected: Expected::Version(stored.modified) };
    let committed = write(&api, vec![change], "deleted", &object.to_string()).await?;
    compiled(&api, &committed.revision).await;
    Ok(Deleted { revision: committed.revision.to_string(), warnings })
}

/// Runs a change in a task of its own: a client that goes away does not stop it halfway, with its turn given up before
/// the change is in force.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    tokio::spawn(change).await.map_err(Failure::unavailable)?
}

/// A change that may be made.
struct Judged {
    objects: Vec<(Object, Source, Expected)>,
    /// What would become of each.
    kinds: Vec<ChangeKind>,
    warnings: Vec<Diagnostic>,
}

/// Reads the documents and judges them together against what is in force.
fn judge(current: &Compiler, documents: Vec<Document>) -> Result<Judged, Failure> {
    let mut read = Vec::new();
    let mut diagnostics = Vec::new();
    for Document { file, text } in documents {
        let decoded = decode(&file, &text);
        read.extend(decoded.objects);
        diagnostics.extend(decoded.diagnostics);
    }
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(Failure::Refused(diagnostics));
    }
    let proposed: Vec<_> = read
        .iter()
        .map(|(object, source)| Proposed::Put { object: object.clone(), source: Some(source.clone()), expected: None })
        .collect();
    diagnostics.extend(verify(current, Subject::Change(&Owner::api(), &proposed)));
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(Failure::Refused(diagnostics));
    }
    let mut kinds = Vec::new();
    let mut objects = Vec::new();
    for (object, source) in read {
        let stored = current.stored(&object.reference());
        kinds.push(match stored {
            None => ChangeKind::Created,
            Some(stored) if stored.object == object => ChangeKind::Unchanged,
            Some(_) => ChangeKind::Updated,
        });
        let expected = stored.map_or(Expected::Absent, |stored| Expected::Version(stored.modified));
        objects.push((object, source, expected));
    }
    // A fault that was in force before is told as a warning: it does not refuse.
    let warnings = diagnostics.into_iter().filter(|told| told.code != Code::Conflict).collect();
    Ok(Judged { objects, kinds, warnings })
}

/// Waits until what was written is compiled, so that the next change is judged against it.
async fn compiled(api: &Api, revision: &Revision) {
    let mut revisions = api.state.revisions();
    // A timeout leaves the next change to the store's own check of versions.
    let _reached = timeout(COMPILED, revisions.wait_for(|reached| !reached.is_behind(revision))).await;
}

/// Writes objects together with the audit's entry that tells it.
async fn write(api: &Api, changes: Vec<Change>, action: &'static str, about: &str) -> Result<Committed, WriteError> {
    let entry = audit::Entry { action, by: "admin", about, address: None };
    let along = vec![entry.at(SystemTime::now())];
    api.objects.write(Write { owner: Owner::api(), changes, along }).await
}
