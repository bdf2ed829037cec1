//! The open TCP connections of one worker. Each was permitted once, when it began; when access may have been narrowed
//! they are looked at again, and what is no longer permitted ends (DESIGN §3). HTTP is permitted anew with each request; a
//! tunnel that a request has opened is looked at as a connection, by its request.
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{sync::Notify, task::yield_now, time::Instant};
use weft_decide::{Denied, KeptRequest, Refusal, repermit};
use weft_model::SpiffeId;

use super::{
    respond::Failure,
    worker::{View, Worker},
};

/// For how long a turn of the worker's loop looks at connections: what carries bytes waits no longer for it.
const SLICE: Duration = Duration::from_micros(100);

/// A permission that was withdrawn.
#[derive(Debug)]
pub(super) struct Revoked {
    /// The policy that does not allow it any more.
    pub(super) failure: Failure,
    /// The rule of it that denies, where one does; empty where none allows any more.
    pub(super) rule: String,
    /// The revision from which it is so.
    pub(super) revision: Rc<str>,
}

struct Watched {
    caller: SpiffeId,
    server_name: String,
    /// The request that opened it, where one did.
    opened_by: Option<Box<KeptRequest>>,
    revoked: RefCell<Option<Revoked>>,
    waker: RefCell<Option<Waker>>,
}

/// The connections.
#[derive(Default)]
pub(super) struct Watch {
    places: RefCell<Vec<Option<Rc<Watched>>>>,
    free: RefCell<Vec<usize>>,
    /// How many places are still to be looked at, from `next` on and round.
    left: Cell<usize>,
    next: Cell<usize>,
    begun: Notify,
}

impl Watch {
    /// Watches a connection. To be called before it is permitted: whatever is published later is then seen.
    pub(super) fn begin(
        &self,
        caller: &SpiffeId,
        server_name: &str,
        opened_by: Option<Box<KeptRequest>>,
    ) -> Watching<'_> {
        let watched = Rc::new(Watched {
            caller: caller.clone(),
            server_name: server_name.to_owned(),
            opened_by,
            revoked: RefCell::default(),
            waker: RefCell::default(),
        });
        let mut places = self.places.borrow_mut();
        let place = self.free.borrow_mut().pop().unwrap_or(places.len());
        match places.get_mut(place) {
            Some(free) => *free = Some(watched.clone()),
            None => {
                places.push(Some(watched.clone()));
                // The round under way becomes longer by one, so that it still comes to every place.
                if self.left.get() > 0 {
                    self.left.set(self.left.get() + 1);
                }
            }
        }
        Watching { watch: self, place, watched }
    }

    /// Access may have been narrowed: looks at every connection again. A round under way goes on from where it is, so
    /// that frequent changes keep none from being looked at.
    pub(super) fn look_again(&self) {
        self.left.set(self.places.borrow().len());
        self.begun.notify_one();
    }

    /// Looks at some connections; whether any are left.
    fn slice(&self, view: &View) -> bool {
        let end = Instant::now() + SLICE;
        while self.left.get() > 0 {
            self.left.set(self.left.get() - 1);
            let places = self.places.borrow();
            let place = if self.next.get() < places.len() { self.next.get() } else { 0 };
            self.next.set(place + 1);
            if let Some(Some(watched)) = places.get(place) {
                watched.look(view);
            }
            if Instant::now() >= end {
                break;
            }
        }
        self.left.get() > 0
    }
}

impl Watched {
    fn look(&self, view: &View) {
        if let Err(denied) = repermit(&view.snapshot, &self.server_name, &self.caller, self.opened_by.as_deref()) {
            let rule = match &denied {
                Denied::Rule { rule, .. } => rule.to_string(),
                Denied::NoPolicy { .. } | Denied::NoRule { .. } => String::new(),
            };
            let failure = Failure::from(Refusal::from(denied));
            *self.revoked.borrow_mut() = Some(Revoked { failure, rule, revision: view.revision.clone() });
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

/// Looks at connections whenever it is asked for, slice by slice.
pub(super) async fn look(worker: Rc<Worker>) {
    loop {
        worker.watch().begun.notified().await;
        while let Some(view) = worker.view()
            && worker.watch().slice(&view)
        {
            yield_now().await;
        }
    }
}

/// A connection that is watched until this is dropped.
pub(super) struct Watching<'a> {
    watch: &'a Watch,
    place: usize,
    watched: Rc<Watched>,
}

impl Watching<'_> {
    /// Looks at it now, out of turn.
    pub(super) fn look(&self, view: &View) {
        self.watched.look(view);
    }

    /// Ready once the connection is no longer permitted.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Revoked> {
        if let Some(revoked) = self.watched.revoked.borrow_mut().take() {
            return Poll::Ready(revoked);
        }
        let mut waker = self.watched.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.watch.places.borrow_mut().get_mut(self.place) {
            *place = None;
        }
        self.watch.free.borrow_mut().push(self.place);
    }
}
