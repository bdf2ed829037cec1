//! gRPC by tonic on both ends, through a whole mesh.
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::timeout;
use tonic::{Code, Request};
use weft_harness::{
    DEADLINE, Mesh, Plan, Sidecar, eventually,
    grpc::{Client, Reviews},
    objects::{GRPC, open_service},
};

/// A mesh with `web`, which calls, and `reviews`, whose application speaks gRPC.
struct Calls {
    mesh: Mesh,
    web: Sidecar,
    _reviews: Sidecar,
    application: Reviews,
}

impl Calls {
    async fn open() -> Self {
        let mesh = Mesh::start().await.unwrap();
        mesh.apply(&open_service("reviews", "reviews", &[GRPC])).await.unwrap();
        let application = Reviews::start().await.unwrap();
        let plan = Plan::new("reviews-0", "reviews").application("calls", application.address);
        let reviews = Sidecar::start(&mesh, plan).await.unwrap();
        let web = Sidecar::start(&mesh, Plan::new("web-0", "web")).await.unwrap();
        Self { mesh, web, _reviews: reviews, application }
    }

    /// A client of a service, at the sidecar's outbound listener.
    async fn client(&self, host: &str) -> Client {
        Client::connect(self.web.outbound(), host).await.unwrap()
    }
}

fn book() -> Request<String> {
    Request::new("book".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_all_four_kinds_go_through_both_sidecars() {
    let calls = Calls::open().await;
    let mut client = calls.client("reviews.shop:50051").await;
    assert_eq!(client.unary("/shop.Reviews/Get", book()).await.unwrap(), "review of book");
    let texts: Vec<String> = client.list("book").await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(texts, ["book 0", "book 1", "book 2"]);
    let many = stream::iter(["a", "b", "c"].map(str::to_owned));
    assert_eq!(client.gather(many).await.unwrap(), "a,b,c");
    // Both ways at once: each question only after the answer to the last one; the status comes behind them.
    let (questions, asked) = tokio::sync::mpsc::channel(1);
    let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
    questions.send("one".to_owned()).await.unwrap();
    let mut replies = client.echo(asked).await.unwrap();
    assert_eq!(replies.message().await.unwrap().unwrap(), "echo one");
    questions.send("two".to_owned()).await.unwrap();
    assert_eq!(replies.message().await.unwrap().unwrap(), "echo two");
    drop(questions);
    let end = replies.message().await.unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::OutOfRange, "no more"));
    // A status of the application's is its own.
    let refused = client.unary("/shop.Reviews/Get", Request::new("nothing".to_owned())).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::NotFound, "there is no such review: 100 % sure, naïve"));
    assert!(refused.metadata().get("x-weft-decision").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_cancels_the_call_at_the_application() {
    let calls = Calls::open().await;
    let mut client = calls.client("reviews.shop:50051").await;
    let mut asked = book();
    asked.set_timeout(Duration::from_millis(300));
    let late = timeout(DEADLINE, client.unary("/shop.Reviews/Wait", asked)).await.expect("it waits on");
    assert!(matches!(late.unwrap_err().code(), Code::Cancelled | Code::DeadlineExceeded));
    // And one that is just let go.
    let left = timeout(Duration::from_millis(300), client.unary("/shop.Reviews/Wait", book())).await;
    assert!(left.is_err());
    let cancelled = calls.application.cancelled.acquire_many(2);
    timeout(DEADLINE, cancelled).await.expect("the application works on").unwrap().forget();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_has_its_grpc_status_and_the_decisions_id() {
    let calls = Calls::open().await;
    calls.mesh.client().delete("AccessPolicy", "shop", "reviews").await.unwrap();
    let mut client = calls.client("reviews.shop:50051").await;
    let refused = eventually("the refusal", async || client.unary("/shop.Reviews/Get", book()).await.err()).await;
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    assert_eq!(refused.message(), "no AccessPolicy selects shop/reviews");
    let id = refused.metadata().get("x-weft-decision").unwrap().to_str().unwrap();
    assert!(id.contains("reviews-0"), "{id}");
    // What is not in the mesh is nobody's to serve.
    let mut client = calls.client("nowhere.shop:50051").await;
    let answer = client.unary("/shop.Reviews/Get", book()).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}
