//! The small HTTP/1.1 server behind the admin and status interfaces: GET only, one handler, bounded.
use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};

/// Connections of one interface that are served at the same time; further ones wait.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// An answer: status, type and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// 200 with a value as JSON.
    pub(super) fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec_pretty(value) {
            Ok(body) => Self { status: StatusCode::OK, content_type: "application/json", body },
            Err(error) => Self::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }

    /// A text.
    pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: text.into().into_bytes() }
    }

    /// An error as JSON: `{"error": …}`.
    pub(super) fn error(status: StatusCode, text: &str) -> Self {
        let body = serde_json::json!({ "error": text }).to_string().into_bytes();
        Self { status, content_type: "application/json", body }
    }

    /// An error as JSON with what to do about it: `{"error": …, "hint": …}`.
    pub(super) fn hinted(status: StatusCode, text: &str, hint: &str) -> Self {
        let body = serde_json::json!({ "error": text, "hint": hint }).to_string().into_bytes();
        Self { status, content_type: "application/json", body }
    }

    /// 200 with a text that is JSON already.
    pub(super) fn written_json(text: String) -> Self {
        Self { status: StatusCode::OK, content_type: "application/json", body: text.into_bytes() }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body.into()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        response
    }
}

/// What answers a GET of a path.
pub(super) trait Handler: Send + Sync + 'static {
    /// The answer for a path without its query.
    fn answer(&self, path: &str) -> Answer;
}

/// Serves a Unix socket until the task is dropped.
pub(super) async fn serve_unix(listener: UnixListener, handler: Arc<impl Handler>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => serve(stream, Arc::clone(&handler), permit),
            Err(error) => pause(&error).await,
        }
    }
}

/// Serves a TCP socket until the task is dropped.
pub(super) async fn serve_tcp(listener: TcpListener, handler: Arc<impl Handler>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => serve(stream, Arc::clone(&handler), permit),
            Err(error) => pause(&error).await,
        }
    }
}

/// Accepting fails while descriptors are short: waiting keeps that from becoming a busy loop.
async fn pause(error: &std::io::Error) {
    tracing::warn!(%error, "cannot accept a connection of the admin or status interface");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn serve<S, H>(stream: S, handler: Arc<H>, permit: tokio::sync::OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = match *request.method() {
            Method::GET => handler.answer(request.uri().path()),
            _ => Answer::error(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here"),
        };
        async move { Ok::<_, Infallible>(answer.into_response()) }
    });
    tokio::spawn(async move {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(16 << 10);
        if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "a connection of the admin or status interface ended");
        }
        drop(permit);
    });
}
