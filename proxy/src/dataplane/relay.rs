//! The stage *stream* of a TCP connection, and of a tunnel that HTTP has opened.
use std::{
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use weft_decide::Draws;
use weft_net::{Relay, RelayEnd, Relayed, Side, reset_on_close};

use super::{
    alarm::Alarm,
    record::{Key, Record, Stage},
    respond::Ending,
    tls::Io,
    watch::{Revoked, Watching},
    worker::Worker,
};

/// One side of what is relayed: a connection, or an HTTP/2 stream.
pub(super) trait Leg: AsyncRead + AsyncWrite + Unpin {
    /// Has whoever is there see that what it got is not the whole.
    fn break_off(&mut self);
}

impl Leg for Io {
    fn break_off(&mut self) {
        // Where the option fails, the socket is gone.
        let _ = reset_on_close(self.tcp());
    }
}

/// A connection whose bytes begin to flow.
#[derive(Default)]
pub(super) struct Begun {
    /// With what was read of them already.
    pub(super) relay: Relay,
    /// How long they may stand still; `None` leaves that to the proxy.
    pub(super) idle: Option<Duration>,
    /// When they must be over.
    pub(super) until: Option<Instant>,
}

/// Copies both ways until both sides have ended or one has failed, or the connection is no longer permitted, and ends the
/// record.
pub(super) async fn relay(
    worker: &Worker,
    record: &mut Record,
    watching: Option<&Watching<'_>>,
    (downstream, upstream): (&mut impl Leg, &mut impl Leg),
    Begun { relay, idle, until }: Begun,
) {
    record.at(Stage::Stream);
    let before = (record.sent, record.received);
    let mut counted = Counted { record, relay, before };
    let (over, bound) = (worker.over().listen(), idle.unwrap_or_else(|| worker.timeouts().stream_idle));
    let (mut quiet, mut late) = (Quiet::default(), Alarm::default());
    if let Some(until) = until {
        late.set(until);
    }
    let end = poll_fn(|cx| {
        if let Some(Poll::Ready(revoked)) = watching.map(|watching| watching.poll(cx)) {
            return Poll::Ready(End::Revoked(revoked));
        }
        if over.poll(cx).is_ready() {
            return Poll::Ready(End::Drained);
        }
        if late.poll(cx).is_ready() {
            return Poll::Ready(End::Late);
        }
        match counted.relay.poll(cx, downstream, upstream) {
            Poll::Ready(end) => Poll::Ready(End::Relay(end)),
            Poll::Pending => quiet.poll(cx, counted.relay.relayed(), bound).map(|()| End::Idle),
        }
    });
    let end = end.await;
    let record = &mut *counted.record;
    if !matches!(end, End::Relay(RelayEnd::Closed)) {
        // The other side must not take what it got for the whole.
        downstream.break_off();
        upstream.break_off();
    }
    match end {
        End::Relay(RelayEnd::Closed) => record.complete(),
        End::Revoked(revoked) => {
            record.decided_by(&revoked.revision, Draws::default());
            // In place of the rule that allowed it once.
            record.note(Key::Rule, &revoked.rule);
            record.fail(revoked.failure.ending, revoked.failure.detail);
        }
        End::Drained => {
            record.fail(Ending::Drained, "this proxy has drained, and its time for open connections is over")
        }
        End::Late => record.fail(Ending::StreamOver, "it was open for as long as its route lets a stream be"),
        End::Idle => record.fail(Ending::StreamIdle, format!("no byte either way for {bound:?}")),
        End::Relay(RelayEnd::Failed { side, error }) => {
            let ending = match side {
                Side::Downstream => Ending::ClientGone,
                Side::Upstream => Ending::UpstreamGone,
            };
            record.fail(ending, error);
        }
    }
}

/// How a connection's bytes came to an end.
enum End {
    /// Of themselves.
    Relay(RelayEnd),
    /// It is permitted no more.
    Revoked(Revoked),
    /// The proxy has drained.
    Drained,
    /// Nothing moved for too long.
    Idle,
    /// Its time is over.
    Late,
}

/// Watches that bytes move. Its timer is made at the first wait and moved once a bound, not once a byte.
#[derive(Default)]
struct Quiet {
    last: Option<Relayed>,
    alarm: Alarm,
}

impl Quiet {
    /// Ready when nothing has moved for the whole bound.
    fn poll(&mut self, cx: &mut Context<'_>, now: Relayed, bound: Duration) -> Poll<()> {
        if self.last != Some(now) {
            self.last = Some(now);
            self.alarm.set(Instant::now() + bound);
        }
        self.alarm.poll(cx)
    }
}

/// Tells the record what was copied also when the relay is dropped half-way.
struct Counted<'a> {
    record: &'a mut Record,
    relay: Relay,
    /// What was counted before: the request that opened a tunnel, and its answer.
    before: (u64, u64),
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let relayed = self.relay.relayed();
        let (sent, received) = self.before;
        (self.record.sent, self.record.received) = (sent + relayed.sent, received + relayed.received);
    }
}
