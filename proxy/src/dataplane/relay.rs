//! The stage *stream* of a TCP connection.
use std::{future::poll_fn, task::Poll};

use weft_decide::Draws;
use weft_net::{Relay, RelayEnd, Side, reset_on_close};

use super::{
    record::{Record, Stage},
    respond::Ending,
    tls::Io,
    watch::Watching,
};

/// Copies both ways until both sides have ended or one has failed, or the connection is no longer permitted, and ends the
/// record.
pub(super) async fn relay(record: &mut Record, watching: Option<&Watching<'_>>, mut downstream: Io, mut upstream: Io) {
    record.at(Stage::Stream);
    let mut counted = Counted { record, relay: Relay::default() };
    let end = poll_fn(|cx| match watching.map_or(Poll::Pending, |watching| watching.poll(cx)) {
        Poll::Ready(revoked) => Poll::Ready(Err(revoked)),
        Poll::Pending => counted.relay.poll(cx, &mut downstream, &mut upstream).map(Ok),
    });
    let end = end.await;
    let record = &mut *counted.record;
    if !matches!(end, Ok(RelayEnd::Closed)) {
        // The other side must not take what it got for the whole. Where the option fails, the socket is gone.
        for io in [&downstream, &upstream] {
            let _ = reset_on_close(io.tcp());
        }
    }
    match end {
        Ok(RelayEnd::Closed) => record.complete(),
        Err(revoked) => {
            record.decided_by(&revoked.revision, Draws::default());
            record.fail(revoked.failure.ending, revoked.failure.detail);
        }
        Ok(RelayEnd::Failed { side, error }) => {
            let ending = match side {
                Side::Downstream => Ending::ClientGone,
                Side::Upstream => Ending::UpstreamGone,
            };
            record.fail(ending, error);
        }
    }
}

/// Tells the record what was copied also when the relay is dropped half-way.
struct Counted<'a> {
    record: &'a mut Record,
    relay: Relay,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let relayed = self.relay.relayed();
        (self.record.sent, self.record.received) = (relayed.sent, relayed.received);
    }
}
