//! How a request is carried where either end speaks HTTP/2.
use std::io::ErrorKind;

use ::http::Request;
use weft_decide::{Outcome as Ended, RequestHead};
use weft_ir::EndpointAddress;
use weft_model::Protocol;

use super::{
    client::Client,
    copied::Copied,
    exchange::{Exchange, client_broken, upstream_broken},
    grpc,
    head::{self, Head},
    http1::{self, Coding},
    link::{Lease, Start},
    links::Joined,
    pump::{Pump, grpc_status},
    side::{Broken, Client as _},
    upstream::Upstream,
    web::{self, Form, Web},
    websocket,
};
use crate::dataplane::{
    attempts::{Answer, Attempt, AttemptFailed, Carrier, Fate, Sendable},
    carry::{application_conn, keep, proven},
    histogram::add,
    http::{Decoder, ExchangeError, Forward, Incoming, Malformed, Outcome, Progress},
    job::{self, Application, Job},
    mirror::Mirroring,
    pool::{self, Proven},
    record::{Key, Record, Stage},
    resilience::Room,
    respond::{Blame, Ending, Failure, UNPROCESSED, unprocessed},
    serve::{Far, Http1Job, Tunnel},
    tls::Wire,
    upstream,
};

/// A request under way that came by HTTP/2.
pub(in crate::dataplane) struct Http2Job<'a> {
    /// Who asked.
    pub(super) client: &'a mut Client,
    /// What is known of it.
    pub(super) record: &'a mut Record,
    /// What was done so far.
    pub(super) progress: &'a mut Progress,
    /// The upstream, once the stream is a tunnel's.
    pub(super) tunnel: &'a mut Option<Tunnel>,
}

impl job::Head for Head {
    fn fields(&self) -> Vec<(&[u8], &[u8])> {
        Self::fields(self)
    }

    fn decided<'a>(&'a self, fields: &'a [(&'a [u8], &'a [u8])]) -> RequestHead<'a> {
        Self::decided(self, fields)
    }

    fn host<'a>(&self, normal: &'a str) -> Option<&'a str> {
        (!self.is_at(normal)).then_some(normal)
    }

    fn tunnel(&self) -> Option<String> {
        self.protocol().map(|protocol| protocol.as_str().to_owned())
    }
}

impl Job for Http2Job<'_> {
    type Head = Head;

    fn record(&mut self) -> &mut Record {
        self.record
    }

    fn to_peer<'a>(
        &'a mut self,
        mirroring: Mirroring<'a>,
        head: &'a Head,
        forward: Forward<'a>,
    ) -> (impl Carrier<Done = Outcome> + 'a, &'a mut Record) {
        let Self { client, record, progress, tunnel } = self;
        (Http2 { head, forward, client, progress, tunnel, mirroring: Some(mirroring) }, record)
    }

    async fn to_application(
        &mut self,
        head: &Head,
        application: Application<'_>,
        forward: &Forward<'_>,
    ) -> Result<Outcome, Failure> {
        match application.protocol {
            Protocol::Http2 => self.over_http2(head, application, forward).await,
            Protocol::Http | Protocol::Tcp if head.protocol().is_some() => {
                Box::pin(self.upgrade(head, application, forward)).await
            }
            Protocol::Http | Protocol::Tcp => self.over_http1(head, application, forward).await,
        }
    }
}

impl Http2Job<'_> {
    async fn over_http2(
        &mut self,
        head: &Head,
        application: Application<'_>,
        forward: &Forward<'_>,
    ) -> Result<Outcome, Failure> {
        loop {
            let lease = until_left(self.client, application_lease(application)).await?;
            self.record.at(Stage::Stream);
            let mut request = head.to_http2(forward).map_err(malformed)?;
            let web = translated(&mut request, application, self.record);
            if head.protocol().is_some() && !lease.takes_tunnels().await {
                return Err(not_offered("the application takes no WebSocket over HTTP/2 (RFC 8441)"));
            }
            self.client.rewind();
            let carried = match Upstream::begin(lease, request, ends_stream(head)) {
                Ok(mut upstream) if let Some(form) = web => {
                    let mut client = Web::new(self.client, form);
                    let sides = (&mut client, &mut upstream);
                    match Exchange::new(forward, sides, self.progress, (up(head), false)).whole().await {
                        Ok(done) => return Ok(done.map(|_| OVER)?),
                        Err(error) => error,
                    }
                }
                Ok(mut upstream) => {
                    let sides = (&mut *self.client, &mut upstream);
                    let mut exchange = Exchange::new(forward, sides, self.progress, (up(head), false));
                    match exchange.final_head().await {
                        Ok((answer, _)) if head.is_opened_by(&answer) => {
                            exchange.switch(answer).await?;
                            drop(exchange);
                            *self.tunnel = upstream.into_stream().map(|far| Tunnel::to(Far::Http2(far)));
                            return Ok(SWITCHED);
                        }
                        Ok(answer) => return Ok(exchange.finish(answer).await.map(|_| OVER)?),
                        Err(error) => error,
                    }
                }
                Err(broken) => not_begun(broken),
            };
            if !is_unprocessed(&carried) || self.record.repeats >= MAX_REPEATS || !self.client.can_rewind() {
                return Err(carried.into());
            }
            self.record.repeats += 1;
        }
    }

    async fn over_http1(
        &mut self,
        head: &Head,
        application: Application<'_>,
        forward: &Forward<'_>,
    ) -> Result<Outcome, Failure> {
        let conn = until_left(self.client, application_conn(application)).await?;
        self.record.at(Stage::Stream);
        let coding = if head.is_chunked() { Coding::Chunked } else { Coding::Plain };
        let mut upstream = http1::Upstream::begin(conn, head.to_http1(forward), coding, head.is_head());
        let up = if head.ended { Pump::ended() } else { Pump::default() };
        let mut exchange = Exchange::new(forward, (&mut *self.client, &mut upstream), self.progress, (up, true));
        let answer = exchange.final_head().await?;
        let whole = exchange.finish(answer).await?;
        drop(exchange);
        if whole && let Some(conn) = upstream.into_conn() {
            keep(application, conn);
        }
        Ok(OVER)
    }

    /// An extended CONNECT towards an application that speaks HTTP/1.1: it is asked by Upgrade.
    async fn upgrade(
        &mut self,
        head: &Head,
        application: Application<'_>,
        forward: &Forward<'_>,
    ) -> Result<Outcome, Failure> {
        if !head.protocol().is_some_and(|protocol| websocket::is_protocol(protocol.as_ref())) {
            return Err(not_offered("an application that speaks HTTP/1.1 is asked for no protocol but websocket"));
        }
        let conn = until_left(self.client, application_conn(application)).await?;
        self.record.at(Stage::Stream);
        let worker = application.worker;
        let key = websocket::key((worker.draw(), worker.draw()));
        let ask = head.to_upgrade(forward, &key);
        let mut upstream = http1::Upstream::asking(conn, ask, websocket::accept(key.as_bytes()));
        let sides = (&mut *self.client, &mut upstream);
        let mut exchange = Exchange::new(forward, sides, self.progress, (Pump::ended(), true));
        let answer = exchange.final_head().await?;
        if head.is_opened_by(&answer.0) {
            exchange.switch(answer.0).await?;
            drop(exchange);
            let conn = upstream.into_tunnel();
            *self.tunnel = Some(Tunnel::to(Far::Http1(pool::Upstream { conn, connection: None })));
            return Ok(SWITCHED);
        }
        let whole = exchange.finish(answer).await?;
        drop(exchange);
        if whole && let Some(conn) = upstream.into_conn() {
            keep(application, conn);
        }
        Ok(OVER)
    }
}

/// Makes a call of gRPC's out of one of gRPC-Web's; the form that its bodies have.
fn translated(request: &mut Request<()>, application: Application<'_>, record: &mut Record) -> Option<Form> {
    let form = web::to_grpc(request)?;
    add(&application.worker.totals().grpc_web, 1);
    record.note(Key::Translated, "grpc-web");
    Some(form)
}

/// What is sent of a request's body before its answer: nothing of what is meant for a tunnel.
fn up(head: &Head) -> Pump {
    if head.ended || head.protocol().is_some() { Pump::none() } else { Pump::default() }
}

/// Whether a request is sent as one without a body. A tunnel that is half closed from the start is closed by whoever carries
/// its bytes.
fn ends_stream(head: &Head) -> bool {
    head.ended && head.protocol().is_none()
}

/// How often a request is sent again to an application that has proven not to have looked at it.
const MAX_REPEATS: u8 = 2;

/// What becomes of the connections of two HTTP/2 ends is not for one stream to say.
const OVER: Outcome = Outcome { client_lives: true, upstream_lives: true, switched: false };

/// What becomes of them where a stream is a tunnel's from here on.
const SWITCHED: Outcome = Outcome { switched: true, ..OVER };

/// An HTTP/1.1 request towards an application that speaks HTTP/2.
pub(in crate::dataplane) async fn http1_to_application(
    job: &mut Http1Job<'_>,
    incoming: &Incoming,
    application: Application<'_>,
    forward: &Forward<'_>,
) -> Result<Outcome, Failure> {
    if incoming.head.connect {
        return Err(not_offered("an application that speaks HTTP/2 is not offered CONNECT"));
    }
    if incoming.head.upgrade {
        return http1_to_tunnel(job, incoming, application, forward).await;
    }
    let mut request = head::from_http1(incoming, forward).map_err(malformed)?;
    let web = translated(&mut request, application, job.record);
    let (head, bytes) = (&incoming.head, incoming.bytes());
    let decoder = Decoder::unchunked(head.framing).without_nominated(&head.fields, bytes);
    let ended = decoder.is_done();
    let first = job.body.unframe(decoder, incoming.body()).map_err(malformed)?;
    let lives = (head.keeps_alive, forward.last);
    let sides = (&mut *job.client, &mut *job.body);
    let mut client = http1::Client::new(sides, head.version, incoming.is_head(), lives).beginning_with(first);
    loop {
        let lease = application_lease(application).await?;
        job.record.at(Stage::Stream);
        client.kept().rewind();
        let carried = match Upstream::begin(lease, request.clone(), ended) {
            Ok(mut upstream) => {
                let up = (if ended { Pump::none() } else { Pump::default() }, true);
                let done = if let Some(form) = web {
                    let mut client = Web::new(&mut client, form);
                    Exchange::new(forward, (&mut client, &mut upstream), job.progress, up).whole().await
                } else {
                    Exchange::new(forward, (&mut client, &mut upstream), job.progress, up).whole().await
                };
                match done {
                    Ok(whole) => {
                        let client_lives = whole? && client.lives;
                        return Ok(Outcome { client_lives, upstream_lives: true, switched: false });
                    }
                    Err(error) => error,
                }
            }
            Err(broken) => not_begun(broken),
        };
        if !is_unprocessed(&carried) || job.record.repeats >= MAX_REPEATS || !client.kept().can_rewind() {
            return Err(carried.into());
        }
        job.record.repeats += 1;
    }
}

/// An HTTP/1.1 client's wish to speak WebSocket with an application that speaks HTTP/2: it is asked by an extended CONNECT.
async fn http1_to_tunnel(
    job: &mut Http1Job<'_>,
    incoming: &Incoming,
    application: Application<'_>,
    forward: &Forward<'_>,
) -> Result<Outcome, Failure> {
    let asked = head::websocket_from_http1(incoming, forward).map_err(malformed)?;
    let Some((request, accept)) = asked else {
        return Err(not_offered("an application that speaks HTTP/2 is asked for no protocol but websocket, by a GET"));
    };
    let lives = (incoming.head.keeps_alive, forward.last);
    let sides = (&mut *job.client, &mut *job.body);
    let mut client = http1::Client::new(sides, incoming.head.version, false, lives).accepting(accept);
    loop {
        let lease = application_lease(application).await?;
        if !lease.takes_tunnels().await {
            return Err(not_offered("the application takes no WebSocket over HTTP/2 (RFC 8441)"));
        }
        job.record.at(Stage::Stream);
        let carried = match Upstream::begin(lease, request.clone(), false) {
            Ok(mut upstream) => {
                let sides = (&mut client, &mut upstream);
                let mut exchange = Exchange::new(forward, sides, job.progress, (Pump::none(), true));
                match exchange.final_head().await {
                    Ok((answer, _)) if answer.status().is_success() => {
                        exchange.switch(answer).await?;
                        drop(exchange);
                        job.progress.status = Some(101);
                        *job.tunnel = upstream.into_stream().map(|far| Tunnel::to(Far::Http2(far)));
                        return Ok(SWITCHED);
                    }
                    Ok(answer) => {
                        exchange.client_mut().mistrust_early().await;
                        let whole = exchange.finish(answer).await?;
                        drop(exchange);
                        let client_lives = client.lives && whole;
                        return Ok(Outcome { client_lives, upstream_lives: true, switched: false });
                    }
                    Err(error) => error,
                }
            }
            Err(broken) => not_begun(broken),
        };
        if !is_unprocessed(&carried) || job.record.repeats >= MAX_REPEATS {
            return Err(carried.into());
        }
        job.record.repeats += 1;
    }
}

/// Whether it is proven that the application has not looked at the request.
fn is_unprocessed(error: &ExchangeError) -> bool {
    matches!(error, ExchangeError::NothingWritten(_) | ExchangeError::NotProcessed(_))
}

/// An HTTP/2 request that is carried to a mesh peer by HTTP/2.
struct Http2<'a> {
    head: &'a Head,
    forward: Forward<'a>,
    client: &'a mut Client,
    progress: &'a mut Progress,
    tunnel: &'a mut Option<Tunnel>,
    mirroring: Option<Mirroring<'a>>,
}

impl Carrier for Http2<'_> {
    type Done = Outcome;

    const IS_REQUEST: bool = true;

    fn kept(&self) -> Sendable {
        self.client.kept()
    }

    fn picked(&mut self, record: &mut Record) {
        // What leaves HTTP is a conversation, which has no copy.
        let mirroring = self.mirroring.take().filter(|_| self.head.protocol().is_none());
        if let Some(copies) = mirroring.and_then(|mirroring| mirroring.begin(record)) {
            let Self { head, forward, client, .. } = self;
            let coding = if head.is_chunked() { Coding::Chunked } else { Coding::Plain };
            let mut bytes = head.to_http1(forward);
            // Before the empty line at its end.
            let lines = bytes.len().saturating_sub(2);
            bytes.splice(lines..lines, copies.line.bytes());
            copies.taps.push(&[&bytes]);
            if head.ended {
                copies.taps.finish();
            }
            client.copy_to(Copied::new(copies.taps, coding));
        }
    }

    async fn try_once(&mut self, attempt: &mut Attempt<'_, '_>) -> Result<Outcome, AttemptFailed> {
        let Self { head, forward, client, progress, tunnel, mirroring: _ } = self;
        let request = head.to_http2(forward).map_err(|wrong| AttemptFailed::Failed(Ended::Ours, malformed(wrong)))?;
        let lease = until_left(client, peer_lease(attempt)).await?;
        attempt.connected();
        if head.protocol().is_some() && !lease.takes_tunnels().await {
            let failure = not_offered("the endpoint takes no WebSocket over HTTP/2 (RFC 8441)");
            return Err(AttemptFailed::Failed(Ended::Ours, failure));
        }
        client.rewind();
        let begun = Upstream::begin(lease, request, ends_stream(head));
        let mut upstream = begun.map_err(|broken| AttemptFailed::from(not_begun(broken)))?;
        let mut exchange = Exchange::new(forward, (&mut **client, &mut upstream), progress, (up(head), false));
        let answer = exchange.final_head().await?;
        let retry_after = answer.0.headers().get(::http::header::RETRY_AFTER).map(|value| value.as_bytes());
        let (status, grpc) = (answer.0.status().as_u16(), grpc_status(answer.0.headers()).map(u32::from));
        let mark = answer.0.headers().get(UNPROCESSED).map(|value| value.as_bytes());
        let (kept, unprocessed) = (exchange.client().kept(), mark.and_then(|mark| unprocessed(status, mark)));
        let content_type = answer.0.headers().get(::http::header::CONTENT_TYPE);
        let is_grpc = status == 200 && content_type.is_some_and(|value| grpc::is_grpc(value.as_bytes()));
        if attempt.judge(Answer { status, grpc, unprocessed, retry_after, kept }) == Fate::HoldBack {
            return Err(AttemptFailed::HeldBack);
        }
        if head.is_opened_by(&answer.0) {
            exchange.switch(answer.0).await?;
            drop(exchange);
            let idle = forward.bounds_all.then_some(forward.body_idle);
            let far = upstream.into_stream().map(Far::Http2);
            **tunnel = far.map(|far| Tunnel { far, idle, until: forward.until });
            return Ok(SWITCHED);
        }
        exchange.finish(answer).await?;
        drop(exchange);
        if is_grpc && grpc.is_none() {
            attempt.ended(weft_decide::grpc_status(None, progress.grpc_status.map(u32::from)));
        }
        Ok(OVER)
    }
}

/// A place on a connection to a mesh peer. Also a repeat may use one that is there: what has said that it takes no more is
/// not among them.
async fn peer_lease(attempt: &mut Attempt<'_, '_>) -> Result<Lease, AttemptFailed> {
    let (worker, picked) = (attempt.worker(), *attempt.picked());
    let EndpointAddress::Socket(address) = picked.address();
    let (links, place, mut joined) = (worker.links(), (address, proven(&picked)), Joined::default());
    let places = links.places(place);
    match attempt.room(Some(&places), || links.look(place, &mut joined)).await? {
        Room::Reused(lease) => {
            let lease = lease.map_err(AttemptFailed::before)?;
            add(&worker.totals().upstream_reused, 1);
            Ok(lease)
        }
        Room::New(connection) => {
            let connect = async || upstream::endpoint(worker, &picked, Wire::Http2).await;
            let made = links.make(place, Start::peer(worker), connection, connect).await;
            made.map_err(AttemptFailed::before)
        }
    }
}

async fn application_lease(Application { worker, address, protocol: _ }: Application<'_>) -> Result<Lease, Failure> {
    let (links, place, mut joined) = (worker.links(), (address, Proven::Application), Joined::default());
    if let Some(lease) = links.places(place).look(|| links.look(place, &mut joined)).await {
        let lease = lease?;
        add(&worker.totals().upstream_reused, 1);
        return Ok(lease);
    }
    let timeouts = worker.timeouts();
    let connect = async || upstream::plain(worker, address, timeouts.application_connect).await;
    links.make(place, Start::application(worker), None, connect).await
}

/// Waits for a connection as long as the client waits.
async fn until_left<T, E: From<ExchangeError>>(
    client: &mut Client,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let left = std::future::poll_fn(|cx| client.poll_gone(cx));
    tokio::select! {
        biased;
        done = work => done,
        broken = left => Err(client_broken(broken).into()),
    }
}

/// A tunnel where one end speaks HTTP/2.
pub(super) fn not_offered(what: &str) -> Failure {
    Failure::new(Ending::Refused("not-offered", 501, Blame::Downstream), what)
}

fn malformed(wrong: Malformed) -> Failure {
    ExchangeError::ClientMalformed(wrong).into()
}

/// The connection took no stream: nothing of the request was written.
fn not_begun(broken: Broken) -> ExchangeError {
    match broken {
        Broken::Gone(error) => ExchangeError::NothingWritten(error.unwrap_or_else(|| ErrorKind::NotConnected.into())),
        broken => upstream_broken(broken),
    }
}
