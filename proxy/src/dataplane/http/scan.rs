//! Finding where a head ends, looking at each byte once however it arrives.
use super::Malformed;

/// The most bytes of a head, its last CRLF included (Envoy's default: 60 KiB).
pub const MAX_HEAD: usize = 60 * 1024;

/// Progress through the bytes of one head.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScan {
    seen: usize,
}

impl HeadScan {
    /// The length of the head at the start of `bytes`, or `None` while it is incomplete. `bytes` must be those of the
    /// last call and what has arrived since.
    ///
    /// # Errors
    /// A bare LF, as soon as it is seen; more than [`MAX_HEAD`] bytes without an end.
    pub fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        while let Some(offset) = bytes.get(self.seen..).and_then(|rest| memchr::memchr(b'\n', rest)) {
            let end = self.seen + offset + 1;
            self.seen = end;
            let line = bytes.get(..end).unwrap_or_default();
            if !line.ends_with(b"\r\n") {
                return Err(Malformed::BareLineFeed);
            }
            if end > MAX_HEAD {
                return Err(Malformed::HeadTooLarge);
            }
            if line.ends_with(b"\r\n\r\n") {
                self.seen = 0;
                return Ok(Some(end));
            }
        }
        self.seen = bytes.len();
        if bytes.len() >= MAX_HEAD { Err(Malformed::HeadTooLarge) } else { Ok(None) }
    }
}
