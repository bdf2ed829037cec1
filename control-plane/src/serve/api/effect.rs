//! Whether objects are in effect: the status of one, waiting for several, and watching.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{
        Path, Query, State as Shared,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use weft_model::{Kind, ObjectRef};

use super::{
    Api,
    error::{Failure, json},
    mesh,
    objects::{self, parse_kind},
};
use crate::{
    effect::{Selection, Since},
    wire::{ObjectStatus, StatusList, WaitRequest, WaitResponse, WatchEvent, WatchKind},
};

/// How long a client may wait in one call.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// How many objects may be waited for at once.
const MOST_OBJECTS: usize = 20_000;
/// How long changes are gathered before they are looked at: as long as receipts are.
const GATHER: Duration = Duration::from_millis(20);
/// How often is looked without a change: a proxy that falls silent sends no word of it.
const LOOK: Duration = Duration::from_millis(250);
/// Lines that wait for the client.
const LINES: usize = 64;
/// How long a client may read nothing before it is given up.
const STUCK: Duration = Duration::from_secs(30);

/// `GET /v1/statuses?kind=&namespace=&name=`.
pub(super) async fn list(
    Shared(api): Shared<Arc<Api>>,
    selection: Result<Query<objects::Selected>, QueryRejection>,
) -> Result<Json<StatusList>, Failure> {
    let selection = objects::selection(selection)?;
    let effects = api.effects.clone();
    let found = tokio::task::spawn_blocking(move || effects.select(&selection)).await.map_err(Failure::unavailable)?;
    let items = found.into_iter().map(|(_, status)| status).collect();
    Ok(Json(StatusList { revision: api.state.revision().to_string(), items }))
}

/// `GET /v1/objects/{kind}/{namespace}/{name}/status`.
pub(super) async fn status(
    Shared(api): Shared<Arc<Api>>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
) -> Result<Json<ObjectStatus>, Failure> {
    let object = reference(&kind, &namespace, &name)?;
    let (effects, asked) = (api.effects.clone(), object.clone());
    let found = tokio::task::spawn_blocking(move || effects.of(&[asked]).pop()).await.map_err(Failure::unavailable)?;
    let missing = || Failure::not_found(format!("there is no {object}"), "list what there is with `weft get`");
    found.map(Json).ok_or_else(missing)
}

/// `POST /v1/wait`: answered when every proxy that uses one of the objects has it in effect, or the time is over.
pub(super) async fn wait(
    Shared(api): Shared<Arc<Api>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<WaitResponse>, Failure> {
    let too_large = |error: BytesRejection| {
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error.body_text(), "wait for fewer objects at a time")
    };
    let WaitRequest { objects, timeout_ms } = json(&body.map_err(too_large)?)?;
    if objects.len() > MOST_OBJECTS {
        let told = format!("{} objects are more than {MOST_OBJECTS}", objects.len());
        return Err(Failure::bad_request(told, "wait for fewer at a time"));
    }
    let parsed = objects.iter().map(|text| parse_object(text));
    let objects: Vec<ObjectRef> = parsed.collect::<Result<_, _>>()?;
    let deadline = Instant::now() + Duration::from_millis(timeout_ms).min(LONGEST_WAIT);
    let (mut pulse, mut stop) = (api.state.pulse(), api.stop.clone());
    loop {
        pulse.mark_unchanged();
        let (effects, asked) = (api.effects.clone(), objects.clone());
        let looked = tokio::task::spawn_blocking(move || effects.of(&asked)).await;
        let items = looked.map_err(Failure::unavailable)?;
        let in_effect = items.len() == objects.len() && items.iter().all(|it| it.effect.is_done());
        if in_effect || Instant::now() >= deadline || *stop.borrow() {
            return Ok(Json(WaitResponse { in_effect, items }));
        }
        let beaten = tokio::select! {
            // The pulse outlives every request.
            _ = pulse.changed() => true,
            () = sleep_until(deadline) => false,
            _ = stop.wait_for(|stopped| *stopped) => false,
        };
        if beaten {
            sleep(GATHER).await;
        }
    }
}

/// `GET /v1/watch?kind=&namespace=&name=`: one JSON line for what there is, then one for each change. Ends when the
/// control plane stops. Of workloads, what `GET /v1/workloads` says of them; of other kinds, objects and their status.
pub(super) async fn watch(
    Shared(api): Shared<Arc<Api>>,
    selection: Result<Query<objects::Selected>, QueryRejection>,
) -> Result<Response, Failure> {
    let selection = objects::selection(selection)?;
    let (lines, body) = mpsc::channel::<Result<Bytes, std::convert::Infallible>>(LINES);
    tokio::spawn(async move {
        let (mut pulse, mut stop) = (api.state.pulse(), api.stop.clone());
        let mut known = Known::default();
        loop {
            pulse.mark_unchanged();
            let (looking, chosen) = (api.clone(), selection.clone());
            let looked = tokio::task::spawn_blocking(move || {
                let events = known.look(&looking, &chosen);
                (known, events)
            });
            let Ok((now, events)) = looked.await else { return };
            known = now;
            for event in events {
                // What is made of texts and numbers alone can be written as JSON.
                let mut line = serde_json::to_vec(&event).unwrap_or_default();
                line.push(b'\n');
                if !matches!(timeout(STUCK, lines.send(Ok(line.into()))).await, Ok(Ok(()))) {
                    return;
                }
            }
            let beaten = tokio::select! {
                _ = pulse.changed() => true,
                () = sleep(LOOK) => false,
                () = lines.closed() => return,
                _ = stop.wait_for(|stopped| *stopped) => return,
            };
            if beaten {
                sleep(GATHER).await;
            }
        }
    });
    let body = Body::from_stream(ReceiverStream::new(body));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// What a watch has told.
#[derive(Debug, Default)]
struct Known {
    seen: BTreeMap<String, Seen>,
    /// The round of the board that it is of.
    round: Option<u64>,
}

/// What a watch knows of one object or workload.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    event: WatchEvent,
    /// What of its status a change is told of: no ages, no counters.
    essence: Value,
}

impl Known {
    /// Looks again; what is other than it was told. Of objects only those are judged of which something may be.
    fn look(&mut self, api: &Api, selection: &Selection) -> Vec<WatchEvent> {
        if selection.kind == Some(Kind::Workload) {
            let seen = workloads(api, selection);
            let names: BTreeSet<_> = seen.iter().map(|(name, _)| name.clone()).collect();
            return self.take(seen, &names);
        }
        let Since { round, all, newer } = api.effects.select_since(selection, self.round);
        self.round = Some(round);
        let seen = newer.into_iter().map(|(stored, status)| {
            let name = status.object.clone();
            let essence = serde_json::to_value(status.effect.without_ages()).unwrap_or_default();
            let item = Some(objects::item(&stored));
            let event = WatchEvent { item, status: Some(status), ..WatchEvent::of(&name) };
            (name, Seen { event, essence })
        });
        let names = all.iter().map(ToString::to_string).collect();
        self.take(seen.collect(), &names)
    }

    /// Takes in what was looked at, and the names of all that there is.
    fn take(&mut self, seen: Vec<(String, Seen)>, names: &BTreeSet<String>) -> Vec<WatchEvent> {
        let gone: Vec<_> = self.seen.keys().filter(|name| !names.contains(*name)).cloned().collect();
        let mut events = Vec::new();
        for name in gone {
            self.seen.remove(&name);
            events.push(WatchEvent { event: WatchKind::Deleted, ..WatchEvent::of(&name) });
        }
        for (name, now) in seen {
            let event = match self.seen.get(&name) {
                None => WatchKind::Added,
                Some(before) if before.event.item != now.event.item => WatchKind::Changed,
                Some(before) if before.essence != now.essence => WatchKind::Status,
                Some(_) => continue,
            };
            events.push(WatchEvent { event, ..now.event.clone() });
            self.seen.insert(name, now);
        }
        events
    }
}

fn workloads(api: &Api, selection: &Selection) -> Vec<(String, Seen)> {
    let chosen = |text: &Option<String>, own: &str| text.as_ref().is_none_or(|text| text == own);
    let items = mesh::listed(api).into_iter();
    let items = items.filter(|it| chosen(&selection.namespace, &it.namespace) && chosen(&selection.name, &it.name));
    let seen = items.map(|item| {
        let mut steady = item.clone();
        (steady.resources_sent, steady.resent, steady.silent_ms) = (0, 0, item.silent_ms.map(|_| 0));
        let name = format!("Workload {}/{}", item.namespace, item.name);
        let essence = serde_json::to_value(steady).unwrap_or_default();
        let event = WatchEvent { workload: Some(item), ..WatchEvent::of(&name) };
        (name, Seen { event, essence })
    });
    seen.collect()
}

fn reference(kind: &str, namespace: &str, name: &str) -> Result<ObjectRef, Failure> {
    let hint = "an object is named by kind, namespace and name: HTTPRoute shop/reviews";
    Ok(ObjectRef {
        kind: parse_kind(kind)?,
        namespace: namespace.parse().map_err(|error| Failure::bad_request(error, hint))?,
        name: name.parse().map_err(|error| Failure::bad_request(error, hint))?,
    })
}

/// `Kind namespace/name`.
fn parse_object(text: &str) -> Result<ObjectRef, Failure> {
    let parts = text.split_once(' ').and_then(|(kind, rest)| Some((kind, rest.split_once('/')?)));
    let Some((kind, (namespace, name))) = parts else {
        return Err(Failure::bad_request(format!("{text:?} names no object"), "write it as `HTTPRoute shop/reviews`"));
    };
    reference(kind, namespace, name)
}
