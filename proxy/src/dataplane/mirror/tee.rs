//! A request's bytes on their way to a mirror: copied as they are read, held in bounds, and never waited for by who reads
//! them.
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// How many copies one proxy makes at once, and how many bytes of them it holds. Each worker has an equal part, so that
/// nothing is shared between workers for it.
const MAX_COPIES: usize = 128;
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// How many bytes one copy may be behind its original.
const MAX_BEHIND: usize = 1024 * 1024;

/// What the copies of one worker may hold together.
#[derive(Debug)]
pub(in crate::dataplane) struct Budget {
    copies: Cell<usize>,
    bytes: Cell<usize>,
    most_copies: usize,
    most_bytes: usize,
}

impl Budget {
    /// One worker's part. Of more than [`MAX_COPIES`] workers each makes one copy at once.
    pub(in crate::dataplane) fn of_worker(workers: usize) -> Self {
        let part = |all: usize| (all / workers.max(1)).max(1);
        Self {
            copies: Cell::new(0),
            bytes: Cell::new(0),
            most_copies: part(MAX_COPIES),
            most_bytes: part(MAX_BYTES).max(MAX_BEHIND / 4),
        }
    }
}

/// How far the bytes of a copy have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// More may follow.
    Open,
    /// These are all.
    Whole,
    /// The original ended inside its body.
    Cut,
    /// The mirror took them too slowly, or all copies together hold too much.
    Behind,
    /// Nobody sends them any more.
    Over,
}

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    /// Those in `bytes`, and those that were taken and not sent yet.
    held: usize,
    end: End,
    reader: Option<Waker>,
}

#[derive(Debug)]
struct Tee {
    budget: Rc<Budget>,
    state: RefCell<State>,
}

impl Tee {
    fn push(&self, parts: &[&[u8]]) {
        let Self { budget, state } = self;
        let mut state = state.borrow_mut();
        if state.end != End::Open {
            return;
        }
        let count: usize = parts.iter().map(|part| part.len()).sum();
        if state.held + count > MAX_BEHIND || budget.bytes.get() + count > budget.most_bytes {
            state.end = End::Behind;
        } else {
            parts.iter().for_each(|part| state.bytes.extend_from_slice(part));
            state.held += count;
            budget.bytes.set(budget.bytes.get() + count);
        }
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    fn end(&self, end: End) {
        let mut state = self.state.borrow_mut();
        if state.end == End::Open {
            state.end = end;
            if let Some(reader) = state.reader.take() {
                reader.wake();
            }
        }
    }
}

/// Where the bytes of a request are copied to. Dropped before they are whole, it tells the copies that they never will be.
#[derive(Debug, Default)]
pub(crate) struct Taps(Vec<Rc<Tee>>);

impl Taps {
    /// Whether there is no copy.
    pub(in crate::dataplane) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Copies to one more.
    pub(super) fn add(&mut self, reader: &Reader) {
        self.0.push(reader.0.clone());
    }

    /// Copies these bytes.
    pub(in crate::dataplane) fn push(&self, parts: &[&[u8]]) {
        self.0.iter().for_each(|tee| tee.push(parts));
    }

    /// These were all.
    pub(in crate::dataplane) fn finish(&self) {
        self.0.iter().for_each(|tee| tee.end(End::Whole));
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        self.0.iter().for_each(|tee| tee.end(End::Cut));
    }
}

/// Why a copy is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Its original ended inside its body.
    Cut,
    /// It fell behind.
    Behind,
}

/// A copy's own end of it, which counts as one copy.
#[derive(Debug)]
pub(super) struct Reader(Rc<Tee>);

impl Reader {
    /// A copy, unless there are as many as may be.
    pub(super) fn begin(budget: &Rc<Budget>) -> Option<Self> {
        if budget.copies.get() >= budget.most_copies {
            return None;
        }
        budget.copies.set(budget.copies.get() + 1);
        let state = State { bytes: Vec::new(), held: 0, end: End::Open, reader: None };
        Some(Self(Rc::new(Tee { budget: budget.clone(), state: RefCell::new(state) })))
    }

    /// Ready when the copy is to be given up.
    pub(super) fn poll_lost(&self, cx: &mut Context<'_>) -> Poll<Lost> {
        let mut state = self.0.state.borrow_mut();
        match state.end {
            End::Cut => Poll::Ready(Lost::Cut),
            End::Behind => Poll::Ready(Lost::Behind),
            End::Open | End::Whole | End::Over => {
                if !state.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
                    state.reader = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// The bytes that have come; none: there are no more. [`poll_lost`](Self::poll_lost) is asked in the same turn, and
    /// wakes.
    pub(super) fn poll_take(&self) -> Poll<Vec<u8>> {
        let mut state = self.0.state.borrow_mut();
        if state.bytes.is_empty() && state.end == End::Open {
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut state.bytes))
    }

    /// So many of those that were taken were sent.
    pub(super) fn release(&self, count: usize) {
        let Tee { budget, state } = &*self.0;
        let mut state = state.borrow_mut();
        let count = count.min(state.held);
        state.held -= count;
        budget.bytes.set(budget.bytes.get().saturating_sub(count));
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.release(usize::MAX);
        let Tee { budget, state } = &*self.0;
        budget.copies.set(budget.copies.get().saturating_sub(1));
        let mut state = state.borrow_mut();
        (state.bytes, state.end, state.reader) = (Vec::new(), End::Over, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(reader: &Reader) -> Option<Lost> {
        match reader.poll_lost(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(lost) => Some(lost),
            Poll::Pending => None,
        }
    }

    fn tapped(budget: &Rc<Budget>) -> (Taps, Reader) {
        let (mut taps, reader) = (Taps::default(), Reader::begin(budget).unwrap());
        taps.add(&reader);
        (taps, reader)
    }

    #[test]
    fn bytes_come_in_order_and_count_until_they_are_sent() {
        let budget = Rc::new(Budget::of_worker(1));
        let (taps, reader) = tapped(&budget);
        assert_eq!(reader.poll_take(), Poll::Pending);
        taps.push(&[b"one", b" ", b"two"]);
        taps.push(&[b" three"]);
        assert_eq!(reader.poll_take(), Poll::Ready(b"one two three".to_vec()));
        assert_eq!((reader.poll_take(), budget.bytes.get()), (Poll::Pending, 13));
        reader.release(13);
        taps.push(&[b"!"]);
        taps.finish();
        drop(taps);
        assert_eq!(reader.poll_take(), Poll::Ready(b"!".to_vec()));
        assert_eq!((reader.poll_take(), lost(&reader)), (Poll::Ready(Vec::new()), None));
        drop(reader);
        assert_eq!((budget.bytes.get(), budget.copies.get()), (0, 0));
    }

    #[test]
    fn what_falls_behind_or_is_cut_is_given_up_and_its_original_goes_on() {
        let budget = Rc::new(Budget::of_worker(1));
        let (taps, slow) = tapped(&budget);
        taps.push(&[&vec![0; MAX_BEHIND]]);
        assert_eq!(lost(&slow), None);
        taps.push(&[b"a"]);
        assert_eq!(lost(&slow), Some(Lost::Behind));
        taps.push(&[b"b"]);
        taps.finish();
        assert_eq!(lost(&slow), Some(Lost::Behind));
        let (cut, reader) = tapped(&budget);
        drop(cut);
        assert_eq!(lost(&reader), Some(Lost::Cut));
        drop(slow);
        taps.push(&[b"nobody holds it"]);
        assert_eq!((budget.bytes.get(), budget.copies.get()), (0, 1));
    }

    #[test]
    fn all_copies_of_all_workers_together_stay_within_the_budget() {
        for workers in [1, 2, 3, 7, MAX_COPIES] {
            let budget = Rc::new(Budget::of_worker(workers));
            assert!(budget.most_copies * workers <= MAX_COPIES, "{workers}");
            let copies: Vec<_> = (0..budget.most_copies).map(|_| tapped(&budget)).collect();
            assert!(Reader::begin(&budget).is_none());
            for (taps, _) in &copies {
                taps.push(&[&vec![0; MAX_BEHIND / 2]]);
                taps.push(&[&vec![0; MAX_BEHIND / 2]]);
            }
            assert!(budget.bytes.get() <= budget.most_bytes);
            if workers <= MAX_BYTES / (MAX_BEHIND / 4) {
                assert!(budget.most_bytes * workers <= MAX_BYTES, "{workers}");
            }
            drop(copies);
            assert_eq!((budget.bytes.get(), budget.copies.get()), (0, 0));
        }
    }
}
