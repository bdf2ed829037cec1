//! Clients of the inbound listener that have not yet proven who they are, and who of them gives way to whom.
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
};

use super::gate::{Gate, Stranger};

/// Those of one worker, by when they came.
///
/// Where all places are taken, the oldest gives way: a mesh peer proves who it is in milliseconds, so whoever has waited
/// longest is the least likely to be one. Turning the newcomer away would let a thousand silent connections keep every peer
/// out.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    waiting: RefCell<BTreeMap<u64, Rc<Waiting>>>,
    came: Cell<u64>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Gone once another one has it.
    place: RefCell<Option<Stranger>>,
    waker: RefCell<Option<Waker>>,
}

impl Strangers {
    /// A place for one more: a free one, or that of the oldest here. `None` where all are those of other workers.
    pub(super) fn welcome(self: &Rc<Self>, gate: &Arc<Gate>) -> Option<Newcomer> {
        let place = gate.stranger().or_else(|| self.of_the_oldest())?;
        let number = self.came.get();
        self.came.set(number + 1);
        let waiting = Rc::new(Waiting { place: Some(place).into(), waker: RefCell::default() });
        self.waiting.borrow_mut().insert(number, waiting.clone());
        Some(Newcomer { strangers: self.clone(), number, waiting })
    }

    fn of_the_oldest(&self) -> Option<Stranger> {
        let (_, oldest) = self.waiting.borrow_mut().pop_first()?;
        let place = oldest.place.take();
        if let Some(waker) = oldest.waker.take() {
            waker.wake();
        }
        place
    }
}

/// One that has a place until this is dropped, or until a newer one gets it.
#[derive(Debug)]
pub(super) struct Newcomer {
    strangers: Rc<Strangers>,
    number: u64,
    waiting: Rc<Waiting>,
}

impl Newcomer {
    /// Waits until a newer one has its place.
    pub(super) async fn gives_way(&self) {
        poll_fn(|cx| {
            if self.waiting.place.borrow().is_none() {
                return Poll::Ready(());
            }
            self.waiting.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.strangers.waiting.borrow_mut().remove(&self.number);
    }
}
