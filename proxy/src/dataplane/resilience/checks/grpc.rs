//! gRPC's own health checks (github.com/grpc/grpc, doc/health-checking.md).
use std::future::poll_fn;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use prost::Message;
use tokio::task::{AbortHandle, spawn_local};
use weft_decide::Checked;

use super::probe::USER_AGENT;
use crate::dataplane::{respond::UNPROCESSED, tls::Io};

/// The method that is called.
const METHOD: &str = "/grpc.health.v1.Health/Check";

/// The most bytes of an answer: it has one number.
const MAX_ANSWER: usize = 1024;

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
struct Asked {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
struct Said {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: i32 = 1;

/// The connection's task, which ends with this.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks whether a service is served.
pub(super) async fn ask(io: Io, host: &str, service: &str) -> Checked {
    let (sender, connection) = match h2::client::handshake(io).await {
        Ok(made) => made,
        Err(error) => return Checked::Failed(format!("it does not speak HTTP/2: {error}")),
    };
    let _driver = Driver(
        spawn_local(async move {
            // How it ends is found by the call.
            let _ = connection.await;
        })
        .abort_handle(),
    );
    match call(sender, host, service).await {
        Ok(checked) => checked,
        Err(why) => Checked::Failed(why),
    }
}

async fn call(sender: SendRequest<Bytes>, host: &str, service: &str) -> Result<Checked, String> {
    let lost = |error: h2::Error| format!("the call broke off: {error}");
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("https://{host}{METHOD}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", USER_AGENT)
        .body(())
        .map_err(|error| error.to_string())?;
    let mut sender = sender.ready().await.map_err(lost)?;
    let (answer, mut body) = sender.send_request(request, false).map_err(lost)?;
    body.send_data(framed(&Asked { service: service.to_owned() }), true).map_err(lost)?;
    let (head, mut body) = answer.await.map_err(lost)?.into_parts();
    if head.headers.contains_key(UNPROCESSED) {
        return Ok(Checked::Unknown);
    }
    if head.status != StatusCode::OK {
        return Err(format!("it answered {}, which is no answer of gRPC", head.status.as_u16()));
    }
    let mut message = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(lost)?;
        if message.len() + data.len() > MAX_ANSWER {
            return Err("its answer is too long".to_owned());
        }
        message.extend_from_slice(&data);
        // What was read makes room: an answer is far smaller than the window, and an error here shows in the next read.
        let _ = body.flow_control().release_capacity(data.len());
    }
    let trailers = poll_fn(|cx| body.poll_trailers(cx)).await.map_err(lost)?;
    let status = trailers.as_ref().and_then(status).or_else(|| status(&head.headers));
    match status {
        Some(0) => serving(message.freeze()),
        // NOT_FOUND is how a server says that it does not know the service.
        Some(5) => Err("it does not know the service (NOT_FOUND)".to_owned()),
        // UNIMPLEMENTED is what a server without the health service says.
        Some(12) => Err("it has no health service (UNIMPLEMENTED)".to_owned()),
        Some(code) => Err(format!("it answered with gRPC status {code}")),
        None => Err("its answer has no gRPC status".to_owned()),
    }
}

fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A message with its prefix: not compressed, and its length.
fn framed(message: &Asked) -> Bytes {
    let bytes = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(&bytes);
    framed.into()
}

fn serving(mut answer: Bytes) -> Result<Checked, String> {
    if answer.len() < 5 || answer.get_u8() != 0 || answer.get_u32() as usize != answer.len() {
        return Err("its answer is not one message of gRPC".to_owned());
    }
    match Said::decode(answer) {
        Ok(Said { status: SERVING }) => Ok(Checked::Passed),
        Ok(Said { status: 2 }) => Err("it says NOT_SERVING".to_owned()),
        Ok(Said { status: 3 }) => Err("it says SERVICE_UNKNOWN".to_owned()),
        Ok(Said { status }) => Err(format!("it says {status}, which is not SERVING")),
        Err(_) => Err("its answer is not that of gRPC's health service".to_owned()),
    }
}
