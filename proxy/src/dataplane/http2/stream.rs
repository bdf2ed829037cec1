//! One stream: a request, its answer, one record.
use std::rc::Rc;

use ::http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
    request::Parts,
};
use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use weft_decide::FieldEdits;
use weft_net::PeerAddr;

use super::{
    carry::{Http2Job, not_offered},
    client::Client,
    grpc,
    head::{Head, edit},
    server::Active,
};
use crate::dataplane::{
    http::Progress,
    metrics::Direction,
    record::{Record, Stage},
    respond::{Ending, Failure, UNPROCESSED},
    serve::{Path, tunnelled},
    worker::Worker,
};

/// One request from its head to the end of its record.
pub(super) async fn serve<P: Path>(
    worker: Rc<Worker>,
    path: Rc<P>,
    (request, respond): (Request<RecvStream>, SendResponse<Bytes>),
    (peer, active): (PeerAddr, Active),
) {
    let mut record = Record::begin(worker.ledger(), P::DIRECTION, false, peer);
    record.at(Stage::Detect);
    let (parts, body) = request.into_parts();
    let ended = body.is_end_stream();
    let mut client = Client::new(body, respond);
    let asked = Told::to(&parts);
    let head = match Head::read(parts, ended, P::DIRECTION == Direction::Outbound) {
        Ok(head) => head,
        Err(malformed) => {
            let failure = Failure::new(Ending::Malformed(malformed), malformed.to_string());
            return refuse(&mut client, &mut record, failure, asked);
        }
    };
    let mut progress = Progress::default();
    let mut tunnel = None;
    let mut job = Http2Job { client: &mut client, record: &mut record, progress: &mut progress, tunnel: &mut tunnel };
    let carried = if head.is_connect() {
        Err(not_offered("CONNECT over HTTP/2 is not offered"))
    } else {
        path.carry(&head, &mut job).await
    };
    (record.status, record.sent, record.received) = (progress.status, progress.sent, progress.received);
    record.grpc_status = progress.grpc_status;
    match carried {
        Ok(_) if let Some(tunnel) = tunnel => match client.into_stream() {
            // Boxed: hardly any stream comes to it.
            Some(mut near) => {
                Box::pin(tunnelled(&worker, &*path, (&head, &mut record), (Vec::new(), &mut near), tunnel)).await;
            }
            None => record.fail(Ending::ClientGone, "its stream was gone when the tunnel began"),
        },
        Ok(_) => record.complete(),
        Err(failure) => {
            if matches!(failure.ending, Ending::ClientGone) && progress.status.is_none() {
                active.shared().was_reset();
            }
            let told = match progress.status {
                // Only a reset says that it is not whole.
                Some(_) => Told::Begun,
                None => asked,
            };
            refuse(&mut client, &mut record, failure, told);
        }
    }
}

/// How a client is told of a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// By a whole answer; one to HEAD has no body.
    Http { to_head: bool },
    /// By gRPC's trailers.
    Grpc,
    /// Not in words: its answer was begun.
    Begun,
}

impl Told {
    /// As whoever sent this head understands it, also one that cannot be used.
    fn to(head: &Parts) -> Self {
        match head.headers.get(CONTENT_TYPE) {
            Some(value) if grpc::is_grpc(value.as_bytes()) => Self::Grpc,
            _ => Self::Http { to_head: head.method == Method::HEAD },
        }
    }
}

/// Answers for ourselves, or resets the stream, and ends the record.
fn refuse(client: &mut Client, record: &mut Record, failure: Failure, told: Told) {
    let ending = failure.ending;
    // What an upstream has said by a code, its client hears by the same.
    let told = if matches!(ending, Ending::UpstreamReset(_)) { Told::Begun } else { told };
    if told == Told::Begun
        && let Some(status) = end_of_call(ending)
        && client.end_grpc(trailers(status, &failure.detail))
    {
        record.grpc_status = Some(status);
        return record.fail(ending, failure.detail);
    }
    match ending.status().filter(|_| told != Told::Begun).and_then(|status| StatusCode::from_u16(status).ok()) {
        None => client.reset(code(ending)),
        Some(status) => {
            let mut head = Response::new(());
            let fields = head.headers_mut();
            let mark = ending.unprocessed(record.direction());
            let mut body = Bytes::new();
            match told {
                Told::Grpc => {
                    if let Ok(id) = HeaderValue::from_str(&record.id().to_string()) {
                        fields.insert("x-weft-decision", id);
                    }
                    if let Some(why) = mark {
                        fields.insert(UNPROCESSED, HeaderValue::from_static(why));
                    }
                    let grpc_status = grpc::status(status.as_u16());
                    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                    fields.extend(trailers(grpc_status, &failure.detail));
                    record.grpc_status = Some(grpc_status);
                }
                Told::Http { to_head } => {
                    *head.status_mut() = status;
                    let (written, text) = failure.told(record.id(), mark);
                    let mut edits = FieldEdits::default();
                    written.iter().for_each(|(name, value)| edits.add(name, value));
                    edit(&edits, head.headers_mut());
                    // RFC 9110 §8.6.
                    if !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
                        head.headers_mut().insert(CONTENT_LENGTH, text.len().into());
                    }
                    if !to_head {
                        body = text.into();
                    }
                }
                Told::Begun => {}
            }
            let answered = head.status().as_u16();
            if client.tell(head, body).is_ok() {
                record.status = Some(answered);
            }
        }
    }
    record.fail(ending, failure.detail);
}

/// The status that ends a gRPC call whose answer was begun, where its upstream did not say how it ends (Linkerd does the
/// same). A client reads a reset as CANCELLED or INTERNAL (gRPC over HTTP2, "Errors"), and repeats neither.
fn end_of_call(ending: Ending) -> Option<u16> {
    match ending {
        Ending::UpstreamGone | Ending::Timeout => ending.status().map(grpc::status),
        _ => None,
    }
}

fn trailers(status: u16, detail: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.into());
    if let Ok(message) = HeaderValue::from_str(&grpc::message(detail)) {
        trailers.insert("grpc-message", message);
    }
    trailers
}

/// The code of a reset that stands for an ending.
fn code(ending: Ending) -> Reason {
    match ending {
        Ending::UpstreamReset(code) => code.into(),
        Ending::Malformed(_) => Reason::PROTOCOL_ERROR,
        Ending::Timeout | Ending::BodyIdle(_) | Ending::ClientTimeout | Ending::ClientGone => Reason::CANCEL,
        _ => Reason::INTERNAL_ERROR,
    }
}
