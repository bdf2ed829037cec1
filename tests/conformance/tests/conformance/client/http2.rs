//! A client of HTTP/2 for what is valid.
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, Uri};
use tokio::{task::JoinHandle, time::timeout};

use super::ended;
use crate::{
    DEADLINE,
    text::{Fields, Message, Seen, bytes},
    upstream::{headers, listed, send},
    wire::Stream,
};

/// One connection.
pub(crate) struct Client {
    sender: SendRequest<Bytes>,
    driver: JoinHandle<()>,
    facts: Fields,
    waiting: Option<JoinHandle<Result<Seen>>>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
        if let Some(waiting) = &self.waiting {
            waiting.abort();
        }
    }
}

impl Client {
    pub(super) async fn connect(stream: Box<dyn Stream>, facts: Fields) -> Result<Self> {
        let handshake = h2::client::Builder::new().enable_push(false).handshake(stream);
        let (sender, connection) = timeout(DEADLINE, handshake).await.context("no handshake of HTTP/2")??;
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { sender, driver, facts, waiting: None })
    }

    /// Sends a request, whose answer is waited for by [`Self::answer`].
    pub(crate) fn send(&mut self, message: &Message) -> Result<()> {
        let (sender, facts, message) = (self.sender.clone(), self.facts.clone(), message.clone());
        self.waiting = Some(tokio::spawn(exchange(sender, message, facts)));
        Ok(())
    }

    /// The answer, or `reset CODE` or `goaway CODE`.
    pub(crate) async fn answer(&mut self) -> Result<Seen> {
        let waiting = self.waiting.take().context("no request was sent")?;
        timeout(DEADLINE, waiting).await.context("no answer")??
    }
}

async fn exchange(sender: SendRequest<Bytes>, mut message: Message, facts: Fields) -> Result<Seen> {
    let exchanged = async {
        let mut sender = sender.ready().await?;
        let connect_protocol = message.take(":protocol");
        if connect_protocol.is_some() {
            let waited = timeout(DEADLINE, async {
                while !sender.is_extended_connect_protocol_enabled() {
                    tokio::task::yield_now().await;
                }
            });
            if waited.await.is_err() {
                return Ok(ended("no extended CONNECT"));
            }
        }
        let request =
            request(&mut message, connect_protocol).map_err(|_| h2::Error::from(h2::Reason::INTERNAL_ERROR))?;
        let last = message.body.is_none() && message.trailers.is_empty() && !message.names("@open");
        let (response, mut stream) = sender.send_request(request, last)?;
        let fields = headers(&message.trailers).map_err(|_| h2::Error::from(h2::Reason::INTERNAL_ERROR))?;
        let sending = async {
            if let Some(body) = &message.body {
                let _ = send(&mut stream, Bytes::from(bytes(body))).await;
            }
            if !fields.is_empty() {
                let _ = stream.send_trailers(fields);
            } else if !last && !message.names("@open") {
                let _ = stream.send_data(Bytes::new(), true);
            }
            if message.names("@open") { Some(stream) } else { None }
        };
        let receiving = receive(response, facts.clone());
        let (_held, seen) = tokio::join!(sending, receiving);
        seen
    };
    match exchanged.await {
        Ok(seen) => Ok(seen),
        Err(error) => Ok(failed(&error)),
    }
}

fn failed(error: &h2::Error) -> Seen {
    match error.reason() {
        Some(reason) if error.is_go_away() => ended(&format!("goaway {reason:?}")),
        Some(reason) => ended(&format!("reset {reason:?}")),
        None => ended("closed"),
    }
}

fn request(message: &mut Message, protocol: Option<String>) -> Result<Request<()>> {
    let (method, path) = message.first.split_once(' ').context("a request's line")?;
    let (method, path) = (Method::from_bytes(method.as_bytes())?, path.to_owned());
    let authority = message.take(":authority").unwrap_or_else(|| "shop.test".to_owned());
    let scheme = message.take(":scheme").unwrap_or_else(|| "http".to_owned());
    let uri = if method == Method::CONNECT && protocol.is_none() {
        Uri::builder().authority(authority).build()?
    } else {
        Uri::builder().scheme(scheme.as_str()).authority(authority).path_and_query(path).build()?
    };
    let mut request = Request::builder().method(method).uri(uri).body(())?;
    *request.headers_mut() = headers(&message.fields)?;
    if let Some(protocol) = protocol {
        request.extensions_mut().insert(h2::ext::Protocol::from(protocol.as_str()));
    }
    Ok(request)
}

async fn receive(response: h2::client::ResponseFuture, facts: Fields) -> Result<Seen, h2::Error> {
    let mut response = response;
    let mut fields = facts;
    while let Some(interim) = std::future::poll_fn(|context| response.poll_informational(context)).await {
        let interim = interim?;
        let listed = listed(interim.headers());
        let shown: Vec<_> = listed.iter().map(|(name, value)| format!(" {name}: {value}")).collect();
        fields.push(("@interim".to_owned(), format!("{}{}", interim.status().as_u16(), shown.concat())));
    }
    let (parts, mut incoming) = response.await?.into_parts();
    fields.extend(listed(&parts.headers));
    let mut seen = Seen { first: parts.status.as_u16().to_string(), fields, ..Seen::default() };
    while let Some(data) = incoming.data().await {
        match data {
            Ok(data) => {
                seen.body.extend_from_slice(&data);
                incoming.flow_control().release_capacity(data.len())?;
            }
            Err(error) => {
                seen.fields.push(("@cut".to_owned(), failed(&error).first));
                return Ok(seen);
            }
        }
    }
    match incoming.trailers().await {
        Ok(trailers) => seen.trailers = trailers.as_ref().map(listed).unwrap_or_default(),
        Err(error) => seen.fields.push(("@cut".to_owned(), failed(&error).first)),
    }
    Ok(seen)
}

/// Whether a connection can be used for another request.
pub(crate) fn goes_on(seen: &Seen) -> Result<bool> {
    ensure!(!seen.first.is_empty(), "an answer without a status");
    Ok(!seen.first.starts_with("goaway") && seen.first != "closed")
}
