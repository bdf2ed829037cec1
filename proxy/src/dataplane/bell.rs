//! Tells the waiting tasks of one worker that it is over. Rings once.
use std::{
    cell::{Cell, RefCell},
    task::{Context, Poll, Waker},
};

/// The bell.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Cell<bool>,
    listeners: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

impl Bell {
    /// Wakes everybody who listens, now and later.
    pub(super) fn ring(&self) {
        self.rung.set(true);
        self.stir();
    }

    /// Wakes everybody who listens now, to look at something else.
    pub(super) fn stir(&self) {
        let wakers: Vec<Waker> = self.listeners.borrow_mut().iter_mut().filter_map(Option::take).collect();
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// Whether it has rung.
    pub(super) fn has_rung(&self) -> bool {
        self.rung.get()
    }

    /// Somebody to be woken; costs nothing until it is polled.
    pub(super) fn listen(&self) -> Listener<'_> {
        Listener { bell: self, place: Cell::new(None) }
    }
}

/// One who listens.
#[derive(Debug)]
pub(super) struct Listener<'a> {
    bell: &'a Bell,
    place: Cell<Option<usize>>,
}

impl Listener<'_> {
    /// Ready once the bell has rung.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.bell.has_rung() {
            return Poll::Ready(());
        }
        let mut listeners = self.bell.listeners.borrow_mut();
        let place = self.place.get().or_else(|| self.bell.free.borrow_mut().pop()).unwrap_or(listeners.len());
        self.place.set(Some(place));
        match listeners.get_mut(place) {
            Some(Some(waker)) => waker.clone_from(cx.waker()),
            Some(none) => *none = Some(cx.waker().clone()),
            None => listeners.push(Some(cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place.get() {
            if let Some(waker) = self.bell.listeners.borrow_mut().get_mut(place) {
                *waker = None;
            }
            self.bell.free.borrow_mut().push(place);
        }
    }
}
