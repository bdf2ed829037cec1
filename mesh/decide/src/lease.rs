//! Numbers that hold for the whole proxy, whatever the number of its workers, without a lock.
//!
//! Each worker has a cell of free units. It takes from its own and gives back to its own, so that a request writes no
//! cache line of another worker. Only where its cell is empty does it take from the others', one unit at a time; what it
//! took so comes back to its own cell, so that units gather where the load is. Nobody holds units back: all that is free
//! lies in some cell, and a limit of 1 works with any number of workers.
use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
};

use smallvec::SmallVec;

/// How often all cells are looked at before a worker gives up on a unit that others are quicker to take.
const ROUNDS: usize = 16;

/// One worker's free units (low half) and how many were ever put here (high half), on a cache line of its own: 128 bytes
/// because x86-64 fetches lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell(AtomicU64);

const fn free(word: u64) -> u64 {
    word & 0xffff_ffff
}

const fn puts(word: u64) -> u64 {
    word >> 32
}

/// Free units, by worker.
#[derive(Debug)]
pub(crate) struct Cells(Box<[Cell]>);

impl Cells {
    /// As many cells, at least one, with `units` spread over them.
    pub(crate) fn new(units: u32, workers: usize) -> Self {
        let cells = Self((0..workers.max(1)).map(|_| Cell::default()).collect());
        cells.spread(units);
        cells
    }

    /// The part of `whole` that is `worker`'s where it is shared evenly.
    pub(crate) fn part(&self, whole: u32, worker: usize) -> u32 {
        // Of a place in a slice: nothing is cut off below 2^32 workers.
        let (workers, place) = (self.0.len() as u32, (worker % self.0.len()) as u32);
        whole / workers + u32::from(place < whole % workers)
    }

    /// Adds units to all cells evenly.
    fn spread(&self, units: u32) {
        for (worker, cell) in self.0.iter().enumerate() {
            cell.put(self.part(units, worker), u32::MAX);
        }
    }

    /// Takes a unit: from the worker's own cell, or else from another's. `false` if there was a moment during the call
    /// at which no cell had one, or others were quicker [`ROUNDS`] times.
    pub(crate) fn take(&self, worker: usize) -> bool {
        let mut taking = Taking::new(self, worker);
        loop {
            if let Some(taken) = taking.step(self) {
                return taken;
            }
        }
    }

    /// Puts a unit into the worker's cell, unless there are `most` in it already.
    pub(crate) fn put(&self, worker: usize, most: u32) {
        if let Some(cell) = self.0.get(worker % self.0.len()) {
            cell.put(1, most);
        }
    }

    /// Takes up to so many units from wherever they are, and tells how many.
    fn drain(&self, units: u32) -> u32 {
        let left = self.0.iter().fold(units, |left, Cell(cell)| {
            let fewer = |word| Some(word - free(word).min(u64::from(left)));
            let word = cell.fetch_update(SeqCst, SeqCst, fewer).unwrap_or_default();
            left - u32::try_from(free(word)).unwrap_or(left).min(left)
        });
        units - left
    }

    /// How many units are free.
    pub(crate) fn free(&self) -> u64 {
        self.0.iter().map(|cell| free(cell.0.load(SeqCst))).sum()
    }
}

impl Cell {
    fn put(&self, units: u32, most: u32) {
        let more = |word| {
            let left = u64::from(most).saturating_sub(free(word));
            let units = u64::from(units).min(left);
            (units > 0).then(|| (puts(word).wrapping_add(1) << 32) | (free(word) + units))
        };
        // Where it is full, the unit is not kept.
        let _ = self.0.fetch_update(SeqCst, SeqCst, more);
    }
}

/// One look for a unit, in steps of one access to a cell each.
///
/// Two rounds in a row that find every cell empty, and no unit put anywhere between a cell's two looks, prove that at the
/// moment between the rounds every cell was empty.
struct Taking {
    own: usize,
    offset: usize,
    round: usize,
    /// What the last round saw of each cell's puts.
    seen: SmallVec<[u64; 8]>,
    unchanged: bool,
    found: Option<u64>,
}

impl Taking {
    fn new(cells: &Cells, worker: usize) -> Self {
        let own = worker % cells.0.len();
        Self { own, offset: 0, round: 0, seen: SmallVec::new(), unchanged: false, found: None }
    }

    fn step(&mut self, cells: &Cells) -> Option<bool> {
        let Cell(cell) = cells.0.get((self.own + self.offset) % cells.0.len())?;
        if let Some(word) = self.found.take() {
            // Of a word with a unit: no borrow from the upper half.
            return cell.compare_exchange(word, word - 1, SeqCst, SeqCst).is_ok().then_some(true);
        }
        let word = cell.load(SeqCst);
        if free(word) > 0 {
            self.found = Some(word);
            return None;
        }
        match self.seen.get_mut(self.offset) {
            Some(seen) => self.unchanged &= std::mem::replace(seen, puts(word)) == puts(word),
            None => self.seen.push(puts(word)),
        }
        self.offset += 1;
        if self.offset < cells.0.len() {
            return None;
        }
        self.round += 1;
        if self.unchanged || self.round == ROUNDS {
            return Some(false);
        }
        (self.offset, self.unchanged) = (0, true);
        None
    }
}

/// A limit that holds for the whole proxy: how many of something there may be at once (connections, requests).
///
/// Workers take and give back through a [`Lease`]. What is taken never exceeds the limit, nothing is lost, and who asks
/// while a unit is free anywhere gets one: there is nothing to wait for.
#[derive(Debug)]
pub struct Shares {
    cells: Cells,
    limit: AtomicU32,
    /// How many units are to vanish before any is given out again, after the limit fell below what is in use.
    debt: AtomicU32,
}

impl Shares {
    /// A limit for as many workers, numbered from 0.
    pub fn new(limit: u32, workers: usize) -> Self {
        Self { cells: Cells::new(limit, workers), limit: AtomicU32::new(limit), debt: AtomicU32::new(0) }
    }

    /// The limit.
    pub fn limit(&self) -> u32 {
        self.limit.load(SeqCst)
    }

    /// About how many units are in use. Only where nobody takes or gives back is it exact.
    pub fn in_use(&self) -> u32 {
        let whole = u64::from(self.limit()) + u64::from(self.debt.load(SeqCst));
        u32::try_from(whole.saturating_sub(self.cells.free())).unwrap_or(u32::MAX)
    }

    /// Sets another limit, for the control thread. Where more is in use, nothing is given out until less is.
    pub fn resize(&self, limit: u32) {
        let old = self.limit.swap(limit, SeqCst);
        let (fewer, more) = (old.saturating_sub(limit), limit.saturating_sub(old));
        // What is given back or taken meanwhile pays what this leaves open.
        self.debt.fetch_add(fewer - self.cells.drain(fewer), SeqCst);
        let paid = |debt: u32| Some(debt.saturating_sub(more));
        let debt = self.debt.fetch_update(SeqCst, SeqCst, paid).unwrap_or_default();
        self.cells.spread(more.saturating_sub(debt));
    }

    fn take(&self, worker: usize) -> bool {
        while self.cells.take(worker) {
            if !self.pay() {
                return true;
            }
        }
        false
    }

    fn put(&self, worker: usize) {
        if !self.pay() {
            self.cells.put(worker, u32::MAX);
        }
    }

    /// Whether the unit in hand pays a debt, and is gone.
    fn pay(&self) -> bool {
        self.debt.load(SeqCst) > 0 && self.debt.fetch_update(SeqCst, SeqCst, |debt| debt.checked_sub(1)).is_ok()
    }
}

/// A worker's end of [`Shares`].
#[derive(Debug)]
pub struct Lease {
    shares: Arc<Shares>,
    worker: usize,
}

impl Lease {
    /// The end of the worker with this number.
    pub fn new(shares: Arc<Shares>, worker: usize) -> Rc<Self> {
        Rc::new(Self { shares, worker })
    }

    /// What it is an end of.
    pub fn shares(&self) -> &Arc<Shares> {
        &self.shares
    }

    /// Takes a unit; it is given back when it is dropped. `None` if the limit is reached: answer at once, there is none
    /// at any worker.
    pub fn take(self: &Rc<Self>) -> Option<Held> {
        self.shares.take(self.worker).then(|| Held { lease: Rc::clone(self) })
    }
}

/// A unit in use: one connection, one request. Dropping it gives it back.
#[derive(Debug)]
#[must_use = "a unit that is dropped is given back"]
pub struct Held {
    lease: Rc<Lease>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lease.shares.put(self.lease.worker);
    }
}

#[cfg(test)]
mod tests;
