//! Where a proxy is between start and stop, and who waits for what.
use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::proxy::NotReady;

/// What a proxy still waits for before its first configuration is in effect, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Awaited {
    /// A certificate; the text says from where, and the last error.
    pub(super) identity: Option<String>,
    /// The first configuration; the text says what of it.
    pub(super) configuration: Option<String>,
    /// Why the control plane does not take the registration, which may be why the configuration does not come.
    pub(super) unregistered: Option<String>,
    /// Why what the state directory holds of the configuration is not used.
    pub(super) refused_state: Option<String>,
}

impl Awaited {
    /// What is awaited first, for people.
    fn text(&self) -> Option<String> {
        if let Some(identity) = &self.identity {
            return Some(identity.clone());
        }
        let configuration = self.configuration.as_ref()?;
        let mut text = configuration.clone();
        if let Some(reason) = &self.refused_state {
            text.push_str(&format!(" ({reason})"));
        }
        if let Some(reason) = &self.unregistered {
            text.push_str(&format!(" (the registration was refused: {reason})"));
        }
        Some(text)
    }
}

/// Why a proxy has ended by itself: it has no certificate, and it is decided that it will get none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot get {reason}")]
pub struct NotAdmitted {
    /// What it cannot get, from where, and why.
    pub reason: String,
    /// What to do about it, for people.
    pub hint: &'static str,
}

/// The state that the proxy's handle, its control thread and the status interface share.
#[derive(Debug)]
pub(super) struct Lifecycle {
    state: Mutex<State>,
    changed: Condvar,
    stop: watch::Sender<Stop>,
    told: watch::Sender<bool>,
    drained: watch::Sender<bool>,
    stopped: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    awaited: Awaited,
    /// Once ready, a proxy stays ready until it drains: its last good configuration stays in effect.
    ready: bool,
    not_admitted: Option<NotAdmitted>,
}

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    /// Not at all.
    Running,
    /// Draining was asked for.
    Draining,
    /// Stop at once.
    Now,
}

/// Whether the proxy takes work, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It does.
    Ready,
    /// It does not yet: what is awaited.
    Awaiting(String),
    /// It does not any more.
    Draining,
}

impl Lifecycle {
    pub(super) fn new(identity: String, configuration: String) -> Self {
        let awaited = Awaited {
            identity: Some(identity),
            configuration: Some(configuration),
            unregistered: None,
            refused_state: None,
        };
        Self {
            state: Mutex::new(State { awaited, ready: false, not_admitted: None }),
            changed: Condvar::new(),
            stop: watch::Sender::new(Stop::Running),
            told: watch::Sender::new(false),
            drained: watch::Sender::new(false),
            stopped: watch::Sender::new(false),
        }
    }

    /// Says why there is no certificate yet; `None` once there is one.
    pub(super) fn await_identity(&self, text: Option<String>) {
        self.update(|state| state.awaited.identity = text);
    }

    /// Says that there will be no certificate, and ends the proxy.
    pub(super) fn give_up(&self, why: NotAdmitted) {
        self.update(|state| {
            state.awaited.identity = Some(why.reason.clone());
            state.not_admitted = Some(why);
        });
        self.ask_to_stop(Stop::Now);
    }

    /// Why the proxy has ended by itself, if it has.
    pub(super) fn not_admitted(&self) -> Option<NotAdmitted> {
        self.lock().not_admitted.clone()
    }

    /// Says which part of the first configuration is not in effect yet; `None` once all is.
    pub(super) fn await_configuration(&self, text: Option<String>) {
        self.update(|state| state.awaited.configuration = text);
    }

    /// Says why the registration is refused; `None` once it is taken.
    pub(super) fn note_registration(&self, refused: Option<String>) {
        self.update(|state| state.awaited.unregistered = refused);
    }

    /// Says why what the state directory holds of the configuration is not used.
    pub(super) fn note_refused_state(&self, text: String) {
        self.update(|state| state.awaited.refused_state = Some(text));
    }

    pub(super) fn readiness(&self) -> Readiness {
        if *self.stop.borrow() != Stop::Running {
            return Readiness::Draining;
        }
        let state = self.lock();
        match state.awaited.text() {
            Some(text) if !state.ready => Readiness::Awaiting(text),
            _ => Readiness::Ready,
        }
    }

    /// Blocks until the proxy is ready.
    pub(super) fn wait_ready(&self, within: Duration) -> Result<(), NotReady> {
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        while !state.ready {
            let left = deadline.saturating_duration_since(Instant::now());
            let stopped = self.is_stopped();
            if left.is_zero() || stopped {
                let awaited = match &state.not_admitted {
                    None if stopped => "a proxy that has stopped".to_owned(),
                    _ => state.awaited.text().unwrap_or_default(),
                };
                return Err(NotReady { awaited });
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Asks for a stop; a stronger wish overrides a weaker one, never the reverse.
    pub(super) fn ask_to_stop(&self, stop: Stop) {
        self.stop.send_if_modified(|current| {
            let stronger = *current < stop;
            *current = stop.max(*current);
            stronger
        });
    }

    /// How far stopping has come, now and as it changes.
    pub(super) fn stop(&self) -> watch::Receiver<Stop> {
        self.stop.subscribe()
    }

    /// The control plane knows of the draining.
    pub(super) fn set_told(&self) {
        self.told.send_replace(true);
    }

    /// Waits until the control plane knows of the draining.
    pub(super) async fn told(&self) {
        until(self.told.subscribe()).await;
    }

    /// Every worker has stopped.
    pub(super) fn set_drained(&self) {
        self.drained.send_replace(true);
    }

    /// Waits until every worker has stopped.
    pub(super) async fn drained(&self) {
        until(self.drained.subscribe()).await;
    }

    /// The control thread is about to end.
    pub(super) fn set_stopped(&self) {
        self.stopped.send_replace(true);
        self.update(|_| {});
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Waits until the control thread is about to end.
    pub(super) async fn stopped(&self) {
        until(self.stopped.subscribe()).await;
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.ready |= state.awaited.text().is_none();
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; a poisoned one still holds whole values.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn until(mut flag: watch::Receiver<bool>) {
    // Its sender is borrowed by the caller for as long as this waits.
    let _gone = flag.wait_for(|set| *set).await;
}

/// Waits until a stop of at least that strength is asked for.
pub(super) async fn asked_to_stop(stop: &mut watch::Receiver<Stop>, at_least: Stop) {
    // The sender lives in the lifecycle, which outlives every task; were it gone, stopping is what is left to do.
    let _gone = stop.wait_for(|stop| *stop >= at_least).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifecycle() -> Lifecycle {
        Lifecycle::new("a certificate".to_owned(), "the first configuration".to_owned())
    }

    #[test]
    fn ready_needs_identity_and_configuration_and_says_which_is_awaited() {
        let it = lifecycle();
        assert_eq!(it.readiness(), Readiness::Awaiting("a certificate".to_owned()));
        it.await_identity(None);
        assert_eq!(it.readiness(), Readiness::Awaiting("the first configuration".to_owned()));
        assert_eq!(it.wait_ready(Duration::ZERO).unwrap_err().awaited, "the first configuration");
        it.note_registration(Some("the name is taken".to_owned()));
        let text = "the first configuration (the registration was refused: the name is taken)";
        assert_eq!(it.readiness(), Readiness::Awaiting(text.to_owned()));
        it.await_configuration(None);
        assert_eq!(it.readiness(), Readiness::Ready);
        it.wait_ready(Duration::ZERO).unwrap();
    }

    #[test]
    fn once_ready_a_lost_certificate_takes_nothing_away() {
        let it = lifecycle();
        it.await_identity(None);
        it.await_configuration(None);
        it.await_identity(Some("renewal failed".to_owned()));
        assert_eq!(it.readiness(), Readiness::Ready);
    }

    #[test]
    fn a_proxy_that_is_not_admitted_stops_and_says_why() {
        let it = lifecycle();
        let why = NotAdmitted { reason: "the join token was used".to_owned(), hint: "make another" };
        it.give_up(why.clone());
        assert_eq!((*it.stop().borrow(), it.not_admitted()), (Stop::Now, Some(why)));
        it.set_stopped();
        assert_eq!(it.wait_ready(Duration::ZERO).unwrap_err().awaited, "the join token was used");
    }

    #[test]
    fn draining_is_not_ready_and_a_weaker_wish_does_not_undo_it() {
        let it = lifecycle();
        it.ask_to_stop(Stop::Now);
        it.ask_to_stop(Stop::Draining);
        assert_eq!(*it.stop().borrow(), Stop::Now);
        assert_eq!(it.readiness(), Readiness::Draining);
    }
}
