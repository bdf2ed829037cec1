//! The prices service and its caller: gRPC as tonic speaks it, which knows nothing of the mesh.
use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt};
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Response, Status, Streaming,
    metadata::MetadataMap,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use weft_proto::demo::{
    Item, Price,
    prices_client::PricesClient,
    prices_server::{Prices, PricesServer},
};

use crate::failure::{Failure, While};

/// What the shop has, and what it costs in cents.
const LIST: [(&str, u64); 3] = [("teapot", 2400), ("cup", 750), ("tray", 1200)];

/// By which name callers know the service.
pub(crate) const HOST: &str = "prices:50051";

/// How long a call may take, connecting included.
const CALL: Duration = Duration::from_secs(10);

/// Serves until the process ends; every answer is UNAVAILABLE while `fails`.
pub(super) async fn serve(listener: TcpListener, instance: String, fails: Arc<AtomicBool>) -> Result<(), Failure> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = PricesServer::new(List { instance, fails });
    Server::builder().add_service(service).serve_with_incoming(incoming).await.while_("serve gRPC")
}

#[derive(Clone)]
struct List {
    instance: String,
    fails: Arc<AtomicBool>,
}

impl List {
    fn price(&self, Item { name }: Item) -> Result<Price, Status> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(Status::unavailable("the prices are not at hand"));
        }
        let found = LIST.iter().find(|(item, _)| *item == name);
        let (_, cents) = found.ok_or_else(|| Status::not_found(format!("the shop has no {name:?}")))?;
        Ok(Price { item: name, cents: *cents, instance: self.instance.clone() })
    }
}

#[tonic::async_trait]
impl Prices for List {
    async fn quote(&self, asked: Request<Item>) -> Result<Response<Price>, Status> {
        self.price(asked.into_inner()).map(Response::new)
    }

    type QuoteEachStream = Pin<Box<dyn Stream<Item = Result<Price, Status>> + Send>>;

    async fn quote_each(&self, asked: Request<Streaming<Item>>) -> Result<Response<Self::QuoteEachStream>, Status> {
        let (list, mut quoted) = (self.clone(), 0_u64);
        let prices = asked.into_inner().map(move |item| {
            let price = list.price(item?).map_err(|status| ended(&status, quoted));
            quoted += 1;
            price
        });
        Ok(Response::new(Box::pin(prices)))
    }
}

/// The end of a conversation, with how many prices were told.
fn ended(status: &Status, quoted: u64) -> Status {
    let mut trailers = MetadataMap::new();
    trailers.insert("x-quoted", quoted.into());
    Status::with_metadata(status.code(), status.message(), trailers)
}

/// Calls the service through a sidecar, on one HTTP/2 connection.
#[derive(Clone)]
pub(crate) struct Caller(PricesClient<Channel>);

impl Caller {
    /// Calls through the sidecar whose outbound listener that is; connects with the first call.
    pub(crate) fn new(outbound: SocketAddr) -> Result<Self, Failure> {
        let preparing = "prepare gRPC";
        let origin = format!("http://{HOST}").parse().while_(preparing)?;
        let endpoint = Endpoint::from_shared(format!("http://{outbound}")).while_(preparing)?.origin(origin);
        let channel = endpoint.tcp_nodelay(true).connect_timeout(CALL).connect_lazy();
        Ok(Self(PricesClient::new(channel)))
    }

    /// What an item costs.
    pub(crate) async fn quote(&self, item: &str) -> Result<Price, Status> {
        let mut asked = Request::new(Item { name: item.to_owned() });
        asked.set_timeout(CALL);
        self.0.clone().quote(asked).await.map(Response::into_inner)
    }

    /// The prices of items, each asked for when `items` gives it.
    pub(crate) async fn quote_each(
        &self,
        items: impl Stream<Item = String> + Send + 'static,
    ) -> Result<Streaming<Price>, Status> {
        let items = items.map(|name| Item { name });
        self.0.clone().quote_each(items).await.map(Response::into_inner)
    }
}

/// A call that was not answered well, for people: status, words, and the mesh's decision where it was the mesh's.
pub(crate) fn refused(status: Status) -> Failure {
    let decision = decision(&status).map(|id| format!(" (x-weft-decision: {id})")).unwrap_or_default();
    Failure::new(format!("{HOST} answered {}: {}{decision}", name(status.code()), status.message()))
}

/// The id of the mesh's decision that a status tells of.
pub(crate) fn decision(status: &Status) -> Option<&str> {
    status.metadata().get("x-weft-decision")?.to_str().ok()
}

/// A status code as gRPC's documents write it.
pub(crate) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
