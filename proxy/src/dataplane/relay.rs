//! The stage *stream* of a TCP connection.
use weft_net::{Relay, RelayEnd, Side, reset_on_close};

use super::{
    record::{Record, Stage},
    respond::Ending,
    tls::Io,
};

/// Copies both ways until both sides have ended or one has failed, and ends the record.
pub(super) async fn relay(record: &mut Record, mut downstream: Io, mut upstream: Io) {
    record.at(Stage::Stream);
    let mut counted = Counted { record, relay: Relay::default() };
    let end = counted.relay.run(&mut downstream, &mut upstream).await;
    let record = &mut *counted.record;
    match end {
        RelayEnd::Closed => record.complete(),
        RelayEnd::Failed { side, error } => {
            // The other side must not take what it got for the whole. Where the option fails, the socket is gone.
            for io in [&downstream, &upstream] {
                let _ = reset_on_close(io.tcp());
            }
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
