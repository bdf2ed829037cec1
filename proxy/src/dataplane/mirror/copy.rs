//! One copy of a request: the stages from *route* on, for its mirror.
use std::{
    future::poll_fn,
    io::IoSlice,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Instant;
use weft_decide::{CircuitState, Cold, Loads, Mirrored, Picked, Turn, permit_outbound, pick_with, route_mirrored};
use weft_ir::{Balance, EndpointAddress};

use super::tee::{Lost, Reader};
use crate::dataplane::{
    alarm::Alarm,
    carry::proven,
    http::{Conn, Content, Decoder, ExchangeError, Flow, FlowError, HeadError, MAX_INTERIM, Malformed, ResponseHead},
    pool::Upstream,
    record::{Key, Record, Stage},
    respond::{Blame, Ending, Failure},
    tls::Wire,
    upstream,
    worker::{View, Worker},
};

/// How long a mirror may take to answer a whole request (Envoy: as long as the request, 15 s where nothing is said). The
/// answer is thrown away: waiting for it only tells whether the mirror works.
const ANSWER: Duration = Duration::from_secs(15);

/// Sends a copy and ends its record.
pub(super) async fn run((worker, view): (Rc<Worker>, Rc<View>), to: Mirrored, reader: Reader, mut record: Record) {
    match carry(&worker, &view, &to, &reader, &mut record).await {
        Ok(()) => record.complete(),
        Err(failure) => record.fail(failure.ending, failure.detail),
    }
}

/// The stages of one copy.
async fn carry(
    worker: &Worker,
    view: &View,
    to: &Mirrored,
    reader: &Reader,
    record: &mut Record,
) -> Result<(), Failure> {
    record.at(Stage::Route);
    let routed = route_mirrored(&view.snapshot, to)?;
    record.at(Stage::Permit);
    let permitted = permit_outbound(routed);
    record.at(Stage::Pick);
    let cluster = routed.cluster().cluster();
    let local = worker.local(view, &cluster.name);
    let open = cluster
        .breaker
        .as_ref()
        .is_some_and(|breaker| local.shared.circuit.state(breaker, worker.now()) != CircuitState::Closed);
    if open {
        let detail = format!("the circuit of {} is open", cluster.name);
        return Err(Failure::new(Ending::NotMirrored("breaker-open", Blame::Upstream), detail));
    }
    let (ejected, draw) = (local.left_out(), worker.draw());
    let endpoints = &routed.cluster().endpoints().endpoints;
    let now = worker.now();
    let loads = |index: usize| match endpoints.get(index) {
        Some(endpoint) if cluster.balance == Balance::PeakEwma => local.cost(endpoint.address, now),
        Some(endpoint) => local.load(endpoint.address),
        None => 0,
    };
    let warming = local.warming();
    let part = |index: usize| match (endpoints.get(index), &cluster.slow_start) {
        (Some(endpoint), Some(policy)) => warming.part(policy, &endpoint.address, now),
        _ => 1.0,
    };
    record.picked_by(draw);
    // A draw in place of the round robin's cursor: whose turn it is, is for others' requests to say.
    let (loads, cold) = (Loads::By(&loads), Cold::By(&part));
    let picked = pick_with(permitted, &Turn { draw, ejected: &ejected, avoid: None, loads, cold })?;
    record.note(Key::Endpoint, picked.endpoint().called());
    record.at(Stage::Connect);
    let mut upstream = unless_lost(reader, connect(worker, &picked)).await?;
    if let Some(identity) = picked.upstream().identity() {
        record.note(Key::Server, identity);
    }
    record.at(Stage::Stream);
    let mut sending = Sending::new(&mut upstream.conn, reader);
    let sent = poll_fn(|cx| sending.poll(cx)).await;
    (record.sent, record.received) = (sending.sent, sending.received);
    let answer = sending.answer;
    sent?;
    let Answer::Over { status, keeps_alive } = answer else { return Ok(()) };
    record.status = Some(status);
    let EndpointAddress::Socket(address) = picked.address();
    if keeps_alive && upstream.conn.is_clean() && has_pool(&picked) {
        worker.pool().put(address, proven(&picked), worker.timeouts().pool_idle, upstream);
    }
    Ok(())
}

/// Whether copies share their cluster's unused connections: not where those are limited, and others may need each of them.
fn has_pool(picked: &Picked<'_>) -> bool {
    picked.cluster().limits.max_connections.is_none()
}

async fn connect(worker: &Worker, picked: &Picked<'_>) -> Result<Upstream, Failure> {
    let EndpointAddress::Socket(address) = picked.address();
    if has_pool(picked)
        && let Some(upstream) = worker.pool().take(address, proven(picked))
    {
        return Ok(upstream);
    }
    let io = upstream::endpoint(worker, picked, Wire::Http1).await?;
    Ok(Upstream { conn: Conn::new(io), connection: None })
}

/// Goes on with `work` while the copy is not to be given up.
async fn unless_lost<T>(reader: &Reader, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(done),
        Poll::Pending => reader.poll_lost(cx).map(|lost| Err(given_up(lost))),
    })
    .await
}

fn given_up(lost: Lost) -> Failure {
    match lost {
        Lost::Cut => {
            let ending = Ending::NotMirrored("mirror-cut", Blame::Downstream);
            Failure::new(ending, "the request that it copies ended inside its body")
        }
        Lost::Behind => {
            let ending = Ending::NotMirrored("mirror-behind", Blame::Upstream);
            Failure::new(ending, "the mirror took the request more slowly than it came")
        }
    }
}

/// How far an answer was read.
enum Answer {
    Head { interim: u8 },
    Body { flow: Flow, status: u16, keeps_alive: bool },
    Over { status: u16, keeps_alive: bool },
}

/// A copy on its way, and its answer, which is read and forgotten.
struct Sending<'a> {
    conn: &'a mut Conn,
    reader: &'a Reader,
    /// How many bytes were taken and not sent yet.
    taken: usize,
    whole: bool,
    /// Whether the answer is one to HEAD; known with the first bytes.
    to_head: bool,
    answer: Answer,
    late: Alarm,
    sent: u64,
    received: u64,
}

impl<'a> Sending<'a> {
    fn new(conn: &'a mut Conn, reader: &'a Reader) -> Self {
        let answer = Answer::Head { interim: 0 };
        let (late, to_head) = (Alarm::default(), false);
        Self { conn, reader, taken: 0, whole: false, to_head, answer, late, sent: 0, received: 0 }
    }

    /// Ready when all was sent and answered, or it has come to nothing.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if let Poll::Ready(lost) = self.reader.poll_lost(cx) {
            return Poll::Ready(Err(given_up(lost)));
        }
        let sent = self.poll_send(cx);
        let answered = self.poll_answer(cx)?.is_ready();
        match sent {
            Poll::Ready(Ok(())) if answered => Poll::Ready(Ok(())),
            // It has answered what it has read, and takes no more.
            Poll::Ready(Err(_)) if answered => Poll::Ready(Ok(())),
            Poll::Ready(Err(failure)) => Poll::Ready(Err(failure)),
            Poll::Ready(Ok(())) | Poll::Pending => self.late.poll(cx).map(|()| {
                let detail = format!("the mirror had no whole answer {ANSWER:?} after the request");
                Err(Failure::new(Ending::Timeout, detail))
            }),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let gone = |error| Failure::from(ExchangeError::UpstreamGone(Some(error)));
        loop {
            ready!(self.conn.poll_drain(cx)).map_err(gone)?;
            self.reader.release(std::mem::take(&mut self.taken));
            if self.whole {
                return Poll::Ready(Ok(()));
            }
            let bytes = ready!(self.reader.poll_take());
            if bytes.is_empty() {
                self.whole = true;
                self.late.set(Instant::now() + ANSWER);
                continue;
            }
            self.to_head |= self.sent == 0 && bytes.starts_with(b"HEAD ");
            self.taken = bytes.len();
            self.sent += bytes.len() as u64;
            self.conn.queue(cx, &[IoSlice::new(&bytes)]).map_err(gone)?;
        }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let failed = |error: ExchangeError| Failure::from(error);
        loop {
            match &mut self.answer {
                Answer::Head { interim } => {
                    let length = ready!(self.conn.poll_head(cx)).map_err(unread).map_err(failed)?;
                    let length = length.ok_or_else(|| failed(ExchangeError::UpstreamGone(None)))?;
                    let bytes = self.conn.input().get(..length).unwrap_or_default();
                    let malformed = |wrong| failed(ExchangeError::UpstreamMalformed(wrong));
                    let head = ResponseHead::parse(bytes, self.to_head).map_err(malformed)?;
                    self.conn.consume(length);
                    if head.is_interim() {
                        *interim += 1;
                        if *interim > MAX_INTERIM {
                            return Poll::Ready(Err(malformed(Malformed::TooManyInterim)));
                        }
                        continue;
                    }
                    if head.status == 101 {
                        return Poll::Ready(Err(malformed(Malformed::UnaskedUpgrade)));
                    }
                    let flow = Flow::new(Decoder::unchunked(head.framing));
                    self.answer = Answer::Body { flow, status: head.status, keeps_alive: head.keeps_alive };
                }
                Answer::Body { flow, status, keeps_alive } => {
                    match ready!(flow.poll_content(cx, self.conn)).map_err(cut).map_err(failed)? {
                        Content::Data(data) => self.received += data.len() as u64,
                        Content::End(_) => {
                            self.answer = Answer::Over { status: *status, keeps_alive: *keeps_alive };
                        }
                    }
                }
                Answer::Over { .. } => return Poll::Ready(Ok(())),
            }
        }
    }
}

fn unread(error: HeadError) -> ExchangeError {
    match error {
        HeadError::Io(error) => ExchangeError::UpstreamGone(Some(error)),
        HeadError::Malformed(malformed) => ExchangeError::UpstreamMalformed(malformed),
    }
}

fn cut(error: FlowError) -> ExchangeError {
    match error {
        FlowError::Read(error) => ExchangeError::UpstreamGone(Some(error)),
        FlowError::Malformed(malformed) => ExchangeError::UpstreamMalformed(malformed),
        FlowError::Write => ExchangeError::UpstreamGone(None),
    }
}
