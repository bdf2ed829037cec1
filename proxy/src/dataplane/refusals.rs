//! The last refusals of a worker, so that the id that a client was told can be explained.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use arc_swap::ArcSwapOption;

/// How many lines are kept: also the most that a proxy tells, whatever its number of workers.
pub(super) const KEPT: usize = 512;

/// The longest line that is kept, in bytes: what clients send cannot fill memory beyond `KEPT` times this.
const LONGEST: usize = 8 * 1024;

/// A ring of lines that one worker fills and the control thread reads. Neither waits for the other: each slot is a
/// pointer that is swapped.
pub(super) struct Refusals {
    slots: Box<[ArcSwapOption<String>]>,
    /// The slot that is filled next; only the worker writes it.
    next: AtomicUsize,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { slots: (0..KEPT).map(|_| ArcSwapOption::empty()).collect(), next: AtomicUsize::new(0) }
    }
}

impl Refusals {
    /// Keeps a line in place of the oldest one. For the worker alone.
    pub(super) fn keep(&self, line: &[u8]) {
        let line = line.trim_ascii_end();
        if line.len() > LONGEST {
            return;
        }
        let next = self.next.load(Ordering::Relaxed);
        if let Some(slot) = self.slots.get(next) {
            slot.store(Some(Arc::new(String::from_utf8_lossy(line).into_owned())));
        }
        self.next.store((next + 1) % KEPT, Ordering::Release);
    }

    /// The lines, oldest first.
    pub(super) fn lines(&self) -> impl Iterator<Item = Arc<String>> {
        let next = self.next.load(Ordering::Acquire);
        (0..KEPT).filter_map(move |place| self.slots.get((next + place) % KEPT)?.load_full())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_in_order_and_without_bounds_on_their_number_or_length_being_passed() {
        let refusals = Refusals::default();
        for number in 0..KEPT + 10 {
            refusals.keep(format!("{number}\n").as_bytes());
        }
        refusals.keep(&vec![b'a'; LONGEST + 1]);
        let lines: Vec<_> = refusals.lines().map(|line| line.parse::<usize>().unwrap()).collect();
        assert_eq!(lines, (10..KEPT + 10).collect::<Vec<_>>());
    }
}
