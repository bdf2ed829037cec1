//! A client of HTTP/1 that sends whatever bytes it is told to.
use std::{io, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::{io::AsyncWriteExt, time::timeout};

use super::ended;
use crate::{
    DEADLINE,
    text::{Fields, Message, Seen, bytes, text, values},
    wire::{Framing, Reader, Stream, encode},
};

/// How long a connection that is to be closed may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// One connection.
pub(crate) struct Client {
    reader: Reader<Box<dyn Stream>>,
    facts: Fields,
    /// The last request's method, on which its answer's framing depends.
    method: String,
}

impl Client {
    pub(super) fn new(stream: Box<dyn Stream>, facts: Fields) -> Self {
        Self { reader: Reader::new(stream), facts, method: String::new() }
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, message: &Message) -> Result<()> {
        self.method = message.first.split(' ').next().unwrap_or_default().to_owned();
        self.write(&encode(message, true)).await
    }

    /// Sends bytes.
    pub(crate) async fn raw(&mut self, sent: &str) -> Result<()> {
        if let Some((method, _)) = sent.split_once(' ') {
            self.method = method.to_owned();
        }
        self.write(&bytes(sent)).await
    }

    /// What is answered may come before all is sent, and the connection may be closed then.
    async fn write(&mut self, sent: &[u8]) -> Result<()> {
        let _ = self.reader.socket.write_all(sent).await;
        let _ = self.reader.socket.flush().await;
        Ok(())
    }

    /// Sends until nothing more is taken; how many bytes were.
    pub(crate) async fn pour(&mut self, most: usize) -> Result<usize> {
        let (mut sent, piece) = (0, [b'x'; 0x4000]);
        while sent < most {
            match timeout(Duration::from_millis(700), self.reader.socket.write(&piece)).await {
                Ok(Ok(written)) => sent += written,
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    /// The next answer, or `closed` or `reset`.
    pub(crate) async fn answer(&mut self) -> Result<Seen> {
        let read = timeout(DEADLINE, self.next()).await;
        ensure!(read.is_ok(), "no answer; what came is {:?}", text(&self.reader.rest));
        Ok(match read? {
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => ended("closed"),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => ended("reset"),
            Err(error) => ended(&format!("error {error}")),
        })
    }

    /// Waits until the other side ends the connection.
    pub(crate) async fn closes(&mut self) -> Result<()> {
        let ends = async { while self.reader.more().await.unwrap_or(false) {} };
        timeout(PATIENCE, ends).await.context("the connection stays open")
    }

    async fn next(&mut self) -> io::Result<Seen> {
        let mut seen = Seen { fields: self.facts.clone(), ..Seen::default() };
        let fields = loop {
            let Some(head) = self.reader.head().await? else { return Ok(ended("closed")) };
            let status = head.first.split(' ').nth(1).unwrap_or_default().to_owned();
            seen.fields.push(("@version".to_owned(), head.first.split(' ').next().unwrap_or_default().to_owned()));
            if status.starts_with('1') && status != "101" {
                seen.fields.pop();
                let fields: Vec<_> = head.fields.iter().map(|(name, value)| format!(" {name}: {value}")).collect();
                seen.fields.push(("@interim".to_owned(), format!("{status}{}", fields.concat())));
                continue;
            }
            seen.first = status;
            break head.fields;
        };
        let tunnel = seen.first == "101" || self.method == "CONNECT" && seen.first.starts_with('2');
        let bodiless = tunnel || self.method == "HEAD" || ["204", "304"].contains(&seen.first.as_str());
        if !bodiless {
            let framing = Framing::of(&fields, Framing::UntilClose);
            let (whole, trailers) = self.reader.body(framing, &mut seen.body).await.unwrap_or((false, Fields::new()));
            seen.trailers = trailers;
            if !whole {
                seen.fields.push(("@cut".to_owned(), String::new()));
            }
        }
        seen.fields.extend(fields);
        Ok(seen)
    }

    /// Whether the last answer said that the connection ends.
    pub(crate) fn is_over(seen: &Seen) -> bool {
        let over = values(&seen.fields, "connection").iter().any(|value| value.eq_ignore_ascii_case("close"));
        over || ["closed", "reset"].contains(&seen.first.as_str())
    }

    /// Reads as many bytes as are expected.
    pub(crate) async fn back(&mut self, expected: &str) -> Result<()> {
        let wanted = bytes(expected);
        let enough =
            async { while self.reader.rest.len() < wanted.len() && self.reader.more().await.unwrap_or(false) {} };
        let _ = timeout(DEADLINE, enough).await;
        let length = wanted.len().min(self.reader.rest.len());
        let came: Vec<u8> = self.reader.rest.drain(..length).collect();
        ensure!(came == wanted, "expected the bytes {expected:?}, not {:?}", text(&came));
        Ok(())
    }

    /// Reads until the bytes have this among them.
    pub(crate) async fn has(&mut self, part: &str) -> Result<()> {
        let part = bytes(part);
        let found = |rest: &[u8]| rest.windows(part.len()).position(|window| window == part);
        let enough = async { while found(&self.reader.rest).is_none() && self.reader.more().await.unwrap_or(false) {} };
        let _ = timeout(DEADLINE, enough).await;
        let place = found(&self.reader.rest);
        let shown = text(&self.reader.rest[..self.reader.rest.len().min(2000)]);
        ensure!(place.is_some(), "expected {:?} among the bytes, not {shown:?}", text(&part));
        self.reader.rest.drain(..place.unwrap_or_default() + part.len());
        Ok(())
    }
}
