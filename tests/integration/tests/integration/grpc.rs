//! gRPC by tonic on both ends, through a whole mesh.
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    client,
    codegen::http::uri::PathAndQuery,
    server::{self, NamedService},
    transport::{Channel, Endpoint, Server},
};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};
use weft_harness::{DEADLINE, Mesh, Plan, Sidecar};

const OBJECTS: &str = r#"
{ apiVersion: v1, kind: Service, metadata: { name: web, namespace: shop },
  spec: { selector: { app: web }, ports: [{ name: http, port: 80, targetPort: http }] } }
---
{ apiVersion: v1, kind: Service, metadata: { name: reviews, namespace: shop },
  spec: { selector: { app: reviews }, ports: [{ name: calls, port: 50051, targetPort: calls, appProtocol: grpc }] } }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: reviews, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: reviews }]
  rules: [{ action: Allow, from: [{ namespace: shop, account: web }] }]
"#;

/// A gRPC service without a schema: its messages are texts (`google.protobuf.StringValue` on the wire).
#[derive(Clone, Default)]
struct Reviews {
    /// A permit for each call of `Wait` that was dropped.
    cancelled: Arc<Option<Semaphore>>,
}

impl NamedService for Reviews {
    const NAME: &'static str = "shop.Reviews";
}

type Texts = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

fn codec() -> ProstCodec<String, String> {
    ProstCodec::default()
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
struct Dropped(Arc<Option<Semaphore>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(cancelled) = &*self.0 {
            cancelled.add_permits(1);
        }
    }
}

impl Service<tonic::codegen::http::Request<Body>> for Reviews {
    type Response = tonic::codegen::http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, asked: tonic::codegen::http::Request<Body>) -> Self::Future {
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

/// A mesh with `web`, which calls, and `reviews`, whose application is [`Reviews`].
struct Calls {
    mesh: Mesh,
    web: Sidecar,
    _reviews: Sidecar,
    service: Reviews,
}

impl Calls {
    async fn open() -> Self {
        let mesh = Mesh::start().await.unwrap();
        mesh.apply(OBJECTS).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Reviews { cancelled: Arc::new(Some(Semaphore::new(0))) };
        let serving = Server::builder().add_service(service.clone());
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        let plan = Plan::new("reviews-0", "reviews").application("calls", address);
        let reviews = Sidecar::start(&mesh, plan).await.unwrap();
        let web = Sidecar::start(&mesh, Plan::new("web-0", "web")).await.unwrap();
        Self { mesh, web, _reviews: reviews, service }
    }

    /// A client of a service, at the sidecar's outbound listener.
    async fn client(&self, host: &str) -> client::Grpc<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.web.outbound())).unwrap();
        let channel = endpoint.origin(format!("http://{host}").parse().unwrap()).connect().await.unwrap();
        let mut client = client::Grpc::new(channel);
        client.ready().await.unwrap();
        client
    }
}

fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(method)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_all_four_kinds_go_through_both_sidecars() {
    let calls = Calls::open().await;
    let mut client = calls.client("reviews.shop:50051").await;
    let one = || Request::new("book".to_owned());
    let many = || Request::new(stream::iter(["a", "b", "c"].map(str::to_owned)));
    let reply = client.unary(one(), path("/shop.Reviews/Get"), codec()).await.unwrap();
    assert_eq!(reply.into_inner(), "review of book");
    client.ready().await.unwrap();
    let reply = client.server_streaming(one(), path("/shop.Reviews/List"), codec()).await.unwrap();
    let texts: Vec<String> = reply.into_inner().map(Result::unwrap).collect().await;
    assert_eq!(texts, ["book 0", "book 1", "book 2"]);
    client.ready().await.unwrap();
    let reply = client.client_streaming(many(), path("/shop.Reviews/Gather"), codec()).await.unwrap();
    assert_eq!(reply.into_inner(), "a,b,c");
    // Both ways at once: each question only after the answer to the last one; the status comes behind them.
    let (questions, asked) = tokio::sync::mpsc::channel(1);
    let asked = Request::new(tokio_stream::wrappers::ReceiverStream::new(asked));
    questions.send("one".to_owned()).await.unwrap();
    client.ready().await.unwrap();
    let mut replies = client.streaming(asked, path("/shop.Reviews/Echo"), codec()).await.unwrap().into_inner();
    assert_eq!(replies.message().await.unwrap().unwrap(), "echo one");
    questions.send("two".to_owned()).await.unwrap();
    assert_eq!(replies.message().await.unwrap().unwrap(), "echo two");
    drop(questions);
    let end = replies.message().await.unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::OutOfRange, "no more"));
    // A status of the application's is its own.
    client.ready().await.unwrap();
    let refused = client.unary(Request::new("nothing".to_owned()), path("/shop.Reviews/Get"), codec()).await;
    let refused = refused.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::NotFound, "there is no such review: 100 % sure, naïve"));
    assert!(refused.metadata().get("x-weft-decision").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_cancels_the_call_at_the_application() {
    let calls = Calls::open().await;
    let mut client = calls.client("reviews.shop:50051").await;
    let mut asked = Request::new("book".to_owned());
    asked.set_timeout(Duration::from_millis(300));
    let late = timeout(DEADLINE, client.unary(asked, path("/shop.Reviews/Wait"), codec())).await.expect("it waits on");
    let late: Result<Response<String>, Status> = late;
    assert!(matches!(late.unwrap_err().code(), Code::Cancelled | Code::DeadlineExceeded));
    // And one that is just let go.
    client.ready().await.unwrap();
    let call = client.unary(Request::new("book".to_owned()), path("/shop.Reviews/Wait"), codec());
    let left: Result<Result<Response<String>, Status>, _> = timeout(Duration::from_millis(300), call).await;
    assert!(left.is_err());
    let cancelled = calls.service.cancelled.as_ref().as_ref().unwrap().acquire_many(2);
    timeout(DEADLINE, cancelled).await.expect("the application works on").unwrap().forget();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_has_its_grpc_status_and_the_decisions_id() {
    let calls = Calls::open().await;
    calls.mesh.client().delete("AccessPolicy", "shop", "reviews").await.unwrap();
    let mut client = calls.client("reviews.shop:50051").await;
    let refused = weft_harness::eventually("the refusal", async || {
        client.ready().await.unwrap();
        let call = client.unary(Request::new("book".to_owned()), path("/shop.Reviews/Get"), codec());
        let answer: Result<Response<String>, Status> = call.await;
        answer.err()
    });
    let refused = refused.await;
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    assert_eq!(refused.message(), "no AccessPolicy selects shop/reviews");
    let id = refused.metadata().get("x-weft-decision").unwrap().to_str().unwrap();
    assert!(id.contains("reviews-0"), "{id}");
    // What is not in the mesh is nobody's to serve.
    let mut client = calls.client("nowhere.shop:50051").await;
    let call = client.unary(Request::new("book".to_owned()), path("/shop.Reviews/Get"), codec());
    let answer: Result<Response<String>, Status> = call.await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}
