//! Connections of clients that have proven nothing: few, and for a short time.
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// How long a stranger may do nothing.
const IDLE: Duration = Duration::from_secs(10);
/// How long a stranger may stay, whatever it does.
const LONGEST: Duration = Duration::from_secs(60);

/// The strangers of one port. Where there are too many, a further one takes the place of who is there longest: idlers
/// keep nobody out who comes to do something.
#[derive(Debug)]
pub(crate) struct Strangers {
    most: usize,
    present: Mutex<VecDeque<Weak<Stranger>>>,
}

/// One connection of a client that has proven nothing yet.
#[derive(Debug)]
pub(crate) struct Stranger {
    since: Instant,
    proven: AtomicBool,
    calls: Mutex<Calls>,
    displaced: Notify,
}

#[derive(Debug)]
struct Calls {
    under_way: usize,
    latest: Instant,
}

/// A stranger's call that is under way; dropped when it is answered.
#[derive(Debug)]
pub(crate) struct Call(Arc<Stranger>);

impl Strangers {
    /// Room for so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, present: Mutex::new(VecDeque::new()) }
    }

    /// Lets one more in.
    pub(crate) fn admit(&self) -> Arc<Stranger> {
        let now = Instant::now();
        let stranger = Arc::new(Stranger {
            since: now,
            proven: AtomicBool::new(false),
            calls: Mutex::new(Calls { under_way: 0, latest: now }),
            displaced: Notify::new(),
        });
        // What is kept is whole between statements, so a panic elsewhere does not spoil it.
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.retain(|other| other.upgrade().is_some_and(|other| !other.is_proven()));
        while present.len() >= self.most {
            if let Some(displaced) = present.pop_front().and_then(|longest| longest.upgrade()) {
                displaced.displaced.notify_one();
            }
        }
        present.push_back(Arc::downgrade(&stranger));
        stranger
    }
}

impl Stranger {
    /// It is none any more: it may stay.
    pub(crate) fn prove(&self) {
        self.proven.store(true, Ordering::Release);
    }

    fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Acquire)
    }

    /// It does something until the guard is dropped.
    pub(crate) fn call(self: &Arc<Self>) -> Call {
        self.calls().under_way += 1;
        Call(self.clone())
    }

    /// Ends when its connection is to be closed; never once it is proven.
    pub(crate) async fn unwelcome(self: Arc<Self>) {
        tokio::select! {
            () = self.displaced.notified() => {}
            () = self.overdue() => {}
        }
        if self.is_proven() {
            std::future::pending().await
        }
    }

    async fn overdue(&self) {
        loop {
            let (now, due) = (Instant::now(), self.due());
            if due <= now {
                return;
            }
            sleep_until(due).await;
        }
    }

    fn due(&self) -> Instant {
        let calls = self.calls();
        let active = if calls.under_way > 0 { Instant::now() } else { calls.latest };
        (active + IDLE).min(self.since + LONGEST)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut calls = self.0.calls();
        calls.under_way = calls.under_way.saturating_sub(1);
        calls.latest = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_too_many_takes_the_place_of_who_is_there_longest() {
        let strangers = Strangers::new(2);
        let (longest, first, second) = (strangers.admit(), strangers.admit(), strangers.admit());
        assert!(longest.unwelcome().now_or_never().is_some());
        assert!(first.clone().unwelcome().now_or_never().is_none());
        first.prove();
        let third = strangers.admit();
        for stays in [&first, &second, &third] {
            assert!(stays.clone().unwelcome().now_or_never().is_none());
        }
        // Who has left makes room.
        drop(second);
        let _fourth = strangers.admit();
        assert!(third.unwelcome().now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_calls_may_stay_a_while_longer() {
        let strangers = Strangers::new(2);
        let stranger = strangers.admit();
        assert_eq!(stranger.due(), stranger.since + IDLE);
        let call = stranger.call();
        assert!(stranger.due() > stranger.since + IDLE);
        drop(call);
        let calls = stranger.calls().latest;
        assert_eq!(stranger.due(), calls + IDLE);
        stranger.calls().latest += 2 * LONGEST;
        assert_eq!(stranger.due(), stranger.since + LONGEST);
    }
}
