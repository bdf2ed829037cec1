//! A gRPC application by tonic without a schema, and its client: messages are texts (`google.protobuf.StringValue` on the
//! wire).
use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use anyhow::Result;
use futures::{Stream, StreamExt, stream};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    client,
    codegen::http::{Request as HttpRequest, Response as HttpResponse, uri::PathAndQuery},
    server::{self, NamedService},
    transport::{Channel, Endpoint, Server},
};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

/// A running application; it ends when it is dropped.
///
/// `Get` answers one text by another (`nothing` by NOT_FOUND), `List` by three, `Gather` joins many, `Echo` answers each of
/// many by one and ends with OUT_OF_RANGE, `Wait` never answers.
#[derive(Debug)]
pub struct Reviews {
    /// Where it listens.
    pub address: SocketAddr,
    /// Has a permit for each call of `Wait` that was cancelled.
    pub cancelled: Arc<Semaphore>,
    task: JoinHandle<()>,
}

impl Reviews {
    /// Starts it on a port of the system's choice.
    ///
    /// # Errors
    /// What the system says.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let cancelled = Arc::new(Semaphore::new(0));
        let methods = Methods { cancelled: Arc::clone(&cancelled) };
        let serving = Server::builder().add_service(methods);
        let task = tokio::spawn(async move {
            // It serves until it is aborted.
            let _ended = serving.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        Ok(Self { address, cancelled, task })
    }
}

impl Drop for Reviews {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers of one call, one after the other.
type Texts = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

#[derive(Clone)]
struct Methods {
    cancelled: Arc<Semaphore>,
}

impl NamedService for Methods {
    const NAME: &'static str = "shop.Reviews";
}

impl Service<HttpRequest<Body>> for Methods {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, asked: HttpRequest<Body>) -> Self::Future {
        let cancelled = Arc::clone(&self.cancelled);
        Box::pin(async move {
            let mut grpc = server::Grpc::new(codec());
            Ok(match asked.uri().path() {
                "/shop.Reviews/Get" => grpc.unary(service_fn(get), asked).await,
                "/shop.Reviews/List" => grpc.server_streaming(service_fn(list), asked).await,
                "/shop.Reviews/Gather" => grpc.client_streaming(service_fn(gather), asked).await,
                "/shop.Reviews/Echo" => grpc.streaming(service_fn(echo), asked).await,
                "/shop.Reviews/Wait" => {
                    let wait = |_: Request<String>| {
                        let dropped = Dropped(Arc::clone(&cancelled));
                        async move {
                            let _dropped = dropped;
                            std::future::pending::<()>().await;
                            Err::<Response<String>, _>(Status::internal("it never ends"))
                        }
                    };
                    grpc.unary(service_fn(wait), asked).await
                }
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

async fn get(asked: Request<String>) -> Result<Response<String>, Status> {
    match asked.into_inner().as_str() {
        "nothing" => Err(Status::not_found("there is no such review: 100 % sure, naïve")),
        other => Ok(Response::new(format!("review of {other}"))),
    }
}

async fn list(asked: Request<String>) -> Result<Response<Texts>, Status> {
    let name = asked.into_inner();
    let texts = (0..3).map(move |number| Ok(format!("{name} {number}"))).collect::<Vec<_>>();
    Ok(Response::new(Box::pin(stream::iter(texts))))
}

async fn gather(asked: Request<Streaming<String>>) -> Result<Response<String>, Status> {
    let mut texts = asked.into_inner();
    let mut all = Vec::new();
    while let Some(text) = texts.message().await? {
        all.push(text);
    }
    Ok(Response::new(all.join(",")))
}

async fn echo(asked: Request<Streaming<String>>) -> Result<Response<Texts>, Status> {
    let texts = asked.into_inner().map(|text| text.map(|text| format!("echo {text}")));
    let end = stream::once(async { Err(Status::out_of_range("no more")) });
    Ok(Response::new(Box::pin(texts.chain(end))))
}

/// Adds a permit when it is dropped.
struct Dropped(Arc<Semaphore>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// A client of [`Reviews`] behind a sidecar; its clones share one connection.
#[derive(Clone, Debug)]
pub struct Client(client::Grpc<Channel>);

impl Client {
    /// Connects to a sidecar's outbound listener for a host of the mesh.
    ///
    /// # Errors
    /// What tonic says.
    pub async fn connect(outbound: SocketAddr, host: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{outbound}"))?;
        let channel = endpoint.origin(format!("http://{host}").parse()?).connect().await?;
        Ok(Self(client::Grpc::new(channel)))
    }

    /// One text for one, by `Get` or `Wait`.
    ///
    /// # Errors
    /// The call's status.
    pub async fn unary(&mut self, method: &'static str, asked: Request<String>) -> Result<String, Status> {
        self.ready().await?;
        Ok(self.0.unary(asked, path(method), codec()).await?.into_inner())
    }

    /// Many texts for one, by `List`.
    ///
    /// # Errors
    /// The call's status, where it comes before any answer.
    pub async fn list(&mut self, text: &str) -> Result<Streaming<String>, Status> {
        self.ready().await?;
        Ok(self.0.server_streaming(self::text(text), path("/shop.Reviews/List"), codec()).await?.into_inner())
    }

    /// One text for many, by `Gather`.
    ///
    /// # Errors
    /// The call's status.
    pub async fn gather(&mut self, texts: impl Stream<Item = String> + Send + 'static) -> Result<String, Status> {
        self.ready().await?;
        Ok(self.0.client_streaming(Request::new(texts), path("/shop.Reviews/Gather"), codec()).await?.into_inner())
    }

    /// One text for each of many, by `Echo`.
    ///
    /// # Errors
    /// The call's status, where it comes before any answer.
    pub async fn echo(
        &mut self,
        texts: impl Stream<Item = String> + Send + 'static,
    ) -> Result<Streaming<String>, Status> {
        self.ready().await?;
        Ok(self.0.streaming(Request::new(texts), path("/shop.Reviews/Echo"), codec()).await?.into_inner())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))
    }
}

/// A text to be asked.
pub fn text(text: &str) -> Request<String> {
    Request::new(text.to_owned())
}

fn codec() -> ProstCodec<String, String> {
    ProstCodec::default()
}

fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(method)
}
