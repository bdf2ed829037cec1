//! Where the configuration in effect comes from: the control plane, or what was kept of its last word.
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use weft_certs::rfc3339_of;

/// What is known of the configuration's source. The control side's own: the data path does not look.
#[derive(Debug)]
pub(super) struct Source {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Now,
    /// How long this process served its last good configuration before it reached the control plane; not known before
    /// that. `None` where it started with nothing.
    at_start: Option<Start>,
}

#[derive(Clone, Copy, Debug)]
enum Start {
    Serving,
    Served(Duration),
}

/// Where what is in effect now comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Now {
    /// There is none yet.
    #[default]
    Nothing,
    /// The control plane, on an open stream.
    ControlPlane,
    /// The state directory, where it was kept at that time.
    Kept(SystemTime),
    /// The control plane, which was lost at that time.
    Lost(SystemTime),
}

impl Source {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), state: Mutex::default() }
    }

    /// What was kept at that time is in effect.
    pub(super) fn restored(&self, kept_at: SystemTime) {
        *self.lock() = State { now: Now::Kept(kept_at), at_start: Some(Start::Serving) };
    }

    /// A stream is open: what is in effect is what the control plane has, or what it says next.
    pub(super) fn connected(&self) {
        let served = Start::Served(self.start.elapsed());
        let mut state = self.lock();
        state.now = Now::ControlPlane;
        if let Some(Start::Serving) = state.at_start {
            state.at_start = Some(served);
        }
    }

    /// The stream is gone.
    pub(super) fn lost(&self, now: SystemTime) {
        let mut state = self.lock();
        if state.now == Now::ControlPlane {
            state.now = Now::Lost(now);
        }
    }

    /// How long this process served its last good configuration after its start, or has until now; `None` where it
    /// started with none.
    pub(super) fn last_good_at_start(&self) -> Option<Duration> {
        match self.lock().at_start? {
            Start::Serving => Some(self.start.elapsed()),
            Start::Served(time) => Some(time),
        }
    }

    /// What is to be said of a configuration that may be out of date; `None` for the control plane's own word.
    pub(super) fn text(&self) -> Option<String> {
        match self.lock().now {
            Now::Nothing | Now::ControlPlane => None,
            Now::Kept(at) => Some(format!(
                "serving the last good configuration, kept at {}: the control plane has not been reached since the start",
                rfc3339_of(at)
            )),
            Now::Lost(at) => Some(format!(
                "serving the last good configuration: the control plane has not been reached since {}",
                rfc3339_of(at)
            )),
        }
    }

    /// Sets the gauges to how things are: `weft_config_source`, 1 for where the configuration comes from, and
    /// `weft_config_age_seconds`, since when it may be out of date.
    pub(super) fn measure(&self, now: SystemTime) {
        let state = self.lock().now;
        let (control_plane, since) = match state {
            Now::Nothing => (0, None),
            Now::ControlPlane => (1, None),
            Now::Kept(at) | Now::Lost(at) => (0, Some(at)),
        };
        let age = since.map_or(Duration::ZERO, |since| now.duration_since(since).unwrap_or_default());
        metrics::gauge!("weft_config_source", "source" => "control-plane").set(control_plane);
        metrics::gauge!("weft_config_source", "source" => "last-good").set(i32::from(since.is_some()));
        metrics::gauge!("weft_config_age_seconds").set(age.as_secs_f64());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; a poisoned one still holds whole values.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_told_until_the_control_plane_is_there_and_again_once_it_is_lost() {
        let source = Source::new();
        assert_eq!((source.text(), source.last_good_at_start()), (None, None));
        // No stream was open: there is nothing to lose.
        source.lost(SystemTime::UNIX_EPOCH);
        assert_eq!(source.text(), None);
        source.restored(SystemTime::UNIX_EPOCH);
        source.lost(SystemTime::now());
        assert!(source.text().unwrap().contains("kept at 1970-01-01T00:00:00Z"));
        assert!(source.last_good_at_start().is_some());
        source.connected();
        assert_eq!(source.text(), None);
        let served = source.last_good_at_start().unwrap();
        source.lost(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400));
        assert!(source.text().unwrap().ends_with("reached since 1970-01-02T00:00:00Z"));
        source.connected();
        assert_eq!(source.last_good_at_start(), Some(served), "it is the start's");
    }

    #[test]
    fn a_process_that_started_with_nothing_says_so_for_good() {
        let source = Source::new();
        source.connected();
        assert_eq!(source.last_good_at_start(), None);
    }
}
