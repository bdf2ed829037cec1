//! Whether a request is sent again.
use std::time::Duration;

use serde::Serialize;
use weft_ir::{Retry, RetryBackoff, RetryBudget};
use weft_model::{RepeatSafety, RetryCondition};

use crate::{Backoff, Outcome, Proof, backoff::portion};

/// How often a request of a route without retries is repeated at most, and then with proof only.
pub const PROVEN_REPEATS: u32 = 2;

/// The budget of routes without retries. It is generous because what it pays for costs upstreams nothing: a request that
/// was proven not to be processed, most often because nobody was there to connect to.
const PROVEN: RetryBudget = RetryBudget { percent: 100, min_per_second: 10 };

/// What matters of a request when one try of it has ended.
#[derive(Clone, Copy, Debug)]
pub struct Attempted<'a> {
    /// How the try ended.
    pub outcome: Outcome,
    /// The request's method; of a TCP connection, anything.
    pub method: &'a str,
    /// Whether all of it can be sent again: nothing of its body has been consumed that was not kept.
    pub whole: bool,
    /// Whether anything of an answer has been passed on to the client.
    pub answered: bool,
    /// Whether there is another endpoint to send it to.
    pub elsewhere: bool,
    /// How much time the request has left; `None` is no bound.
    pub left: Option<Duration>,
}

/// Why a request is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum NoRepeat {
    /// It succeeded, or failed in a way that is none of the route's conditions.
    #[error("its outcome is none of the retry conditions of its route")]
    NotWanted,
    /// It may have been processed, and the route has no retries.
    #[error("it may have been processed, and its route has no retries")]
    NoRetries,
    /// It may have been processed, and the route does not say that repeating such a request is safe.
    #[error("it may have been processed, and its route does not call repeating it safe")]
    Unsafe,
    /// The client has the beginning of an answer.
    #[error("the client has the beginning of an answer already")]
    Answered,
    /// A part of its body has gone and was not kept.
    #[error("a part of its body has been sent and was not kept")]
    BodyGone,
    /// It was repeated as often as it may be.
    #[error("it was repeated as often as it may be")]
    Attempts,
    /// The wait would be longer than what is left of its time.
    #[error("no time is left to repeat it")]
    Deadline,
    /// The budget of its authority is spent.
    #[error("the retry budget is spent")]
    Budget,
}

/// The repetitions of one request.
#[derive(Clone, Debug)]
pub struct Repeats<'s> {
    policy: Option<&'s Retry>,
    done: u32,
}

impl<'s> Repeats<'s> {
    /// None yet, by a route's policy.
    pub const fn new(policy: Option<&'s Retry>) -> Self {
        Self { policy, done: 0 }
    }

    /// How many there were.
    pub const fn done(&self) -> u32 {
        self.done
    }

    /// How long one try may take.
    pub fn try_timeout(&self) -> Option<Duration> {
        self.policy.and_then(|policy| policy.per_try_timeout)
    }

    /// What its requests and repetitions are counted by. Routes without retries have one too, so that proof is no way
    /// around it.
    pub fn budget(&self) -> RetryBudget {
        self.policy.map_or(PROVEN, |policy| policy.budget)
    }

    /// One try has ended: after how long it is repeated. With proof that it was not processed it always may be, and the
    /// first time at once, unless it goes to the same endpoint that has just said that it is not for it; otherwise if the outcome is one of the route's conditions and the route calls it safe. Never
    /// more often than the route says, and never beyond the budget: `affordable` is asked last, and pays where it says
    /// yes. `draw` is uniform.
    ///
    /// # Errors
    /// Why it is not repeated.
    pub fn after(
        &mut self,
        tried: &Attempted<'_>,
        draw: u64,
        affordable: impl FnOnce(&RetryBudget) -> bool,
    ) -> Result<Duration, NoRepeat> {
        let proven = tried.outcome.is_proof();
        if !proven {
            self.wanted(tried)?;
        }
        if tried.answered {
            return Err(NoRepeat::Answered);
        }
        if !tried.whole {
            return Err(NoRepeat::BodyGone);
        }
        if self.done >= self.policy.map_or(PROVEN_REPEATS, |policy| policy.attempts) {
            return Err(NoRepeat::Attempts);
        }
        let wait = match tried.outcome {
            Outcome::NotProcessed(Proof::Misdirected | Proof::Shed) if !tried.elsewhere => self.pause(draw),
            _ if proven && self.done == 0 => Duration::ZERO,
            _ => self.wait(draw),
        };
        if tried.left.is_some_and(|left| left <= wait) {
            return Err(NoRepeat::Deadline);
        }
        if !affordable(&self.budget()) {
            return Err(NoRepeat::Budget);
        }
        self.done += 1;
        Ok(wait)
    }

    /// Whether the route wants it repeated, and calls that safe.
    fn wanted(&self, tried: &Attempted<'_>) -> Result<(), NoRepeat> {
        let failed = match tried.outcome {
            Outcome::Answered { .. } | Outcome::Ours | Outcome::Timeout => false,
            Outcome::ConnectFailed | Outcome::NotProcessed(_) | Outcome::Reset | Outcome::TryTimeout | Outcome::Cut => {
                true
            }
        };
        let Some(policy) = self.policy else {
            return Err(if failed { NoRepeat::NoRetries } else { NoRepeat::NotWanted });
        };
        let on = &policy.on;
        let wanted = match tried.outcome {
            Outcome::Answered { status, grpc } => on.takes_status(status) || grpc.is_some_and(|it| on.takes_grpc(it)),
            // For a client it is a reset, and would be answered by 504.
            Outcome::TryTimeout => on.contains(RetryCondition::Reset) || on.takes_status(504),
            Outcome::Reset => on.contains(RetryCondition::Reset),
            Outcome::ConnectFailed | Outcome::NotProcessed(_) => true,
            Outcome::Timeout | Outcome::Cut | Outcome::Ours => false,
        };
        if !wanted {
            return Err(NoRepeat::NotWanted);
        }
        if !RepeatSafety::allows(policy.repeats_are_safe, tried.method) {
            return Err(NoRepeat::Unsafe);
        }
        Ok(())
    }

    fn wait(&self, draw: u64) -> Duration {
        let RetryBackoff { base, max } = self.policy.map_or_else(RetryBackoff::default, |policy| policy.backoff);
        Backoff::new(base, max).after(self.done).failed(draw)
    }

    /// A wait that is one: at least half of the longest, because only time mends what it waits for.
    fn pause(&self, draw: u64) -> Duration {
        let RetryBackoff { base, max } = self.policy.map_or_else(RetryBackoff::default, |policy| policy.backoff);
        let half = Backoff::new(base, max).after(self.done).ceiling() / 2;
        half + portion(half, draw)
    }
}

#[cfg(test)]
mod tests;
