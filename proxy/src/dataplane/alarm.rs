//! A timer for bounds that are hardly ever reached.
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is set often and rings rarely: it is registered with the runtime once for many settings.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    due: Option<Instant>,
}

impl Alarm {
    /// It rings at `due`, and not before.
    pub(super) fn set(&mut self, due: Instant) {
        self.due = Some(due);
        if let Some(sleep) = self.sleep.as_mut().filter(|sleep| sleep.deadline() > due) {
            sleep.as_mut().reset(due);
        }
    }

    /// Ready once the time has come.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}
