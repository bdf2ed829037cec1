//! An HTTP/1 server that keeps each request as it came.
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::State;
use crate::{
    text::{Fields, Message, Seen, bytes, duration, values},
    wire::{Framing, Reader, Stream, encode},
};

/// Serves one connection by the script.
pub(super) async fn serve(
    stream: Box<dyn Stream>,
    raw: Option<socket2::Socket>,
    facts: Fields,
    state: &Arc<State>,
) -> Result<()> {
    let mut reader = Reader::new(stream);
    while let Some(head) = reader.head().await? {
        let target = head.first.split(' ').nth(1).unwrap_or_default().to_owned();
        let (action, recorded) = state.next(&target);
        let case = state.case();
        let mut seen = Seen { first: head.first.clone(), fields: head.fields, ..Seen::default() };
        seen.fields.extend(facts.iter().cloned());
        let framing = Framing::of(&seen.fields, Framing::Length(0));
        let delay = action.fields.iter().find(|(name, _)| name == "@delay").map(|(_, value)| duration(value));
        if let Some(delay) = delay {
            tokio::time::sleep(delay?).await;
        }
        match action.first.as_str() {
            "early" => {
                seen.fields.push(("@ended".to_owned(), "head".to_owned()));
                state.keep(case, seen);
                reader.socket.write_all(&answer(&early(action), false)).await?;
                take(&mut reader, framing, state).await?;
                continue;
            }
            "stuck" => {
                seen.fields.push(("@ended".to_owned(), "head".to_owned()));
                state.keep(case, seen);
                return std::future::pending().await;
            }
            "echo" => {
                echo_body(&mut reader, framing, seen, state).await?;
                continue;
            }
            "tunnel" => {
                state.keep(case, seen);
                return tunnel(reader, &action, case, state).await;
            }
            _ => {}
        }
        if values(&seen.fields, "expect").iter().any(|value| value.eq_ignore_ascii_case("100-continue")) {
            reader.socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut body = Vec::new();
        let read = reader.body(framing, &mut body).await;
        let (whole, trailers) = read.unwrap_or((false, Fields::new()));
        (seen.body, seen.trailers) = (body, trailers);
        seen.fields.push(("@ended".to_owned(), if whole { "whole" } else { "cut" }.to_owned()));
        if recorded || !whole {
            state.keep(case, seen);
        }
        if !whole || !act(&mut reader, raw.as_ref(), action, head.first.starts_with("HEAD "), state).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Does what the script says once a request is whole; whether the connection goes on.
async fn act(
    reader: &mut Reader<Box<dyn Stream>>,
    raw: Option<&socket2::Socket>,
    action: Message,
    head: bool,
    state: &Arc<State>,
) -> Result<bool> {
    let case = state.case();
    match action.first.split(' ').next().unwrap_or_default() {
        "reset" => {
            if let Some(raw) = raw {
                raw.set_linger(Some(Duration::ZERO))?;
            }
            Ok(false)
        }
        "close" => Ok(false),
        "silent" => {
            while reader.more().await.unwrap_or(false) {}
            state.keep_gone(case);
            Ok(false)
        }
        "flood" => {
            reader.socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
            loop {
                if reader.socket.write_all(&chunk).await.is_err() {
                    state.keep_gone(case);
                    return Ok(false);
                }
                state.moved.fetch_add(0x4000, Ordering::Relaxed);
            }
        }
        "raw" => {
            reader.socket.write_all(&bytes(action.body.as_deref().unwrap_or_default())).await?;
            reader.socket.flush().await?;
            if action.names("@hold") {
                while reader.more().await.unwrap_or(false) {}
                state.keep_gone(case);
                return Ok(false);
            }
            if action.names("@reset") {
                // What was written goes out before the reset only when it has been taken.
                tokio::time::sleep(Duration::from_millis(100)).await;
                if let Some(raw) = raw {
                    raw.set_linger(Some(Duration::ZERO))?;
                }
            }
            Ok(!action.names("@close") && !action.names("@reset"))
        }
        _ => {
            reader.socket.write_all(&answer(&action, head)).await?;
            reader.socket.flush().await?;
            Ok(!action.names("@unframed") && !action.names("@close"))
        }
    }
}

/// The bytes of an answer; interim ones stand before it, each behind a field `@interim`.
fn answer(action: &Message, head: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (_, interim) in action.fields.iter().filter(|(name, _)| name == "@interim") {
        let (status, field) = interim.split_once(' ').unwrap_or((interim, ""));
        let field = if field.is_empty() { String::new() } else { format!("{field}\r\n") };
        bytes.extend(format!("HTTP/1.1 {status} Interim\r\n{field}\r\n").into_bytes());
    }
    let mut answer = encode(action, false);
    if head {
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |end| end + 4);
        answer.truncate(end);
    }
    bytes.extend(answer);
    bytes
}

/// The answer of an `early`: its status stands in a field.
fn early(mut action: Message) -> Message {
    action.first = action.take("@status").unwrap_or_else(|| "200".to_owned());
    action
}

/// Takes a body and counts it.
async fn take(reader: &mut Reader<Box<dyn Stream>>, framing: Framing, state: &Arc<State>) -> Result<()> {
    let case = state.case();
    let mut body = Vec::new();
    let read = reader.body(framing, &mut body).await;
    state.moved.fetch_add(body.len(), Ordering::Relaxed);
    if !matches!(read, Ok((true, _))) {
        state.keep_gone(case);
    }
    Ok(())
}

/// Answers at once and sends each piece of the body back as it comes.
async fn echo_body(
    reader: &mut Reader<Box<dyn Stream>>,
    framing: Framing,
    mut seen: Seen,
    state: &Arc<State>,
) -> Result<()> {
    let case = state.case();
    reader.socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    let mut whole = true;
    if framing == Framing::Chunked {
        loop {
            let mut piece = Vec::new();
            match reader.chunk(&mut piece).await.unwrap_or(None) {
                None => {
                    whole = false;
                    break;
                }
                Some(0) => {
                    reader.fields().await.ok();
                    break;
                }
                Some(size) => {
                    let chunk = [format!("{size:x}\r\n").as_bytes(), &piece, b"\r\n"].concat();
                    reader.socket.write_all(&chunk).await?;
                    seen.body.extend(piece);
                }
            }
        }
    } else if let Framing::Length(length) = framing {
        while seen.body.len() < length && (!reader.rest.is_empty() || reader.more().await.unwrap_or(false)) {
            let piece: Vec<u8> = reader.rest.drain(..).collect();
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat();
            reader.socket.write_all(&chunk).await?;
            seen.body.extend(piece);
        }
        whole = seen.body.len() == length;
    }
    seen.fields.push(("@ended".to_owned(), if whole { "whole" } else { "cut" }.to_owned()));
    state.keep(case, seen);
    if whole {
        reader.socket.write_all(b"0\r\n\r\n").await?;
    }
    Ok(())
}

/// Answers 101, or what the script's `@status` says, and then sends back what comes.
async fn tunnel(mut reader: Reader<Box<dyn Stream>>, action: &Message, case: usize, state: &Arc<State>) -> Result<()> {
    let answer = match action.fields.iter().find(|(name, _)| name == "@status") {
        Some((_, status)) => format!("HTTP/1.1 {status} Tunnel\r\n\r\n"),
        None => "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            .to_owned(),
    };
    reader.socket.write_all(answer.as_bytes()).await?;
    let rest = std::mem::take(&mut reader.rest);
    reader.socket.write_all(&rest).await?;
    let mut buffer = [0; 16384];
    loop {
        let read = reader.socket.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            state.keep_gone(case);
            return Ok(());
        }
        reader.socket.write_all(&buffer[..read]).await?;
    }
}

/// A server of bytes that sends back what comes and keeps it when its client has ended.
pub(super) async fn echo(mut stream: Box<dyn Stream>, facts: Fields, state: &Arc<State>) -> Result<()> {
    let case = state.case();
    let mut seen = Seen { first: "bytes".to_owned(), fields: facts, ..Seen::default() };
    let mut buffer = [0; 16384];
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            state.keep(case, seen);
            return Ok(());
        }
        seen.body.extend_from_slice(&buffer[..read]);
        stream.write_all(&buffer[..read]).await?;
    }
}
