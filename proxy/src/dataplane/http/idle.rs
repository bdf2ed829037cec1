//! How long an exchange may stand still while a body is under way.
use std::{
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use crate::dataplane::alarm::Alarm;

/// One of the two ends of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    /// Who asks.
    Client,
    /// Who answers.
    Upstream,
}

/// How far both bodies have come. Whatever moves changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Bytes of the request's body that were read.
    pub(crate) sent: u64,
    /// How many bytes the upstream has still to take.
    pub(crate) to_upstream: usize,
    /// Bytes of the answer's body that were read.
    pub(crate) received: u64,
    /// How many bytes the client has still to take.
    pub(crate) to_client: usize,
}

/// Watches that an exchange goes on. No timer exists before a body has had to wait.
#[derive(Debug)]
pub(crate) struct Idle {
    bound: Duration,
    /// How far it had come, and since when.
    last: Option<(Mark, Instant)>,
    alarm: Alarm,
}

impl Idle {
    pub(crate) fn new(bound: Duration) -> Self {
        Self { bound, last: None, alarm: Alarm::default() }
    }

    /// Ready when nothing has moved for the whole bound. To be called at the end of each turn that has to wait.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, mark: Mark) -> Poll<()> {
        if self.last.is_none_or(|(last, _)| last != mark) {
            let now = Instant::now();
            self.last = Some((mark, now));
            self.alarm.set(now + self.bound);
        }
        self.alarm.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn whatever_moves_begins_the_time_anew_and_nothing_else_does() {
        let mut idle = Idle::new(Duration::from_secs(600));
        let mut since = None;
        for mark in [
            Mark { sent: 1, ..Mark::default() },
            Mark { sent: 1, to_upstream: 1, ..Mark::default() },
            Mark { sent: 1, received: 1, ..Mark::default() },
            Mark { sent: 1, received: 1, to_client: 1, ..Mark::default() },
        ] {
            for again in [false, true] {
                let began = Instant::now();
                assert!(poll_fn(|cx| Poll::Ready(idle.poll(cx, mark))).await.is_pending());
                let (_, now) = idle.last.unwrap();
                assert_eq!(now < began, again, "{mark:?}");
                assert!(!again || since == Some(now), "{mark:?}");
                since = Some(now);
            }
        }
    }
}
