//! Raw HTTP/2 clients and servers.
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::SeqCst},
};

use ::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{self, ResponseFuture, SendRequest},
    server::{self, SendResponse},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::timeout,
};
use weft_model::Protocol;

use crate::dataplane::tests::{
    fleet::{HOLD, Told},
    mesh::{Mesh, PATIENCE},
};

/// A mesh whose application speaks HTTP/2.
pub(in crate::dataplane::tests) async fn mesh() -> Mesh {
    Mesh::start(Protocol::Http2, Some(&["web"]), None).await
}

/// A client with one connection.
pub(in crate::dataplane::tests) struct Caller {
    pub(in crate::dataplane::tests) send: SendRequest<Bytes>,
    /// Ends with the connection.
    pub(in crate::dataplane::tests) over: JoinHandle<Result<(), h2::Error>>,
}

impl Caller {
    /// Connects with prior knowledge.
    pub(in crate::dataplane::tests) async fn connect(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let (send, connection) = client::handshake(tcp).await.unwrap();
        Self { send, over: tokio::spawn(connection) }
    }

    /// Opens a stream.
    pub(in crate::dataplane::tests) async fn open(
        &mut self,
        request: Request<()>,
        ended: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        self.send = timeout(PATIENCE, self.send.clone().ready()).await.unwrap().unwrap();
        self.send.send_request(request, ended).unwrap()
    }

    /// A whole answer to a request without a body.
    pub(in crate::dataplane::tests) async fn ask(&mut self, request: Request<()>) -> Whole {
        let (answer, _) = self.open(request, true).await;
        whole(answer).await.unwrap()
    }
}

/// An answer with its body and trailers.
#[derive(Debug)]
pub(in crate::dataplane::tests) struct Whole {
    pub(in crate::dataplane::tests) head: Response<()>,
    pub(in crate::dataplane::tests) body: Vec<u8>,
    pub(in crate::dataplane::tests) trailers: Option<HeaderMap>,
}

impl Whole {
    pub(in crate::dataplane::tests) fn field(&self, name: &str) -> &str {
        self.head.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(in crate::dataplane::tests) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}

/// Reads an answer to its end.
pub(super) async fn whole(answer: ResponseFuture) -> Result<Whole, h2::Error> {
    let answer = timeout(PATIENCE, answer).await.expect("no answer")?;
    let (parts, body) = answer.into_parts();
    let (body, trailers) = read(body).await?;
    Ok(Whole { head: Response::from_parts(parts, ()), body, trailers })
}

/// Reads a body to its end.
pub(super) async fn read(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = timeout(PATIENCE, body.data()).await.expect("the body stands still") {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    let trailers = timeout(PATIENCE, body.trailers()).await.expect("no end of the body")?;
    Ok((bytes, trailers))
}

/// The next part of a body.
pub(super) async fn next(body: &mut RecvStream) -> Bytes {
    let data = timeout(PATIENCE, body.data()).await.expect("nothing comes").expect("the body is over").unwrap();
    body.flow_control().release_capacity(data.len()).unwrap();
    data
}

/// A request as the application has it.
pub(in crate::dataplane::tests) type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// One connection of an application.
pub(in crate::dataplane::tests) struct App {
    streams: mpsc::UnboundedReceiver<Asked>,
    leave: Arc<Notify>,
    pub(super) over: JoinHandle<()>,
}

impl App {
    /// Takes the sidecar's next connection. One that it has given up again, because nobody waited for it any more, is none.
    pub(in crate::dataplane::tests) async fn accept(listener: &TcpListener) -> Self {
        loop {
            let (tcp, _) = timeout(PATIENCE, listener.accept()).await.expect("nobody connects").unwrap();
            if let Ok(connection) = server::handshake(tcp).await {
                return Self::serve(connection);
            }
        }
    }

    /// Serves over a stream, with settings.
    pub(super) async fn over(
        settings: server::Builder,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        Self::serve(settings.handshake(io).await.unwrap())
    }

    fn serve<T>(mut connection: server::Connection<T, Bytes>) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, streams) = mpsc::unbounded_channel();
        let leave = Arc::new(Notify::new());
        let leaving = leave.clone();
        let over = tokio::spawn(async move {
            loop {
                tokio::select! {
                    accepted = connection.accept() => match accepted {
                        Some(Ok(asked)) => drop(sender.send(asked)),
                        Some(Err(_)) | None => return,
                    },
                    () = leaving.notified() => connection.graceful_shutdown(),
                }
            }
        });
        Self { streams, leave, over }
    }

    /// The next request.
    pub(in crate::dataplane::tests) async fn asked(&mut self) -> Asked {
        timeout(PATIENCE, self.streams.recv()).await.expect("no request").expect("the connection is over")
    }

    /// The next request; `None` once the connection is over.
    pub(super) async fn next(&mut self) -> Option<Asked> {
        self.streams.recv().await
    }

    /// Ends the connection in order.
    pub(super) fn leave(&self) {
        self.leave.notify_one();
    }
}

/// A request.
pub(in crate::dataplane::tests) fn request(method: &str, path: &str) -> ::http::request::Builder {
    Request::builder().method(method).uri(format!("http://reviews{path}"))
}

/// A gRPC request.
pub(super) fn grpc(path: &str) -> Request<()> {
    request("POST", path).header("content-type", "application/grpc+proto").header("te", "trailers").body(()).unwrap()
}

/// Answers with a head, a body and a `grpc-status`.
pub(super) fn answer(mut respond: SendResponse<Bytes>, body: &'static str) {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut send = respond.send_response(head, false).unwrap();
    send.send_data(Bytes::from_static(body.as_bytes()), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    send.send_trailers(trailers).unwrap();
}

/// The code that a stream was reset with.
pub(super) fn code(error: &h2::Error) -> Option<Reason> {
    error.is_reset().then(|| error.reason()).flatten()
}

/// Added to a gRPC status: it is told in the trailers behind a good head and a message.
pub(super) const TRAILERS: u16 = 1000;
/// Added to a gRPC status: it is told in a head with nothing behind it.
pub(super) const TRAILERS_ONLY: u16 = 1100;
/// A gRPC answer that ends without a status.
pub(super) const SILENT: u16 = 1200;

/// An application of a fleet that speaks HTTP/2: it answers with its number, and by its mode.
pub(in crate::dataplane::tests) async fn serve(application: TcpListener, number: usize, told: Told) {
    loop {
        let (stream, _) = application.accept().await.unwrap();
        let told = told.clone();
        tokio::spawn(async move {
            let mut connection = server::handshake(stream).await.unwrap();
            while let Some(Ok((asked, respond))) = connection.accept().await {
                told.1.fetch_add(1, SeqCst);
                tokio::spawn(one(asked, respond, number, told.clone()));
            }
        });
    }
}

async fn one(asked: Request<RecvStream>, mut respond: SendResponse<Bytes>, number: usize, (mode, _, held): Told) {
    // The whole question first. Whoever breaks off is not answered.
    if read(asked.into_body()).await.is_err() {
        return;
    }
    let mode = mode.load(SeqCst);
    if mode == HOLD {
        held.acquire().await.unwrap().forget();
    }
    let mut head = Response::builder().header("content-type", "application/grpc");
    let (last, trailers) = match mode {
        HOLD => (false, Some(0)),
        TRAILERS..TRAILERS_ONLY => (false, Some(mode - TRAILERS)),
        TRAILERS_ONLY..SILENT => {
            head = head.header("grpc-status", mode - TRAILERS_ONLY);
            (true, None)
        }
        SILENT => (false, None),
        200 => (false, Some(0)),
        status => {
            head = head.status(status).header("x-weft-unprocessed", "forged");
            (false, None)
        }
    };
    let text = number.to_string();
    if !last {
        head = head.header("content-length", text.len());
    }
    let Ok(mut send) = respond.send_response(head.body(()).unwrap(), last) else { return };
    if last {
        return;
    }
    // Where the client has gone meanwhile, nobody is told.
    let _ = send.send_data(Bytes::from(text), trailers.is_none());
    if let Some(status) = trailers {
        let _ = send.send_trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.into())]));
    }
}
