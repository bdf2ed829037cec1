//! What was read of a request's body and sent, kept so that it can be sent once more.
use std::cell::Cell;

use super::{Flow, Framing, Incoming, Pieces};
use crate::dataplane::{attempts::Sendable, mirror::Taps};

/// The longest body that is kept, beyond what came with its head: larger requests are not repeated once more was read.
const MAX_KEPT: usize = 64 * 1024;

/// How much all requests of one worker may keep together.
const MAX_KEPT_BY_ALL: usize = 16 * 1024 * 1024;

/// How much the requests of one worker keep.
#[derive(Debug, Default)]
pub(crate) struct Replays(Cell<usize>);

/// The part of one body that was sent since its head. Nothing is held for a body that comes with its head.
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    all: Option<&'a Replays>,
    bytes: Vec<u8>,
    /// Whether a part has gone that was not kept.
    gone: bool,
    /// Where what is sent is copied to.
    taps: Taps,
}

impl<'a> Replay<'a> {
    /// Of a request that may be repeated.
    pub(crate) fn new(all: &'a Replays) -> Self {
        Self { all: Some(all), bytes: Vec::new(), gone: false, taps: Taps::default() }
    }

    /// Of one that is sent once.
    pub(crate) fn none() -> Self {
        Self { all: None, bytes: Vec::new(), gone: false, taps: Taps::default() }
    }

    /// Has what follows copied there.
    pub(crate) fn copy_to(&mut self, taps: Taps) {
        self.taps = taps;
    }

    /// What of the request can be sent once more.
    pub(crate) fn kept(&self, incoming: &Incoming, body: &Flow) -> Sendable {
        // Also where all of it came with the head: the same requests are repeated however their bytes happen to arrive.
        let is_short = match incoming.head.framing {
            Framing::Empty => true,
            Framing::Length(length) => length <= MAX_KEPT as u64,
            Framing::Chunked | Framing::UntilClose => body.is_read() && body.bytes <= MAX_KEPT as u64,
        };
        match (self.gone, is_short) {
            (true, _) => Sendable::Part,
            (false, false) => Sendable::SoFar,
            (false, true) => Sendable::Whole,
        }
    }

    /// Whether everything is there that was sent.
    #[cfg(test)]
    const fn is_whole(&self) -> bool {
        !self.gone
    }

    /// What was sent.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Keeps what is sent of `input`; `last`: nothing follows it.
    pub(super) fn keep(&mut self, input: &[u8], pieces: &Pieces, last: bool) {
        if !self.taps.is_empty() {
            pieces.ranges.iter().filter_map(|range| input.get(range.clone())).for_each(|part| self.taps.push(&[part]));
            self.taps.push(&[&pieces.tail]);
            if last {
                self.taps.finish();
            }
        }
        if self.gone {
            return;
        }
        let ranges = pieces.ranges.iter().filter_map(|range| input.get(range.clone()));
        let length = ranges.clone().map(<[u8]>::len).sum::<usize>() + pieces.tail.len();
        let all = self.all.map(|Replays(all)| all);
        let Some(all) =
            all.filter(|all| self.bytes.len() + length <= MAX_KEPT && all.get() + length <= MAX_KEPT_BY_ALL)
        else {
            return self.drop_all();
        };
        all.set(all.get() + length);
        ranges.for_each(|range| self.bytes.extend_from_slice(range));
        self.bytes.extend_from_slice(&pieces.tail);
    }

    /// Lets go of everything: the request will not be repeated.
    pub(super) fn drop_all(&mut self) {
        if let Some(Replays(all)) = self.all {
            all.set(all.get().saturating_sub(self.bytes.len()));
        }
        self.bytes = Vec::new();
        self.gone = true;
    }
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        self.drop_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(range: std::ops::Range<usize>, tail: &[u8]) -> Pieces {
        let mut pieces = Pieces::default();
        pieces.push(range);
        pieces.tail = tail.to_vec();
        pieces
    }

    #[test]
    fn what_is_passed_on_is_kept_up_to_a_bound_and_given_back() {
        let all = Replays::default();
        let mut replay = Replay::new(&all);
        replay.keep(b"abcdef", &pieces(1..3, b"!"), false);
        assert_eq!((replay.bytes(), replay.is_whole(), all.0.get()), (&b"bc!"[..], true, 3));
        replay.keep(&vec![0; MAX_KEPT], &pieces(0..MAX_KEPT, b""), false);
        assert_eq!((replay.bytes().len(), replay.is_whole(), all.0.get()), (0, false, 0));
        all.0.set(MAX_KEPT_BY_ALL);
        let mut late = Replay::new(&all);
        late.keep(b"a", &pieces(0..1, b""), false);
        assert!(!late.is_whole());
        all.0.set(0);
        drop(replay);
        let mut other = Replay::new(&all);
        other.keep(b"ab", &pieces(0..2, b""), false);
        drop(other);
        assert_eq!(all.0.get(), 0);
        let mut once = Replay::none();
        once.keep(b"a", &pieces(0..1, b""), false);
        assert!(!once.is_whole());
    }
}
