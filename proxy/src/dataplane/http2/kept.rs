//! What was read of a request's body, kept so that it can be sent once more.
use std::collections::VecDeque;

use bytes::Bytes;

use super::side::Piece;

/// How much of one body is kept.
const MAX_KEPT: usize = 64 * 1024;

/// The parts of one body that were read so far.
#[derive(Debug)]
pub(super) struct Kept {
    /// `None` once it is too much, or an answer was begun.
    pieces: Option<Vec<Piece>>,
    size: usize,
    /// What is to be read again.
    again: VecDeque<Piece>,
}

impl Kept {
    /// Of a body that begins with `first`, which was read with the head.
    pub(super) fn beginning_with(first: Bytes) -> Self {
        let mut kept = Self { pieces: Some(Vec::new()), size: 0, again: VecDeque::new() };
        if !first.is_empty() {
            let piece = Piece::Data(first, false);
            kept.keep(&piece);
            kept.again.push_back(piece);
        }
        kept
    }

    /// The next part that is to be read before anything new.
    pub(super) fn next(&mut self) -> Option<Piece> {
        self.again.pop_front()
    }

    /// Keeps a part that was read anew.
    pub(super) fn keep(&mut self, piece: &Piece) {
        if let Piece::Data(data, _) = piece {
            self.size += data.len();
        }
        if self.size > MAX_KEPT {
            self.pieces = None;
        }
        if let Some(pieces) = &mut self.pieces {
            pieces.push(piece.clone());
        }
    }

    /// Whether all that was read so far can be read again.
    pub(super) fn can_rewind(&self) -> bool {
        self.pieces.is_some()
    }

    /// Lets the body be read from its first byte again, where it can be.
    pub(super) fn rewind(&mut self) {
        if let Some(pieces) = &self.pieces {
            self.again = pieces.iter().cloned().collect();
        }
    }

    /// Lets go of everything: the request will not be repeated.
    pub(super) fn forget(&mut self) {
        self.pieces = None;
    }
}

impl Default for Kept {
    fn default() -> Self {
        Self::beginning_with(Bytes::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(kept: &mut Kept) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(Piece::Data(data, _)) = kept.next() {
            bytes.extend_from_slice(&data);
        }
        bytes
    }

    #[test]
    fn what_was_read_is_read_again_from_its_first_byte_until_it_is_too_much() {
        let mut kept = Kept::beginning_with(Bytes::from_static(b"first "));
        assert_eq!(data(&mut kept), b"first ");
        kept.keep(&Piece::Data(Bytes::from_static(b"second"), true));
        for _ in 0..2 {
            kept.rewind();
            assert_eq!(data(&mut kept), b"first second");
        }
        kept.keep(&Piece::Data(Bytes::from(vec![0; MAX_KEPT]), false));
        assert!(!kept.can_rewind());
        kept.rewind();
        assert!(data(&mut kept).is_empty());
        let mut answered = Kept::default();
        answered.forget();
        assert!(!answered.can_rewind());
    }
}
