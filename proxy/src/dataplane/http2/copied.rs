//! A body that came by HTTP/2, as its copies are sent: by HTTP/1.1.
use super::{head::write_fields, http1::Coding, side::Piece, trailers};
use crate::dataplane::mirror::Taps;

/// Where a body is copied to.
pub(super) struct Copied {
    taps: Taps,
    coding: Coding,
}

impl Copied {
    pub(super) fn new(taps: Taps, coding: Coding) -> Self {
        Self { taps, coding }
    }

    /// Nowhere.
    pub(super) fn none() -> Self {
        Self::new(Taps::default(), Coding::Plain)
    }

    /// Copies a part that was read anew.
    pub(super) fn take(&self, piece: &Piece) {
        if self.taps.is_empty() {
            return;
        }
        match piece {
            Piece::Data(data, last) => {
                match self.coding {
                    // An empty chunk would be the last one.
                    Coding::Chunked if data.is_empty() => {}
                    Coding::Chunked => self.taps.push(&[format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"]),
                    Coding::Plain => self.taps.push(&[data]),
                }
                if *last {
                    self.end(&[]);
                }
            }
            Piece::Trailers(fields) => {
                let mut lines = Vec::new();
                write_fields(&trailers::judge(fields.clone()), &mut lines);
                self.end(&lines);
            }
            Piece::End => self.end(&[]),
        }
    }

    fn end(&self, trailers: &[u8]) {
        if self.coding == Coding::Chunked {
            self.taps.push(&[b"0\r\n", trailers, b"\r\n"]);
        }
        self.taps.finish();
    }
}
