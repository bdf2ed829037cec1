//! An HTTP/2 server that keeps each request as it came.
use std::sync::{Arc, atomic::Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};

use super::State;
use crate::{
    text::{Fields, Message, Seen, bytes, duration, text},
    wire::Stream,
};

/// Serves one connection by the script.
pub(super) async fn serve(stream: Box<dyn Stream>, facts: Fields, state: &Arc<State>) -> Result<()> {
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol().max_header_list_size(1 << 20);
    let mut connection = builder.handshake::<_, Bytes>(stream).await?;
    let mut streams = tokio::task::JoinSet::new();
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let (facts, state) = (facts.clone(), Arc::clone(state));
        streams.spawn(async move { exchange(request, respond, facts, &state).await });
    }
    Ok(())
}

/// A request's parts as fields.
fn described(request: &Request<RecvStream>, facts: Fields) -> Seen {
    let uri = request.uri();
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let mut fields: Fields = Vec::new();
    fields.push((":authority".to_owned(), uri.authority().map(ToString::to_string).unwrap_or_default()));
    fields.push((":scheme".to_owned(), uri.scheme_str().unwrap_or_default().to_owned()));
    if let Some(protocol) = request.extensions().get::<h2::ext::Protocol>() {
        fields.push((":protocol".to_owned(), protocol.as_str().to_owned()));
    }
    fields.extend(listed(request.headers()));
    fields.extend(facts);
    Seen { first: format!("{} {path} HTTP/2", request.method()), fields, ..Seen::default() }
}

/// Fields of the http crate as this suite writes them.
pub(crate) fn listed(headers: &HeaderMap) -> Fields {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes()))).collect()
}

/// Fields of this suite as the http crate has them.
pub(crate) fn headers(fields: &Fields) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with('@') && !name.starts_with(':')) {
        let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).context("a field's name")?;
        headers.append(name, HeaderValue::from_bytes(&bytes(value)).context("a field's value")?);
    }
    Ok(headers)
}

/// The error code of that name.
pub(crate) fn reason(name: &str) -> Reason {
    (0..=13).map(Reason::from).find(|reason| format!("{reason:?}") == name).unwrap_or(Reason::INTERNAL_ERROR)
}

async fn exchange(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    facts: Fields,
    state: &Arc<State>,
) -> Result<()> {
    let mut seen = described(&request, facts);
    let (action, recorded) = state.next(request.uri().path());
    let case = state.case();
    let mut incoming = request.into_body();
    if let Some((_, delay)) = action.fields.iter().find(|(name, _)| name == "@delay") {
        tokio::time::sleep(duration(delay)?).await;
    }
    let ended = |seen: &mut Seen, how: &str| seen.fields.push(("@ended".to_owned(), how.to_owned()));
    match action.first.as_str() {
        "stuck" => {
            ended(&mut seen, "head");
            state.keep(case, seen);
            let gone = std::future::poll_fn(|context| respond.poll_reset(context)).await;
            drop((gone, incoming));
            state.keep_gone(case);
            return Ok(());
        }
        "early" => {
            ended(&mut seen, "head");
            state.keep(case, seen);
            let mut action = action;
            action.first = action.take("@status").unwrap_or_else(|| "200".to_owned());
            return answer(respond, &action);
        }
        "echo" | "tunnel" => return echo(respond, incoming, seen, state).await,
        _ => {}
    }
    let whole = body(&mut incoming, &mut seen).await;
    match &whole {
        Ok(()) => ended(&mut seen, "whole"),
        Err(error) => {
            let code = error.reason().map(|reason| format!("{reason:?}")).unwrap_or_default();
            ended(&mut seen, &format!("cut {code}"));
        }
    }
    if recorded {
        state.keep(case, seen);
    }
    if whole.is_err() {
        return Ok(());
    }
    let (word, code) = action.first.split_once(' ').unwrap_or((&action.first, "INTERNAL_ERROR"));
    match word {
        "reset" => respond.send_reset(reason(code)),
        "close" => state.hang_up.notify_waiters(),
        "silent" => {
            let _ = std::future::poll_fn(|context| respond.poll_reset(context)).await;
            state.keep_gone(case);
        }
        "flood" => {
            let mut sender = respond.send_response(Response::new(()), false)?;
            while send(&mut sender, Bytes::from_static(&[b'x'; 0x4000])).await.is_ok() {
                state.moved.fetch_add(0x4000, Ordering::Relaxed);
            }
            state.keep_gone(case);
        }
        _ => answer(respond, &action)?,
    }
    Ok(())
}

/// Reads a body and its trailers.
async fn body(incoming: &mut RecvStream, seen: &mut Seen) -> Result<(), h2::Error> {
    while let Some(data) = incoming.data().await {
        let data = data?;
        seen.body.extend_from_slice(&data);
        incoming.flow_control().release_capacity(data.len())?;
    }
    if let Some(trailers) = incoming.trailers().await? {
        seen.trailers = listed(&trailers);
    }
    Ok(())
}

/// Sends an answer as the script has it.
fn answer(mut respond: SendResponse<Bytes>, action: &Message) -> Result<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_bytes(action.first.as_bytes()).context("a status")?;
    *response.headers_mut() = headers(&action.fields)?;
    let reset = action.fields.iter().find(|(name, _)| name == "@reset").map(|(_, code)| reason(code));
    let body = action.body.as_deref().unwrap_or_default();
    let last = body.is_empty() && action.trailers.is_empty() && reset.is_none();
    let mut sender = respond.send_response(response, last)?;
    if last {
        return Ok(());
    }
    if !body.is_empty() {
        sender.send_data(Bytes::from(bytes(body)), action.trailers.is_empty() && reset.is_none())?;
    }
    if let Some(reason) = reset {
        // What was sent goes out before the reset only when it has been written.
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            sender.send_reset(reason);
        });
    } else if !action.trailers.is_empty() {
        sender.send_trailers(headers(&action.trailers)?)?;
    }
    Ok(())
}

/// Sends one piece when there is room for it.
pub(crate) async fn send(sender: &mut SendStream<Bytes>, mut data: Bytes) -> Result<()> {
    while !data.is_empty() {
        sender.reserve_capacity(data.len());
        let room =
            std::future::poll_fn(|context| sender.poll_capacity(context)).await.context("the stream ended")??;
        let piece = data.split_to(room.min(data.len()));
        sender.send_data(piece, false)?;
    }
    Ok(())
}

/// Answers at once and sends each piece of the body back as it comes, and its trailers.
async fn echo(
    mut respond: SendResponse<Bytes>,
    mut incoming: RecvStream,
    mut seen: Seen,
    state: &Arc<State>,
) -> Result<()> {
    let case = state.case();
    let mut sender = respond.send_response(Response::new(()), false)?;
    let mut how = "whole".to_owned();
    while let Some(data) = incoming.data().await {
        match data {
            Ok(data) => {
                incoming.flow_control().release_capacity(data.len())?;
                seen.body.extend_from_slice(&data);
                send(&mut sender, data).await?;
            }
            Err(error) => {
                how = format!("cut {}", error.reason().map(|reason| format!("{reason:?}")).unwrap_or_default());
                break;
            }
        }
    }
    let trailers = if how == "whole" { incoming.trailers().await? } else { None };
    seen.trailers = trailers.as_ref().map(listed).unwrap_or_default();
    seen.fields.push(("@ended".to_owned(), how));
    state.keep(case, seen);
    match trailers {
        Some(trailers) => sender.send_trailers(trailers)?,
        None => sender.send_data(Bytes::new(), true)?,
    }
    Ok(())
}
