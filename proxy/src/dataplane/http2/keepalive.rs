//! Whether the other side of a connection is still there: it is asked while anything is under way.
use std::{
    task::{Context, Poll},
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::time::Instant;

use crate::dataplane::{alarm::Alarm, settings::Timeouts};

/// Asks a mesh peer by PING frames (RFC 9113 §6.7) while it has something to answer, or to take.
pub(super) struct Keepalive {
    pings: PingPong,
    every: Duration,
    within: Duration,
    waits: Waits,
    alarm: Alarm,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// Nothing is under way.
    Nothing,
    /// To ask.
    Ask,
    /// For an answer.
    Pong,
}

impl Keepalive {
    /// Over a connection that `pings` belongs to.
    pub(super) fn new(pings: PingPong, timeouts: &Timeouts) -> Self {
        let Timeouts { ping_every: every, pong_within: within, .. } = *timeouts;
        Self { pings, every, within, waits: Waits::Nothing, alarm: Alarm::default() }
    }

    /// Ready when the other side has not answered in time. To be asked before the connection itself is polled: that is what
    /// sends and reads.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, is_active: bool) -> Poll<()> {
        if self.waits == Waits::Pong && self.pings.poll_pong(cx).is_ready() {
            self.waits = Waits::Nothing;
        }
        match self.waits {
            Waits::Nothing if is_active => {
                self.waits = Waits::Ask;
                self.alarm.set(Instant::now() + self.every);
            }
            Waits::Ask if !is_active => self.waits = Waits::Nothing,
            Waits::Nothing | Waits::Ask | Waits::Pong => {}
        }
        if self.waits == Waits::Ask && self.alarm.poll(cx).is_ready() && self.pings.send_ping(Ping::opaque()).is_ok() {
            self.waits = Waits::Pong;
            self.alarm.set(Instant::now() + self.within);
            // Both are to wake this task: the answer, and its absence.
            let _ = self.pings.poll_pong(cx);
        }
        match self.waits {
            Waits::Pong => self.alarm.poll(cx),
            Waits::Nothing | Waits::Ask => Poll::Pending,
        }
    }
}
